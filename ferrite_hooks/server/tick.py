"""A loop tick: what has arrived runs; then journal first, then replies, then webhooks.

Chunks run when the loop has read what all clients have sent: receiving, running and sending each go from client to
client with their code in the processor's caches, which is worth a tenth of a command's time.

Connections run their commands and `post` what they have to say. Once per tick `end` takes all effects and
matched changes from the engine, appends them to the journal in one frame, and only then lets the replies of
that tick leave and the webhooks know. With `fsync always` the replies wait until the frame is on the disk, and
with `everysec` too while the disk is more than two seconds behind; under `always` a tick lasts as long as an fsync is
under way, and until those whom it has answered have come back (see Gathering). When the disk refuses, those who have
written wait until it takes the frame, new writes are refused meanwhile, and reads go on. What comes behind something
that waits waits, too, whatever it is: replies and webhooks keep the order of the commands.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from time import perf_counter, perf_counter_ns
from typing import Any, Final, Protocol

from ferrite_hooks.engine.engine import Engine
from ferrite_hooks.server.connection import Connection
from ferrite_hooks.server.gathering import Gathering
from ferrite_hooks.store.journal import JournalError
from ferrite_hooks.webhooks.model import Change

log = logging.getLogger("ferrite_hooks.server")

_now: Final = perf_counter  # without a look-up in the compiled build
CLOCK_SECONDS: Final = 250e-6  # how old the engine's idea of the time may be
LAG_MS = 2000  # how far behind the disk may be under `everysec` before writers have to wait for it
NO_LIMIT: Final = 1 << 62
MOST_KEPT, MOST_READ = 10_000, 16 << 20  # effects, and bytes from clients, of a tick that lasts as long as an fsync
MOST_ARRIVED: Final = 256 << 10  # bytes from clients that wait until the loop has read from the others
RETRY_SECONDS: Final = 0.2  # between attempts to append what the disk has refused


class JournalLike(Protocol):
    """What a tick needs of a journal; see store/journal.py."""

    broken: bool
    fsync: Any
    last_frame: int
    pace: float

    @property
    def fsync_lag_ms(self) -> int: ...

    def append(self, commands: Sequence[Any], changes: Sequence[Any], notes: Sequence[Any]) -> int: ...

    def when_synced(self, frame: int, callback: Callable[[str], object]) -> None: ...


class Frame:
    """What one tick produced and has not yet been acknowledged."""

    __slots__ = ("changes", "effects", "notes", "number", "replies")

    def __init__(self, effects: list[Any], changes: list[Change], notes: list[Any]) -> None:
        self.effects = effects
        self.changes = changes
        self.notes = notes
        self.number = 0  # in the journal
        self.replies: list[tuple[Connection, bytes, bool]] = []  # the flag: may depend on what this frame has


class Tick:
    """Shared by all connections of a server."""

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        self.engine = engine
        self.loop = loop
        self.journal: JournalLike | None = None
        self.always = False  # fsync always: replies wait for the disk
        self.accept: Callable[[list[Change], int], None] = lambda changes, frame: None  # the webhooks' entrance
        self.reply_limit = NO_LIMIT  # bytes from which a reply may be more than an output buffer limit
        self.clients_limit = 0  # maxmemory-clients in bytes; 0: nobody counts what clients take
        self.delayed = 0  # frames that had to wait because the disk was behind
        self._talking: dict[Connection, bool] = {}  # True: it may have changed something in this tick
        self._produced = 0  # what this tick has for the journal so far
        self._notes: list[Any] = []
        self._arrived: list[Connection] = []  # have a chunk that has not run yet …
        self._arrived_bytes = 0  # … and how much it is
        self._scheduled = False
        self._told = 0.0  # time.perf_counter() when the engine was told the time
        self._held: list[Frame] = []  # frames that the disk has refused, oldest first
        self._stuck: set[Connection] = set()  # those whose replies wait there; later ones wait behind them
        self._unsynced = 0  # frames that wait for fsync …
        self._unsynced_frame = 0  # … and the number of the last one in the journal
        self._behind = False  # the disk is more than LAG_MS behind
        self._put_off = False  # the end of the tick, until the fsync under way has ended
        self._read_before = 0  # bytes from clients when the last tick ended
        self._gathering = Gathering()
        engine.on_pending = self.schedule

    def arrived(self, connection: Connection, size: int) -> None:
        """A connection has a chunk of so many bytes: it runs when the loop has been around, or there is much."""
        self._arrived.append(connection)
        self._arrived_bytes += size
        if self._arrived_bytes >= MOST_ARRIVED:
            self.read()
        self.schedule()

    def read(self) -> None:
        """Runs what has arrived."""
        arrived, self._arrived = self._arrived, []
        self._arrived_bytes = 0
        for connection in arrived:
            try:
                connection.read()
            except Exception:  # a fault of ours must not silence the other clients
                log.exception("reading failed")
                connection.clients.drop(connection, "internal error")

    def began(self) -> int:
        """Commands are about to run: their time begins. Returns the time in unix ms, as the engine's clock has it."""
        engine = self.engine
        engine.lap = now = _now()
        if now - self._told > CLOCK_SECONDS:
            self._told = now
            engine.clock.tick()
        return engine.clock.now

    def woken(self, connection: Connection) -> None:
        """A session got something to say outside its own command, or was unblocked."""
        self._talking[connection] = True
        if connection.waiting or connection.parser.error is not None:
            self.loop.call_soon(connection.resume)
        self.schedule()

    def forget(self, connection: Connection) -> None:
        self._talking.pop(connection, None)

    def post(self, connection: Connection) -> None:
        """A connection has run commands. Replies that depend on nothing unjournaled leave at once."""
        engine = self.engine
        if engine.effects or engine.changes or self._notes or self._held or self._unsynced:
            produced = len(engine.effects) + len(engine.changes) + len(self._notes)
            wrote = produced != self._produced or self._talking.get(connection, False)
            self._produced = produced
            self._talking[connection] = wrote
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
            self.loop.call_soon(self._turned)

    def _turned(self) -> None:
        """The loop has been once around: runs what has arrived and ends the tick, unless its frame would have to wait
        for the disk anyway."""
        self.read()
        self._scheduled = False
        if not self._talking and self.settled:
            return
        if self.always:
            if self._unsynced and not self._large():
                self._put_off = True
                return
            if self._gathering.incomplete(len(self._talking), _now()):
                self.schedule()
                return
        self.end()

    def _large(self) -> bool:
        """Whether there is enough for a frame."""
        engine = self.engine
        return (
            len(engine.effects) + len(engine.changes) + len(self._notes) >= MOST_KEPT
            or not 0 <= engine.host.input_bytes - self._read_before < MOST_READ
        )

    def end(self) -> None:
        """Journals what happened since the last call, then lets the replies go."""
        self._read_before = self.engine.host.input_bytes
        effects, changes = self.engine.drain()
        notes, self._notes = self._notes, []
        self._produced = 0
        talking, self._talking = self._talking, {}
        if self.journal is None or not (effects or changes or notes or self._held or self._unsynced):
            for connection in talking:
                self._write(connection)
            if changes:
                self.accept(changes, 0)
            return
        frame = Frame(effects, changes, notes)
        if self._held:
            # Client's writes are refused: whatever the frame has was not done by those who talk.
            frame.replies = [(c, self._take(c), True) for c in talking if c in self._stuck]
            if effects or changes or notes or frame.replies:
                self._held.append(frame)
                self._owe(frame, 1)
            self._free([(c, self._take(c), False) for c in talking if c not in self._stuck])
        else:
            frame.replies = [(connection, self._take(connection), wrote) for connection, wrote in talking.items()]
            self._append(frame)

    @property
    def settled(self) -> bool:
        """Nothing waits for the journal: it has all that has happened."""
        engine = self.engine
        return not (engine.effects or engine.changes or self._notes or self._held or self._unsynced)

    def _append(self, frame: Frame) -> bool:
        """False: the disk has refused, and the frame is held."""
        assert self.journal is not None
        number = self.journal.last_frame
        try:
            if frame.effects or frame.changes or frame.notes:  # else it only waits behind earlier ones
                started = perf_counter_ns()
                number = frame.number = self.journal.append(frame.effects, frame.changes, frame.notes)
                self.engine.latency.add("aof-write", perf_counter_ns() - started)
        except JournalError as error:
            return self._refused(frame, str(error))
        if self.always or (self.journal.fsync == "everysec" and self._lagging()):
            self._await(frame, number)
        else:
            self._follow(frame)
        return True

    def _await(self, frame: Frame, number: int) -> None:
        """Releases a frame once that number is durable; it is the last one's that waits, or a later one."""
        self._unsynced += 1
        self._unsynced_frame = number
        self._owe(frame, 1)
        waiting_since = perf_counter_ns()
        assert self.journal is not None
        self.journal.when_synced(number, lambda error: self._durable(frame, waiting_since, error))

    def _follow(self, frame: Frame) -> None:
        """Releases a frame that need not wait itself, behind what waits already."""
        if self._unsynced:
            self._await(frame, self._unsynced_frame)
        else:
            self._release(frame)

    def _free(self, replies: list[tuple[Connection, bytes, bool]]) -> None:
        """Sends replies that depend on nothing which the disk has refused."""
        if replies:
            frame = Frame([], [], [])
            frame.replies = replies
            self._follow(frame)

    def _owe(self, frame: Frame, more: int) -> None:
        """Counts replies that wait, of each connection: it is not closed before they are sent."""
        for connection, _, _ in frame.replies:
            connection.owed += more

    def _refused(self, frame: Frame, error: str) -> bool:
        """The disk has refused a frame: what may depend on it waits, or is lost if the journal takes nothing any more;
        the rest of its replies leave. Returns whether nothing waits."""
        assert self.journal is not None
        lost = self.journal.broken
        free = [reply for reply in frame.replies if not reply[2]]
        frame.replies = [reply for reply in frame.replies if reply[2]]
        if lost:
            self._lose(frame, error)
        else:
            self._hold(frame, error)
        self._free(free)
        return lost

    def _hold(self, frame: Frame, error: str) -> None:
        """Keeps a frame until the disk takes it."""
        if not self.engine.write_error:
            log.error("the journal cannot be written: %s; writes are refused until it can", error)
            self.engine.write_error = error
            self.engine.refresh()
        self._stuck.update(connection for connection, _, _ in frame.replies)
        self._held.insert(0, frame)
        self._owe(frame, 1)
        self.loop.call_later(RETRY_SECONDS, self._retry)

    def _lagging(self) -> bool:
        assert self.journal is not None
        lag = self.journal.fsync_lag_ms
        if lag <= LAG_MS:
            if self._behind:
                log.warning("the disk has caught up")
            self._behind = False
            return False
        if not self._behind:
            log.warning("the disk is %.1f s behind: writes wait for it", lag / 1000)
        self._behind = True
        self.delayed += 1
        return True

    def _retry(self) -> None:
        while self._held:
            frame = self._held.pop(0)
            self._owe(frame, -1)
            if not self._append(frame):
                return
        self._stuck.clear()
        assert self.journal is not None
        if self.journal.broken:
            return
        log.warning("the journal can be written again")
        self.engine.write_error = ""
        self.engine.refresh()

    def _durable(self, frame: Frame, waiting_since: int, error: str) -> None:
        self._unsynced -= 1
        self._owe(frame, -1)
        if self._put_off:
            self._put_off = False
            self.schedule()
        event = "aof-fsync-always" if self.always else "aof-write-pending-fsync"
        self.engine.latency.add(event, perf_counter_ns() - waiting_since)
        if error:
            self._lose(frame, error)
            return
        self._release(frame)
        if self.always:
            assert self.journal is not None
            self._gathering.answered(len(frame.replies), self.journal.pace, _now())

    def _lose(self, frame: Frame, error: str) -> None:
        """Whether what its replies confirm will survive is unknown, so it is neither confirmed nor denied."""
        if self.engine.write_error != error:
            log.critical("%s; clients that wait for it are disconnected, writes are refused until a restart", error)
            self.engine.write_error = error
            self.engine.refresh()
        for connection, data, _ in frame.replies:
            if data or connection.session.close_after_reply:
                connection.clients.drop(connection, "its writes could not be made durable")

    def _release(self, frame: Frame) -> None:
        for connection, data, _ in frame.replies:
            self._send(connection, data)
        if frame.changes:
            self.accept(frame.changes, frame.number)

    # -- writing ---------------------------------------------------------------------------------------------

    def _take(self, connection: Connection) -> bytes:
        out = connection.session.out
        data = b"".join(out) if len(out) != 1 else out[0]
        out.clear()
        return data

    def _write(self, connection: Connection) -> None:
        self._send(connection, self._take(connection))

    def _send(self, connection: Connection, data: bytes) -> None:
        size = len(data)
        if size and not connection.closed:
            connection.session.last_at = self.engine.clock.now
            if size >= self.reply_limit and connection.clients.over_output_limit(connection, size):
                connection.clients.drop(connection, "output buffer limit")
                return
            self.engine.host.output_bytes += size
            self.engine.host.writes += 1
            connection.transport.write(data)
        if connection.full or connection.session.close_after_reply or self.clients_limit:
            self._after_write(connection)

    def _after_write(self, connection: Connection) -> None:
        if connection.session.close_after_reply and not (
            connection.closed or connection.session.out or connection.owed
        ):
            connection.transport.close()
            connection.clients.vanish(connection)
        elif connection.full and connection.clients.over_output_limit(connection, 0):
            connection.clients.drop(connection, "output buffer limit")
        elif self.clients_limit:
            connection.clients.weigh(connection, 0)
