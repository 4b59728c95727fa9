"""Pending events that are only in the journal: they come back in order, whatever happens meanwhile, and memory stays
small."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from webhook_world import FAILURE, OK, World

from ferrite_hooks.messagepack import unpack
from ferrite_hooks.webhooks import refill
from ferrite_hooks.webhooks.delivery import Delivery
from ferrite_hooks.webhooks.desk import Settings
from ferrite_hooks.webhooks.options import Limits

MANY = 2_000_000


def small(memory: int = 4, floor: int = 2, **settings: Any) -> World:
    return World(
        Settings(**{"max_pending": MANY, "memory_events": memory, "memory_floor": floor, **settings}),
        Limits(max_pending=MANY),
    ).start()


def filled(world: World, keys: str, options: str = "", name: str = "w") -> Delivery:
    """A paused webhook with one event for each letter, in frames of three."""
    hook = world.create(name, f"MAX_PENDING {MANY} {options}")
    world.manager.pause(hook, True)
    for n, key in enumerate(keys):
        world.write(key, b"%d" % n)
        if n % 3 == 0:
            world.tick()
    world.settle()
    return hook


def found(world: World, name: str = "w") -> Delivery:
    delivery = world.manager.registry.named(name)
    assert delivery is not None
    return delivery


def resume(world: World, name: str = "w") -> None:
    world.manager.pause(found(world, name), False)
    world.settle()


def values(world: World) -> list[str]:
    return [event["data"]["value"] for sent in world.answer_all() for event in sent.events]


# -- the same as with all memory in the world --------------------------------------------------------------------

CRASHES = st.tuples(st.just("crash"), st.booleans(), st.just(0))
OF_ONE_KEY = st.lists(st.one_of(
    *[st.tuples(st.just("write"), st.just("a"), st.integers(1, 9))] * 2, CRASHES,
    st.tuples(st.just("answer"), st.sampled_from([OK, OK, FAILURE]), st.integers(1, 5)),
    st.tuples(st.sampled_from(["pause", "resume", "purge", "pass"]), st.none(), st.just(0)),
), min_size=3, max_size=25)  # fmt: skip
OF_THREE_KEYS = st.lists(st.one_of(
    *[st.tuples(st.just("write"), st.sampled_from("abc"), st.integers(1, 6))] * 2, CRASHES,
    st.tuples(st.just("answer"), st.just(OK), st.integers(1, 5)),
    st.tuples(st.sampled_from(["pause", "resume", "pass"]), st.none(), st.just(0)),
), min_size=3, max_size=25)  # fmt: skip


def told(memory: tuple[int, int], options: str, story: list[tuple[str, Any, int]]) -> Any:
    """A story's outcome: each key's deliveries in order, and the counters."""
    world = small(*memory, max_dead=1000)
    world.create(options=f"MAX_PENDING 1000 RETRY_DELAY 10 MAX_RETRY_DELAY 10 {options}")
    arrived: dict[str, list[tuple[int, str]]] = {}

    def answer(outcome: Any) -> None:
        for event in world.answer(outcome).events:
            arrived.setdefault(event["key"], []).append((event["metadata"]["sequence"], event["id"]))

    for step, what, count in story:
        hook = found(world)
        if step == "write":
            for n in range(count):
                world.write(what, b"%d" % n)
            world.settle()
        elif step == "answer":
            for _ in range(count):
                if world.flying:
                    answer(what)
        elif step == "purge":
            world.manager.purge(hook, dead=False)
        elif step == "pass":
            world.advance(10_000)
        elif step == "crash":
            world.settle()
            world.flying.clear()
            world.crash(what)
            world.settle()
        else:
            world.manager.pause(hook, step == "pause")
        world.settle()
        assert world.balance(found(world)) and world.manager.desk.pending == len(world.pending(found(world)))
    resume(world)
    for _ in range(200):
        while world.flying:
            answer(OK)
        world.advance(1000)
    hook = found(world)
    assert not world.flying and len(hook.queue) == 0 and world.manager.desk.total.spilled == 0
    counters = {name: getattr(hook.counters, name) for name in ("matched", "delivered", "dead", "dropped", "purged")}
    return arrived, counters, sorted(hook.dead), {letter.change.key for letter in hook.dead.values()}


@settings(max_examples=60, deadline=None)
@given(OF_ONE_KEY, st.sampled_from(["", "RETRIES 1", "RETRIES 0"]))
def test_a_tiny_window_behaves_as_an_infinite_one(story: list[tuple[str, Any, int]], options: str) -> None:
    assert told((4, 4), options, story) == told((MANY, 256), options, story)


@settings(max_examples=60, deadline=None)
@given(OF_THREE_KEYS, st.sampled_from(["", "CONCURRENCY 1"]))
def test_each_key_is_delivered_as_with_an_infinite_window(story: list[tuple[str, Any, int]], options: str) -> None:
    """Which key's turn it is may differ, so nothing fails or is purged here; test_delivery_machine.py does that."""
    tiny, infinite = told((4, 4), options, story), told((MANY, 256), options, story)
    first, second = ({k: list(dict.fromkeys(arrived)) for k, arrived in one[0].items()} for one in (tiny, infinite))
    assert first == second and tiny[1:] == infinite[1:]


