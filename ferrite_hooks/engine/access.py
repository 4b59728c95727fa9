"""When, or how often, each key was used: what LRU and LFU eviction, OBJECT IDLETIME and OBJECT FREQ ask for.

It costs memory and time for every key, so records are kept only while somebody needs them: an LRU or LFU
maxmemory-policy, or from the first OBJECT IDLETIME on. `observe` (monitor.py) shows every command to `ran`
meanwhile. A key without a record counts as used when the records began.
"""

from __future__ import annotations

from functools import cache
from random import random
from typing import TYPE_CHECKING

from ferrite_hooks.errors import ReplyError

if TYPE_CHECKING:
    from ferrite_hooks.engine.command import Argv, Command
    from ferrite_hooks.engine.engine import Engine
    from ferrite_hooks.engine.keyspace import Database
    from ferrite_hooks.engine.session import Session

NEW = 5  # the frequency of a key that was just made: a moment's protection
_MOST = 255
# commands that only look, and one that says itself how much the key was used
_LOOKING = frozenset({
    "exists", "expiretime", "memory|usage", "object|encoding", "object|freq", "object|idletime", "object|refcount",
    "pexpiretime", "pttl", "restore", "ttl", "type",
})  # fmt: skip


class Access:
    """The records of all databases: unix ms of the last use, or, if `lfu`, unix minutes << 8 | frequency."""

    __slots__ = ("_engine", "_since", "lfu")

    def __init__(self, engine: Engine, lfu: bool) -> None:
        self._engine = engine
        self._since = engine.clock.now
        self.lfu = lfu
        for db in engine.databases:
            db.accessed = {}

    def ran(self, s: Session, command: Command, argv: Argv) -> None:
        """A command has run; what it looked at or made is in use."""
        if s.no_touch and command.name != "touch":
            return
        single = _single_key(command)
        if single:
            self._touch(s.db, argv[single])
        elif single is None:
            try:
                positions = command.key_positions(argv)
            except ReplyError:  # it has failed for the same reason
                return
            for at, _ in positions:
                self._touch(s.db, argv[at])

    def _touch(self, db: Database, key: bytes) -> None:
        if key not in db.data or db.accessed is None:
            return
        if not self.lfu:
            db.accessed[key] = self._engine.clock.now
        elif key in db.accessed:
            self.set_frequency(db, key, self._incremented(self.frequency(db, key)))
        else:
            self.set_frequency(db, key, NEW)

    def idle_ms(self, db: Database, key: bytes) -> int:
        """Milliseconds since the key was used."""
        return max(0, self._engine.clock.now - (db.accessed or {}).get(key, self._since))

    def set_idle(self, db: Database, key: bytes, seconds: int) -> None:
        if db.accessed is not None and not self.lfu:
            db.accessed[key] = self._engine.clock.now - seconds * 1000

    def rank(self, db: Database, key: bytes) -> int:
        """The lower, the sooner the key may go; it rises when the key is used."""
        return self.frequency(db, key) if self.lfu else (db.accessed or {}).get(key, self._since)

    def frequency(self, db: Database, key: bytes) -> int:
        """0 to 255, on a logarithmic scale; one less for each `lfu-decay-time` minutes without use."""
        record = (db.accessed or {}).get(key, self._since // 60_000 << 8 | NEW)
        decay = self._engine.settings["lfu-decay-time"]
        minutes = self._engine.clock.now // 60_000 - (record >> 8)
        return max(0, (record & _MOST) - (minutes // decay if decay else 0))

    def set_frequency(self, db: Database, key: bytes, frequency: int) -> None:
        if db.accessed is not None and self.lfu:
            db.accessed[key] = self._engine.clock.now // 60_000 << 8 | frequency

    def _incremented(self, frequency: int) -> int:
        """The higher it is the less likely it grows: 255 stand for some million uses."""
        chance = 1 / (max(0, frequency - NEW) * self._engine.settings["lfu-log-factor"] + 1)
        return frequency + 1 if frequency < _MOST and random() < chance else frequency


def keep(engine: Engine, kind: str) -> None:
    """Keeps records of a kind, "lru" or "lfu", or none any more, ""."""
    if not kind:
        engine.access = None
        for db in engine.databases:
            db.accessed = None
    elif engine.access is None or engine.access.lfu != (kind == "lfu"):
        engine.access = Access(engine, kind == "lfu")
    engine.refresh()


@cache
def _single_key(command: Command) -> int | None:
    """The place of a command's only key; 0 = none that it uses; None = the arguments decide."""
    if command.name in _LOOKING or not (command.keys or command.getkeys):
        return 0
    if command.getkeys is None and len(command.keys) == 1:
        spec = command.keys[0]
        if spec.first and not (spec.last or spec.counted or spec.keyword):
            return spec.first
    return None
