"""A manager in a world without I/O: time, turns of the loop, the journal and the endpoints are the test's."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from typing import Any

import orjson

from ferrite_hooks.clock import ManualClock
from ferrite_hooks.messagepack import pack, unpack
from ferrite_hooks.store.frames import Picked
from ferrite_hooks.store.journal import JournalError
from ferrite_hooks.webhooks.courier import Terms, request_of
from ferrite_hooks.webhooks.delivery import Delivery
from ferrite_hooks.webhooks.desk import Seams, Settings
from ferrite_hooks.webhooks.manager import Manager
from ferrite_hooks.webhooks.model import Change, Errand, Outcome, Stage, Tls
from ferrite_hooks.webhooks.options import Limits

OK = Outcome(Stage.STATUS, 200, 5.0, "", b"thanks", "")
FAILURE = Outcome(Stage.STATUS, 500, 5.0, "", b"oops", "")
REFUSED = Outcome(Stage.CONNECT, 0, 1.0, "connection refused", b"", "")
CUT = Outcome(Stage.CUT, 0, 5.0, "the server is stopping", b"", "")
GONE = Outcome(Stage.STATUS, 410, 5.0, "", b"", "")


class Alarm:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Sent:
    """A request on its way."""

    def __init__(self, errand: Errand, done: Callable[[Outcome], None], terms: Terms) -> None:
        self.delivery, self.request = request_of(errand, terms)
        self.done = done
        self.headers = dict(self.request.headers)
        self.json: Any = orjson.loads(self.request.body)

    @property
    def hook(self) -> str:
        return self.headers["X-Ferrite-Webhook"]

    @property
    def events(self) -> list[Any]:
        found: list[Any] = self.json.get("events", [self.json])
        return found

    @property
    def sequences(self) -> list[int]:
        return [event["metadata"]["sequence"] for event in self.events]


class World:
    """`manager` can be replaced by one that only knows the journal: `crash()`."""

    def __init__(self, settings: Settings | None = None, limits: Limits | None = None, tls: Tls | None = None) -> None:
        self.clock = ManualClock()
        self.settings = settings or Settings()
        self.limits = limits or Limits()
        self.terms = Terms("00000000", tls=tls or Tls(), max_value_bytes=self.settings.max_value_bytes)
        self.frames: list[bytes] = []  # the journal; the first one is frame 1
        self.snapshot: tuple[int, bytes] = (0, b"")  # the frame that it covers, and what it says
        self.lost = 0  # the frames up to this one are gone
        self.broken = ""  # why frames cannot be read
        self.reads = 0  # frames that were picked
        self.position = 0
        self.attempts: list[tuple[Any, ...]] = []
        self.random = 0.5
        self.admins = {"default"}
        self.deleted: set[str] = set()  # users
        self.unreadable: set[tuple[str, bytes]] = set()  # (user, key)
        self._begin()

    def _begin(self) -> None:
        self._alarms: list[tuple[int, int, Alarm]] = []
        self._order = itertools.count()
        self._soon: list[Callable[[], None]] = []
        self._notes: list[Any] = []
        self._changes: list[Change] = []
        self.flying: list[Sent] = []
        self.manager = Manager(
            Seams(
                clock=self.clock, at=self._at, soon=self._soon.append,
                post=lambda errand, done: self.flying.append(Sent(errand, done, self.terms)),
                notes=self._notes.extend, next_position=self.next_position, publish=self._changes.append,
                journal_id="00000000", random=lambda: self.random,
                attempt=lambda *columns: self.attempts.append(columns), pick=self._pick,
                aside=lambda job, done: self._soon.append(lambda: done(job())),
                is_admin=lambda user: user in self.admins,
                is_user=lambda user: user not in self.deleted,
                may_read=lambda user, key: user not in self.deleted and (user, key) not in self.unreadable,
                reads_all=lambda user: user not in self.deleted and all(other != user for other, _ in self.unreadable),
            ),
            self.settings, self.limits,
        )  # fmt: skip

    def _at(self, when: int, callback: Callable[[], None]) -> Alarm:
        alarm = Alarm(callback)
        heappush(self._alarms, (when, next(self._order), alarm))
        return alarm

    def next_position(self) -> int:
        self.position += 1
        return self.position

    # -- what a server does --------------------------------------------------------------------------------

    def start(self) -> World:
        self.manager.start()
        return self

    def create(self, name: str = "w", options: str = "", owner: str = "default") -> Delivery:
        self.manager.create(name.encode(), b"http://example.com/", options.encode().split(), owner)
        return self.manager.find(name.encode(), owner)

    def write(self, key: str | None = "k", value: bytes = b"v", event: str = "set", db: int = 0) -> int:
        """A command: returns the position of its change, 0 if no webhook wants it."""
        raw = key.encode() if key is not None else None
        hooks = self.manager.matcher.match(db, event, raw)
        if not hooks:
            return 0
        position = self.next_position()
        self._changes.append(
            Change(position, self.clock.now, db, event, raw, value, None, 0, "SET", 1, "127.0.0.1", 0, hooks)
        )
        return position

    def tick(self) -> None:
        """One turn of the loop: the journal's append, then what was asked for soon."""
        if self._changes or self._notes:
            changes, notes = self._changes.copy(), self._notes.copy()
            self._changes.clear()
            self._notes.clear()
            self.frames.append(pack([changes, notes]))
            self.manager.accept(changes, len(self.frames))
        due, self._soon[:] = self._soon.copy(), []
        for callback in due:
            callback()

    def settle(self) -> None:
        """Turns until nothing is left to do at this instant."""
        while self._changes or self._notes or self._soon or self._ring():
            self.tick()

    def _ring(self) -> bool:
        rang = False
        while self._alarms and self._alarms[0][0] <= self.clock.now:
            callback = heappop(self._alarms)[2].callback
            if callback is not None:
                callback()
                rang = True
        return rang

    def advance(self, ms: int) -> None:
        """Time passes, alarm by alarm."""
        end = self.clock.now + ms
        self.settle()
        while self._alarms and self._alarms[0][0] <= end:
            self.clock.now = max(self.clock.now, self._alarms[0][0])
            self._ring()
            self.settle()
        self.clock.now = end
        self.settle()

    def answer(self, outcome: Outcome = OK, index: int = 0) -> Sent:
        """The endpoint answers one request."""
        sent = self.flying.pop(index)
        sent.done(outcome)
        self.settle()
        return sent

    def answer_all(self, outcome: Outcome = OK) -> list[Sent]:
        """The endpoint answers whatever is sent, as long as something is."""
        answered = []
        self.settle()
        while self.flying:
            answered.append(self.answer(outcome))
        return answered

    def _pick(self, numbers: Sequence[int]) -> Iterator[Picked]:
        assert list(numbers) == sorted(set(numbers)), "frames are read in order, each once"
        if self.broken:
            raise JournalError(self.broken)
        for number in numbers:
            if number <= self.lost:
                raise JournalError(f"frame {number} is gone")
            self.reads += 1
            changes, _ = unpack(self.frames[number - 1])
            yield Picked(number, pack(changes))

    def crash(self, through_snapshot: bool = False) -> None:
        """kill -9 and restart: what was not in the journal is gone. Or a snapshot is taken before, and the frames go
        that are not needed beside it."""
        if through_snapshot:
            self.settle()
            self.lost = (self.manager.lowest_frame or len(self.frames) + 1) - 1
            self.snapshot = (len(self.frames), pack([[], self.manager.state()]))
        self._begin()
        covered, state = self.snapshot
        if state:
            self.manager.replay(*unpack(state))
        for number, frame in enumerate(self.frames[covered:], covered + 1):
            self.manager.replay(*unpack(frame), number)
        self.manager.start()

    # -- what a test asks ----------------------------------------------------------------------------------

    def pending(self, delivery: Delivery) -> list[int]:
        """The positions of a webhook's pending events, in memory or not, ascending."""
        queue = delivery.queue
        changes = [*(event.change for event in queue.lanes.placed()), *queue.lanes.arrived]
        found = sorted([*(change.position for change in changes), *queue.spill])
        assert len(found) == len(set(found)) == len(queue)
        return found

    def balance(self, delivery: Delivery) -> bool:
        c = delivery.counters
        accounted = c.delivered + len(delivery.queue) + c.dead + c.dropped + c.coalesced + c.purged
        return c.matched == accounted