# -- order and bounds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", ["", "CONCURRENCY 1", "BATCH true BATCH_SIZE 5"])
def test_memory_stays_small_and_the_order_is_kept(options: str) -> None:
    world = small(8, 4)
    keys = "abcde" * 40
    hook = filled(world, keys, options)
    assert len(hook.queue) == 200 and hook.queue.lanes.size <= 10 and hook.queue.spill.size >= 190
    assert hook.oldest_age_ms(world.clock.now + 5) == 5
    most, arrived = 0, []
    resume(world)
    while len(hook.queue):
        most = max(most, hook.queue.lanes.size)
        world.advance(0 if world.flying else 1000)
        arrived += [(event["key"], int(event["data"]["value"])) for event in world.answer().events]
    assert most <= 8 + 4 * 8 + 16
    assert len(arrived) == 200 and world.balance(hook) and world.manager.desk.total.spilled == 0
    for key in "abcde":
        assert [value for k, value in arrived if k == key] == [n for n, k in enumerate(keys) if k == key]


def test_what_comes_later_goes_behind_what_is_spilled() -> None:
    world = small()
    hook = filled(world, "a" * 20)
    resume(world)
    for n in range(20, 30):
        world.answer()
        world.write("a", b"%d" % n)
        world.settle()
    assert hook.queue.spill.size
    assert values(world) == [str(n) for n in range(10, 30)]


def test_without_a_journal_everything_stays_in_memory() -> None:
    world = small()
    world.create(options="MAX_PENDING 1000")
    hook = found(world)
    world.manager.pause(hook, True)
    for n in range(20):
        world.write("a", b"%d" % n)
    changes = world._changes.copy()
    world._changes.clear()
    world.manager.accept(changes)  # frame 0
    assert hook.queue.lanes.size == 20 and not hook.queue.spill.size


def test_each_webhook_has_its_share_of_memory() -> None:
    world = small(100, 5)
    busy = filled(world, "a" * 300, name="busy", options="PATTERN a*")
    assert busy.queue.lanes.size == 100, "alone it may have all"
    for n in range(9):
        world.manager.pause(world.create(f"late{n}", "PATTERN b* MAX_PENDING 1000"), True)
    for _ in range(50):
        world.write("b")
    world.settle()
    late = found(world, "late0")
    assert late.queue.lanes.size == 10 and late.queue.spill.size == 40
    in_memory = sum(d.queue.lanes.size for d in world.manager.registry)
    assert in_memory <= 100 + 10 * 10
    resume(world, "busy")
    while busy.queue.lanes.size > 12:
        world.answer()
    assert busy.queue.spill.size, "from now on it has its share only"
    most = 0
    while world.flying:
        world.answer()
        most = max(most, busy.queue.lanes.size)
    assert most <= 10 + 4 * 10 + 1 and len(busy.queue) == 0


# -- keys that fail ------------------------------------------------------------------------------------------------


def test_a_failing_key_does_not_keep_the_others_out() -> None:
    world = small(8, 4)
    hook = filled(world, "a" * 100 + "bc" * 30, "RETRIES 100 RETRY_DELAY 60000")
    resume(world)
    assert [sent.json["key"] for sent in world.flying] == ["a"]
    world.answer(FAILURE)
    arrived = [(sent.json["key"], int(sent.json["data"]["value"])) for sent in world.answer_all()]
    assert len(arrived) == 60 and {key for key, _ in arrived} == {"b", "c"}
    for key in "bc":
        own = [value for k, value in arrived if k == key]
        assert own == sorted(own)
    assert hook.queue.lanes.size <= 16 + 1
    world.write("d")
    world.write("a", b"last")
    world.settle()
    assert [sent.json["key"] for sent in world.answer_all()] == ["d"], "new ones pass, too"
    world.advance(200_000)
    assert values(world) == [str(n) for n in range(100)] + ["last"]
    assert len(hook.queue) == 0 and world.balance(hook)


