"""Brings errands to those who send them: sender processes, or the command loop itself.

The desk decides what goes when; here is only the way out, as the desk's `post`. Processes start in the background as
soon as there is a webhook; until one says that it is there, and where there are none (`processes` = 0), the loop
sends. Each process gets what has come together in a turn as one message. A socket that is full is not written
to: errands wait as they are, and of those there are never more than requests may be in flight.

An errand that is small work and that nothing is ahead of does not go through a process either: the way there and two
wake-ups cost more than sending it. The loop sends one of those in a millisecond at most, for commands come first.

A webhook has a home among the processes, so that its connections are used again; when the home has more to do than
another one (SLACK), the other one takes over, so that one busy webhook can use all cores.

What a process had when it died is sent again, by another one or when it is back: receivers know the ids. An
errand that DEATHS processes have died with may be the reason, and counts as a failed attempt. A process that keeps
dying comes back ever later; meanwhile what is new goes out by the others, or by the loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import ferrite_hooks
from ferrite_hooks.messagepack import Messages, pack_message
from ferrite_hooks.webhooks.asymmetric import is_private
from ferrite_hooks.webhooks.courier import Courier, Terms
from ferrite_hooks.webhooks.model import Done, Errand, Outcome, Stage, Webhook, Written
from ferrite_hooks.webhooks.payload import delivery_id, without_bulk
from ferrite_hooks.webhooks.sending import (
    CLOSE,
    FORGET,
    packed_errand,
    packed_hook,
    packed_terms,
    unpack_outcomes,
)

log = logging.getLogger(__name__)

MAX_PROCESSES = 4  # of those that are started when the configuration leaves the number to us
SLACK = 4  # errands that a webhook's home may have more than another process
DEATHS = 3
CHUNK = 1 << 17  # bytes written at once
HIGH_WATER = 1 << 20  # bytes in a socket's buffer beyond which nothing more is written
KNOWN_HOOKS = 4096  # definitions that a process keeps
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0  # seconds before a process that died soon is started again
STEADY_SECONDS = 10.0  # one that lived so long did not die soon
WATCH_SECONDS = 5.0  # between looks for processes that hang
HANGS_SECONDS = 30.0  # an errand overdue for so long: its process hangs
END_SECONDS = 0.5  # for a process to end whose socket is closed
LEAVE_SECONDS = 2.0  # beyond the grace, for all of that
SMALL_BYTES, SMALL_COUNT = 1024, 64  # of a value, and of its parts, that the loop sends although there are processes
_CODE = "from ferrite_hooks.webhooks.sending import main; main()"


def processes_for(configured: int) -> int:
    """How many processes `webhooks.delivery.sender_processes` stands for; -1: one less than there are cores."""
    if configured >= 0:
        return configured
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(cores - 1, 1), MAX_PROCESSES)


def is_small(errand: Errand) -> bool:
    """Whether sending an errand is hardly more work than giving it away. A repeated one may have to connect, too."""
    webhook = errand.webhook
    if errand.attempt > 1 or webhook.batch or not webhook.url.startswith("http:") or is_private(webhook.secret):
        return False
    [(change, _)] = errand.events
    return _has_few_parts(change.new) and _has_few_parts(change.old) and without_bulk(change, SMALL_BYTES) is change


def _has_few_parts(written: Written) -> bool:
    return type(written) is not tuple or type(written[1]) is not list or len(written[1]) <= SMALL_COUNT


class Flight:
    """An errand on its way."""

    __slots__ = ("deaths", "done", "errand", "since")

    def __init__(self, errand: Errand, done: Done) -> None:
        self.errand = errand
        self.done = done
        self.deaths = 0  # of processes that had it
        self.since = 0.0  # the loop's time when it was written


class Postman:
    """`post` is what the desk calls. All methods are for the loop's thread."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, terms: Terms, processes: int = 0, nice: int = 0,
        logs: tuple[str, str] = ("notice", "text"),
    ) -> None:  # fmt: skip
        """`nice`: of the processes, added to ours. `logs`: level and format of what they log on our standard error."""
        self.loop = loop
        self.terms = terms
        self.words = (str(nice), *logs)  # what a process is told at its start
        self.restarts = 0  # processes that have died
        self.closing = asyncio.Event()
        self.ready: list[Carrier] = []  # processes that take errands
        self._wanted = processes
        self._carriers: set[Carrier] = set()  # these, and those that are starting
        self._keepers: list[asyncio.Task[None]] = []  # of one process each
        self._own = Courier(terms)
        self._own_at = 0  # unix ms: when the loop has last sent something although there are processes
        self._stranded: deque[Flight] = deque()  # a process died with them, and there is no other one now

    def post(self, errand: Errand, done: Done) -> None:
        """Sends an errand; `done` gets its Outcome in a later turn, or never when we close."""
        if self.ready:
            carrier = self._choose(errand.webhook.serial)
            if errand.now == self._own_at or len(carrier) or not is_small(errand):
                carrier.take(Flight(errand, done))
                return
            self._own_at = errand.now
        elif self.closing.is_set():
            return
        self._own.carry(errand, done)

    def prepare(self) -> None:
        """There will be errands: starts the processes, in the background."""
        if len(self._keepers) < self._wanted and not self.closing.is_set():
            self._keepers = [self.loop.create_task(self._keep()) for _ in range(self._wanted)]

    def change(self, terms: Terms) -> None:
        """Other terms for what is posted from now on."""
        self.terms = terms
        self._own.change(terms)
        for carrier in self._carriers:
            carrier.tell(packed_terms(terms))

    async def close(self, grace_seconds: float) -> None:
        """Gives what is under way so long and ends the processes. What has no outcome then gets none."""
        self.closing.set()
        self.ready.clear()
        for carrier in self._carriers:
            carrier.leave(grace_seconds)
        await self._own.close(grace_seconds)
        if self._keepers:
            await asyncio.wait(self._keepers, timeout=grace_seconds + LEAVE_SECONDS)
            for keeper in self._keepers:
                keeper.cancel()
            await asyncio.wait(self._keepers)

    # -- by processes ------------------------------------------------------------------------------------------

    def _choose(self, serial: int) -> Carrier:
        ready = self.ready
        home = ready[serial % len(ready)]
        if len(ready) > 1:
            least = min(ready, key=len)
            if len(home) > len(least) + SLACK:
                return least
        return home

    async def _keep(self) -> None:
        """One process after the other, until we close."""
        failures = 0  # in a row that died soon
        while not self.closing.is_set():
            carrier = Carrier(self)
            self._carriers.add(carrier)
            started = self.loop.time()
            try:
                how = await carrier.run()
            except (OSError, subprocess.SubprocessError) as error:
                how = f"cannot be started: {getattr(error, 'strerror', None) or error}"
                self._give_up()
            finally:
                self._carriers.discard(carrier)
            if self.closing.is_set():
                return
            self.restarts += 1
            failures = 0 if self.loop.time() - started > STEADY_SECONDS else failures + 1
            pause = min(FIRST_PAUSE * 2.0 ** (failures - 1), LONGEST_PAUSE) if failures else 0.0
            log.warning(
                "a sender process is gone (%s), %d requests are sent again; the next one starts in %.1f s",
                how, carrier.lost, pause,
            )  # fmt: skip
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self.closing.wait()

    def arrived(self, carrier: Carrier) -> None:
        """A process takes errands."""
        if self.closing.is_set():
            return
        self.ready.append(carrier)
        while self._stranded:
            flight = self._stranded.popleft()
            self._choose(flight.errand.webhook.serial).take(flight)

    def died(self, carrier: Carrier, flights: list[Flight]) -> None:
        """A process is no more; these were with it."""
        if self.closing.is_set():
            return
        if carrier in self.ready:
            self.ready.remove(carrier)
        for flight in flights:
            if flight.deaths >= DEATHS:
                self._failed(flight)
            elif self.ready:
                self._choose(flight.errand.webhook.serial).take(flight)
            else:
                self._stranded.append(flight)

    def _give_up(self) -> None:
        """There will be no process for a while."""
        while self._stranded:
            flight = self._stranded.popleft()
            if flight.deaths:
                self._failed(flight)
            else:
                self._own.carry(flight.errand, flight.done)

    def _failed(self, flight: Flight) -> None:
        errand = flight.errand
        positions = [change.position for change, _ in errand.events]
        id = delivery_id(self.terms.journal_id, errand.webhook.serial, positions)
        error = f"{flight.deaths} sender process{'es' if flight.deaths > 1 else ''} died with this request"
        self.loop.call_soon(flight.done, Outcome(Stage.SEND, 0, 0.0, error, b"", "", id))


