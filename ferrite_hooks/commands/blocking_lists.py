"""The pops and moves that wait for an element.

Each does what its non-blocking twin does, and is replicated as that, or returns a Wait: then it is called again
when one of its keys has changed. While it waits, a key of another type counts as one that is not there, as
Redis 7.0 has it; at the first call it is an error.
"""

from __future__ import annotations

from ferrite_hooks.commands.common import block_deadline
from ferrite_hooks.commands.lists import is_left, move, mpop, mpop_arguments, pop
from ferrite_hooks.engine.blocking import Wait
from ferrite_hooks.engine.command import Argv, command
from ferrite_hooks.engine.session import Session
from ferrite_hooks.resp.reply import Reply
from ferrite_hooks.values.collections import List


def _blocking_pop(s: Session, argv: Argv, left: bool) -> Reply:
    deadline = block_deadline(s.engine, argv[-1])
    keys = argv[1:-1]
    for key in keys:
        value = s.db.edit(key, List)
        if value is not None:
            (element,) = pop(s, key, value, 1, left)
            s.engine.effect(b"LPOP" if left else b"RPOP", key)
            return [key, element]
    return Wait(tuple(keys), deadline, kind=List)


def _blocking_move(s: Session, argv: Argv, deadline: int, from_left: bool, to_left: bool) -> Reply:
    source, destination = argv[1], argv[2]
    if s.db.edit(source, List) is not None:
        element = move(s, source, destination, from_left, to_left)
        if len(argv) == 6:
            s.engine.effect(b"LMOVE", *argv[1:5])
        else:
            s.engine.effect(b"RPOPLPUSH", source, destination)
        return element
    if s.deny_blocking:
        return None  # a timeout answers the null array instead
    return Wait((source,), deadline, kind=List)


@command(
    "BLPOP key [key ...] timeout", "Pops from the left of the first list that is not empty, or waits for one.",
    group="list", since="2.0.0", flags="write blocking", keys="RW access delete @1:-2", events="lpop del",
    complexity="O(N), N being the number of keys.",
)  # fmt: skip
def blpop(s: Session, argv: Argv) -> Reply:
    return _blocking_pop(s, argv, True)


@command(
    "BRPOP key [key ...] timeout", "Pops from the right of the first list that is not empty, or waits for one.",
    group="list", since="2.0.0", flags="write blocking", keys="RW access delete @1:-2", events="rpop del",
    complexity="O(N), N being the number of keys.",
)  # fmt: skip
def brpop(s: Session, argv: Argv) -> Reply:
    return _blocking_pop(s, argv, False)


@command(
    "BLMPOP timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
    "Pops elements from one end of the first list that is not empty, or waits for one.",
    group="list", since="7.0.0", flags="write blocking movablekeys", keys="RW access delete @2#",
    events="lpop rpop del", complexity="O(N+M), N being the number of keys and M the number of elements returned.",
)  # fmt: skip
def blmpop(s: Session, argv: Argv) -> Reply:
    keys, left, most = mpop_arguments(argv, 2)
    deadline = block_deadline(s.engine, argv[1])
    for key in keys:
        value = s.db.edit(key, List)
        if value is not None:
            return mpop(s, key, value, left, most)
    return Wait(tuple(keys), deadline, kind=List)


@command(
    "BLMOVE source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout",
    "Does LMOVE, or waits until there is an element.",
    group="list", since="6.2.0", flags="write denyoom blocking", keys="RW access delete @1; RW insert @2",
    events="lpush rpush lpop rpop del", complexity="O(1)",
)  # fmt: skip
def blmove(s: Session, argv: Argv) -> Reply:
    from_left, to_left = is_left(argv[3]), is_left(argv[4])
    return _blocking_move(s, argv, block_deadline(s.engine, argv[5]), from_left, to_left)


@command(
    "BRPOPLPUSH source destination timeout", "Does RPOPLPUSH, or waits until there is an element.",
    group="list", since="2.2.0", flags="write denyoom blocking", keys="RW access delete @1; RW insert @2",
    events="lpush rpop del", complexity="O(1)",
)  # fmt: skip
def brpoplpush(s: Session, argv: Argv) -> Reply:
    return _blocking_move(s, argv, block_deadline(s.engine, argv[3]), False, True)
