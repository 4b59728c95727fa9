"""Reading RDB data from bytes and from files, whatever of a file is in memory."""

from __future__ import annotations

import errno
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rdb_forms import strings

from ferrite_hooks.store import cursor as module
from ferrite_hooks.store.cursor import Cursor
from ferrite_hooks.store.packed import RdbError

HEAD = b"before "


def from_bytes(data: bytes) -> Cursor:
    return Cursor(HEAD + data + b"behind", len(HEAD), len(HEAD + data))


def from_file(data: bytes) -> Cursor:
    file = io.BytesIO(HEAD + data + b"behind")
    file.seek(len(HEAD))
    return Cursor(b"", len(HEAD), len(HEAD + data), file)


@pytest.fixture(params=[from_bytes, from_file])
def cursor(request: pytest.FixtureRequest) -> Cursor:
    return request.param(b"\x03abc\x00\x01")  # type: ignore[no-any-return]


def test_positions_are_those_of_the_whole(cursor: Cursor) -> None:
    assert (cursor.position, cursor.left()) == (7, 6)
    assert cursor.peek() == 3 and cursor.position == 7
    assert cursor.string() == b"abc"
    assert (cursor.position, cursor.left()) == (11, 2)
    assert cursor.string() == b"" and cursor.byte() == 1
    assert (cursor.position, cursor.left()) == (13, 0)


def test_nothing_is_read_beyond_the_end(cursor: Cursor) -> None:
    assert cursor.take(6) == b"\x03abc\x00\x01" and cursor.take(0) == b""
    for read in (cursor.byte, cursor.peek, cursor.time, lambda: cursor.take(1)):
        with pytest.raises(RdbError, match="cut short"):
            read()
    assert cursor.position == 13


@given(st.lists(st.binary(max_size=100)), st.integers(1, 40))
def test_a_file_is_read_in_parts_of_any_size(texts: list[bytes], window: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_WINDOW", window)
        cursor = from_file(strings(texts))
        for expected in texts:
            assert cursor.string() == expected
        assert cursor.left() == 0


def test_a_claim_reserves_nothing() -> None:
    cursor = from_file(b"\x81" + (1 << 62).to_bytes(8, "big") + b"abc")
    with pytest.raises(RdbError, match="cut short"):
        cursor.string()


@pytest.mark.parametrize("window", [1, 100])
def test_a_file_that_shrinks_is_noticed(monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    monkeypatch.setattr(module, "_WINDOW", window)
    cursor = Cursor(b"", 0, 6, io.BytesIO(b"\x05abc"))
    with pytest.raises(RdbError, match="meanwhile"):
        cursor.string()


def test_a_file_that_cannot_be_read_is_an_error_of_the_data() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(RdbError, match="cannot be read"):
        Cursor(b"", 0, 6, Failing()).byte()
