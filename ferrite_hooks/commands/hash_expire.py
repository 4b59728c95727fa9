"""Fields of hashes with a time to live of their own: the commands of Redis 7.4 and 8.0.

A field whose time has passed goes as soon as its hash is touched, and by the timer when nobody touches it
(engine/expiry.py); no command ever sees one, HLEN included. Setting a field makes it live for ever again, adding
to it does not. Deadlines are replicated as the instants they mean (HPEXPIREAT), past ones as the HDEL they amount
to. A webhook is shown the fields with the unix ms at which they expire (`hexpire`) or would have (`hpersist`).
"""

from __future__ import annotations

from ferrite_hooks.commands.common import EXPIRE_UNITS, integer
from ferrite_hooks.commands.expire import holds
from ferrite_hooks.commands.hashes import delete_fields, set_fields
from ferrite_hooks.engine.command import Argv, command
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import ReplyError, invalid_expire, printable, wrong_arity
from ferrite_hooks.resp.reply import Reply
from ferrite_hooks.values.collections import Hash
from ferrite_hooks.values.field_times import LATEST, FieldTimes

_CONDITIONS = frozenset([b"NX", b"XX", b"GT", b"LT"])
_NO_FIELD, _NO_TTL, _NOT_MET, _DONE, _DELETED = -2, -1, 0, 1, 2
_COUNT = "ERR Number of fields must be a positive integer"


def _fields(argv: Argv, at: int, name: str, bad_count: str = _COUNT) -> list[bytes]:
    """The fields of `FIELDS numfields field …` from argv[at] to the end. Raises ReplyError."""
    if argv[at].upper() != b"FIELDS":
        raise ReplyError("ERR Mandatory argument FIELDS is missing or not at the right position")
    if len(argv) == at + 1:
        raise ReplyError(wrong_arity(name))
    count = integer(argv[at + 1], bad_count)
    if count < 1:
        raise ReplyError(bad_count)
    if count != len(argv) - at - 2:
        raise ReplyError("ERR The `numfields` parameter must match the number of arguments")
    return argv[at + 2 :]


def _deadline(raw: bytes, unit: int, base: int, name: str) -> int:
    """Unix ms. Raises ReplyError when it is negative or later than Redis takes."""
    value = integer(raw)
    if value < 0:
        raise ReplyError("ERR invalid expire time, must be >= 0")
    if value * unit > LATEST - base:
        raise ReplyError(invalid_expire(name))
    return value * unit + base


def _shown(fields: list[bytes], times: FieldTimes | None) -> tuple[str, list[bytes]] | None:
    """What a webhook sees: the fields with a time to live, and its end."""
    if not times:
        return None
    shown = [part for f in fields if f in times.when for part in (f, b"%d" % times.when[f])]
    return ("hash", shown) if shown else None


def _is_past(s: Session, when: int) -> bool:
    return when <= s.engine.clock.now and not s.engine.loading


def _expire_fields(s: Session, key: bytes, value: Hash, fields: list[bytes], when: int) -> None:
    """Gives existing fields a deadline, and the journal that effect; one that is past deletes them."""
    engine, db = s.engine, s.db
    if _is_past(s, when):
        delete_fields(db, key, value, fields)
        engine.effect(b"HDEL", key, *fields)
        return
    old = _shown(fields, value.times) if db.observed else None
    if value.times is None:
        value.times = FieldTimes()
    for field in fields:
        value.times.set(field, when)
    db.note_fields(key, value)
    db.commit(key, value, "hexpire", _shown(fields, value.times) if db.observed else None, old)
    engine.effect(b"HPEXPIREAT", key, b"%d" % when, b"FIELDS", b"%d" % len(fields), *fields)


def _persist_fields(s: Session, key: bytes, value: Hash, fields: list[bytes]) -> list[bytes]:
    """Removes times to live. Returns the fields that had one."""
    times = value.times
    found = [field for field in dict.fromkeys(fields) if times and field in times.when]
    if found:
        old = _shown(found, times) if s.db.observed else None
        for field in found:
            times.drop(field)  # type: ignore[union-attr]
        s.db.commit(key, value, "hpersist", None, old)
        s.engine.effect(b"HPERSIST", key, b"FIELDS", b"%d" % len(found), *found)
    return found


# -- 7.4 -----------------------------------------------------------------------------------------------------


def _hexpire(s: Session, argv: Argv, name: str, unit: int, base: int) -> Reply:
    value = s.db.edit(argv[1], Hash)
    when = _deadline(argv[2], unit, base, name)
    condition = argv[3].upper()
    conditions = {condition} if condition in _CONDITIONS else set()
    fields = _fields(argv, 4 if conditions else 3, name, "ERR Parameter `numFields` should be greater than 0")
    if value is None:
        return [_NO_FIELD] * len(fields)
    past = _is_past(s, when)
    times = dict(value.times.when) if value.times else {}
    replies: list[Reply] = []
    chosen: dict[bytes, None] = {}
    for field in fields:
        if field not in value or (past and field in chosen):
            replies.append(_NO_FIELD)
        elif conditions and not holds(conditions, times.get(field), when):
            replies.append(_NOT_MET)
        else:
            chosen[field] = None
            times[field] = when
            replies.append(_DELETED if past else _DONE)
    if chosen:
        _expire_fields(s, argv[1], value, list(chosen), when)
    return replies


