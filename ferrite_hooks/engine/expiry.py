"""Keys past their time: removed when they are touched, and by a timer when nobody touches them.

A heap over all databases knows which key is next, so an EXPIRE webhook fires when the key expires and not
when a sample happens to hit it. Entries are not removed when a TTL changes; `expires` is the truth and stale
entries are skipped.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from time import perf_counter_ns
from typing import TYPE_CHECKING

from ferrite_hooks.engine.timers import Timer

if TYPE_CHECKING:
    from ferrite_hooks.engine.engine import Engine
    from ferrite_hooks.engine.keyspace import Database

_SLICE = 200  # keys removed before the loop gets its turn


class Expiry:
    __slots__ = ("_engine", "_heap", "_timer", "active")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._heap: list[tuple[int, int, bytes]] = []
        self._timer: Timer | None = None
        self.active = True  # DEBUG SET-ACTIVE-EXPIRE

    def note(self, db: Database, key: bytes, when: int) -> None:
        """A key got a time to live (unix ms)."""
        heap = self._heap
        heappush(heap, (when, db.index, key))
        if heap[0][0] == when:
            self._arm()
        elif len(heap) > 4096 and len(heap) > 4 * sum(len(db.expires) for db in self._engine.databases):
            self._rebuild()

    def overdue(self, db: Database, key: bytes) -> bool:
        """True if the time of `key`, which has one, has come; the key is then gone. Not while loading or when
        clients are paused."""
        engine = self._engine
        if engine.clock.now <= db.expires[key] or engine.loading:
            return False
        if engine.paused_writes():
            return True  # hidden, but removed only when writes may happen again
        db.remove_overdue(key)
        return True

    def soonest(self) -> tuple[Database, bytes] | None:
        """The key that will expire next, None if none will."""
        heap = self._heap
        while heap:
            when, index, key = heap[0]
            db = self._engine.databases[index]
            if db.expires.get(key) == when:
                return db, key
            heappop(heap)
        return None

    def _arm(self) -> None:
        timer = self._timer
        if self._heap and (timer is None or timer.callback is None or timer.when > self._heap[0][0] + 1):
            if timer is not None:
                timer.cancel()
            # a key is gone when its instant has passed, hence one millisecond later
            self._timer = self._engine.timers.at(max(self._heap[0][0] + 1, self._engine.clock.now), self._run)

    def _run(self) -> None:
        self._timer = None
        engine, heap = self._engine, self._heap
        if engine.loading or engine.busy or not self.active or engine.paused_writes():
            self._timer = engine.timers.after(100, self._run)
            return
        started = perf_counter_ns()
        left = _SLICE
        while heap and left and heap[0][0] < engine.clock.now:
            when, index, key = heappop(heap)
            db = engine.databases[index]
            if db.expires.get(key) == when:
                db.remove_overdue(key)
                left -= 1
        engine.latency.add("expire-cycle", perf_counter_ns() - started)
        engine.settle()
        self._arm()

    def _rebuild(self) -> None:
        self._heap = [
            (when, db.index, key) for db in self._engine.databases for key, when in db.expires.items()
        ]
        heapify(self._heap)

    def rebuild(self) -> None:
        """After databases were swapped or loaded."""
        self._rebuild()
        self._arm()
