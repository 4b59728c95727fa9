"""Transactions: MULTI queues commands, EXEC runs them together unless a watched key has changed."""

from __future__ import annotations

from ferrite_hooks.engine.blocking import Wait
from ferrite_hooks.engine.command import Argv, Command, command
from ferrite_hooks.engine.run import call
from ferrite_hooks.engine.session import Session
from ferrite_hooks.engine.transactions import discard as leave
from ferrite_hooks.engine.transactions import unwatch as forget_watches
from ferrite_hooks.engine.transactions import watch as watch_key
from ferrite_hooks.engine.transactions import watch_broken
from ferrite_hooks.errors import EXECABORT, ReplyError
from ferrite_hooks.resp.reply import NIL_ARRAY, OK, Reply

_FLAGS = "noscript loading stale fast allow_busy"


@command("MULTI", "Starts a transaction: the commands that follow are queued.",
         group="transactions", since="1.2.0", flags=_FLAGS)  # fmt: skip
def multi(s: Session, argv: Argv) -> Reply:
    if s.queue is not None:
        raise ReplyError("ERR MULTI calls can not be nested")
    s.queue = []
    s.refresh()
    return OK


@command("DISCARD", "Drops the queued commands.", group="transactions", since="2.0.0", flags=_FLAGS)
def discard(s: Session, argv: Argv) -> Reply:
    if s.queue is None:
        raise ReplyError("ERR DISCARD without MULTI")
    leave(s)
    return OK


@command("EXEC", "Runs the queued commands, and nothing else in between.",
         group="transactions", since="1.2.0", flags="noscript loading stale skip_slowlog")  # fmt: skip
def exec_(s: Session, argv: Argv) -> Reply:
    queue = s.queue
    if queue is None:
        raise ReplyError("ERR EXEC without MULTI")
    broken, changed = s.queue_broken, watch_broken(s)
    leave(s)
    if broken:
        raise ReplyError(EXECABORT)
    if changed:
        return NIL_ARRAY
    engine, outer = s.engine, s.deny_blocking
    s.deny_blocking = True
    engine.begin_transaction()
    try:
        return [_one(s, queued, args) for queued, args in queue]
    finally:
        engine.end_transaction()
        s.deny_blocking = outer


def _one(s: Session, queued: Command, argv: Argv) -> Reply:
    """Runs one queued command. Its error is its reply; what would block answers as if its time were over."""
    try:
        if not s.user.unrestricted:
            s.engine.acl.check_again(s, queued, argv)
        reply = call(s, queued, argv)
    except ReplyError as error:
        s.engine.count_error(error.text)
        return error
    return reply.empty if type(reply) is Wait else reply


@command("WATCH key [key ...]", "Makes the next EXEC refuse if one of these keys changes before it.",
         group="transactions", since="2.2.0", flags=_FLAGS, keys="RO @1:-1")  # fmt: skip
def watch(s: Session, argv: Argv) -> Reply:
    if s.queue is not None:
        raise ReplyError("ERR WATCH inside MULTI is not allowed")
    for key in argv[1:]:
        watch_key(s, key)
    return OK


@command("UNWATCH", "Forgets all watched keys.", group="transactions", since="2.2.0", flags=_FLAGS)
def unwatch(s: Session, argv: Argv) -> Reply:
    forget_watches(s)
    return OK
