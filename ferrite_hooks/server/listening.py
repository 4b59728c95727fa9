"""What the server listens on, and how that changes while it runs (CONFIG SET, SIGHUP).

A change happens whole or not at all. Sockets that stay are not touched, so nobody in their queues is lost. Those
that go stop listening before the new ones are bound, which may want the same port under another address (or with other
certificates), and listen again if that fails. Clients that have arrived stay, wherever they came in.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from ferrite_hooks.config_keys import Server
from ferrite_hooks.server.listener import ListenError, bind_tcp, bind_unix, serve, spelled, tls_context


class Listener:
    """One listening socket: `place` says where (an address as configured, or a path), and behind which TLS context."""

    __slots__ = ("place", "server", "socket", "taken", "tls")

    def __init__(self, place: tuple[str, int], tls: ssl.SSLContext | None, sock: socket.socket) -> None:
        self.place = place
        self.tls = tls
        self.socket = sock
        self.taken = False  # the loop accepts, or is about to
        self.server: asyncio.Server | None = None

    def close(self) -> None:
        if self.server is not None:
            self.server.close()
        elif self.taken:
            return  # `serve` has it in hand, and closes it
        with suppress(OSError):
            self.socket.close()

    def __str__(self) -> str:
        name = self.socket.getsockname()
        host, port = self.place[0], name[1] if isinstance(name, tuple) else 0
        where = spelled(name[0], port) if port else host
        return f"{where} (TLS)" if self.tls else where


class Listeners:
    def __init__(self, factory: Callable[[], Any]) -> None:
        self.all: list[Listener] = []
        self._factory = factory  # makes what has the methods of asyncio.Protocol
        self._tls: ssl.SSLContext | None = None
        self._path = ""  # of the Unix socket
        self._backlog = 0
        self._serving: asyncio.Task[None] | None = None

    def change(self, server: Server, certificates: bool = True) -> None:
        """Listens where `server` says, and nowhere else; `certificates`: the TLS files are to be read (again). Raises
        ListenError, and then nothing has changed."""
        tls, self._backlog = self._tls, server.tcp_backlog
        if certificates:
            tls = tls_context(server) if server.tls_port else None
        wanted = dict.fromkeys(_places(server, tls))
        going = [listener for listener in self.all if (listener.place, listener.tls) not in wanted]
        staying = [listener for listener in self.all if listener not in going]
        present = {(listener.place, listener.tls) for listener in staying}
        fresh: list[Listener] = []
        for listener in going:
            with suppress(OSError):
                listener.socket.shutdown(socket.SHUT_RDWR)
        try:
            for place, context in wanted:
                if (place, context) not in present:
                    fresh += [Listener(place, context, each) for each in _bind(place, server)]
            if server.bind and (server.port or server.tls_port) and not any(x.place[1] for x in staying + fresh):
                raise ListenError(f"cannot listen: none of {', '.join(server.bind)} exists on this machine")
        except ListenError:
            for listener in fresh:
                listener.close()
            for listener in going:
                listener.socket.listen(server.tcp_backlog)
            raise
        for listener in going:
            listener.close()
        self.all, self._tls, self._path = staying + fresh, tls, server.unixsocket

    async def serve(self) -> None:
        """Accepts clients on what is listened on; those who came before wait in the sockets' queues."""
        for listener in list(self.all):
            if not listener.taken:
                listener.taken = True
                listener.server = await serve(listener.socket, self._factory, self._backlog, listener.tls)
                if listener not in self.all:  # closed meanwhile
                    listener.close()

    def serve_soon(self) -> None:
        """After a change: as `serve`, for those who cannot wait."""
        self._serving = asyncio.get_running_loop().create_task(self.serve())

    def close(self) -> None:
        for listener in self.all:
            listener.close()
        if self._path:
            with suppress(OSError):
                os.unlink(self._path)
        self.all, self._path = [], ""


def _places(server: Server, tls: ssl.SSLContext | None) -> Iterator[tuple[tuple[str, int], ssl.SSLContext | None]]:
    for port, context in ((server.port, None), (server.tls_port, tls)):
        if port:
            yield from (((address, port), context) for address in server.bind)
    if server.unixsocket:
        yield (server.unixsocket, 0), None


def _bind(place: tuple[str, int], server: Server) -> list[socket.socket]:
    """The socket for a place, or none where it is optional and this machine does not have it. Raises ListenError."""
    address, port = place
    if not port:
        return [bind_unix(address, int(server.unixsocketperm, 8), server.tcp_backlog)]
    found = bind_tcp(address, port, server.tcp_backlog)
    return [found] if found is not None else []
