"""The delivery of one webhook's events: effects that obey the decisions of queue, retry and circuit.

    accept(change) ─► queue ─► send_due ─► post ─► settle(outcome) ─► acknowledged | waiting | dead letter

An event leaves the queue only when its POST has been answered; everything that changes what a restart would find
is noted for the journal, in the order in which it happened.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ferrite_hooks.counters import WebhookCounters
from ferrite_hooks.webhooks import circuit as breaker
from ferrite_hooks.webhooks.circuit import CLOSED, Circuit
from ferrite_hooks.webhooks.conditions import conditions_hold
from ferrite_hooks.webhooks.desk import Desk
from ferrite_hooks.webhooks.lanes import Parcel
from ferrite_hooks.webhooks.model import Change, Errand, Outcome, Overflow, Stage, Webhook
from ferrite_hooks.webhooks.payload import event_id, without_bulk
from ferrite_hooks.webhooks.queue import NEVER, OVERFLOW, Queue
from ferrite_hooks.webhooks.refill import Refill
from ferrite_hooks.webhooks.retry import Ack, Dead, RetryAt, decide, describe

if TYPE_CHECKING:
    from ferrite_hooks.webhooks.desk import Note, Timer

log = logging.getLogger(__name__)
QUIET_MS = 10_000  # between log lines of one kind
OVERSHOOT = 2  # a `reject` queue takes this many times its bound of what cannot be refused (expiries, EXEC)


class DeadLetter(NamedTuple):
    change: Change
    at: int  # unix ms
    attempts: int
    reason: str
    http_status: int


class Delivery:
    """One webhook at work. `tell(event, delivery, data)` announces what happens to it."""

    __slots__ = (
        "_alarm", "_alarm_at", "_closed", "_quiet",
        "account", "circuit", "counters", "dead", "desk", "queue", "refill", "tell", "tests", "webhook",
    )  # fmt: skip

    def __init__(
        self, webhook: Webhook, desk: Desk, tell: Callable[[str, Delivery, dict[str, object]], None]
    ) -> None:
        self.webhook = webhook
        self.desk = desk
        self.account = desk.account(webhook.owner)
        self.tell = tell
        self.queue = Queue(webhook)
        self.refill = Refill(self)
        self.circuit: Circuit = CLOSED
        self.counters = WebhookCounters()
        self.dead: dict[int, DeadLetter] = {}  # by position, oldest first
        self.tests = 0  # requests of WEBHOOK.TEST in flight
        self._alarm: Timer | None = None
        self._alarm_at: float = NEVER
        self._quiet: dict[str, int] = {}  # complaint -> unix ms until which it is not repeated
        self._closed = False  # the webhook is gone: late outcomes mean nothing

    # -- in ----------------------------------------------------------------------------------------------------

    def accept(self, changes: Sequence[Change], frame: int) -> None:
        """Queues changes that the index matched, if their content is wanted, too. `frame`: of the journal, where they
        can be read again; 0: nowhere."""
        webhook = self.webhook
        if webhook.when:
            changes = [change for change in changes if conditions_hold(webhook, change)]
        if changes:
            self.counters.matched += len(changes)
            if not self._enqueue_all(changes, frame):
                for change in changes:
                    self._enqueue(change, frame)
            self.desk.wake(self)

    def put(self, change: Change) -> None:
        """Queues an old change once more. It is not the latest of its key, so it takes no other's place."""
        self.counters.matched += 1
        self.queue.extend([without_bulk(change, self.desk.settings.max_value_bytes)])
        self.count(1)

    def count(self, events: int) -> None:
        """So many more are pending."""
        self.account.pending += events
        self.desk.total.pending += events

    @property
    def share(self) -> int:
        """How many events the webhook may have in memory when all together have too many there."""
        settings, webhook = self.desk.settings, self.webhook
        share = max(settings.memory_events // max(self.desk.total.webhooks, 1), settings.memory_floor)
        return max(share, 2 * webhook.batch_size) if webhook.batch else share

    def room(self, times: int = 1) -> int:
        """How many events can be queued before something has to give way; every bound counts `times` over."""
        return min(self.webhook.max_pending * times - len(self.queue), self._shared_room(times))

    def _shared_room(self, times: int) -> int:
        own, account = len(self.queue), self.account
        room = self.desk.total.room(own, times)
        return min(room, account.room(own, times)) if account.max_pending else room

    def _enqueue_all(self, changes: Sequence[Change], frame: int) -> bool:
        """Queues counted changes in the ordinary case: there is room for all of them, in one place. Returns False if
        they have to be looked at one by one."""
        webhook, queue, desk = self.webhook, self.queue, self.desk
        spill, total, count = queue.spill, desk.total, len(changes)
        if webhook.coalesce or self.room() < count:
            return False
        if frame and spill.size:
            spill.add_all([change.position for change in changes], frame)
            total.spilled += count
        elif frame and total.pending + count - total.spilled > total.memory_events:
            return False
        else:
            most = desk.settings.max_value_bytes
            queue.extend([without_bulk(change, most) for change in changes])
        self.count(count)
        return True

    def _enqueue(self, change: Change, frame: int) -> None:
        """Queues a counted change; when there is no room the overflow policy says what gives way."""
        webhook, queue, desk = self.webhook, self.queue, self.desk
        spill = queue.spill
        if webhook.coalesce and not spill.size:
            change = without_bulk(change, desk.settings.max_value_bytes)
            if replaced := queue.merge(change):
                self.merged(replaced, change.position)
                return
        if self.room(OVERSHOOT if webhook.overflow is Overflow.REJECT else 1) <= 0:
            victim = OVERFLOW[webhook.overflow](queue)
            if victim is not None:
                queue.drop(victim)
                self.count(-1)
                self.overflow(victim.change)
            elif webhook.overflow is not Overflow.DROP_OLDEST or not spill.size or self.room(OVERSHOOT) <= 0:
                self.overflow(change)
                return
            # else the oldest is only in the journal: it gives way when it is read
        self.count(1)
        total = desk.total
        # Once there are spilled events, later ones go behind them.
        if frame and (
            spill.size
            or (total.pending - total.spilled > total.memory_events and queue.lanes.size >= self.share)
        ):
            spill.add(change.position, frame, change.at)
            total.spilled += 1
        else:
            queue.extend([without_bulk(change, desk.settings.max_value_bytes)])

    def shrink(self) -> None:
        """Drops what is beyond the bounds: they were lowered, or a crash came before the drops were noted. What is
        shared may hold twice its bound, see desk.py."""
        if self.webhook.overflow is Overflow.REJECT:
            return
        while self.overfull:
            victim = self.queue.droppable()
            if victim is None:
                return  # what is only in the journal is dropped when it is read
            self.queue.drop(victim)
            self.count(-1)
            self.overflow(victim.change)

    @property
    def overfull(self) -> bool:
        return len(self.queue) > self.webhook.max_pending or self._shared_room(2) < 0

    @property
    def full(self) -> bool:
        """Whether a write that this webhook would be told of has to be refused."""
        return self.webhook.overflow is Overflow.REJECT and self.room() <= 0

    def merged(self, replaced: int, position: int) -> None:
        """A change has taken the place of a pending event."""
        self.counters.coalesced += 1
        self.desk.note("merge", self.webhook.serial, replaced, position)

    def overflow(self, change: Change) -> None:
        """A counted change that is not in the queue becomes a dead letter: there was no room."""
        now = self.desk.outside.clock.now
        self.counters.dropped += 1
        self.complain("queue full, dropping events (%d so far)", self.counters.dropped)
        self.desk.note("drop", self.webhook.serial, [change.position], now, "overflow")
        change = without_bulk(change, self.desk.settings.max_value_bytes)
        self.bury(DeadLetter(change, now, 0, f"queue full ({self.webhook.overflow.value})", 0))

    def complain(self, what: str, *details: object) -> None:
        """A log line, at most one of a kind in a while: the counters know the rest."""
        now = self.desk.outside.clock.now
        if now >= self._quiet.get(what, 0):
            self._quiet[what] = now + QUIET_MS
            log.warning("webhook %s: " + what, self.webhook.name, *details)

    def bury(self, letter: DeadLetter) -> None:
        """Keeps a dead letter; beyond the bound the oldest goes for good."""
        self.unbury(letter.change.position)
        dead, total, bound = self.dead, self.desk.total, self.desk.settings.max_dead
        while dead and total.dead >= bound and len(dead) >= bound // max(total.webhooks, 1):
            self.unbury(next(iter(dead)))
        if bound:
            dead[letter.change.position] = letter
            total.dead += 1

    def unbury(self, position: int) -> None:
        """Forgets a dead letter, if there is one."""
        if self.dead.pop(position, None) is not None:
            self.desk.total.dead -= 1

    # -- out ---------------------------------------------------------------------------------------------------

    def send_due(self, now: int, most: int) -> int:
        """Sends what is due, until `most` events have gone. Returns how many went; sets an alarm for the next."""
        sent, queue, desk = 0, self.queue, self.desk
        if queue.spill.size:
            self.refill.advance()
        if self.account.held:
            return 0
        while sent < most:
            due = queue.due(now, self.circuit)
            if due > now:
                if due != NEVER:
                    self._set_alarm(int(-(-due // 1)))
                break
            if not desk.may_post(queue.in_flight):
                if not queue.in_flight:
                    desk.wake(self)  # all connections are taken: it is its turn when one is free
                break
            parcel = queue.take(now)
            sent += len(parcel.events)
            self._send(parcel, now)
        return sent

    def _set_alarm(self, when: int) -> None:
        if when < self._alarm_at:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm_at = float(when)
            self._alarm = self.desk.outside.at(when, self._ring)

    def _ring(self) -> None:
        self._alarm, self._alarm_at = None, NEVER
        self.desk.wake(self)

    def _send(self, parcel: Parcel, now: int) -> None:
        parcel.attempt += 1
        parcel.probe = self.circuit.open
        if parcel.probe:
            self.circuit = breaker.probe(self.circuit)
        else:
            parcel.spent += 1
        self.counters.requests += 1
        self.counters.retries += parcel.attempt > 1
        self.desk.post(self.errand(parcel, now), partial(self.settle, parcel))

    def errand(self, parcel: Parcel, now: int) -> Errand:
        """The request for a parcel's present attempt."""
        return Errand(self.webhook, parcel.attempt, now, [(event.change, event.coalesced) for event in parcel.events])

    # -- what came of it ---------------------------------------------------------------------------------------

    def settle(self, parcel: Parcel, outcome: Outcome) -> None:
        """Acts on the outcome of a parcel in flight."""
        if self._closed:
            return
        now = self.desk.outside.clock.tick()
        self.counters.duration.observe(outcome.latency_ms / 1000)
        if outcome.delivered:
            self._attempt(parcel, outcome, "delivered", "", now, 0)
            self._delivered(parcel, now)
        elif outcome.stage is Stage.CUT:
            self._cut(parcel, outcome, now)
        else:
            self._undelivered(parcel, outcome, now)
        self.desk.wake(self)

    def _attempt(
        self, parcel: Parcel, outcome: Outcome, status: str, error: str, now: int, next_at: int
    ) -> None:
        """A row for the history."""
        self.desk.outside.attempt(
            self.webhook.serial, outcome.delivery, parcel.positions, parcel.events[0].change.key, parcel.attempt,
            status, outcome.status, outcome.latency_ms, error, outcome.body, now, next_at,
        )  # fmt: skip

    def _delivered(self, parcel: Parcel, now: int) -> None:
        counters, events = self.counters, parcel.events
        counters.succeeded += 1
        counters.delivered += len(events)
        counters.last_delivery = now
        counters.end_to_end.observe_all([(now - event.change.at) / 1000 for event in events])
        self.desk.ack(self.webhook.serial, parcel.positions)
        self._leave(parcel)
        if self.circuit is not CLOSED:
            was_open, self.circuit = self.circuit.open, CLOSED
            if was_open:
                log.info("webhook %s: circuit closed", self.webhook.name)
                self.tell("webhook.circuit.closed", self, {})

    def _cut(self, parcel: Parcel, outcome: Outcome, now: int) -> None:
        """We have ended the request: that says nothing of the receiver and costs no retry."""
        if parcel.probe:
            self.circuit = replace(self.circuit, probing=False)
        else:
            parcel.spent -= 1
        self._attempt(parcel, outcome, "retrying", describe(outcome), now, now)
        self.queue.wait(parcel)
        self.again_at(parcel, now)
        self.desk.note(*self.retry_note(parcel))

    def _undelivered(self, parcel: Parcel, outcome: Outcome, now: int) -> None:
        desk, settings, before = self.desk, self.desk.settings, self.circuit
        decision = decide(
            outcome, parcel.spent, self.webhook, now, desk.outside.random(), settings.backoff_multiplier,
            settings.jitter,
        )  # fmt: skip
        assert not isinstance(decision, Ack)
        status, next_at = ("retrying", decision.at) if isinstance(decision, RetryAt) else ("dead", 0)
        self._attempt(parcel, outcome, status, describe(outcome), now, next_at)
        self.circuit = (
            replace(before, probing=False) if outcome.stage is Stage.RENDER
            else breaker.failed(before, self.webhook, now, parcel.probe, settings.circuit_failures)
        )  # fmt: skip
        self._failed(parcel, outcome, decision, now)
        if self.circuit.open and (parcel.probe or not before.open):
            desk.note(*self.failing_note(now))
        if self.circuit.open and not before.open:
            log.warning("webhook %s: circuit opened: %s", self.webhook.name, describe(outcome))
            self.tell("webhook.circuit.opened", self, {"failures": self.circuit.failures})

    def _failed(self, parcel: Parcel, outcome: Outcome, decision: Dead | RetryAt, now: int) -> None:
        self.counters.failed += 1
        if isinstance(decision, RetryAt):
            self.queue.wait(parcel)
            self.again_at(parcel, decision.at)
            self.desk.note(*self.retry_note(parcel))
        else:
            self._give_up(parcel, outcome, decision, now)
        if isinstance(decision, Dead) and decision.disable:
            self.tell("webhook.disabled", self, {"reason": decision.reason})
        elif breaker.worn_out(self.circuit, now, self.desk.settings.disable_after_ms):
            days = self.desk.settings.disable_after_ms / 86_400_000
            self.tell("webhook.disabled", self, {"reason": f"every attempt has failed for {days:g} days"})

    def again_at(self, parcel: Parcel, when: int) -> None:
        """Makes a waiting parcel ready at `when`."""
        lanes = self.queue.lanes

        def again() -> None:
            lanes.resume(parcel)
            self.desk.wake(self)

        parcel.due = when
        self.desk.outside.at(when, again)

    def hold(self, parcels: list[Parcel]) -> None:
        """What had failed before a restart waits again for its next attempt."""
        self.queue.lanes.hold(parcels)
        for parcel in parcels:
            self.again_at(parcel, parcel.due)

    def failing_note(self, now: int) -> Note:
        return ["failing", self.webhook.serial, self.circuit.failures, now - self.circuit.failing_since]

    def retry_note(self, parcel: Parcel) -> Note:
        return ["retry", self.webhook.serial, parcel.positions, parcel.attempt, parcel.spent, parcel.due]

    def _give_up(self, parcel: Parcel, outcome: Outcome, decision: Dead, now: int) -> None:
        self.counters.dead += len(parcel.events)
        self.complain("gave up events (%d so far): %s", self.counters.dead, decision.reason)
        self.desk.note(
            "dead", self.webhook.serial, parcel.positions, now, parcel.attempt, decision.reason, outcome.status
        )
        changes = [event.change for event in parcel.events]
        self._leave(parcel)
        for change in changes:
            self.bury(DeadLetter(change, now, parcel.attempt, decision.reason, outcome.status))
        # Nobody is told of events that tell of webhooks, or two failing ones would go on about each other.
        lost = [change for change in changes if not change.event.startswith("webhook.")]
        if lost:
            ids = [event_id(self.desk.outside.journal_id, change.position) for change in lost]
            self.tell("webhook.delivery.exhausted", self, {"events": ids, "reason": decision.reason})

    def _leave(self, parcel: Parcel) -> None:
        self.queue.finish(parcel)
        self.count(-len(parcel.events))

    # -- by command --------------------------------------------------------------------------------------------

    def configure(self, webhook: Webhook) -> None:
        """Takes a changed definition. Enabling or a new URL gives the endpoint a fresh start."""
        if (webhook.enabled and not self.webhook.enabled) or webhook.url != self.webhook.url:
            self.circuit = CLOSED
        self.webhook = webhook
        self.queue.configure(webhook)
        self.refill.reset()
        self.shrink()
        self.desk.wake(self)

    def purge(self) -> int:
        """Drops what is pending and not in flight. Returns how many events that were."""
        serial, spill, now = self.webhook.serial, self.queue.spill, self.desk.outside.clock.now
        dropped, spilled = self.queue.purge(), spill.size
        if dropped:
            self.desk.note("drop", serial, [change.position for change in dropped], now, "purged")
        if spilled:
            in_flight = [event.change.position for event in self.queue.lanes]
            self.desk.note("cut", serial, spill.first, spill.last, in_flight, now)
            spill.clear()
            self.desk.total.spilled -= spilled
        self.count(-len(dropped) - spilled)
        self.counters.purged += len(dropped) + spilled
        self.desk.wake(self)
        return len(dropped) + spilled

    def close(self) -> None:
        """The webhook is deleted: what is in flight may arrive, but nobody will know."""
        self._closed = True
        self.counters.purged += len(self.queue)
        self.count(-len(self.queue))
        self.desk.total.spilled -= self.queue.spill.size
        if self._alarm is not None:
            self._alarm.cancel()
        self.queue = Queue(self.webhook)
        self.refill.reset()
        self.desk.total.dead -= len(self.dead)
        self.dead.clear()
        self.desk.rest(self)

    def oldest_age_ms(self, now: int) -> int:
        """How long the oldest pending event has waited; 0 if none does."""
        at = self.queue.oldest_at
        return max(0, now - at) if at else 0
