"""An engine with one or more clients and no sockets, for tests of commands."""

from __future__ import annotations

from typing import Any

import ferrite_hooks.commands  # noqa: F401  (declares the commands)
from ferrite_hooks.clock import ManualClock
from ferrite_hooks.engine.command import all_commands
from ferrite_hooks.engine.engine import Engine
from ferrite_hooks.engine.run import run
from ferrite_hooks.engine.session import Session
from ferrite_hooks.webhooks.match import Matcher
from ferrite_hooks.webhooks.model import Webhook


class Audit:
    """Fails a test when an edited value was changed without a commit."""

    def __init__(self) -> None:
        self.open: dict[tuple[int, bytes], Any] = {}

    def opened(self, db: Any, key: bytes) -> None:
        self.open.setdefault((db.index, key), repr(db.data[key]))

    def committed(self, db: Any, key: bytes) -> None:
        self.open.pop((db.index, key), None)

    def check(self, engine: Engine) -> None:
        for (index, key), before in self.open.items():
            assert repr(engine.databases[index].data.get(key)) == before, f"{key!r} was edited but not committed"
        self.open.clear()


class Client:
    """One session; call it with a command: `client("SET", "k", 1)` returns the reply value."""

    def __init__(self, engine: Engine, audit: Audit) -> None:
        self.session = Session(engine, "127.0.0.1:50000", "127.0.0.1:6379")
        engine.sessions[self.session.id] = self.session
        self.audit = audit

    def __call__(self, *words: str | bytes | int | float) -> Any:
        argv = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        reply = run(self.session, argv)
        self.audit.check(self.session.engine)
        return reply

    def raw(self, *words: str | bytes | int | float) -> bytes:
        """The reply as it goes over the wire."""
        reply = self(*words)
        self.session.encode(self.session.out, reply)
        return self.sent()

    def sent(self) -> bytes:
        """What was sent since the last look."""
        data = b"".join(self.session.out)
        self.session.out.clear()
        return data


def for_everything() -> Matcher:
    """As of a server whose only webhook wants every event, those too that no webhook can ask for (rename_to)."""
    matcher = Matcher()
    matcher.set([Webhook(serial=1, name="all", url="http://127.0.0.1/")])
    declared = {event for made in all_commands() for event in made.events}
    scope = matcher._scope(0, "set")
    matcher._scopes = {db: dict.fromkeys(declared, scope) for db in range(16)}
    return matcher


class Harness:
    """An Engine whose clock stands still, with its effects and changes at hand."""

    def __init__(self, databases: int = 16) -> None:
        self.clock = ManualClock()
        self.engine = Engine(self.clock, databases)
        self.engine.slow_ns = 1 << 62  # a busy machine must not fill the slow log
        self.audit = Audit()
        self.engine.audit = self.audit
        self.client = self.connect()

    def connect(self) -> Client:
        return Client(self.engine, self.audit)

    def capture_all(self) -> None:
        """Makes every change interesting, as a webhook for everything would."""
        self.engine.set_interest(for_everything())

    def effects(self) -> list[list[bytes]]:
        """Effects since the last call, without the SELECTs; changes are dropped."""
        effects, _ = self.engine.drain()
        return [effect for effect in effects if effect[0] != b"SELECT"]

    def events(self) -> list[tuple[str, bytes | None]]:
        """(notification, key) since the last call; effects are dropped."""
        _, changes = self.engine.drain()
        return [(change.event, change.key) for change in changes]

    def advance(self, ms: int) -> None:
        """Moves time and runs what became due."""
        self.clock.advance(ms)
        self.engine.timers.run_due()
