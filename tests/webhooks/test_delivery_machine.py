"""Any schedule of writes, outcomes, time, restarts and commands keeps the promises of delivery.

- At least once: an event that a webhook matched is delivered, dead, dropped, coalesced, purged or pending.
- In order: a key's events arrive in the order of the writes, and never two of them at a time.
- The counters add up, for each webhook and for the server.
- A restart, from the journal or from a snapshot, changes nothing of this.
- Nor does it matter how many events memory has room for.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from webhook_world import FAILURE, GONE, OK, REFUSED, World

from ferrite_hooks.webhooks.desk import Settings
from ferrite_hooks.webhooks.options import Limits

OPTIONS = st.sampled_from([
    "", "CONCURRENCY 1", "RETRIES 0", "RETRIES 1", "BATCH true BATCH_SIZE 3 BATCH_INTERVAL 50",
    "COALESCE true", "COALESCE true BATCH true BATCH_SIZE 2", "MAX_PENDING 3", "MAX_PENDING 3 OVERFLOW drop_newest",
    "MAX_PENDING 2 OVERFLOW reject", "RATE_LIMIT 20", "MAX_PENDING 3 BATCH true BATCH_SIZE 2", "BATCH false",
    "COALESCE false", "MAX_PENDING 12 CONCURRENCY 4",
])  # fmt: skip
KEYS = st.sampled_from("abc")
NAMES = st.sampled_from(["one", "two"])


class Delivering(RuleBasedStateMachine):
    memory = (100_000, 256)

    def __init__(self) -> None:
        super().__init__()
        total, floor = self.memory
        settings = Settings(max_pending=14, max_dead=1000, memory_events=total, memory_floor=floor)
        self.world = World(settings, Limits(max_pending=14)).start()
        self.arrived: dict[tuple[int, int], int] = {}  # (webhook, position) -> how often
        self.last: dict[tuple[int, str], int] = {}  # (webhook, key) -> position of the last new arrival
        self.owed: dict[int, set[int]] = {}  # webhook -> positions it has matched
        self.replayed: set[tuple[int, int]] = set()  # (webhook, position) that REPLAY has put out of order
        for name in ("one", "two"):
            self.owed[self.world.create(name).webhook.serial] = set()
        self.world.settle()

    def hook(self, name: str) -> Any:
        return self.world.manager.registry.named(name)

    def pending(self) -> set[tuple[int, int]]:
        deliveries = list(self.world.manager.registry)
        return {(d.webhook.serial, position) for d in deliveries for position in self.world.pending(d)}

    # -- what can happen -----------------------------------------------------------------------------------

    @rule(key=KEYS, count=st.integers(1, 4))
    def write(self, key: str, count: int) -> None:
        for _ in range(count):
            hooks = self.world.manager.matcher.match(0, "set", key.encode())
            if self.world.manager.refuses(0, ["set"], [key.encode()]) is None:
                position = self.world.write(key)
                for serial in hooks:
                    self.owed[serial].add(position)
        self.world.tick()

    @precondition(lambda self: self.world.flying)
    @rule(data=st.data(), outcome=st.sampled_from([OK, OK, OK, FAILURE, REFUSED]))
    def answer(self, data: st.DataObject, outcome: Any) -> None:
        sent = self.world.answer(outcome, data.draw(st.integers(0, len(self.world.flying) - 1)))
        if outcome is OK:
            self.arrive(sent)

    @precondition(lambda self: self.world.flying)
    @rule()
    def gone(self) -> None:
        self.world.answer(GONE)

    @rule(ms=st.sampled_from([0, 1, 60, 1000, 5000, 70_000]))
    def advance(self, ms: int) -> None:
        self.world.advance(ms)

    @rule()
    def tick(self) -> None:
        self.world.tick()

    @rule(through_snapshot=st.booleans())
    def crash(self, through_snapshot: bool) -> None:
        self.world.settle()  # the journal has what a client was told; losing the last tick's notes is below
        self.world.crash(through_snapshot)

    @precondition(lambda self: self.world.flying)
    @rule()
    def crash_before_the_acknowledgement_is_kept(self) -> None:
        sent = self.world.flying.pop(0)
        sent.done(OK)
        self.arrive(sent)
        self.world._notes.clear()
        before = self.pending()
        self.world.crash()
        # What had been dropped or merged, too, may be back: such an event comes late rather than never.
        self.replayed |= self.pending() - before

    @rule(name=NAMES, options=OPTIONS)
    def update(self, name: str, options: str) -> None:
        if options:
            self.world.manager.update(self.hook(name), options.encode().split())

    @rule(name=NAMES, paused=st.booleans())
    def pause(self, name: str, paused: bool) -> None:
        self.world.manager.pause(self.hook(name), paused)

    @rule(name=NAMES, enabled=st.booleans())
    def enable(self, name: str, enabled: bool) -> None:
        (self.world.manager.enable if enabled else self.world.manager.disable)(self.hook(name))

    @rule(name=NAMES)
    def purge(self, name: str) -> None:
        self.world.manager.purge(self.hook(name), dead=False)

    @rule(name=NAMES)
    def replay_dead(self, name: str) -> None:
        hook = self.hook(name)
        self.replayed |= {(hook.webhook.serial, position) for position in hook.dead}
        self.world.manager.replay_dead(self.hook(name))

    # -- what must hold ------------------------------------------------------------------------------------

    def arrive(self, sent: Any) -> None:
        serial = self.world.manager.registry.named(sent.hook).webhook.serial
        for event in sent.events:
            key, position = event["key"], event["metadata"]["sequence"]
            first = (serial, position) not in self.arrived
            self.arrived[(serial, position)] = self.arrived.get((serial, position), 0) + 1
            if first and (serial, position) not in self.replayed:
                assert position > self.last.get((serial, key), 0), "a key's events arrive in order"
                self.last[(serial, key)] = position

    @invariant()
    def counters_add_up(self) -> None:
        manager = self.world.manager
        assert manager.desk.pending == sum(len(d.queue) for d in manager.registry)
        for delivery in manager.registry:
            assert self.world.balance(delivery)
            assert len(self.world.pending(delivery)) == len(delivery.queue)
        assert manager.desk.total.spilled == sum(d.queue.spill.size for d in manager.registry)

    @invariant()
    def never_two_of_one_key_in_flight(self) -> None:
        seen = set()
        for sent in self.world.flying:
            for key in {event["key"] for event in sent.events}:
                assert (sent.hook, key) not in seen
                seen.add((sent.hook, key))

    @invariant()
    def nothing_is_lost(self) -> None:
        if self.world._changes:
            return  # not accepted yet
        for delivery in self.world.manager.registry:
            serial, c = delivery.webhook.serial, delivery.counters
            pending = set(self.world.pending(delivery))
            known = pending | set(delivery.dead) | {p for s, p in self.arrived if s == serial}
            missing = len(self.owed[serial] - known)
            assert missing <= c.coalesced + c.purged, "only what was merged or purged may leave no trace"

    def teardown(self) -> None:
        """The endpoints recover: everything pending goes out, and nothing stays behind."""
        world = self.world
        world.settle()
        for name in ("one", "two"):
            world.manager.enable(self.hook(name))
            world.manager.pause(self.hook(name), False)
        for _ in range(30):
            world.settle()
            while world.flying:
                self.arrive(world.answer(OK))
            world.advance(30_000)
            self.never_two_of_one_key_in_flight()
        assert world.manager.desk.pending == 0
        self.counters_add_up()
        self.nothing_is_lost()


class DeliveringFromDisk(Delivering):
    """Nearly everything is read back from the journal."""

    memory = (4, 2)


TestDelivering = Delivering.TestCase
TestDelivering.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestDeliveringFromDisk = DeliveringFromDisk.TestCase
TestDeliveringFromDisk.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
