"""Strings: values that are plain bytes, sometimes counters.

SET without options, GET and INCR are what servers spend their days with; their paths stay the shortest.
Whatever depends on the time or on floats is replicated by its result: `SET key value PXAT ms`, `SET key value
KEEPTTL`, `DEL key`.
"""

from __future__ import annotations

from typing import Final

from ferrite_hooks.commands.common import (
    EXPIRE_UNITS,
    I64_MAX,
    I64_MIN,
    add_long_doubles,
    check_length,
    deadline,
    integer,
    keep,
    long_double,
    mutable,
    pad,
    peek,
    stored,
)
from ferrite_hooks.engine.command import Argv, command
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import OVERFLOW, SYNTAX, ReplyError, wrong_arity
from ferrite_hooks.resp.reply import OK, Reply
from ferrite_hooks.values.raw import Raw

_SET_WORDS: Final = frozenset([b"NX", b"XX", b"GET", b"KEEPTTL"])
_GETEX_WORDS: Final = frozenset([b"PERSIST"])
_KEEPS: Final = frozenset([b"KEEPTTL", b"PERSIST"])  # go with no expiry
_TTL = "[EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds"


def _options(argv: Argv, at: int, plain: frozenset[bytes]) -> tuple[set[bytes], bytes, bytes]:
    """Reads words of `plain` and one expiry from `argv[at:]`: (words found, unit of the expiry, its number)."""
    found: set[bytes] = set()
    unit = raw = b""
    i = at
    while i < len(argv):
        word = argv[i].upper()
        if word in plain:
            found.add(word)
        elif word in EXPIRE_UNITS and i + 1 < len(argv) and unit in (b"", word):
            i += 1
            unit, raw = word, argv[i]  # the same option again is not refused: the last one counts
        else:
            raise ReplyError(SYNTAX)
        i += 1
    if (b"NX" in found and b"XX" in found) or (unit and not found.isdisjoint(_KEEPS)):
        raise ReplyError(SYNTAX)
    return found, unit, raw


def _set_until(s: Session, key: bytes, value: bytes, when: int) -> None:
    """Sets a string that expires at unix ms `when`."""
    s.db.put(key, value, "set", expire_at=when)
    s.db.emit(key, "expire")
    s.engine.effect(b"SET", key, value, b"PXAT", b"%d" % when)


@command(
    "GET key", "The value of a string key.",
    group="string", since="1.0.0", flags="readonly fast", keys="RO access @1", complexity="O(1)",
)  # fmt: skip
def get(s: Session, argv: Argv) -> Reply:
    return s.db.read(argv[1], bytes)


def _set_key_flags(argv: Argv) -> tuple[str, ...]:
    reads = any(word.upper() == b"GET" for word in argv[3:])
    return ("RW", "access", "update") if reads else ("OW", "update")


@command(
    f"SET key value [NX | XX] [GET] {_TTL} | KEEPTTL]", "Sets a key to a string, whatever it held.",
    group="string", since="1.0.0", flags="write denyoom", keys="RW access update variable_flags @1",
    events="set expire", complexity="O(1)", key_flags=_set_key_flags,
)  # fmt: skip
def set_(s: Session, argv: Argv) -> Reply:
    if len(argv) == 3:
        s.db.put(argv[1], argv[2], "set")
        return OK
    engine, db, key, value = s.engine, s.db, argv[1], argv[2]
    words, unit, raw = _options(argv, 3, _SET_WORDS)
    when = deadline(engine, unit, raw, "set") if unit else 0
    before = db.read(key, bytes) if b"GET" in words else None
    reply = before if b"GET" in words else OK
    exists = db.find(key) is not None
    if (exists and b"NX" in words) or (not exists and b"XX" in words):
        return before
    if when:
        _set_until(s, key, value, when)
    elif b"KEEPTTL" in words:
        db.put(key, value, "set", keep_ttl=True)
        engine.effect(b"SET", key, value, b"KEEPTTL")
    else:
        db.put(key, value, "set")
        engine.effect(b"SET", key, value)
    return reply


@command(
    "SETNX key value", "Sets a key to a string unless it exists.",
    group="string", since="1.0.0", flags="write denyoom fast", keys="OW insert @1", events="set", complexity="O(1)",
)  # fmt: skip
def setnx(s: Session, argv: Argv) -> Reply:
    if s.db.find(argv[1]) is not None:
        return 0
    s.db.put(argv[1], argv[2], "set")
    return 1


@command(
    "SETEX key seconds value", "Sets a key to a string with a time to live in seconds.",
    group="string", since="2.0.0", flags="write denyoom", keys="OW update @1", events="set expire",
    complexity="O(1)",
)  # fmt: skip
def setex(s: Session, argv: Argv) -> Reply:
    _set_until(s, argv[1], argv[3], deadline(s.engine, b"EX", argv[2], "setex"))
    return OK