class Carrier:
    """Our end of the way to one process; `len()` counts the errands it has. It has the methods of asyncio.Protocol, and
    not that base class, so that the compiled build can give it a C struct."""

    def __init__(self, postman: Postman) -> None:
        self.lost = 0  # errands that it had when it died
        self._postman = postman
        self._process: subprocess.Popen[bytes] | None = None
        self._transport: asyncio.Transport | None = None
        self._gone: asyncio.Future[None] = postman.loop.create_future()
        self._messages = Messages()
        self._flights: dict[int, Flight] = {}  # by id: in the process, or in the socket
        self._waiting: deque[Flight] = deque()  # not yet written
        self._hooks: dict[int, Webhook] = {}  # the definitions that the process has, by serial
        self._last_id = 0
        self._here = self._full = self._scheduled = False

    def __len__(self) -> int:
        return len(self._flights) + len(self._waiting)

    # -- the process -------------------------------------------------------------------------------------------

    async def run(self) -> str:
        """Starts a process, and returns how it ended when it has. Raises OSError or SubprocessError."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                process = self._process = _start(theirs, self._postman.words)
            try:
                ours.setblocking(False)
                await self._postman.loop.create_unix_connection(lambda: cast(Any, self), sock=ours)
                watch = self._postman.loop.create_task(self._watch(process))
                try:
                    await self._gone
                finally:
                    watch.cancel()
            finally:
                if self._transport is not None:
                    self._transport.abort()
                code = await asyncio.to_thread(_reap, process)
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    async def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """Kills a process that owes an answer for far too long: it hangs."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            oldest = next(iter(self._flights.values()), None)
            if oldest is not None:
                overdue = self._postman.loop.time() - oldest.since - oldest.errand.webhook.timeout_ms / 1000
                if overdue > HANGS_SECONDS:
                    log.error("a sender process has not answered for %.0f s", overdue)
                    process.kill()

    def leave(self, grace_seconds: float) -> None:
        """Has the process end what is under way, and itself."""
        if self._here:
            self.tell(pack_message(CLOSE, int(grace_seconds * 1000)))
        elif self._process is not None:
            self._process.kill()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER)
        self.tell(packed_terms(self._postman.terms))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for flight in self._flights.values():
            flight.deaths += 1
        flights = [*self._flights.values(), *self._waiting]
        self.lost = len(flights)
        self._flights.clear()
        self._waiting.clear()
        self._postman.died(self, flights)
        if not self._gone.done():
            self._gone.set_result(None)

    def eof_received(self) -> None:
        """The process has ended: asyncio closes the transport, too."""

    # -- errands -----------------------------------------------------------------------------------------------

    def take(self, flight: Flight) -> None:
        """Sends an errand, with the others of this turn."""
        self._waiting.append(flight)
        if not self._scheduled:
            self._scheduled = True
            self._postman.loop.call_soon(self._flush)

    def tell(self, message: bytes) -> None:
        """Says something to the process, if there is one."""
        if self._transport is not None:
            self._transport.write(message)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._flush()

    def _flush(self) -> None:
        self._scheduled = False
        waiting, flights, since = self._waiting, self._flights, self._postman.loop.time()
        while waiting and not self._full and self._transport is not None:
            parts: list[bytes] = []
            size = 0
            while waiting and size < CHUNK:
                flight = waiting.popleft()
                self._last_id += 1
                flight.since = since
                try:
                    part = packed_errand(self._last_id, flight.errand)
                except (OverflowError, TypeError, ValueError) as odd:
                    error = f"cannot be rendered: {type(odd).__name__}"
                    self._postman.loop.call_soon(flight.done, Outcome(Stage.RENDER, 0, 0.0, error, b"", ""))
                    continue
                if self._hooks.get(flight.errand.webhook.serial) is not flight.errand.webhook:
                    parts.append(self._definition(flight.errand.webhook))
                flights[self._last_id] = flight
                parts.append(part)
                size += len(part)
            self._transport.write(b"".join(parts))

    def _definition(self, webhook: Webhook) -> bytes:
        forget = b""
        if len(self._hooks) >= KNOWN_HOOKS:
            self._hooks.clear()
            forget = pack_message(FORGET, None)
        self._hooks[webhook.serial] = webhook
        return forget + packed_hook(webhook)

    def data_received(self, data: bytes) -> None:
        for _, packed in self._messages.feed(data):
            outcomes = unpack_outcomes(packed)
            for id, outcome in outcomes:
                flight = self._flights.pop(id)
                try:
                    flight.done(outcome)
                except Exception:  # one that cannot be settled must not take the others with it
                    log.exception("an outcome could not be settled")
            if not outcomes:
                self._here = True
                self._postman.arrived(self)


def _start(end: socket.socket, words: Iterable[str]) -> subprocess.Popen[bytes]:
    """A sender process at the other end of a socket pair: of this very package, wherever it was found. Raises OSError
    or SubprocessError.

    A process group of its own keeps a terminal's signals away. A session of its own would, too, but Linux shares the
    processor among sessions first (autogroups), and nice values only count within one."""
    root = str(Path(ferrite_hooks.__file__).parents[1])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _CODE, *words],
        stdin=end.fileno(), stdout=subprocess.DEVNULL, process_group=0, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


def _reap(process: subprocess.Popen[bytes]) -> int:
    """The exit code of a process whose socket is closed; it has a moment to end by itself."""
    try:
        return process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
