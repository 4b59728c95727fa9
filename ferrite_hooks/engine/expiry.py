"""Keys past their time: removed when they are touched, and by a timer when nobody touches them.

A heap over all databases knows which key is next, so an EXPIRE webhook fires when the key expires and not
when a sample happens to hit it. Entries are not removed when a TTL changes; `expires` is the truth and stale
entries are skipped. A second heap knows the hashes whose fields expire, each by the next of its fields.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from time import perf_counter_ns
from typing import TYPE_CHECKING

from ferrite_hooks.engine.timers import Timer
from ferrite_hooks.values.collections import Hash

if TYPE_CHECKING:
    from ferrite_hooks.engine.engine import Engine
    from ferrite_hooks.engine.keyspace import Database, Value
    from ferrite_hooks.values.field_times import FieldTimes

Entry = tuple[int, int, bytes]  # unix ms, database, key

_SLICE = 200  # keys removed before the loop gets its turn
_LOOK = 4096  # entries more, after which it is time to look how many are of no use any more


class Expiry:
    __slots__ = ("_engine", "_hashes", "_heap", "_timer", "active")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._heap: list[Entry] = []
        self._hashes: list[Entry] = []
        self._timer: Timer | None = None
        self.active = True  # DEBUG SET-ACTIVE-EXPIRE

    def note(self, db: Database, key: bytes, when: int) -> None:
        """A key got a time to live (unix ms)."""
        self._push(self._heap, (when, db.index, key))

    def _push(self, heap: list[Entry], entry: Entry) -> None:
        soonest = not heap or entry[0] < heap[0][0]
        heappush(heap, entry)
        if soonest:
            self._arm()
        elif len(heap) % _LOOK == 0 and len(heap) > 4 * self._used(heap):
            self._rebuild()

    def _used(self, heap: list[Entry]) -> int:
        """How many of its entries there would be if none were out of date."""
        if heap is self._hashes:
            return sum([len(db.timed_hashes) for db in self._engine.databases])
        return sum([len(db.expires) for db in self._engine.databases])

    def trim(self) -> bool:
        """Memory is full: gives up the entries of keys that have gone, where they are many. Returns whether."""
        if len(self._heap) <= 64 + 2 * self._used(self._heap):
            return False
        self._rebuild()
        return True

    def note_fields(self, db: Database, key: bytes, times: FieldTimes) -> None:
        """The hash at `key` has fields with a time to live."""
        when = times.next()
        if not times.noted or when < times.noted:
            times.noted = when
            self._push(self._hashes, (when, db.index, key))

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

    def pruned(self, db: Database, key: bytes, most: int = 0) -> Value | None:
        """What is at `key`, one of `db.timed_hashes`, without the fields whose time has come: they are gone then, at
        most `most` of them (0 = all)."""
        value, engine = db.data.get(key), self._engine
        if type(value) is not Hash or not value.times:
            db.timed_hashes.discard(key)
            return value
        times = value.times
        if engine.loading or engine.clock.now <= times.next():
            return value
        if engine.paused_writes():  # hidden, but removed only when writes may happen again
            overdue = times.copy().take(engine.clock.now)
            return Hash((field, value[field]) for field in value.keys() - overdue) or None
        db.remove_overdue_fields(key, value, times.take(engine.clock.now, most))
        if times:
            self.note_fields(db, key, times)
        else:
            db.timed_hashes.discard(key)
        return value or None

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
        timer, heads = self._timer, [heap[0][0] for heap in (self._heap, self._hashes) if heap]
        if heads and (timer is None or timer.callback is None or timer.when > min(heads) + 1):
            if timer is not None:
                timer.cancel()
            # a key is gone when its instant has passed, hence one millisecond later
            self._timer = self._engine.timers.at(max(min(heads) + 1, self._engine.clock.now), self._run)

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
        hashes = self._hashes
        while hashes and left and hashes[0][0] < engine.clock.now:
            left -= self._prune(*heappop(hashes), left)
        engine.latency.add("expire-cycle", perf_counter_ns() - started)
        engine.settle()
        self._arm()

    def _prune(self, when: int, index: int, key: bytes, most: int) -> int:
        """An entry of a hash has come up, perhaps one of a time that has been changed since. Returns how many
        fields have gone."""
        db = self._engine.databases[index]
        value = db.data.get(key)
        times = value.times if type(value) is Hash else None
        if key not in db.timed_hashes or not times or times.noted != when:
            return 0
        before, times.noted = len(times), 0
        if times.next() < self._engine.clock.now:
            self.pruned(db, key, most)
        else:
            self.note_fields(db, key, times)
        return before - len(times)

    def _rebuild(self) -> None:
        self._heap = [(when, db.index, key) for db in self._engine.databases for key, when in db.expires.items()]
        heapify(self._heap)
        self._hashes = []
        for db in self._engine.databases:
            for key in db.timed_hashes:
                value = db.data.get(key)
                if type(value) is Hash and value.times:
                    value.times.noted = value.times.next()
                    self._hashes.append((value.times.noted, db.index, key))
        heapify(self._hashes)

    def rebuild(self) -> None:
        """After databases were swapped or loaded."""
        self._rebuild()
        self._arm()
