"""One webhook's waiting events: in lanes, one per key, so that order holds per key and nothing else waits.

Each event is a node of two linked lists: its lane (what goes before and after it) and the arrival order of all.
Only a lane's head can be sent; whatever ends the head makes the next one ready. So every operation is O(1)
per event, a lane is no object of its own, and an event costs about 200 bytes beside its Change.

An event that arrives becomes a node when it may soon be sent, or when any single one is asked for. While nothing is
sent, or others go long before it, it is just one of `arrived`, which costs little time and no memory.

    BEHIND ──► READY ──► SENT ──► GONE (delivered, dead, dropped)
                 ▲         │
                 └ WAITING ◄┘ (retry)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from typing import Final

from ferrite_hooks.webhooks.model import Change

BEHIND: Final = 0
READY: Final = 1
SENT: Final = 2
WAITING: Final = 3
GONE: Final = 4
AHEAD: Final = 256  # about how many lanes take turns
MOST_PLACED: Final = 1024  # events that get their place at once: a millisecond


class Pending:
    """An event that waits for its delivery."""

    __slots__ = ("after", "before", "change", "coalesced", "lane", "newer", "older", "parcel", "state")

    def __init__(self, change: Change, lane: Hashable, coalesced: int) -> None:
        self.change = change
        self.lane = lane
        self.coalesced = coalesced  # how many earlier changes it stands for
        self.state = BEHIND
        self.parcel: Parcel | None = None  # set from its first attempt on
        self.before: Pending | None = None  # in the lane
        self.after: Pending | None = None
        self.older: Pending | None = None  # in arrival order
        self.newer: Pending | None = None


class Parcel:
    """What goes out in one request: one event, or a batch of one lane's first events; the same at every retry."""

    __slots__ = ("attempt", "due", "events", "positions", "probe", "spent")

    def __init__(self, events: list[Pending]) -> None:
        self.events = events
        self.positions = [event.change.position for event in events]
        self.attempt = 0  # requests so far
        self.spent = 0  # those of them that count against the retries: not the probes of an open circuit
        self.probe = False
        self.due = 0  # unix ms of the next attempt, while it waits for that

    @property
    def whole(self) -> bool:
        """False once its events have been dropped or put together anew."""
        return self.events[0].parcel is self and self.events[0].state != GONE


def lane_of(change: Change) -> Hashable:
    """What has to stay in order with this change: its key; without one, its resource."""
    if change.key is None:
        return ("", change.db, change.resource)
    return (change.db, change.key) if change.db else change.key


