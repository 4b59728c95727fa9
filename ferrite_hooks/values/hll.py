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
from collections.abc import Iterable, Sequence

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
    hll = bytearray(value)
    changed = False
    for element in elements:
        index, rank = _locate(element)
        changed |= _set(hll, index, rank, max_bytes, [HEADER, 0])
    if not changed:
        return None
    hll[15] |= 0x80
    return bytes(hll)


def merge(values: Sequence[bytes], max_bytes: int = SPARSE_MAX_BYTES) -> bytes:
    """The union, written over the first value. Dense as soon as one of them is. Raises CorruptError."""
    target = values[0]
    union = _union(values)
    if not all(map(is_sparse, values)):
        target = to_dense(target)
    hll = bytearray(target)
    cursor = [HEADER, 0]
    for index, rank in enumerate(union):
        if hll[4] == _DENSE:
            hll[HEADER:] = _pack(_max(_unpack(hll), union))
            break
        if rank:
            _set(hll, index, rank, max_bytes, cursor)
    hll[15] |= 0x80
    return bytes(hll)


def count(value: bytes) -> int:
    """The estimated cardinality, computed. Raises CorruptError."""
    return _estimate(registers(value))


def count_union(values: Sequence[bytes]) -> int:
    """The estimated cardinality of the union. Raises CorruptError."""
    return _estimate(_union(values))


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
    return value[:4] + b"\x00" + value[5:HEADER] + _pack(registers(value))


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


def _union(values: Sequence[bytes]) -> bytes:
    union = bytes(REGISTERS)
    for value in values:
        union = _max(union, registers(value))
    return union


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


# One register at a time


def _set(hll: bytearray, index: int, rank: int, max_bytes: int, cursor: list[int]) -> bool:
    """Raises the register to `rank` in place, from sparse to dense if need be. False when it has as much."""
    if hll[4] == _SPARSE:
        if rank <= _VAL_MAX:
            changed = _set_sparse(hll, index, rank, max_bytes, cursor)
            if changed is not None:
                return changed
        hll[:] = to_dense(bytes(hll))
    bit = index * 6
    at, shift = HEADER + bit // 8, bit % 8
    pair = int.from_bytes(hll[at : at + 2], "little")
    if pair >> shift & 63 >= rank:
        return False
    pair = pair & ~(63 << shift) | rank << shift
    hll[at : at + 2] = pair.to_bytes(2, "little")[: len(hll) - at]
    return True


def _set_sparse(hll: bytearray, index: int, rank: int, max_bytes: int, cursor: list[int]) -> bool | None:
    """Raises one register of the opcodes in place. None when they would become longer than `max_bytes`.

    cursor: where to start, [offset of an opcode, its first register]; moved on so that the next call may
    start there if its index is greater. Raises CorruptError when no opcode covers the register.
    """
    at, first = cursor
    end = len(hll)
    before2 = before = (at, first)  # the opcodes before the one that covers the register
    for match in _STRETCH.finditer(bytes(hll), at):
        stretch = match[0]
        xzero = 64 <= stretch[0] < 128
        span = _xzero_span(stretch, 0) if xzero else sum(stretch.translate(_SPAN))
        if index < first + span:
            break
        if xzero or len(stretch) == 1:
            before2, before = before, (at, first)
        at, first = match.end(), first + span
        if not xzero and len(stretch) > 1:
            before = at - 1, first - _SPAN[stretch[-1]]
            before2 = at - 2, before[1] - _SPAN[stretch[-2]]
    else:
        raise CorruptError
    op = hll[at]
    while not xzero and index >= first + (span := _SPAN[op]):
        before2, before = before, (at, first)
        at += 1
        first += span
        op = hll[at]
    size = 2 if xzero else 1
    value = _RUN[op][0] if op >= 128 else 0
    if value >= rank:
        return False
    cursor[:] = before2
    split = _opcodes(value, index - first) + _opcodes(rank, 1) + _opcodes(value, first + span - 1 - index)
    if len(split) > size and end + len(split) - size > max_bytes:
        return None
    hll[at : at + size] = split
    _join_values(hll, before[0])
    return True


def _opcodes(value: int, span: int) -> bytes:
    """One opcode for a stretch that a single opcode covered before; nothing for none."""
    if not span:
        return b""
    if value:
        return bytes([0x80 | value - 1 << 2 | span - 1])
    if span <= _ZERO_RUN:
        return bytes([span - 1])
    return bytes([0x40 | span - 1 >> 8, span - 1 & 255])


def _join_values(hll: bytearray, at: int) -> None:
    """Joins neighbours of equal value where one opcode can hold both, over the five steps Redis takes."""
    for _ in range(5):
        if at >= len(hll):
            return
        op = hll[at]
        if op < 128:
            at += 2 if op >= 64 else 1
            continue
        if at + 1 < len(hll):
            after = hll[at + 1]
            span = _SPAN[op] + _SPAN[after]
            if after >= 128 and op >> 2 == after >> 2 and span <= _VAL_RUN:
                hll[at : at + 2] = _opcodes(_RUN[op][0], span)
                continue
        at += 1


def _xzero_span(value: bytes | bytearray, at: int) -> int:
    """The registers of the XZERO at `at`; a second byte that is cut off counts as 0, as C strings end."""
    low = value[at + 1] if at + 1 < len(value) else 0
    return ((value[at] & 63) << 8 | low) + 1
