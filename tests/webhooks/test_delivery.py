"""Delivering: order, retries, restarts, circuit, batches, rates and bounds, all without I/O."""

from __future__ import annotations

import pytest
from webhook_world import CUT, FAILURE, GONE, OK, REFUSED, World

from ferrite_hooks.webhooks.desk import Settings
from ferrite_hooks.webhooks.options import Limits


@pytest.fixture
def world() -> World:
    return World().start()


# -- delivering ------------------------------------------------------------------------------------------------


def test_a_write_is_delivered_and_acknowledged_after_the_post(world: World) -> None:
    hook = world.create(options="PATTERN user:* EVENTS SET")
    world.write("user:1", b"Alice")
    world.write("other", b"x")
    world.settle()
    [sent] = world.flying
    assert (sent.json["key"], sent.json["data"]["value"]) == ("user:1", "Alice")
    assert sent.headers["X-Ferrite-Attempt"] == "1"
    assert len(hook.queue) == 1, "pending until the endpoint has answered"
    world.answer(OK)
    assert (len(hook.queue), hook.counters.delivered, world.manager.desk.pending) == (0, 1, 0)
    assert world.balance(hook)
    world.crash()
    world.settle()
    assert world.flying == [], "an acknowledged event does not go out again"


def test_order_per_key_and_concurrency_across_keys(world: World) -> None:
    world.create(options="CONCURRENCY 3")
    for key in "aabbccdd":
        world.write(key)
    world.settle()
    assert [s.json["key"] for s in world.flying] == ["a", "b", "c"]
    world.answer(OK, 1)
    assert [s.sequences for s in world.flying] == [[1], [5], [7]], "the key that waited longest goes first"
    assert [s.sequences[0] for s in world.answer_all()] == [1, 5, 7, 4, 2, 6, 8]


def test_a_long_lane_in_front_holds_up_nobody(world: World) -> None:
    hook = world.create()
    world.manager.pause(hook, True)
    for _ in range(5000):
        world.write("busy")
    world.write("other")
    world.settle()
    world.manager.pause(hook, False)
    world.settle()
    assert [sent.json["key"] for sent in world.flying] == ["busy"]
    world.advance(5)
    assert [sent.json["key"] for sent in world.flying] == ["busy", "other"]


def test_the_same_key_in_two_databases_is_two_keys(world: World) -> None:
    world.create()
    world.write("k", db=0)
    world.write("k", db=1)
    world.settle()
    assert len(world.flying) == 2


def test_a_failing_key_holds_up_only_itself(world: World) -> None:
    world.create(options="RETRIES 1")
    for _ in range(3):
        world.write("bad")
        world.write("good")
    world.settle()
    for _ in range(4):
        world.answer(FAILURE if world.flying[0].json["key"] == "bad" else OK)
    assert world.flying == [], "the bad key waits for its retry, all of the good one is delivered"
    world.advance(1000)
    assert [s.sequences for s in world.flying] == [[1]]
    assert world.flying[0].headers["X-Ferrite-Attempt"] == "2"
    world.answer(FAILURE)
    assert [s.sequences for s in world.flying] == [[3]], "the dead one makes way"


def test_retries_then_a_dead_letter(world: World) -> None:
    hook = world.create(options="RETRIES 2 RETRY_DELAY 100")
    world.write("k")
    world.settle()
    ids = set()
    for delay in (100, 200, 0):
        ids.add(world.flying[0].headers["webhook-id"])
        world.answer(REFUSED)
        world.advance(delay)
    assert len(ids) == 1, "the id is the same at every attempt"
    [letter] = hook.dead.values()
    assert (letter.attempts, letter.reason) == (3, "retries exhausted: connection refused")
    assert (hook.counters.dead, hook.counters.failed, hook.counters.retries) == (1, 3, 2)
    assert world.balance(hook)
    assert [row[5] for row in world.attempts] == ["retrying", "retrying", "dead"]


