"""RDB's two building blocks as they are written: lengths, and strings."""

from __future__ import annotations


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
    if size <= 11 and (value.isdigit() or value[:1] == b"-"):
        integer = _integer32(value)
        if integer is not None:
            if -128 <= integer < 128:
                return b"\xc0", integer.to_bytes(1, "little", signed=True)
            if -32768 <= integer < 32768:
                return b"\xc1", integer.to_bytes(2, "little", signed=True)
            return b"\xc2", integer.to_bytes(4, "little", signed=True)
    return length(size), value


def _integer32(text: bytes) -> int | None:
    if text.isdigit() or text[1:].isdigit():
        value = int(text)
        if -(1 << 31) <= value < 1 << 31 and b"%d" % value == text:
            return value
    return None
