"""The one place that sends: a Request goes out, an Outcome comes back, nothing is raised.

An Outcome says how far the request got (Stage), so that nobody has to read error texts; the texts hold
neither URLs nor headers, for both may carry secrets. A receiver is a stranger: redirects are not followed,
only so much of an answer is read, proxies and cookies do not exist, and the guard judges the address of every
connection.

Where a connection is at rest a request costs no task and no turn of the loop: it is written, and its answer calls
back. A general HTTP client would take two to five times the processor for the same.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from time import perf_counter
from typing import Final, NamedTuple

from httptools import HttpParserError
from yarl import URL

from ferrite_hooks.webhooks.dial import Contexts, Dialer, Failed, Peer, reason
from ferrite_hooks.webhooks.guard import Refused, Rules, check_host
from ferrite_hooks.webhooks.http1 import Connection, Exchange
from ferrite_hooks.webhooks.model import Done, Outcome, Request, Stage, Tls

MAX_ERROR: Final = 300  # characters of an error text
# Shorter than what common servers allow (Node: 5 s), so that we seldom write to a connection about to close.
KEEPALIVE_SECONDS: Final = 4.0
KNOWN_URLS: Final = 4096  # parsed and judged once
_CLOSED: Final = "cut off: the server is stopping, or its settings have changed"


class _Route(NamedTuple):
    """Where requests to a URL go, and how they begin."""

    peer: Peer
    start: str  # the request line, and Host


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
        self._max_connections = max_connections
        self._loop = asyncio.get_running_loop()
        self._dialer = Dialer(rules)
        self._contexts = Contexts()
        self._routes: dict[tuple[str, Tls | None], _Route] = {}  # of URLs whose host the rules allow
        self._peers: dict[tuple[str, int, ssl.SSLContext | None], Peer] = {}
        self._waiting: deque[Exchange] = deque()  # for a place
        self._active: dict[Exchange, None] = {}  # oldest first
        self._resting: dict[Connection, None] = {}  # the one that rests longest first
        self._sweep: asyncio.TimerHandle | None = None
        self._closing = False
        self._drained = asyncio.Event()  # closing, and nothing is in flight

    def send(self, request: Request, done: Done) -> None:
        """Sends one request; `done` gets its Outcome in a later turn. A request waits for a free connection first; its
        timeout counts from there and covers everything: resolving, connecting, TLS, sending, and the answer."""
        exchange = Exchange(request, done)
        if self._closing:
            self._loop.call_soon(done, _failed(Stage.CUT, 0.0, _CLOSED))
        elif len(self._active) >= self._max_connections:
            self._waiting.append(exchange)
        else:
            self._begin(exchange)

    async def close(self, grace_seconds: float = 0.0) -> None:
        """Takes no more requests, gives those in flight `grace_seconds`, then closes every connection; what
        was still in flight gets an Outcome. May be called twice."""
        self._closing = True
        while self._waiting:
            self._waiting.popleft().done(_failed(Stage.CUT, 0.0, _CLOSED))
        if not self._active:
            self._drained.set()
        try:
            async with asyncio.timeout(grace_seconds):
                await self._drained.wait()
        except TimeoutError:
            pass
        for exchange in list(self._active):
            self._expire(exchange)
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._resting):
            self.gone(connection)
            connection.close()
        self._dialer.close()

    # -- a request's way -------------------------------------------------------------------------------------------

    def _begin(self, exchange: Exchange) -> None:
        self._active[exchange] = None
        exchange.started = perf_counter()
        request = exchange.request
        try:
            route = self._route(request)
            exchange.head = _head(route, request)
        except Failed as error:
            self._loop.call_soon(self._fail, exchange, error.stage, str(error))
        except Refused as error:
            self._loop.call_soon(self._fail, exchange, Stage.CONNECT, str(error))
        except Exception as error:
            self._loop.call_soon(self._fail, exchange, Stage.SEND, f"cannot send: {type(error).__name__}")
        else:
            exchange.peer = route.peer
            exchange.timer = self._loop.call_later(request.timeout_ms / 1000, self._expire, exchange)
            connection = self._rested(route.peer)
            if connection is not None:
                connection.begin(exchange, self.max_response_bytes)
            else:
                self._connect(exchange, route.peer)

    def _connect(self, exchange: Exchange, peer: Peer) -> None:
        exchange.connecting = self._loop.create_task(self._by_new(exchange, Connection(peer, self)))

    async def _by_new(self, exchange: Exchange, connection: Connection) -> None:
        try:
            await self._dialer.connect(connection)
        except Failed as error:
            self._fail(exchange, error.stage, str(error))
        except Exception as error:
            self._fail(exchange, Stage.SEND, f"cannot send: {type(error).__name__}")
        else:
            exchange.connecting = None
            connection.begin(exchange, self.max_response_bytes)

    def _expire(self, exchange: Exchange) -> None:
        """No time is left."""
        if exchange.connecting is not None:
            exchange.connecting.cancel()
        if exchange.connection is not None:
            exchange.connection.close()
        if exchange.status:
            self._answer(exchange)
        elif self._closing:
            self._fail(exchange, Stage.CUT, _CLOSED)
        else:
            self._fail(exchange, Stage.TIMEOUT, f"no response within {exchange.request.timeout_ms} ms")

    def _answer(self, exchange: Exchange) -> None:
        latency_ms = (perf_counter() - exchange.started) * 1000
        self._end(exchange, Outcome(Stage.STATUS, exchange.status, latency_ms, "", exchange.body, exchange.retry_after))

    def _fail(self, exchange: Exchange, stage: Stage, text: str) -> None:
        self._end(exchange, _failed(stage, (perf_counter() - exchange.started) * 1000, text))

    def _end(self, exchange: Exchange, outcome: Outcome) -> None:
        if exchange not in self._active:
            return  # it has ended before, in the same turn
        del self._active[exchange]
        if exchange.timer is not None:
            exchange.timer.cancel()
        if self._waiting:
            self._begin(self._waiting.popleft())
        elif self._closing and not self._active:
            self._drained.set()
        exchange.done(outcome)

    # -- what a connection says ------------------------------------------------------------------------------------

    def answered(self, connection: Connection, exchange: Exchange, reusable: bool) -> None:
        if reusable:
            self._rest(connection)
        self._answer(exchange)

    def broken(self, exchange: Exchange, reused: bool, error: Exception | None) -> None:
        if isinstance(error, HttpParserError):
            self._fail(exchange, Stage.SEND, "the response is not valid HTTP")
        elif reused and exchange.peer is not None and exchange in self._active:
            # A kept-alive connection that the receiver closed just as we used it says nothing about the receiver, and
            # deliveries carry an id, so that sending one again is safe.
            exchange.connection = None
            exchange.retry_after = ""  # of half an answer
            self._connect(exchange, exchange.peer)
        elif isinstance(error, ssl.SSLError):
            self._fail(exchange, Stage.TLS, f"TLS failed: {reason(error)}")
        elif error is None:
            self._fail(exchange, Stage.SEND, "the connection was closed before a response arrived")
        else:
            self._fail(exchange, Stage.SEND, f"the connection broke: {reason(error)}")

    def gone(self, connection: Connection) -> None:
        if connection in self._resting:
            del self._resting[connection]
            connection.peer.idle.remove(connection)

    # -- connections at rest ---------------------------------------------------------------------------------------

    def _rested(self, peer: Peer) -> Connection | None:
        """One that can be used, if there is any."""
        while peer.idle:
            connection = peer.idle.pop()
            del self._resting[connection]
            if self._loop.time() - connection.resting_since < KEEPALIVE_SECONDS:
                return connection
            connection.close()
        return None

    def _rest(self, connection: Connection) -> None:
        if self._closing or len(self._resting) >= self._max_connections:
            connection.close()
            return
        connection.resting_since = self._loop.time()
        connection.peer.idle.append(connection)
        self._resting[connection] = None
        if self._sweep is None:
            self._sweep = self._loop.call_later(KEEPALIVE_SECONDS, self._close_old)

    def _close_old(self) -> None:
        self._sweep = None
        oldest = self._loop.time() - KEEPALIVE_SECONDS
        for connection in list(self._resting):
            if connection.resting_since > oldest:
                wait = connection.resting_since - oldest
                self._sweep = self._loop.call_later(wait, self._close_old)
                break
            self.gone(connection)
            connection.close()

    # -- where to ------------------------------------------------------------------------------------------------

    def _route(self, request: Request) -> _Route:
        """How to reach the URL. Raises Refused, Failed, ValueError."""
        known = self._routes.get((request.url, request.tls))
        if known is not None:
            context = known.peer.context
            if context is None or context is self._contexts.context(request.tls or self._tls):
                return known
            self._peers.pop((known.peer.host, known.peer.port, context), None)  # its certificate files were renewed
        try:
            url = URL(request.url)
            host, port = url.raw_host, url.port
        except ValueError:
            host = port = None
        if not host or not port or url.scheme not in ("http", "https"):
            raise Failed(Stage.RESOLVE, "the URL is malformed")
        check_host(url.host or "", self._rules)
        context = self._contexts.context(request.tls or self._tls) if url.scheme == "https" else None
        if len(self._routes) >= KNOWN_URLS:
            self._routes.clear()
            self._peers.clear()
        peer = self._peers.setdefault((host, port, context), Peer(host, port, context))
        route = _Route(peer, f"POST {url.raw_path_qs} HTTP/1.1\r\nHost: {url.host_port_subcomponent}\r\n")
        self._routes[request.url, request.tls] = route
        return route


def _head(route: _Route, request: Request) -> bytes:
    """What goes before the body. Raises ValueError for headers that would be something else to the receiver."""
    lines = [f"{name}: {value}\r\n" for name, value in request.headers]
    head = f"{route.start}{''.join(lines)}Content-Length: {len(request.body)}\r\n\r\n"
    breaks = len(lines) + 4
    if head.count("\n") != breaks or head.count("\r") != breaks or "\0" in head:
        raise ValueError("a header with a line break")
    return head.encode()


def _failed(stage: Stage, latency_ms: float, text: str) -> Outcome:
    return Outcome(stage, 0, latency_ms, text[:MAX_ERROR], b"", "")
