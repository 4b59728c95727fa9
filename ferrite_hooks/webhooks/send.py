"""The one place that opens connections: a Request goes out, an Outcome comes back, nothing is raised.

An Outcome says how far the request got (Stage), so that nobody has to read error texts; the texts hold
neither URLs nor headers, for both may carry secrets. A receiver is a stranger: redirects are not followed,
bodies not decompressed, only so much of an answer is read and 1 KiB kept, proxies and cookies do not exist,
and the guard judges the address of every connection. As soon as a status has arrived it is the outcome,
whatever becomes of the rest of the answer.

Of aiohttp the connector is used (connections kept alive, names, TLS) and its protocol with the parser: a session on
top of them has nothing to add to such requests, and would take three quarters of the time.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from time import perf_counter
from typing import Any, NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from ferrite_hooks.webhooks.guard import Refused, Rules, check_host, socket_factory
from ferrite_hooks.webhooks.model import Outcome, Request, Stage, Tls

KEEP_LIMIT = 1024  # bytes of it that are kept
MAX_ERROR = 300  # characters of an error text
# Shorter than what common servers allow (Node: 5 s), so that we seldom write to a connection about to close.
KEEPALIVE_SECONDS = 4.0
RESOLVER_THREADS = 128  # started as needed; each may be held by one name whose servers do not answer
MAX_TRIES = 3  # connections that one request uses up when they turn out to be closed
KNOWN_URLS = 4096  # parsed and judged once
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None)  # each request has one of its own
_CLOSED = "cut off: the server is stopping, or its settings have changed"
_BROKEN = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)


class Sender:
    """Sends requests over a pool of kept-alive connections. To be made inside a running event loop.

    `rules` and `tls` hold for its life: to change them make another Sender, and close this one.
    """

    def __init__(
        self, rules: Rules, tls: Tls, *, max_connections: int = 512, max_response_bytes: int = 65536
    ) -> None:
        self.max_response_bytes = max_response_bytes  # of an answer that are read; may change
        self._rules = rules
        self._tls = tls
        self._contexts: dict[tuple[Any, ...], ssl.SSLContext] = {}
        self._slots = asyncio.Semaphore(max_connections)
        self._resolver = _Resolver()
        self._routes: dict[tuple[str, Tls | None], _Route] = {}  # of URLs whose host the rules allow
        self._connector = aiohttp.TCPConnector(
            limit=max_connections,
            keepalive_timeout=KEEPALIVE_SECONDS,
            resolver=self._resolver,
            socket_factory=_noting(socket_factory(rules)),
        )
        self._closing = False
        self._answers: set[_Answer] = set()  # of the requests on their way
        self._loop = asyncio.get_running_loop()
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def post(self, request: Request) -> Outcome:
        """Sends one request. Waits for a free connection first; the request's timeout counts from there and
        covers everything: resolving, connecting, TLS, sending, and the answer. Raises only CancelledError.
        """
        self._in_flight += 1
        self._idle.clear()
        try:
            async with self._slots:
                return await self._post(request)
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    async def close(self, grace_seconds: float = 0.0) -> None:
        """Takes no more requests, gives those in flight `grace_seconds`, then closes every connection; what
        was still in flight gets an Outcome. May be called twice."""
        self._closing = True
        try:
            async with asyncio.timeout(grace_seconds):
                await self._idle.wait()
        except TimeoutError:
            pass
        for answer in self._answers:
            answer.expire()
        await self._idle.wait()
        await self._connector.close()
        await self._resolver.close()

    async def _post(self, request: Request) -> Outcome:
        if self._closing:
            return _failed(Stage.CUT, 0.0, _CLOSED)
        task = asyncio.current_task()
        assert task is not None
        answer = _Answer(task)
        started = perf_counter()
        try:
            route = self._route(request)
            # What asyncio.timeout() does, for a third of its price.
            timer = self._loop.call_later(request.timeout_ms / 1000, answer.expire)
            self._answers.add(answer)
            try:
                while not await self._exchange(route, request, answer):
                    pass
            except asyncio.CancelledError:
                if not answer.expired or answer.task.cancelling() > 1:
                    raise
                raise TimeoutError from None
            finally:
                timer.cancel()
                self._answers.discard(answer)
                if answer.expired:
                    answer.task.uncancel()
        except Exception as error:
            if not answer.status:
                closed = self._closing and isinstance(error, TimeoutError)
                stage, text = (Stage.CUT, _CLOSED) if closed else _classify(error, request)
                return _failed(stage, _ms_since(started), text)
        return Outcome(
            Stage.STATUS, answer.status, _ms_since(started), "", bytes(answer.body), answer.retry_after
        )

    def _route(self, request: Request) -> _Route:
        """How to reach the URL, if its host is allowed. Raises Refused, _TlsFiles."""
        known = self._routes.get((request.url, request.tls))
        if known is not None and known.target.ssl is True:
            return known
        url = URL(request.url)
        if known is None:
            check_host(url.host or "", self._rules)
        context = self._context(request.tls or self._tls) if url.scheme == "https" else True
        if known is not None and known.target.ssl is context:
            return known
        if len(self._routes) >= KNOWN_URLS:
            self._routes.clear()
        target = aiohttp.ClientRequest("POST", url, ssl=context, loop=asyncio.get_running_loop())
        route = _Route(target, f"POST {target.url.raw_path_qs} HTTP/1.1\r\nHost: {target.headers['Host']}\r\n")
        self._routes[request.url, request.tls] = route
        return route

    async def _exchange(self, route: _Route, request: Request, answer: _Answer) -> bool:
        """Sends the request and fills in the answer. Returns False if it should be tried again: a kept-alive
        connection that the receiver closed just as we used it says nothing about the receiver, and deliveries
        carry an id, so that sending one again is safe."""
        try:
            await self._send(route, request, answer)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            if answer.status or answer.connected or answer.tries == MAX_TRIES:
                raise
            answer.tries += 1
            return False
        return True

    async def _send(self, route: _Route, request: Request, answer: _Answer) -> None:
        head = _head(route, request)
        _answering.set(answer)
        connection = await self._connector.connect(route.target, [], _NO_TIMEOUT)
        protocol, transport = connection.protocol, connection.transport
        if protocol is None or transport is None:
            connection.close()
            raise aiohttp.ServerDisconnectedError
        try:
            protocol.set_response_params(auto_decompress=False, read_until_eof=True)
            transport.writelines((head, request.body))
            while True:
                message, content = await protocol.read()
                if message.code >= 200 or message.code == 101:
                    break
            answer.retry_after = message.headers.get("Retry-After", "")[:64]
            answer.status = message.code
            left = self.max_response_bytes
            while left > 0:
                chunk = await content.read(left)
                left -= len(chunk)
                if len(answer.body) < KEEP_LIMIT:
                    answer.body += chunk[: KEEP_LIMIT - len(answer.body)]
                if not chunk or content.at_eof():
                    if not transport.get_write_buffer_size():  # else it has answered before it had read all
                        connection.release()
                    return
        finally:
            if transport.get_write_buffer_size():
                transport.abort()  # close() would go on sending to a receiver that may never read
            connection.close()  # unless it was released: it is not used again

    def _context(self, tls: Tls) -> ssl.SSLContext:
        """The TLS settings, loaded; again when a file has changed (certificates are renewed)."""
        try:
            key = (tls, *(os.stat(file).st_mtime_ns for file in tls[1:] if file))
            context = self._contexts.get(key)
            if context is None:
                for old in [old for old in self._contexts if old[0] == tls]:
                    del self._contexts[old]
                context = self._contexts[key] = load_tls(tls)
            return context
        except OSError as error:
            raise _TlsFiles(_reason(error)) from None


def load_tls(tls: Tls) -> ssl.SSLContext:
    """The context for these settings. Raises OSError (ssl.SSLError) for files that cannot be read or used:
    call it at start, so that a wrong path is an error there."""
    context = ssl.create_default_context()
    if tls.ca_file:
        context.load_verify_locations(tls.ca_file)
    if tls.cert_file:
        # An encrypted key is an error rather than a prompt on the terminal.
        context.load_cert_chain(tls.cert_file, tls.key_file or None, password=lambda: b"")
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class _Route(NamedTuple):
    """Where requests to a URL go, and how they begin."""

    target: aiohttp.ClientRequest  # never sent itself: what the connector is told of host, port and TLS
    start: str  # the request line, and Host


def _head(route: _Route, request: Request) -> bytes:
    """What goes before the body. Raises ValueError for headers that would be something else to the receiver."""
    lines = [f"{name}: {value}\r\n" for name, value in request.headers]
    head = f"{route.start}{''.join(lines)}Content-Length: {len(request.body)}\r\n\r\n"
    breaks = len(lines) + 4
    if head.count("\n") != breaks or head.count("\r") != breaks or "\0" in head:
        raise ValueError("a header with a line break")
    return head.encode()


class _TlsFiles(Exception):
    """A certificate or key that could not be loaded."""


class _Answer:
    """What has arrived so far of one answer, and the task that waits for it."""

    __slots__ = ("body", "connected", "expired", "retry_after", "status", "task", "tries")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.expired = False  # no time is left
        self.tries = 1
        self.status = 0
        self.retry_after = ""
        self.body = bytearray()
        self.connected = False  # whether a connection was made for it: it has not served before

    def expire(self) -> None:
        if not self.expired:
            self.expired = True
            self.task.cancel()


# The answer that the running task, or one that connects on its behalf, is about. aiohttp's own tracing tells the
# same for a tenth of a request's whole price.
_answering: ContextVar[_Answer] = ContextVar("answering")
SocketFactory = Callable[[tuple[Any, ...]], socket.socket]


def _noting(make: SocketFactory) -> SocketFactory:
    def made(info: tuple[Any, ...]) -> socket.socket:
        _answering.get().connected = True
        return make(info)

    return made


class _Resolver(AbstractResolver):
    """The system's resolver, on threads of its own: names that take half a minute to fail must not hold up
    whatever else runs on the loop's few default threads."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, "resolve")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        def look_up() -> list[ResolveResult]:
            infos = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
            return [
                ResolveResult(
                    hostname=host,
                    host=str(address[0]),
                    port=port,
                    family=found,
                    proto=proto,
                    flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                )
                for found, _, proto, _, address in infos
            ]

        return await asyncio.get_running_loop().run_in_executor(self._threads, look_up)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _ms_since(started: float) -> float:
    return (perf_counter() - started) * 1000


