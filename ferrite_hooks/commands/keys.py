"""Keys of any type: deleting, renaming, copying, moving, listing; and databases as a whole."""

from __future__ import annotations

from ferrite_hooks import glob
from ferrite_hooks.commands.common import integer
from ferrite_hooks.engine.command import Argv, command
from ferrite_hooks.engine.keyspace import TYPE_NAMES, Database, Value, snapshot
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import DB_OUT_OF_RANGE, NO_SUCH_KEY, SAME_OBJECT, SYNTAX, ReplyError
from ferrite_hooks.resp.reply import OK, Reply, Simple
from ferrite_hooks.values.collections import Hash
from ferrite_hooks.values.raw import Raw

_I32_MIN, _I32_MAX = -(2**31), 2**31 - 1
_TYPE_REPLIES = {kind: Simple(name.encode()) for kind, name in TYPE_NAMES.items()}
_NO_TYPE = Simple(b"none")


def _delete(s: Session, argv: Argv) -> Reply:
    drop = s.db.drop
    return sum(map(drop, argv[1:]))


@command(
    "DEL key [key ...]", "Deletes keys; returns how many there were.",
    group="generic", since="1.0.0", flags="write", keys="RM delete @1:-1", events="del",
    tips="request_policy:multi_shard response_policy:agg_sum", complexity="O(N) for N keys and their elements",
)  # fmt: skip
def del_(s: Session, argv: Argv) -> Reply:
    return _delete(s, argv)


@command(
    "UNLINK key [key ...]", "Deletes keys; returns how many there were.",
    group="generic", since="4.0.0", flags="write fast", keys="RM delete @1:-1", events="del",
    tips="request_policy:multi_shard response_policy:agg_sum", complexity="O(N) for N keys and their elements",
)  # fmt: skip
def unlink(s: Session, argv: Argv) -> Reply:
    return _delete(s, argv)


def _count(s: Session, argv: Argv) -> Reply:
    engine, find = s.engine, s.db.find
    found = len([key for key in argv[1:] if find(key) is not None])
    engine.hits += found
    engine.misses += len(argv) - 1 - found
    return found


@command(
    "EXISTS key [key ...]", "How many of the keys exist; one that is named twice counts twice.",
    group="generic", since="1.0.0", flags="readonly fast", keys="RO @1:-1",
    tips="request_policy:multi_shard response_policy:agg_sum", complexity="O(N) for N keys",
)  # fmt: skip
def exists(s: Session, argv: Argv) -> Reply:
    return _count(s, argv)


@command(
    "TOUCH key [key ...]", "Marks keys as used just now; returns how many there are.",
    group="generic", since="3.2.1", flags="readonly fast", keys="RO @1:-1",
    tips="request_policy:multi_shard response_policy:agg_sum", complexity="O(N) for N keys",
)  # fmt: skip
def touch(s: Session, argv: Argv) -> Reply:
    return _count(s, argv)


@command(
    "TYPE key", "The type of a key's value, or none.",
    group="generic", since="1.0.0", flags="readonly fast", keys="RO @1", complexity="O(1)",
)  # fmt: skip
def type_(s: Session, argv: Argv) -> Reply:
    value = s.db.find(argv[1])
    return _NO_TYPE if value is None else _TYPE_REPLIES[type(value)]


# -- renaming, copying, moving -------------------------------------------------------------------------------


def _rename(s: Session, argv: Argv, unless_exists: bool) -> bool:
    """Returns False if `newkey` exists and has to stay. Raises ReplyError when `key` does not exist."""
    db, key, newkey = s.db, argv[1], argv[2]
    if db.find(key) is None:
        raise ReplyError(NO_SUCH_KEY)
    if key == newkey:
        return not unless_exists
    if db.find(newkey) is not None and unless_exists:
        return False
    db.rename(key, newkey)
    return True


@command(
    "RENAME key newkey", "Renames a key, replacing what the new name held.",
    group="generic", since="1.0.0", flags="write", keys="RW access delete @1; OW update @2",
    events="rename_from rename_to", complexity="O(1)",
)  # fmt: skip
def rename(s: Session, argv: Argv) -> Reply:
    _rename(s, argv, unless_exists=False)
    return OK


@command(
    "RENAMENX key newkey", "Renames a key unless the new name exists.",
    group="generic", since="1.0.0", flags="write fast", keys="RW access delete @1; OW insert @2",
    events="rename_from rename_to", complexity="O(1)",
)  # fmt: skip
def renamenx(s: Session, argv: Argv) -> Reply:
    return int(_rename(s, argv, unless_exists=True))


def _database(s: Session, raw: bytes, error: str | None = None) -> Database:
    index = integer(raw, error) if error else integer(raw)
    if not _I32_MIN <= index <= _I32_MAX:
        raise ReplyError(error or f"ERR value is out of range, value must between {_I32_MIN} and {_I32_MAX}")
    databases = s.engine.databases
    if not 0 <= index < len(databases):
        raise ReplyError(DB_OUT_OF_RANGE)
    return databases[index]


