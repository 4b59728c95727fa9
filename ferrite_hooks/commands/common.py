"""Argument parsing that several families share. Each helper raises the ReplyError that Redis gives."""

from __future__ import annotations

import re
from math import ceil, inf, isinf
from random import choices
from typing import Final

from ferrite_hooks.engine.command import COMMANDS
from ferrite_hooks.engine.engine import Engine
from ferrite_hooks.engine.keyspace import Database, snapshot
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import (
    INCREMENT_NAN,
    NOT_FLOAT,
    NOT_INTEGER,
    OUT_OF_RANGE,
    STRING_TOO_LONG,
    TIMEOUT_NEGATIVE,
    TIMEOUT_NOT_FLOAT,
    TIMEOUT_OUT_OF_RANGE,
    WRONGTYPE,
    ReplyError,
    invalid_expire,
)
from ferrite_hooks.resp.reply import Reply, Simple
from ferrite_hooks.values import longdouble
from ferrite_hooks.values.collections import Hash, Set, random_member, random_members
from ferrite_hooks.values.longdouble import LongDouble
from ferrite_hooks.values.raw import Raw
from ferrite_hooks.webhooks.model import Written

I64_MIN: Final = -(2**63)
I64_MAX: Final = 2**63 - 1
SAMPLE_MAX: Final = 1_000_000  # members that a negative count may ask for
_SMALL: Final = {b"%d" % n: n for n in range(-10, 1000)}
_INTEGER: Final = re.compile(rb"(?:0|-?[1-9][0-9]{0,18})\Z")
_FLOAT: Final = re.compile(rb"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?)\Z", re.IGNORECASE)
_HEX_FLOAT: Final = re.compile(rb"[+-]?0x(?:[0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)(?:p[+-]?\d+)?\Z", re.IGNORECASE)
_NOT_ZERO: Final = re.compile(rb"[^ep]*[1-9]", re.IGNORECASE)


def integer(raw: bytes | bytearray, error: str = NOT_INTEGER) -> int:
    """A signed 64-bit integer as Redis reads it: no blanks, no plus sign, no leading zeros."""
    if len(raw) < 4 and type(raw) is bytes and (small := _SMALL.get(raw)) is not None:
        return small
    if len(raw) < 19 and raw.isdigit() and (raw[0] != 48 or len(raw) == 1):  # what there is most of
        return int(raw)
    if _INTEGER.match(raw):
        value = int(raw)
        if I64_MIN <= value <= I64_MAX:
            return value
    raise ReplyError(error)


def strtod(raw: bytes) -> float | None:
    """What C's strtod makes of a text without leading blanks: decimal, hexadecimal or inf, and ±inf for what is
    too large. None for nan and for a text that it would not read to its end."""
    if _FLOAT.match(raw):
        return float(raw)
    if _HEX_FLOAT.match(raw):
        try:
            return float.fromhex(raw.decode())
        except OverflowError:
            return -inf if raw[:1] == b"-" else inf
    return None


def double(raw: bytes, error: str = NOT_FLOAT) -> float:
    """A double as Redis reads it: decimal, hexadecimal or inf; never nan, no blanks, neither too large nor too
    small for a double."""
    if len(raw) < 19:  # what there is most of
        digits = raw[1:] if raw[:1] == b"-" else raw
        if digits.isdigit() or digits.replace(b".", b"", 1).isdigit():
            return float(raw)
    value = strtod(raw)
    if value is None or (isinf(value) and b"n" not in raw.lower()) or (value == 0 and _NOT_ZERO.match(raw)):
        raise ReplyError(error)
    return value


def long_double(raw: bytes, error: str = NOT_FLOAT) -> LongDouble:
    """An 80-bit long double as C's strtold reads it: what INCRBYFLOAT computes with."""
    try:
        return longdouble.parse(raw)
    except ValueError:
        raise ReplyError(error)


def is_infinite(value: LongDouble) -> bool:
    return value[1] == longdouble.INFINITE


def add_long_doubles(augend: LongDouble, addend: LongDouble) -> bytes:
    """The sum as INCRBYFLOAT and HINCRBYFLOAT store it: at most 17 decimals, no exponent, no trailing zeros.

    Raises ReplyError when it is infinite."""
    try:
        return longdouble.text(longdouble.add(augend, addend))
    except OverflowError:
        raise ReplyError(INCREMENT_NAN)


