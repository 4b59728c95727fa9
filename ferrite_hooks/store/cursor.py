"""A place in RDB data: in bytes, or in a file that is read as far as it is needed.

Whatever a length claims, nothing is read or reserved beyond where the data end: there every read is an RdbError.
"""

from __future__ import annotations

import struct
from math import inf, nan
from typing import BinaryIO

from ferrite_hooks.store import packed
from ferrite_hooks.store.packed import RdbError

_WINDOW = 1 << 18  # bytes of a file that are in memory, if nothing in it is longer


class Cursor:
    """Reads what is in `data` from `position` to `end`; or in `file`, which stands at `position`, and then there are no
    data yet."""

    __slots__ = ("_at", "_base", "_data", "_file", "_stop", "end")

    def __init__(self, data: bytes, position: int, end: int, file: BinaryIO | None = None) -> None:
        self.end = end
        self._file = file
        self._data = data
        self._base = position if file is not None else 0  # where the data begin, in the file
        self._at = position - self._base  # in the data
        self._stop = len(data) if file is not None else end  # of what can be read in the data

    @property
    def position(self) -> int:
        return self._base + self._at

    def left(self) -> int:
        """Bytes to the end."""
        return self.end - self._base - self._at

    def _source(self, length: int) -> BinaryIO:
        """There are not so many bytes in `data`. Raises RdbError when they are not in the file, either."""
        if length > self.left() or self._file is None:
            raise RdbError("the data is cut short")
        return self._file

    def _need(self, length: int) -> None:
        """Brings the window to where there are so many bytes."""
        file = self._source(length)
        kept = self._data[self._at : self._stop]
        self._base += self._at
        self._at = 0
        self._data = kept + _read(file, min(_WINDOW, self.left()) - len(kept))
        self._stop = len(self._data)

    def _large(self, length: int) -> bytes:
        """As `take`, for more than a window: without a copy."""
        file = self._source(length)
        self._base += self._at
        self._data, self._at, self._stop = b"", 0, 0
        file.seek(self._base)
        self._base += length
        return _read(file, length)

    def take(self, length: int) -> bytes:
        if length > self._stop - self._at:
            if length > _WINDOW:
                return self._large(length)
            self._need(length)
        start = self._at
        self._at = stop = start + length
        return self._data[start:stop]

    def byte(self) -> int:
        if self._at >= self._stop:
            self._need(1)
        value = self._data[self._at]
        self._at += 1
        return value

    def peek(self) -> int:
        """The next byte, which stays the next one."""
        value = self.byte()
        self._at -= 1
        return value

    def time(self) -> int:
        """Unix milliseconds, or -1."""
        return int.from_bytes(self.take(8), "little", signed=True)

    def length(self) -> int:
        first = self.byte()
        if first < 0xC0:
            return self._length(first)
        raise RdbError("an encoded string stands where a length should")

    def _length(self, first: int) -> int:
        if first < 0x40:
            return first
        if first < 0x80:
            return (first & 0x3F) << 8 | self.byte()
        if first == 0x80:
            return int.from_bytes(self.take(4), "big")
        if first == 0x81:
            return int.from_bytes(self.take(8), "big")
        raise RdbError("a length has an unknown encoding")

    def string(self) -> bytes:
        first = self.byte()
        if first < 0xC0:
            return self.take(first if first < 0x40 else self._length(first))
        if first <= 0xC2:
            return b"%d" % int.from_bytes(self.take(1 << (first & 3)), "little", signed=True)
        if first == 0xC3:
            compressed, size = self.length(), self.length()
            return packed.lzf(self.take(compressed), size)
        raise RdbError("a string has an unknown encoding")

    def double(self) -> float:
        value: float = struct.unpack("<d", self.take(8))[0]
        return value

    def short_double(self) -> float:
        """A float as text behind its length, as sorted sets had it before version 8."""
        length = self.byte()
        if length >= 253:
            return (nan, inf, -inf)[length - 253]
        return number(self.take(length))


def _read(file: BinaryIO, length: int) -> bytes:
    try:
        data = file.read(length)
    except OSError as error:
        raise RdbError(f"it cannot be read ({error.strerror or error})") from error
    if len(data) < length:
        raise RdbError("the file was cut short meanwhile")
    return data


def number(text: bytes) -> float:
    """A score that stands there as text."""
    try:
        if b"_" not in text:
            return float(text)
    except ValueError:
        pass
    raise RdbError("a score is no number")