def test_a_restart_goes_on_with_the_retries_where_they_were(world: World) -> None:
    world.create(options="RETRIES 2 RETRY_DELAY 1000")
    world.write("k")
    world.write("k")
    world.settle()
    first = world.answer(FAILURE)
    world.crash()
    world.settle()
    assert world.flying == [], "still waiting"
    world.advance(1000)
    again = world.answer(FAILURE)
    assert again.headers["X-Ferrite-Attempt"] == "2"
    assert again.headers["webhook-id"] == first.headers["webhook-id"]
    assert again.json == first.json
    world.crash(through_snapshot=True)
    world.advance(2000)
    assert world.answer(FAILURE).headers["X-Ferrite-Attempt"] == "3"
    assert [s.sequences for s in world.flying] == [[2]]


def test_in_flight_at_a_crash_arrives_again(world: World) -> None:
    world.create()
    world.write("k")
    world.settle()
    before = world.flying[0]
    world.crash()
    world.settle()
    assert world.flying[0].request.body == before.request.body


def test_what_the_server_cuts_off_costs_no_retry(world: World) -> None:
    hook = world.create(options="RETRIES 0")
    world.write("k")
    world.settle()
    first = world.answer(CUT)
    assert (hook.counters.dead, hook.counters.failed, hook.circuit.failures) == (0, 0, 0)
    world.crash()
    world.advance(1)
    second = world.answer(CUT)  # as when settings change: the same server sends it again
    assert (first.headers["X-Ferrite-Attempt"], second.headers["X-Ferrite-Attempt"]) == ("1", "2")
    world.advance(1)
    assert world.answer(OK).json == first.json
    assert world.manager.find(b"w", "default").counters.dead == 0


def test_a_probe_that_is_cut_off_is_made_again(world: World) -> None:
    hook = world.create(options="RETRIES 9 RETRY_DELAY 1000 RETRY_BACKOFF fixed")
    for i in range(5):
        world.write(f"k{i}")
    world.settle()
    world.answer_all(FAILURE)
    assert hook.circuit.open
    world.advance(1000)
    world.answer(CUT)
    assert hook.circuit.open and hook.circuit.failures == 5
    world.advance(1)
    world.answer(OK)
    assert not hook.circuit.open


def test_gone_disables(world: World) -> None:
    hook = world.create()
    world.write("a")
    world.write("a")
    world.settle()
    world.answer(GONE)
    assert (hook.webhook.status, hook.webhook.disabled_reason) == ("disabled", "the endpoint is gone (410)")
    assert (len(hook.dead), len(hook.queue)) == (1, 1)
    assert world.write("b") == 0, "a disabled webhook captures nothing"
    world.crash()
    hook = world.manager.find(b"w", "default")
    assert hook.webhook.status == "disabled"
    world.manager.enable(hook)
    assert len(world.answer_all()) == 1, "what was pending has waited"


def test_a_late_answer_for_a_deleted_webhook_means_nothing(world: World) -> None:
    hook = world.create()
    world.write("a")
    world.write("a")
    world.settle()
    world.manager.delete(hook)
    again = world.create()
    world.write("a")
    world.settle()
    late, new = world.flying
    late.done(OK)
    world.settle()
    assert (again.counters.delivered, len(again.queue), world.manager.desk.pending) == (0, 1, 1)
    assert world.manager.departed.purged == 2
    new.done(OK)
    world.settle()
    assert again.counters.delivered == 1


# -- the circuit breaker ---------------------------------------------------------------------------------------


def test_circuit_opens_spends_no_retries_and_closes(world: World) -> None:
    hook = world.create(options="RETRIES 5 RETRY_DELAY 1000 RETRY_BACKOFF fixed")
    for i in range(20):
        world.write(f"k{i}")
    world.settle()
    assert len(world.flying) == 16
    while world.flying:
        world.answer(FAILURE)
    assert hook.circuit.open and len(hook.queue) == 20
    for interval in (1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000):
        world.advance(interval - 1)
        assert world.flying == []
        world.advance(1)
        assert len(world.flying) == 1, "one probe"
        world.answer(FAILURE)
    assert hook.counters.dead == 0, "the probes cost no retry"
    world.advance(60_000)
    world.answer(OK)
    assert not hook.circuit.open
    assert len(world.answer_all()) == 19
    assert world.balance(hook)


