"""HyperLogLog: how many different elements were seen, in at most 12 KiB, byte for byte as Redis keeps it.

The value is a plain string: the magic "HYLL", one byte of encoding, three unused, the cached cardinality
(8 bytes, little endian; the top bit says that it is stale), then 16384 registers. Dense, each register takes
6 bits. Sparse, runs of registers are opcodes: ZERO 00nnnnnn (1-64 empty registers), XZERO 01nnnnnn nnnnnnnn
(1-16384 empty ones), VAL 1vvvvvnn (1-4 registers of value 1-32).

Everything here takes and returns bytes. Work over all registers runs on whole byte strings and big integers
(one byte a register), not register by register.
"""

from __future__ import annotations

import math
import random
import re
from bisect import bisect_right
from collections.abc import Iterable
from itertools import chain

REGISTERS = 1 << 14
HEADER = 16
DENSE_SIZE = HEADER + REGISTERS * 6 // 8
SPARSE_MAX_BYTES = 3000  # Redis's default of hll-sparse-max-bytes
EMPTY = b"HYLL\x01" + bytes(10) + b"\x80\x7f\xff"  # nothing cached yet

_DENSE, _SPARSE = 0, 1
_BITS = 64 - 14  # of the hash that are left after the register's index
_MASK64 = (1 << 64) - 1
_ALPHA = 0.721347520444481703680  # 0.5 / ln 2
_HIGH = int.from_bytes(b"\x80" * REGISTERS, "little")  # the top bit of every byte lane

_ZERO_RUN, _VAL_RUN, _VAL_MAX = 64, 4, 32
# Registers that each one-byte opcode covers, 0 for the first byte of an XZERO; and its registers themselves.
_SPAN = bytes((op & 63) + 1 if op < 64 else 0 if op < 128 else (op & 3) + 1 for op in range(256))
_DECODED = [((op >> 2 & 31) + 1 if op >= 128 else 0, _SPAN[op], 1) for op in range(256)]
_MANY = 8  # registers from which on it pays to open up all runs
_STRETCH = re.compile(rb"[\x40-\x7f].?|[^\x40-\x7f]{1,64}", re.DOTALL)  # an XZERO, or opcodes of one byte
_RUN = [bytes([(op >> 2 & 31) + 1 if op >= 128 else 0]) * _SPAN[op] for op in range(256)]

_LOW6 = bytes(byte & 63 for byte in range(256))
_TOP2 = bytes(byte >> 6 for byte in range(256))
_LOW4 = bytes((byte & 15) << 2 for byte in range(256))
_TOP4 = bytes(byte >> 4 for byte in range(256))
_LOW2 = bytes((byte & 3) << 4 for byte in range(256))
_TOP6 = bytes(byte >> 2 for byte in range(256))
_UP2, _UP4, _UP6 = (bytes(byte << n & 255 for byte in range(256)) for n in (2, 4, 6))


class CorruptError(ValueError):
    """The sparse registers don't add up."""


def is_hll(value: bytes) -> bool:
    """Whether the string looks like a HyperLogLog; sparse registers are only checked when they are used."""
    return (
        len(value) >= HEADER
        and value[:4] == b"HYLL"
        and (value[4] == _SPARSE or (value[4] == _DENSE and len(value) == DENSE_SIZE))
    )


def is_sparse(value: bytes) -> bool:
    return value[4] == _SPARSE


def add(value: bytes, elements: Iterable[bytes], max_bytes: int = SPARSE_MAX_BYTES) -> bytes | None:
    """The value with the elements added, None when no register changed. Sparse up to `max_bytes` bytes.

    Raises CorruptError.
    """
    places = [_locate(element) for element in elements]
    after = _raise_sparse(value, places, max_bytes) if is_sparse(value) else None
    if after is None:
        after = _raise_dense(to_dense(value), places)
    return None if after == value else _stale(after)


def merge(target: bytes, values: Iterable[bytes], max_bytes: int = SPARSE_MAX_BYTES) -> bytes:
    """The union of the target and others, written over the target. Dense as soon as one of them is. Raises
    CorruptError."""
    union, sparse = _union(chain((target,), values))
    after = None
    if sparse:
        after = _raise_sparse(target, [place for place in enumerate(union) if place[1]], max_bytes)
    return _stale(_dense(target, union) if after is None else after)


def count(value: bytes) -> int:
    """The estimated cardinality, computed. Raises CorruptError."""
    return _estimate(registers(value))


