"""The HTTP side for operators: /metrics for Prometheus, /healthz (the process runs) and /readyz (it takes work).

Importing aiohttp and prometheus_client takes as long as all else that a start does together. It is done beside the
start; until then requests wait in the socket's queue.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ferrite_hooks.engine.engine import Engine
from ferrite_hooks.server.listener import open_tcp

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

    from ferrite_hooks.web.pages import Pages

log = logging.getLogger("ferrite_hooks.web")

_BACKLOG = 128


class Web:
    """Serves on one address. Collectors may be added until it starts."""

    def __init__(self, engine: Engine, health: Callable[[], dict[str, Any]]) -> None:
        self._engine = engine
        self._health = health
        self._collectors: list[Callable[[], Collector]] = []
        self._serving: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self.port = 0

    def add(self, collector: Callable[[], Collector]) -> None:
        """What makes one, once what it needs is imported."""
        self._collectors.append(collector)

    def start(self, address: str, port: int, served: Callable[[], object]) -> None:
        """Listens; `served` is called when requests are answered, too. Raises OSError when the address cannot be
        used."""
        listener = open_tcp(address, port, _BACKLOG)
        self.port = listener.getsockname()[1]
        self._serving = asyncio.create_task(self._serve(listener, served))

    async def _serve(self, listener: socket.socket, served: Callable[[], object]) -> None:
        with listener:
            try:
                pages = await asyncio.to_thread(_import_pages)
                collectors = [collector() for collector in self._collectors]
                runner = await pages(self._engine, collectors, self._health).serve(listener)
            except Exception:
                log.exception("metrics and health cannot be served")
                return
            served()
            await self._stopping.wait()
            await runner.cleanup()

    async def stop(self) -> None:
        self._stopping.set()
        if self._serving is not None:
            await self._serving


def _import_pages() -> type[Pages]:
    from ferrite_hooks.web.pages import Pages

    return Pages