def test_a_webhook_that_only_fails_is_disabled() -> None:
    world = World(Settings(disable_after_ms=600_000)).start()
    hook = world.create(options="RETRIES 3")
    world.create("ops", "EVENTS webhook.*")
    world.write("k")
    told = []
    for _ in range(40):
        for sent in list(world.flying):
            outcome = OK if sent.hook == "ops" else FAILURE
            if sent.hook == "ops":
                told.append(sent.json["event"])
            world.answer(outcome, world.flying.index(sent))
        world.write(f"k{len(told)}")
        world.advance(60_000)
    assert hook.webhook.status == "disabled"
    assert hook.webhook.disabled_reason.startswith("every attempt has failed")
    assert told.count("webhook.disabled") == 1 and "webhook.circuit.opened" in told


@pytest.mark.parametrize("through_snapshot", [False, True])
def test_the_days_of_failure_outlast_a_restart_but_downtime_does_not_count(through_snapshot: bool) -> None:
    world = World(Settings(disable_after_ms=600_000)).start()
    world.create(options="RETRIES 100")

    def fail_for(minutes: int) -> None:
        for _ in range(minutes):
            world.write("k")
            world.settle()
            if world.flying:
                world.answer(FAILURE)
            world.advance(60_000)

    fail_for(9)
    world.crash(through_snapshot)
    world.clock.now += 10 * 86_400_000
    world.crash()
    hook = world.manager.find(b"w", "default")
    fail_for(1)
    assert hook.webhook.enabled, "ten days without a server are no failure of the receiver's"
    fail_for(4)
    assert not hook.webhook.enabled


def test_a_success_before_a_restart_ends_the_failing() -> None:
    world = World().start()
    world.create(options="RETRIES 100")
    for i in range(6):
        world.write(f"k{i}")
    world.settle()
    for _ in range(6):
        world.answer(FAILURE)
    assert world.manager.find(b"w", "default").circuit.open
    world.advance(60_000)
    world.answer_all(OK)
    world.crash()
    assert world.manager.find(b"w", "default").circuit.failures == 0


# -- batches, rate, pause --------------------------------------------------------------------------------------


def test_batches_by_size_and_by_time(world: World) -> None:
    hook = world.create(options="BATCH true BATCH_SIZE 3 BATCH_INTERVAL 500")
    for key in "abcde":
        world.write(key)
    world.settle()
    [sent] = world.flying
    assert (sent.sequences, sent.json["count"]) == ([1, 2, 3], 3)
    assert sent.headers["X-Ferrite-Event"] == "batch"
    world.answer(OK)
    assert world.flying == []
    world.advance(499)
    assert world.flying == []
    world.advance(1)
    assert world.flying[0].sequences == [4, 5]
    first = world.answer(FAILURE)
    world.write("f")
    world.write("a")
    world.advance(1000)
    assert world.flying[0].json["batch_id"] == first.json["batch_id"], "the same batch at the retry"
    world.answer(OK)
    world.advance(500)
    assert world.answer(OK).sequences == [6, 7]
    assert world.balance(hook)


def test_a_batch_survives_a_restart_as_it_was(world: World) -> None:
    world.create(options="BATCH true BATCH_SIZE 2")
    for key in "abc":
        world.write(key)
    world.settle()
    first = world.answer(FAILURE)
    world.crash()
    world.advance(1000)
    assert world.flying[0].json["batch_id"] == first.json["batch_id"]
    assert world.flying[0].headers["X-Ferrite-Attempt"] == "2"


def test_switching_batches_on_and_off_keeps_order(world: World) -> None:
    hook = world.create(options="CONCURRENCY 2")
    for key in "abab":
        world.write(key)
    world.settle()
    world.manager.update(hook, b"BATCH true BATCH_SIZE 10 BATCH_INTERVAL 1".split())
    world.answer(OK)
    assert len(world.flying) == 1, "the lanes change once nothing is in flight"
    world.answer(OK)
    world.advance(1)
    assert world.flying[0].sequences == [3, 4]
    world.manager.update(hook, b"BATCH false".split())
    world.answer(FAILURE)
    world.write("c")
    world.settle()
    assert sorted(s.sequences[0] for s in world.flying) == [3, 4] and len(hook.queue) == 3
    world.answer_all()
    assert world.balance(hook)


