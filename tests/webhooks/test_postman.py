"""Sender processes, real ones: the same requests, and nothing lost when one dies, hangs or is told to go."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from receiver import Receiver, Reply

from ferrite_hooks.messagepack import Messages, unpack
from ferrite_hooks.webhooks import postman as postman_file
from ferrite_hooks.webhooks.courier import Terms
from ferrite_hooks.webhooks.guard import Rules
from ferrite_hooks.webhooks.model import Change, Errand, Outcome, Stage, Webhook
from ferrite_hooks.webhooks.postman import (
    CHUNK,
    DEATHS,
    HIGH_WATER,
    SLACK,
    SMALL_BYTES,
    SMALL_COUNT,
    Carrier,
    Flight,
    Postman,
    is_small,
    processes_for,
)
from ferrite_hooks.webhooks.sending import POST, packed_errand, packed_terms, unpack_errand
from ferrite_hooks.webhooks.sending import TERMS as TERMS_MESSAGE

TERMS = Terms("00000000")
SECRET = "whsec_c2VjcmV0c2VjcmV0"
NOW = 1_700_000_000_000
WRITTEN: tuple[Any, ...] = (  # what a change can hold, see model.py
    None, b"v", b"\xff",
    ("hash", [b"f", b"\xff", b"g", None]), ("list", [b"e"]), ("set", [b"m"]), ("zset", [b"m", 1.5, b"n", None]),
    ("stream", [b"1-1", b"f", b"v"]), ("key", b"new"), ("stub", "list", 7), ("bulk", 70_000), ("json", b"[1]"),
)  # fmt: skip


def change(position: int, value: Any = b"v") -> Change:
    return Change(position, NOW, 0, "set", b"k%d" % position, value, None, 0, "SET", 1, "127.0.0.1", 0, (1,))


class Office:
    """A postman whose loop has just sent something, so that it leaves the rest to processes; and what its errands have
    come to."""

    def __init__(self, processes: int, url: str) -> None:
        self.postman = Postman(asyncio.get_running_loop(), TERMS, processes, nice=3, logs=("error", "text"))
        self.postman._own_at = NOW
        self.webhook = Webhook(serial=1, name="w", url=url, secret=SECRET)
        self.outcomes: dict[int, Outcome] = {}

    async def ready(self) -> Office:
        self.postman.prepare()
        await self.until(lambda: len(self.postman.ready) == self.postman._wanted)
        return self

    async def until(self, holds: Callable[[], bool], seconds: float = 20) -> None:
        async with asyncio.timeout(seconds):
            while not holds():
                await asyncio.sleep(0.005)

    def post(self, position: int, value: Any = b"v", webhook: Webhook | None = None, now: int = NOW) -> None:
        errand = Errand(webhook or self.webhook, 1, now, [(change(position, value), 0)])

        def done(outcome: Outcome) -> None:
            assert position not in self.outcomes, "an errand has one outcome"
            self.outcomes[position] = outcome

        self.postman.post(errand, done)

    async def outcome(self, position: int) -> Outcome:
        await self.until(lambda: position in self.outcomes)
        return self.outcomes[position]

    @property
    def process(self) -> int:
        """The pid of the only one."""
        [carrier] = self.postman.ready
        assert carrier._process is not None
        return carrier._process.pid


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as running:
        yield running


@pytest.fixture(params=[0, 1], ids=["loop", "process"])
async def anyone(receiver: Receiver, request: pytest.FixtureRequest) -> AsyncIterator[Office]:
    """The loop, or one process: there is no difference."""
    made = await Office(request.param, receiver.url("/hook")).ready()
    yield made
    await made.postman.close(0)


@pytest.fixture
async def office(receiver: Receiver) -> AsyncIterator[Office]:
    made = await Office(1, receiver.url("/hook")).ready()
    yield made
    await made.postman.close(0)


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# -- the same from everywhere ----------------------------------------------------------------------------------


async def test_requests_are_the_same_bytes_wherever_they_are_made(receiver: Receiver) -> None:
    found = []
    for processes in (0, 1):
        office = await Office(processes, receiver.url("/hook")).ready()
        batch = replace(office.webhook, serial=2, batch=True, headers=(("X-Own", "1"),), auth="Bearer t0ken")
        for position, written in enumerate(WRITTEN):
            office.post(position, written, batch if position % 2 else None)
        for position in range(len(WRITTEN)):
            assert (await office.outcome(position)).delivered
        await office.postman.close(1)
        sent = sorted((r.body, sorted(r.headers.items())) for r in receiver.requests)
        deliveries = {n: outcome.delivery for n, outcome in office.outcomes.items()}
        found.append((sent, deliveries))
        receiver.requests.clear()
    assert found[0] == found[1]
    assert len(found[0][0]) == len(WRITTEN) and all(found[0][1].values())


async def test_what_comes_back(receiver: Receiver, anyone: Office) -> None:
    receiver.script("/hook", Reply(503, (("Retry-After", "7"),), b"we saw " + SECRET.encode()), Reply(204))
    anyone.post(1)
    first = await anyone.outcome(1)
    assert (first.stage, first.status, first.retry_after) == (Stage.STATUS, 503, "7")
    assert first.body == b"we saw (hidden)" and first.latency_ms > 0
    assert first.delivery == receiver.requests[0].headers["x-ferrite-delivery"]
    anyone.post(2)
    assert (await anyone.outcome(2)).status == 204
    await receiver.refuse()
    anyone.post(3)
    assert (await anyone.outcome(3)).stage is Stage.CONNECT


async def test_what_cannot_be_rendered_is_an_outcome(anyone: Office, caplog: pytest.LogCaptureFixture) -> None:
    anyone.post(1, ("nonsense", [b"x"]))
    anyone.post(2)
    outcome = await anyone.outcome(1)
    assert (outcome.stage, outcome.error) == (Stage.RENDER, "cannot be rendered: KeyError")
    assert (await anyone.outcome(2)).delivered


async def test_what_no_message_can_hold_is_an_outcome(office: Office) -> None:
    office.post(1, object())
    assert (await office.outcome(1)).stage is Stage.RENDER
    office.post(2)
    assert (await office.outcome(2)).delivered
    assert office.postman.restarts == 0


async def test_changed_terms_and_definitions_hold_from_then_on(receiver: Receiver, anyone: Office) -> None:
    anyone.post(1)
    assert (await anyone.outcome(1)).delivered
    anyone.post(2, webhook=replace(anyone.webhook, name="renamed"))
    await anyone.outcome(2)
    assert receiver.requests[-1].headers["x-ferrite-webhook"] == "renamed"
    anyone.postman.change(TERMS._replace(rules=Rules(block_private_networks=True)))
    anyone.post(3)
    outcome = await anyone.outcome(3)
    assert outcome.stage is Stage.CONNECT and "not allowed (block_private_networks)" in outcome.error
    anyone.postman.change(TERMS._replace(max_value_bytes=10))
    anyone.post(4, b"x" * 11)
    assert (await anyone.outcome(4)).delivered
    assert b'"truncated":true' in receiver.requests[-1].body


async def test_a_process_keeps_a_bounded_number_of_definitions(
    receiver: Receiver, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postman_file, "KNOWN_HOOKS", 2)
    hooks = [replace(office.webhook, serial=n, name=f"w{n}") for n in range(1, 6)]
    for position in range(20):
        office.post(position, webhook=hooks[position % 5])
    for position in range(20):
        assert (await office.outcome(position)).delivered
    [carrier] = office.postman.ready
    assert len(carrier._hooks) <= 2
    names = [request.headers["x-ferrite-webhook"] for request in receiver.requests]
    assert sorted(names) == sorted([f"w{n}" for n in range(1, 6)] * 4)


async def test_processes_give_way_to_us(office: Office) -> None:
    assert os.getpriority(os.PRIO_PROCESS, office.process) == min(os.getpriority(os.PRIO_PROCESS, 0) + 3, 19)
    assert os.getsid(office.process) == os.getsid(0), "nice values count within a session only"


def test_secrets_go_by_the_socket_only(tmp_path: Path) -> None:
    async def look() -> None:
        async with Receiver() as receiver:
            office = await Office(1, receiver.url("/hook")).ready()
            office.post(1)
            assert (await office.outcome(1)).delivered
            for file in ("cmdline", "environ"):
                assert SECRET.encode() not in Path(f"/proc/{office.process}/{file}").read_bytes()
            await office.postman.close(0)

    asyncio.run(look())


def test_messages_keep_what_is_in_them() -> None:
    errand = Errand(Webhook(serial=7, name="w", url="u"), 3, 5, [(change(1, ("zset", [b"m", 1.5])), 2)])
    [(post, packed), (terms, packed_too)] = Messages().feed(packed_errand(9, errand) + packed_terms(TERMS))
    assert (post, unpack_errand(packed)) == (POST, (9, 7, 3, 5, errand.events))
    assert (terms, unpack(packed_too)[0]) == (TERMS_MESSAGE, "00000000")


# -- dying -----------------------------------------------------------------------------------------------------


async def test_what_a_killed_process_had_is_sent_again_with_the_same_ids(receiver: Receiver, office: Office) -> None:
    receiver.script("/hook", *[Reply(fault="hang")] * 3)
    for position in range(3):
        office.post(position)
    await receiver.wait(3)
    os.kill(office.process, signal.SIGKILL)
    await office.until(lambda: not office.postman.ready)
    office.post(3)  # the loop sends it: nobody else is there
    assert (await office.outcome(3)).delivered
    for position in range(3):
        assert (await office.outcome(position)).delivered
    assert office.postman.restarts == 1
    deliveries = [request.headers["x-ferrite-delivery"] for request in receiver.requests]
    assert sorted(deliveries.count(id) for id in set(deliveries)) == [1, 2, 2, 2]


async def test_others_take_over_what_a_killed_process_had(receiver: Receiver) -> None:
    office = await Office(2, receiver.url("/hook")).ready()
    receiver.script("/hook", *[Reply(fault="hang")] * 4)
    for position in range(4):
        office.post(position)
    await receiver.wait(4)
    home = max(office.postman.ready, key=len)
    assert home._process is not None
    home._process.kill()
    await office.until(lambda: len(office.outcomes) == 4)
    assert all(outcome.delivered for outcome in office.outcomes.values())
    await office.until(lambda: len(office.postman.ready) == 2)
    await office.postman.close(0)


async def test_an_errand_that_kills_its_process_again_and_again_has_failed(
    receiver: Receiver, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postman_file, "LONGEST_PAUSE", 0.0)
    receiver.default = Reply(fault="hang")
    office.post(1)
    for deaths in range(1, DEATHS + 1):
        await receiver.wait(deaths)
        os.kill(office.process, signal.SIGKILL)
    outcome = await office.outcome(1)
    assert (outcome.stage, outcome.error) == (Stage.SEND, f"{DEATHS} sender processes died with this request")
    assert outcome.delivery == receiver.requests[0].headers["x-ferrite-delivery"]
    assert len(receiver.requests) == DEATHS


async def test_without_another_process_an_errand_that_one_died_with_has_failed(
    receiver: Receiver, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it is tried again, by whoever is there then; what the process had not seen yet is sent by the loop."""
    receiver.script("/hook", Reply(fault="hang"))
    office.post(1)
    await receiver.wait(1)
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    [carrier] = office.postman.ready
    carrier.pause_writing()
    office.post(2)
    os.kill(office.process, signal.SIGKILL)
    outcome = await office.outcome(1)
    assert (outcome.stage, outcome.error) == (Stage.SEND, "1 sender process died with this request")
    assert (await office.outcome(2)).delivered


