"""The packed encodings against arbitrary bytes, and listpacks there and back."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rdb_forms import intset, ziplist, zipmap

from ferrite_hooks.store import packed
from ferrite_hooks.store.packed import RdbError, encode_listpack

EDGES = [0, 1, 127, 128, -1, 4095, 4096, -4096, -4097, 32767, 32768, -32768, -32769, 8388607, 8388608]
EDGES += [-8388608, -8388609, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**63 - 1, -(2**63)]
items = st.lists(st.one_of(st.binary(max_size=80), st.sampled_from(EDGES), st.integers(-(2**63), 2**63 - 1)))


@settings(deadline=None)
@given(items)
@example([b"x" * 63, b"x" * 64, b"x" * 126, b"x" * 4095, b"x" * 4096, b"x" * 20000, b"x" * (1 << 21)])
@example([b"", b"-", b"-0", b"00", b"+1", b"007", b"9223372036854775808", b"\xb2"])
@example([1] * 70000)
def test_listpacks_there_and_back(given: list[bytes | int]) -> None:
    expected = [b"%d" % item if isinstance(item, int) else item for item in given]
    assert packed.listpack(encode_listpack(given)) == expected


def test_an_integer_beyond_64_bits_is_refused() -> None:
    with pytest.raises(RdbError, match="64 bits"):
        encode_listpack([2**63])


VALID = {
    "listpack": encode_listpack([b"a", 5, -1, 1000, b"x" * 70, 10**6, 10**8, 10**12, b"y" * 5000]),
    "ziplist": ziplist([b"a", 5, -1, 1000, b"x" * 70, 10**6, 10**8, 10**12, b"y" * 300, b"z"]),
    "zipmap": zipmap({b"a": b"b", b"c" * 300: b"d" * 254}, 2),
    "intset": intset([1, 2, 3], 4),
}


@pytest.mark.parametrize("form", VALID)
def test_every_cut_and_every_damaged_byte_ends_in_elements_or_an_error(form: str) -> None:
    decode, valid = getattr(packed, form), VALID[form]
    assert decode(valid)
    for size in range(len(valid)):
        with pytest.raises(RdbError):
            decode(valid[:size])
    for at in range(min(len(valid), 400)):
        for value in (0, 1, 0x7F, 0x80, 0xFE, 0xFF, valid[at] ^ 1):
            damaged = bytearray(valid)
            damaged[at] = value
            try:
                decoded = decode(bytes(damaged))
            except RdbError:
                continue
            assert sum(map(len, decoded)) < len(valid) * 5


@settings(deadline=None)
@given(st.sampled_from(sorted(VALID)), st.binary(max_size=60))
def test_arbitrary_bytes_end_in_elements_or_an_error(form: str, data: bytes) -> None:
    try:
        assert isinstance(getattr(packed, form)(data), list)
    except RdbError:
        pass


@pytest.mark.parametrize(
    ("compressed", "expected"),
    [
        (b"\x02abc", b"abc"),
        (b"\x00a\xe0\xf0\x00", b"a" + b"a" * 249),
        (b"\x02abc\x20\x02", b"abcabc"),
        (b"\x02abc\xa0\x02", b"abcabcabca"),
        (b"\x02abc\x20\x01\x00z", b"abcbcbz"),
        (b"", b""),
    ],
)
def test_lzf(compressed: bytes, expected: bytes) -> None:
    assert packed.lzf(compressed, len(expected)) == expected
    for size in (len(expected) - 1, len(expected) + 1):
        with pytest.raises(RdbError):
            packed.lzf(compressed, size)


@pytest.mark.parametrize(
    "bad", [b"\x20\x00", b"\x00a\x20\x01", b"\x05ab", b"\x00a\x20", b"\x00a\xe0", b"\x00a\xe0\x01"]
)
def test_lzf_that_refers_to_nothing(bad: bytes) -> None:
    with pytest.raises(RdbError):
        packed.lzf(bad, 4)


@settings(deadline=None)
@given(st.binary(max_size=100), st.integers(0, 1 << 40))
def test_lzf_of_arbitrary_bytes_stays_small(data: bytes, size: int) -> None:
    try:
        assert len(packed.lzf(data, size)) == size <= 90 * len(data)
    except RdbError:
        pass