@pytest.mark.parametrize("keys", ["ab", "aa"])
def test_a_failed_batch_goes_one_by_one_when_batches_are_switched_off(world: World, keys: str) -> None:
    hook = world.create(options="BATCH true BATCH_SIZE 2")
    for key in keys:
        world.write(key)
    world.settle()
    world.answer(FAILURE)
    world.manager.update(hook, b"BATCH false".split())
    world.settle()
    world.crash()
    world.advance(60_000)
    assert [s.sequences for s in world.answer_all()] == [[1], [2]]


def test_retries_of_before_a_batch_do_not_get_in_its_way(world: World) -> None:
    hook = world.create(options="RETRY_DELAY 1000")
    for key in "ab":
        world.write(key)
    world.settle()
    world.answer(FAILURE)
    world.answer(FAILURE)
    world.manager.update(hook, b"BATCH true BATCH_SIZE 2".split())
    world.settle()
    world.crash()
    world.advance(60_000)
    assert len(world.flying) == 1, "one batch at a time"
    assert [sequence for s in world.answer_all() for sequence in s.sequences] == [1, 2]
    world.answer_all()
    assert world.manager.desk.pending == 0


def test_rate_limit_delays_and_costs_no_attempt(world: World) -> None:
    world.create(options="RATE_LIMIT 10")
    for i in range(25):
        world.write(f"k{i}")
    sent = 0
    for _ in range(10):
        world.advance(100)
        assert len(world.flying) <= 2
        sent += len(world.answer_all())
    assert 9 <= sent <= 11
    world.advance(2000)
    assert all(s.headers["X-Ferrite-Attempt"] == "1" for s in world.answer_all())


def test_pause_holds_and_captures(world: World) -> None:
    hook = world.create()
    world.manager.pause(hook, True)
    world.write("k")
    world.advance(10_000)
    assert world.flying == [] and len(hook.queue) == 1
    world.crash()
    world.advance(10_000)
    assert world.flying == []
    world.manager.pause(world.manager.find(b"w", "default"), False)
    assert len(world.answer_all()) == 1


def test_no_webhook_has_a_turn_for_itself(world: World) -> None:
    world.create("busy", "CONCURRENCY 256")
    world.create("calm", "PATTERN calm")
    for i in range(300):
        world.write(f"k{i}")
    world.write("calm")
    world.tick()
    assert len(world.flying) <= 64
    assert "calm" in {s.hook for s in world.flying}


# -- bounds ----------------------------------------------------------------------------------------------------


def test_the_oldest_gives_way_behind_a_batch_in_flight(world: World) -> None:
    hook = world.create(options="BATCH true BATCH_SIZE 2 MAX_PENDING 4 CONCURRENCY 1")
    for _ in range(2):
        world.write()
    world.settle()
    assert [sent.sequences for sent in world.flying] == [[1, 2]]
    for _ in range(4):
        world.write()
        world.settle()
    assert world.pending(hook) == [1, 2, 5, 6]
    assert (hook.counters.dropped, list(hook.dead)) == (2, [3, 4])


@pytest.mark.parametrize(("policy", "kept"), [("drop_oldest", [1, 5, 6]), ("drop_newest", [1, 2, 3])])
def test_overflow(world: World, policy: str, kept: list[int]) -> None:
    hook = world.create(options=f"MAX_PENDING 3 CONCURRENCY 1 OVERFLOW {policy}")
    world.write("k")
    world.settle()  # the first is in flight and stays
    for _ in range(5):
        world.write("k")
    world.settle()
    assert (len(hook.queue), hook.counters.dropped, len(hook.dead)) == (3, 3, 3)
    assert world.balance(hook)
    world.crash()
    hook = world.manager.find(b"w", "default")
    assert (len(hook.queue), hook.counters.dropped, len(hook.dead)) == (3, 3, 3)
    assert [s.sequences[0] for s in world.answer_all()] == kept