def test_many_failing_keys_take_no_more_than_twice_the_share() -> None:
    world = small(8, 4)
    keys = [f"k{n}" for n in range(100)]
    hook = world.create(options="MAX_PENDING 1000 RETRIES 100 RETRY_DELAY 60000 CONCURRENCY 4")
    world.manager.pause(hook, True)
    for key in keys * 3:
        world.write(key)
        world.tick()
    resume(world)
    count = 0
    while world.flying and not hook.circuit.open:
        world.answer(FAILURE if count % 3 else OK)  # the circuit stays closed
        count += 1
        assert hook.queue.lanes.size <= 16 + 4
    assert hook.queue.spill.size > 100


# -- restarts -----------------------------------------------------------------------------------------------------


def test_order_outlasts_a_switch_of_batch_while_events_are_read() -> None:
    world = small(memory=20, floor=20)
    hook = world.create("w", f"MAX_PENDING {MANY} BATCH true BATCH_SIZE 4 BATCH_INTERVAL 1 CONCURRENCY 4")
    world.manager.pause(hook, True)
    for n in range(20):
        world.write(f"other{n}")
    for _ in range(2):
        world.tick()
        for _ in range(refill.CHUNK):
            world.write("k")
    world.settle()
    resume(world)
    world.manager.update(hook, b"BATCH false".split())
    for _ in range(10):
        if hook.refill._left and hook.refill._reading:
            break  # some were passed over, and later ones are being read
        world.tick()
    order = world.flying[0].sequences
    world.flying.pop(0).done(OK)
    world._soon.reverse()  # the lanes are made anew before these have been read
    world.tick()
    order += [sequence for sent in world.answer_all() for sequence in sent.sequences]
    assert len(order) == 20 + 2 * refill.CHUNK
    assert order[20:] == sorted(order[20:])


@pytest.mark.parametrize("through_snapshot", [False, True])
def test_a_start_keeps_only_places(through_snapshot: bool) -> None:
    world = small(8, 4)
    hook = filled(world, "abcd" * 25)
    before = world.pending(hook)
    counters = hook.counters.matched
    world.crash(through_snapshot)
    hook = found(world)
    if not through_snapshot:
        assert hook.queue.lanes.size == 0, "nothing has been read yet"
    assert world.pending(hook) == before and hook.counters.matched == counters and world.balance(hook)
    assert hook.oldest_age_ms(world.clock.now + 7) == 7
    world.crash(through_snapshot)
    world.settle()
    assert found(world).queue.lanes.size <= 4 * 8
    resume(world)
    arrived = [sent.json["metadata"]["sequence"] for sent in world.answer_all()]
    assert sorted(arrived) == before


def test_a_snapshot_needs_the_frames_of_what_is_spilled_and_no_more() -> None:
    world = small(4, 2)
    filled(world, "a" * 30)
    state = world.manager.state()
    [places] = [note for note in state if note[0] == "spilled"]
    [queued] = [note for note in state if note[0] == "queue"]
    assert len(queued[2]) + len(places[2]) // 8 == 30 and len(queued[2]) <= 5
    lowest = world.manager.lowest_frame
    assert 1 < lowest < len(world.frames)
    resume(world)
    for _ in range(20):
        world.answer()
    assert world.manager.lowest_frame > lowest
    world.answer_all()
    assert world.manager.lowest_frame == 0
    assert not [note for note in world.manager.state() if note[0] == "spilled"]


@pytest.mark.parametrize("options", ["", "BATCH true BATCH_SIZE 3 BATCH_INTERVAL 1"])
@pytest.mark.parametrize("through_snapshot", [False, True])
def test_a_retry_goes_on_where_it_was(options: str, through_snapshot: bool) -> None:
    world = small(4, 2)
    filled(world, "a" * 12, f"RETRY_DELAY 5000 RETRY_BACKOFF fixed CONCURRENCY 1 {options}")
    resume(world)
    world.advance(1)
    first = world.answer(FAILURE)
    for _ in range(2):
        world.crash(through_snapshot)  # once read, once only known by its place
        world.settle()
        assert not world.flying, "it waits for its time"
    world.advance(6000)
    again = world.answer(OK)
    assert again.headers["X-Ferrite-Attempt"] == "2" and again.json == first.json | (
        {"timestamp": again.json["timestamp"]} if options else {}
    )
    world.advance(1000)
    assert int(values(world)[-1]) == 11