def count_union(values: Iterable[bytes]) -> int:
    """The estimated cardinality of the union. Raises CorruptError."""
    return _estimate(_union(values)[0])


def cached_count(value: bytes) -> int | None:
    """The cardinality that the value has cached, None when it is stale."""
    return None if value[15] & 0x80 else int.from_bytes(value[8:16], "little")


def with_cached_count(value: bytes, cardinality: int) -> bytes:
    return value[:8] + (cardinality & _MASK64).to_bytes(8, "little") + value[16:]


def registers(value: bytes | bytearray) -> bytes:
    """All registers, one byte each. Raises CorruptError."""
    if value[4] == _DENSE:
        return _unpack(value)
    runs: list[bytes] = []
    at, end = HEADER, len(value)
    while at < end:
        op = value[at]
        at += 1
        if 64 <= op < 128:
            runs.append(bytes(_xzero_span(value, at - 1)))
            at += 1
        else:
            runs.append(_RUN[op])
    found = b"".join(runs)
    if len(found) != REGISTERS:
        raise CorruptError
    return found


def to_dense(value: bytes) -> bytes:
    """The same registers in the dense encoding. Raises CorruptError."""
    if value[4] == _DENSE:
        return value
    return _dense(value, registers(value))


def opcodes(value: bytes) -> list[tuple[str, int, int]]:
    """The sparse encoding spelled out: ("z" | "Z" | "v", value, registers covered)."""
    found: list[tuple[str, int, int]] = []
    at = HEADER
    while at < len(value):
        op = value[at]
        if op >= 128:
            found.append(("v", _RUN[op][0], _SPAN[op]))
        elif op >= 64:
            found.append(("Z", 0, _xzero_span(value, at)))
            at += 1
        else:
            found.append(("z", 0, _SPAN[op]))
        at += 1
    return found


def self_test(size: int = 100_000) -> str | None:
    """Checks that registers are kept apart and estimates near. Returns what failed, None if nothing did."""
    expected = random.randbytes(REGISTERS).translate(_LOW6)
    if _unpack(bytes(HEADER) + _pack(expected)) != expected:
        return "registers do not keep their values"
    seed = random.getrandbits(64)
    sparse, dense = EMPTY, to_dense(EMPTY)
    done, checkpoint = 0, 1
    while checkpoint <= size:
        batch = [(n ^ seed).to_bytes(8, "little") for n in range(done, checkpoint)]
        sparse, dense = add(sparse, batch) or sparse, add(dense, batch) or dense
        if checkpoint < SPARSE_MAX_BYTES // 2 and not is_sparse(sparse):
            return "sparse encoding not used"
        estimate = count(dense)
        if estimate != count(sparse):
            return "dense/sparse disagree"
        # Six standard errors; at ten elements a collision costs one, which is more than that.
        if abs(estimate - checkpoint) > max(1, math.ceil(6 * 1.04 / math.sqrt(REGISTERS) * checkpoint)):
            return f"Too big error. card:{checkpoint} abserr:{abs(estimate - checkpoint)}"
        done, checkpoint = checkpoint, checkpoint * 10
    return None


# Hashing


def _locate(element: bytes) -> tuple[int, int]:
    """The register of an element, and its rank: the position of the lowest 1 in the rest of its hash."""
    hash = murmur64(element)
    rest = hash >> 14 | 1 << _BITS
    return hash & (REGISTERS - 1), (rest & -rest).bit_length()


def murmur64(data: bytes, seed: int = 0xADC83B19) -> int:
    """MurmurHash2, the 64-bit variant for 64-bit machines."""
    m = 0xC6A4A7935BD1E995
    size = len(data)
    h = seed ^ (size * m & _MASK64)
    whole = size & ~7
    for at in range(0, whole, 8):
        k = int.from_bytes(data[at : at + 8], "little") * m & _MASK64
        k = (k ^ k >> 47) * m & _MASK64
        h = (h ^ k) * m & _MASK64
    if whole < size:
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & _MASK64
    h = (h ^ h >> 47) * m & _MASK64
    return h ^ h >> 47


# Registers as byte strings


def _unpack(value: bytes | bytearray) -> bytes:
    """Dense registers, one byte each: every three bytes hold four registers, lowest bits first."""
    one, two, three = (bytes(value[HEADER + n :: 3]) for n in range(3))
    found = bytearray(REGISTERS)
    found[0::4] = one.translate(_LOW6)
    found[1::4] = _or(one.translate(_TOP2), two.translate(_LOW4))
    found[2::4] = _or(two.translate(_TOP4), three.translate(_LOW2))
    found[3::4] = three.translate(_TOP6)
    return bytes(found)


