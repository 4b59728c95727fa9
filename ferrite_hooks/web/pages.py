"""What the HTTP side for operators answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Iterator
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


class Pages:
    def __init__(
        self, engine: Engine, collectors: Iterable[Collector], health: Callable[[], dict[str, Any]]
    ) -> None:
        self._registry = CollectorRegistry()
        for collector in (StoreCollector(engine), *collectors):
            self._registry.register(collector)
        self._health = health

    async def serve(self, listener: socket.socket) -> web.AppRunner:
        """Answers whoever comes to a listening socket, until the runner's cleanup."""
        application = web.Application()
        application.add_routes(
            [
                web.get("/metrics", self._metrics),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
            ]
        )
        runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        return runner

    async def _metrics(self, request: web.Request) -> web.Response:
        # A thousand webhooks make three megabytes: commands run between the metrics, and while each becomes text.
        parts = [await asyncio.to_thread(generate_latest, _One(metric)) for metric in self._registry.collect()]
        return web.Response(body=b"".join(parts), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readyz(self, request: web.Request) -> web.Response:
        health = self._health()
        return web.json_response(health, status=200 if health["ready"] else 503)
