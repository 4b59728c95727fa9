"""RDB's two building blocks as they are written: lengths, and strings; and what our own files have besides."""

from __future__ import annotations

from ferrite_hooks.store.packed import integer_of

FIELD_TIMES = b"ferrite-field-times"  # AUX of our snapshots: which fields of the hash that follows expire, and when


def length(value: int) -> bytes:
    """A number in the shortest of four forms; its first two bits say which."""
    if value < 0x40:
        return bytes((value,))
    if value < 0x4000:
        return (0x4000 | value).to_bytes(2, "big")
    if value <= 0xFFFF_FFFF:
        return b"\x80" + value.to_bytes(4, "big")
    return b"\x81" + value.to_bytes(8, "big")


def string(value: bytes) -> tuple[bytes, bytes]:
    """Two parts: the length and the bytes; or, for the text of a 32-bit integer, its kind and the integer."""
    size = len(value)
    if size <= 11:
        integer = integer_of(value)
        if integer is not None and -(1 << 31) <= integer < 1 << 31:
            if -128 <= integer < 128:
                return b"\xc0", integer.to_bytes(1, "little", signed=True)
            if -32768 <= integer < 32768:
                return b"\xc1", integer.to_bytes(2, "little", signed=True)
            return b"\xc2", integer.to_bytes(4, "little", signed=True)
    return length(size), value
