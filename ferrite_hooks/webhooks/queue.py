"""One webhook's queue: what is pending, what may be sent now, and what has to give way when it is full.

The order is lanes.py's business, and what memory has no room for is spill.py's. Here are the webhook's own settings:
concurrency, batches, rate limit, pausing, coalescing. `due` says when the next request may go, `take` takes it; the
clock is the caller's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Final

from ferrite_hooks.webhooks.circuit import Circuit
from ferrite_hooks.webhooks.lanes import GONE, SENT, Lanes, Parcel, Pending, lane_of
from ferrite_hooks.webhooks.model import Change, Overflow, Webhook
from ferrite_hooks.webhooks.spill import Spill

NEVER: Final = math.inf
_CATCH_UP_MS: Final = 10  # how much of a rate limit's delay may be made up for when a timer comes late


class Queue:
    """The pending events of one webhook: in memory the oldest (`lanes`), then those that are only in the journal
    (`spill`). `len()` counts both, and those in flight, too."""

    __slots__ = ("_latest", "_next_slot", "_regroup", "in_flight", "lanes", "spill", "webhook")

    def __init__(self, webhook: Webhook) -> None:
        self.webhook = webhook
        self.lanes = Lanes(webhook.batch)
        self.spill = Spill()
        self.in_flight = 0  # requests
        self._latest: dict[Hashable, Pending] = {}  # by key, while the webhook coalesces
        self._next_slot = 0.0  # unix ms at which the rate limit allows the next request
        self._regroup = False  # BATCH was switched: once nothing is in flight the lanes are made anew

    def __len__(self) -> int:
        return self.lanes.size + self.spill.size

    @property
    def waiting(self) -> int:
        """About how many events in memory are not in flight."""
        return self.lanes.size - self.in_flight * (self.webhook.batch_size if self.webhook.batch else 1)

    @property
    def oldest_at(self) -> int:
        """When the oldest pending event happened (unix ms), 0 if there is none."""
        oldest = self.lanes.oldest
        return oldest.change.at if oldest is not None else self.spill.since

    @property
    def oldest_position(self) -> int:
        """Of the oldest pending event, 0 if there is none."""
        oldest = self.lanes.oldest
        return oldest.change.position if oldest is not None else self.spill.first

    def configure(self, webhook: Webhook) -> None:
        """Takes new settings for what is pending, too."""
        if webhook.batch != self.webhook.batch:
            self._regroup = True
        if not webhook.coalesce:
            self._latest.clear()
        self.webhook = webhook

    def regroup(self) -> None:
        """Gives every event its place under the present settings. Nothing may be in flight."""
        if self._regroup:
            self._regroup = False
            self.lanes.regroup(self.webhook.batch)
        self._latest = {lane_of(e.change): e for e in self.lanes} if self.webhook.coalesce else {}

    # -- in ----------------------------------------------------------------------------------------------------

    def extend(self, changes: Sequence[Change]) -> None:
        """Takes new ones."""
        if self.webhook.coalesce:
            for change in changes:
                self.push(change)
        else:
            self.lanes.extend(changes)

    def push(self, change: Change, coalesced: int = 0) -> Pending:
        """Takes a new one, and gives it its place at once."""
        event = self.lanes.add(change, coalesced)
        if self.webhook.coalesce:
            self._latest[lane_of(change)] = event
        return event

    def merge(self, change: Change, coalesced: int = 0) -> int:
        """Lets the change take the place of the key's event in memory, if there is one that no attempt was made
        with. Events of the key that are only in the journal must be none, or come later.

        Returns the position that it replaced, 0 if none.
        """
        event = self._latest.get(lane_of(change))
        if event is None or event.state == GONE or event.parcel is not None:
            return 0
        replaced = event.change.position
        event.change = change
        event.coalesced += 1 + coalesced
        return replaced

    # -- out ---------------------------------------------------------------------------------------------------

    def due(self, now: int, circuit: Circuit) -> float:
        """When the next request may go (unix ms; not after `now`: at once). NEVER: not before something happens."""
        webhook = self.webhook
        if not webhook.enabled or webhook.paused:
            return NEVER
        if self._regroup:
            if self.in_flight:
                return NEVER
            self.regroup()
        if self.in_flight >= webhook.concurrency:
            return NEVER
        head = self.lanes.head()
        if head is None and self.lanes.searching:
            return now + 1
        if head is None or circuit.probing:
            return NEVER
        when = max(self._next_slot, circuit.retry_at) if webhook.rate_limit else circuit.retry_at
        if webhook.batch and head.parcel is None and len(self) < webhook.batch_size:
            when = max(when, head.change.at + webhook.batch_interval_ms)
        return when

    def take(self, now: int) -> Parcel:
        """What is due, see `due`."""
        webhook = self.webhook
        parcel = self.lanes.take(webhook.batch_size if webhook.batch else 1)
        self.in_flight += 1
        if webhook.rate_limit:
            self._next_slot = max(self._next_slot, now - _CATCH_UP_MS) + 1000 / webhook.rate_limit
        if webhook.coalesce:
            for event in parcel.events:
                self.forget(event)
        return parcel

    def finish(self, parcel: Parcel) -> None:
        """Delivered or dead."""
        self.in_flight -= 1
        self.lanes.finish(parcel)

    def wait(self, parcel: Parcel) -> None:
        """Failed; `lanes.resume` puts it back when its time has come."""
        self.in_flight -= 1
        self.lanes.wait(parcel)

    # -- giving way --------------------------------------------------------------------------------------------

    def drop(self, event: Pending) -> None:
        """Removes an event that is not in flight."""
        self.forget(event)
        self.lanes.remove(event)

    def droppable(self) -> Pending | None:
        """The oldest event in memory that is not in flight nor part of a batch that has been tried. The ones skipped
        are at most what CONCURRENCY and BATCH_SIZE allow."""
        event = self.lanes.oldest
        while event is not None and (
            event.state == SENT or (event.parcel is not None and len(event.parcel.events) > 1)
        ):
            event = self.lanes.newer(event)
        return event

    def purge(self) -> list[Change]:
        """Drops everything in memory that is not in flight. Returns what it was."""
        dropped = [event for event in self.lanes if event.state != SENT]
        for event in dropped:
            event.parcel = None
        for event in dropped:
            self.drop(event)
        return [event.change for event in dropped]

    def forget(self, event: Pending) -> None:
        """Nothing may be merged into it any more."""
        lane = lane_of(event.change)
        if self._latest.get(lane) is event:
            del self._latest[lane]


# What happens to a new event when there is no room: takes the queue, returns the event to drop, None = the new one.
OVERFLOW: dict[Overflow, Callable[[Queue], Pending | None]] = {
    Overflow.DROP_OLDEST: Queue.droppable,
    Overflow.DROP_NEWEST: lambda queue: None,
    # The write was to be refused; an expiry or the rest of a transaction cannot be.
    Overflow.REJECT: lambda queue: None,
}
