"""Pieces of RDB data and how they are handed on; what they look like is tested where they are read."""

from __future__ import annotations

import pytest

from ferrite_hooks.store import output
from ferrite_hooks.store.output import Output


def test_what_was_taken_is_gone() -> None:
    out = Output()
    out.add(b"ab")
    out.string(b"c")
    assert out.taken() == b"ab\x01c"
    assert out.taken() == b""


def test_many_bytes_are_handed_on_in_the_middle_of_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_PART", 10)
    parts: list[bytes] = []
    out = Output(parts.append)
    for _ in range(5):
        out.string(b"abcd")
    out.time(-1)
    assert parts == [b"\x04abcd" * 2, b"\x04abcd" * 2, b"\x04abcd" + b"\xff" * 8]
    assert out.taken() == b""


def test_without_anybody_to_take_them_bytes_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_PART", 1)
    out = Output()
    out.add(b"ab")
    out.add(b"cd")
    assert out.taken() == b"abcd"
