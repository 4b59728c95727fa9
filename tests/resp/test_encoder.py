"""The encoder against hiredis: what is written is what a client reads."""

from __future__ import annotations

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferrite_hooks.resp.encoder import Encode, encode2, encode3

TEXTS = st.binary(max_size=4) | st.sampled_from([b"x" * 1023, b"y" * 1023, b"z" * 1024, b"x" * 70_000])
VALUES = st.recursive(TEXTS | st.integers(-(2**63), 2**63 - 1) | st.none(), st.lists, max_leaves=20)


def read(encode: Encode, value: object) -> object:
    out: list[bytes] = []
    encode(out, value)
    reader = hiredis.Reader()
    reader.feed(b"".join(out))
    found = reader.gets()
    assert reader.gets() is False, "one reply, and nothing behind it"
    return found


@pytest.mark.parametrize("encode", [encode2, encode3])
@given(st.data())
def test_what_is_written_is_read(encode: Encode, data: st.DataObject) -> None:
    value = data.draw(VALUES)
    assert read(encode, value) == value


@pytest.mark.parametrize("encode", [encode2, encode3])
@pytest.mark.parametrize("size", [0, 1, 9, 10, 1023, 1024])
@pytest.mark.parametrize("last", [[], [b""], [b"other"], [7], [None], [[b"nested"]]])
def test_many_of_one_size(encode: Encode, size: int, last: list[object]) -> None:
    value = [bytes([n]) * size for n in range(50)] + last
    assert read(encode, value) == value


@pytest.mark.parametrize("value", [[], [b""], [b"x" * 1000] * 5000])
def test_none_and_many(value: list[object]) -> None:
    assert read(encode2, value) == value