def _failed(stage: Stage, latency_ms: float, text: str) -> Outcome:
    return Outcome(stage, 0, latency_ms, text[:MAX_ERROR], b"", "")


def _classify(error: Exception, request: Request) -> tuple[Stage, str]:
    """How far a request got that ended in this error, and what to say of it."""
    if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientConnectorError):
        return Stage.TIMEOUT, f"no response within {request.timeout_ms} ms"
    if isinstance(error, _TlsFiles):
        return Stage.TLS, f"cannot load the TLS files: {error}"
    if isinstance(error, Refused):
        return Stage.CONNECT, str(error)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Stage.RESOLVE, f"cannot resolve the host: {_reason(error.os_error)}"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Stage.TLS, f"certificate not trusted: {_reason(error.certificate_error)}"
    if isinstance(error, aiohttp.ClientConnectorError):
        # During connect() the peer can only refuse; it can break a connection only once there is one.
        tls = isinstance(error, aiohttp.ClientSSLError) or isinstance(error.os_error, _BROKEN)
        if tls and request.url[:6].lower() == "https:":
            return Stage.TLS, f"TLS handshake failed: {_reason(error.os_error)}"
        return Stage.CONNECT, f"cannot connect: {_reason(error.os_error)}"
    if isinstance(error, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLError):
        return Stage.TLS, f"TLS failed: {_reason(error.__cause__ or error)}"
    if isinstance(error, aiohttp.InvalidURL):
        return Stage.RESOLVE, "the URL is malformed"
    if isinstance(error, HttpProcessingError):
        return Stage.SEND, "the response is not valid HTTP"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return Stage.SEND, "the connection was closed before a response arrived"
    if isinstance(error, OSError):
        return Stage.SEND, f"the connection broke: {_reason(error)}"
    return Stage.SEND, f"cannot send: {type(error).__name__}"


def _reason(error: BaseException) -> str:
    """The system's words for an error; never its arguments, where paths and addresses are."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return (error.reason or "protocol error").lower().replace("_", " ")
    if isinstance(error, OSError) and error.errno is not None:
        # The guard's own words, and the resolver's, are only in strerror.
        named = isinstance(error, socket.gaierror | PermissionError)
        return str(error.strerror) if named else os.strerror(error.errno)
    return type(error).__name__
