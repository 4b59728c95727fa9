"""One client's socket: bytes in, commands run, bytes out.

A chunk's commands run in one go and their replies leave in one write, which happens after the tick's changes
were journaled (`Tick`). A client that does not read is not read from; a blocked client's further commands
wait until it is served.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

from ferrite_hooks.engine.command import Argv
from ferrite_hooks.engine.run import run
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import ReplyError
from ferrite_hooks.resp.parser import Parser
from ferrite_hooks.resp.reply import NO_REPLY

if TYPE_CHECKING:
    from ferrite_hooks.server.tick import Tick

_READ_AHEAD = 1 << 20  # unread bytes of a blocked client after which its socket is left alone


class Connection(asyncio.Protocol):
    """asyncio's callbacks around a Session and a Parser."""

    def __init__(self, tick: Tick) -> None:
        self.tick = tick
        self.session: Session
        self.transport: asyncio.Transport
        self.parser: Parser
        self.waiting: deque[Argv] = deque()  # commands that came while the client was blocked
        self.paused = False  # reading is paused
        self.full = False  # the peer does not read fast enough
        self.closed = False

    # -- asyncio.Protocol ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.tick.welcome(self)

    def data_received(self, data: bytes) -> None:
        s = self.session
        s.last_at = s.engine.clock.tick()
        commands = self.parser.feed(data)
        if self.waiting or s.blocked is not None:
            self.waiting.extend(commands)
            self._hold()
        else:
            self._run(commands)
        self._after_parsing()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.waiting.clear()
        self.tick.farewell(self)

    def pause_writing(self) -> None:
        self.full = True
        self._hold()

    def resume_writing(self) -> None:
        self.full = False
        self._go_on()

    # -- running ---------------------------------------------------------------------------------------------

    def _run(self, commands: list[Argv]) -> None:
        s = self.session
        for number, argv in enumerate(commands):
            reply = run(s, argv)
            if reply is not NO_REPLY:
                if s.reply_mode == "on":
                    s.encode(s.out, reply)
                elif s.reply_mode == "skip":
                    s.reply_mode = "on"
                    s.refresh()
            if s.blocked is not None or s.close_after_reply:
                self.waiting.extend(commands[number + 1 :])
                break
        self.tick.post(self)

    def resume(self) -> None:
        """After a blocked command was answered: the commands behind it."""
        if self.waiting and self.session.blocked is None and not self.closed and not self.session.close_after_reply:
            commands = list(self.waiting)
            self.waiting.clear()
            self._run(commands)
        self._go_on()

    def _after_parsing(self) -> None:
        parser, s = self.parser, self.session
        if parser.error is not None and not s.close_after_reply:
            s.encode(s.out, ReplyError(f"ERR Protocol error: {parser.error}"))
            s.close_after_reply = True
            self.tick.post(self)
        elif parser.buffered > self.tick.query_limit:
            self.tick.log_close(self, "query buffer limit")
            self.transport.abort()

    def _hold(self) -> None:
        too_much = len(self.waiting) > 1024 or self.parser.buffered > _READ_AHEAD
        if not self.paused and not self.closed and (self.full or too_much):
            self.paused = True
            self.transport.pause_reading()

    def _go_on(self) -> None:
        if self.paused and not self.full and not self.closed and len(self.waiting) <= 1024:
            self.paused = False
            self.transport.resume_reading()
