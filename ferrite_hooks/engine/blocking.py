"""Commands that wait: BLPOP, XREAD BLOCK, WAIT and friends.

A handler that finds nothing returns a Wait. When one of its keys holds a value of the type that it waits for, the
same handler is called again with the same arguments; if it answers, if only with an error, the client is released.
Clients are served in the order they began to wait, after the command that changed the key has finished, as Redis
does. Inside MULTI and scripts a Wait turns into its `empty` reply at once.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ferrite_hooks.errors import INTERNAL, UNBLOCKED, ReplyError
from ferrite_hooks.resp.reply import NIL_ARRAY, Reply

if TYPE_CHECKING:
    from ferrite_hooks.engine.command import Argv, Command
    from ferrite_hooks.engine.engine import Engine
    from ferrite_hooks.engine.session import Session
    from ferrite_hooks.engine.timers import Timer

log = logging.getLogger("ferrite_hooks.engine")


class Wait:
    """A reply that is not there yet.

    `keys` are those whose change may bring it, `deadline` is in unix ms (0 = for ever), `empty` is what a
    timeout answers, and `argv`, when given, replaces the arguments of the repeated call (XREAD turns `$` into
    an id). The handler is called for values of the type `kind`; with `strict` also when a key has another value or
    none, of which it makes an error.
    """

    __slots__ = ("argv", "deadline", "empty", "keys", "kind", "strict", "timer")

    def __init__(
        self,
        keys: tuple[bytes, ...] = (),
        deadline: int = 0,
        empty: Reply = NIL_ARRAY,
        argv: Argv | None = None,
        kind: type | None = None,
        strict: bool = False,
    ) -> None:
        self.keys = keys
        self.kind = kind
        self.deadline = deadline
        self.empty = empty
        self.argv = argv
        self.strict = strict
        self.timer: Timer | None = None


def block(s: Session, command: Command, argv: Argv, wait: Wait) -> None:
    """Parks a session until one of its keys changes, its time is over, or someone resolves its wait."""
    s.blocked = wait
    s.blocked_call = (command, wait.argv or argv)
    s.engine.blocked_clients += 1
    for key in wait.keys:
        s.db.blocked.setdefault(key, {})[s] = None
    s.db.observe()
    if wait.deadline:
        wait.timer = s.engine.timers.at(wait.deadline, lambda: resolve(s, wait, wait.empty))


def resolve(s: Session, wait: Wait, reply: Reply) -> None:
    """Answers a blocked session, if it is still blocked on `wait`, and lets it go on."""
    if s.blocked is wait:
        if s.blocked_call is not None:
            command = s.blocked_call[0]
            command.calls += 1
            command.buckets[0] += 1  # it has waited, not worked
            if type(reply) is ReplyError:
                command.failed += 1
                s.engine.count_error(reply.text)
        unblock(s)
        s.send(reply)
        s.engine.settle()


def unblock(s: Session) -> None:
    """Takes a session out of all waiting lists, without a reply (it was answered, or it has left)."""
    wait = s.blocked
    if wait is None:
        return
    s.blocked = s.blocked_call = None
    s.engine.blocked_clients -= 1
    if wait.timer is not None:
        wait.timer.cancel()
    for key in wait.keys:
        waiting = s.db.blocked.get(key)
        if waiting is not None:
            waiting.pop(s, None)
            if not waiting:
                del s.db.blocked[key]
    s.db.observe()


def unblock_with(s: Session, error: bool) -> bool:
    """CLIENT UNBLOCK. Returns False if the session was not blocked by a command."""
    if s.blocked is None:
        return False
    resolve(s, s.blocked, ReplyError(UNBLOCKED) if error else s.blocked.empty)
    return True


def serve_ready(engine: Engine) -> None:
    """Calls again whoever waits for a key that has changed, until nothing more changes."""
    from ferrite_hooks.engine.run import call

    if engine.ready:
        engine.clock.tick()  # a long transaction may have outlived its own keys
    while engine.ready:
        ready, engine.ready = engine.ready, {}
        for index, key in ready:
            db = engine.databases[index]
            for s in list(db.blocked.get(key, ())):
                wait, pending = s.blocked, s.blocked_call
                if wait is None or pending is None or (type(db.data.get(key)) is not wait.kind and not wait.strict):
                    continue
                try:
                    if not s.user.unrestricted:  # it may have lost the permission while it waited
                        engine.acl.check(s, *pending)
                    reply = call(s, *pending)
                except ReplyError as error:
                    engine.count_error(error.text)
                    reply = error
                except Exception:  # a fault of ours must not take the reply of who changed the key, nor others' turns
                    log.exception("%s failed", pending[0].name)
                    reply = ReplyError(INTERNAL)
                if type(reply) is not Wait:
                    unblock(s)
                    s.send(reply)
