"""The checksum against its definition, bit by bit, over every way it is reduced."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrite_hooks.store.crc64 import crc64


def by_definition(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x95AC9329AC4BC9B5 if crc & 1 else 0)
    return crc


def test_the_published_check_value() -> None:
    assert crc64(b"123456789") == by_definition(b"123456789") == 0xE9C6D914C4B8D9CA
    assert crc64(b"") == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 20_000), st.integers(0, 20_000), st.randoms(use_true_random=False))
def test_any_length_in_any_two_parts(size: int, cut: int, random: "object") -> None:
    data = random.randbytes(size)  # type: ignore[attr-defined]
    assert crc64(data) == by_definition(data)
    assert crc64(data[cut:], crc64(data[:cut])) == crc64(data)
    assert crc64(memoryview(data)) == crc64(data)


@pytest.mark.parametrize("size", [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, (1 << 20) + 4097])
def test_blocks_join(size: int) -> None:
    data = bytes(i * 7 & 0xFF for i in range(size))
    assert crc64(data) == crc64(data[1000:], crc64(data[:1000]))
