"""HyperLogLogs: string values that count how many different elements they have seen, within 0.81 %.

PFCOUNT keeps its result in the value, as Redis does; that write is silent, and journaled so that a replay ends in
the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

from ferrite_hooks import errors
from ferrite_hooks.engine.command import Argv, command
from ferrite_hooks.engine.keyspace import Database
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import ReplyError
from ferrite_hooks.resp.reply import OK, Reply, Simple
from ferrite_hooks.values import hll
from ferrite_hooks.values.hll import CorruptError


def _checked(value: bytes | None) -> bytes | None:
    if value is not None and not hll.is_hll(value):
        raise ReplyError(errors.NOT_HLL)
    return value


def _all(db: Database, keys: list[bytes]) -> Iterator[bytes]:
    """One after the other: a corrupt one is noticed before the next is looked at."""
    for key in keys:
        value = _checked(db.read(key, bytes))
        if value is not None:
            yield value


@command(
    "PFADD key [element [element ...]]", "Adds elements to a HyperLogLog: 1 if its estimate may have changed.",
    group="hyperloglog", since="2.8.9", flags="write denyoom fast", keys="RW insert @1", events="pfadd",
)  # fmt: skip
def pfadd(s: Session, argv: Argv) -> Reply:
    db, key = s.db, argv[1]
    before = _checked(db.read(key, bytes))
    try:
        after = hll.add(before or hll.EMPTY, argv[2:], s.engine.settings["hll-sparse-max-bytes"])
    except CorruptError:
        raise ReplyError(errors.CORRUPT_HLL)
    if after is None:
        if before is not None:
            return 0
        after = hll.EMPTY
    db.put(key, after, "pfadd", keep_ttl=True)
    return 1


@command(
    "PFCOUNT key [key ...]", "The estimated number of different elements, of several keys together.",
    group="hyperloglog", since="2.8.9", flags="readonly may_replicate", keys="RW access @1:-1",
)  # fmt: skip
def pfcount(s: Session, argv: Argv) -> Reply:
    db, engine = s.db, s.engine
    try:
        if len(argv) > 2:
            return hll.count_union(_all(db, argv[1:]))
        value = _checked(db.read(argv[1], bytes))
        if value is None:
            return 0
        cardinality = hll.cached_count(value)
        if cardinality is None:
            cardinality = hll.count(value)
            db.place(argv[1], hll.with_cached_count(value, cardinality))
            engine.dirty += 1
            engine.effect(*argv)
        return cardinality
    except CorruptError:
        raise ReplyError(errors.CORRUPT_HLL)


@command(
    "PFMERGE destkey [sourcekey [sourcekey ...]]", "Merges HyperLogLogs into one, which it creates.",
    group="hyperloglog", since="2.8.9", flags="write denyoom",
    keys="RW access insert @1; RO access @2:-1", events="pfadd",
)  # fmt: skip
def pfmerge(s: Session, argv: Argv) -> Reply:
    db = s.db
    target = _checked(db.read(argv[1], bytes)) or hll.EMPTY
    try:
        merged = hll.merge(target, _all(db, argv[2:]), s.engine.settings["hll-sparse-max-bytes"])
    except CorruptError:
        raise ReplyError(errors.CORRUPT_HLL)
    db.put(argv[1], merged, "pfadd", keep_ttl=True)
    return OK


@command(
    "PFDEBUG subcommand key", "Looks into a HyperLogLog: GETREG, DECODE, ENCODING, TODENSE.",
    group="hyperloglog", since="2.8.9", flags="write denyoom admin", keys="RW access @2", events="silent",
)  # fmt: skip
def pfdebug(s: Session, argv: Argv) -> Reply:
    db, key = s.db, argv[2]
    value = _checked(db.read(key, bytes))
    if value is None:
        raise ReplyError(errors.PFDEBUG_NO_KEY)
    what = argv[1].upper()
    if what == b"ENCODING":
        return Simple(b"sparse" if hll.is_sparse(value) else b"dense")
    if what == b"DECODE":
        if not hll.is_sparse(value):
            raise ReplyError(errors.PFDEBUG_NOT_SPARSE)
        words = (f"{op}:{rank},{span}" if op == "v" else f"{op}:{span}" for op, rank, span in hll.opcodes(value))
        return " ".join(words).encode()
    if what not in (b"GETREG", b"TODENSE"):
        raise ReplyError(f"ERR Unknown PFDEBUG subcommand '{errors.whole(argv[1])}'")
    try:
        dense = hll.to_dense(value)
    except CorruptError:
        raise ReplyError(errors.CORRUPT_HLL)
    if dense != value:
        db.place(key, dense)
        s.engine.dirty += 1
    return list(hll.registers(dense)) if what == b"GETREG" else int(dense != value)


@command(
    "PFSELFTEST", "Checks the HyperLogLog implementation.",
    group="hyperloglog", since="2.8.9", flags="admin",
)  # fmt: skip
def pfselftest(s: Session, argv: Argv) -> Reply:
    failure = hll.self_test(10_000)
    if failure is not None:
        raise ReplyError(f"ERR TESTFAILED {failure}")
    return OK
