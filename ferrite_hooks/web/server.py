"""The HTTP side for operators: /metrics for Prometheus, /healthz (the process runs) and /readyz (it takes work)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ferrite_hooks.engine.engine import Engine
from ferrite_hooks.web.store_metrics import StoreCollector


class _One(CollectorRegistry):
    """A registry of a metric that has been collected."""

    def __init__(self, metric: Metric) -> None:
        super().__init__()
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric


class Web:
    """Serves on one address. Collectors may be added until it starts."""

    def __init__(self, engine: Engine, health: Callable[[], dict[str, Any]]) -> None:
        self._health = health
        self._registry = CollectorRegistry()
        self._registry.register(StoreCollector(engine))
        self._runner: web.AppRunner | None = None
        self.port = 0

    def add(self, collector: Collector) -> None:
        self._registry.register(collector)

    async def start(self, address: str, port: int) -> None:
        """Raises OSError when the address cannot be used."""
        application = web.Application()
        application.add_routes(
            [
                web.get("/metrics", self._metrics),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, address, port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        # A thousand webhooks make three megabytes: commands run between the metrics, and while each becomes text.
        parts = [await asyncio.to_thread(generate_latest, _One(metric)) for metric in self._registry.collect()]
        return web.Response(body=b"".join(parts), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readyz(self, request: web.Request) -> web.Response:
        health = self._health()
        return web.json_response(health, status=200 if health["ready"] else 503)
