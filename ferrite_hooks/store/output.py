"""RDB data on its way out: pieces that are joined at the end, or handed on whenever they have become many bytes."""

from __future__ import annotations

from collections.abc import Callable

from ferrite_hooks.store.packed import integer_of

_PART = 1 << 20  # bytes that are handed on at once
_SHORT = [bytes((size,)) for size in range(0x40)]
_INTEGER = (b"\xc0", b"\xc1", b"\xc2")


class Output:
    """What was written so far, and not yet given to `sink`."""

    __slots__ = ("_pieces", "_sink", "_size")

    def __init__(self, sink: Callable[[bytes], None] | None = None) -> None:
        self._sink = sink
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size >= _PART and self._sink is not None:
            self._sink(self.taken())

    def taken(self) -> bytes:
        """All that is there, which is then no longer there."""
        whole = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        return whole

    def length(self, value: int) -> None:
        """A number in the shortest of four forms; its first two bits say which."""
        if 0 <= value < 0x40:
            self.add(_SHORT[value])
        elif value < 0x4000:
            self.add((0x4000 | value).to_bytes(2, "big"))
        elif value <= 0xFFFF_FFFF:
            self.add(b"\x80" + value.to_bytes(4, "big"))
        else:
            self.add(b"\x81" + value.to_bytes(8, "big"))

    def string(self, value: bytes) -> None:
        """Its length and its bytes; or, for the text of a 32-bit integer, its kind and the integer."""
        size = len(value)
        if size <= 11:
            integer = integer_of(value)
            if integer is not None and -(1 << 31) <= integer < 1 << 31:
                kind = 0 if -(1 << 7) <= integer < 1 << 7 else 1 if -(1 << 15) <= integer < 1 << 15 else 2
                self.add(_INTEGER[kind])
                self.add(integer.to_bytes(1 << kind, "little", signed=True))
                return
        self.length(size)
        self.add(value)

    def time(self, ms: int) -> None:
        """Unix milliseconds."""
        self.add(ms.to_bytes(8, "little", signed=True))