@command(
    "PSETEX key milliseconds value", "Sets a key to a string with a time to live in milliseconds.",
    group="string", since="2.6.0", flags="write denyoom", keys="OW update @1", events="set expire",
    complexity="O(1)",
)  # fmt: skip
def psetex(s: Session, argv: Argv) -> Reply:
    _set_until(s, argv[1], argv[3], deadline(s.engine, b"PX", argv[2], "psetex"))
    return OK


@command(
    "GETSET key value", "Sets a key to a string and returns the one that it held.",
    group="string", since="1.0.0", flags="write denyoom fast", keys="RW access update @1", events="set",
    complexity="O(1)",
)  # fmt: skip
def getset(s: Session, argv: Argv) -> Reply:
    before = s.db.read(argv[1], bytes)
    s.db.put(argv[1], argv[2], "set")
    s.engine.effect(b"SET", argv[1], argv[2])
    return before


@command(
    "GETDEL key", "The value of a string key, which it deletes.",
    group="string", since="6.2.0", flags="write fast", keys="RW access delete @1", events="del", complexity="O(1)",
)  # fmt: skip
def getdel(s: Session, argv: Argv) -> Reply:
    value = s.db.read(argv[1], bytes)
    if value is not None:
        s.db.drop(argv[1])
        s.engine.effect(b"DEL", argv[1])
    return value


@command(
    f"GETEX key {_TTL} | PERSIST]", "The value of a string key, whose time to live it sets or removes.",
    group="string", since="6.2.0", flags="write fast", keys="RW access update @1", events="expire persist del",
    complexity="O(1)",
)  # fmt: skip
def getex(s: Session, argv: Argv) -> Reply:
    engine, db, key = s.engine, s.db, argv[1]
    words, unit, raw = _options(argv, 2, _GETEX_WORDS)
    value = db.read(key, bytes)
    if value is None:
        return None
    if unit:
        when = deadline(engine, unit, raw, "getex")
        if when <= engine.clock.now:
            db.drop(key)
            engine.effect(b"DEL", key)
        else:
            db.expire_at(key, when, "expire")
            engine.effect(b"PEXPIREAT", key, b"%d" % when)
    elif words and key in db.expires:
        db.expire_at(key, None, "persist")
        engine.effect(b"PERSIST", key)
    return value


@command(
    "MGET key [key ...]", "The values of several string keys, nil for those that hold none.",
    group="string", since="1.0.0", flags="readonly fast", keys="RO access @1:-1",
    tips="request_policy:multi_shard", complexity="O(N) for N keys",
)  # fmt: skip
def mget(s: Session, argv: Argv) -> Reply:
    db = s.db
    values: list[bytes | None] = []
    for key in argv[1:]:
        value = db.find(key)
        if value is None:
            s.engine.misses += 1
        else:
            s.engine.hits += 1
        values.append(value if type(value) is bytes else bytes(value) if type(value) is Raw else None)
    return values


def _set_pairs(s: Session, argv: Argv) -> None:
    for i in range(1, len(argv), 2):
        s.db.put(argv[i], argv[i + 1], "set")


@command(
    "MSET key value [key value ...]", "Sets several keys to strings at once.",
    group="string", since="1.0.1", flags="write denyoom", keys="OW update @1:-1:2", events="set",
    tips="request_policy:multi_shard response_policy:all_succeeded", complexity="O(N) for N keys",
)  # fmt: skip
def mset(s: Session, argv: Argv) -> Reply:
    if len(argv) % 2 == 0:
        raise ReplyError(wrong_arity("mset"))
    _set_pairs(s, argv)
    return OK


@command(
    "MSETNX key value [key value ...]", "Sets several keys to strings unless one of them exists.",
    group="string", since="1.0.1", flags="write denyoom", keys="OW insert @1:-1:2", events="set",
    tips="request_policy:multi_shard response_policy:agg_min", complexity="O(N) for N keys",
)  # fmt: skip
def msetnx(s: Session, argv: Argv) -> Reply:
    if len(argv) % 2 == 0:
        raise ReplyError(wrong_arity("msetnx"))
    if any(s.db.find(key) is not None for key in argv[1::2]):
        return 0
    _set_pairs(s, argv)
    return 1


# -- counters ------------------------------------------------------------------------------------------------


def _increment(s: Session, key: bytes, by: int) -> int:
    value = stored(s.db, key)
    number = by if value is None else integer(value) + by
    if number.bit_length() > 62 and not I64_MIN <= number <= I64_MAX:
        raise ReplyError(OVERFLOW)
    s.db.put(key, str(number).encode(), "incrby", keep_ttl=True)
    return number


