"""Hashes: fields and values under one key."""

from __future__ import annotations

from ferrite_hooks.engine.command import Argv, command
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import ReplyError, wrong_arity
from ferrite_hooks.resp.reply import Reply
from ferrite_hooks.values.collections import Hash


@command(
    "HDEL key field [field ...]", "Removes fields from a hash, and the hash with its last field.",
    group="hash", since="2.0.0", flags="write fast", keys="RW delete @1", events="hdel del",
)  # fmt: skip
def hdel(s: Session, argv: Argv) -> Reply:
    db, key = s.db, argv[1]
    value = db.edit(key, Hash)
    if value is None:
        return 0
    gone = [part for field in argv[2:] if field in value for part in (field, value.pop(field))]
    if gone:
        if value.index is not None:
            for field in gone[::2]:
                value.index.discard(field)
        db.commit(key, value, "hdel", old=("hash", gone))
    return len(gone) // 2


@command(
    "HSET key field value [field value ...]", "Sets fields of a hash.",
    group="hash", since="2.0.0", flags="write denyoom fast", keys="RW update @1", events="hset",
)  # fmt: skip
def hset(s: Session, argv: Argv) -> Reply:
    if len(argv) % 2:
        raise ReplyError(wrong_arity("hset"))
    db, key = s.db, argv[1]
    value = db.edit(key, Hash)
    if value is None:
        value = Hash()
    fields = argv[2::2]
    old = [part for field in fields for part in (field, value.get(field))] if db.observed else []
    before = len(value)
    if value.index is not None:
        for field in fields:
            if field not in value:
                value.index.add(field)
    value.update(zip(fields, argv[3::2], strict=True))
    db.commit(key, value, "hset", ("hash", argv[2:]), ("hash", old) if before else None)
    return len(value) - before
