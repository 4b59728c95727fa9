"""`maxmemory`: which keys go when memory is full, and who is told -OOM.

Memory is measured (memory.Meter) as often as a few percent of the time allow, every millisecond or two while it is
small. Between two measurements what clients have sent counts as growth, and some more for every change, and what was
evicted as freed. Every command first evicts some keys if there is too much, for a time that
`maxmemory-eviction-tenacity` sets; a timer goes on with the rest. Victims are chosen as Redis does: the best of
`maxmemory-samples` random keys and of the best ones seen before. Clients that are too large by `maxmemory-clients`
go before any key. Nothing of this exists while maxmemory is 0.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from random import random
from time import perf_counter, perf_counter_ns
from typing import TYPE_CHECKING

from ferrite_hooks.engine import access
from ferrite_hooks.engine.memory import entry_bytes
from ferrite_hooks.engine.timers import Timer

if TYPE_CHECKING:
    from ferrite_hooks.engine.engine import Engine
    from ferrite_hooks.engine.keyspace import Database

log = logging.getLogger("ferrite_hooks.engine")

BATCH = 16  # keys that are evicted between looks at the clock
MEASURE_MS = 100  # where nobody sends commands
_SHARE = 100  # measuring takes at most one part in so many of the time, and four near the limit
_NEAR = 1 << 20
_GRAIN = 1 << 16  # bytes of growth that are worth one in any case: this many, or a thousandth of the limit
_CHANGE = 200  # bytes beside what was sent, for a new key's objects and places
_POOL = 16  # candidates that are remembered

Candidate = tuple["Database", bytes]


class Eviction:
    """Of one engine. `engine.over_memory` is `over` while there is a limit."""

    __slots__ = (
        "_candidates", "_dirty", "_due", "_engine", "_exceeded_ms", "_input", "_kind", "_samples", "_since", "_stale",
        "_timer", "_turn", "_used", "_volatile", "asked_idle", "evicted", "limit",
    )  # fmt: skip

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.limit = 0
        self.evicted = 0  # keys
        self.asked_idle = False  # someone wants OBJECT IDLETIME
        self._kind = ""  # lru, lfu, random, ttl; "" = noeviction
        self._volatile = False  # only keys with a time to live
        self._used = 0  # as measured, less what was evicted since
        self._input = self._dirty = 0  # what clients had sent, and changed, when it was measured
        self._stale = False  # something was evicted since
        self._due = 0.0  # time.perf_counter() from which on it may be measured again
        self._since = self._exceeded_ms = 0
        self._timer: Timer | None = None
        self._turn = 0
        self._candidates: list[tuple[int, int, bytes]] = []  # (-rank, database, key), the best to go last
        self._samples: dict[int, Sample] = {}  # by database

    def configure(self) -> None:
        """Takes over maxmemory and its policy from the settings."""
        engine, settings = self._engine, self._engine.settings
        scope, _, self._kind = settings["maxmemory-policy"].partition("-")
        self._volatile = scope == "volatile"
        self.limit = settings["maxmemory"]
        self._candidates, self._samples = [], {}
        access.keep(engine, self._kind if self._kind in ("lru", "lfu") else "lru" if self.asked_idle else "")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.limit:
            engine.over_memory = None
            self._exceed(False)
        else:
            engine.over_memory = self.over
            self._measure()
            if self._used > self.limit:
                log.warning("maxmemory %d is less than the %d bytes in use: keys will be evicted or writes refused",
                            self.limit, self._used)  # fmt: skip
            self._timer = engine.timers.after(1, self._cycle)
        engine.refresh()

    @property
    def exceeded_ms(self) -> tuple[int, int]:
        """How long memory has been over the limit: in all, and now without a break."""
        now = self._engine.clock.now - self._since if self._since else 0
        return self._exceeded_ms + now, now

    def grew(self, size: int) -> None:
        """So many bytes were taken that no client has sent."""
        self._input -= size

    def over(self) -> bool:
        """Asked before every command: whether it must be refused if it needs memory. Evicts, for a bounded time,
        before it says so; while there are more to evict the answer is no."""
        engine = self._engine
        grown = self._growth()
        if (engine.lap >= self._due or grown > max(_GRAIN, self.limit >> 10)) and not self._telling():
            self._measure()
            grown = 0
        if self._used + grown <= self.limit:
            return False
        if engine.lazyfree.pending:  # what was deleted is about to make room
            more = engine.lazyfree.work()
            self._measure()
            if more or self._used <= self.limit:
                return False
        if self._kind and (not self._may_evict() or self._evict()):
            return False
        if self._stale or engine.dirty != self._dirty:  # what has just gone does count
            self._measure()
        return self._used + self._growth() > self.limit

    # -- what runs by itself -----------------------------------------------------------------------------------------

    def _cycle(self) -> None:
        engine = self._engine
        if self._telling():
            self._timer = engine.timers.after(1, self._cycle)
            return
        started = perf_counter_ns()
        self._measure()
        pause = max(MEASURE_MS, (perf_counter_ns() - started) * _SHARE // 1_000_000)
        if self._used > self.limit and self._may_evict():
            if engine.lazyfree.pending:
                pause = 1  # perhaps nothing needs to go once that has gone
            elif self._evict() and self._used > self.limit:
                pause = 1
            engine.latency.add("eviction-cycle", perf_counter_ns() - started)
            engine.settle()
        self._timer = engine.timers.after(pause, self._cycle)

    def _measure(self) -> None:
        engine = self._engine
        started = perf_counter()
        self._used = engine.memory.measure()
        if self._used > self.limit and self._tidy():
            self._used = engine.memory.measure()
        self._input, self._dirty = engine.host.input_bytes, engine.dirty
        self._stale = False
        ended = perf_counter()
        near = self._used + _NEAR > self.limit
        self._due = ended + (ended - started) * (_SHARE // 4 if near else _SHARE)
        over = self._used > self.limit
        if over:
            self._used -= engine.host.shrink_clients()
        self._exceed(over)

    def _tidy(self) -> bool:
        """Gives back what keys that have gone have left behind. Returns whether there was anything."""
        engine = self._engine
        found = engine.expiry.trim()
        for db in engine.databases:
            found |= db.compact()
        return found

    def _telling(self) -> bool:
        """Whether what was evicted in this tick waits to be journaled and told: what clients are told of it must not
        make more keys go."""
        return self._stale and bool(self._engine.effects)

    def _growth(self) -> int:
        """Bytes that may have been taken since it was measured."""
        engine = self._engine
        return engine.host.input_bytes - self._input + (engine.dirty - self._dirty) * _CHANGE

    def _exceed(self, over: bool) -> None:
        now = self._engine.clock.now
        if over and not self._since:
            self._since = now
        elif not over and self._since:
            self._exceeded_ms += now - self._since
            self._since = 0

    # -- evicting ----------------------------------------------------------------------------------------------------

    def _may_evict(self) -> bool:
        engine = self._engine
        return bool(self._kind) and not (engine.loading or engine.busy or engine.paused_writes())

    def _evict(self) -> bool:
        """Evicts until there is room, or as long as `maxmemory-eviction-tenacity` says. Returns False when there is
        no room and nothing that could still go."""
        engine = self._engine
        deadline = perf_counter_ns() + patience(engine.settings["maxmemory-eviction-tenacity"])
        databases = [db for db in engine.databases if self._members(db)]
        batch = BATCH
        growth = self._growth()
        while self._used + growth > self.limit:
            if not batch:
                if perf_counter_ns() >= deadline:
                    return True
                batch = BATCH
            victim = self._victim(databases)
            if victim is None:
                return False
            db, key = victim
            self._used -= entry_bytes(key, db.data[key])
            self.evicted += 1
            batch -= 1
            self._stale = True
            db.evict(key)
        return True

    def _members(self, db: Database) -> Mapping[bytes, object]:
        return db.expires if self._volatile else db.data

    def _victim(self, databases: list[Database]) -> Candidate | None:
        if self._kind == "ttl":
            return self._engine.expiry.soonest()
        while databases:
            if self._kind != "random":
                return self._least_used(databases)
            self._turn += 1
            db = databases[self._turn % len(databases)]
            key = self._draw(db)
            if key is not None:
                return db, key
            databases.remove(db)
        return None

    def _least_used(self, databases: list[Database]) -> Candidate | None:
        """The worst of a fresh sample of each database and of the worst from before."""
        engine, candidates = self._engine, self._candidates
        records = engine.access
        assert records is not None  # `configure` has seen to it
        while any(map(self._members, databases)):  # again, with fresh ones alone, when those from before have gone
            for db in databases:
                for _ in range(engine.settings["maxmemory-samples"]):
                    key = self._draw(db)
                    if key is not None:
                        candidates.append((-records.rank(db, key), db.index, key))
            candidates.sort()
            del candidates[:-_POOL]
            while candidates:
                negative, index, key = candidates.pop()
                db = engine.databases[index]
                if key in self._members(db) and records.rank(db, key) <= -negative:  # else it was used since
                    return db, key
        return None

    def _draw(self, db: Database) -> bytes | None:
        sample = self._samples.get(db.index)
        if sample is None:
            sample = self._samples[db.index] = Sample()
        return sample.draw(self._members(db))


def patience(tenacity: int) -> int:
    """Nanoseconds that one round of evicting may take: half a millisecond at most up to a tenacity of 10, from there
    on 15 % more each time, without end at 100."""
    if tenacity <= 10:
        return tenacity * 50_000
    return int(500_000 * 1.15 ** (tenacity - 10)) if tenacity < 100 else 1 << 62


class Sample:
    """Random keys of a mapping that goes on changing: drawn from a list, which is made again when it has become
    half as long as the mapping.

    Unlike values.index it costs whoever writes nothing. A key that is new to the mapping is drawn only after
    the next making, which is fair to new keys."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: list[bytes] = []

    def draw(self, members: Mapping[bytes, object]) -> bytes | None:
        """One of the keys, None if there is none."""
        keys = self._keys
        while members:
            if 2 * len(keys) < len(members) or not keys:
                keys = self._keys = list(members)
            slot = int(random() * len(keys))
            key = keys.pop()
            if slot < len(keys):
                keys[slot], key = key, keys[slot]
            if key in members:
                return key
        keys.clear()
        return None
