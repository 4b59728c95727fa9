"""Reply values to bytes, for RESP2 and RESP3.

Both dialects share one walk; what differs is a row in each table. The commonest types are tested first,
by identity of their type, because a reply is encoded for every command.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any, Final

from ferrite_hooks.errors import ReplyError
from ferrite_hooks.resp.reply import (
    BigNumber,
    Double,
    Encoded,
    Entries,
    Members,
    NilArray,
    NoReply,
    Pairs,
    Push,
    Reply,
    Several,
    Simple,
    Verbatim,
    flat,
)

Out = list[bytes]
Encode = Callable[[Out, Reply], None]

_INTS: Final = [b":%d\r\n" % n for n in range(1024)]
_HEADS: Final = [b"$%d\r\n" % n for n in range(1024)]  # of bulk strings
_NEXT_HEADS: Final = [b"\r\n" + head for head in _HEADS]  # with the end of what is before
_COPIED: Final = 1 << 20  # bytes of an array's elements that may be copied one time more to be quicker


def format_double(value: float) -> bytes:
    """A double as Redis prints it: up to 17 significant digits, no trailing `.0`, `inf`, `-inf`, `nan`."""
    if -1e15 < value < 1e15:
        whole = int(value)
        if whole == value and whole:  # what most scores are; a zero may have a sign
            return b"%d" % whole
    if isfinite(value):
        return b"%.17g" % value
    return b"nan" if value != value else b"inf" if value > 0 else b"-inf"


def encode2(out: Out, value: Reply) -> None:
    """Appends the RESP2 form of `value` to `out`."""
    kind = type(value)
    if kind is bytes:
        size = len(value)
        if size < 1024:
            out.append(_HEADS[size] + value + b"\r\n")
        elif size < 65536:
            out.append(b"$%d\r\n%b\r\n" % (size, value))
        else:  # not copied one time more than needed
            out += (b"$%d\r\n" % size, value, b"\r\n")
    elif kind is Simple:
        out.append(value.wire)
    elif kind is int:
        out.append(_INTS[value] if 0 <= value < 1024 else f":{value}\r\n".encode())
    elif value is None:
        out.append(b"$-1\r\n")
    elif kind is list:
        begun = _begin(out, b"*%d" % len(value), value)
        if begun < len(value):
            for item in value[begun:] if begun else value:
                encode2(out, item)
    elif kind is float:
        _bulk(out, format_double(value))
    else:
        _OTHERS2[kind](out, value)


def encode3(out: Out, value: Reply) -> None:
    """Appends the RESP3 form of `value` to `out`."""
    kind = type(value)
    if kind is bytes:
        size = len(value)
        if size < 1024:
            out.append(_HEADS[size] + value + b"\r\n")
        elif size < 65536:
            out.append(b"$%d\r\n%b\r\n" % (size, value))
        else:  # not copied one time more than needed
            out += (b"$%d\r\n" % size, value, b"\r\n")
    elif kind is Simple:
        out.append(value.wire)
    elif kind is int:
        out.append(_INTS[value] if 0 <= value < 1024 else f":{value}\r\n".encode())
    elif value is None:
        out.append(b"_\r\n")
    elif kind is list:
        begun = _begin(out, b"*%d" % len(value), value)
        if begun < len(value):
            for item in value[begun:] if begun else value:
                encode3(out, item)
    else:
        _OTHERS3[kind](out, value)


def _begin(out: Out, header: bytes, items: list[Any]) -> int:
    """Appends the header of an array or the like, and the byte strings that it begins with, mostly all. Returns how
    many they are."""
    if not items or type(items[0]) is not bytes:
        out.append(header + b"\r\n")
        return 0
    out.append(header)
    size = _common_size(items)
    if size >= 0 and size * len(items) < _COPIED:
        head = _NEXT_HEADS[size]
        out += (head, head.join(items), b"\r\n")
        return len(items)
    count = 0
    for item in items:
        if type(item) is not bytes:
            break
        size = len(item)
        out.append(_NEXT_HEADS[size] if size < 1024 else b"\r\n$%d\r\n" % size)
        out.append(item)
        count += 1
    out.append(b"\r\n")
    return count


def _common_size(items: list[Any]) -> int:
    """The size of short byte strings that have all the same one, else -1."""
    common = -1
    for item in items:
        if type(item) is not bytes:
            return -1
        size = len(item)
        if size != common:
            if common >= 0 or size >= 1024:
                return -1
            common = size
    return common


def _sequence(mark: bytes, encode: Encode, items: Callable[[Any], Any] = lambda value: value) -> Encode:
    per_entry = 2 if mark == b"%" else 1

    def write(out: Out, value: Any) -> None:
        elements = list(items(value))
        begun = _begin(out, b"%b%d" % (mark, len(elements) // per_entry), elements)
        for item in elements[begun:]:
            encode(out, item)

    return write


def _entries(out: Out, value: Entries) -> None:
    out.append(b"*%d\r\n" % len(value.items))
    for id, fields in value.items:
        _begin(out, b"*2\r\n$%d\r\n%b\r\n*%d" % (len(id), id, len(fields)), list(fields))


def _several(encode: Encode) -> Encode:
    def write(out: Out, value: Several) -> None:
        for item in value.items:
            encode(out, item)

    return write


def _bulk(out: Out, value: bytes) -> None:
    out.append(b"$%d\r\n%b\r\n" % (len(value), value))


def _error(out: Out, value: ReplyError) -> None:
    out.append(b"-%b\r\n" % value.text.encode("utf-8", "surrogateescape"))


def _text(encode: Encode) -> Encode:
    return lambda out, value: encode(out, value.encode("utf-8", "surrogateescape"))


def _verbatim3(out: Out, value: Verbatim) -> None:
    out.append(b"=%d\r\n%b:%b\r\n" % (len(value.text) + 4, value.format, value.text))


_OTHERS2: dict[type, Encode] = {
    bool: lambda out, value: out.append(b":1\r\n" if value else b":0\r\n"),
    str: _text(encode2),
    tuple: _sequence(b"*", encode2),
    set: _sequence(b"*", encode2),
    frozenset: _sequence(b"*", encode2),
    Members: _sequence(b"*", encode2, lambda value: value.items),
    dict: _sequence(b"*", encode2, flat),
    Pairs: _sequence(b"*", encode2, lambda value: value.items),
    Push: _sequence(b"*", encode2, lambda value: value.items),
    NilArray: lambda out, value: out.append(b"*-1\r\n"),
    NoReply: lambda out, value: None,
    Verbatim: lambda out, value: _bulk(out, value.text),
    Several: _several(encode2),
    Entries: _entries,
    Encoded: lambda out, value: out.append(value.wire),
    BigNumber: lambda out, value: _bulk(out, value.digits),
    Double: lambda out, value: _bulk(out, value.digits),
    ReplyError: _error,
}

_OTHERS3: dict[type, Encode] = {
    bool: lambda out, value: out.append(b"#t\r\n" if value else b"#f\r\n"),
    float: lambda out, value: out.append(b",%b\r\n" % format_double(value)),
    str: _text(encode3),
    tuple: _sequence(b"*", encode3),
    set: _sequence(b"~", encode3),
    frozenset: _sequence(b"~", encode3),
    Members: _sequence(b"~", encode3, lambda value: value.items),
    dict: _sequence(b"%", encode3, flat),
    Pairs: _sequence(b"%", encode3, lambda value: value.items),
    Push: _sequence(b">", encode3, lambda value: value.items),
    NilArray: lambda out, value: out.append(b"_\r\n"),
    NoReply: lambda out, value: None,
    Verbatim: _verbatim3,
    Several: _several(encode3),
    Entries: _entries,
    Encoded: lambda out, value: out.append(value.wire),
    BigNumber: lambda out, value: out.append(b"(%b\r\n" % value.digits),
    Double: lambda out, value: out.append(b",%b\r\n" % value.digits),
    ReplyError: _error,
}
