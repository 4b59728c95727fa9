"""WAIT on a server without replicas: whoever asks for some waits until the timeout."""

from __future__ import annotations

from ferrite_hooks.commands.common import I64_MAX, integer
from ferrite_hooks.engine.blocking import Wait
from ferrite_hooks.engine.command import Argv, command
from ferrite_hooks.engine.engine import Engine
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import TIMEOUT_NEGATIVE, ReplyError
from ferrite_hooks.resp.reply import Reply


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
    group="generic", since="3.0.0", flags="noscript", acl="-keyspace connection",
    tips="request_policy:all_shards response_policy:agg_min", complexity="O(1)",
)  # fmt: skip
def wait(s: Session, argv: Argv) -> Reply:
    replicas = integer(argv[1])
    deadline = _deadline(s.engine, argv[2])
    return 0 if replicas <= 0 else Wait((), deadline, empty=0)
