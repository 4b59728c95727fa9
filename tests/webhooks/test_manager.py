"""The manager: what is done by hand, events of our own and of applications, definitions and who may see them."""

from __future__ import annotations

import pytest
from webhook_world import FAILURE, OK, World

from ferrite_hooks.webhooks.definition import to_plain
from ferrite_hooks.webhooks.desk import Settings
from ferrite_hooks.webhooks.options import Refusal
from ferrite_hooks.webhooks.payload import event_id


@pytest.fixture
def world() -> World:
    return World().start()


# -- by hand ---------------------------------------------------------------------------------------------------


def test_replay_dead_events_and_purge(world: World) -> None:
    hook = world.create(options="RETRIES 0")
    for key in "ab":
        world.write(key)
    world.settle()
    first = world.answer(FAILURE)
    world.answer(FAILURE)
    assert world.manager.replay_events(hook, [first.json["id"]]) == (1, set())
    world.settle()
    again = world.answer(OK)
    assert again.json["id"] == first.json["id"]
    assert list(hook.dead) == [2]
    assert world.manager.replay_dead(hook) == 1
    world.settle()
    world.crash()
    world.settle()
    hook = world.manager.find(b"w", "default")
    assert world.balance(hook) and not hook.dead
    world.answer(FAILURE)
    assert world.manager.purge(hook, dead=True) == 1 and not hook.dead
    world.manager.pause(hook, True)
    world.write("c")
    world.settle()
    assert world.manager.purge(hook, dead=False) == 1
    assert len(hook.queue) == 0 and world.balance(hook)
    world.settle()
    world.crash()
    hook = world.manager.find(b"w", "default")
    assert (len(hook.queue), len(hook.dead)) == (0, 0)


def test_what_is_pending_is_not_queued_twice(world: World) -> None:
    hook = world.create()
    world.manager.pause(hook, True)
    world.write("k")
    world.settle()
    changes = [event.change for event in hook.queue.lanes]
    assert world.manager.requeue(hook, changes) == 0
    assert len(hook.queue) == 1 and world.balance(hook)


def test_no_more_is_replayed_than_there_is_room_for(world: World) -> None:
    hook = world.create(options="RETRIES 0 CONCURRENCY 1")
    for key in "abc":
        world.write(key)
    world.settle()
    for _ in "abc":
        world.answer(FAILURE)
    world.manager.update(hook, b"MAX_PENDING 2".split())
    assert world.manager.replay_dead(hook) == 2
    assert list(hook.dead) == [3] and hook.counters.dropped == 0


@pytest.mark.parametrize("id", ["evt_x", "", event_id("other", 3), "evt_" + "u" * 21, "evt_é"])
def test_replay_of_what_is_no_event(world: World, id: str) -> None:
    hook = world.create()
    with pytest.raises(Refusal):
        world.manager.replay_events(hook, [id])
    assert world.manager.replay_events(hook, [event_id("00000000", 3)]) == (0, {3})


def test_rotation_signs_with_both_secrets_until_it_ends(world: World) -> None:
    hook = world.create(options="SECRET old")
    made = world.manager.rotate(hook, overlap_s=60)
    assert made.startswith("whsec_")
    world.write("a")
    world.settle()
    assert len(world.answer(OK).headers["webhook-signature"].split()) == 2
    world.advance(60_000)
    world.write("a")
    world.settle()
    assert len(world.answer(OK).headers["webhook-signature"].split()) == 1


def test_test_sends_one_event_outside_of_the_queue(world: World) -> None:
    hook = world.create()
    world.manager.disable(hook)
    answers: list[dict[str, object]] = []
    world.manager.test(hook, answers.append)
    sent = world.answer(FAILURE)
    assert answers == [{
        "status": "failed", "http_status": 500, "latency_ms": 5.0, "error": "HTTP 500",
        "event_id": sent.json["id"],
    }]  # fmt: skip
    assert len(hook.queue) == 0 and world.balance(hook)


# -- our own events and application events ----------------------------------------------------------------------


def test_own_events_go_to_others_only(world: World) -> None:
    world.create("ops", "EVENTS webhook.*")
    world.answer_all()
    hook = world.create("w", "RETRIES 0 EVENTS * webhook.*")
    told = world.answer_all()
    world.manager.update(hook, b"RETRIES 1".split())
    told += world.answer_all()
    world.manager.disable(hook)
    world.manager.enable(hook)
    told += world.answer_all()
    world.manager.delete(hook)
    told += world.answer_all()
    assert {s.hook for s in told} == {"ops"}, "a webhook hears nothing about itself"
    assert [s.json["event"] for s in told] == [
        "webhook.created", "webhook.updated", "webhook.disabled", "webhook.enabled", "webhook.deleted",
    ]  # fmt: skip