@command(
    "MOVE key db", "Moves a key to another database unless it exists there.",
    group="generic", since="1.0.0", flags="write fast", keys="RW access update @1", events="move_from move_to",
    complexity="O(1)",
)  # fmt: skip
def move(s: Session, argv: Argv) -> Reply:
    key, target = argv[1], _database(s, argv[2])
    if target is s.db:
        raise ReplyError(SAME_OBJECT)
    if s.db.find(key) is None or target.find(key) is not None:
        return 0
    s.db.move(key, target)
    return 1


def _copy_of(value: Value) -> Value:
    """A value that shares nothing mutable with this one."""
    if type(value) is bytes:
        return value
    return Raw(value) if type(value) is Raw else value.copy()


@command(
    "COPY source destination [DB destination-db] [REPLACE]", "Copies a key and its time to live.",
    group="generic", since="6.2.0", flags="write denyoom", keys="RO access @1; OW update @2", events="copy_to",
    complexity="O(N) for a value of N elements",
)  # fmt: skip
def copy(s: Session, argv: Argv) -> Reply:
    source, destination, target, replace = argv[1], argv[2], s.db, False
    i = 3
    while i < len(argv):
        word = argv[i].upper()
        if word == b"REPLACE":
            replace = True
        elif word == b"DB" and i + 1 < len(argv):
            i += 1
            target = _database(s, argv[i])
        else:
            raise ReplyError(SYNTAX)
        i += 1
    if target is s.db and source == destination:
        raise ReplyError(SAME_OBJECT)
    value = s.db.find(source)
    if value is None:
        s.engine.misses += 1
        return 0
    s.engine.hits += 1
    if target.find(destination) is not None and not replace:
        return 0
    twin = _copy_of(value)
    shown = snapshot(twin) if target.observed else None
    target.put(destination, twin, "copy_to", expire_at=s.db.expires.get(source, 0), new=shown)
    if type(twin) is Hash:
        target.note_fields(destination, twin)
    return 1


# -- listing -------------------------------------------------------------------------------------------------


@command(
    "KEYS pattern", "All keys that match a glob. Walks the whole database: SCAN does not.",
    group="generic", since="1.0.0", flags="readonly dangerous", tips="request_policy:all_shards"
    " nondeterministic_output_order", complexity="O(N) for N keys in the database",
)  # fmt: skip
def keys(s: Session, argv: Argv) -> Reply:
    db, now = s.db, s.engine.clock.now
    found = list(db.data if argv[1] == b"*" else filter(glob.compile(argv[1]), db.data))
    if db.expires:
        found = [key for key in found if db.expires.get(key, now) >= now]
    return found


@command(
    "RANDOMKEY", "Any key of the database.",
    group="generic", since="1.0.0", flags="readonly", tips="request_policy:all_shards nondeterministic_output",
    complexity="O(1)",
)  # fmt: skip
def randomkey(s: Session, argv: Argv) -> Reply:
    db = s.db
    for _ in range(100):  # overdue keys stay while clients are paused: do not look for others for ever
        if not db.data:
            break
        key = db.index_keys().random()
        if db.find(key) is not None:
            return key
    return None


@command(
    "DBSIZE", "The number of keys in the database.",
    group="server", since="1.0.0", flags="readonly fast", acl="keyspace",
    tips="request_policy:all_shards response_policy:agg_sum", complexity="O(1)",
)  # fmt: skip
def dbsize(s: Session, argv: Argv) -> Reply:
    return len(s.db.data)


# -- whole databases -----------------------------------------------------------------------------------------


def _flush(argv: Argv, databases: list[Database]) -> Reply:
    if len(argv) > 2 or (len(argv) == 2 and argv[1].upper() not in (b"SYNC", b"ASYNC")):
        raise ReplyError(SYNTAX)
    for db in databases:
        if db.data:
            db.clear()
    tracking = databases[0].engine.tracking
    if tracking is not None:
        tracking.flushed()
    return OK


@command(
    "FLUSHDB [ASYNC | SYNC]", "Removes every key of the database.",
    group="server", since="1.0.0", flags="write dangerous", acl="keyspace", events="flushdb",
    tips="request_policy:all_shards response_policy:all_succeeded", complexity="O(N) for N keys",
)  # fmt: skip
def flushdb(s: Session, argv: Argv) -> Reply:
    return _flush(argv, [s.db])


@command(
    "FLUSHALL [ASYNC | SYNC]", "Removes every key of every database.",
    group="server", since="1.0.0", flags="write dangerous", acl="keyspace", events="flushdb",
    tips="request_policy:all_shards response_policy:all_succeeded", complexity="O(N) for N keys",
)  # fmt: skip
def flushall(s: Session, argv: Argv) -> Reply:
    return _flush(argv, s.engine.databases)


@command(
    "SWAPDB index1 index2", "Exchanges the contents of two databases; clients stay in the one they are in.",
    group="server", since="4.0.0", flags="write fast dangerous", acl="keyspace", events="swapdb",
    complexity="O(N) for N watched and blocked keys",
)  # fmt: skip
def swapdb(s: Session, argv: Argv) -> Reply:
    first = _database(s, argv[1], "ERR invalid first DB index")
    second = _database(s, argv[2], "ERR invalid second DB index")
    if first is not second:
        first.swap(second)
    return OK
