"""How spilled events come back into a webhook's queue: read from the journal off the loop, oldest first.

When less than half of the webhook's share of memory waits to be sent, the next events are read, in chunks, until
the share is full. Memory holds the oldest, so a key's order is the order of reading.

One thing breaks that rule: keys whose events only wait for a retry must not keep all others out. If nothing in
memory can be sent although more requests might go, reading passes over events of keys that have some in memory
and takes those of other keys, up to once more the share. What it leaves behind, all later events of these keys
included, is read from the front when such a key's events have gone, or when memory runs low in the ordinary way.

If the journal cannot be read nothing is skipped: what is in memory goes out, and reading is tried again.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from ferrite_hooks.store.journal import JournalDamaged, JournalError
from ferrite_hooks.webhooks.changes import share, unpack_changes
from ferrite_hooks.webhooks.desk import Pick
from ferrite_hooks.webhooks.lanes import Parcel, Pending
from ferrite_hooks.webhooks.model import Change, Overflow
from ferrite_hooks.webhooks.payload import without_bulk
from ferrite_hooks.webhooks.spill import Tried

if TYPE_CHECKING:
    from ferrite_hooks.webhooks.delivery import Delivery

log = logging.getLogger(__name__)

CHUNK = 512  # events per reading
FAIR = 64  # events of one key that are taken past those of others
MOST_LEFT = 1024  # keys that are passed over
RETRY_MS = 5000  # after a reading that has failed


class Refill:
    """Of one webhook. `failed`: why the last reading failed, "" when it did not; `failures`: how many did."""

    __slots__ = ("_delivery", "_filling", "_left", "_not_before", "_reading", "_taken", "failed", "failures")

    def __init__(self, delivery: Delivery) -> None:
        self.failed = ""
        self.failures = 0
        self._delivery = delivery
        self._reading: object = None  # the reading under way
        self._filling = False  # until the share is full
        self._not_before = 0  # unix ms
        self._left: set[Hashable] = set()  # lanes of which events were left behind
        self._taken: dict[Hashable, int] = {}  # lanes whose events were read past those

    def reset(self) -> None:
        """The queue is another one, or events belong to other lanes: whatever is being read is forgotten."""
        self._reading = None
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._left.clear()
        self._taken.clear()
        self._delivery.queue.spill.rewind()

    def advance(self) -> None:
        """Reads on if that is wanted now. To be called whenever events have come or gone."""
        delivery = self._delivery
        queue, outside = delivery.queue, delivery.desk.outside
        spill, pick = queue.spill, outside.pick
        if self._reading is not None or not spill.size or pick is None or outside.clock.now < self._not_before:
            return
        share, waiting = delivery.share, queue.waiting
        self._filling = waiting * 2 < share or (self._filling and waiting < share)
        if self._filling:
            self._begin_anew()
            wanted = spill.ahead(min(share - waiting, CHUNK))
        elif self._starves(share):
            wanted = spill.ahead(CHUNK)
        else:
            return
        if not wanted:
            spill.passed(spill.last)
            return
        reading = self._reading = object()
        ordered = self._filling
        outside.aside(partial(_read, pick, wanted), lambda found: self._arrived(reading, wanted, ordered, found))

    def _starves(self, share: int) -> bool:
        """Nothing in memory can be sent, and reading on may help."""
        delivery = self._delivery
        queue, webhook = delivery.queue, delivery.queue.webhook
        lanes = queue.lanes
        if webhook.batch or lanes.single or not webhook.enabled or webhook.paused or delivery.circuit.open:
            return False
        if queue.in_flight >= webhook.concurrency or lanes.size >= 2 * share:
            return False
        if lanes.head() is not None or lanes.searching:
            return False
        if self._left and not all(map(lanes.has, self._left)):
            self._begin_anew()
        return len(self._left) < MOST_LEFT and queue.spill.ahead_of_reading

    # -- what was read -----------------------------------------------------------------------------------------

    def _arrived(
        self, reading: object, wanted: dict[int, int], ordered: bool, found: list[Change] | Exception
    ) -> None:
        if reading is not self._reading:
            return
        self._reading = None
        delivery = self._delivery
        if isinstance(found, Exception):
            self._fail(found)
            return
        if self.failed:
            self.failed = ""
            log.warning("webhook %s: pending events can be read back again", delivery.webhook.name)
        spill = delivery.queue.spill
        tried = [spill.tried[position] for position in wanted if position in spill.tried] if spill.tried else []
        once_sent: dict[int, Pending | None] = {position: None for each in tried for position in each.positions}
        for change in found:
            if change.position in spill and (ordered or self._may_pass(change)):
                self._load(change, once_sent)
        spill.passed(max(wanted))
        self._hold(tried, once_sent)
        delivery.desk.wake(delivery)

    def _may_pass(self, change: Change) -> bool:
        """Whether an event may be taken although earlier ones of other keys were left behind."""
        queue, taken = self._delivery.queue, self._taken
        lane = queue.lanes.lane(change)
        if lane not in self._left:
            count = taken.get(lane, 0)
            room = queue.lanes.size < 2 * self._delivery.share and count < FAIR
            if room and (count or not queue.lanes.has(lane)):
                taken[lane] = count + 1
                return True
            self._left.add(lane)
        return False

    def _load(self, change: Change, once_sent: dict[int, Pending | None]) -> None:
        delivery = self._delivery
        queue, desk = delivery.queue, delivery.desk
        spill, position = queue.spill, change.position
        coalesced = spill.merged.get(position, 0)
        gives_way = queue.webhook.overflow is not Overflow.REJECT and delivery.overfull
        spill.remove(position)
        desk.total.spilled -= 1
        if spill.size:
            spill.since = change.at
        change = without_bulk(change, desk.settings.max_value_bytes)
        if gives_way:
            delivery.count(-1)
            delivery.overflow(change)
        elif queue.webhook.coalesce and position not in once_sent and (replaced := queue.merge(change, coalesced)):
            delivery.merged(replaced, position)
            delivery.count(-1)
        elif position in once_sent:
            event = once_sent[position] = queue.push(change, coalesced)
            queue.forget(event)
        elif coalesced:
            queue.push(change, coalesced)
        else:
            queue.extend([change])

    def _hold(self, tried: list[Tried], once_sent: dict[int, Pending | None]) -> None:
        """Requests that had failed before a restart are put together again and wait for their next attempt."""
        delivery, parcels = self._delivery, []
        for each in tried:
            events = [event for position in each.positions if (event := once_sent[position]) is not None]
            if len(events) == len(each.positions) and fits(events, delivery.queue.webhook.batch):
                parcels.append(parcel_of(each, events))
        if parcels:
            delivery.hold(parcels)

    def _fail(self, error: Exception) -> None:
        delivery = self._delivery
        outside = delivery.desk.outside
        if isinstance(error, JournalDamaged):
            self.failed = f"{error.file} is damaged at byte {error.offset}: {error.what}"
        else:
            self.failed = str(error)
        self.failures += 1
        delivery.complain(
            "pending events cannot be read back from the journal: %s. They wait; it is tried again every %d seconds."
            " Restore the file from a backup, or drop what is pending with WEBHOOK.PURGE",
            self.failed, RETRY_MS // 1000,
        )  # fmt: skip
        self._not_before = outside.clock.now + RETRY_MS
        outside.at(self._not_before, lambda: delivery.desk.wake(delivery))


def _read(pick: Pick, wanted: dict[int, int]) -> list[Change] | Exception:
    """The changes by position, or what went wrong. In a thread."""
    found: list[Change] = []
    try:
        for frame in pick(sorted(set(wanted.values()))):
            found += [share(c) for c in unpack_changes(frame.changes) if wanted.get(c.position) == frame.number]
        if len(found) < len(wanted):
            missing = wanted.keys() - {change.position for change in found}
            raise JournalError(f"frame {wanted[min(missing)]} does not have the event at position {min(missing)}")
    except Exception as error:
        return error
    found.sort(key=_position)
    return found


def _position(change: Change) -> int:
    return change.position


def fits(events: list[Pending], batch: bool) -> bool:
    """Whether one request can take these: they are the first of one lane, and one only if it is no batch."""
    return events[0].before is None and (
        len(events) == 1 or (batch and all(a.after is b for a, b in pairwise(events)))
    )


def parcel_of(tried: Tried, events: list[Pending]) -> Parcel:
    parcel = Parcel(events)
    parcel.attempt, parcel.spent, parcel.due = tried.attempt, tried.spent, tried.due
    return parcel
