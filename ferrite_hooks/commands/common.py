"""Argument parsing that several families share. Each helper raises the ReplyError that Redis gives."""

from __future__ import annotations

import re
from math import ceil, isinf, isnan

from ferrite_hooks.engine.command import COMMANDS, Argv
from ferrite_hooks.engine.engine import Engine
from ferrite_hooks.errors import (
    NOT_FLOAT,
    NOT_INTEGER,
    SYNTAX,
    TIMEOUT_NEGATIVE,
    TIMEOUT_NOT_FLOAT,
    TIMEOUT_OUT_OF_RANGE,
    ReplyError,
    invalid_expire,
)
from ferrite_hooks.resp.reply import Reply, Simple

I64_MIN, I64_MAX = -(2**63), 2**63 - 1
_INTEGER = re.compile(rb"(?:0|-?[1-9][0-9]{0,18})\Z")
_FLOAT = re.compile(rb"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|inf(?:inity)?|0[xX][0-9a-fA-F]+)\Z", re.IGNORECASE)


def integer(raw: bytes, error: str = NOT_INTEGER) -> int:
    """A signed 64-bit integer as Redis reads it: no blanks, no plus sign, no leading zeros."""
    if _INTEGER.match(raw):
        value = int(raw)
        if I64_MIN <= value <= I64_MAX:
            return value
    raise ReplyError(error)


def double(raw: bytes, error: str = NOT_FLOAT) -> float:
    """A double as Redis's strtod reads it: decimal, exponent, inf or hexadecimal; never nan, no blanks."""
    if not _FLOAT.match(raw):
        raise ReplyError(error)
    try:
        value = float(raw)
    except ValueError:
        value = float(int(raw, 16))
    if isnan(value) or (isinf(value) and b"n" not in raw.lower()):
        raise ReplyError(error)
    return value


def block_deadline(engine: Engine, raw: bytes) -> int:
    """The timeout in seconds of a blocking command, as a deadline in unix ms; 0 = wait for ever."""
    seconds = double(raw, TIMEOUT_NOT_FLOAT)
    if seconds < 0:
        raise ReplyError(TIMEOUT_NEGATIVE)
    if seconds * 1000 > I64_MAX - engine.clock.now:
        raise ReplyError(TIMEOUT_OUT_OF_RANGE)
    return engine.clock.now + ceil(seconds * 1000) if seconds else 0


_EXPIRE_UNITS = {b"EX": (1000, True), b"PX": (1, True), b"EXAT": (1000, False), b"PXAT": (1, False)}


def expire_option(engine: Engine, argv: Argv, at: int, also: bytes, name: str) -> tuple[bytes, int]:
    """Reads `[EX s | PX ms | EXAT s | PXAT ms | also]` from `argv[at:]`, which it must fill.

    Returns (option in capitals, unix ms), (also, 0) or (b"", 0). Raises syntax, integer and invalid expire
    errors."""
    if len(argv) == at:
        return b"", 0
    option = argv[at].upper()
    if option == also and len(argv) == at + 1:
        return option, 0
    if option not in _EXPIRE_UNITS or len(argv) != at + 2:
        raise ReplyError(SYNTAX)
    return option, deadline(engine, option, argv[at + 1], name)


def deadline(engine: Engine, option: bytes, raw: bytes, name: str) -> int:
    """Unix ms that `EX|PX|EXAT|PXAT raw` means. Raises when it is not a positive time that fits."""
    unit, relative = _EXPIRE_UNITS[option]
    value = integer(raw)
    if value <= 0 or value > I64_MAX // unit:
        raise ReplyError(invalid_expire(name))
    when = value * unit
    if relative:
        when += engine.clock.now
        if when > I64_MAX:
            raise ReplyError(invalid_expire(name))
    return when


def help_lines(container: str) -> Reply:
    """What `CONTAINER HELP` answers, made from the declarations of its subcommands."""
    lines = [f"{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"]
    for sub in COMMANDS[container.lower().encode()].subcommands.values():
        if not sub.name.endswith("|help"):
            lines += [sub.syntax.removeprefix(container + " "), "    " + sub.summary]
    return [Simple(line.encode()) for line in [*lines, "HELP", "    Prints this help."]]
