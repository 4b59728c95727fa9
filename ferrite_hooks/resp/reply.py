"""The reply values that plain Python types cannot say.

A command returns bytes, int, float, bool, None, list, dict or set, one of the types below, or raises
ReplyError. How each looks on the wire in RESP2 and RESP3 is the encoder's business alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final


class Simple:
    """A simple string such as OK; its wire form is made once."""

    __slots__ = ("text", "wire")

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.wire = b"+" + text + b"\r\n"

    def __repr__(self) -> str:
        return f"Simple({self.text!r})"


class NilArray:
    """The null array: `*-1` in RESP2 (a blocking pop that timed out, an aborted EXEC)."""

    __slots__ = ()


class NoReply:
    """Nothing is sent: the command blocks, or has already pushed what it had to say."""

    __slots__ = ()


class Push:
    """An out-of-band message (Pub/Sub, invalidation): a push in RESP3, an array in RESP2."""

    __slots__ = ("items",)

    def __init__(self, items: list[Any]) -> None:
        self.items = items


class Members:
    """A set whose order is kept: a RESP3 set, an array in RESP2."""

    __slots__ = ("items",)

    def __init__(self, items: list[Any]) -> None:
        self.items = items


class Several:
    """Replies that follow each other without a frame around them: SUBSCRIBE of several channels."""

    __slots__ = ("items",)

    def __init__(self, items: list[Any]) -> None:
        self.items = items


class Encoded:
    """Bytes that are a reply already, made once for many receivers."""

    __slots__ = ("wire",)

    def __init__(self, wire: bytes) -> None:
        self.wire = wire


class Verbatim:
    """Text with a format hint; a bulk string in RESP2."""

    __slots__ = ("format", "text")

    def __init__(self, text: bytes, format: bytes = b"txt") -> None:
        self.text = text
        self.format = format


class Pairs:
    """A map whose order or repeated keys matter: key and value alternate in `items`."""

    __slots__ = ("items",)

    def __init__(self, items: list[Any]) -> None:
        self.items = items


def flat(value: dict[Any, Any]) -> list[Any]:
    """Key and value in turns, as Pairs has them."""
    return list(chain.from_iterable(value.items()))


class Entries:
    """Entries of a stream: the id of each, and its fields and values in turns."""

    __slots__ = ("items",)

    def __init__(self, items: list[tuple[bytes, Sequence[bytes]]]) -> None:
        self.items = items


class BigNumber:
    """An integer beyond 64 bits: `(` in RESP3, a bulk string in RESP2."""

    __slots__ = ("digits",)

    def __init__(self, digits: bytes) -> None:
        self.digits = digits


class Double:
    """A double whose digits the command chose: `,` in RESP3, a bulk string in RESP2."""

    __slots__ = ("digits",)

    def __init__(self, digits: bytes) -> None:
        self.digits = digits


OK: Final = Simple(b"OK")
QUEUED: Final = Simple(b"QUEUED")
PONG: Final = Simple(b"PONG")
NIL_ARRAY: Final = NilArray()
NO_REPLY: Final = NoReply()

Reply = Any  # a recursive union of the above; mypy cannot follow it usefully through every handler
