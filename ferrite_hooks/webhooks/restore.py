"""Rebuilding the deliveries from the journal: the changes that were matched, and what became of them.

Frames come in order; within a frame the notes come first, as definitions were in force when its changes were
queued, and what became of a change is always told by a later frame. Nothing is sent and nothing decided here:
drops and merges happen only where a note says that they have happened.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

from ferrite_hooks.webhooks.circuit import CLOSED, Circuit
from ferrite_hooks.webhooks.conditions import conditions_hold
from ferrite_hooks.webhooks.delivery import DeadLetter, Delivery
from ferrite_hooks.webhooks.desk import Note
from ferrite_hooks.webhooks.lanes import Parcel, Pending
from ferrite_hooks.webhooks.model import Change, Webhook
from ferrite_hooks.webhooks.payload import without_bulk
from ferrite_hooks.webhooks.registry import Registry, from_plain

log = logging.getLogger(__name__)


def revive(values: Sequence[Any]) -> Change:
    """A Change from the list that the journal gives back for it."""
    change = Change(*values)
    new, old = change.new, change.old
    return change._replace(
        new=tuple(new) if isinstance(new, list) else new,
        old=tuple(old) if isinstance(old, list) else old,
        hooks=tuple(change.hooks),
    )


class Restoration:
    """Lives from the first frame to `finish`."""

    def __init__(self, registry: Registry, make: Callable[[Webhook], Delivery]) -> None:
        self._registry = registry
        self._make = make
        self._events: dict[tuple[int, int], Pending] = {}  # by serial and position
        self._retries: dict[tuple[int, int], Note] = {}  # by serial and first position
        self.last_position = 0

    def replay(self, changes: Iterable[Sequence[Any]], notes: Iterable[Note]) -> None:
        """One frame. Notes of others are not ours to judge; one of ours that makes no sense is logged."""
        for note in notes:
            apply = _NOTES.get(note[0])
            if apply is None:
                continue
            try:
                apply(self, *note[1:])
            except (KeyError, TypeError, ValueError, IndexError) as odd:
                log.error("journal: webhook note %r cannot be applied: %r", note[:1], odd)
        for values in changes:
            change = values if isinstance(values, Change) else revive(values)
            self.last_position = max(self.last_position, change.position)
            for serial in change.hooks:
                delivery = self._registry.get(serial)
                if delivery is not None and conditions_hold(delivery.webhook, change):
                    self._push(delivery, change, 0)

    def finish(self) -> None:
        """The journal is at its end: what was waiting for a retry waits again, queues shrink to their bounds."""
        deliveries = list(self._registry)
        for delivery in deliveries:
            delivery.queue.regroup()
        held: dict[Delivery, list[tuple[Parcel, int]]] = {}
        for (serial, _), (_, _, positions, attempt, spent, at) in self._retries.items():
            owner = self._registry.get(serial)
            found = [self._events.get((serial, position)) for position in positions]
            events = [event for event in found if event is not None]
            if owner is None or len(events) != len(found) or not _one_behind_the_other(events):
                continue
            if len(events) > 1 and not owner.webhook.batch:  # BATCH has been switched off since
                continue
            parcel = Parcel(events)
            parcel.attempt, parcel.spent = attempt, spent
            held.setdefault(owner, []).append((parcel, at))
        for delivery, parcels in held.items():
            delivery.queue.lanes.hold([parcel for parcel, _ in parcels])
            for parcel, at in parcels:
                delivery.again_at(parcel, at)
        for delivery in deliveries:
            delivery.count(len(delivery.queue))
        for delivery in deliveries:
            delivery.shrink()
            delivery.desk.wake(delivery)

    # -- what notes do -----------------------------------------------------------------------------------------

    def _push(self, delivery: Delivery, change: Change, coalesced: int) -> None:
        serial = delivery.webhook.serial
        if (serial, change.position) not in self._events:
            delivery.counters.matched += 1
            change = without_bulk(change, delivery.desk.settings.max_value_bytes)
            self._events[(serial, change.position)] = delivery.queue.push(change, coalesced)

    def _pop(self, delivery: Delivery, positions: Iterable[int]) -> list[Change]:
        changes = []
        for position in positions:
            event = self._events.pop((delivery.webhook.serial, position), None)
            self._retries.pop((delivery.webhook.serial, position), None)
            if event is not None:
                changes.append(event.change)
                delivery.queue.drop(event)
        return changes

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
                self._pop(delivery, [event.change.position for event in delivery.queue.lanes])
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
            delivery.counters.delivered += len(self._pop(delivery, positions))
            delivery.counters.last_delivery = at
            delivery.circuit = CLOSED

    def retry(self, serial: int, positions: list[int], attempt: int, spent: int, at: int) -> None:
        self._retries[(serial, positions[0])] = ["retry", serial, positions, attempt, spent, at]

    def failing(self, serial: int, failures: int, for_ms: int) -> None:
        """The first request after the restart may go, and its failure opens the circuit again. The time when the
        server was down does not count as failing."""
        delivery = self._delivery(serial)
        delivery.circuit = Circuit(failures, delivery.desk.outside.clock.now - for_ms)

    def dead(self, serial: int, positions: list[int], at: int, attempts: int, reason: str, status: int) -> None:
        if (delivery := self._registry.get(serial)) is not None:
            for change in self._pop(delivery, positions):
                delivery.counters.dead += 1
                delivery.bury(DeadLetter(change, at, attempts, reason, status))

    def drop(self, serial: int, positions: list[int], at: int, why: str) -> None:
        if (delivery := self._registry.get(serial)) is not None:
            for change in self._pop(delivery, positions):
                if why == "overflow":
                    delivery.counters.dropped += 1
                    delivery.bury(DeadLetter(change, at, 0, "queue full", 0))
                else:
                    delivery.counters.purged += 1

    def merge(self, serial: int, replaced: int, position: int) -> None:
        delivery = self._delivery(serial)
        event, newer = self._events.pop((serial, replaced), None), self._events.get((serial, position))
        if event is not None and newer is not None:
            delivery.queue.drop(newer)
            event.change = newer.change
            event.coalesced += 1
            self._events[(serial, position)] = event
            delivery.counters.coalesced += 1

    def undead(self, serial: int, positions: list[int]) -> None:
        for position in positions:
            self._delivery(serial).unbury(position)

    def letter(self, serial: int, values: list[Any], at: int, attempts: int, reason: str, status: int) -> None:
        self._delivery(serial).bury(DeadLetter(revive(values), at, attempts, reason, status))

    def counters(self, serial: int, values: dict[str, int]) -> None:
        counters = self._delivery(serial).counters
        for name, value in values.items():
            if name in counters.__slots__ and type(value) is int:
                setattr(counters, name, value)

    def serial(self, serial: int) -> None:
        self._registry.next_serial = max(self._registry.next_serial, serial)


def _one_behind_the_other(events: list[Pending]) -> bool:
    """Whether these are the first events of one lane."""
    return events[0].before is None and all(a.after is b for a, b in pairwise(events))


_NOTES: dict[str, Callable[..., None]] = {
    name: getattr(Restoration, name)
    for name in (
        "hook", "queue", "ack", "retry", "dead", "drop", "merge", "undead", "failing", "letter", "counters",
        "serial",
    )
}  # fmt: skip
