"""What all webhooks' deliveries share: the seams to the outside, the settings, the notes for the journal, turns.

Nothing here waits or does I/O. Requests go out through `post(errand, done)`, which calls `done(outcome)` later;
time comes from `clock`, `at` and `soon`. Work is done in turns: each turn of the loop sends a bounded number of
events, webhook by webhook, so that neither commands nor other webhooks wait for a long queue.

What is scarce is shared so that nobody can take it all. Connections: no webhook has more requests in flight than
connections are left over, so that many that hang leave room for the others. Room for pending events and dead
letters: when the bound of all is reached, a webhook that has less than its equal part of it is still let in; so
the bound can be exceeded, but not doubled.

Notes are small lists for the journal; replayed in order they rebuild the state (see manager.py):

    ["hook", serial, fields | None]        defined, changed; None: deleted
    ["queue", serial, [[change, coalesced], …]]   put into the queue beside what changes themselves say
    ["ack", serial, positions, at]         delivered
    ["retry", serial, positions, attempt, spent, next_at]
    ["dead", serial, positions, at, attempts, reason, http status]
    ["drop", serial, positions, at, why]   "overflow" (a dead letter remains) or "purged"
    ["cut", serial, first, last, but, at]  purged: what was only in the journal, from one position to another
    ["spilled", serial, positions, frames, since, {position: coalesced}]   pending, and in the journal; see spill.py
    ["merge", serial, replaced, position]  coalesced
    ["undead", serial, positions]          dead letters taken out
    ["failing", serial, failures, for_ms]   the circuit is open: so many failures in a row, over so long a time
    ["letter", serial, change, at, attempts, reason, http status]   a dead letter, whole
    ["counters", serial, {name: n}] and ["serial", n]
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ferrite_hooks.clock import Clock
from ferrite_hooks.store.frames import Picked
from ferrite_hooks.webhooks.model import Done, Errand, Outcome

if TYPE_CHECKING:
    from ferrite_hooks.webhooks.delivery import Delivery

Note = list[Any]
Post = Callable[[Errand, Done], None]
Pick = Callable[[Sequence[int]], Iterable[Picked]]
Aside = Callable[[Callable[[], Any], Callable[[Any], None]], object]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration says about delivery in general. "of a user": of one who is no administrator, 0 = any."""

    max_webhooks: int = 1000
    max_user_webhooks: int = 0  # of a user
    max_pending: int = 10_000  # events, for all webhooks together
    max_user_pending: int = 0  # of all webhooks of a user
    memory_events: int = 100_000  # pending events that are kept in memory, for all webhooks together; the others …
    memory_floor: int = 256  # … are only in the journal, but each webhook may have so many in memory
    max_dead: int = 1000  # dead letters, of all webhooks together
    max_connections: int = 512  # requests in flight
    disable_after_ms: int = 5 * 86_400_000
    backoff_multiplier: float = 2.0
    jitter: float = 0.2
    circuit_failures: int = 5
    max_value_bytes: int = 65_536
    events_per_turn: int = 64  # that one turn of the loop sends; an eighth of them before it is another webhook's turn


class Attempt(Protocol):
    """Receives one row of the delivery history per request; see history.Row for the columns."""

    def __call__(self, *columns: Any) -> None: ...


class Timer(Protocol):
    def cancel(self) -> None: ...


@dataclass(slots=True)
class Seams:
    """The outside, as the library sees it."""

    clock: Clock
    at: Callable[[int, Callable[[], None]], Timer]  # calls back at an instant in unix ms
    soon: Callable[[Callable[[], None]], object]  # calls back in the loop's next turn
    post: Post
    notes: Callable[[list[Note]], object]  # takes notes for the journal's next append
    next_position: Callable[[], int]
    publish: Callable[[Any], object]  # takes a Change of our own for the journal; it comes back through accept()
    journal_id: str = field(default_factory=lambda: secrets.token_hex(4))  # of ids; without a journal, of this run
    random: Callable[[], float] = random.random
    attempt: Attempt = lambda *columns: None
    pick: Pick | None = None  # reads changes of chosen frames, in any thread; None: there is no journal
    aside: Aside = lambda job, done: done(job())  # runs a job off the loop, then calls back in it
    is_admin: Callable[[str], bool] = lambda user: user == "default"  # sees every user's webhooks
    is_user: Callable[[str], bool] = lambda user: True  # whether there is a user of that name
    may_read: Callable[[str, bytes], bool] | None = None  # whether a user may read a key; None: all may
    reads_all: Callable[[str], bool] = lambda user: True  # whether a user may read every key


