"""Every WEBHOOK command once, end to end: a real server process, real requests, over the wire."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis.asyncio
from process import ServerProcess
from receiver import Receiver, Reply
from redis.exceptions import ResponseError

from ferrite_hooks import verify_signature


class Site:
    """A server, a receiver and a client of the server."""

    def __init__(self, server: ServerProcess, receiver: Receiver) -> None:
        self.server, self.receiver = server, receiver
        self.client = redis.asyncio.Redis(port=server.port, protocol=3, decode_responses=True)

    async def __call__(self, *words: str | int) -> Any:
        return await self.client.execute_command(*words)

    async def create(self, name: str, *options: str) -> Any:
        fast = () if "RETRIES" in options else ("RETRY_DELAY", "20")
        url = self.receiver.url(f"/{name}")
        return await self("WEBHOOK.CREATE", name, url, "PATTERN", f"{name}:*", *fast, *options)

    async def until(self, holds: Callable[[Any], bool], *words: str) -> Any:
        """Asks again until the reply is right."""
        deadline = time.monotonic() + 10
        while not holds(reply := await self(*words)):
            assert time.monotonic() < deadline, reply
            await asyncio.sleep(0.02)
        return reply

    async def settled(self, name: str) -> Any:
        """STATS once nothing is pending."""
        return await self.until(lambda stats: stats["pending_deliveries"] == 0, "WEBHOOK.STATS", name)

    def bodies(self, name: str) -> list[Any]:
        return [json.loads(request.body) for request in self.receiver.to(f"/{name}")]


@pytest.fixture(scope="module", params=[0, 1], ids=["loop", "process"])
def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Any:
    processes = f"webhooks.delivery.sender_processes={request.param}"
    with ServerProcess(tmp_path_factory.mktemp("operations") / "data", "--set", processes) as running:
        yield running


@pytest.fixture
async def site(server: ServerProcess) -> AsyncIterator[Site]:
    async with Receiver() as receiver:
        made = Site(server, receiver)
        yield made
        names = [webhook["name"] for webhook in await made("WEBHOOK.LIST")]
        if names:
            await made("WEBHOOK.DELETE", *names)
        await made.client.aclose()


async def test_dead_letters_and_their_replay(site: Site) -> None:
    await site.create("dead", "RETRIES", "0", "CONCURRENCY", "1")
    site.receiver.script("/dead", *[Reply(500, body=b"no")] * 4)
    for n in range(4):
        await site("SET", f"dead:{n}", n)
    letters = await site.until(lambda found: len(found) == 4, "WEBHOOK.DEAD", "dead")
    assert [letter["key"] for letter in letters] == ["dead:3", "dead:2", "dead:1", "dead:0"]
    assert (letters[0]["http_status"], letters[0]["reason"]) == (500, "retries exhausted: HTTP 500")
    assert len(await site("WEBHOOK.DEAD", "dead", "COUNT", "1")) == 1
    assert await site("WEBHOOK.REPLAY", "dead", "EVENT", letters[1]["event_id"]) == 1
    await site.receiver.wait(5)
    assert site.bodies("dead")[-1]["id"] == letters[1]["event_id"]
    assert await site("WEBHOOK.PURGE", "dead", "DEAD") == 3
    assert await site("WEBHOOK.REPLAY", "dead", "DEAD") == 0
    stats = await site.settled("dead")
    assert (stats["successful_deliveries"], stats["failed_deliveries"], stats["requests"]) == (1, 4, 5)


async def test_replay_by_time_and_of_single_events(site: Site) -> None:
    await site.create("past")
    for value in "abc":
        await site("SET", "past:k", value)
        await asyncio.sleep(0.01)
    await site.receiver.wait(3)
    sent = site.bodies("past")
    moments = [body["timestamp"] for body in sent]
    assert await site("WEBHOOK.REPLAY", "past", "SINCE", moments[1], "UNTIL", moments[1]) == 1
    assert await site("WEBHOOK.REPLAY", "past", "EVENT", sent[0]["id"], sent[2]["id"]) == 2
    await site.receiver.wait(6)
    assert sorted(body["id"] for body in site.bodies("past")[3:]) == sorted(body["id"] for body in sent)
    await site.settled("past")
    assert await site("WEBHOOK.REPLAY", "past", "SINCE", "0") == 3
    with pytest.raises(ResponseError, match="no event id of this server"):
        await site("WEBHOOK.REPLAY", "past", "EVENT", "evt_0")


async def test_pause_purge_resume_disable(site: Site) -> None:
    await site.create("held")
    assert await site("WEBHOOK.PAUSE", "held")
    for n in range(5):
        await site("SET", f"held:{n}", n)
    info = await site("WEBHOOK.INFO", "held")
    assert (info["status"], info["pending"], len(site.receiver.requests)) == ("paused", 5, 0)
    assert await site("WEBHOOK.PURGE", "held") == 5
    await site("SET", "held:6", "kept")
    assert await site("WEBHOOK.RESUME", "held")
    await site.receiver.wait(1)
    assert [body["key"] for body in site.bodies("held")] == ["held:6"]
    await site("WEBHOOK.DISABLE", "held")
    await site("SET", "held:7", "lost")
    await site("WEBHOOK.ENABLE", "held")
    await site("SET", "held:8", "seen")
    await site.receiver.wait(2)
    assert site.bodies("held")[-1]["key"] == "held:8"
    stats = await site.settled("held")
    assert (stats["matched"], stats["purged"], stats["successful_deliveries"]) == (7, 5, 2)


async def test_a_rotation_signs_with_both_keys(site: Site) -> None:
    old = (await site.create("signed", "SECRET", "GENERATE"))["secret"]
    new = (await site("WEBHOOK.ROTATE", "signed", "OVERLAP", "60"))["secret"]
    public = (await site("WEBHOOK.CREATE", "v1a", site.receiver.url("/v1a"), "SECRET", "GENERATE_V1A"))["public_key"]
    await site("SET", "signed:1", "v")
    await site.receiver.wait(2)
    [request] = site.receiver.to("/signed")
    for secret in (old, new):
        verify_signature(request.body, request.headers, secret)
    [request] = site.receiver.to("/v1a")
    verify_signature(request.body, request.headers, public)
    await site("WEBHOOK.ROTATE", "signed", "OVERLAP", "0")
    assert (await site("WEBHOOK.INFO", "signed"))["old_secret_until"] is None
    await site("SET", "signed:2", "v")
    await site.receiver.wait(4)
    with pytest.raises(ValueError):
        verify_signature(site.receiver.to("/signed")[1].body, site.receiver.to("/signed")[1].headers, new)


async def test_deliveries_by_page_and_status(site: Site) -> None:
    await site.create("paged", "RETRIES", "1", "RETRY_DELAY", "10")
    site.receiver.script("/paged", Reply(503, body=b"lat\xffer"), Reply(), Reply(), Reply(500), Reply(500))
    for n in range(3):
        await site("SET", f"paged:{n}", n)
        await site.until(lambda s: s["pending_deliveries"] == 0, "WEBHOOK.STATS", "paged")
    rows = await site("WEBHOOK.DELIVERIES", "paged")
    assert [(row["key"], row["attempt"], row["status"], row["http_status"]) for row in rows] == [
        ("paged:2", 2, "dead", 500), ("paged:2", 1, "retrying", 500), ("paged:1", 1, "delivered", 200),
        ("paged:0", 2, "delivered", 200), ("paged:0", 1, "retrying", 503),
    ]  # fmt: skip
    assert rows[4]["response_body"] == "lat\ufffder" and rows[4]["next_attempt_at"]
    pages, before = [], ()
    while page := await site("WEBHOOK.DELIVERIES", "paged", "COUNT", "2", *before):
        pages += page
        before = ("BEFORE", page[-1]["id"])
    assert pages == rows
    dead = await site("WEBHOOK.DELIVERIES", "paged", "STATUS", "dead")
    assert [row["delivery_id"] for row in dead] == [rows[0]["delivery_id"]]
    stats = await site("WEBHOOK.STATS", "paged")
    assert 0 < stats["p50_latency_ms"] <= stats["p99_latency_ms"] < 5000
    for name in ("avg_latency_ms", "p50_latency_ms", "p99_latency_ms"):
        assert len(str(stats[name]).partition(".")[2]) <= 3, "short decimals"
    assert stats["matched"] == sum(
        stats[n] for n in ("successful_deliveries", "pending_deliveries", "dead", "dropped", "coalesced", "purged")
    )


async def test_a_test_event_goes_past_the_queue(site: Site) -> None:
    await site.create("probe")
    await site("WEBHOOK.PAUSE", "probe")
    told = await site("WEBHOOK.TEST", "probe")
    assert (told["status"], told["http_status"], told["error"]) == ("delivered", 200, "")
    assert site.bodies("probe")[0]["id"] == told["event_id"]
    await site.receiver.refuse()
    told = await site("WEBHOOK.TEST", "probe")
    assert (told["status"], told["http_status"]) == ("failed", 0) and "refused" in told["error"]


async def test_events_about_webhooks_reach_those_who_ask_for_them(site: Site) -> None:
    await site("WEBHOOK.CREATE", "ops", site.receiver.url("/ops"), "EVENTS", "webhook.*")
    site.receiver.script("/flaky", Reply(410))
    await site.create("flaky")
    await site("WEBHOOK.UPDATE", "flaky", "TIMEOUT", "900")
    await site("SET", "flaky:1", "v")
    info = await site.until(lambda info: info["status"] == "disabled", "WEBHOOK.INFO", "flaky")
    assert info["disabled_reason"] == "the endpoint is gone (410)"
    await site("WEBHOOK.DELETE", "flaky")
    await site.receiver.wait(5, path="/ops")
    assert {body["event"] for body in site.bodies("ops")} == {
        "webhook.created", "webhook.updated", "webhook.delivery.exhausted", "webhook.disabled", "webhook.deleted",
    }  # fmt: skip
    assert {body["data"]["value"]["webhook"] for body in site.bodies("ops")} == {"flaky"}


async def test_the_circuit_opens_spares_the_endpoint_and_closes(site: Site) -> None:
    await site.create("broken", "RETRIES", "100", "CONCURRENCY", "8")
    await site.receiver.refuse()
    for n in range(20):
        await site("SET", f"broken:{n}", n)
    await site.until(lambda info: info["circuit"] != "closed", "WEBHOOK.INFO", "broken")
    await site.receiver.accept()
    stats = await site.settled("broken")
    assert (stats["successful_deliveries"], stats["dead"]) == (20, 0)
    assert (await site("WEBHOOK.INFO", "broken"))["circuit"] == "closed"


async def test_tenants_over_the_wire(site: Site) -> None:
    await site("ACL", "SETUSER", "ann", "on", ">pw", "~ann:*", "+@all", "-@admin")
    ann = redis.asyncio.Redis(port=site.server.port, username="ann", password="pw", protocol=3, decode_responses=True)
    try:
        await ann.execute_command("WEBHOOK.CREATE", "anns", site.receiver.url("/anns"))
        await site.create("mine")
        assert [w["name"] for w in await ann.execute_command("WEBHOOK.LIST")] == ["anns"]
        for words in (["UPDATE", "mine", "RETRIES", "1"], ["TEST", "mine"], ["DELIVERIES", "mine"], ["DEAD", "mine"],
                      ["ROTATE", "mine"], ["PURGE", "mine"], ["REPLAY", "mine", "SINCE", "0"]):  # fmt: skip
            with pytest.raises(ResponseError, match="no such webhook 'mine'"):
                await ann.execute_command(f"WEBHOOK.{words[0]}", *words[1:])
        assert len(await site("WEBHOOK.LIST")) == 2, "an administrator sees all"
        await site("SET", "secret:1", "not for ann")
        await site("SET", "ann:1", "a")
        await site.receiver.wait(1, path="/anns")
        await site("ACL", "SETUSER", "ann", "resetkeys", "~other:*")
        await site("SET", "ann:1", "b")
        await site("SET", "other:1", "c")
        await site.receiver.wait(2, path="/anns")
        assert [body["key"] for body in site.bodies("anns")] == ["ann:1", "other:1"]
        await site.settled("anns")
        assert await ann.execute_command("WEBHOOK.REPLAY", "anns", "SINCE", "0") == 1, "ann:1 is no longer hers"
        await site.receiver.wait(3, path="/anns")
        await site("CONFIG", "SET", "webhooks.max_user_webhooks", "1")
        with pytest.raises(ResponseError, match="at most 1 webhooks of a user"):
            await ann.execute_command("WEBHOOK.CREATE", "more", site.receiver.url("/more"))
        await site("CONFIG", "SET", "webhooks.max_user_webhooks", "0")
        await site("ACL", "DELUSER", "ann")
        await site("SET", "other:1", "d")
        info = await site("WEBHOOK.INFO", "anns")
        assert (info["owner"], info["status"], info["disabled_reason"]) == ("ann", "active", "its owner was deleted")
        assert len(site.bodies("anns")) == 3
    finally:
        await ann.aclose()
