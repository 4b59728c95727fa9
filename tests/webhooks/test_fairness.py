"""What is scarce is shared: connections and room for events, between webhooks and between users."""

from __future__ import annotations

import pytest
from msgspec import structs
from webhook_world import FAILURE, OK, World

from ferrite_hooks.webhooks.desk import Settings
from ferrite_hooks.webhooks.options import Limits, Refusal
from ferrite_hooks.webhooks.payload import without_bulk

# -- connections -----------------------------------------------------------------------------------------------


def names(world: World) -> list[str]:
    return [sent.hook for sent in world.flying]


def test_webhooks_that_hang_leave_connections_for_the_others() -> None:
    world = World(Settings(max_connections=16)).start()
    for name in ("a", "b", "c"):
        world.create(name, f"PATTERN {name}* CONCURRENCY 16")
        for i in range(50):
            world.write(f"{name}{i}")
    world.settle()
    assert len(world.flying) < 16
    assert max(names(world).count(name) for name in "abc") <= 8, "no more than are left over"
    world.create("healthy", "PATTERN h*")
    world.write("h1")
    world.settle()
    assert names(world)[-1] == "healthy", "it need not wait for those that hang"
    world.answer(OK, len(world.flying) - 1)


def test_one_webhook_alone_gets_half_of_them() -> None:
    world = World(Settings(max_connections=16)).start()
    world.create("a", "CONCURRENCY 16")
    for i in range(50):
        world.write(f"k{i}")
    world.settle()
    assert len(world.flying) == 8
    world.answer_all()
    assert world.manager.desk.in_flight == world.manager.desk.pending == 0


def test_when_all_connections_are_taken_every_webhook_has_its_turn() -> None:
    world = World(Settings(max_connections=4)).start()
    for n in range(20):
        world.create(f"w{n}", f"PATTERN w{n}:*")
        for i in range(3):
            world.write(f"w{n}:{i}")
    world.settle()
    assert len(world.flying) == 4
    order = [world.answer().hook for _ in range(60)]
    assert not world.flying and world.manager.desk.pending == 0
    assert len(set(order[:21])) == 20, "the first took two of the four; then nobody was served twice before the last"


def test_a_failing_or_deleted_webhook_gives_its_connections_back() -> None:
    world = World(Settings(max_connections=4)).start()
    hook = world.create("w", "CONCURRENCY 16")
    for i in range(9):
        world.write(f"k{i}")
    world.settle()
    world.answer(FAILURE)
    world.manager.delete(hook)
    while world.flying:
        world.answer(OK)
    assert world.manager.desk.in_flight == 0


def test_tests_are_requests_as_well() -> None:
    world = World(Settings(max_connections=4)).start()
    hook, answers = world.create(), list[object]()
    for _ in range(2):
        world.manager.test(hook, answers.append)
    with pytest.raises(Refusal, match="too many requests"):
        world.manager.test(hook, answers.append)
    world.answer_all()
    assert len(answers) == 2 and world.manager.desk.in_flight == 0
    world.manager.test(hook, answers.append)


# -- room ------------------------------------------------------------------------------------------------------


def test_a_huge_backlog_takes_no_room_from_the_others() -> None:
    world = World(Settings(max_pending=100), Limits(max_pending=100)).start()
    dead, healthy = world.create("dead", "PATTERN d*"), world.create("healthy", "PATTERN h*")
    strict = world.create("strict", "PATTERN s* OVERFLOW reject")
    for hook in (dead, healthy, strict):
        world.manager.pause(hook, True)
    for i in range(300):
        world.write(f"d{i}")
    for i in range(33):
        world.write(f"h{i}")
    world.settle()
    assert (len(dead.queue), dead.counters.dropped) == (100, 200)
    assert (len(healthy.queue), healthy.counters.dropped) == (33, 0)
    assert not strict.full, "nobody's write is refused because another webhook is behind"
    world.write("h34")
    world.settle()
    assert (len(healthy.queue), healthy.counters.dropped) == (33, 1)