class Account:
    """What some webhooks have together: all of the server, or those of one owner."""

    __slots__ = ("dead", "held", "max_pending", "memory_events", "pending", "spilled", "webhooks")

    def __init__(self, max_pending: int) -> None:
        self.webhooks = 0
        self.pending = 0  # events …
        self.spilled = 0  # … and how many of them are only in the journal (counted for all of the server)
        self.memory_events = 0  # how many others there may be (likewise)
        self.dead = 0  # letters
        self.max_pending = max_pending  # 0 = any number
        self.held = False  # the owner is no user any more: nothing is sent

    def room(self, own: int, times: int) -> int:
        """How many events a webhook that has `own` pending may add; the bound counts `times` over."""
        bound = self.max_pending * times
        return max(bound - self.pending, bound // max(self.webhooks, 1) - own)


class Desk:
    """The shared state of all deliveries."""

    __slots__ = (
        "_acks", "_busy", "_notes", "_scheduled", "accounts", "in_flight", "outside", "settings", "total",
    )  # fmt: skip

    def __init__(self, outside: Seams, settings: Settings) -> None:
        self.outside = outside
        self.settings = settings
        self.in_flight = 0  # requests of all webhooks
        self.total = Account(settings.max_pending)
        self.total.memory_events = settings.memory_events
        self.accounts: dict[str, Account] = {}  # by owner
        self._notes: list[Note] = []
        self._acks: dict[int, list[int]] = {}
        self._busy: dict[Delivery, None] = {}  # have something to send, in the order of their turns
        self._scheduled = False

    @property
    def pending(self) -> int:
        """Events of all webhooks."""
        return self.total.pending

    def account(self, owner: str) -> Account:
        """What an owner's webhooks have together."""
        return self.accounts.setdefault(owner, Account(self.settings.max_user_pending))

    def leave(self, owner: str) -> None:
        """One of an owner's webhooks is gone."""
        account = self.account(owner)
        account.webhooks -= 1
        if not account.webhooks:
            del self.accounts[owner]

    def may_post(self, own: int) -> bool:
        """Whether a webhook with `own` requests in flight may send one more."""
        left = self.settings.max_connections - self.in_flight
        return left > 0 and (own < left or not own)

    def post(self, errand: Errand, done: Done) -> None:
        """Sends a request, which counts as in flight until it is answered."""
        self.in_flight += 1
        self.outside.post(errand, partial(self._answered, done))

    def _answered(self, done: Done, outcome: Outcome) -> None:
        self.in_flight -= 1
        if self._busy:
            self._schedule()
        done(outcome)

    def note(self, *note: Any) -> None:
        """Keeps a note for the end of this turn."""
        self._notes.append(list(note))
        self._schedule()

    def ack(self, serial: int, positions: list[int]) -> None:
        """Delivered; one note per webhook and turn takes them all."""
        self._acks.setdefault(serial, []).extend(positions)
        self._schedule()

    def wake(self, delivery: Delivery) -> None:
        """Something may be sent."""
        self._busy[delivery] = None
        self._schedule()

    def rest(self, delivery: Delivery) -> None:
        """Its webhook is gone."""
        self._busy.pop(delivery, None)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self.outside.soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        now = self.outside.clock.tick()
        budget = self.settings.events_per_turn
        while self._busy and budget > 0 and self.in_flight < self.settings.max_connections:
            delivery = next(iter(self._busy))
            del self._busy[delivery]
            share = min(self.settings.events_per_turn // 8, budget)
            sent = delivery.send_due(now, share)
            budget -= max(sent, 1)
            if sent >= share:
                self._busy[delivery] = None
        self.flush()
        if self._busy and self.in_flight < self.settings.max_connections:
            self._schedule()  # else the next answer does

    def flush(self) -> None:
        """Hands the notes over. They are never lost or early: what they tell has happened."""
        if self._acks:
            now = self.outside.clock.now
            self._notes.extend(["ack", serial, positions, now] for serial, positions in self._acks.items())
            self._acks = {}
        if self._notes:
            notes, self._notes = self._notes, []
            self.outside.notes(notes)
