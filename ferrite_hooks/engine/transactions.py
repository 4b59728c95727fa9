"""What MULTI and WATCH keep: a client's queue of commands, and the keys whose change forbids its EXEC.

A watched key is known to its database, which marks the watchers when the key changes (`Database.announce`).
A key that was past its time when the watch began is removed at once, so its removal is no change; one whose
time comes while it is watched breaks the watch even if nobody has touched it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ferrite_hooks.engine.session import Session


def watch(s: Session, key: bytes) -> None:
    """EXEC of this client will refuse if `key` of its database changes until then."""
    db = s.db
    if (db, key) not in s.watching:
        db.find(key)  # one that is past its time goes now
        s.watching.add((db, key))
        db.watched.setdefault(key, set()).add(s)
        db.observe()


def unwatch(s: Session) -> None:
    """Forgets all watched keys and that one of them has changed."""
    for db, key in s.watching:
        watchers = db.watched.get(key)
        if watchers is not None:
            watchers.discard(s)
            if not watchers:
                del db.watched[key]
                db.observe()
    s.watching.clear()
    s.watch_broken = False


def watch_broken(s: Session) -> bool:
    """True if a watched key has changed or its time has come."""
    now = s.engine.clock.now
    return s.watch_broken or any(db.expires.get(key, now) < now for db, key in s.watching)


def discard(s: Session) -> None:
    """Leaves MULTI, whatever was queued, and forgets the watched keys."""
    s.queue = None
    s.queue_broken = False
    s.queue_bytes = 0
    unwatch(s)
    s.refresh()
