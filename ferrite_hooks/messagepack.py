"""MessagePack: how the journal, snapshots and sender processes write plain values.

msgspec does it, several times as fast as others. It refuses halves of surrogate pairs, which a hostile endpoint can
bring into the text of an error; these rare values are left to msgpack, which writes the same bytes for all others.
"""

from __future__ import annotations

from typing import Any, Final

import msgpack
import msgspec

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder().decode
_PREFIX: Final = 4  # bytes before a message: its length, little-endian


def pack(value: Any) -> bytes:
    """Raises OverflowError for integers beyond 64 bits, TypeError for no plain value, ValueError beyond 4 GiB."""
    try:
        return _encode(value)
    except UnicodeEncodeError:
        packed: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
        return packed


def unpack(data: bytes | bytearray | memoryview) -> Any:
    """What went in as tuples comes back as lists. Raises ValueError."""
    try:
        return _decode(data)
    except UnicodeDecodeError:
        try:
            return msgpack.unpackb(data, strict_map_key=False, unicode_errors="surrogatepass")
        except msgpack.exceptions.UnpackException as error:
            raise ValueError(str(error)) from error
    except RecursionError:
        raise ValueError("nested too deep") from None


def pack_message(value: Any) -> bytes:
    """As `pack`, for a stream that a Messages reads."""
    packed = pack(value)
    return len(packed).to_bytes(_PREFIX, "little") + packed


class Messages:
    """The reading end of a stream of messages."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """Takes bytes as they come; returns the values that are whole with them. Raises ValueError."""
        self._buffer += data
        found: list[Any] = []
        at, size = 0, len(self._buffer)
        with memoryview(self._buffer) as view:
            while size - at >= _PREFIX:
                end = at + _PREFIX + int.from_bytes(view[at : at + _PREFIX], "little")
                if end > size:
                    break
                with view[at + _PREFIX : end] as message:
                    found.append(unpack(message))
                at = end
        del self._buffer[:at]
        return found
