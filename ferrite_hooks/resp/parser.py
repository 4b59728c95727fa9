"""Requests out of bytes: RESP arrays of bulk strings, and inline commands.

Two halves, one contract. `_whole` takes the ordinary commands that a chunk has whole; it takes nothing that is
doubtful. What it leaves (the command that has not arrived whole, inline commands, malformed ones) the careful half
reads piece by piece, exactly as Redis does: nothing is reserved before it has arrived, and each malformed input gets
Redis's own error.

Compiled to C, `_whole` reads the bytes itself. In Python that would be slow, so there hiredis does it, under
suspicion: it trusts array headers (it reserves 8 bytes for each element that a header only announces) and accepts
types that no request may have. Its answer counts only when the chunk is as long as its commands are when clients
write them. (What is contrived so that its bytes add up, say a status among the arguments and zeros before a length,
is taken where Redis would refuse it.)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import hiredis

from ferrite_hooks.version import build

if TYPE_CHECKING:
    from mypy_extensions import i64  # an integer of C, for the compiled build

Argv = list[bytes]

INLINE_MAX: Final = 64 * 1024
_INT_MAX: Final = 2**31 - 1
_ELEMENTS_MAX: Final = 99_999  # of a command that is read without care
_COMPILED: Final = build() == "compiled"
_HUGE_HEADER: Final = re.compile(rb"\*\d{5}")
_INTEGER: Final = re.compile(rb"-?(?:0|[1-9][0-9]{0,18})\Z")  # string2ll: no plus, no leading zeros or blanks


class Parser:
    """Feeds on chunks of one connection. After a protocol error `error` says what it was and nothing more is
    read."""

    __slots__ = ("_args", "_buffer", "_bulk", "_missing", "_reader", "authenticated", "error", "max_bulk")

    def __init__(self, max_bulk: int = 512 * 1024 * 1024) -> None:
        self.max_bulk = max_bulk  # proto-max-bulk-len
        self.authenticated = True  # False: Redis allows 10 arguments of 16 KiB before AUTH
        self.error: str | None = None
        self._reader: hiredis.Reader | None = None  # made when it is first needed: in the compiled build never
        self._buffer = bytearray()  # bytes not yet read, from a command's start or from the middle of one
        self._missing = 0  # arguments still to come of the command being read
        self._bulk = -1  # length of the argument being read, -1 = its header has not been read
        self._args: Argv = []

    @property
    def buffered(self) -> int:
        """Bytes held for the command that has not arrived whole."""
        return len(self._buffer) + sum(map(len, self._args))

    def feed(self, data: bytes) -> list[Argv]:
        """Takes a chunk and returns the commands that it completes, in order, without the empty ones."""
        commands: list[Argv] = []
        if self._missing or self._buffer:
            self._buffer += data
            self._careful(commands, only_one=True)
            if self._missing or not self._buffer:
                return commands
            data = bytes(self._buffer)
            self._buffer.clear()
        position = 0
        if self.authenticated and self.error is None:
            position = self._whole(data, commands) if _COMPILED else self._by_hiredis(data, commands)
        if position < len(data):
            self._buffer += data[position:]
            self._careful(commands)
        return commands

    def _whole(self, data: bytes, commands: list[Argv]) -> int:
        """Adds the ordinary commands that `data` begins with. Returns the position of what is behind them: nothing,
        the beginning of a command, or what is not ordinary."""
        position: i64 = 0
        end: i64 = len(data)
        largest: i64 = self.max_bulk
        while end - position > 3 and data[position] == 42:  # *
            byte: i64 = data[position + 1]
            count: i64 = byte - 48
            at: i64 = position + 2
            byte = data[at]
            if not 0 < count < 10:
                return position
            while byte != 13:
                count = count * 10 + byte - 48
                at += 1
                if not 48 <= byte <= 57 or count > _ELEMENTS_MAX or at == end:
                    return position
                byte = data[at]
            at += 2
            argv: Argv = []
            while count:
                if end - at < 6 or data[at] != 36:  # $
                    return position
                byte = data[at + 1]
                size: i64 = byte - 48
                byte = data[at + 2]
                at += 3
                if not 0 <= size < 10 or (size == 0 and byte != 13):
                    return position
                while byte != 13:
                    size = size * 10 + byte - 48
                    if not 48 <= byte <= 57 or size > largest or at == end:
                        return position
                    byte = data[at]
                    at += 1
                at += 1
                if end - at < size + 2:
                    return position
                argv.append(data[at : at + size])
                at += size + 2
                count -= 1
            commands.append(argv)
            position = at
        return position

    def _by_hiredis(self, data: bytes, commands: list[Argv]) -> int:
        """The same by hiredis."""
        if data[0] == 42:
            if self._read_by_hiredis(data, commands):
                return len(data)
            cut = data.rfind(b"\r\n*") + 2  # perhaps only the last command is incomplete
            if cut > 2 and self._read_by_hiredis(data[:cut], commands):
                return cut
        return 0

    def _read_by_hiredis(self, data: bytes, commands: list[Argv]) -> bool:
        """Adds all commands of `data` if it holds whole ordinary commands and nothing else."""
        if len(data) < 6 or data[-1] != 10 or data[-2] != 13:
            return False
        if data.find(b"*", 1) < 0:  # one command: its header is at hand
            if 13 not in (data[2], data[3], data[4], data[5]):
                return False
        elif _HUGE_HEADER.search(data):
            return False
        reader = self._reader
        if reader is None:
            reader = self._reader = hiredis.Reader()
        found: list[Argv] = []
        left = len(data)
        try:
            reader.feed(data)
            while left > 0:
                command = reader.gets()
                if type(command) is not list or not command:
                    raise TypeError
                left -= 3 + _digits(len(command))
                for word in command:
                    if type(word) is not bytes:
                        raise TypeError
                    size = len(word)
                    left -= 5 + _digits(size) + size
                found.append(command)
            if not left:
                commands += found
                return True
        except (hiredis.HiredisError, TypeError):
            pass
        self._reader = None  # it may hold half a command, or be broken
        return False

    def _careful(self, commands: list[Argv], only_one: bool = False) -> None:
        """Adds the commands that the buffer has, or the first."""
        buffer, position, size = self._buffer, 0, len(self._buffer)
        while position < size and self.error is None:
            if self._missing:
                position = self._bulk_string(position)
            elif buffer[position] == 42:  # *
                position = self._array_header(position)
            else:
                position = self._inline(position)
            if position < 0:
                position = ~position
                break
            if not self._missing and self._args:
                commands.append(self._args)
                self._args = []
                if only_one:
                    break
        del buffer[:position]

    # Each step below returns the position behind what it read, or the complement of `position` when more
    # bytes are needed (or when it failed: then `error` is set).

    def _line_end(self, position: int, too_big: str) -> int:
        """Index of the CR that ends the header at `position`, or -1."""
        end = self._buffer.find(b"\r", position)
        if end < 0:
            if len(self._buffer) - position > INLINE_MAX:
                self.error = too_big
            return -1
        return end if end + 1 < len(self._buffer) else -1

    def _length(self, position: int, end: int) -> int | None:
        raw = bytes(self._buffer[position + 1 : end])
        return int(raw) if len(raw) < 21 and _INTEGER.match(raw) else None

    def _array_header(self, position: int) -> int:
        end = self._line_end(position, "too big mbulk count string")
        if end < 0:
            return ~position
        count = self._length(position, end)
        if count is None or count > _INT_MAX:
            self.error = "invalid multibulk length"
        elif count > 10 and not self.authenticated:
            self.error = "unauthenticated multibulk length"
        else:
            self._missing = max(count, 0)
            return end + 2
        return ~position

    def _bulk_string(self, position: int) -> int:
        if self._bulk < 0:
            end = self._line_end(position, "too big bulk count string")
            if end < 0:
                return ~position
            if self._buffer[position] != 36:  # $
                self.error = f"expected '$', got '{chr(self._buffer[position])}'"
                return ~position
            length = self._length(position, end)
            if length is None or not 0 <= length <= self.max_bulk:
                self.error = "invalid bulk length"
                return ~position
            if length > 16384 and not self.authenticated:
                self.error = "unauthenticated bulk length"
                return ~position
            self._bulk = length
            position = end + 2
        end = position + self._bulk
        if len(self._buffer) < end + 2:
            return ~position
        self._args.append(bytes(memoryview(self._buffer)[position:end]))
        self._bulk = -1
        self._missing -= 1
        return end + 2

    def _inline(self, position: int) -> int:
        end = self._buffer.find(b"\n", position)
        if end < 0:
            if len(self._buffer) - position > INLINE_MAX:
                self.error = "too big inline request"
            return ~position
        line = bytes(self._buffer[position:end])
        args = split_inline(line.removesuffix(b"\r"))
        if args is None:
            self.error = "unbalanced quotes in request"
            return ~position
        self._args = args
        return end + 1


def _digits(number: int) -> int:
    """How many a length is written with."""
    return 1 if number < 10 else 2 if number < 100 else 3 if number < 1000 else len(str(number))


_BLANK: Final = frozenset(b" \n\r\t\0\x0b\x0c")
_ESCAPES: Final = {0x6E: 0x0A, 0x72: 0x0D, 0x74: 0x09, 0x62: 0x08, 0x61: 0x07}  # \n \r \t \b \a
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")


def split_inline(line: bytes) -> Argv | None:
    """Splits a line into arguments with redis-cli's quoting rules; None if quotes are unbalanced."""
    args: Argv = []
    line = line.partition(b"\0")[0]  # where Redis's C string ends
    i, end = 0, len(line)
    while True:
        while i < end and line[i] in _BLANK:
            i += 1
        if i >= end:
            return args
        current = bytearray()
        quote = 0
        while True:
            if quote:
                if i >= end:
                    return None
                c = line[i]
                if quote == 0x22 and c == 0x5C and i + 1 < end:
                    if line[i + 1] == 0x78 and i + 3 < end and line[i + 2] in _HEX and line[i + 3] in _HEX:
                        current.append(int(line[i + 2 : i + 4], 16))
                        i += 4
                    else:
                        current.append(_ESCAPES.get(line[i + 1], line[i + 1]))
                        i += 2
                    continue
                if quote == 0x27 and c == 0x5C and i + 1 < end and line[i + 1] == 0x27:
                    current.append(0x27)
                    i += 2
                    continue
                i += 1
                if c == quote:
                    if i < end and line[i] not in _BLANK:
                        return None
                    break
                current.append(c)
            else:
                if i >= end or line[i] in _BLANK:
                    break
                c = line[i]
                i += 1
                if c in (0x22, 0x27):
                    quote = c
                else:
                    current.append(c)
        args.append(bytes(current))
