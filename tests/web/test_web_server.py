"""The HTTP side for operators."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import aiohttp
import pytest
from fakes import Harness
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ferrite_hooks.web import server as web_server
from ferrite_hooks.web.server import Web
from ferrite_hooks.web.store_metrics import StoreCollector


class Watching(Collector):
    """Notes how many turns of the loop each metric was asked for after."""

    def __init__(self) -> None:
        self.turns = 0
        self.asked: list[int] = []

    def collect(self) -> Iterator[Metric]:
        self.asked.clear()
        for number in range(3):
            self.asked.append(self.turns)
            yield GaugeMetricFamily(f"watched_{number}", "A metric.", value=number)

    async def count(self) -> None:
        while True:
            await asyncio.sleep(0)
            self.turns += 1


async def test_commands_run_between_the_metrics_of_a_scrape(harness: Harness) -> None:
    web, watching = Web(harness.engine, lambda: {"ready": True}), Watching()
    web.add(lambda: watching)
    web.start("127.0.0.1", 0, lambda: None)
    counting = asyncio.create_task(watching.count())
    try:
        async with aiohttp.ClientSession() as http:
            answer = await http.get(f"http://127.0.0.1:{web.port}/metrics")
            body = await answer.text()
    finally:
        counting.cancel()
        await web.stop()
    assert len(set(watching.asked)) == 3
    names = [line.split()[2] for line in body.splitlines() if line.startswith("# TYPE")]
    registry = CollectorRegistry()
    registry.register(StoreCollector(harness.engine))
    registry.register(watching)
    whole = generate_latest(registry).decode()
    assert names == [line.split()[2] for line in whole.splitlines() if line.startswith("# TYPE")]


async def test_requests_wait_until_they_can_be_answered(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    imported, import_pages = threading.Event(), web_server._import_pages
    monkeypatch.setattr(web_server, "_import_pages", lambda: imported.wait(30) and import_pages())
    web, served = Web(harness.engine, lambda: {"ready": True}), asyncio.Event()
    web.start("127.0.0.1", 0, served.set)
    reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert not served.is_set()
    imported.set()
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
    assert served.is_set()
    writer.close()
    await web.stop()


async def test_a_stop_need_not_wait_for_a_request(harness: Harness) -> None:
    web = Web(harness.engine, lambda: {"ready": True})
    web.start("127.0.0.1", 0, lambda: None)
    await web.stop()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", web.port)


async def test_what_keeps_metrics_from_being_served_is_said(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ImportError("no aiohttp here")

    monkeypatch.setattr(web_server, "_import_pages", fail)
    web = Web(harness.engine, lambda: {"ready": True})
    web.start("127.0.0.1", 0, lambda: None)
    await web.stop()
    assert "metrics and health cannot be served" in caplog.text and "no aiohttp here" in caplog.text
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", web.port)
