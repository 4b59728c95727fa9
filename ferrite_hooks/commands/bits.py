"""Bitmaps: strings seen as bits, the first bit being the highest of the first byte.

Whole bitmaps are handled as big integers or by bytes methods, never byte by byte; single bits and fields are
changed in place.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import and_, or_, xor

from ferrite_hooks.commands.common import integer, keep, mutable, pad, peek, stored
from ferrite_hooks.engine.command import Argv, command
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import SYNTAX, ReplyError
from ferrite_hooks.resp.reply import Reply
from ferrite_hooks.values.raw import Raw

_BAD_OFFSET = "ERR bit offset is not an integer or out of range"
_BAD_BIT = "ERR bit is not an integer or out of range"
_BAD_TYPE = "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is."
_CHUNK = 1 << 20  # bytes that become one integer
_COMPLEMENT = bytes(255 - byte for byte in range(256))
_COMBINE: dict[bytes, Callable[[int, int], int]] = {b"AND": and_, b"OR": or_, b"XOR": xor}


def _offset(s: Session, raw: bytes, width: int = 0) -> int:
    """A bit offset; for fields of `width` bits also `#n`, the n-th field."""
    if width and raw[:1] == b"#":
        offset = integer(raw[1:], _BAD_OFFSET) * width
    else:
        offset = integer(raw, _BAD_OFFSET)
    if offset < 0 or offset >> 3 >= s.engine.settings["proto-max-bulk-len"]:
        raise ReplyError(_BAD_OFFSET)
    return offset


@command(
    "SETBIT key offset value", "Sets or clears a bit; returns what it was.",
    group="bitmap", since="2.2.0", flags="write denyoom", keys="RW access update @1", events="setbit",
    complexity="O(1)",
)  # fmt: skip
def setbit(s: Session, argv: Argv) -> Reply:
    db, key = s.db, argv[1]
    offset = _offset(s, argv[2])
    bit = integer(argv[3], _BAD_BIT)
    if bit not in (0, 1):
        raise ReplyError(_BAD_BIT)
    byte, mask = offset >> 3, 128 >> (offset & 7)
    before = stored(db, key) or b""
    if byte < len(before) and bool(before[byte] & mask) == bit:
        return bit
    value, old = mutable(db, key)
    pad(db, value, byte + 1)
    was = int(value[byte] & mask != 0)
    value[byte] = value[byte] | mask if bit else value[byte] & ~mask
    keep(db, key, value, "setbit", old)
    return was


@command(
    "GETBIT key offset", "A bit of a string; beyond its end they are 0.",
    group="bitmap", since="2.2.0", flags="readonly fast", keys="RO access @1", complexity="O(1)",
)  # fmt: skip
def getbit(s: Session, argv: Argv) -> Reply:
    offset = _offset(s, argv[2])
    value = peek(s.db, argv[1]) or b""
    byte = offset >> 3
    return int(byte < len(value) and value[byte] & 128 >> (offset & 7) != 0)


def _unit(raw: bytes) -> bool:
    """True for BIT, False for BYTE."""
    unit = raw.upper()
    if unit not in (b"BIT", b"BYTE"):
        raise ReplyError(SYNTAX)
    return unit == b"BIT"


def _span(start: int, end: int, total: int) -> tuple[int, int]:
    """Indexes, negative ones counting from the end, as positions within `total`; empty when start > end."""
    start = max(start + total, 0) if start < 0 else start
    end = max(end + total, 0) if end < 0 else end
    return start, min(end, total - 1)


def _masked(value: bytes | Raw, start: int, end: int, fill: int) -> bytearray:
    """The bytes that hold bits start..end, the other bits of the outer bytes being `fill`."""
    part = bytearray(value[start >> 3 : (end >> 3) + 1])
    before, after = 0xFF & ~(0xFF >> (start & 7)), 0x7F >> (end & 7)  # bits outside the range
    if fill:
        part[0] |= before
        part[-1] |= after
    else:
        part[0] &= ~before
        part[-1] &= ~after
    return part


@command(
    "BITCOUNT key [start end [BYTE | BIT]]", "How many bits of a string, or of a part of it, are 1.",
    group="bitmap", since="2.6.0", flags="readonly", keys="RO access @1", complexity="O(N)",
)  # fmt: skip
def bitcount(s: Session, argv: Argv) -> Reply:
    value = peek(s.db, argv[1])
    if value is None:
        return 0
    if len(argv) == 2:
        return _ones(value)
    if len(argv) not in (4, 5):
        raise ReplyError(SYNTAX)
    start, end = integer(argv[2]), integer(argv[3])
    if start < 0 and end < 0 and start > end:
        return 0
    bits = len(argv) == 5 and _unit(argv[4])
    start, end = _span(start, end, len(value) * (8 if bits else 1))
    if start > end:
        return 0
    return _ones(_masked(value, start, end, 0) if bits else value[start : end + 1])


def _ones(value: bytes | bytearray) -> int:
    if len(value) <= _CHUNK:
        return int.from_bytes(value, "little").bit_count()
    view = memoryview(value)
    return sum(int.from_bytes(view[at : at + _CHUNK], "little").bit_count() for at in range(0, len(value), _CHUNK))


@command(
    "BITPOS key bit [start [end [BYTE | BIT]]]", "Where the first bit that is 1 (or 0) stands in a string.",
    group="bitmap", since="2.8.7", flags="readonly", keys="RO access @1", complexity="O(N)",
)  # fmt: skip
def bitpos(s: Session, argv: Argv) -> Reply:
    bit = integer(argv[2])
    if bit not in (0, 1):
        raise ReplyError("ERR The bit argument must be 1 or 0.")
    value = peek(s.db, argv[1])
    if value is None:
        return -1 if bit else 0
    if len(argv) > 6:
        raise ReplyError(SYNTAX)
    start = integer(argv[3]) if len(argv) > 3 else 0
    bits = len(argv) > 5 and _unit(argv[5])
    end = integer(argv[4]) if len(argv) > 4 else -1
    total = len(value) * (8 if bits else 1)
    start, end = _span(start, end, total)
    if start > end:
        return -1
    if not bits:
        start, end = start * 8, end * 8 + 7
    part = _masked(value, start, end, 1 - bit)
    rest = part.lstrip(b"\0" if bit else b"\xff")
    if rest:
        first = rest[0] if bit else rest[0] ^ 0xFF
        return (start & ~7) + (len(part) - len(rest)) * 8 + 8 - first.bit_length()
    # behind a string there are zeros, but not behind a range that was given
    return -1 if bit or len(argv) > 4 else len(value) * 8


@command(
    "BITOP operation destkey key [key ...]", "Combines strings bit by bit with AND, OR, XOR or NOT into another.",
    group="bitmap", since="2.6.0", flags="write denyoom", keys="OW update @2; RO access @3:-1", events="set del",
    complexity="O(N)",
)  # fmt: skip
def bitop(s: Session, argv: Argv) -> Reply:
    db, operation, destination = s.db, argv[1].upper(), argv[2]
    combine = _COMBINE.get(operation)
    if combine is None and operation != b"NOT":
        raise ReplyError(SYNTAX)
    if combine is None and len(argv) != 4:
        raise ReplyError("ERR BITOP NOT must be called with a single source key.")
    values = [peek(db, key) or b"" for key in argv[3:]]
    size = max(map(len, values))
    if not size:
        db.drop(destination)
        return 0
    if combine is None:
        result = values[0].translate(_COMPLEMENT)
    else:  # little-endian, so that shorter strings are followed by zeros
        result = reduce(combine, (int.from_bytes(value, "little") for value in values)).to_bytes(size, "little")
    db.put(destination, Raw(result), "set", new=bytes(result))
    return size


# -- fields --------------------------------------------------------------------------------------------------


class _Operation:
    """One subcommand of BITFIELD."""

    __slots__ = ("kind", "number", "offset", "overflow", "signed", "width")

    def __init__(self, kind: bytes, signed: bool, width: int, offset: int, number: int, overflow: bytes) -> None:
        self.kind = kind  # GET SET INCRBY
        self.signed = signed
        self.width = width
        self.offset = offset
        self.number = number
        self.overflow = overflow  # WRAP SAT FAIL

    def get(self, value: bytes | Raw) -> int:
        end = self.offset + self.width
        first, size = self.offset >> 3, (end + 7 >> 3) - (self.offset >> 3)
        window = int.from_bytes(value[first : first + size].ljust(size, b"\0"), "big")
        return self.wrap(window >> (-end & 7))

    def set(self, value: Raw, number: int) -> None:
        """Writes into a value that is long enough."""
        end, mask = self.offset + self.width, (1 << self.width) - 1
        first, size = self.offset >> 3, (end + 7 >> 3) - (self.offset >> 3)
        shift = -end & 7
        window = int.from_bytes(value[first : first + size], "big")
        window = window & ~(mask << shift) | (number & mask) << shift
        value[first : first + size] = window.to_bytes(size, "big")

    def wrap(self, number: int) -> int:
        """The number that remains of it in this field."""
        number &= (1 << self.width) - 1
        return number - (1 << self.width) if self.signed and number >> (self.width - 1) else number

    def fit(self, number: int) -> int | None:
        """What is written for `number`; None when it does not fit and overflow is to fail."""
        high = (1 << (self.width - self.signed)) - 1
        low = ~high if self.signed else 0
        if low <= number <= high:
            return number
        if self.overflow == b"FAIL":
            return None
        if self.overflow == b"WRAP":
            return self.wrap(number)
        # an unsigned field takes a negative value to SET for the large number that its 64 bits are
        return low if number < low and (self.signed or self.kind == b"INCRBY") else high


def _operations(s: Session, argv: Argv) -> list[_Operation]:
    found = []
    overflow = b"WRAP"
    i = 2
    while i < len(argv):
        kind, left = argv[i].upper(), len(argv) - i - 1
        if kind == b"OVERFLOW" and left >= 1:
            overflow = argv[i + 1].upper()
            if overflow not in (b"WRAP", b"SAT", b"FAIL"):
                raise ReplyError("ERR Invalid OVERFLOW type specified")
            i += 2
            continue
        if not ((kind == b"GET" and left >= 2) or (kind in (b"SET", b"INCRBY") and left >= 3)):
            raise ReplyError(SYNTAX)
        signed = argv[i + 1][:1] == b"i"
        width = integer(argv[i + 1][1:], _BAD_TYPE)
        if argv[i + 1][:1] not in (b"i", b"u") or not 1 <= width <= 63 + signed:
            raise ReplyError(_BAD_TYPE)
        offset = _offset(s, argv[i + 2], width)
        number = integer(argv[i + 3]) if kind != b"GET" else 0
        found.append(_Operation(kind, signed, width, offset, number, overflow))
        i += 3 if kind == b"GET" else 4
    return found


_GET = "GET encoding offset"
_OPERATION = (
    f"{_GET} | [OVERFLOW <WRAP | SAT | FAIL>]"
    " <SET encoding offset value | INCRBY encoding offset increment>"
)  # fmt: skip


def _bitfield_key_flags(argv: Argv) -> tuple[str, ...]:
    writes = any(word.upper() in (b"SET", b"INCRBY") for word in argv[2:])
    return ("RW", "access", "update") if writes else ("RO", "access")


@command(
    f"BITFIELD key [{_OPERATION} [{_OPERATION} ...]]",
    "Reads, sets and counts in integer fields of any width within a string.",
    group="bitmap", since="3.2.0", flags="write denyoom", keys="RW access update variable_flags @1",
    events="setbit", complexity="O(1) for each subcommand", key_flags=_bitfield_key_flags,
)  # fmt: skip
def bitfield(s: Session, argv: Argv) -> Reply:
    db, key = s.db, argv[1]
    operations = _operations(s, argv)
    ends = [operation.offset + operation.width for operation in operations if operation.kind != b"GET"]
    if not ends:
        return _read(s, key, operations)
    size = max(ends) + 7 >> 3
    value, old = mutable(db, key)
    changed = False
    replies: list[int | None] = []
    for operation in operations:
        before = operation.get(value)
        if operation.kind == b"GET":
            replies.append(before)
            continue
        after = operation.fit(operation.number if operation.kind == b"SET" else before + operation.number)
        if after is None:
            replies.append(None)
            continue
        if len(value) < size:
            pad(db, value, size)
            changed = True
        if after != before:
            operation.set(value, after)
            changed = True
        replies.append(before if operation.kind == b"SET" else after)
    if changed:
        keep(db, key, value, "setbit", old)
    return replies


def _read(s: Session, key: bytes, operations: list[_Operation]) -> Reply:
    value = peek(s.db, key) or b""
    return [operation.get(value) for operation in operations]


@command(
    f"BITFIELD_RO key [{_GET} [{_GET} ...]]", "Reads integer fields of any width within a string.",
    group="bitmap", since="6.0.0", flags="readonly fast", keys="RO access @1",
    complexity="O(1) for each subcommand",
)  # fmt: skip
def bitfield_ro(s: Session, argv: Argv) -> Reply:
    operations = _operations(s, argv)
    if any(operation.kind != b"GET" for operation in operations):
        raise ReplyError("ERR BITFIELD_RO only supports the GET subcommand")
    return _read(s, argv[1], operations)
