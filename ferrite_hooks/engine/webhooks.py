"""Where engine and webhooks meet: each knows only functions of the other, and they are tied together here.

The engine asks the matcher at every write, hands positions out and carries the changes of a tick; a full webhook
with OVERFLOW reject refuses writes before anything has changed. While no webhook is enabled the engine has no
interest in changes, and databases that nobody observes cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ferrite_hooks.engine.acl_rules import READ
from ferrite_hooks.engine.command import Argv, Command
from ferrite_hooks.errors import ReplyError
from ferrite_hooks.webhooks.desk import Note, Post, Seams
from ferrite_hooks.webhooks.manager import Manager
from ferrite_hooks.webhooks.model import Change

if TYPE_CHECKING:
    from ferrite_hooks.engine.engine import Engine
    from ferrite_hooks.engine.session import Session

FEW = 2  # queues; to look at so many costs no more than to ask which of them a write concerns


def seams(
    engine: Engine,
    *,
    post: Post,
    notes: Callable[[list[Note]], object],
    soon: Callable[[Callable[[], None]], object],
) -> Seams:
    """What the engine can do for a Manager; the rest (journal id, history) is the app's to set."""

    def next_position() -> int:
        engine.position += 1
        return engine.position

    def publish(change: Change) -> None:
        engine.changes.append(change)
        engine.on_pending()

    def may_read(name: str, key: bytes) -> bool:
        user = engine.acl.users.get(name)
        return user is not None and user.may_read(key)

    def reads_all(name: str) -> bool:
        user = engine.acl.users.get(name)
        return user is not None and any(selector.allows_every_key(READ) for selector in user.selectors)

    def is_user(name: str) -> bool:
        return name in engine.acl.users

    def is_admin(name: str) -> bool:
        user = engine.acl.users.get(name)
        return user is not None and user.has_category("admin")

    return Seams(
        clock=engine.clock,
        at=engine.timers.at,
        soon=soon,
        post=post,
        notes=notes,
        next_position=next_position,
        publish=publish,
        may_read=may_read,
        reads_all=reads_all,
        is_admin=is_admin,
        is_user=is_user,
    )


def attach(engine: Engine, manager: Manager) -> None:
    """From now on the engine tells the manager what it wants to know, and WEBHOOK commands find it."""
    engine.extensions["webhooks"] = manager
    manager.on_change = lambda: listen(engine, manager)
    engine.acl.on_change = manager.acl_changed
    listen(engine, manager)


def listen(engine: Engine, manager: Manager) -> None:
    """Definitions have changed: does anyone listen, may anyone refuse?"""
    wanted = manager.matcher if manager.matcher.listening else None
    if engine.interest is not wanted:
        engine.set_interest(wanted)
    rejecting = manager.registry.rejecting

    def refuse(s: Session, command: Command, argv: Argv) -> None:
        if len(rejecting) > FEW or any(delivery.full for delivery in rejecting.values()):
            queued = (s.queue or []) if command.name == "exec" else [(command, argv)]
            for each, words in queued:
                _refuse_write(manager, s, each, words)

    engine.refuses = refuse if rejecting else None
    engine.refresh()


def _refuse_write(manager: Manager, s: Session, command: Command, argv: Argv) -> None:
    if not command.writes:
        return
    keys: Iterable[bytes | None] = [argv[i] for i, _ in command.key_positions(argv)] or [None]
    name = manager.refuses(s.db.index, command.events, keys)
    if name is not None:
        command.rejected += 1
        raise ReplyError(f"WEBHOOKFULL the queue of webhook '{name}' is full, nothing was changed")
