"""A whole server with sender processes: they die, it dies, it is told to stop, its rules change."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
import urllib.request
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from process import ServerProcess
from receiver import Receiver, Reply


class Site:
    """A server with two sender processes, and where it sends."""

    def __init__(self, directory: Path, receiver: Receiver) -> None:
        self.receiver = receiver
        self.server = ServerProcess(directory, "--set", "webhooks.delivery.sender_processes=2", metrics=True)
        self.client = redis.asyncio.Redis()

    async def start(self) -> None:
        await asyncio.to_thread(self.server.start)
        await self.client.aclose()
        self.client = redis.asyncio.Redis(port=self.server.port, protocol=3, decode_responses=True)

    async def __call__(self, *words: str | int) -> Any:
        return await self.client.execute_command(*words)

    async def metric(self, name: str) -> float:
        def scrape() -> str:
            url = f"http://127.0.0.1:{self.server.metrics_port}/metrics"
            with urllib.request.urlopen(url, timeout=10) as answer:
                return str(answer.read().decode())

        lines = (await asyncio.to_thread(scrape)).splitlines()
        [value] = [line.split(" ")[1] for line in lines if line.startswith(f"{name} ")]
        return float(value)

    async def has_senders(self) -> None:
        await until(lambda: len(self.server.senders()) == 2)
        while await self.metric("ferrite_webhook_sender_processes") < 2:
            await asyncio.sleep(0.02)

    async def settled(self) -> None:
        while (await self("WEBHOOK.STATS"))["pending_deliveries"]:
            await asyncio.sleep(0.02)


async def until(holds: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.01)


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with Receiver() as receiver:
        made = Site(tmp_path / "data", receiver)
        await made.start()
        await made("WEBHOOK.CREATE", "w", receiver.url("/hook"), "EVENTS", "SET", "RETRY_DELAY", 20)
        yield made
        await made.client.aclose()
        await asyncio.to_thread(made.server.stop)


async def test_killed_senders_lose_nothing_and_keep_the_order_of_each_key(site: Site) -> None:
    await site.has_senders()
    site.receiver.default = Reply(delay=0.002)
    kills = 3
    for part in range(kills + 1):
        for n in range(50):
            await site.client.mset({f"key:{key}": part * 50 + n for key in range(8)})
        if part < kills:
            await until(lambda part=part: len(site.receiver.requests) > part * 300 + 50)
            victim = site.server.senders()[part % len(site.server.senders())]
            os.kill(victim, signal.SIGKILL)
            await until(lambda victim=victim: victim not in site.server.senders())
    async with asyncio.timeout(60):
        await site.settled()
        assert await site.metric("ferrite_webhook_sender_restarts_total") == kills
    arrived: dict[str, list[int]] = defaultdict(list)
    ids: dict[tuple[str, int], set[str]] = defaultdict(set)
    for request in site.receiver.requests:
        event = json.loads(request.body)
        key, value = event["key"], int(event["data"]["value"])
        ids[key, value].add(event["id"])
        if value not in arrived[key]:
            arrived[key].append(value)
    assert arrived == {f"key:{key}": list(range(50 * (kills + 1))) for key in range(8)}
    assert all(len(found) == 1 for found in ids.values())
    stats = await site("WEBHOOK.STATS", "w")
    assert stats["successful_deliveries"] == 8 * 50 * (kills + 1) and stats["dead"] == 0
    assert "a sender process is gone (signal 9)" in site.server.log()


async def test_senders_do_not_outlive_the_server(site: Site) -> None:
    await site.has_senders()
    site.receiver.default = Reply(fault="hang")
    await site("SET", "k", "v")
    await site.receiver.wait(1)
    senders = site.server.senders()
    await asyncio.to_thread(site.server.kill)
    await until(lambda: not any(map(exists, senders)))


async def test_a_stop_waits_for_requests_and_journals_their_outcomes(site: Site) -> None:
    await site.has_senders()
    site.receiver.default = Reply(delay=0.5)
    await site("SET", "k", "v")
    await site.receiver.wait(1)
    senders = site.server.senders()
    assert await asyncio.to_thread(site.server.stop) == 0
    assert not any(map(exists, senders))
    site.receiver.default = Reply()
    await site.start()
    stats = await site("WEBHOOK.STATS", "w")
    assert (stats["successful_deliveries"], stats["pending_deliveries"]) == (1, 0)
    await site("SET", "k", "again")
    await site.settled()
    assert [json.loads(request.body)["data"]["value"] for request in site.receiver.requests] == ["v", "again"]
    rows = await site("WEBHOOK.DELIVERIES", "w")
    assert [row["delivery_id"] for row in reversed(rows)] == [
        request.headers["x-ferrite-delivery"] for request in site.receiver.requests
    ]


async def test_changed_settings_reach_the_senders(site: Site) -> None:
    await site.has_senders()
    assert (await site("WEBHOOK.TEST", "w"))["status"] == "delivered"
    await site("CONFIG", "SET", "webhooks.security.block_private_networks", "yes")
    refused = await site("WEBHOOK.TEST", "w")
    assert (refused["status"], refused["http_status"]) == ("failed", 0)
    assert "block_private_networks" in refused["error"]
    assert len(site.receiver.requests) == 1