async def test_a_process_that_hangs_is_killed(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(postman_file, "WATCH_SECONDS", 0.02)
    monkeypatch.setattr(postman_file, "HANGS_SECONDS", 0.1)
    office = await Office(1, receiver.url("/hook")).ready()
    os.kill(office.process, signal.SIGSTOP)
    office.post(1, webhook=replace(office.webhook, timeout_ms=1000))
    assert (await office.outcome(1)).delivered
    assert office.postman.restarts == 1 and "has not answered" in caplog.text
    await office.postman.close(0)


async def test_without_a_process_the_loop_sends(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    office = Office(2, receiver.url("/hook"))
    office.postman.prepare()
    await office.until(lambda: office.postman.restarts > 2)
    office.post(1)
    assert (await office.outcome(1)).delivered
    assert "cannot be started: No such file or directory" in caplog.text
    await office.postman.close(5)


async def test_a_full_socket_is_not_written_to(receiver: Receiver, office: Office) -> None:
    os.kill(office.process, signal.SIGSTOP)
    [carrier] = office.postman.ready
    value = b"x" * 60_000
    for position in range(100):
        office.post(position, value)
        await asyncio.sleep(0)
    transport = carrier._transport
    assert transport is not None
    await office.until(lambda: not carrier._scheduled)
    assert transport.get_write_buffer_size() <= HIGH_WATER + CHUNK + 2 * len(value)
    assert len(carrier) == 100 and len(carrier._waiting) > 50, "the rest waits as it is"
    os.kill(office.process, signal.SIGCONT)
    await office.until(lambda: len(office.outcomes) == 100)
    assert all(outcome.delivered for outcome in office.outcomes.values())
    assert len({request.body for request in receiver.requests}) == 100


# -- ending ----------------------------------------------------------------------------------------------------


async def test_closing_lets_requests_end_and_then_ends_the_process(receiver: Receiver, anyone: Office) -> None:
    receiver.script("/hook", Reply(delay=0.2), Reply(fault="hang"))
    pids = [carrier._process.pid for carrier in anyone.postman.ready if carrier._process]
    anyone.post(1)
    await receiver.wait(1)
    anyone.post(2)
    await receiver.wait(2)
    await anyone.postman.close(0.5)
    assert anyone.outcomes[1].delivered
    assert anyone.outcomes[2].stage is Stage.CUT
    anyone.post(3)
    await asyncio.sleep(0)
    assert 3 not in anyone.outcomes and not any(map(exists, pids))


async def test_a_process_that_hangs_does_not_hold_up_the_end(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postman_file, "LEAVE_SECONDS", 0.1)
    pid = office.process
    os.kill(pid, signal.SIGSTOP)
    await office.postman.close(0.0)
    assert not exists(pid)


async def test_signals_to_the_whole_group_do_not_reach_the_requests(receiver: Receiver, office: Office) -> None:
    pid = office.process
    assert os.getpgid(pid) == pid != os.getpgid(0), "a terminal's Ctrl-C is for its own group"
    receiver.script("/hook", Reply(delay=0.1))
    office.post(1)
    await receiver.wait(1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, number)
    assert (await office.outcome(1)).delivered
    assert office.process == pid and office.postman.restarts == 0


# -- who gets what ---------------------------------------------------------------------------------------------


async def test_a_webhook_has_a_home_and_moves_out_only_when_that_is_busy() -> None:
    office = Office(0, "http://127.0.0.1:9/")
    carriers = office.postman.ready = [Carrier(office.postman) for _ in range(3)]
    for position in range(SLACK + 1):
        office.post(position, webhook=replace(office.webhook, serial=4))
    assert [len(carrier) for carrier in carriers] == [0, SLACK + 1, 0]
    for position in range(100):
        office.post(position, webhook=replace(office.webhook, serial=4))
    counts = [len(carrier) for carrier in carriers]
    assert max(counts) - min(counts) <= SLACK + 1
    office.postman.ready = []


async def test_the_loop_sends_one_in_a_millisecond_that_nothing_is_ahead_of(receiver: Receiver, office: Office) -> None:
    [carrier] = office.postman.ready
    os.kill(office.process, signal.SIGSTOP)
    office.post(1, now=NOW + 1)
    assert (await office.outcome(1)).delivered
    office.post(2, now=NOW + 2)
    assert (await office.outcome(2)).delivered, "the clock has moved on"
    office.post(3, now=NOW + 2)
    assert len(carrier) == 1, "one in a millisecond"
    office.post(4, now=NOW + 3)
    assert len(carrier) == 2, "another one is ahead"
    os.kill(office.process, signal.SIGCONT)
    assert (await office.outcome(3)).delivered and (await office.outcome(4)).delivered


@pytest.mark.parametrize(
    ("fields", "attempt", "value", "small"),
    [
        ({}, 1, b"v", True),
        ({}, 1, ("hash", [b"f", b"x" * SMALL_BYTES]), False),
        ({}, 1, ("list", [b""] * SMALL_COUNT), True),
        ({}, 1, ("list", [b""] * (SMALL_COUNT + 1)), False),
        ({}, 1, ("stub", "list", 7), True),
        ({}, 1, b"x" * SMALL_BYTES, True),
        ({}, 1, b"x" * (SMALL_BYTES + 1), False),
        ({}, 2, b"v", False),
        ({"url": "https://x/"}, 1, b"v", False),
        ({"batch": True}, 1, b"v", False),
        ({"secret": "whsk_AAAA"}, 1, b"v", False),
    ],
)
def test_what_is_small_work(fields: dict[str, Any], attempt: int, value: Any, small: bool) -> None:
    webhook = replace(Webhook(serial=1, name="w", url="http://x/", secret=SECRET), **fields)
    assert is_small(Errand(webhook, attempt, NOW, [(change(1, value), 0)])) is small


async def test_what_is_stranded_waits_for_the_next_process() -> None:
    office = Office(0, "http://127.0.0.1:9/")
    dead, alive = Carrier(office.postman), Carrier(office.postman)
    errand = Errand(office.webhook, 1, NOW, [(change(1), 0)])
    office.postman.died(dead, [Flight(errand, lambda outcome: None)])
    office.postman.arrived(alive)
    assert len(alive) == 1
    office.postman.ready = []


def test_how_many_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [processes_for(n) for n in (0, 1, 7)] == [0, 1, 7]
    for cores, processes in ((1, 1), (2, 1), (3, 2), (64, 4)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, cores=cores: set(range(cores)), raising=False)
        assert processes_for(-1) == processes
