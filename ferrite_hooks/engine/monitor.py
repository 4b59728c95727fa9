"""What becomes of a command after it ran: MONITOR shows it, SLOWLOG and LATENCY keep it, client caches and
eviction remember its keys.

`call` asks for `observe` only when a command took at least `Engine.observe_from`: the lower threshold of the two
logs, or 0 while someone wants every command, so that nobody pays for it otherwise. Secrets are hidden here, in
one place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ferrite_hooks.engine.blocking import Wait
from ferrite_hooks.engine.settings import SETTINGS
from ferrite_hooks.resp.reply import Reply, Simple

if TYPE_CHECKING:
    from ferrite_hooks.engine.command import Argv, Command
    from ferrite_hooks.engine.engine import Engine
    from ferrite_hooks.engine.session import Session

REDACTED = b"(redacted)"
SLOWLOG_ARGS = 32
SLOWLOG_BYTES = 128
_SECRET_SETTINGS = {name.encode() for name, key in SETTINGS.items() if key.secret}

_ESCAPES = {
    **{c: b"\\x%02x" % c for c in range(256) if not 32 <= c < 127},
    10: b"\\n", 13: b"\\r", 9: b"\\t", 7: b"\\a", 8: b"\\b", 34: b'\\"', 92: b"\\\\",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SlowEntry:
    """One line of SLOWLOG GET."""

    id: int
    at: int  # unix seconds
    microseconds: int
    argv: tuple[bytes, ...]
    addr: str
    name: bytes


def observe(s: Session, command: Command, argv: Argv, nanoseconds: int, reply: Reply) -> None:
    """Called by `call` for a command that has run; `reply` is None when it raised."""
    engine = s.engine
    again = s.blocked is not None  # a blocked command that was called again: it has been shown already
    if engine.monitors and not again and not engine.loading and not command.flags & {"skip_monitor", "admin"}:
        feed(engine, s, command, argv)
    if nanoseconds >= engine.slow_ns and type(reply) is not Wait and "skip_slowlog" not in command.flags:
        _remember(engine, s, command, argv, nanoseconds)
    if nanoseconds >= engine.latency.threshold_ns and not engine.loading:
        engine.latency.add("fast-command" if "fast" in command.flags else "command", nanoseconds)
    if engine.access is not None and not engine.loading:
        engine.access.ran(s, command, argv)
    if engine.tracking is not None:
        engine.tracking.ran(s, command, argv)


def visible(command: Command, argv: Argv) -> Argv:
    """The arguments as others may see them."""
    if command.name == "config|set":
        hidden = {i + 1 for i in range(2, len(argv), 2) if argv[i].lower() in _SECRET_SETTINGS}
    elif command.name == "hello":
        hidden = {i + n for i, arg in enumerate(argv) if arg.upper() == b"AUTH" for n in (1, 2)}
    elif command.name == "migrate":
        words = [arg.upper() for arg in argv]
        hidden = {i + 1 for i, word in enumerate(words) if word in (b"AUTH", b"AUTH2")}
        hidden |= {i + 2 for i, word in enumerate(words) if word == b"AUTH2"}
    elif command.secret:
        hidden = set(range(2 if command.parent else 1, len(argv)))
    else:
        return argv
    return [REDACTED if i in hidden else arg for i, arg in enumerate(argv)]


# -- MONITOR -----------------------------------------------------------------------------------------------------


def quoted(arg: bytes) -> bytes:
    """A byte string in double quotes, every byte printable, as redis-cli reads it back."""
    if arg.isalnum():
        return b'"%b"' % arg
    return b'"%b"' % b"".join([_ESCAPES.get(c) or bytes((c,)) for c in arg])


def feed(engine: Engine, s: Session, command: Command, argv: Argv) -> None:
    """Shows a command to the monitors; `call` does it after the command, a script shows itself before its own."""
    now = engine.clock.now
    who = "lua" if s.internal else s.addr
    line = b"%d.%06d [%d %b] %b" % (
        now // 1000, now % 1000 * 1000, s.db.index, who.encode("utf-8", "surrogateescape"),
        b" ".join(map(quoted, visible(command, argv))),
    )  # fmt: skip
    shown = Simple(line)
    for monitor in engine.monitors:
        monitor.push(shown)


# -- SLOWLOG -----------------------------------------------------------------------------------------------------


def _remember(engine: Engine, s: Session, command: Command, argv: Argv, nanoseconds: int) -> None:
    most = engine.settings["slowlog-max-len"]
    shown = _trimmed(visible(command, argv))
    entry = SlowEntry(engine.slowlog_id, engine.clock.now // 1000, nanoseconds // 1000, shown, s.addr, s.name)
    engine.slowlog_id += 1
    engine.slowlog.appendleft(entry)
    while len(engine.slowlog) > most:
        engine.slowlog.pop()


def _trimmed(argv: Argv) -> tuple[bytes, ...]:
    """At most 32 arguments of at most 128 bytes, and how much is missing."""
    kept = argv if len(argv) <= SLOWLOG_ARGS else argv[: SLOWLOG_ARGS - 1]
    shown = [
        arg if len(arg) <= SLOWLOG_BYTES else b"%b... (%d more bytes)" % (arg[:SLOWLOG_BYTES], len(arg) - SLOWLOG_BYTES)
        for arg in kept
    ]
    if kept is not argv:
        shown.append(b"... (%d more arguments)" % (len(argv) - len(kept)))
    return tuple(shown)
