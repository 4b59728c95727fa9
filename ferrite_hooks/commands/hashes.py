"""Hashes: fields and values under one key.

A webhook is shown the fields that a command set and what they held before (None for a new field), or the
fields that it removed with their last values.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from ferrite_hooks.commands.common import (
    I64_MAX,
    I64_MIN,
    add_long_doubles,
    integer,
    is_infinite,
    long_double,
    negatable,
    random_sample,
)
from ferrite_hooks.commands.scan import scan_cursor, scan_options, scan_page
from ferrite_hooks.engine.command import Argv, command
from ferrite_hooks.engine.keyspace import Database
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import NAN_OR_INFINITY, OUT_OF_RANGE, OVERFLOW, SYNTAX, ReplyError, wrong_arity
from ferrite_hooks.resp.reply import OK, Reply
from ferrite_hooks.values.collections import Hash, index_of, random_member
from ferrite_hooks.values.encoding import grow_hash, is_compact


def set_fields(
    s: Session, key: bytes, value: Hash | None, pairs: list[bytes], event: str, keep_ttl: bool = False
) -> int:
    """Sets fields of `value`, which is what `key` holds, and commits. Returns how many were new. A field that is
    set lives for ever, unless it keeps its time to live."""
    db = s.db
    if value is None:
        value = Hash()
    before = len(value)
    old = None
    if db.observed and before:
        old = [part for field in pairs[::2] for part in (field, value.get(field))]
    if value.index is not None:
        for field in dict.fromkeys(pairs[::2]):
            if field not in value:
                value.index.add(field)
    if value.times and not keep_ttl:
        for field in pairs[::2]:
            value.times.drop(field)
    for at in range(0, len(pairs), 2):
        value[pairs[at]] = pairs[at + 1]
    if not value.big:
        grow_hash(value, pairs, s.engine.settings)
    db.commit(key, value, event, ("hash", pairs) if db.observed else None, ("hash", old) if old else None)
    return len(value) - before


def delete_fields(db: Database, key: bytes, value: Hash, fields: Iterable[bytes]) -> int:
    """Removes those fields of `value`, which is what `key` holds, that there are, and commits. Returns how many
    there were."""
    gone = [part for field in fields if field in value for part in (field, value.pop(field))]
    if gone:
        if value.index is not None:
            for field in gone[::2]:
                value.index.discard(field)
        if value.times:
            for field in gone[::2]:
                value.times.drop(field)
        db.commit(key, value, "hdel", old=("hash", gone))
    return len(gone) // 2


@command(
    "HSET key field value [field value ...]", "Sets fields of a hash.",
    group="hash", since="2.0.0", flags="write denyoom fast", keys="RW update @1", events="hset",
    complexity="O(1) for each field.",
)  # fmt: skip
def hset(s: Session, argv: Argv) -> Reply:
    if len(argv) % 2:
        raise ReplyError(wrong_arity("hset"))
    return set_fields(s, argv[1], s.db.edit(argv[1], Hash), argv[2:], "hset")


@command(
    "HMSET key field value [field value ...]", "Sets fields of a hash; HSET does the same and says more.",
    group="hash", since="2.0.0", flags="write denyoom fast", keys="RW update @1", events="hset",
    complexity="O(1) for each field.",
)  # fmt: skip
def hmset(s: Session, argv: Argv) -> Reply:
    if len(argv) % 2:
        raise ReplyError(wrong_arity("hmset"))
    set_fields(s, argv[1], s.db.edit(argv[1], Hash), argv[2:], "hset")
    return OK


@command(
    "HSETNX key field value", "Sets a field of a hash unless it is there.",
    group="hash", since="2.0.0", flags="write denyoom fast", keys="RW insert @1", events="hset", complexity="O(1)",
)  # fmt: skip
def hsetnx(s: Session, argv: Argv) -> Reply:
    value = s.db.edit(argv[1], Hash)
    if value is not None and argv[2] in value:
        return 0
    return set_fields(s, argv[1], value, argv[2:], "hset")


@command(
    "HGET key field", "The value of a field.",
    group="hash", since="2.0.0", flags="readonly fast", keys="RO access @1", complexity="O(1)",
)  # fmt: skip
def hget(s: Session, argv: Argv) -> Reply:
    value = s.db.read(argv[1], Hash)
    return None if value is None else value.get(argv[2])


@command(
    "HMGET key field [field ...]", "The values of several fields.",
    group="hash", since="2.0.0", flags="readonly fast", keys="RO access @1", complexity="O(1) for each field.",
)  # fmt: skip
def hmget(s: Session, argv: Argv) -> Reply:
    value = s.db.read(argv[1], Hash)
    return [None] * (len(argv) - 2) if value is None else [value.get(field) for field in argv[2:]]


@command(
    "HGETALL key", "All fields of a hash with their values.",
    group="hash", since="2.0.0", flags="readonly", keys="RO access @1", tips="nondeterministic_output_order",
    complexity="O(N), N being the number of fields.",
)  # fmt: skip
def hgetall(s: Session, argv: Argv) -> Reply:
    value = s.db.read(argv[1], Hash)
    return {} if value is None else dict(value)


@command(
    "HKEYS key", "All fields of a hash.",
    group="hash", since="2.0.0", flags="readonly", keys="RO access @1", tips="nondeterministic_output_order",
    complexity="O(N), N being the number of fields.",
)  # fmt: skip
def hkeys(s: Session, argv: Argv) -> Reply:
    value = s.db.read(argv[1], Hash)
    return [] if value is None else list(value)


@command(
    "HVALS key", "All values of a hash.",
    group="hash", since="2.0.0", flags="readonly", keys="RO access @1", tips="nondeterministic_output_order",
    complexity="O(N), N being the number of fields.",
)  # fmt: skip
def hvals(s: Session, argv: Argv) -> Reply:
    value = s.db.read(argv[1], Hash)
    return [] if value is None else list(value.values())


@command(
    "HLEN key", "How many fields a hash has.",
    group="hash", since="2.0.0", flags="readonly fast", keys="RO @1", complexity="O(1)",
)  # fmt: skip
def hlen(s: Session, argv: Argv) -> Reply:
    value = s.db.read(argv[1], Hash)
    return 0 if value is None else len(value)


@command(
    "HEXISTS key field", "Whether a hash has a field.",
    group="hash", since="2.0.0", flags="readonly fast", keys="RO @1", complexity="O(1)",
)  # fmt: skip
def hexists(s: Session, argv: Argv) -> Reply:
    value = s.db.read(argv[1], Hash)
    return 0 if value is None else int(argv[2] in value)


@command(
    "HSTRLEN key field", "The length of a field's value in bytes.",
    group="hash", since="3.2.0", flags="readonly fast", keys="RO @1", complexity="O(1)",
)  # fmt: skip
def hstrlen(s: Session, argv: Argv) -> Reply:
    value = s.db.read(argv[1], Hash)
    return 0 if value is None else len(value.get(argv[2], b""))


@command(
    "HDEL key field [field ...]", "Removes fields from a hash, and the hash with its last field.",
    group="hash", since="2.0.0", flags="write fast", keys="RW delete @1", events="hdel del",
    complexity="O(1) for each field.",
)  # fmt: skip
def hdel(s: Session, argv: Argv) -> Reply:
    db, key = s.db, argv[1]
    value = db.edit(key, Hash)
    if value is None:
        return 0
    return delete_fields(db, key, value, argv[2:])


@command(
    "HINCRBY key field increment", "Adds an integer to a field, which counts as 0 while it is not there.",
    group="hash", since="2.0.0", flags="write denyoom fast", keys="RW access update @1", events="hincrby",
    complexity="O(1)",
)  # fmt: skip
def hincrby(s: Session, argv: Argv) -> Reply:
    increment = integer(argv[3])
    value = s.db.edit(argv[1], Hash)
    current = b"0" if value is None else value.get(argv[2], b"0")
    total = integer(current, "ERR hash value is not an integer") + increment
    if not I64_MIN <= total <= I64_MAX:
        raise ReplyError(OVERFLOW)
    set_fields(s, argv[1], value, [argv[2], b"%d" % total], "hincrby", keep_ttl=True)
    return total


@command(
    "HINCRBYFLOAT key field increment", "Adds a number to a field, which counts as 0 while it is not there.",
    group="hash", since="2.6.0", flags="write denyoom fast", keys="RW access update @1", events="hincrbyfloat",
    complexity="O(1)",
)  # fmt: skip
def hincrbyfloat(s: Session, argv: Argv) -> Reply:
    increment = long_double(argv[3])
    if is_infinite(increment):
        raise ReplyError(NAN_OR_INFINITY)
    value = s.db.edit(argv[1], Hash)
    current = b"0" if value is None else value.get(argv[2], b"0")
    total = add_long_doubles(long_double(current, "ERR hash value is not a float"), increment)
    set_fields(s, argv[1], value, [argv[2], total], "hincrbyfloat", keep_ttl=True)
    # the sum, not the arithmetic, is what a replay must repeat
    if value is not None and value.times:
        s.engine.effect(b"HSETEX", argv[1], b"KEEPTTL", b"FIELDS", b"1", argv[2], total)
    else:
        s.engine.effect(b"HSET", argv[1], argv[2], total)
    return total


@command(
    "HRANDFIELD key [count [WITHVALUES]]", "Random fields: different ones, or with a negative count any.",
    group="hash", since="6.2.0", flags="readonly", keys="RO access @1", tips="nondeterministic_output",
    complexity="O(N), N being the number of fields returned.",
)  # fmt: skip
def hrandfield(s: Session, argv: Argv) -> Reply:
    if len(argv) == 2:
        value = s.db.read(argv[1], Hash)
        return None if value is None else random_member(value)
    count = negatable(argv[2])
    if len(argv) > 4 or (len(argv) == 4 and argv[3].upper() != b"WITHVALUES"):
        raise ReplyError(SYNTAX)
    if len(argv) == 4 and abs(count) > I64_MAX // 2:
        raise ReplyError(OUT_OF_RANGE)
    value = s.db.read(argv[1], Hash)
    if value is None or count == 0:
        return []
    fields = random_sample(value, count)
    if len(argv) == 3:
        return fields
    if s.resp == 3:
        return [[field, value[field]] for field in fields]
    return [part for field in fields for part in (field, value[field])]


@command(
    "HSCAN key cursor [MATCH pattern] [COUNT count]", "A page of a hash, and the cursor of the next one.",
    group="hash", since="2.8.0", flags="readonly", keys="RO access @1", tips="nondeterministic_output",
    complexity="O(1) for a call, O(N) for a whole iteration, N being the number of fields.",
)  # fmt: skip
def hscan(s: Session, argv: Argv) -> Reply:
    cursor = scan_cursor(argv[2])
    value = s.db.read(argv[1], Hash)
    if value is None:
        return [b"0", []]
    options = scan_options(argv, 3)
    cursor, found = scan_page(value, None if is_compact(value) else index_of(value), cursor, options)
    return [b"%d" % cursor, list(chain.from_iterable((field, value[field]) for field in found))]