def test_reject_asks_for_the_write_to_be_refused(world: World) -> None:
    hook = world.create(options="MAX_PENDING 2 OVERFLOW reject PATTERN k*")
    for _ in range(2):
        assert not hook.full
        world.write("k")
        world.settle()
    assert hook.full
    assert world.manager.refuses(0, ("set", "del"), [b"other", b"k1"]) == "w"
    assert world.manager.refuses(0, ("set",), [b"other"]) is None
    world.write("k")  # an expiry cannot be refused
    world.settle()
    assert (len(hook.queue), hook.counters.dropped) == (3, 0)
    world.answer_all()
    assert not hook.full


def test_the_servers_bound_holds_for_all_together() -> None:
    world = World(Settings(max_pending=5), Limits(max_pending=5)).start()
    a, b = world.create("a", "PATTERN a* CONCURRENCY 1"), world.create("b", "PATTERN b* CONCURRENCY 1")
    for i in range(4):
        world.write(f"a{i}")
    for i in range(4):
        world.write(f"b{i}")
    world.settle()
    assert (len(a.queue), len(b.queue), world.manager.desk.pending) == (4, 2, 6), "b has its half at least"
    assert world.balance(a) and world.balance(b)


def test_the_log_tells_of_drops_but_is_not_flooded(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.manager.pause(world.create(options="MAX_PENDING 1"), True)
    for _ in range(50):
        world.write("k")
    world.settle()
    assert [r.getMessage() for r in caplog.records] == ["webhook w: queue full, dropping events (1 so far)"]
    world.advance(10_000)
    world.write("k")
    world.settle()
    assert caplog.records[-1].getMessage().endswith("(50 so far)")


def test_dead_letters_are_bounded() -> None:
    world = World(Settings(max_dead=3)).start()
    hook = world.create(options="RETRIES 0 MAX_PENDING 9999")
    for i in range(5):
        world.write(f"k{i}")
    world.settle()
    while hook.queue:
        for _ in list(world.flying):
            world.answer(FAILURE)
            if hook.circuit.open:
                world.manager.update(hook, [b"URL", b"http://x%d/" % hook.counters.dead])
    assert (list(hook.dead), hook.counters.dead) == ([3, 4, 5], 5)


def test_coalesce_keeps_the_latest(world: World) -> None:
    hook = world.create(options="COALESCE true")
    for i in range(5):
        world.write("k", b"%d" % i)
        world.settle()
    assert len(hook.queue) == 2, "one in flight, the latest behind it"
    world.crash()
    hook = world.manager.find(b"w", "default")
    [latest] = world.answer_all()  # nobody knows of the request that was in flight: that event gives way, too
    assert (latest.json["data"]["value"], latest.json["metadata"]["coalesced"]) == ("4", 4)
    assert hook.counters.coalesced == 4 and world.balance(hook)
    world.crash()
    hook = world.manager.find(b"w", "default")
    assert len(hook.queue) == 0 and hook.counters.coalesced == 4 and world.balance(hook)


def test_coalesce_leaves_alone_what_was_tried_before_a_restart(world: World) -> None:
    world.create(options="COALESCE true")
    world.write("k", b"tried")
    world.settle()
    world.answer(FAILURE)
    world.crash()
    world.write("k", b"new")
    world.advance(1000)
    assert [s.json["data"]["value"] for s in world.answer_all()] == ["tried", "new"]


def test_a_replayed_event_takes_no_newer_ones_place(world: World) -> None:
    hook = world.create(options="COALESCE true RETRIES 0")
    world.write("k", b"old")
    world.settle()
    world.answer(FAILURE)
    world.manager.pause(hook, True)
    world.write("k", b"new")
    world.settle()
    assert world.manager.replay_dead(hook) == 1
    world.manager.pause(hook, False)
    assert [s.json["data"]["value"] for s in world.answer_all()] == ["new", "old"]
    assert world.balance(hook)


def test_coalesce_in_batches(world: World) -> None:
    hook = world.create(options="COALESCE true BATCH true BATCH_INTERVAL 100")
    for i in range(3):
        world.write("a", b"%d" % i)
        world.write("b", b"%d" % i)
    world.advance(100)
    assert [e["data"]["value"] for e in world.answer(OK).events] == ["2", "2"]
    assert world.balance(hook)
