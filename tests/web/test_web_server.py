"""The HTTP side for operators."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import aiohttp
from fakes import Harness
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

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
