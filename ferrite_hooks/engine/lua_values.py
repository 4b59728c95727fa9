"""Between Redis and Lua: a script's words to a command's arguments, a command's reply to a Lua value.

A RESP2 reply is what Redis 2.6 defined (nil is false, a status is {ok=…}); after `redis.setresp(3)` the richer
types are tables with one field that names them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ferrite_hooks.engine.command import Argv
from ferrite_hooks.engine.lua import Lua, LuaFault
from ferrite_hooks.errors import ReplyError
from ferrite_hooks.resp.encoder import format_double
from ferrite_hooks.resp.reply import (
    OK,
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

_LARGE: Final = 1 << 16  # bytes or elements from which on Lua's memory is asked for beforehand
_OK: Final = {b"ok": OK.text}
_NO_WORDS: Final = b"ERR Please specify at least one argument for this redis lib call"
_BAD_WORDS: Final = b"ERR Lua redis lib command arguments must be strings or integers"


def to_argv(words: tuple[Any, ...]) -> Argv:
    """The arguments of `redis.call`. Raises LuaFault."""
    if not words:
        raise LuaFault(_NO_WORDS)
    argv = []
    for word in words:
        kind = type(word)
        if kind is bytes:
            argv.append(word)
        elif kind is int:
            argv.append(b"%d" % word)
        elif kind is float:
            argv.append(b"%.17g" % word)
        else:
            raise LuaFault(_BAD_WORDS)
    return argv


def to_lua(lua: Lua, resp: int, value: Reply) -> Any:
    """A reply as a value for lupa to hand to Lua."""
    kind = type(value)
    if kind is bytes:
        if len(value) > _LARGE:
            lua.room(len(value))
        return value
    if kind is int:
        return value
    if value is None:
        return None if resp == 3 else False
    if kind is Simple:
        return lua.table(_OK if value is OK else {b"ok": value.text})
    if kind is list:
        if len(value) > _LARGE:
            lua.room(sum(len(item) if type(item) is bytes else 0 for item in value) + 64 * len(value))
        return lua.table([item if type(item) is bytes else to_lua(lua, resp, item) for item in value])
    return (_TO_LUA3 if resp == 3 else _TO_LUA2)[kind](lua, value)


def error_table(text: bytes) -> dict[bytes, Any]:
    """What `redis.pcall` returns for an error that was counted when the command failed."""
    return {b"err": text, b"ignore_error_stats_update": True}


Convert = Callable[[Lua, Any], Any]


def _text(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


def _map3(lua: Lua, items: list[Any]) -> Any:
    made = lua.table({})
    for key, item in zip(items[::2], items[1::2], strict=True):
        made[to_lua(lua, 3, key)] = to_lua(lua, 3, item)
    return lua.table({b"map": made})


def _set3(lua: Lua, value: Any) -> Any:
    return lua.table({b"set": lua.table({to_lua(lua, 3, item): True for item in value})})


def _verbatim3(lua: Lua, value: Verbatim) -> Any:
    return lua.table({b"verbatim_string": lua.table({b"string": value.text, b"format": value.format})})


def _list(resp: int, items: Callable[[Any], Any] = list) -> Convert:
    return lambda lua, value: to_lua(lua, resp, list(items(value)))


def _shared(resp: int) -> dict[type, Convert]:
    return {
        str: lambda lua, value: _text(value),
        tuple: _list(resp),
        Push: _list(resp, lambda value: value.items),
        Entries: _list(resp, lambda value: ([id, list(fields)] for id, fields in value.items)),
        Several: lambda lua, value: to_lua(lua, resp, value.items[-1]),  # an attribute is not for scripts
        NoReply: lambda lua, value: False,
        ReplyError: lambda lua, value: lua.table(error_table(_text(value.text))),
    }


_TO_LUA2: dict[type, Convert] = _shared(2) | {
    bool: lambda lua, value: int(value),
    float: lambda lua, value: format_double(value),
    set: _list(2),
    frozenset: _list(2),
    Members: _list(2, lambda value: value.items),
    dict: _list(2, flat),
    Pairs: _list(2, lambda value: value.items),
    NilArray: lambda lua, value: False,
    Verbatim: lambda lua, value: value.text,
    BigNumber: lambda lua, value: value.digits,
    Double: lambda lua, value: value.digits,
}
_TO_LUA3: dict[type, Convert] = _shared(3) | {
    bool: lambda lua, value: value,
    float: lambda lua, value: lua.table({b"double": value}),
    set: _set3,
    frozenset: _set3,
    Members: lambda lua, value: _set3(lua, value.items),
    dict: lambda lua, value: _map3(lua, flat(value)),
    Pairs: lambda lua, value: _map3(lua, value.items),
    NilArray: lambda lua, value: None,
    Verbatim: _verbatim3,
    BigNumber: lambda lua, value: lua.table({b"big_number": value.digits}),
    Double: lambda lua, value: lua.table({b"double": float(value.digits)}),
}
_TO_LUA2[Encoded] = _TO_LUA3[Encoded] = lambda lua, value: value.wire
