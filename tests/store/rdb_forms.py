"""The encodings that Redis no longer writes, written: for tests that let redis-server itself judge them."""

import struct
from collections.abc import Iterable

from ferrite_hooks.store.crc64 import crc64
from ferrite_hooks.store.output import Output


def payload(kind: int, body: bytes, version: int = 10) -> bytes:
    """A DUMP payload with a right checksum."""
    data = bytes([kind]) + body + struct.pack("<H", version)
    return data + struct.pack("<Q", crc64(data))


def raw(data: bytes) -> bytes:
    return length(len(data)) + data


def ziplist(items: Iterable[bytes | int]) -> bytes:
    """Integers are stored as such; sizes below 254 only have one byte before them."""
    body, previous, offset, count = b"", 0, 10, 0
    for item in items:
        offset = 10 + len(body)
        entry = (bytes([previous]) if previous < 254 else b"\xfe" + struct.pack("<I", previous)) + _entry(item)
        body, previous, count = body + entry, len(entry), count + 1
    return struct.pack("<IIH", 11 + len(body), offset, count) + body + b"\xff"


def _entry(item: bytes | int) -> bytes:
    if isinstance(item, bytes):
        if len(item) < 64:
            return bytes([len(item)]) + item
        if len(item) < 1 << 14:
            return struct.pack(">H", 0x4000 | len(item)) + item
        return b"\x80" + struct.pack(">I", len(item)) + item
    if 0 <= item <= 12:
        return bytes([0xF1 + item])
    for first, width in ((0xFE, 1), (0xC0, 2), (0xF0, 3), (0xD0, 4), (0xE0, 8)):
        if -(1 << 8 * width - 1) <= item < 1 << 8 * width - 1:
            return bytes([first]) + item.to_bytes(width, "little", signed=True)
    raise ValueError(item)


def zipmap(pairs: dict[bytes, bytes], unused: int = 0) -> bytes:
    def size(data: bytes) -> bytes:
        return bytes([len(data)]) if len(data) < 254 else b"\xfe" + struct.pack("<I", len(data))

    body = b"".join(size(f) + f + size(v) + bytes([unused]) + v + bytes(unused) for f, v in pairs.items())
    return bytes([min(len(pairs), 254)]) + body + b"\xff"


def intset(numbers: list[int], width: int) -> bytes:
    return struct.pack("<II", width, len(numbers)) + b"".join(
        n.to_bytes(width, "little", signed=True) for n in sorted(numbers)
    )


def short_double(text: bytes) -> bytes:
    return {b"nan": b"\xfd", b"inf": b"\xfe", b"-inf": b"\xff"}.get(text) or bytes([len(text)]) + text


def strings(items: Iterable[bytes]) -> bytes:
    out = Output()
    for item in items:
        out.string(item)
    return out.taken()


def length(value: int) -> bytes:
    out = Output()
    out.length(value)
    return out.taken()


LONG = b"long" * 300
HUGE = b"huge" * 5000

# name -> (RDB type, body, whether redis-server 7.0 knows it)
OLD_FORMS: dict[str, tuple[int, bytes, bool]] = {
    "list": (1, length(3) + strings([b"a", b"-5", LONG]), True),
    "zset with text scores": (
        3,
        length(4)
        + b"".join(strings([m]) + short_double(s) for m, s in
                   [(b"a", b"1.5"), (b"b", b"-3"), (b"c", b"inf"), (b"d", b"-inf")]),
        True,
    ),
    "hash zipmap": (9, raw(zipmap({b"f": b"v", b"g": b"w" * 253, b"h" * 254: b"", b"": b"x" * 300}, 3)), True),
    "list ziplist": (
        10,
        raw(ziplist([b"", b"a", LONG[:64], LONG, HUGE, 0, 12, 13, -1, 127, -128, 128, -32768, 32768, 8388607,
                     -8388608, 8388608, -(2**31), 2**31, 2**63 - 1, -(2**63)])),
        True,
    ),
    "set intset 2": (11, raw(intset([-32768, 0, 5, 32767], 2)), True),
    "set intset 4": (11, raw(intset([-(2**31), 0, 2**31 - 1], 4)), True),
    "set intset 8": (11, raw(intset([-(2**63), 0, 2**63 - 1], 8)), True),
    "zset ziplist": (12, raw(ziplist([b"m", 1, b"n", b"2.5", b"o", b"inf", b"p", 1000])), True),
    "hash ziplist": (13, raw(ziplist([b"f", 1, b"g", LONG, 7, b"seven"])), True),
    "list quicklist": (14, length(2) + raw(ziplist([b"a", 1])) + raw(ziplist([HUGE])), True),
    "set listpack": (20, raw(b"\x0f\0\0\0\x03\0\x81a\x02\x81b\x02\x05\x01\xff"), False),
}  # fmt: skip
