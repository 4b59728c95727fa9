"""One HTTP/1.1 connection to a receiver: a request goes out, its answer comes in, then the next one.

The parser is llhttp (httptools); here is what a client has to decide. Interim answers are passed over. An answer
without a length ends with its connection. Of a body only so much is read and 1 KiB kept; it is not decompressed. As
soon as a status has arrived it is the outcome, whatever becomes of the rest. A connection is used again only if its
answer was read to its end, promised so, and nothing came behind it; what a receiver says unasked ends it.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Final, Protocol, cast

from httptools import HttpParserError, HttpResponseParser

from ferrite_hooks.webhooks.dial import Peer
from ferrite_hooks.webhooks.model import Done, Request

KEEP_LIMIT: Final = 1024  # bytes of an answer that are kept
MAX_HEAD: Final = 65_536  # bytes of an answer before its body, interim answers included
MAX_RETRY_AFTER: Final = 64  # bytes
SMALL: Final = 16_384  # bytes of a body up to which a copy costs less than a second buffer


class Exchange:
    """A request on its way, and what has arrived of its answer."""

    __slots__ = (
        "body", "connecting", "connection", "done", "head", "peer", "request", "retry_after", "started", "status",
        "timer",
    )  # fmt: skip

    def __init__(self, request: Request, done: Done) -> None:
        self.request = request
        self.done = done
        self.head = b""
        self.peer: Peer | None = None
        self.connection: Connection | None = None  # that it goes by
        self.connecting: asyncio.Task[None] | None = None  # that makes one for it
        self.timer: asyncio.TimerHandle | None = None
        self.started = perf_counter()
        self.status = 0
        self.retry_after = ""
        self.body = b""


class Owner(Protocol):
    """Who is told what becomes of a connection."""

    def answered(self, connection: Connection, exchange: Exchange, reusable: bool) -> None:
        """There is a status, and no more will be read. Unless `reusable` the connection is closed."""

    def broken(self, exchange: Exchange, reused: bool, error: Exception | None) -> None:
        """The connection has ended, by itself (None) or for this reason, and with it the exchange."""

    def gone(self, connection: Connection) -> None:
        """It has ended at rest."""


class Connection:
    """It has the methods of asyncio.Protocol, and not that base class, so that the compiled build can give it a C
    struct."""

    def __init__(self, peer: Peer, owner: Owner) -> None:
        self.peer = peer
        self.resting_since = 0.0  # the loop's time
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._served = 0  # requests
        self._head_left = self._body_left = self._rest_left = 0  # bytes that may still come
        self._whole = self._kept_alive = False  # of the answer
        self._parser = HttpResponseParser(self)
        # What careless servers do, and what can do no harm where only a status is wanted.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )

    def begin(self, exchange: Exchange, max_response_bytes: int) -> None:
        """Sends a request; the connection is new or at rest."""
        self._exchange = exchange
        exchange.connection = self
        self._served += 1
        self._head_left = MAX_HEAD
        self._body_left = max_response_bytes
        self._rest_left = max_response_bytes + MAX_HEAD
        self._whole = self._kept_alive = False
        transport, body = self._transport, exchange.request.body
        if transport is None:
            self._break(None)
        elif len(body) <= SMALL:
            transport.write(exchange.head + body)
        else:
            transport.writelines((exchange.head, body))

    def close(self) -> None:
        """Ends the connection at once, and an exchange by it without a word."""
        self._exchange = None
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()  # close() would go on sending to a receiver that may never read

    def _finish(self, exchange: Exchange) -> None:
        transport = self._transport
        # With something left to write it has answered before it had read all.
        reusable = (
            self._whole and self._kept_alive and transport is not None and not transport.get_write_buffer_size()
        )
        if reusable:
            self._exchange = None
        else:
            self.close()
        self._owner.answered(self, exchange, reusable)

    def _break(self, error: Exception | None) -> None:
        exchange = self._exchange
        self.close()
        if exchange is None:
            return
        if exchange.status:
            self._owner.answered(self, exchange, False)
        else:
            self._owner.broken(exchange, self._served > 1, error)

    # -- what the transport calls ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            if self._transport is not None:  # not yet closed
                self.close()
                self._owner.gone(self)
            return
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self._break(error)
            return
        if exchange.status:
            self._rest_left -= len(data)  # not all of it is body: sizes of chunks, trailers
            if self._whole or self._body_left <= 0 or self._rest_left < 0:
                self._finish(exchange)
        else:
            self._head_left -= len(data)
            if self._head_left < 0:
                self._break(HttpParserError("a head without end"))

    def eof_received(self) -> None:
        """The connection is lost next."""

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._exchange is None:
            self._owner.gone(self)
        else:
            self._break(error)

    def pause_writing(self) -> None:
        """The transport has the whole request anyway."""

    def resume_writing(self) -> None:
        """Nothing waits for it."""

    # -- what the parser calls ---------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._whole:
            raise HttpParserError("more than an answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        exchange = self._exchange
        if len(name) == 11 and exchange is not None and not exchange.status and name.lower() == b"retry-after":
            exchange.retry_after = value[:MAX_RETRY_AFTER].decode("latin-1")

    def on_headers_complete(self) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        status = self._parser.get_status_code()
        if status < 100:
            raise HttpParserError("no status")
        if status >= 200 or status == 101:
            exchange.status = status
        else:  # an interim answer
            exchange.retry_after = ""
        if status == 101:
            raise HttpParserError("another protocol")

    def on_body(self, chunk: bytes) -> None:
        exchange = self._exchange
        if exchange is not None:
            wanted = min(KEEP_LIMIT - len(exchange.body), self._body_left)
            if wanted > 0:
                exchange.body += chunk[:wanted]
            self._body_left -= len(chunk)

    def on_message_complete(self) -> None:
        exchange = self._exchange
        if exchange is not None and exchange.status:
            self._whole = True
            self._kept_alive = self._parser.should_keep_alive()
