"""Rebuilding the deliveries from the journal: the changes that were matched, and what became of them.

Frames come in order; within a frame the notes come first, as definitions were in force when its changes were
queued, and what became of a change is always told by a later frame. Nothing is sent and nothing decided here:
drops and merges happen only where a note says that they have happened.

A change of the journal is not kept: its place is, in the webhook's spill, and it is read again when its turn has
come. So the time and the memory that a start takes hardly depend on what is pending. Whole events come from a
snapshot and from WEBHOOK.REPLAY only; those are in memory. Dead letters are whole, so theirs are read at the end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ferrite_hooks.counters import DURABLE
from ferrite_hooks.store.journal import JournalError
from ferrite_hooks.webhooks.changes import revive, unpack_changes
from ferrite_hooks.webhooks.circuit import CLOSED, Circuit
from ferrite_hooks.webhooks.conditions import conditions_hold
from ferrite_hooks.webhooks.definition import from_plain
from ferrite_hooks.webhooks.delivery import DeadLetter, Delivery
from ferrite_hooks.webhooks.desk import Note, Pick
from ferrite_hooks.webhooks.lanes import Parcel, Pending
from ferrite_hooks.webhooks.model import Change, Webhook
from ferrite_hooks.webhooks.payload import without_bulk
from ferrite_hooks.webhooks.refill import fits, parcel_of
from ferrite_hooks.webhooks.registry import Registry
from ferrite_hooks.webhooks.spill import Tried

log = logging.getLogger(__name__)
_HOOKS = Change.__struct_fields__.index("hooks")
_UNREAD = ""  # no event has this name: the change is in the frame that `expire_at` says


class Restoration:
    """Lives from the first frame to `finish`."""

    def __init__(self, registry: Registry, make: Callable[[Webhook], Delivery]) -> None:
        self._registry = registry
        self._make = make
        self._events: dict[tuple[int, int], Pending] = {}  # by serial and position
        self._retries: dict[tuple[int, int], Tried] = {}  # by serial and first position
        self.last_position = 0

    def replay(self, changes: Iterable[Sequence[Any]], notes: Iterable[Note], frame: int) -> None:
        """One frame, by its number; 0: a snapshot's. Notes of others are not ours to judge; one of ours that makes no
        sense is logged."""
        for note in notes:
            apply = _NOTES.get(note[0])
            if apply is None:
                continue
            try:
                apply(self, *note[1:])
            except (KeyError, TypeError, ValueError, IndexError) as odd:
                log.error("journal: webhook note %r cannot be applied: %r", note[:1], odd)
        get = self._registry.get
        for values in changes:
            position, hooks = values[0], values[_HOOKS]
            if position > self.last_position:
                self.last_position = position
            for serial in hooks:
                delivery = get(serial)
                if delivery is None:
                    continue
                if delivery.webhook.when and not conditions_hold(delivery.webhook, revive(values)):
                    continue
                if not frame:
                    self._push(delivery, revive(values), 0)
                elif (serial, position) not in self._events and delivery.queue.spill.add(position, frame, values[1]):
                    delivery.counters.matched += 1

    def finish(self, pick: Pick | None, first_frame: int) -> None:
        """The journal is at its end: what was waiting for a retry waits again, queues shrink to their bounds."""
        deliveries = list(self._registry)
        for delivery in deliveries:
            delivery.queue.regroup()
            self._give_up_before(delivery, first_frame)
        self._read_letters(deliveries, pick)
        held: dict[Delivery, list[Parcel]] = {}
        for (serial, first), tried in self._retries.items():
            owner = self._registry.get(serial)
            if owner is None:
                continue
            if all(position in owner.queue.spill for position in tried.positions):
                owner.queue.spill.tried[first] = tried  # it waits when it has been read
                continue
            events = [self._events.get((serial, position)) for position in tried.positions]
            found = [event for event in events if event is not None]
            if len(found) == len(events) and fits(found, owner.webhook.batch):  # else BATCH has been switched since
                held.setdefault(owner, []).append(parcel_of(tried, found))
        for delivery, parcels in held.items():
            delivery.hold(parcels)
        for delivery in deliveries:
            delivery.count(len(delivery.queue))
            delivery.desk.total.spilled += delivery.queue.spill.size
        for delivery in deliveries:
            delivery.shrink()
            delivery.desk.wake(delivery)

    def _give_up_before(self, delivery: Delivery, frame: int) -> None:
        """The journal has lost its beginning, and whoever started us knows that."""
        if lost := delivery.queue.spill.remove_before(frame):
            delivery.counters.dropped += lost
            log.error(
                "webhook %s: %d pending events are lost with the journal's frames before %d",
                delivery.webhook.name, lost, frame,
            )  # fmt: skip

    def _read_letters(self, deliveries: list[Delivery], pick: Pick | None) -> None:
        """Dead letters whose changes are in the journal get them."""
        missing = [(d, letter) for d in deliveries for letter in d.dead.values() if letter.change.event == _UNREAD]
        read: dict[int, Change] = {}
        if missing and pick is not None:
            wanted = {letter.change.position for _, letter in missing}
            try:
                for frame in pick(sorted({letter.change.expire_at for _, letter in missing})):
                    read |= {c.position: c for c in unpack_changes(frame.changes) if c.position in wanted}
            except (JournalError, ValueError) as error:
                log.error("not all dead letters can be read: %s", error)
        for delivery, letter in missing:
            position = letter.change.position
            if position in read:
                change = without_bulk(read[position], delivery.desk.settings.max_value_bytes)
                delivery.dead[position] = letter._replace(change=change)
            else:
                delivery.unbury(position)

    # -- what notes do -----------------------------------------------------------------------------------------

    def _push(self, delivery: Delivery, change: Change, coalesced: int) -> None:
        serial = delivery.webhook.serial
        if (serial, change.position) not in self._events:
            delivery.counters.matched += 1
            change = without_bulk(change, delivery.desk.settings.max_value_bytes)
            self._events[(serial, change.position)] = delivery.queue.push(change, coalesced)

    def _pop(self, delivery: Delivery, position: int) -> Change | None:
        """The event is no longer pending. Returns its change, or a stand-in with the frame to find it in."""
        event = self._events.pop((delivery.webhook.serial, position), None)
        if self._retries:
            self._retries.pop((delivery.webhook.serial, position), None)
        if event is not None:
            delivery.queue.drop(event)
            return event.change
        if frame := delivery.queue.spill.remove(position):
            return Change(position, 0, 0, _UNREAD, None, None, None, frame, "", 0, "", 0, ())
        return None

    def _remove(self, delivery: Delivery, positions: Iterable[int]) -> int:
        """These are no longer pending. Returns how many were."""
        return sum(self._pop(delivery, position) is not None for position in positions)

    def _bury(
        self, delivery: Delivery, positions: Iterable[int], at: int, attempts: int, reason: str, status: int
    ) -> int:
        """These are dead letters now. Returns how many."""
        count = 0
        for position in positions:
            if (change := self._pop(delivery, position)) is not None:
                delivery.bury(DeadLetter(change, at, attempts, reason, status))
                count += 1
        return count

    def _delivery(self, serial: int) -> Delivery:
        delivery = self._registry.get(serial)
        if delivery is None:
            raise KeyError(serial)
        return delivery

    def hook(self, serial: int, plain: dict[str, Any] | None) -> None:
        delivery = self._registry.get(serial)
        self._registry.next_serial = max(self._registry.next_serial, serial + 1)
        if plain is None:
            if delivery is not None:
                self._remove(delivery, [event.change.position for event in delivery.queue.lanes])
                delivery.queue.spill.clear()
                delivery.close()
                self._registry.remove(delivery)
        elif delivery is None:
            made = self._make(from_plain(plain))
            self._registry.add(made)
            made.desk.total.webhooks = len(self._registry)
        else:
            before, delivery.webhook = delivery.webhook, from_plain(plain)
            if (delivery.webhook.enabled and not before.enabled) or delivery.webhook.url != before.url:
                delivery.circuit = CLOSED
            delivery.queue.configure(delivery.webhook)
            self._registry.changed(delivery)

    def queue(self, serial: int, items: list[Any]) -> None:
        delivery = self._delivery(serial)
        for values, coalesced in items:
            change = revive(values)
            self.last_position = max(self.last_position, change.position)
            self._push(delivery, change, coalesced)

    def ack(self, serial: int, positions: list[int], at: int) -> None:
        if (delivery := self._registry.get(serial)) is not None:
            delivery.counters.delivered += self._remove(delivery, positions)
            delivery.counters.last_delivery = at
            delivery.circuit = CLOSED

    def retry(self, serial: int, positions: list[int], attempt: int, spent: int, at: int) -> None:
        self._retries[(serial, positions[0])] = Tried(positions, attempt, spent, at)

    def failing(self, serial: int, failures: int, for_ms: int) -> None:
        """The first request after the restart may go, and its failure opens the circuit again. The time when the
        server was down does not count as failing."""
        delivery = self._delivery(serial)
        delivery.circuit = Circuit(failures, delivery.desk.outside.clock.now - for_ms)

    def dead(self, serial: int, positions: list[int], at: int, attempts: int, reason: str, status: int) -> None:
        if (delivery := self._registry.get(serial)) is not None:
            delivery.counters.dead += self._bury(delivery, positions, at, attempts, reason, status)

    def drop(self, serial: int, positions: list[int], at: int, why: str) -> None:
        if (delivery := self._registry.get(serial)) is not None:
            if why == "overflow":
                delivery.counters.dropped += self._bury(delivery, positions, at, 0, "queue full", 0)
            else:
                delivery.counters.purged += self._remove(delivery, positions)

    def cut(self, serial: int, first: int, last: int, but: list[int], at: int) -> None:
        if (delivery := self._registry.get(serial)) is not None:
            delivery.counters.purged += delivery.queue.spill.remove_between(first, last, set(but))

    def spilled(
        self, serial: int, positions: bytes, frames: bytes, since: int, merged: dict[int, int]
    ) -> None:
        spill = self._delivery(serial).queue.spill
        spill.unpack(positions, frames, since)
        spill.merged.update(merged)
        self.last_position = max(self.last_position, spill.last)

    def merge(self, serial: int, replaced: int, position: int) -> None:
        delivery = self._delivery(serial)
        spill, event = delivery.queue.spill, self._events.get((serial, replaced))
        newer = self._events.get((serial, position))
        if event is not None and newer is not None:
            delivery.queue.drop(newer)
            event.change = newer.change
            event.coalesced += 1
            self._events[(serial, position)] = self._events.pop((serial, replaced))
        elif position in spill and (event is not None or replaced in spill):
            # A key's events are pending in the order of their positions, so the newer one's place is as good.
            before = event.coalesced if event is not None else spill.merged.get(replaced, 0)
            self._pop(delivery, replaced)
            spill.merged[position] = spill.merged.get(position, 0) + before + 1
        else:
            return
        delivery.counters.coalesced += 1

    def undead(self, serial: int, positions: list[int]) -> None:
        for position in positions:
            self._delivery(serial).unbury(position)

    def letter(self, serial: int, values: list[Any], at: int, attempts: int, reason: str, status: int) -> None:
        self._delivery(serial).bury(DeadLetter(revive(values), at, attempts, reason, status))

    def counters(self, serial: int, values: dict[str, int]) -> None:
        counters = self._delivery(serial).counters
        for name, value in values.items():
            if name in (*DURABLE, "last_delivery") and type(value) is int:
                setattr(counters, name, value)

    def serial(self, serial: int) -> None:
        self._registry.next_serial = max(self._registry.next_serial, serial)


_NOTES: dict[str, Callable[..., None]] = {
    name: getattr(Restoration, name)
    for name in (
        "hook", "queue", "ack", "retry", "dead", "drop", "merge", "undead", "failing", "letter", "counters",
        "serial", "cut", "spilled",
    )
}  # fmt: skip