@command(
    "HEXPIRE key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
    "Gives fields of a hash a time to live in seconds.",
    group="hash", since="7.4.0", flags="write denyoom fast", keys="RW update @1", events="hexpire hdel del",
    complexity="O(1) for each field.",
)  # fmt: skip
def hexpire(s: Session, argv: Argv) -> Reply:
    return _hexpire(s, argv, "hexpire", 1000, s.engine.clock.now)


@command(
    "HPEXPIRE key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
    "Gives fields of a hash a time to live in milliseconds.",
    group="hash", since="7.4.0", flags="write denyoom fast", keys="RW update @1", events="hexpire hdel del",
    complexity="O(1) for each field.",
)  # fmt: skip
def hpexpire(s: Session, argv: Argv) -> Reply:
    return _hexpire(s, argv, "hpexpire", 1, s.engine.clock.now)


@command(
    "HEXPIREAT key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
    "Lets fields of a hash expire at a unix time in seconds.",
    group="hash", since="7.4.0", flags="write denyoom fast", keys="RW update @1", events="hexpire hdel del",
    complexity="O(1) for each field.",
)  # fmt: skip
def hexpireat(s: Session, argv: Argv) -> Reply:
    return _hexpire(s, argv, "hexpireat", 1000, 0)


@command(
    "HPEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
    "Lets fields of a hash expire at a unix time in milliseconds.",
    group="hash", since="7.4.0", flags="write denyoom fast", keys="RW update @1", events="hexpire hdel del",
    complexity="O(1) for each field.",
)  # fmt: skip
def hpexpireat(s: Session, argv: Argv) -> Reply:
    return _hexpire(s, argv, "hpexpireat", 1, 0)


def _times(s: Session, argv: Argv, name: str) -> list[int]:
    """For each field its deadline in unix ms, or why there is none."""
    value = s.db.read(argv[1], Hash)
    fields = _fields(argv, 2, name)
    if value is None:
        return [_NO_FIELD] * len(fields)
    when = value.times.when if value.times is not None else {}
    return [when.get(field, _NO_TTL) if field in value else _NO_FIELD for field in fields]


def _seconds(ms: int) -> int:
    return ms if ms < 0 else (ms + 999) // 1000


@command(
    "HTTL key FIELDS numfields field [field ...]",
    "The seconds that fields have left, -1 without a time to live, -2 without the field.",
    group="hash", since="7.4.0", flags="readonly fast", keys="RO access @1", tips="nondeterministic_output",
    complexity="O(1) for each field.",
)  # fmt: skip
def httl(s: Session, argv: Argv) -> Reply:
    now = s.engine.clock.now
    return [when if when < 0 else _seconds(max(when - now, 0)) for when in _times(s, argv, "httl")]


@command(
    "HPTTL key FIELDS numfields field [field ...]",
    "The milliseconds that fields have left, -1 without a time to live, -2 without the field.",
    group="hash", since="7.4.0", flags="readonly fast", keys="RO access @1", tips="nondeterministic_output",
    complexity="O(1) for each field.",
)  # fmt: skip
def hpttl(s: Session, argv: Argv) -> Reply:
    now = s.engine.clock.now
    return [when if when < 0 else max(when - now, 0) for when in _times(s, argv, "hpttl")]


@command(
    "HEXPIRETIME key FIELDS numfields field [field ...]",
    "The unix times in seconds at which fields expire.",
    group="hash", since="7.4.0", flags="readonly fast", keys="RO access @1",
    complexity="O(1) for each field.",
)  # fmt: skip
def hexpiretime(s: Session, argv: Argv) -> Reply:
    return [_seconds(when) for when in _times(s, argv, "hexpiretime")]


@command(
    "HPEXPIRETIME key FIELDS numfields field [field ...]",
    "The unix times in milliseconds at which fields expire.",
    group="hash", since="7.4.0", flags="readonly fast", keys="RO access @1",
    complexity="O(1) for each field.",
)  # fmt: skip
def hpexpiretime(s: Session, argv: Argv) -> Reply:
    return list(_times(s, argv, "hpexpiretime"))


@command(
    "HPERSIST key FIELDS numfields field [field ...]", "Removes the times to live of fields.",
    group="hash", since="7.4.0", flags="write fast", keys="RW update @1", events="hpersist",
    complexity="O(1) for each field.",
)  # fmt: skip
def hpersist(s: Session, argv: Argv) -> Reply:
    value = s.db.edit(argv[1], Hash)
    fields = _fields(argv, 2, "hpersist")
    if value is None:
        return [_NO_FIELD] * len(fields)
    left = set(_persist_fields(s, argv[1], value, fields))
    replies: list[Reply] = []
    for field in fields:
        replies.append(_NO_FIELD if field not in value else _DONE if field in left else _NO_TTL)
        left.discard(field)
    return replies