def test_dead_letters_whose_changes_are_in_the_journal() -> None:
    world = small(4, 2, max_dead=3)
    hook = filled(world, "abcdef", "RETRIES 0 CONCURRENCY 1")
    resume(world)
    for _ in range(5):
        world.answer(FAILURE)
        world.manager.update(found(world), b"URL http://x/".split())  # closes the circuit
        world.settle()
    letters = list(hook.dead.values())
    assert len(letters) == 3
    world.crash()
    hook = found(world)
    assert list(hook.dead.values()) == letters and hook.counters.dead == 5
    world.broken = "no disk"
    world.crash()
    hook = found(world)
    assert not hook.dead and hook.counters.dead == 5 and world.manager.desk.total.dead == 0
    world.broken = ""
    world.crash()
    assert list(found(world).dead.values()) == letters


def test_events_before_the_journals_beginning_are_given_up_only_when_told_to(caplog: pytest.LogCaptureFixture) -> None:
    world = small(4, 2)
    hook = filled(world, "a" * 12)
    world.settle()
    world._begin()
    for number, frame in enumerate(world.frames, 1):
        world.manager.replay(*unpack(frame), number)
    world.manager.start(first_frame=5)
    hook = found(world)
    assert "pending events are lost" in caplog.text
    assert hook.counters.dropped and world.balance(hook) and hook.queue.spill.lowest_frame == 5


# -- commands ------------------------------------------------------------------------------------------------------


def test_purge_drops_what_is_on_disk_but_not_what_is_in_flight() -> None:
    world = small(4, 2)
    hook = filled(world, "ab" * 20, "CONCURRENCY 2")
    resume(world)
    assert len(world.flying) == 2
    assert world.manager.purge(hook, dead=False) == 38
    assert len(hook.queue) == 2 and world.balance(hook) and world.manager.desk.total.spilled == 0
    world.write("a", b"new")
    world.settle()
    before = world.pending(hook)
    world.crash()
    hook = found(world)
    assert world.pending(hook) == before and hook.counters.purged == 38 and world.balance(hook)
    assert sorted(values(world)) == ["0", "1", "new"]


def test_a_purge_while_events_are_being_read() -> None:
    world = small(4, 2)
    hook = filled(world, "a" * 20)
    world.manager.pause(hook, False)
    while not hook.refill._reading:
        world.tick()
        if world.flying:
            world.flying.pop().done(OK)
    gone = world.manager.purge(hook, dead=False)
    world.write("a", b"new")
    arrived = values(world)
    assert arrived[-1] == "new" and len(arrived) <= 2 and gone >= 10 and world.balance(hook)


def test_a_deleted_webhook_takes_its_events_with_it() -> None:
    world = small(4, 2)
    hook = filled(world, "a" * 20)
    world.manager.pause(hook, False)
    world.manager.delete(hook)
    world.settle()
    assert not world.flying and world.manager.desk.pending == world.manager.desk.total.spilled == 0
    assert hook.counters.purged == 20 and world.manager.lowest_frame == 0
    world.crash()
    assert world.manager.desk.pending == world.manager.desk.total.spilled == 0


def test_what_is_on_disk_is_not_queued_twice() -> None:
    world = small(4, 2)
    hook = filled(world, "a" * 20)
    changes = refill._read(world._pick, hook.queue.spill.ahead(5))
    assert isinstance(changes, list) and len(changes) >= 5
    assert world.manager.requeue(hook, changes) == 0 and len(hook.queue) == 20


def test_switching_batch_while_events_are_on_disk() -> None:
    world = small(4, 2)
    hook = filled(world, "ab" * 10)
    world.manager.update(hook, b"BATCH true BATCH_SIZE 4 BATCH_INTERVAL 1".split())
    resume(world)
    world.advance(1)
    first = world.answer()
    assert len(first.events) == 4
    world.manager.update(hook, b"BATCH false".split())
    world.settle()
    arrived = [event["data"]["value"] for event in first.events] + values(world)
    assert sorted(arrived, key=int) == [str(n) for n in range(20)]
    for parity in (0, 1):
        own = [int(value) for value in arrived if int(value) % 2 == parity]
        assert own == sorted(own)


# -- bounds and policies ---------------------------------------------------------------------------------------------


