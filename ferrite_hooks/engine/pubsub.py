"""Channels, patterns and keyspace notifications."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ferrite_hooks.engine.session import Session


class PubSub:
    __slots__ = ()

    def notify(self, flags: frozenset[str], db: int, key: bytes, event: str) -> None:
        """Publishes `__keyspace@db__` and `__keyevent@db__` messages for an event whose class is in
        `flags`."""

    def forget(self, s: Session) -> None:
        """Removes every subscription of a client that has left."""
