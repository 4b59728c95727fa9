"""From argv to a reply value: `run` is the outermost call of a client, `call` runs one command.

EXEC, scripts, blocked clients and journal replay all go through `call`, so effects and events are collected
in one way. `run` adds what only a client's own command needs: the checks in Redis's order, and the turn of
blocked clients afterwards. Errors are raised anywhere and caught here.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from ferrite_hooks import errors
from ferrite_hooks.engine.blocking import Wait, block
from ferrite_hooks.engine.command import COMMANDS, Argv, Command, find
from ferrite_hooks.engine.latency import BITS, QUICK
from ferrite_hooks.engine.monitor import observe
from ferrite_hooks.engine.pause import holds, postpone
from ferrite_hooks.engine.transactions import discard
from ferrite_hooks.errors import ReplyError
from ferrite_hooks.resp.reply import NO_REPLY, QUEUED, Reply

if TYPE_CHECKING:
    from ferrite_hooks.engine.session import Session

log = logging.getLogger("ferrite_hooks.engine")
_now: Final = time.perf_counter  # without a look-up in the compiled build

_IN_RESP2_SUBSCRIPTION: Final = frozenset(
    ["ping", "subscribe", "ssubscribe", "sunsubscribe", "psubscribe", "unsubscribe", "punsubscribe", "quit", "reset"]
)
_HTTP: Final = frozenset([b"post", b"host:"])  # how a request begins that a web page or a webhook was made to send here
_NOT_QUEUED: Final = frozenset(["exec", "discard", "multi", "watch", "quit", "reset"])


def run(s: Session, argv: Argv, started: float = 0.0) -> Reply:
    """Runs a client's command. Returns the reply value, an error being one too, or NO_REPLY. `started`: see `call`."""
    engine = s.engine
    called = False
    try:
        name = argv[0]
        command = s.usual if name == s.usual_name else COMMANDS.get(name)
        if command is None or command.subcommands or not command.min_words <= len(argv) <= command.max_words:
            command = find(argv)
        elif command is not s.usual:
            s.usual, s.usual_name = command, name
        s.last_command = command
        if s.special or engine.special:
            reply = _check(s, command, argv)
            if reply is not None:
                return reply
        called = True
        reply = call(s, command, argv, started)
    except ReplyError as error:
        error.__traceback__ = None  # it leads to this frame, and so to itself: the arguments would not be freed at once
        if not called and argv[0].lower() in _HTTP:
            log.warning("closing client id=%d addr=%s: it speaks HTTP, perhaps for somebody else", s.id, s.addr)
            s.close_after_reply = True  # before a line of its body is taken for a command
            return NO_REPLY
        engine.count_error(error.text)
        reply = error if called else _refused(s, argv, error)
    except Exception:  # a fault of ours must not take the other clients' server away
        log.exception("%s failed", s.last_command.name if s.last_command is not None else "a command")
        reply = ReplyError(errors.INTERNAL)
    else:
        if type(reply) is Wait:
            if s.deny_blocking:
                reply = reply.empty
            else:
                block(s, command, argv, reply)
                reply = NO_REPLY
    if engine.unsettled:
        engine.settle(s)
        if s.late:
            reply = s.with_late(reply)
    return reply


def call(s: Session, command: Command, argv: Argv, started: float = 0.0) -> Reply:
    """Runs one command: its handler, its statistics, its effects for the journal. Raises ReplyError.

    `started` is time.perf_counter() where the caller knows it: `engine.lap`, when the command before has ended."""
    engine = s.engine
    before = engine.dirty
    outer, engine.command, engine.session = engine.command, command, s
    reply: Reply = None
    if not started:
        started = engine.lap = _now()
    try:
        reply = command.handler(s, argv)
    except ReplyError:
        command.failed += 1
        raise
    finally:
        engine.lap = _now()
        seconds = engine.lap - started
        if type(reply) is not Wait or s.deny_blocking:  # one that waits is counted when it is answered
            command.calls += 1
            if seconds >= QUICK:
                nanoseconds = int(seconds * 1e9)
                command.buckets[BITS[nanoseconds >> 6] if nanoseconds < 65536 else nanoseconds.bit_length()] += 1
            command.seconds += seconds
        if engine.dirty != before and not engine.loading:
            if engine.override is None:
                if command.writes:
                    engine.propagate(s.db, argv)
            else:
                for effect in engine.override:
                    engine.propagate(s.db, effect)
        engine.override = None
        if seconds >= engine.observe_from:
            observe(s, command, argv, int(seconds * 1e9), reply)
        engine.command = outer
    return reply


def _refused(s: Session, argv: Argv, error: ReplyError) -> ReplyError:
    """What a client is told of a command that may not run; EXEC has words of its own, outside of MULTI, too."""
    if argv[0].upper() != b"EXEC":
        s.queue_broken = s.queue is not None
        return error
    discard(s)
    return ReplyError(errors.EXECABORT_BECAUSE + error.text.removeprefix("ERR "))


def _check(s: Session, command: Command, argv: Argv) -> Reply | None:
    """Everything that may stand between a known command and its handler, in Redis's order. None = go on.

    EXEC is judged by what it will run as well."""
    flags = command.flags_for(s, argv)
    if s.queue and command.name == "exec":
        flags = flags.union(*[queued.flags_for(s, args) for queued, args in s.queue])
    engine = s.engine
    if not s.authenticated and "no_auth" not in flags:
        _reject(command, errors.NOAUTH)
    if s.queue is not None and "no_multi" in flags:
        _reject(command, errors.NO_MULTI)
    if not s.user.unrestricted and not s.internal:
        s.engine.acl.check(s, command, argv)
    queues = s.queue is not None and command.name not in _NOT_QUEUED
    if engine.over_memory is not None and engine.over_memory() and ("denyoom" in flags or queues):
        _reject(command, errors.OOM)
    if engine.write_error and ("write" in flags or _defines(command)) and not s.internal:
        _reject(command, errors.MISCONF % engine.write_error)
    if engine.wants_replicas and "write" in flags and not s.internal:
        _reject(command, errors.NOREPLICAS)
    if engine.refuses is not None and "write" in flags:
        engine.refuses(s, command, argv)
    if s.resp == 2 and s.subscribed and command.name not in _IN_RESP2_SUBSCRIPTION:
        _reject(command, errors.subscribed_context(command.name))
    if engine.loading and "loading" not in flags and not s.internal:
        _reject(command, errors.LOADING)
    if engine.busy and "allow_busy" not in flags:
        _reject(command, engine.busy)
    if engine.paused_until and not s.internal and holds(engine, flags):
        postpone(s, command, argv)
        return NO_REPLY
    if queues:
        assert s.queue is not None
        if not (s.queue_broken or s.watch_broken):  # EXEC will not run them anyway
            s.queue.append((command, argv))
            s.queue_bytes += sum([len(arg) for arg in argv])
        return QUEUED
    return None


def _defines(command: Command) -> bool:
    """Whether a command changes webhooks, which the journal keeps as it keeps data."""
    return command.group == "webhook" and command.flags.isdisjoint(("readonly", "loading"))


def _reject(command: Command, text: str) -> None:
    command.rejected += 1
    raise ReplyError(text)


__all__ = ["NO_REPLY", "call", "run"]
