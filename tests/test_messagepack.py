"""MessagePack as the journal and the sender processes use it: one format, whichever library has written it."""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferrite_hooks.messagepack import Messages, pack, pack_message, unpack, unpacker

any_text = st.text(st.characters(exclude_categories=()))  # halves of surrogate pairs, too
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats(allow_nan=False)
    | st.binary() | any_text,
    lambda inner: st.lists(inner) | st.dictionaries(any_text | st.integers(0, 99), inner),
    max_leaves=20,
)  # fmt: skip


def other_pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
    return packed


@given(plain)
def test_the_bytes_are_what_msgpack_writes(value: Any) -> None:
    assert pack(value) == other_pack(value)


@given(plain)
def test_what_was_packed_comes_back(value: Any) -> None:
    assert unpack(pack(value)) == value


@pytest.mark.parametrize("value", [1 << 64, -(1 << 63) - 1, object()], ids=["large", "small", "object"])
def test_what_is_no_plain_value_is_refused(value: Any) -> None:
    with pytest.raises((OverflowError, TypeError)):
        pack(["\ud800", value])


@given(st.binary(max_size=40))
def test_any_bytes_are_a_value_or_a_value_error(data: bytes) -> None:
    try:
        unpack(data)
    except ValueError:
        pass


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", b"\x92\x01", b"\x01\x02", b"\x91" * 100_000 + b"\x01", b"\x92\xa3\xed\xa0\x80"],
    ids=["empty", "unknown", "short", "long", "deep", "short with half a pair"],
)
def test_damage_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        unpack(data)


class Colour(Enum):
    RED = "red"


class Thing(NamedTuple):
    name: str
    data: bytes | tuple[Any, ...] | None
    colour: Colour
    more: str = ""


unpack_things = unpacker(list[tuple[int, Thing]])


@given(any_text, st.none() | st.binary() | st.tuples(any_text, st.lists(st.binary())))
def test_values_of_one_type_come_back_as_what_they_were(name: str, data: Any) -> None:
    things = [(1, Thing(name, data, Colour.RED, name))]
    assert unpack_things(pack(things)) == things


def test_what_is_not_of_the_type_is_a_value_error() -> None:
    assert unpack_things(pack([[1, ["a", None, "red"]]])) == [(1, Thing("a", None, Colour.RED))]
    for wrong in ([[1, ["a", None, "blue"]]], [["1", ["a", None, "red"]]], [[1, ["\ud800", 1, "red"]]], [[1]], {}):
        with pytest.raises(ValueError):
            unpack_things(pack(wrong))
    with pytest.raises(ValueError):
        unpack_things(b"\x91\x92\x01\x93\xa1a" + b"\x91" * 100_000)


@given(st.lists(st.tuples(st.integers(0, 255), plain), max_size=5), st.data())
def test_messages_are_whole_wherever_the_stream_is_cut(sent: list[tuple[int, Any]], data: st.DataObject) -> None:
    stream = b"".join(pack_message(kind, value) for kind, value in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    messages, found = Messages(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += messages.feed(stream[start:end])
    assert [(kind, unpack(packed)) for kind, packed in found] == sent
