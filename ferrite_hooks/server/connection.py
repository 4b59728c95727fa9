"""One client's socket: bytes in, commands run, bytes out.

A chunk waits until the loop has read from all clients; its commands run in one go and their replies leave in one
write, after the tick's changes were journaled (see tick.py). A client that does not read is not read from, and what
it has sent already waits, as does what would make too large a reply at once: so nothing it does makes replies pile
up. What a client sent before it left runs, as in Redis.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final, cast

from ferrite_hooks.engine.command import Argv
from ferrite_hooks.engine.run import run
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import ReplyError
from ferrite_hooks.resp.encoder import encode2, encode3
from ferrite_hooks.resp.parser import Parser
from ferrite_hooks.resp.reply import NO_REPLY

if TYPE_CHECKING:
    from ferrite_hooks.server.clients import Clients
    from ferrite_hooks.server.tick import Tick

log = logging.getLogger("ferrite_hooks.server")

_TURN: Final = 1024  # commands of one client before the others get their turn
_ENOUGH: Final = 1 << 20  # bytes of replies after which the rest of a turn waits until they are written
_LOOK: Final = 16  # commands between looks at how much it is
_WAITING_MAX: Final = 4096  # commands read ahead of a client that is blocked or does not read
_WAITING_BYTES: Final = 1 << 20  # and how many bytes of them, about


class Connection:
    """asyncio's callbacks around a Session and a Parser. It has all methods of asyncio.Protocol; without that base
    class the compiled build can give it a C struct."""

    def __init__(self, clients: Clients) -> None:
        self.clients = clients
        self.tick: Tick = clients.tick
        self.session: Session
        self.transport: asyncio.Transport
        self.parser: Parser
        self.chunk: bytes | None = None  # has arrived and is about to be read
        self.waiting: deque[Argv] = deque()  # commands that were read but cannot run yet
        self.waiting_bytes = 0  # that have arrived since there was nothing in it
        self.paused = False  # reading is paused
        self.full = False  # the peer does not read fast enough
        self.closed = False  # nothing can be sent any more
        self.ended = False  # no more will come, and not all that came has run
        self.reading = 0  # bytes of the chunk whose commands are running
        self.owed = 0  # replies that wait for the disk
        self.unread = 0  # bytes that it had not read when it was last looked at, while it does not read fast enough

    # -- asyncio.Protocol ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.clients.welcome(self)

    def data_received(self, data: bytes) -> None:
        if self.chunk is not None:
            self.tick.read()
        self.chunk = data
        self.tick.arrived(self, len(data))

    def eof_received(self) -> bool:
        """The peer has said all. What it has said still runs and is answered, as far as nothing blocks it. True:
        asyncio leaves the socket open (TLS has no use for that and closes it)."""
        self.tick.read()
        if not (self.waiting or self.session.out or self.owed):
            self.clients.vanish(self)
            return False
        self.ended = True
        self.resume()
        return self.transport.get_extra_info("sslcontext") is None

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = self.ended = True
        self.full = False
        self.resume()

    def pause_writing(self) -> None:
        self.full = True
        self._hold()

    def resume_writing(self) -> None:
        self.full = False
        if self.tick.clients_limit:
            self.clients.weigh(self, 0)
        self.resume()

    # -- running ---------------------------------------------------------------------------------------------

    def read(self) -> None:
        """Runs what the chunk completes."""
        s, parser, data = self.session, self.parser, self.chunk
        self.chunk = None
        if data is None or s.close_after_reply or self._broken():
            return
        s.last_at = self.tick.began()
        s.engine.host.input_bytes += len(data)
        s.engine.host.reads += 1
        if not parser.authenticated:
            parser.authenticated = s.authenticated
        commands = parser.feed(data)
        if self.tick.clients_limit:
            self.clients.weigh(self, sum([len(arg) for argv in commands for arg in argv]))
            if s.close_after_reply:
                return
        self.reading = len(data)
        if self.waiting or s.blocked is not None or self.full or len(commands) > _TURN:
            self.waiting.extend(commands)
            self.waiting_bytes += len(data)
            self.resume()
            self._hold()
        elif commands:
            self._run(commands)
            if self.waiting:
                self.tick.loop.call_soon(self.resume)
        if parser.error is not None:
            self._protocol_error()
        elif not commands and parser.buffered > self.clients.query_limit:
            self.clients.drop(self, "query buffer limit")
        self.reading = 0

    def _run(self, commands: list[Argv]) -> None:
        s = self.session
        out = s.out
        started = s.engine.lap
        seen, size = len(out), 0
        for index, argv in enumerate(commands):
            reply = run(s, argv, started)
            started = s.engine.lap
            if reply is not NO_REPLY:
                if s.special and s.reply_mode != "on":
                    s.unanswered()
                elif s.resp == 2:
                    encode2(out, reply)
                else:
                    encode3(out, reply)
            if index % _LOOK == _LOOK - 1:
                for part in range(seen, len(out)):
                    size += len(out[part])
                seen = len(out)
            if s.blocked is not None or s.close_after_reply or size > _ENOUGH:
                self.waiting.extendleft(reversed(commands[index + 1 :]))
                break
        self.tick.post(self)

    def resume(self) -> None:
        """Runs what waits, as far as it may."""
        try:
            self._go_on()
        except Exception:  # a fault of ours: the replies to the rest would belong to other commands
            log.exception("running failed")
            self.clients.drop(self, "internal error")
            if self.closed:
                self._leave()

    def _go_on(self) -> None:
        s = self.session
        if self.waiting and s.blocked is None and not (self.full or s.close_after_reply):
            commands = list(islice(self.waiting, _TURN))
            for _ in commands:
                self.waiting.popleft()
            s.last_at = self.tick.began()
            self._run(commands)
            if self.waiting:
                self.tick.loop.call_soon(self.resume)
        if not self.waiting:
            self.waiting_bytes = 0
            if self.parser.error is not None:
                self._protocol_error()
        if self.paused and not (self.full or self.closed or self._ahead()):
            self.paused = False
            self.transport.resume_reading()
        if self.ended and (s.close_after_reply or s.blocked is not None or not self.waiting):
            if self.closed:
                self._leave()
            elif not s.close_after_reply:
                self.clients.leave(self)

    def _leave(self) -> None:
        self.ended = False
        self.waiting.clear()
        self.clients.farewell(self)

    def _hold(self) -> None:
        if not (self.paused or self.closed or self.ended) and (self.full or self._ahead()):
            self.paused = True
            self.transport.pause_reading()

    def _ahead(self) -> bool:
        """Enough is read of what cannot run yet."""
        return bool(self.waiting) and (len(self.waiting) >= _WAITING_MAX or self.waiting_bytes >= _WAITING_BYTES)

    def _broken(self) -> bool:
        """It has sent what cannot be read. (Were this asked in `read` itself, the compiled build would take the answer
        for the one after `feed`, too.)"""
        return self.parser.error is not None

    def _protocol_error(self) -> None:
        """Says what is wrong with what has arrived, when all that came before it has been answered."""
        s = self.session
        if not (self.waiting or s.blocked is not None or s.close_after_reply):
            s.encode(s.out, ReplyError(f"ERR Protocol error: {self.parser.error}"))
            s.close_after_reply = True
            self.tick.post(self)
