"""WAIT and WAITAOF on a server without replicas: only its own journal can confirm anything, and who asks for
more waits until the timeout."""

from __future__ import annotations

from ferrite_hooks.commands.common import I64_MAX, integer
from ferrite_hooks.engine.blocking import Wait, resolve
from ferrite_hooks.engine.command import Argv, command
from ferrite_hooks.engine.engine import Engine
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import TIMEOUT_NEGATIVE, ReplyError
from ferrite_hooks.resp.reply import Reply

_LOOK_AGAIN_MS = 10


def _deadline(engine: Engine, raw: bytes) -> int:
    """A timeout in milliseconds as a deadline in unix ms; 0 = wait for ever."""
    timeout = integer(raw, "ERR timeout is not an integer or out of range")
    if timeout < 0:
        raise ReplyError(TIMEOUT_NEGATIVE)
    if timeout > I64_MAX - engine.clock.now:
        raise ReplyError("ERR timeout is out of range")
    return engine.clock.now + timeout if timeout else 0


@command(
    "WAIT numreplicas timeout", "Waits until replicas have the writes of this connection. There are none.",
    group="generic", since="3.0.0", acl="-keyspace connection",
    tips="request_policy:all_shards response_policy:agg_min", complexity="O(1)",
)  # fmt: skip
def wait(s: Session, argv: Argv) -> Reply:
    replicas = integer(argv[1])
    deadline = _deadline(s.engine, argv[2])
    return 0 if replicas <= 0 else Wait((), deadline, empty=0)


@command(
    "WAITAOF numlocal numreplicas timeout", "Waits until the writes so far are on this server's disk.",
    group="generic", since="7.2.0", flags="noscript", acl="-keyspace connection",
    tips="request_policy:all_shards response_policy:agg_min", complexity="O(1)",
)  # fmt: skip
def waitaof(s: Session, argv: Argv) -> Reply:
    engine, journal = s.engine, s.engine.host.journal
    local = integer(argv[1])
    if not 0 <= local <= 1:
        raise ReplyError("ERR value is out of range, value must between 0 and 1")
    replicas = integer(argv[2])
    if replicas < 0:
        raise ReplyError("ERR value is out of range, must be positive")
    deadline = _deadline(engine, argv[3])
    if journal is None:
        if local:
            raise ReplyError("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.")
        return [0, 0] if not replicas else Wait((), deadline, empty=[0, 0])
    # what this tick has changed, or the disk has refused so far, is in the next frame
    frame = journal.last_frame + bool(engine.effects or engine.write_error)

    def confirmed() -> list[int]:
        return [int(journal.durable_frame >= frame), 0]

    def enough() -> bool:
        return not replicas and confirmed()[0] >= local

    def look() -> None:
        if s.blocked is waiting:
            waiting.empty = confirmed()
            if enough():
                resolve(s, waiting, waiting.empty)
            else:
                engine.timers.after(_LOOK_AGAIN_MS, look)

    if enough():
        return confirmed()
    waiting = Wait((), deadline, empty=confirmed())
    engine.timers.after(_LOOK_AGAIN_MS, look)
    return waiting
