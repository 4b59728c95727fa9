"""MessagePack: how the journal, snapshots and sender processes write plain values.

msgspec does it, several times as fast as others. It refuses halves of surrogate pairs, which a hostile endpoint can
bring into the text of an error; these rare values are left to msgpack, which writes the same bytes for all others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgpack
import msgspec

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder().decode
_LENGTH: Final = 4  # bytes before a message: how long its value is, little-endian; then one that says its kind
_PREFIX: Final = _LENGTH + 1

T = TypeVar("T")


def pack(value: Any) -> bytes:
    """Raises OverflowError for integers beyond 64 bits, TypeError for no plain value, ValueError beyond 4 GiB."""
    try:
        return _encode(value)
    except UnicodeEncodeError:
        plain = msgspec.to_builtins(value, builtin_types=(bytes, bytearray))
        packed: bytes = msgpack.packb(plain, unicode_errors="surrogatepass")
        return packed


def unpack(data: bytes) -> Any:
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


def unpacker(shape: type[T]) -> Callable[[bytes], T]:
    """An `unpack` for values of one type: tuples, NamedTuples and enums come back as what they were, in less time."""
    decode = msgspec.msgpack.Decoder(shape).decode

    def unpack_shape(data: bytes) -> T:
        try:
            return decode(data)
        except (UnicodeDecodeError, RecursionError):  # `unpack` knows what to do
            return msgspec.convert(unpack(data), shape)

    return unpack_shape


def pack_message(kind: int, value: Any) -> bytes:
    """As `pack`, for a stream that a Messages reads. `kind`: up to 255."""
    packed = pack(value)
    return b"%b%c%b" % (len(packed).to_bytes(_LENGTH, "little"), kind, packed)


class Messages:
    """The reading end of a stream of messages."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Takes bytes as they come; returns the kinds and the packed values that are whole with them."""
        self._buffer += data
        found: list[tuple[int, bytes]] = []
        at, size = 0, len(self._buffer)
        with memoryview(self._buffer) as view:
            while size - at >= _PREFIX:
                end = at + _PREFIX + int.from_bytes(view[at : at + _LENGTH], "little")
                if end > size:
                    break
                found.append((view[at + _LENGTH], bytes(view[at + _PREFIX : end])))
                at = end
        del self._buffer[:at]
        return found
