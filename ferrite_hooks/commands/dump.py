"""DUMP and RESTORE: a value as bytes that any Redis understands, and back."""

from __future__ import annotations

from ferrite_hooks.commands.common import I64_MAX, integer
from ferrite_hooks.engine.access import NEW
from ferrite_hooks.engine.command import Argv, command
from ferrite_hooks.engine.keyspace import snapshot
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import BUSYKEY, SYNTAX, ReplyError, invalid_expire
from ferrite_hooks.resp.reply import OK, Reply
from ferrite_hooks.store.packed import RdbError
from ferrite_hooks.store.rdb_read import PayloadError, load_value
from ferrite_hooks.store.rdb_write import dump_value
from ferrite_hooks.values.collections import Hash
from ferrite_hooks.values.encoding import settle

_USE = frozenset([b"IDLETIME", b"FREQ"])  # of the two only one


@command(
    "DUMP key", "A key's value as RESTORE takes it.",
    group="generic", since="2.6.0", flags="readonly", keys="RO access @1", tips="nondeterministic_output",
    complexity="O(N) for a value of N bytes",
)  # fmt: skip
def dump(s: Session, argv: Argv) -> Reply:
    value = s.db.find(argv[1])
    if value is None:
        s.engine.misses += 1
        return None
    s.engine.hits += 1
    return dump_value(value)


def _options(argv: Argv) -> dict[bytes, int]:
    """REPLACE and ABSTTL, and what IDLETIME or FREQ say of the key's use."""
    found: dict[bytes, int] = {}
    i = 4
    while i < len(argv):
        word, number = argv[i].upper(), 0
        if word in _USE and i + 1 < len(argv) and found.keys().isdisjoint(_USE - {word}):
            i += 1
            number = integer(argv[i])
            if word == b"IDLETIME" and number < 0:
                raise ReplyError("ERR Invalid IDLETIME value, must be >= 0")
            if word == b"FREQ" and not 0 <= number <= 255:
                raise ReplyError("ERR Invalid FREQ value, must be >= 0 and <= 255")
        elif word not in (b"REPLACE", b"ABSTTL"):
            raise ReplyError(SYNTAX)
        found[word] = number
        i += 1
    return found


@command(
    "RESTORE key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]",
    "Creates a key from what DUMP gave.",
    group="generic", since="2.6.0", flags="write denyoom dangerous", keys="OW update @1", events="restore del",
    complexity="O(N) for a value of N bytes, O(N*log(N)) for sorted sets",
)  # fmt: skip
def restore(s: Session, argv: Argv) -> Reply:
    engine, db, key = s.engine, s.db, argv[1]
    options = _options(argv)
    if db.find(key) is not None and b"REPLACE" not in options:
        raise ReplyError(BUSYKEY)
    when = integer(argv[2])
    if when < 0:
        raise ReplyError("ERR Invalid TTL value, must be >= 0")
    try:
        value = load_value(argv[3])
    except PayloadError:
        raise ReplyError("ERR DUMP payload version or checksum are wrong")
    except RdbError:
        raise ReplyError("ERR Bad data format")
    if when and b"ABSTTL" not in options:
        when += engine.clock.now
        if when > I64_MAX:
            raise ReplyError(invalid_expire("restore"))
    if when and when <= engine.clock.now and not engine.loading:
        if db.drop(key):
            engine.effect(b"DEL", key)
        return OK
    settle(value, engine.settings)
    db.put(key, value, "restore", expire_at=when, new=snapshot(value) if db.observed else None)
    if type(value) is Hash:
        db.note_fields(key, value)
    if engine.access is not None:
        engine.access.set_idle(db, key, options.get(b"IDLETIME", 0))
        engine.access.set_frequency(db, key, options.get(b"FREQ", NEW))
    engine.effect(b"RESTORE", key, b"%d" % when, argv[3], b"REPLACE", b"ABSTTL")
    return OK


@command(
    "RESTORE-ASKING key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]",
    "RESTORE, as nodes of a cluster say it to each other.",
    group="server", since="3.0.0", flags="write denyoom asking dangerous", acl="keyspace",
    keys="OW update @1", events="restore del", complexity="as RESTORE",
)  # fmt: skip
def restore_asking(s: Session, argv: Argv) -> Reply:
    return restore(s, argv)