def test_both_parts_count_for_the_bound() -> None:
    for policy in ("drop_oldest", "drop_newest", "reject"):
        world = small(4, 2)
        hook = world.create(options=f"MAX_PENDING 10 OVERFLOW {policy}")
        world.manager.pause(hook, True)
        for n in range(14):
            if world.manager.refuses(0, ["set"], [b"k"]) is None:
                world.write("k", b"%d" % n)
            world.settle()
        assert len(hook.queue) == 10 and world.balance(hook)
        resume(world)
        expected = range(4, 14) if policy == "drop_oldest" else range(10)
        assert values(world) == [str(n) for n in expected]
        letters = {letter.change.new for letter in hook.dead.values()}
        lost = {"drop_oldest": range(4), "drop_newest": range(10, 14), "reject": ()}[policy]
        assert letters == {b"%d" % n for n in lost}


def test_a_lowered_bound_drops_the_oldest_as_they_are_read() -> None:
    world = small(4, 2)
    hook = filled(world, "a" * 30)
    world.manager.update(hook, b"MAX_PENDING 5".split())
    world.settle()
    assert len(hook.queue) == 5 and len(hook.dead) == 25 and world.balance(hook)
    assert [letter.change.new for letter in hook.dead.values()] == [b"%d" % n for n in range(25)]
    resume(world)
    assert values(world) == [str(n) for n in range(25, 30)]


def test_coalescing_looks_at_memory_and_again_when_events_are_read() -> None:
    world = small(4, 4)
    hook = filled(world, "abcdefgh" + "ab" * 10, "COALESCE true")
    assert hook.queue.spill.size
    resume(world)
    arrived = {sent.json["key"]: sent.json for sent in world.answer_all()}
    assert arrived["a"]["data"]["value"] == "26" and arrived["b"]["data"]["value"] == "27"
    assert hook.counters.coalesced > 10 and world.balance(hook) and len(hook.queue) == 0
    assert hook.counters.coalesced + hook.counters.delivered == 28


def test_coalesced_numbers_survive_a_restart() -> None:
    world = small(100, 100)
    hook = filled(world, "a" * 10, "COALESCE true")
    assert len(hook.queue) == 1 and hook.counters.coalesced == 9
    for through_snapshot in (False, False, True):
        world.crash(through_snapshot)
    hook = found(world)
    assert len(hook.queue) == 1 and hook.counters.coalesced == 9
    resume(world)
    assert world.answer().json["metadata"]["coalesced"] == 9


def test_a_condition_is_asked_when_the_event_is_queued() -> None:
    world = small(4, 2)
    hook = world.create(options="WHEN data.value = yes")
    world.manager.pause(hook, True)
    for n in range(20):
        world.write("k", b"yes" if n % 2 else b"no")
        world.tick()
    assert len(hook.queue) == hook.counters.matched == 10
    world.crash()
    hook = found(world)
    assert len(hook.queue) == hook.counters.matched == 10
    resume(world)
    assert values(world) == ["yes"] * 10


# -- a disk that fails ---------------------------------------------------------------------------------------------


def test_events_that_cannot_be_read_wait(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    world = small(4, 2)
    hook = filled(world, "a" * 20)
    world.broken = "cannot read it: Input/output error"
    resume(world)
    arrived = values(world)
    assert arrived == [str(n) for n in range(len(arrived))] and 2 <= len(arrived) < 20
    assert len(hook.queue) == 20 - len(arrived) and hook.refill.failed == world.broken and hook.refill.failures == 1
    world.advance(refill.RETRY_MS * 3)
    assert hook.refill.failures == 4
    assert "cannot be read back" in caplog.text and world.broken in caplog.text
    [sample] = world.manager.samples()
    assert (sample.read_failures, sample.spilled) == (4, hook.queue.spill.size)
    world.broken = ""
    world.advance(refill.RETRY_MS)
    assert "can be read back again" in caplog.text and hook.refill.failed == ""
    assert arrived + values(world) == [str(n) for n in range(20)]


def test_a_frame_without_its_event_is_a_failure() -> None:
    world = small(4, 2)
    hook = filled(world, "a" * 20)
    resume(world)
    world.frames[hook.queue.spill.lowest_frame - 1] = b"\x92\x90\x90"
    values(world)
    assert "does not have the event at position" in hook.refill.failed


def test_a_full_queue_that_cannot_be_read_still_has_a_bound() -> None:
    world = small(4, 2)
    hook = world.create(options="MAX_PENDING 10")
    world.broken = "broken"
    for _ in range(60):
        world.write("k")
        world.settle()
    assert len(hook.queue) <= 20 and hook.counters.dropped >= 40 and world.balance(hook)
