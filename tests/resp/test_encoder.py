"""The encoder against hiredis: what is written is what a client reads."""

from __future__ import annotations

from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferrite_hooks.resp.encoder import Encode, encode2, encode3, format_double
from ferrite_hooks.resp.reply import Members, Pairs

TEXTS = st.binary(max_size=4) | st.sampled_from([b"x" * 1023, b"y" * 1023, b"z" * 1024, b"x" * 70_000])
VALUES = st.recursive(TEXTS | st.integers(-(2**63), 2**63 - 1) | st.none(), st.lists, max_leaves=20)


def read(encode: Encode, value: object) -> Any:
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


@pytest.mark.parametrize("items", [[], [b"one"], [b"one", b"two"], [b"one", 2, b"three"], [7, b"x"], [b"x", None]])
def test_sets_and_maps(items: list[object]) -> None:
    for encode, mark in ((encode2, b"*"), (encode3, b"~")):
        for made in (Members(items), set(items), frozenset(items)):
            out: list[bytes] = []
            encode(out, made)
            assert b"".join(out).startswith(mark + b"%d\r\n" % len(items))
            assert sorted(map(repr, read(encode, made))) == sorted(map(repr, items))
    pairs = [part for n, item in enumerate(items) for part in (b"key%d" % n, item)]
    whole = {b"key%d" % n: item for n, item in enumerate(items)}
    for value in (Pairs(pairs), whole):
        assert (read(encode2, value), read(encode3, value)) == (pairs, whole)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**60), 2**60).map(float))
def test_doubles_have_up_to_seventeen_digits(value: float) -> None:
    assert format_double(value) == b"%.17g" % value


def test_doubles_without_digits() -> None:
    assert [format_double(float(text)) for text in ("inf", "-inf", "nan", "-0", "0")] == [
        b"inf",
        b"-inf",
        b"nan",
        b"-0",
        b"0",
    ]