def test_own_events_stay_with_their_owner(world: World) -> None:
    world.create("anns", "EVENTS webhook.*", owner="ann")
    world.create("bobs", "EVENTS webhook.*", owner="bob")
    world.create("admins", "EVENTS webhook.*")
    world.settle()
    world.flying.clear()
    world.create("new", "EVENTS SET", owner="ann")
    world.settle()
    told = {s.hook for s in world.flying if s.json["data"]["value"]["webhook"] == "new"}
    assert told == {"anns", "admins"}


def test_emit(world: World) -> None:
    world.create(options="EVENTS user.*")
    id = world.manager.emit("user.created", "default", resource="42", data=b'{"b":1,"a":[true]}')
    world.settle()
    sent = world.answer(OK)
    assert (sent.json["id"], sent.json["event"]) == (id, "user.created")
    for name, data in (("SET", b"1"), ("webhook.created", b"1"), ("user.created", b"{")):
        with pytest.raises(Refusal):
            world.manager.emit(name, "default", data=data)


def test_when(world: World) -> None:
    hook = world.create(options="WHEN data.value.status = paid")
    world.write("a", b'{"status":"open"}')
    world.write("b", b'{"status":"paid"}')
    assert [s.json["key"] for s in world.answer_all()] == ["b"]
    assert hook.counters.matched == 1


# -- definitions -----------------------------------------------------------------------------------------------


def test_definitions_survive_and_serials_are_never_reused(world: World) -> None:
    hook = world.create("w", "PATTERN a* EVENTS SET AUTH bearer t HEADER X-A 1 WHEN key = a RATE_LIMIT 3 SECRET s")
    definition = hook.webhook
    gone = world.create("gone")
    world.manager.delete(gone)
    world.settle()
    for through_snapshot in (False, True):
        world.crash(through_snapshot)
        assert world.manager.find(b"w", "default").webhook == definition
        with pytest.raises(Refusal, match="no such webhook 'gone'"):
            world.manager.find(b"gone", "default")
    assert world.create("new").webhook.serial > gone.webhook.serial


def test_refusals_change_nothing() -> None:
    world = World(Settings(max_webhooks=1)).start()
    with pytest.raises(Refusal):
        world.create("w", "BOGUS 1")
    hook = world.create("w")
    for name, options in (("w", ""), ("second", ""), ("a b", "")):
        with pytest.raises(Refusal):
            world.manager.create(name.encode(), b"http://x/", options.encode().split(), "default")
    before = hook.webhook
    with pytest.raises(Refusal):
        world.manager.update(hook, b"EVENTS SET RETRIES x".split())
    assert hook.webhook == before and len(world.manager.registry) == 1


def test_tenants(world: World) -> None:
    world.create("anns", owner="ann")
    with pytest.raises(Refusal, match="no such webhook"):
        world.manager.find(b"anns", "bob")
    assert world.manager.find(b"anns", "ann") is world.manager.find(b"anns", "default")


def test_what_owners_have_is_counted_as_webhooks_come_and_go(world: World) -> None:
    desk = world.manager.desk

    def counted() -> tuple[int, dict[str, int]]:
        return desk.total.webhooks, {owner: account.webhooks for owner, account in desk.accounts.items()}

    for name, owner in (("a1", "ann"), ("b1", "bob"), ("a2", "ann"), ("a3", "ann")):
        world.create(name, owner=owner)
    for gone in ("a2", "b1", "a1"):
        world.manager.delete(world.manager.find(gone.encode(), "default"))
    assert counted() == (1, {"ann": 1})
    world.manager.review()
    assert counted() == (1, {"ann": 1})
    world.settle()
    world.crash()
    desk = world.manager.desk
    assert counted() == (1, {"ann": 1})


def test_permissions_that_went_while_definitions_were_read_count(world: World) -> None:
    hook = to_plain(world.create(owner="ann").webhook)
    other = World()
    other.manager.replay([], [["hook", 1, hook]])
    other.unreadable.add(("ann", b"secret"))
    other.start()
    assert other.write("secret") == 0
    assert other.write("k")