class Lanes:
    """All pending events of one webhook. `len()` counts those in flight, too. `single`: all are one lane."""

    __slots__ = ("_newest", "_oldest", "_ready", "_stale", "_tails", "arrived", "single", "size")

    def __init__(self, single: bool = False) -> None:
        self.single = single
        self.arrived: deque[Change] = deque()  # those after `_newest`
        self._clear()

    def _clear(self) -> None:
        self._tails: dict[Hashable, Pending] = {}  # the last event of each lane
        self._ready: deque[Pending] = deque()  # heads, in the order they became ready; GONE ones are skipped
        self._stale = 0  # how many of them are GONE
        self.size = 0
        self._oldest: Pending | None = None
        self._newest: Pending | None = None

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Pending]:
        """Oldest first; the event at hand may be removed."""
        self._place_all()
        return self.placed()

    def placed(self) -> Iterator[Pending]:
        """As `__iter__`, without those that have only `arrived`, which come after these."""
        event = self._oldest
        while event is not None:
            following = event.newer
            yield event
            event = following

    @property
    def oldest(self) -> Pending | None:
        if self._oldest is None and self.arrived:
            self._place()
        return self._oldest

    def newer(self, event: Pending) -> Pending | None:
        """The one that came after it."""
        if event.newer is None and self.arrived:
            self._place()
        return event.newer

    def lane(self, change: Change) -> Hashable:
        return None if self.single else lane_of(change)

    def has(self, lane: Hashable) -> bool:
        """Whether there is an event of it."""
        self._place_all()
        return lane in self._tails

    def extend(self, changes: Sequence[Change]) -> None:
        """Takes new ones."""
        self.arrived.extend(changes)
        self.size += len(changes)

    def add(self, change: Change, coalesced: int = 0) -> Pending:
        """Takes a new one and gives it its place."""
        self._place_all()
        event = Pending(change, self.lane(change), coalesced)
        self.size += 1
        self._append(event)
        return event

    def _place_all(self) -> None:
        while self.arrived:
            self._place()

    def _place_some(self) -> None:
        """Of those that have arrived: enough for lanes to take turns, not so many that it takes long."""
        if self.single:
            if not self._tails:
                self._place()
            return
        placed = 0
        while self.arrived and placed < MOST_PLACED and len(self._ready) < AHEAD:
            self._place()
            placed += 1

    def _place(self) -> None:
        """Gives the first that has arrived its place."""
        change = self.arrived.popleft()
        self._append(Pending(change, self.lane(change), 0))

    def _append(self, event: Pending) -> None:
        newest = self._newest
        if newest is None:
            self._oldest = event
        else:
            newest.newer = event
            event.older = newest
        self._newest = event
        tails, lane = self._tails, event.lane
        tail = tails.get(lane)
        tails[lane] = event
        if tail is None:
            event.state = READY
            self._ready.append(event)
        else:
            tail.after = event
            event.before = tail

    @property
    def searching(self) -> bool:
        """Whether head() has found none yet, but may when it is asked again."""
        return bool(self.arrived) and not self.single and not self._ready

    def head(self) -> Pending | None:
        """The lane head that is to go next, see `searching`."""
        ready = self._ready
        while ready and ready[0].state == GONE:
            ready.popleft()
            self._stale -= 1
        if self.arrived:
            self._place_some()
        return ready[0] if ready else None

    def take(self, limit: int) -> Parcel:
        """Takes the first event of the lane whose turn it is, or up to `limit` where all are one lane; head() must not
        be None. A parcel that was sent before goes out again as it was."""
        head = self._ready.popleft()
        parcel = head.parcel
        if parcel is None:
            events = [head]
            while self.single and len(events) < limit and (event := self.newer(events[-1])) is not None:
                events.append(event)
            parcel = Parcel(events)
        for event in parcel.events:
            event.state = SENT
            event.parcel = parcel
        return parcel

    def finish(self, parcel: Parcel) -> None:
        """The parcel is done with: delivered or dead."""
        for event in parcel.events:
            self.remove(event)

    def wait(self, parcel: Parcel) -> None:
        """The parcel will be tried again, see resume()."""
        for event in parcel.events:
            event.state = WAITING

    def hold(self, parcels: list[Parcel]) -> None:
        """After a restart: these begin with ready heads and wait for their next attempt."""
        for parcel in parcels:
            for event in parcel.events:
                event.parcel = parcel
            self.wait(parcel)
        self._sweep()

    def resume(self, parcel: Parcel) -> None:
        """The time for the next attempt has come."""
        if parcel.whole and parcel.events[0].state == WAITING:
            self._make_ready(parcel.events[0])

    def remove(self, event: Pending) -> None:
        """Takes out one event, wherever it stands. If it was its lane's head, the next one becomes ready."""
        before, after = event.before, event.after
        if before is not None:
            before.after = after
        if after is not None:
            after.before = before
            if before is None and after.parcel is None:
                self._make_ready(after)
        elif before is not None:
            self._tails[event.lane] = before
        else:
            del self._tails[event.lane]
        was_ready = event.state == READY
        self._unlink(event)
        if was_ready:
            self._note_stale()

    def regroup(self, single: bool) -> None:
        """Puts all events into other lanes, in arrival order. Nothing may be in flight; retries begin anew."""
        events = list(self)
        self._clear()
        self.single, self.size = single, len(events)
        for event in events:
            event.lane = self.lane(event.change)
            event.state = BEHIND
            event.parcel = event.before = event.after = event.older = event.newer = None
            self._append(event)

    def _make_ready(self, event: Pending) -> None:
        event.state = READY
        self._ready.append(event)

    def _unlink(self, event: Pending) -> None:
        older, newer = event.older, event.newer
        if older is None:
            self._oldest = newer
        else:
            older.newer = newer
        if newer is None:
            self._newest = older
        else:
            newer.older = older
        event.parcel = event.before = event.after = event.older = event.newer = None  # no cycle: it can go at once
        event.state = GONE
        self.size -= 1

    def _note_stale(self) -> None:
        self._stale += 1
        if self._stale > 64 and self._stale * 2 > len(self._ready):
            self._sweep()

    def _sweep(self) -> None:
        self._ready = deque(event for event in self._ready if event.state == READY)
        self._stale = 0
