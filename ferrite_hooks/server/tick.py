"""The end of a loop tick: journal first, then replies, then webhooks.

Connections run their commands and `post` what they have to say. Once per tick `end` takes all effects and
matched changes from the engine, appends them to the journal in one frame, and only then lets the replies of
that tick leave and the webhooks know. With `fsync always` the replies wait until the frame is on the disk;
when the disk refuses, they wait until it takes the frame, and new writes are refused meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ferrite_hooks.engine.engine import Engine
from ferrite_hooks.server.connection import Connection
from ferrite_hooks.store.journal import JournalError
from ferrite_hooks.webhooks.model import Change

log = logging.getLogger("ferrite_hooks.server")

RETRY_SECONDS = 0.2  # between attempts to append what the disk has refused


class JournalLike(Protocol):
    """What a tick needs of a journal; see store/journal.py."""

    last_frame: int

    def append(self, commands: Sequence[Any], changes: Sequence[Any], notes: Sequence[Any]) -> int: ...

    def when_durable(self, frame: int, callback: Callable[[str], object]) -> None: ...


class Frame:
    """What one tick produced and has not yet been acknowledged."""

    __slots__ = ("changes", "effects", "notes", "replies")

    def __init__(self, effects: list[Any], changes: list[Change], notes: list[Any]) -> None:
        self.effects = effects
        self.changes = changes
        self.notes = notes
        self.replies: list[tuple[Connection, bytes]] = []


class Tick:
    """Shared by all connections of a server."""

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        self.engine = engine
        self.loop = loop
        self.journal: JournalLike | None = None
        self.always = False  # fsync always: replies wait for the disk
        self.accept: Callable[[list[Change]], None] = lambda changes: None  # the webhooks' entrance
        self._talking: dict[Connection, None] = {}
        self._notes: list[Any] = []
        self._scheduled = False
        self._held: list[Frame] = []  # frames that the disk has refused, oldest first
        self._unsynced = 0  # frames that wait for fsync
        engine.on_pending = self.schedule

    def woken(self, connection: Connection) -> None:
        """A session got something to say outside its own command, or was unblocked."""
        self._talking[connection] = None
        if connection.waiting:
            self.loop.call_soon(connection.resume)
        self.schedule()

    def forget(self, connection: Connection) -> None:
        self._talking.pop(connection, None)

    def post(self, connection: Connection) -> None:
        """A connection has run commands. Replies that depend on nothing unjournaled leave at once."""
        engine = self.engine
        if engine.effects or engine.changes or self._held or self._unsynced:
            self._talking[connection] = None
            self.schedule()
        else:
            self._write(connection)

    def note(self, notes: list[Any]) -> None:
        """Adds delivery notes (acknowledgements, retries, definitions) to this tick's frame."""
        self._notes += notes
        self.schedule()

    def schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self.end)

    def end(self) -> None:
        """Journals what happened since the last call, then lets the replies go."""
        self._scheduled = False
        effects, changes = self.engine.drain()
        notes, self._notes = self._notes, []
        talking, self._talking = self._talking, {}
        if self.journal is None or not (effects or changes or notes or self._held or self._unsynced):
            for connection in talking:
                self._write(connection)
            if changes:
                self.accept(changes)
            return
        if not (self.always or self._held or self._unsynced):  # the ordinary case needs no Frame to remember
            try:
                self.journal.append(effects, changes, notes)
            except JournalError as error:
                self._refused(self._frame(effects, changes, notes, talking), error)
                return
            for connection in talking:
                self._write(connection)
            if changes:
                self.accept(changes)
            return
        frame = self._frame(effects, changes, notes, talking)
        if self._held:
            self._held.append(frame)
        else:
            self._append(frame)

    def _frame(
        self, effects: list[Any], changes: list[Change], notes: list[Any], talking: dict[Connection, None]
    ) -> Frame:
        frame = Frame(effects, changes, notes)
        frame.replies = [(connection, self._take(connection)) for connection in talking]
        return frame

    def _append(self, frame: Frame) -> bool:
        assert self.journal is not None
        number = self.journal.last_frame
        try:
            if frame.effects or frame.changes or frame.notes:  # else it only waits behind earlier ones
                number = self.journal.append(frame.effects, frame.changes, frame.notes)
        except JournalError as error:
            self._refused(frame, error)
            return False
        if self.always:
            self._unsynced += 1
            self.journal.when_durable(number, lambda error: self._durable(frame, error))
        else:
            self._release(frame)
        return True

    def _refused(self, frame: Frame, error: JournalError) -> None:
        """The disk takes nothing at present: the frame goes first when it does."""
        if not self.engine.write_error:
            log.error("the journal cannot be written: %s; writes are refused until it can", error)
            self.engine.write_error = str(error)
            self.engine.refresh()
        self._held.insert(0, frame)
        self.loop.call_later(RETRY_SECONDS, self._retry)

    def _retry(self) -> None:
        while self._held:
            if not self._append(self._held.pop(0)):
                return
        log.warning("the journal can be written again")
        self.engine.write_error = ""
        self.engine.refresh()

    def _durable(self, frame: Frame, error: str) -> None:
        self._unsynced -= 1
        if not error:
            self._release(frame)
            return
        # Whether these writes will survive is unknown, so they are neither confirmed nor denied.
        log.critical("%s; clients that wait for it are disconnected, writes are refused until a restart", error)
        self.engine.write_error = error
        self.engine.refresh()
        for connection, data in frame.replies:
            if data:
                connection.clients.drop(connection, "its writes could not be made durable")

    def _release(self, frame: Frame) -> None:
        for connection, data in frame.replies:
            if data and not connection.closed:
                connection.transport.write(data)
            self._after_write(connection)
        if frame.changes:
            self.accept(frame.changes)

    # -- writing ---------------------------------------------------------------------------------------------

    def _take(self, connection: Connection) -> bytes:
        out = connection.session.out
        data = b"".join(out) if len(out) != 1 else out[0]
        out.clear()
        return data

    def _write(self, connection: Connection) -> None:
        s = connection.session
        out = s.out
        if out and not connection.closed:
            connection.transport.write(b"".join(out))
        out.clear()
        if s.close_after_reply or connection.full:
            self._after_write(connection)

    def _after_write(self, connection: Connection) -> None:
        if connection.session.close_after_reply and not connection.closed and not connection.session.out:
            connection.transport.close()
            self.engine.forget(connection.session)  # from now on: what follows must not find it any more
        elif connection.full and connection.clients.over_output_limit(connection):
            connection.clients.drop(connection, "output buffer limit")