@command(
    "INCR key", "Adds one to the integer that a key holds.",
    group="string", since="1.0.0", flags="write denyoom fast", keys="RW access update @1", events="incrby",
    complexity="O(1)",
)  # fmt: skip
def incr(s: Session, argv: Argv) -> Reply:
    return _increment(s, argv[1], 1)


@command(
    "DECR key", "Subtracts one from the integer that a key holds.",
    group="string", since="1.0.0", flags="write denyoom fast", keys="RW access update @1", events="incrby",
    complexity="O(1)",
)  # fmt: skip
def decr(s: Session, argv: Argv) -> Reply:
    return _increment(s, argv[1], -1)


@command(
    "INCRBY key increment", "Adds to the integer that a key holds.",
    group="string", since="1.0.0", flags="write denyoom fast", keys="RW access update @1", events="incrby",
    complexity="O(1)",
)  # fmt: skip
def incrby(s: Session, argv: Argv) -> Reply:
    return _increment(s, argv[1], integer(argv[2]))


@command(
    "DECRBY key decrement", "Subtracts from the integer that a key holds.",
    group="string", since="1.0.0", flags="write denyoom fast", keys="RW access update @1", events="incrby",
    complexity="O(1)",
)  # fmt: skip
def decrby(s: Session, argv: Argv) -> Reply:
    by = integer(argv[2])
    if by == I64_MIN:
        raise ReplyError("ERR decrement would overflow")
    return _increment(s, argv[1], -by)


@command(
    "INCRBYFLOAT key increment", "Adds to the number that a key holds, fractions included.",
    group="string", since="2.6.0", flags="write denyoom fast", keys="RW access update @1", events="incrbyfloat",
    complexity="O(1)",
)  # fmt: skip
def incrbyfloat(s: Session, argv: Argv) -> Reply:
    db, key = s.db, argv[1]
    value = stored(db, key)
    augend = (0, 0) if value is None else long_double(bytes(value))
    total = add_long_doubles(augend, long_double(argv[2]))
    db.put(key, total, "incrbyfloat", keep_ttl=True)
    s.engine.effect(b"SET", key, total, b"KEEPTTL")
    return total


# -- parts of strings ----------------------------------------------------------------------------------------


@command(
    "APPEND key value", "Adds to the end of a string, creating it if need be.",
    group="string", since="2.0.0", flags="write denyoom fast", keys="RW insert @1", events="append",
    complexity="O(1) amortised",
)  # fmt: skip
def append(s: Session, argv: Argv) -> Reply:
    db, key, more = s.db, argv[1], argv[2]
    before = stored(db, key)
    if before is not None:
        check_length(s, len(before) + len(more))
    if not before:
        db.put(key, more, "append", keep_ttl=True)
        return len(more)
    value, old = mutable(db, key)
    value += more
    keep(db, key, value, "append", old)
    return len(value)


@command(
    "STRLEN key", "The length of a string.",
    group="string", since="2.2.0", flags="readonly fast", keys="RO @1", complexity="O(1)",
)  # fmt: skip
def strlen(s: Session, argv: Argv) -> Reply:
    return len(peek(s.db, argv[1]) or b"")


@command(
    "SETRANGE key offset value", "Overwrites a string from an offset on, padding it with zero bytes up to there.",
    group="string", since="2.2.0", flags="write denyoom", keys="RW update @1", events="setrange",
    complexity="O(M) for a value of M bytes",
)  # fmt: skip
def setrange(s: Session, argv: Argv) -> Reply:
    db, key, part = s.db, argv[1], argv[3]
    offset = integer(argv[2])
    if offset < 0:
        raise ReplyError("ERR offset is out of range")
    before = stored(db, key)
    if not part:
        return len(before or b"")
    end = offset + len(part)
    check_length(s, end)
    value, old = mutable(db, key)
    pad(db, value, offset)
    value[offset:end] = part
    keep(db, key, value, "setrange", old)
    return len(value)


def _substring(s: Session, argv: Argv) -> Reply:
    start, end = integer(argv[2]), integer(argv[3])
    value = peek(s.db, argv[1])
    if not value or (start < 0 and end < 0 and start > end):
        return b""
    start = max(start + len(value), 0) if start < 0 else start
    end = max(end + len(value), 0) if end < 0 else end
    return bytes(value[start : end + 1])


@command(
    "GETRANGE key start end", "A part of a string.",
    group="string", since="2.4.0", flags="readonly", keys="RO access @1",
    complexity="O(N) for a part of N bytes",
)  # fmt: skip
def getrange(s: Session, argv: Argv) -> Reply:
    return _substring(s, argv)


@command(
    "SUBSTR key start end", "A part of a string; the old name of GETRANGE.",
    group="string", since="1.0.0", flags="readonly", keys="RO access @1",
    complexity="O(N) for a part of N bytes",
)  # fmt: skip
def substr(s: Session, argv: Argv) -> Reply:
    return _substring(s, argv)