# -- 8.0 -----------------------------------------------------------------------------------------------------


@command(
    "HGETDEL key FIELDS numfields field [field ...]", "The values of fields, which are then removed.",
    group="hash", since="8.0.0", flags="write fast", keys="RW access delete @1", events="hdel del",
    complexity="O(1) for each field.",
)  # fmt: skip
def hgetdel(s: Session, argv: Argv) -> Reply:
    value = s.db.edit(argv[1], Hash)
    fields = _fields(argv, 2, "hgetdel")
    if value is None:
        return [None] * len(fields)
    left = {field: value[field] for field in fields if field in value}
    found = [left.pop(field, None) for field in fields]  # what is named twice is there once
    if delete_fields(s.db, argv[1], value, fields):
        s.engine.effect(b"HDEL", argv[1], *fields)
    return found


@command(
    "HGETEX key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]"
    " FIELDS numfields field [field ...]",
    "The values of fields, whose time to live is set or removed.",
    group="hash", since="8.0.0", flags="write fast", keys="RW access update @1", events="hexpire hpersist hdel del",
    complexity="O(1) for each field.",
)  # fmt: skip
def hgetex(s: Session, argv: Argv) -> Reply:
    key, option, at, when = argv[1], argv[2].upper(), 2, 0
    value = s.db.edit(key, Hash)
    if option in EXPIRE_UNITS:
        unit, relative = EXPIRE_UNITS[option]
        when = _deadline(argv[3], unit, s.engine.clock.now if relative else 0, "hgetex")
        at = 4
    elif option == b"PERSIST":
        at = 3
    fields = _fields(argv, at, "hgetex")
    if value is None:
        return [None] * len(fields)
    found: list[Reply] = [value.get(field) for field in fields]
    present = [field for field in dict.fromkeys(fields) if field in value]
    if option == b"PERSIST":
        _persist_fields(s, key, value, present)
    elif at == 4 and present:
        _expire_fields(s, key, value, present, when)
    return found


def _hsetex_arguments(s: Session, argv: Argv) -> tuple[bytes, bytes, int, list[bytes]]:
    """(FNX, FXX or b"", what to do with times to live or b"", deadline, fields and values)."""
    condition = option = b""
    when, i = 0, 2
    while i < len(argv):
        word = argv[i].upper()
        if word == b"FIELDS":
            if i >= len(argv) - 3:
                raise ReplyError(wrong_arity("hsetex"))
            count = integer(argv[i + 1], "ERR invalid number of fields")
            if not 1 <= count < 2**31:
                raise ReplyError("ERR invalid number of fields")
            if len(argv) - i - 2 != 2 * count:
                raise ReplyError(wrong_arity("hsetex"))
            return condition, option, when, argv[i + 2 :]
        if word in EXPIRE_UNITS or word == b"KEEPTTL":
            if option:
                raise ReplyError("ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified")
            option = word
            if word in EXPIRE_UNITS:
                i += 1
                if i == len(argv):
                    raise ReplyError("ERR missing expire time")
                unit, relative = EXPIRE_UNITS[word]
                when = _deadline(argv[i], unit, s.engine.clock.now if relative else 0, "hsetex")
        elif word in (b"FNX", b"FXX"):
            if condition:
                raise ReplyError("ERR Only one of FXX or FNX arguments can be specified")
            condition = word
        else:
            raise ReplyError(f"ERR unknown argument: {printable(argv[i])}")
        i += 1
    raise ReplyError(wrong_arity("hsetex"))


@command(
    "HSETEX key [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds"
    " | KEEPTTL] FIELDS numfields field value [field value ...]",
    "Sets fields of a hash and their time to live; with FNX or FXX if none or all of them exist.",
    group="hash", since="8.0.0", flags="write denyoom fast", keys="RW update @1", events="hset hexpire hdel del",
    complexity="O(1) for each field.",
)  # fmt: skip
def hsetex(s: Session, argv: Argv) -> Reply:
    key = argv[1]
    condition, option, when, pairs = _hsetex_arguments(s, argv)
    value = s.db.edit(key, Hash)
    fields = list(dict.fromkeys(pairs[::2]))
    existing = sum(field in value for field in fields) if value is not None else 0
    if (condition == b"FNX" and existing) or (condition == b"FXX" and existing < len(fields)):
        return 0
    if value is None:
        value = Hash()
    set_fields(s, key, value, pairs, "hset", keep_ttl=bool(option))
    if option in EXPIRE_UNITS:
        s.engine.effect(b"HSET", key, *pairs)
        _expire_fields(s, key, value, fields, when)
    return 1
