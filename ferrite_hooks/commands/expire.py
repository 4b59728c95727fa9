"""Times to live: setting, reading and removing them.

A deadline is replicated as the instant it means (PEXPIREAT), one that is already past as the DEL it amounts to.
"""

from __future__ import annotations

from typing import Final

from ferrite_hooks.commands.common import I64_MAX, I64_MIN, integer
from ferrite_hooks.engine.command import Argv, command
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import ReplyError, invalid_expire, printable
from ferrite_hooks.resp.reply import Reply

_CONDITIONS: Final = frozenset([b"NX", b"XX", b"GT", b"LT"])
_NONE: set[bytes] = set()


def _conditions(argv: Argv) -> set[bytes]:
    if len(argv) == 3:
        return _NONE
    found = {word.upper() for word in argv[3:]}
    if not found <= _CONDITIONS:
        unknown = next(word for word in argv[3:] if word.upper() not in _CONDITIONS)
        raise ReplyError(f"ERR Unsupported option {printable(unknown)}")
    if b"NX" in found and len(found) > 1:
        raise ReplyError("ERR NX and XX, GT or LT options at the same time are not compatible")
    if b"GT" in found and b"LT" in found:
        raise ReplyError("ERR GT and LT options at the same time are not compatible")
    return found


def holds(conditions: set[bytes], current: int | None, when: int) -> bool:
    """Whether what now expires at `current` (None: never) may get the deadline `when`."""
    if current is None:
        return conditions.isdisjoint((b"XX", b"GT"))
    if b"NX" in conditions:
        return False
    return not ((b"GT" in conditions and when <= current) or (b"LT" in conditions and when >= current))


def _expire(s: Session, argv: Argv, name: str, unit: int, base: int) -> Reply:
    engine, db, key = s.engine, s.db, argv[1]
    conditions = _conditions(argv)
    when = integer(argv[2]) * unit
    if not I64_MIN <= when <= I64_MAX - base:
        raise ReplyError(invalid_expire(name))
    when += base
    if db.find(key) is None or (conditions and not holds(conditions, db.expires.get(key), when)):
        return 0
    if when <= engine.clock.now and not engine.loading:
        db.drop(key)
        engine.effect(b"DEL", key)
    else:
        db.expire_at(key, when, "expire")
        engine.effect(b"PEXPIREAT", key, b"%d" % when)
    return 1


@command(
    "EXPIRE key seconds [NX | XX | GT | LT]", "Gives a key a time to live in seconds.",
    group="generic", since="1.0.0", flags="write fast", keys="RW update @1", events="expire del", complexity="O(1)",
)  # fmt: skip
def expire(s: Session, argv: Argv) -> Reply:
    return _expire(s, argv, "expire", 1000, s.engine.clock.now)


@command(
    "PEXPIRE key milliseconds [NX | XX | GT | LT]", "Gives a key a time to live in milliseconds.",
    group="generic", since="2.6.0", flags="write fast", keys="RW update @1", events="expire del", complexity="O(1)",
)  # fmt: skip
def pexpire(s: Session, argv: Argv) -> Reply:
    return _expire(s, argv, "pexpire", 1, s.engine.clock.now)


@command(
    "EXPIREAT key unix-time-seconds [NX | XX | GT | LT]", "Lets a key expire at a unix time in seconds.",
    group="generic", since="1.2.0", flags="write fast", keys="RW update @1", events="expire del", complexity="O(1)",
)  # fmt: skip
def expireat(s: Session, argv: Argv) -> Reply:
    return _expire(s, argv, "expireat", 1000, 0)


@command(
    "PEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT]", "Lets a key expire at a unix time in milliseconds.",
    group="generic", since="2.6.0", flags="write fast", keys="RW update @1", events="expire del", complexity="O(1)",
)  # fmt: skip
def pexpireat(s: Session, argv: Argv) -> Reply:
    return _expire(s, argv, "pexpireat", 1, 0)


@command(
    "PERSIST key", "Removes a key's time to live.",
    group="generic", since="2.2.0", flags="write fast", keys="RW update @1", events="persist", complexity="O(1)",
)  # fmt: skip
def persist(s: Session, argv: Argv) -> Reply:
    db, key = s.db, argv[1]
    if db.find(key) is None or key not in db.expires:
        return 0
    db.expire_at(key, None, "persist")
    return 1


def _deadline(s: Session, key: bytes) -> int:
    """When a key expires in unix ms, -1 if never, -2 if there is no such key."""
    if s.db.find(key) is None:
        s.engine.misses += 1
        return -2
    s.engine.hits += 1
    return s.db.expires.get(key, -1)


def _left(s: Session, key: bytes) -> int:
    when = _deadline(s, key)
    return when if when < 0 else max(when - s.engine.clock.now, 0)


def _seconds(ms: int) -> int:
    return ms if ms < 0 else (ms + 500) // 1000


@command(
    "TTL key", "The seconds that a key has left, -1 without a time to live, -2 without the key.",
    group="generic", since="1.0.0", flags="readonly fast", keys="RO access @1", tips="nondeterministic_output",
    complexity="O(1)",
)  # fmt: skip
def ttl(s: Session, argv: Argv) -> Reply:
    return _seconds(_left(s, argv[1]))


@command(
    "PTTL key", "The milliseconds that a key has left, -1 without a time to live, -2 without the key.",
    group="generic", since="2.6.0", flags="readonly fast", keys="RO access @1", tips="nondeterministic_output",
    complexity="O(1)",
)  # fmt: skip
def pttl(s: Session, argv: Argv) -> Reply:
    return _left(s, argv[1])


@command(
    "EXPIRETIME key", "The unix time in seconds at which a key expires.",
    group="generic", since="7.0.0", flags="readonly fast", keys="RO access @1", complexity="O(1)",
)  # fmt: skip
def expiretime(s: Session, argv: Argv) -> Reply:
    return _seconds(_deadline(s, argv[1]))


@command(
    "PEXPIRETIME key", "The unix time in milliseconds at which a key expires.",
    group="generic", since="7.0.0", flags="readonly fast", keys="RO access @1", complexity="O(1)",
)  # fmt: skip
def pexpiretime(s: Session, argv: Argv) -> Reply:
    return _deadline(s, argv[1])
