"""Argument parsing that several families share. Each helper raises the ReplyError that Redis gives."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from math import ceil, isinf, isnan
from random import choices

from ferrite_hooks.engine.command import COMMANDS, Argv
from ferrite_hooks.engine.engine import Engine
from ferrite_hooks.errors import (
    INCREMENT_NAN,
    NOT_FLOAT,
    NOT_INTEGER,
    OUT_OF_RANGE,
    SYNTAX,
    TIMEOUT_NEGATIVE,
    TIMEOUT_NOT_FLOAT,
    TIMEOUT_OUT_OF_RANGE,
    ReplyError,
    invalid_expire,
)
from ferrite_hooks.resp.reply import Reply, Simple
from ferrite_hooks.values.collections import Hash, Set, random_member, random_members

I64_MIN, I64_MAX = -(2**63), 2**63 - 1
SAMPLE_MAX = 10_000_000  # members that a negative count may ask for
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


_LONG_DOUBLE = re.compile(
    rb"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|(0x(?:[0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)(?:p[+-]?\d+)?)"
    rb"|(inf(?:inity)?))\Z",
    re.IGNORECASE,
)
LongDouble = tuple[int, int]  # (mantissa, exponent): mantissa * 2**exponent, the mantissa below 2**64
_INFINITE = (0, 1 << 20)  # either infinity: no sum with one is ever stored


def long_double(raw: bytes, error: str = NOT_FLOAT) -> LongDouble:
    """An 80-bit long double as C's strtold reads it: what INCRBYFLOAT computes with."""
    match = _LONG_DOUBLE.match(raw)
    if match is None or len(raw) >= 5120:
        raise ReplyError(error)
    if match[2]:
        return _INFINITE
    text = raw.decode()
    try:
        value = Decimal(float.fromhex(text)) if match[1] else Decimal(text)
    except (InvalidOperation, OverflowError):
        raise ReplyError(error)
    if not value:
        return 0, 0
    if -4970 < value.adjusted() < 4940:  # never build the integers of 1e999999999
        rounded = _nearest(*value.as_integer_ratio())
        if rounded[0] and rounded is not _INFINITE:
            return rounded
    raise ReplyError(error)


def is_infinite(value: LongDouble) -> bool:
    return value is _INFINITE


def add_long_doubles(augend: LongDouble, addend: LongDouble) -> bytes:
    """The sum as INCRBYFLOAT and HINCRBYFLOAT store it: at most 17 decimals, no exponent, no trailing zeros.

    Raises ReplyError when it is infinite."""
    if augend is _INFINITE or addend is _INFINITE:
        raise ReplyError(INCREMENT_NAN)
    least = min(augend[1], addend[1])
    total = (augend[0] << augend[1] - least) + (addend[0] << addend[1] - least)
    rounded = _nearest(total << max(least, 0), 1 << max(-least, 0))
    if rounded is _INFINITE:
        raise ReplyError(INCREMENT_NAN)
    mantissa, exponent = rounded
    scaled = _divide(mantissa * 10**17 << max(exponent, 0), 1 << max(-exponent, 0))
    digits = str(Decimal(abs(scaled))).rjust(18, "0")  # Decimal: str(int) refuses more than 4300 digits
    text = f"{digits[:-17]}.{digits[-17:]}".rstrip("0").rstrip(".")
    return (b"-" if scaled < 0 else b"") + text.encode()


def _nearest(numerator: int, denominator: int) -> LongDouble:
    """The long double nearest to a quotient, ties to even."""
    exponent = max(numerator.bit_length() - denominator.bit_length() - 64, -16445)
    while True:
        mantissa = _divide(numerator << max(-exponent, 0), denominator << max(exponent, 0))
        if mantissa.bit_length() <= 64:
            break
        exponent += 1
    return (mantissa, exponent) if mantissa.bit_length() + exponent <= 16384 else _INFINITE


def _divide(numerator: int, denominator: int) -> int:
    """The integer nearest to a quotient, ties to even."""
    quotient, rest = divmod(numerator, denominator)
    return quotient + (2 * rest > denominator or (2 * rest == denominator and quotient & 1))


def natural(raw: bytes, error: str = "") -> int:
    """An integer that is not negative. `error` replaces both of Redis's own texts."""
    value = integer(raw, error or NOT_INTEGER)
    if value < 0:
        raise ReplyError(error or OUT_OF_RANGE + ", must be positive")
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
