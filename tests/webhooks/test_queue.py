"""Lanes and queue on their own: order, readiness, removal from anywhere, and that nothing is ever scanned."""

from __future__ import annotations

import sys
import timeit
from bisect import bisect_left
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferrite_hooks.webhooks.circuit import CLOSED, Circuit
from ferrite_hooks.webhooks.lanes import AHEAD, MOST_PLACED, Lanes, Pending, lane_of
from ferrite_hooks.webhooks.model import Change, Webhook
from ferrite_hooks.webhooks.queue import NEVER, Queue

NOW = 1_000_000


def change(position: int, key: str | None = "k", at: int = NOW, resource: str = "", db: int = 0) -> Change:
    raw = key.encode() if key is not None else None
    return Change(position, at, db, "set", raw, b"v", None, 0, "SET", 1, "", 0, (1,), resource)


def queue(**settings: object) -> Queue:
    return Queue(Webhook(1, "w", "http://x/", **settings))  # type: ignore[arg-type]


@given(st.lists(st.one_of(
    st.tuples(st.just("arrive"), st.lists(st.sampled_from("abc"), max_size=4)),
    st.tuples(st.just("add"), st.sampled_from("abc")), st.tuples(st.just("take"), st.integers(1, 3)),
    st.tuples(st.sampled_from(["finish", "wait", "resume", "drop", "look"]), st.integers(0, 20)),
), max_size=60), st.booleans())  # fmt: skip
def test_lanes_against_a_plain_model(steps: list[tuple[str, object]], single: bool) -> None:
    """The model: a list of all changes; the first of each lane may go, unless it is away."""
    lanes, numbers = Lanes(single), count(1)
    everything: list[Change] = []
    away, waiting = [], []

    def arrive(keys: list[str]) -> list[Change]:
        changes = [change(next(numbers), key) for key in keys]
        everything.extend(changes)
        return changes

    for step, argument in steps:
        number = argument if isinstance(argument, int) else 0
        if step == "arrive":
            lanes.extend(arrive(list(argument)))  # type: ignore[call-overload]
        elif step == "add":
            lanes.add(*arrive([str(argument)]))
        elif step == "take":
            head = lanes.head()
            busy = {e.lane for parcel in away + waiting for e in parcel.events}
            free = [c for c in everything if lanes.lane(c) not in busy]
            assert (head is None) == (not free)
            if head is not None:
                before = head.parcel
                parcel = lanes.take(number if single else 1)
                lane = parcel.events[0].lane
                first = [c for c in everything if lanes.lane(c) == lane]
                took = [event.change for event in parcel.events]
                many = len(before.events) if before else number if single else 1
                assert took == first[:many], "the oldest of the lane, without gaps"
                assert lane not in busy
                away.append(parcel)
        elif step in ("finish", "wait") and away:
            parcel = away.pop(number % len(away))
            if step == "wait":
                lanes.wait(parcel)
                waiting.append(parcel)
            else:
                lanes.finish(parcel)
                for event in parcel.events:
                    everything.remove(event.change)
        elif step == "resume" and waiting:
            lanes.resume(waiting.pop(number % len(waiting)))
        elif step == "drop":
            loose = [event for event in lanes if event.parcel is None]
            if loose:
                event = loose[number % len(loose)]
                everything.remove(event.change)
                lanes.remove(event)
        elif step == "look":
            assert [event.change for event in lanes.placed()] + list(lanes.arrived) == everything
            oldest = lanes.oldest
            assert (oldest.change if oldest is not None else None) == (everything[0] if everything else None)
            if number % 2:
                assert [event.change for event in lanes] == everything
        assert len(lanes) == len(everything)


def test_a_long_queue_gets_its_places_bit_by_bit() -> None:
    lanes, keys = Lanes(), 10 * AHEAD
    lanes.extend([change(n, f"k{n}") for n in range(1, keys + 1)])
    sent = []
    while (head := lanes.head()) is not None:
        assert len(list(lanes.placed())) <= AHEAD + 1
        sent.append(head.change.position)
        lanes.finish(lanes.take(1))
    assert sent == list(range(1, keys + 1))


