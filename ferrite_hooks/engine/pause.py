"""CLIENT PAUSE: commands are held, not refused, and the loop goes on.

A held command parks its client like a blocking one does; when the pause ends all of them run from the start,
checks included, in the order they came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ferrite_hooks.engine.blocking import Wait, block, unblock
from ferrite_hooks.resp.reply import NO_REPLY

if TYPE_CHECKING:
    from ferrite_hooks.engine.command import Argv, Command
    from ferrite_hooks.engine.engine import Engine
    from ferrite_hooks.engine.session import Session


def pause(engine: Engine, until: int, everything: bool) -> None:
    """Holds commands until unix ms `until`: all of them, or those that may write. A second pause can make the
    first longer and stricter, never shorter or laxer."""
    engine.paused_all = everything or (engine.paused_writes() and engine.paused_all)
    engine.paused_until = max(engine.paused_until, until)
    engine.timers.at(engine.paused_until, lambda: _over(engine))
    engine.refresh()


def holds(engine: Engine, flags: frozenset[str]) -> bool:
    """True if a command with these flags has to wait."""
    return engine.paused_writes() and (engine.paused_all or "write" in flags or "may_replicate" in flags)


def postpone(s: Session, command: Command, argv: Argv) -> None:
    wait = Wait()
    block(s, command, argv, wait)
    s.engine.postponed[s] = (wait, argv)


def unpause(engine: Engine) -> None:
    """Ends the pause; what it held runs when the command that is running has ended."""
    engine.paused_until = 0
    engine.unsettled = True
    engine.refresh()


def resume(engine: Engine) -> None:
    """Runs what the pause held."""
    from ferrite_hooks.engine.run import run

    held, engine.postponed = engine.postponed, {}
    for s, (wait, argv) in held.items():
        if s.blocked is wait:
            unblock(s)
            reply = run(s, argv)
            if reply is NO_REPLY:
                s.wake()
            else:
                s.send(reply)


def _over(engine: Engine) -> None:
    if engine.paused_until and not engine.paused_writes():
        unpause(engine)
        engine.settle()
