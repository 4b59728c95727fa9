"""Listening sockets."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from ferrite_hooks.server.listener import bind_tcp, bind_unix, serve

BACKLOG = 211


def loops() -> list[Callable[[], asyncio.AbstractEventLoop]]:
    import uvloop

    return [asyncio.new_event_loop, uvloop.new_event_loop]


def tcp_backlog(listener: socket.socket) -> int:
    """What the kernel says of a listening socket: tcpi_sacked is the longest its queue may be."""
    [longest] = struct.unpack_from("I", listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 28)
    return int(longest)


@pytest.mark.parametrize("make_loop", loops(), ids=["asyncio", "uvloop"])
def test_the_accept_queue_is_as_long_as_configured(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def listening() -> None:
        listener = bind_tcp("127.0.0.1", 0, BACKLOG)
        assert listener is not None
        server = await serve(listener, asyncio.Protocol, BACKLOG)
        longest = tcp_backlog(listener)
        server.close()
        await server.wait_closed()
        assert longest == BACKLOG

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(listening())


@pytest.mark.parametrize("make_loop", loops(), ids=["asyncio", "uvloop"])
def test_so_is_that_of_a_unix_socket(make_loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path) -> None:
    """More clients than the loop's own backlog can connect before any is accepted."""
    clients: list[socket.socket] = []

    async def listening() -> None:
        path = str(tmp_path / "s")
        server = await serve(bind_unix(path, 0o700, BACKLOG), asyncio.Protocol, BACKLOG)
        refused = 0
        for _ in range(BACKLOG):
            client = socket.socket(socket.AF_UNIX)
            clients.append(client)
            client.setblocking(False)
            refused += client.connect_ex(path) != 0
        server.close()
        assert not refused

    try:
        with asyncio.Runner(loop_factory=make_loop) as runner:
            runner.run(listening())
    finally:
        for client in clients:
            client.close()