def _pack(found: bytes) -> bytes:
    a, b, c, d = (found[n::4] for n in range(4))
    packed = bytearray(DENSE_SIZE - HEADER)
    packed[0::3] = _or(a, b.translate(_UP6))
    packed[1::3] = _or(b.translate(_TOP6), c.translate(_UP4))
    packed[2::3] = _or(c.translate(_TOP4), d.translate(_UP2))
    return bytes(packed)


def _or(a: bytes, b: bytes) -> bytes:
    return (int.from_bytes(a, "little") | int.from_bytes(b, "little")).to_bytes(len(a), "little")


def _max(a: bytes, b: bytes) -> bytes:
    """The greater of each two registers, all at once: none reaches 128, so no borrow leaves its byte."""
    x, y = int.from_bytes(a, "little"), int.from_bytes(b, "little")
    ge = ((x | _HIGH) - y) & _HIGH  # 0x80 where x >= y
    keep = ge - (ge >> 7)  # 0x7f there
    return ((x & keep) | (y & ~keep)).to_bytes(REGISTERS, "little")


def _union(values: Iterable[bytes]) -> tuple[bytes, bool]:
    """The registers of the union, and whether all are sparse."""
    union, sparse = bytes(REGISTERS), True
    for value in values:
        union = _max(union, registers(value))
        sparse = sparse and is_sparse(value)
    return union, sparse


# The estimator of Otmar Ertl: arXiv:1702.01284


def _estimate(found: bytes) -> int:
    histogram = [0] * (_BITS + 2)
    left = REGISTERS
    for rank in range(_BITS + 2):
        if not left:
            break
        histogram[rank] = found.count(rank)
        left -= histogram[rank]
    z = REGISTERS * _tau((REGISTERS - histogram[_BITS + 1]) / REGISTERS)
    for rank in range(_BITS, 0, -1):
        z = (z + histogram[rank]) * 0.5
    z += REGISTERS * _sigma(histogram[0] / REGISTERS)
    if not z:
        return -(1 << 63)  # only forged registers give this; C's conversion of infinity
    estimate = _ALPHA * REGISTERS * REGISTERS / z
    whole = math.floor(estimate)
    return whole + (estimate - whole >= 0.5)


def _sigma(x: float) -> float:
    if x == 1.0:
        return math.inf
    y, z, before = 1.0, x, -1.0
    while z != before:
        x *= x
        before = z
        z += x * y
        y += y
    return z


def _tau(x: float) -> float:
    if x in (0.0, 1.0):
        return 0.0
    y, z, before = 1.0, 1 - x, -1.0
    while z != before:
        x = math.sqrt(x)
        before = z
        y *= 0.5
        z -= (1 - x) ** 2 * y
    return z / 3


# Raising registers

Place = tuple[int, int]  # a register and the rank it is to have at least


def _stale(value: bytes) -> bytes:
    if value[15] & 0x80:
        return value
    return value[:15] + bytes([value[15] | 0x80]) + value[16:]


def _dense(value: bytes, found: bytes) -> bytes:
    """The header of `value`, made dense, before these registers."""
    return value[:4] + b"\x00" + value[5:HEADER] + _pack(found)


def _raise_dense(value: bytes, places: list[Place]) -> bytes:
    raised: bytearray | None = None  # a copy only if there is something to raise, which is seldom in a full one
    for index, rank in places:
        at, shift = HEADER + index * 6 // 8, index * 6 % 8
        pair = int.from_bytes((raised or value)[at : at + 2], "little")
        if pair >> shift & 63 < rank:
            pair = pair & ~(63 << shift) | rank << shift
            raised = raised or bytearray(value)
            raised[at : at + 2] = pair.to_bytes(2, "little")[: len(value) - at]
    return value if raised is None else bytes(raised)


def _raise_sparse(value: bytes, places: list[Place], max_bytes: int) -> bytes | None:
    """None when the value must become dense: too long, or a rank too high. Raises CorruptError."""
    if len(places) > _MANY:
        runs = _Runs(value[HEADER:], 0)
        room = max_bytes - len(value)
        if not all(runs.set(index, rank, room) for index, rank in places):
            return None
        return value[:HEADER] + runs.opcodes() if runs.changed else value
    for index, rank in places:
        window = _window(value, index, rank)
        if window is None:
            continue
        start, end, first = window
        runs = _Runs(value[start:end], first)
        if not runs.set(index, rank, max_bytes - len(value)):
            return None
        value = value[:start] + runs.opcodes() + value[end:]
    return value


