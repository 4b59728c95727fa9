"""Strings: values that are plain bytes."""

from __future__ import annotations

from ferrite_hooks.commands.common import expire_option
from ferrite_hooks.engine.command import Argv, command
from ferrite_hooks.engine.session import Session
from ferrite_hooks.resp.reply import OK, Reply


@command(
    "GET key", "The value of a string key.",
    group="string", since="1.0.0", flags="readonly fast", keys="RO access @1",
)  # fmt: skip
def get(s: Session, argv: Argv) -> Reply:
    return s.db.read(argv[1], bytes)


@command(
    "SET key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds"
    " | PXAT unix-time-milliseconds | KEEPTTL]",
    "Sets a key to a string, whatever it held.",
    group="string", since="1.0.0", flags="write denyoom", keys="RW access update variable_flags @1",
    events="set expire",
)  # fmt: skip
def set_(s: Session, argv: Argv) -> Reply:
    if len(argv) == 3:
        s.db.put(argv[1], argv[2], "set")
        return OK
    raise NotImplementedError


@command(
    "GETEX key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]",
    "The value of a string key, whose time to live it sets or removes.",
    group="string", since="6.2.0", flags="write fast", keys="RW access update @1", events="expire persist del",
)  # fmt: skip
def getex(s: Session, argv: Argv) -> Reply:
    engine, db, key = s.engine, s.db, argv[1]
    option, when = expire_option(engine, argv, 2, b"PERSIST", "getex")
    value = db.read(key, bytes)
    if value is None or not option:
        return value
    if option == b"PERSIST":
        if key in db.expires:
            db.expire_at(key, None, "persist")
            engine.effect(b"PERSIST", key)
    elif when <= engine.clock.now:
        db.drop(key)
        engine.effect(b"DEL", key)
    else:
        db.expire_at(key, when, "expire")
        engine.effect(b"PEXPIREAT", key, b"%d" % when)
    return value
