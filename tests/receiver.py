"""A webhook receiver that misbehaves on demand: the other end of the wire in the tests.

A raw-socket HTTP/1.1 server on a free loopback port. It records every request and answers each from a script:

    async with Receiver() as receiver:
        receiver.script("/hook", Reply(500), Reply(fault="reset"), Reply(200))   # then: receiver.default
        ... POST to receiver.url("/hook") ...
        requests = await receiver.wait(3)

Faults are named in FAULTS; `refuse()` closes the port and `accept()` opens it again. A fault that hangs ends
when the client leaves or the receiver closes.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from ferrite_hooks.webhooks.model import Outcome, Request
from ferrite_hooks.webhooks.send import Sender

_REASONS = {200: "OK", 204: "No Content", 302: "Found", 410: "Gone", 429: "Too Many Requests", 500: "Oops"}


@dataclass(frozen=True)
class Reply:
    """How to answer one request. `fault` names an entry of FAULTS; "" answers properly."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b"ok"
    delay: float = 0.0  # seconds before answering
    fault: str = ""


@dataclass(frozen=True)
class Received:
    """One request as it arrived. Header names are lower case."""

    at: float  # time.monotonic()
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int  # which connection it came by, counted from 1


@dataclass(eq=False)
class _Client:
    """One accepted connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int
    closed: asyncio.Event = field(default_factory=asyncio.Event)


def render(reply: Reply, length: int | None = None) -> bytes:
    """The response's bytes; `length` overrides its Content-Length."""
    head = [f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Status')}"]
    if reply.status != 204:
        head.append(f"Content-Length: {len(reply.body) if length is None else length}")
    head += [f"{name}: {value}" for name, value in reply.headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + (b"" if reply.status == 204 else reply.body)


def reset(client: _Client) -> None:
    """Ends the connection with RST instead of FIN."""
    sock = client.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.writer.transport.abort()


async def _reset(client: _Client, reply: Reply) -> None:
    reset(client)


async def _close(client: _Client, reply: Reply) -> None:
    client.writer.close()


async def _hang(client: _Client, reply: Reply) -> None:
    await client.reader.read()  # until the client leaves


async def _hang_in_head(client: _Client, reply: Reply) -> None:
    client.writer.write(b"HTTP/1.1 200 OK\r\nX-Slow:")
    await client.reader.read()


async def _hang_in_body(client: _Client, reply: Reply) -> None:
    client.writer.write(render(reply, len(reply.body) + 10))
    await client.reader.read()


async def _reset_in_body(client: _Client, reply: Reply) -> None:
    client.writer.write(render(reply, len(reply.body) + 10))
    await client.writer.drain()
    client.writer.close()  # fewer bytes than announced, then the end


async def _drip(client: _Client, reply: Reply) -> None:
    for byte in render(reply):
        client.writer.write(bytes([byte]))
        await client.writer.drain()
        await asyncio.sleep(0.005)


async def _trickle(client: _Client, reply: Reply) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 100_000:
        client.writer.write(bytes([byte]))
        await client.writer.drain()
        await asyncio.sleep(0.05)


async def _endless(client: _Client, reply: Reply) -> None:
    client.writer.write(f"HTTP/1.1 {reply.status} Endless\r\nConnection: close\r\n\r\n".encode())
    while not client.writer.is_closing():
        client.writer.write(b"x" * 65536)
        await client.writer.drain()


async def _garbage(client: _Client, reply: Reply) -> None:
    client.writer.write(b"\x00\xffSSH-2.0 this is not HTTP\r\n\r\n")
    await client.writer.drain()
    client.writer.close()


async def _long_head(client: _Client, reply: Reply) -> None:
    client.writer.write(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1_000_000 + b"\r\n\r\n")
    await client.writer.drain()
    client.writer.close()


async def _close_after(client: _Client, reply: Reply) -> None:
    client.writer.write(render(reply))  # keep-alive promised, and broken
    await client.writer.drain()
    client.writer.close()


# What a Reply's `fault` may name. After a fault the connection is not used again.
FAULTS: dict[str, Callable[[_Client, Reply], Awaitable[None]]] = {
    "reset": _reset,  # RST instead of an answer
    "close": _close,  # FIN instead of an answer
    "hang": _hang,  # no answer at all
    "hang_in_head": _hang_in_head,
    "hang_in_body": _hang_in_body,
    "short_body": _reset_in_body,  # Content-Length says more than comes
    "drip": _drip,  # a byte at a time
    "trickle": _trickle,  # a head that comes a byte at a time, and has no end
    "endless": _endless,  # a body without end
    "garbage": _garbage,  # not HTTP
    "long_head": _long_head,  # a header of a megabyte
    "close_after": _close_after,  # answers, then closes a connection that seemed to be kept alive
}


class Receiver:
    """`default` answers what no script does; `fail_rate` of those requests get `failure` instead, by a seeded
    random. `on_accept` is "" or "reset" or "hang" (for every connection, before a byte is read); `on_head`
    likewise, once a request's head has arrived and before its body."""

    def __init__(
        self, *, ssl_context: ssl.SSLContext | None = None, seed: int = 0, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.requests: list[Received] = []
        self.connections = 0  # accepted so far
        self.default = Reply()
        self.fail_rate = 0.0
        self.failure = Reply(500, body=b"by chance")
        self.on_answer: Callable[[Received, Reply], object] = lambda request, reply: None
        self.on_accept = ""
        self.on_head = ""
        self.host = host  # an address of loopback
        self.port = port
        self.errors: list[BaseException] = []  # what went wrong in the receiver itself: should stay empty
        self._random = random.Random(seed)
        self._scripts: dict[str, deque[Reply]] = {}
        self._ssl = ssl_context
        self._server: asyncio.Server | None = None
        self._clients: dict[asyncio.Task[Any], _Client] = {}
        self._arrived = asyncio.Condition()

    def url(self, path: str = "/", host: str = "") -> str:
        return f"{'https' if self._ssl else 'http'}://{host or self.host}:{self.port}{path}"

    def script(self, path: str, *replies: Reply) -> None:
        """Answers the next requests to `path` with these, in order; then `default` answers again."""
        self._scripts.setdefault(path, deque()).extend(replies)

    def to(self, path: str) -> list[Received]:
        return [request for request in self.requests if request.path == path]

    async def wait(self, count: int, *, path: str | None = None, timeout: float = 10) -> list[Received]:
        """Waits for at least `count` requests (to `path`) and returns all there are; raises TimeoutError."""

        def arrived() -> list[Received]:
            return self.requests if path is None else self.to(path)

        async with asyncio.timeout(timeout), self._arrived:
            await self._arrived.wait_for(lambda: len(arrived()) >= count)
        return list(arrived())

    @property
    def clients(self) -> int:
        """How many are connected now."""
        return len(self._clients)

    async def accept(self) -> None:
        """Opens the port: a free one the first time, later the same again."""
        self._server = await asyncio.start_server(
            self._serve, self.host, self.port, ssl=self._ssl, limit=1 << 20
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Closes the port and every connection: new ones are refused until accept()."""
        if self._server is not None:
            for listener in self._server.sockets:
                asyncio.get_running_loop().remove_reader(listener.fileno())
            for _ in range(5):
                await asyncio.sleep(0)  # what has been accepted gets its task, or asyncio would forget to close it
            self._server.close()
            self._server = None
        for task, client in list(self._clients.items()):
            client.writer.transport.abort()
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def __aenter__(self) -> Receiver:
        await self.accept()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.refuse()
        assert not self.errors, self.errors

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        client = _Client(reader, writer, self.connections)
        task = asyncio.current_task()
        assert task is not None
        self._clients[task] = client
        try:
            if self.on_accept:
                await FAULTS[self.on_accept](client, self.default)
                return
            while await self._one(client):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            pass  # clients may leave when they like, and so may we
        except Exception as error:
            self.errors.append(error)
        finally:
            del self._clients[task]
            writer.close()

    async def _one(self, client: _Client) -> bool:
        """Reads and answers one request. Returns whether the connection goes on."""
        head = (await client.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        pairs = (line.split(":", 1) for line in head[1:] if line)
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        if self.on_head:
            await FAULTS[self.on_head](client, self.default)
            return False
        body = await client.reader.readexactly(int(headers.get("content-length", "0")))
        request = Received(time.monotonic(), method, path, headers, body, client.number)
        async with self._arrived:
            self.requests.append(request)
            self._arrived.notify_all()
        reply = self._reply(path)
        self.on_answer(request, reply)
        if reply.delay:
            await asyncio.sleep(reply.delay)
        if reply.fault:
            await FAULTS[reply.fault](client, reply)
            return False
        client.writer.write(render(reply))
        await client.writer.drain()
        return headers.get("connection", "").lower() != "close"

    def _reply(self, path: str) -> Reply:
        script = self._scripts.get(path)
        if script:
            return script.popleft()
        if self.fail_rate and self._random.random() < self.fail_rate:
            return self.failure
        return self.default


async def posted(sender: Sender, request: Request) -> Outcome:
    """What comes of a request."""
    answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    sender.send(request, answer.set_result)
    return await answer
