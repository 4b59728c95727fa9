"""One webhook's waiting events: in lanes, one per key, so that order holds per key and nothing else waits.

Each event is a node of two linked lists: its lane (what goes before and after it) and the arrival order of all.
Only a lane's head can be sent; whatever ends the head makes the next one ready. So every operation is O(1)
per event, a lane is no object of its own, and an event costs about 200 bytes beside its Change.

    BEHIND ──► READY ──► SENT ──► GONE (delivered, dead, dropped)
                 ▲         │
                 └ WAITING ◄┘ (retry)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Final

from ferrite_hooks.webhooks.model import Change

BEHIND: Final = 0
READY: Final = 1
SENT: Final = 2
WAITING: Final = 3
GONE: Final = 4


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
    """All pending events of one webhook. `len()` counts those in flight, too."""

    __slots__ = ("_ready", "_stale", "_tails", "newest", "oldest", "size")

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._tails: dict[Hashable, Pending] = {}  # the last event of each lane
        self._ready: deque[Pending] = deque()  # heads, in the order they became ready; GONE ones are skipped
        self._stale = 0  # how many of them are GONE
        self.size = 0
        self.oldest: Pending | None = None
        self.newest: Pending | None = None

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Pending]:
        """Oldest first; the event at hand may be removed."""
        event = self.oldest
        while event is not None:
            following = event.newer
            yield event
            event = following

    def has(self, lane: Hashable) -> bool:
        """Whether there is an event of it."""
        return lane in self._tails

    def add(self, change: Change, lane: Hashable, coalesced: int = 0) -> Pending:
        event = Pending(change, lane, coalesced)
        self._append(event)
        return event

    def _append(self, event: Pending) -> None:
        newest = self.newest
        if newest is None:
            self.oldest = event
        else:
            newest.newer = event
            event.older = newest
        self.newest = event
        self.size += 1
        tails, lane = self._tails, event.lane
        tail = tails.get(lane)
        tails[lane] = event
        if tail is None:
            event.state = READY
            self._ready.append(event)
        else:
            tail.after = event
            event.before = tail

    def head(self) -> Pending | None:
        """The lane head that is to go next."""
        ready = self._ready
        while ready and ready[0].state == GONE:
            ready.popleft()
            self._stale -= 1
        return ready[0] if ready else None

    def take(self, limit: int) -> Parcel:
        """Takes up to `limit` events from the lane whose turn it is; head() must not be None. A parcel that was
        sent before goes out again as it was."""
        head = self._ready.popleft()
        parcel = head.parcel
        if parcel is None:
            events = [head]
            event = head.after
            while event is not None and len(events) < limit:
                events.append(event)
                event = event.after
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

    def regroup(self, lane: Callable[[Change], Hashable]) -> None:
        """Puts all events into other lanes, in arrival order. Nothing may be in flight; retries begin anew."""
        events = list(self)
        self._clear()
        for event in events:
            event.lane = lane(event.change)
            event.state = BEHIND
            event.parcel = event.before = event.after = event.older = event.newer = None
            self._append(event)

    def _make_ready(self, event: Pending) -> None:
        event.state = READY
        self._ready.append(event)

    def _unlink(self, event: Pending) -> None:
        older, newer = event.older, event.newer
        if older is None:
            self.oldest = newer
        else:
            older.newer = newer
        if newer is None:
            self.newest = older
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