def natural(raw: bytes, error: str = OUT_OF_RANGE + ", must be positive") -> int:
    """An integer that is not negative."""
    value = integer(raw, error)
    if value < 0:
        raise ReplyError(error)
    return value


def negatable(raw: bytes) -> int:
    """An integer whose negative is one too: a count or rank whose sign means something."""
    value = integer(raw)
    if value == I64_MIN:
        raise ReplyError(f"{OUT_OF_RANGE}, value must between {-I64_MAX} and {I64_MAX}")
    return value


def random_sample(value: Hash | Set, count: int) -> list[bytes]:
    """Random fields or members: `count` different ones, or `-count` that may be repeated.

    A reply is made whole in memory, so repetition is limited. Raises ReplyError beyond that."""
    if count >= 0:
        return random_members(value, count)
    if -count > SAMPLE_MAX:
        raise ReplyError(OUT_OF_RANGE)
    if -count * 4 > len(value):
        return choices(list(value), k=-count)
    return [random_member(value) for _ in range(-count)]


def block_deadline(engine: Engine, raw: bytes) -> int:
    """The timeout in seconds of a blocking command, as a deadline in unix ms; 0 = wait for ever."""
    seconds = double(raw, TIMEOUT_NOT_FLOAT)
    if seconds < 0:
        raise ReplyError(TIMEOUT_NEGATIVE)
    if seconds * 1000 > I64_MAX - engine.clock.now:
        raise ReplyError(TIMEOUT_OUT_OF_RANGE)
    return engine.clock.now + ceil(seconds * 1000) if seconds else 0


EXPIRE_UNITS: Final = {b"EX": (1000, True), b"PX": (1, True), b"EXAT": (1000, False), b"PXAT": (1, False)}


def deadline(engine: Engine, option: bytes, raw: bytes, name: str) -> int:
    """Unix ms that `EX|PX|EXAT|PXAT raw` means. Raises when it is not a positive time that fits."""
    unit, relative = EXPIRE_UNITS[option]
    value = integer(raw)
    if value <= 0 or value > I64_MAX // unit:
        raise ReplyError(invalid_expire(name))
    when = value * unit
    if relative:
        when += engine.clock.now
        if when > I64_MAX:
            raise ReplyError(invalid_expire(name))
    return when


def stored(db: Database, key: bytes) -> bytes | Raw | None:
    """The string that a writing command starts from, not to be changed or kept. Raises WRONGTYPE."""
    value = db.find(key)
    if value is not None and type(value) is not bytes and type(value) is not Raw:
        raise ReplyError(WRONGTYPE)
    return value


def peek(db: Database, key: bytes) -> bytes | Raw | None:
    """As `Database.read(key, bytes)`, but without copying a Raw: not to be changed, kept or returned."""
    value = db.find(key)
    if value is None:
        db.engine.misses += 1
        return None
    db.engine.hits += 1
    if type(value) is not bytes and type(value) is not Raw:
        raise ReplyError(WRONGTYPE)
    return value


def mutable(db: Database, key: bytes) -> tuple[Raw, Written]:
    """The string at `key` to be changed in place, an empty one if there is none, and what webhooks show as
    its old value. Ends with `keep`. Raises WRONGTYPE."""
    old = snapshot(db.find(key)) if db.observed else None
    value = db.edit(key, Raw)
    return Raw() if value is None else value, old


def keep(db: Database, key: bytes, value: Raw, event: str, old: Written) -> None:
    """Commits a string that is not empty."""
    db.commit(key, value, event, bytes(value) if db.observed else None, old)


def pad(db: Database, value: Raw, length: int) -> None:
    """Makes a string at least so long, with zero bytes."""
    missing = length - len(value)
    if missing > 0:
        value.extend(bytes(missing))
        db.engine.eviction.grew(missing)


def check_length(s: Session, length: int) -> None:
    """Raises ReplyError when a string may not grow to `length` bytes."""
    if length > s.engine.settings["proto-max-bulk-len"] and not s.internal:
        raise ReplyError(STRING_TOO_LONG)


def help_lines(container: str) -> Reply:
    """What `CONTAINER HELP` answers, made from the declarations of its subcommands."""
    lines = [f"{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"]
    for sub in COMMANDS[container.lower().encode()].subcommands.values():
        if not sub.name.endswith("|help"):
            lines += [sub.syntax.removeprefix(container + " "), "    " + sub.summary]
    return [Simple(line.encode()) for line in [*lines, "HELP", "    Prints this help."]]