def test_the_bounds_hold_after_a_restart() -> None:
    world = World(Settings(max_pending=10), Limits(max_pending=10)).start()
    for name in ("a", "b"):
        world.manager.pause(world.create(name, f"PATTERN {name}*"), True)
        for i in range(20):
            world.write(f"{name}{i}")
    world.settle()
    before = {d.webhook.name: len(d.queue) for d in world.manager.registry}
    world.crash()
    assert {d.webhook.name: len(d.queue) for d in world.manager.registry} == before == {"a": 10, "b": 5}


def test_dead_letters_are_bounded_for_all_together() -> None:
    world = World(Settings(max_dead=10, circuit_failures=1000)).start()
    one, two = world.create("one", "RETRIES 0 PATTERN a*"), world.create("two", "RETRIES 0 PATTERN b*")

    def die(hook: object, key: str, times: int) -> None:
        for _ in range(times):
            world.write(key)
            world.settle()
            world.answer(FAILURE)

    die(one, "a", 20)
    assert (len(one.dead), world.manager.desk.total.dead) == (10, 10)
    die(two, "b", 20)
    assert (len(one.dead), len(two.dead), world.manager.desk.total.dead) == (10, 5, 15)
    world.manager.delete(one)
    assert world.manager.desk.total.dead == 5


def test_long_values_do_not_wait_in_memory() -> None:
    world = World(Settings(max_value_bytes=10)).start()
    hook = world.create(options="FORMAT ferrite")
    world.write("k", b"x" * 11)
    world.settle()
    assert [event.change.new for event in hook.queue.lanes] == [("bulk", 11)]
    world.crash()
    world.settle()
    data = world.answer(OK).json["data"]
    assert (data["value"], data["truncated"], data["size"]) == (None, True, 11)


def test_without_bulk_keeps_what_fits() -> None:
    world = World().start()
    world.create()
    world.write("k", b"x" * 11)
    [change] = world._changes
    assert without_bulk(change, 11) is change
    for long in (("hash", [b"f", b"x" * 11]), ("list", [b"x" * 6, b"y" * 6])):
        assert without_bulk(structs.replace(change, old=long, new=b""), 11).old == ("bulk", 12)


# -- users -----------------------------------------------------------------------------------------------------


def test_quotas_of_users() -> None:
    world = World(Settings(max_user_webhooks=2, max_user_pending=6)).start()
    hooks = [world.create(name, f"PATTERN {name}*", owner="ann") for name in "ab"]
    with pytest.raises(Refusal, match=r"at most 2 webhooks of a user \(webhooks.max_user_webhooks\)"):
        world.create("c", owner="ann")
    others = [world.create(f"x{n}", "PATTERN x*") for n in range(3)]  # an administrator's
    bobs = world.create("bobs", "PATTERN bob*", owner="bob")
    for hook in (*hooks, *others, bobs):
        world.manager.pause(hook, True)
    for key in (*"aaaaaaaa", *"bbbbbbbb", *["x"] * 8, *["bob"] * 5):
        world.write(key)
    world.settle()
    assert [len(hook.queue) for hook in (*hooks, *others, bobs)] == [6, 3, 8, 8, 8, 5]
    assert hooks[0].counters.dropped == 2 and world.balance(hooks[0])
    world.manager.delete(hooks[0])
    world.create("c", owner="ann")


def test_a_deleted_users_webhooks_send_nothing_until_the_user_is_back() -> None:
    world = World().start()
    world.create(owner="ann")
    world.write("k")
    world.deleted.add("ann")
    world.manager.acl_changed({"ann"})
    assert world.write("other") == 0, "nothing is captured"
    world.settle()
    assert not world.flying
    world.crash()
    world.settle()
    assert not world.flying, "nor after a restart"
    world.deleted.clear()
    world.manager.acl_changed({"ann"})
    world.settle()
    assert len(world.answer_all()) == 1


def test_a_replay_gives_nothing_that_the_owner_may_no_longer_read() -> None:
    world = World().start()
    hook = world.create(options="RETRIES 0", owner="ann")
    for key in ("mine", "lost"):
        world.write(key)
    world.settle()
    world.answer_all(FAILURE)
    world.unreadable.add(("ann", b"lost"))
    world.manager.acl_changed({"ann"})
    assert world.manager.replay_dead(hook) == 1
    world.settle()
    assert [sent.json["key"] for sent in world.answer_all()] == ["mine"]
