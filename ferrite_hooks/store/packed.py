"""The packed encodings that RDB files carry inside strings: listpack, ziplist, zipmap, intset, LZF.

Each decoder takes any bytes and gives the elements as bytes, or raises RdbError: whatever a length says, nothing
is read or reserved beyond what is there. Only listpacks are written, for streams. Integers are little-endian
unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable

LISTPACK_HEADER = 6  # total bytes u32, elements u16
_UNKNOWN_COUNT = 0xFFFF
_SMALL = [b"%d" % number for number in range(128)]  # shared: else one byte of a file would become forty here
_LZF_EXPANSION = 90  # three bytes can stand for at most 264


class RdbError(Exception):
    """The data is not what it should be; the text says what is wrong."""


def _sized(data: bytes, start: int, length: int, end: int) -> bytes:
    if start + length > end:
        raise RdbError("an element is longer than what contains it")
    return data[start : start + length]


def _number(data: bytes, start: int, length: int, end: int) -> bytes:
    """A signed integer, as the text that clients see."""
    return b"%d" % int.from_bytes(_sized(data, start, length, end), "little", signed=True)


# --- listpack ---


def listpack(data: bytes) -> list[bytes]:
    end = len(data) - 1
    if end < LISTPACK_HEADER or data[end] != 0xFF or int.from_bytes(data[:4], "little") != len(data):
        raise RdbError("a listpack's size or end is wrong")
    items: list[bytes] = []
    at = LISTPACK_HEADER
    while at < end:
        first = data[at]
        if first < 0x80:
            items.append(_SMALL[first])
            size = 1
        elif first < 0xC0:
            size = 1 + (first & 0x3F)
            items.append(_sized(data, at + 1, size - 1, end))
        elif first < 0xE0:
            value = int.from_bytes(_sized(data, at, 2, end), "big") & 0x1FFF
            items.append(b"%d" % (value - 0x2000 if value >= 0x1000 else value))
            size = 2
        elif first < 0xF0:
            length = int.from_bytes(_sized(data, at, 2, end), "big") & 0xFFF
            items.append(_sized(data, at + 2, length, end))
            size = 2 + length
        elif first == 0xF0:
            length = int.from_bytes(_sized(data, at + 1, 4, end), "little")
            items.append(_sized(data, at + 5, length, end))
            size = 5 + length
        elif first in _LISTPACK_INTS:
            width = _LISTPACK_INTS[first]
            items.append(_number(data, at + 1, width, end))
            size = 1 + width
        else:
            raise RdbError("a listpack has an unknown encoding")
        at += size + _back_length_size(size)
    count = int.from_bytes(data[4:6], "little")
    if at != end or (count != _UNKNOWN_COUNT and count != len(items)):
        raise RdbError("a listpack's elements do not fill it")
    return items


_LISTPACK_INTS = {0xF1: 2, 0xF2: 3, 0xF3: 4, 0xF4: 8}


def _back_length_size(size: int) -> int:
    """Bytes that tell, behind an element, how long it is."""
    return 1 if size < 128 else 2 if size < 1 << 14 else 3 if size < 1 << 21 else 4 if size < 1 << 28 else 5


def encode_listpack(items: Iterable[bytes | int]) -> bytes:
    """The listpack of `items`; those given as int, and texts of integers, are stored as integers."""
    parts = [b""]
    for item in items:
        value = item if isinstance(item, int) else integer_of(item)
        raw = _packed_string(item) if value is None else _packed_integer(value)  # type: ignore[arg-type]
        size = len(raw)
        parts.append(raw)
        width = _back_length_size(size)
        # Seven bits a byte, the highest first; all but the first say that more stand before them.
        parts.append(bytes((size >> 7 * (width - 1 - i) & 0x7F) | (0x80 if i else 0) for i in range(width)))
    count = min((len(parts) - 1) // 2, _UNKNOWN_COUNT)
    length = LISTPACK_HEADER + sum(map(len, parts)) + 1
    if length > 0xFFFF_FFFF:
        raise RdbError("too much data for one listpack")
    parts[0] = length.to_bytes(4, "little") + count.to_bytes(2, "little")
    parts.append(b"\xff")
    return b"".join(parts)


def integer_of(item: bytes) -> int | None:
    """The 64-bit integer whose canonical text `item` is."""
    if 0 < len(item) <= 20 and item[0] <= 0x39 and (item.isdigit() or (item[0] == 0x2D and item[1:].isdigit())):
        value = int(item)
        if -(1 << 63) <= value < 1 << 63 and b"%d" % value == item:
            return value
    return None


def _packed_integer(value: int) -> bytes:
    if 0 <= value < 128:
        return bytes((value,))
    if -4096 <= value < 4096:
        return (0xC000 | value & 0x1FFF).to_bytes(2, "big")
    for first, width in _LISTPACK_INTS.items():
        if -(1 << 8 * width - 1) <= value < 1 << 8 * width - 1:
            return bytes((first,)) + value.to_bytes(width, "little", signed=True)
    raise RdbError("an integer has more than 64 bits")


def _packed_string(item: bytes) -> bytes:
    size = len(item)
    if size < 64:
        return bytes((0x80 | size,)) + item
    if size < 4096:
        return (0xE000 | size).to_bytes(2, "big") + item
    return b"\xf0" + size.to_bytes(4, "little") + item


# --- what older files have ---


def ziplist(data: bytes) -> list[bytes]:
    end = len(data) - 1
    if end < 10 or data[end] != 0xFF or int.from_bytes(data[:4], "little") != len(data):
        raise RdbError("a ziplist's size or end is wrong")
    items: list[bytes] = []
    at = 10  # total bytes u32, offset of the last u32, elements u16
    while at < end:
        at += 5 if data[at] == 254 else 1  # how long the element before is
        if at >= end:
            raise RdbError("a ziplist's element is cut short")
        first = data[at]
        if first < 0x40:
            length, at = first, at + 1
            items.append(_sized(data, at, length, end))
        elif first < 0x80:
            length, at = int.from_bytes(_sized(data, at, 2, end), "big") & 0x3FFF, at + 2
            items.append(_sized(data, at, length, end))
        elif first < 0xC0:
            length, at = int.from_bytes(_sized(data, at + 1, 4, end), "big"), at + 5
            items.append(_sized(data, at, length, end))
        elif first in _ZIPLIST_INTS:
            length, at = _ZIPLIST_INTS[first], at + 1
            items.append(_number(data, at, length, end))
        elif 0xF1 <= first <= 0xFD:
            length, at = 0, at + 1
            items.append(_SMALL[first - 0xF1])
        else:
            raise RdbError("a ziplist has an unknown encoding")
        at += length
    count = int.from_bytes(data[8:10], "little")
    if at != end or (count != _UNKNOWN_COUNT and count != len(items)):
        raise RdbError("a ziplist's elements do not fill it")
    return items


_ZIPLIST_INTS = {0xC0: 2, 0xD0: 4, 0xE0: 8, 0xF0: 3, 0xFE: 1}


def zipmap(data: bytes) -> list[bytes]:
    """Fields and values in turn. Each length is one byte, or 254 and four; a value may have unused bytes."""
    end = len(data) - 1
    if end < 1 or data[end] != 0xFF:
        raise RdbError("a zipmap's end is wrong")
    items: list[bytes] = []
    at = 1  # the count, which is unreliable from 254 on
    while at < end:
        length, at = data[at], at + 1
        if length == 255:
            raise RdbError("a zipmap ends too early")
        if length == 254:
            length, at = int.from_bytes(_sized(data, at, 4, end), "little"), at + 4
        unused = 0
        if len(items) % 2:
            unused, at = _sized(data, at, 1, end)[0], at + 1
        items.append(_sized(data, at, length, end))
        at += length + unused
    if at != end or len(items) % 2 or (data[0] < 254 and data[0] != len(items) // 2):
        raise RdbError("a zipmap's elements do not fill it")
    return items


def intset(data: bytes) -> list[bytes]:
    width, count = int.from_bytes(data[:4], "little"), int.from_bytes(data[4:8], "little")
    if width not in (2, 4, 8) or len(data) != 8 + width * count:
        raise RdbError("an intset's size is wrong")
    return [_number(data, at, width, len(data)) for at in range(8, len(data), width)]


def lzf(data: bytes, size: int) -> bytes:
    """Decompresses to exactly `size` bytes."""
    if size > len(data) * _LZF_EXPANSION:
        raise RdbError("compressed data claims to be longer than it can be")
    out = bytearray()
    at, end = 0, len(data)
    while at < end:
        control = data[at]
        at += 1
        if control < 32:  # so many bytes and one as they are
            out += _sized(data, at, control + 1, end)
            at += control + 1
        else:  # a stretch that stood before: its length, and how far back
            length = control >> 5
            if length == 7:
                length += _sized(data, at, 1, end)[0]
                at += 1
            distance = ((control & 31) << 8 | _sized(data, at, 1, end)[0]) + 1
            at += 1
            length += 2
            start = len(out) - distance
            if start < 0:
                raise RdbError("compressed data refers to what is not there")
            if distance >= length:
                out += out[start : start + length]
            else:  # the stretch repeats itself
                stretch = out[start:]
                out += (stretch * (length // distance + 1))[:length]
        if len(out) > size:
            break
    if len(out) != size:
        raise RdbError("compressed data has not the length it claims")
    return bytes(out)