def _window(value: bytes, index: int, rank: int) -> tuple[int, int, int] | None:
    """The part of the opcodes that setting a register can change: the opcode that covers it, the one before
    and six behind, as (start, end, first register). None when the register has the rank already.

    Raises CorruptError when no opcode covers it.
    """
    start, at, before, first = HEADER, HEADER, 0, 0
    for match in _STRETCH.finditer(value, HEADER):
        stretch = match[0]
        xzero = 64 <= stretch[0] < 128
        span = _xzero_span(stretch, 0) if xzero else sum(stretch.translate(_SPAN))
        if index < first + span:
            break
        start, before = (at, first) if xzero else (match.end() - 1, first + span - _SPAN[stretch[-1]])
        at, first = match.end(), first + span
    else:
        raise CorruptError
    while not xzero and index >= first + _SPAN[value[at]]:
        start, before = at, first
        first += _SPAN[value[at]]
        at += 1
    if not xzero and _DECODED[value[at]][0] >= rank:
        return None
    for _ in range(7):
        if at < len(value):
            at += 2 if 64 <= value[at] < 128 else 1
    return start, at, before


class _Runs:
    """Sparse registers opened up: runs of (value, span, bytes of its opcode), and the register each begins at."""

    __slots__ = ("changed", "cut", "firsts", "grown", "runs")

    def __init__(self, code: bytes, first: int) -> None:
        self.runs: list[tuple[int, int, int]] = []
        self.firsts: list[int] = []
        self.grown = 0  # bytes that the opcodes have become longer
        self.changed = False
        at, end = 0, len(code)
        while at < end:
            op = code[at]
            run = (0, _xzero_span(code, at), 2) if 64 <= op < 128 else _DECODED[op]
            self.runs.append(run)
            self.firsts.append(first)
            first += run[1]
            at += run[2]
        self.firsts.append(first)  # where a run after the last would begin
        self.cut = at > end  # the last one is an XZERO whose second byte is not there

    def set(self, index: int, rank: int, room: int) -> bool:
        """Raises a register to `rank`. False when that takes more than `room` bytes, or another encoding.

        Splits the run that covers it, then joins neighbours of equal value over the five steps that Redis takes, so
        that the opcodes come out the same.
        """
        at = bisect_right(self.firsts, index) - 1
        if at == len(self.runs):
            raise CorruptError
        value, span, size = self.runs[at]
        if value >= rank:
            return True
        if rank > _VAL_MAX:
            return False
        left = index - self.firsts[at]
        split = [_run(value, part) for part in (left,) if part] + [(rank, 1, 1)]
        split += [_run(value, part) for part in (span - 1 - left,) if part]
        growth = sum(run[2] for run in split) - size
        if growth > 0 and self.grown + growth > room:
            return False
        self.grown += growth
        self.changed = True
        if at == len(self.runs) - 1:
            self.cut = False
        self.runs[at : at + 1] = split
        self.firsts[at : at + 1] = [self.firsts[at], index, index + 1][left == 0 :][: len(split)]
        self._join(max(at - 1, 0))
        return True

    def _join(self, at: int) -> None:
        runs = self.runs
        for _ in range(5):
            if at + 1 >= len(runs):
                return
            value, span, _ = runs[at]
            if value and runs[at + 1][0] == value and span + runs[at + 1][1] <= _VAL_RUN:
                runs[at : at + 2] = [(value, span + runs[at + 1][1], 1)]
                del self.firsts[at + 1]
                self.grown -= 1
            else:
                at += 1

    def opcodes(self) -> bytes:
        code = bytearray()
        for value, span, size in self.runs:
            if value:
                code.append(0x80 | value - 1 << 2 | span - 1)
            elif size == 1:
                code.append(span - 1)
            else:
                code += bytes((0x40 | span - 1 >> 8, span - 1 & 255))
        if self.cut:
            code.pop()
        return bytes(code)


def _run(value: int, span: int) -> tuple[int, int, int]:
    return value, span, 1 if value or span <= _ZERO_RUN else 2


def _xzero_span(value: bytes | bytearray, at: int) -> int:
    """The registers of the XZERO at `at`; a second byte that is cut off counts as 0, as C strings end."""
    low = value[at + 1] if at + 1 < len(value) else 0
    return ((value[at] & 63) << 8 | low) + 1
