"""Lists: sequences of elements with two quick ends, and the pops that wait for them."""

from __future__ import annotations

from ferrite_hooks.commands.common import block_deadline
from ferrite_hooks.engine.blocking import Wait
from ferrite_hooks.engine.command import Argv, command
from ferrite_hooks.engine.keyspace import stub
from ferrite_hooks.engine.session import Session
from ferrite_hooks.resp.reply import Reply
from ferrite_hooks.values.collections import List


def _push(s: Session, argv: Argv, event: str) -> Reply:
    db, key = s.db, argv[1]
    value = db.edit(key, List)
    old = stub(value) if db.observed else None
    if value is None:
        value = List()
    elements = argv[2:]
    if event == "lpush":
        value.extendleft(elements)
    else:
        value.extend(elements)
    db.commit(key, value, event, ("list", elements), old)
    return len(value)


@command(
    "LPUSH key element [element ...]", "Adds elements at the left end of a list.",
    group="list", since="1.0.0", flags="write denyoom fast", keys="RW insert @1", events="lpush",
)  # fmt: skip
def lpush(s: Session, argv: Argv) -> Reply:
    return _push(s, argv, "lpush")


@command(
    "RPUSH key element [element ...]", "Adds elements at the right end of a list.",
    group="list", since="1.0.0", flags="write denyoom fast", keys="RW insert @1", events="rpush",
)  # fmt: skip
def rpush(s: Session, argv: Argv) -> Reply:
    return _push(s, argv, "rpush")


def _blocking_pop(s: Session, argv: Argv, event: str) -> Reply:
    deadline = block_deadline(s.engine, argv[-1])
    db, keys = s.db, argv[1:-1]
    for key in keys:
        value = db.edit(key, List)
        if value is not None:
            element = value.popleft() if event == "lpop" else value.pop()
            db.commit(key, value, event, old=("list", [element]))
            s.engine.effect(event.upper().encode(), key)
            return [key, element]
    return Wait(tuple(keys), deadline)


@command(
    "BLPOP key [key ...] timeout", "Pops from the left of the first list that is not empty, or waits for one.",
    group="list", since="2.0.0", flags="write noscript blocking", keys="RW access delete @1:-2", events="lpop del",
)  # fmt: skip
def blpop(s: Session, argv: Argv) -> Reply:
    return _blocking_pop(s, argv, "lpop")


@command(
    "BRPOP key [key ...] timeout", "Pops from the right of the first list that is not empty, or waits for one.",
    group="list", since="2.0.0", flags="write noscript blocking", keys="RW access delete @1:-2", events="rpop del",
)  # fmt: skip
def brpop(s: Session, argv: Argv) -> Reply:
    return _blocking_pop(s, argv, "rpop")