def test_one_long_lane_does_not_keep_others_out() -> None:
    lanes = Lanes()
    last = 3 * MOST_PLACED
    lanes.extend([change(n, "busy") for n in range(1, last)] + [change(last, "other")])
    lanes.head()
    under_way = lanes.take(1)
    looks = 1
    while lanes.head() is None:
        assert lanes.searching
        looks += 1
    assert looks == 2, "each look gives 1024 their places, and each has found what it could"
    assert [event.change.key for event in lanes.take(1).events] == [b"other"]
    lanes.finish(under_way)
    assert lanes.take(1).positions == [2]


def test_lanes_of_changes() -> None:
    assert lane_of(change(1, "k")) == lane_of(change(2, "k"))
    assert lane_of(change(1, "k", db=1)) != lane_of(change(2, "k"))
    assert lane_of(change(1, None, resource="a")) != lane_of(change(2, None, resource="b"))
    assert lane_of(change(1, None)) != lane_of(change(1, ""))


def test_due_says_when() -> None:
    q = queue(batch=True, batch_size=3, batch_interval_ms=500)
    assert q.due(NOW, CLOSED) == NEVER
    q.push(change(1))
    assert q.due(NOW, CLOSED) == NOW + 500
    assert q.due(NOW, Circuit(retry_at=NOW + 900)) == NOW + 900
    assert q.due(NOW, Circuit(retry_at=NOW, probing=True)) == NEVER
    q.push(change(2))
    q.push(change(3))
    assert q.due(NOW, CLOSED) <= NOW, "a full batch goes at once"
    parcel = q.take(NOW)
    q.push(change(4, at=NOW - 9999))
    assert q.due(NOW, CLOSED) == NEVER, "one batch at a time keeps their order"
    q.finish(parcel)
    assert q.due(NOW, CLOSED) <= NOW


def test_droppable_spares_what_is_in_flight_and_tried_batches() -> None:
    q = queue()
    q.push(change(1, "a"))
    q.push(change(2, "b"))
    parcel = q.take(NOW)
    victim = q.droppable()
    assert victim is not None and victim.change.position == 2
    q.wait(parcel)
    victim = q.droppable()
    assert victim is not None and victim.change.position == 1, "a single event that waits for a retry may go"
    batch = queue(batch=True, batch_size=2)
    for position in (1, 2, 3):
        batch.push(change(position))
    batch.wait(batch.take(NOW))
    victim = batch.droppable()
    assert victim is not None and victim.change.position == 3


@pytest.mark.parametrize("rate", [1.0, 7.0, 1000.0, 3000.0])
def test_rate_limit_over_any_second(rate: float) -> None:
    q = queue(rate_limit=rate, concurrency=10**9)
    times: list[int] = []
    for position in range(int(rate * 3) + 5):
        q.push(change(position, str(position)))
    now = NOW
    while len(times) < rate * 2 + 2:
        while q.due(now, CLOSED) <= now and len(q.lanes) > len(times):
            q.take(now)
            times.append(now)
        now += 3  # timers come late
    for start in sorted(set(times)):
        assert bisect_left(times, start + 1000) - bisect_left(times, start) <= rate * 1.02 + 1
    assert len(times) / ((times[-1] - times[0]) or 1) * 1000 >= rate * 0.9


def test_costs_do_not_grow_with_the_queue() -> None:
    """Dropping the oldest while the very oldest is stuck in flight, and removing ready heads: each O(1)."""

    def per_event(size: int) -> float:
        q = queue()
        q.push(change(0, "stuck"))
        q.take(NOW)
        for position in range(1, size):
            q.push(change(position, "stuck" if position % 2 else str(position)))
        position = size

        def churn() -> None:
            nonlocal position
            for _ in range(500):
                position += 1
                victim = q.droppable()
                assert victim is not None
                q.drop(victim)
                q.push(change(position, "stuck" if position % 2 else str(position)))

        return min(timeit.repeat(churn, number=1, repeat=5))

    assert per_event(20_000) < 5 * per_event(200)


def test_stale_heads_do_not_pile_up() -> None:
    q = queue()
    for position in range(5000):
        q.push(change(position, str(position)))
        if len(q) > 10:
            victim = q.droppable()
            assert victim is not None
            q.drop(victim)
    assert len(q.lanes._ready) < 200


def test_an_event_is_lean() -> None:
    event = Pending(change(1), b"k", 0)
    assert sys.getsizeof(event) <= 120 and not hasattr(event, "__dict__")
