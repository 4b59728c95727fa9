"""The WEBHOOK commands over an engine without sockets: replies, and what goes out for the engine's writes."""

from __future__ import annotations

import asyncio
import timeit
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from fakes import Client, Harness
from msgspec import structs

from ferrite_hooks.engine.command import all_commands
from ferrite_hooks.engine.webhooks import attach, seams
from ferrite_hooks.errors import ReplyError
from ferrite_hooks.resp.reply import NO_REPLY, OK
from ferrite_hooks.store.frames import Frame
from ferrite_hooks.webhooks.courier import Terms, request_of
from ferrite_hooks.webhooks.history import History
from ferrite_hooks.webhooks.manager import Manager
from ferrite_hooks.webhooks.model import Errand, Outcome, Request, Stage
from ferrite_hooks.webhooks.payload import event_id
from ferrite_hooks.webhooks.sign import verify_signature

DELIVERED = Outcome(Stage.STATUS, 200, 12.0, "", b"fine", "")
FAILED = Outcome(Stage.STATUS, 500, 12.0, "", b"oops", "")
URL = "http://example.com/hook"


class Hooks:
    """A harness with webhooks: what is sent waits in `flying` for the test's answer."""

    def __init__(self, harness: Harness) -> None:
        self.harness, self.engine = harness, harness.engine
        self.flying: list[tuple[Request, Callable[[Outcome], None]]] = []
        self.soon: list[Callable[[], None]] = []
        self.frames: list[Frame] = []
        self.notes: list[Any] = []
        outside = seams(
            self.engine, post=self.post, notes=self.notes.extend, soon=self.soon.append,
        )  # fmt: skip
        self.terms = Terms(outside.journal_id)
        self.manager = Manager(outside)
        self.manager.start()
        attach(self.engine, self.manager)

    def __call__(self, *words: str | bytes) -> Any:
        return self.harness.client(*words)

    def refused(self, *words: str | bytes, by: Client | None = None) -> str:
        reply = (by or self.harness.client)(*words)
        assert isinstance(reply, ReplyError), reply
        return reply.text

    def post(self, errand: Errand, done: Callable[[Outcome], None]) -> None:
        delivery, request = request_of(errand, self.terms)
        self.flying.append((request, lambda outcome: done(structs.replace(outcome, delivery=delivery))))

    def turn(self) -> None:
        """The end of ticks, until nothing is left to do now."""
        while self.engine.changes or self.notes or self.soon:
            effects, changes = self.engine.drain()
            values = [list(structs.astuple(change)) for change in changes]
            self.frames.append(Frame(len(self.frames), effects, values, self.notes.copy()))
            self.notes.clear()
            self.manager.accept(changes)
            due, self.soon[:] = self.soon.copy(), []
            for callback in due:
                callback()

    def answer(self, outcome: Outcome = DELIVERED) -> Any:
        """Answers the oldest request. Returns its body."""
        self.turn()
        request, done = self.flying.pop(0)
        done(outcome)
        self.turn()
        return orjson.loads(request.body)

    def user(self, name: str) -> Client:
        """A client of a user who may do everything with keys that begin with his name."""
        self.engine.acl.set_user(name, [b"on", b"nopass", b"+@all", b"-@admin", f"~{name}:*".encode()])
        client = self.harness.connect()
        client("AUTH", name, "any")
        return client


@pytest.fixture
def hooks(harness: Harness) -> Hooks:
    return Hooks(harness)


@pytest.fixture
def history(hooks: Hooks, tmp_path: Path) -> Iterator[History]:
    ids = partial(event_id, hooks.manager.outside.journal_id)
    made = History(tmp_path / "h.db", lambda: hooks.harness.clock.now, hooks.engine.timers.at, ids)
    hooks.manager.history = made
    hooks.manager.outside.attempt = made.add
    yield made
    made.close()


def test_the_quick_start(hooks: Hooks) -> None:
    assert hooks("WEBHOOK.CREATE", "order-updates", URL, "PATTERN", "order:*", "EVENTS", "SET", "DEL") is OK
    assert hooks("WEBHOOK.LIST") == [
        {"name": "order-updates", "url": URL, "pattern": b"order:*", "events": ["SET", "DEL"], "status": "active"}
    ]
    hooks("SET", "order:1", "new")
    hooks("SET", "other", "x")
    hooks("GETDEL", "order:1")
    body = hooks.answer()
    assert (body["event"], body["key"], body["data"]["value"]) == ("SET", "order:1", "new")
    assert body["metadata"]["client_id"] == f"conn:{hooks.harness.client.session.id}"
    assert (hooks.answer()["event"], hooks.flying) == ("DEL", [])
    info = hooks("WEBHOOK.INFO", "order-updates")
    assert (info["deliveries"], info["failures"], info["pending"]) == (2, 0, 0)
    assert info["created_at"] == info["last_delivery"] == "2023-11-14T22:13:20.000Z"


def test_replies_are_maps_in_both_protocols(hooks: Hooks) -> None:
    hooks("WEBHOOK.CREATE", "w", URL)
    assert hooks.harness.client.raw("WEBHOOK.LIST").startswith(b"*1\r\n*10\r\n$4\r\nname\r\n$1\r\nw\r\n")
    hooks("HELLO", "3")
    hooks.harness.client.sent()
    assert hooks.harness.client.raw("WEBHOOK.LIST").startswith(b"*1\r\n%5\r\n$4\r\nname\r\n")


def test_update_pause_disable_delete(hooks: Hooks) -> None:
    hooks("WEBHOOK.CREATE", "w", URL, "RETRIES", "7")
    assert hooks("WEBHOOK.UPDATE", "w", "url", "http://new/", "EVENTS", "hset") is OK
    info = hooks("WEBHOOK.INFO", "w")
    assert (info["url"], info["events"], info["retries"]) == ("http://new/", ["HSET"], 7)
    for word, status in (("PAUSE", "paused"), ("RESUME", "active"), ("DISABLE", "disabled"), ("ENABLE", "active")):
        assert hooks(f"WEBHOOK.{word}", "w") is OK
        assert hooks("WEBHOOK.INFO", "w")["status"] == status
        assert hooks("WEBHOOK.LIST", "STATUS", status) != []
    hooks("WEBHOOK.CREATE", "v", URL)
    assert [w["name"] for w in hooks("WEBHOOK.LIST", "pattern", "v*")] == ["v"]
    assert hooks("WEBHOOK.DELETE", "w", "v", "w", "nobody") == 2
    assert hooks("WEBHOOK.LIST") == []
    assert hooks.engine.interest is None, "without webhooks writes cost nothing"


def test_secrets_are_shown_once(hooks: Hooks) -> None:
    private = ["AUTH", "bearer", "t0ken", "HEADER", "X-Key", "h1dden"]
    made = hooks("WEBHOOK.CREATE", "w", URL, "SECRET", "GENERATE", *private)
    assert made["secret"].startswith("whsec_")
    rotated = hooks("WEBHOOK.ROTATE", "w", "OVERLAP", "60")
    assert rotated["secret"] not in ("", made["secret"])
    assert hooks("WEBHOOK.ROTATE", "w", "SECRET", "0wn") is OK
    shown = repr([hooks("WEBHOOK.INFO", "w"), hooks("WEBHOOK.LIST"), hooks.manager.registry.named("w")])
    for secret in (made["secret"], rotated["secret"], "0wn", "t0ken", "h1dden"):
        assert secret not in shown
    info = hooks("WEBHOOK.INFO", "w")
    assert (info["secret"], info["auth"], info["headers"]) == ("set", "bearer", {"X-Key": "set"})
    assert "0ther" not in hooks.refused("WEBHOOK.ROTATE", "w", "0ther")
    secret = {c.name for c in all_commands() if c.secret}
    assert {"webhook.create", "webhook.update", "webhook.rotate"} <= secret


def test_asymmetric_keys_show_their_public_half_only(hooks: Hooks) -> None:
    made = hooks("WEBHOOK.CREATE", "w", URL, "SECRET", "GENERATE_V1A")
    assert list(made) == ["public_key"] and made["public_key"] == hooks("WEBHOOK.INFO", "w")["public_key"]
    hooks("SET", "k", "v")
    hooks.turn()
    request, _ = hooks.flying[0]
    verify_signature(request.body, dict(request.headers), made["public_key"], now=hooks.harness.clock.now / 1000)
    rotated = hooks("WEBHOOK.ROTATE", "w", "SECRET", "GENERATE_V1A")
    assert rotated["public_key"] == hooks("WEBHOOK.INFO", "w")["public_key"] != made["public_key"]
    assert hooks("WEBHOOK.UPDATE", "w", "SECRET", "plain") is OK
    assert hooks("WEBHOOK.INFO", "w")["public_key"] is None


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["WEBHOOK.CREATE", "w"], "wrong number of arguments"),
        (["WEBHOOK.CREATE", "w", URL, "BOGUS", "1"], "ERR unknown option 'BOGUS'"),
        (["WEBHOOK.CREATE", "a b", URL], "ERR bad webhook name"),
        (["WEBHOOK.CREATE", "have", URL], "ERR webhook 'have' already exists"),
        (["WEBHOOK.UPDATE", "have"], "wrong number of arguments"),
        (["WEBHOOK.UPDATE", "none", "RETRIES", "1"], "ERR no such webhook 'none'"),
        (["WEBHOOK.INFO", "none"], "ERR no such webhook 'none'"),
        (["WEBHOOK.LIST", "STATUS", "odd"], "ERR STATUS: expected active | paused | disabled, got 'odd'"),
        (["WEBHOOK.LIST", "STATUS"], "ERR syntax error"),
        (["WEBHOOK.DEAD", "have", "COUNT", "0"], "ERR COUNT: expected a whole number from 1 to 10000, got '0'"),
        (["WEBHOOK.DELIVERIES", "have", "STATUS", "odd"], "ERR STATUS: expected delivered | retrying | dead"),
        (["WEBHOOK.PURGE", "have", "ALL"], "ERR syntax error"),
        (["WEBHOOK.REPLAY", "have", "SINCE", "yesterday"], "ERR SINCE: expected unix milliseconds or an ISO 8601"),
        (["WEBHOOK.REPLAY", "have", "SINCE", "0"], "ERR there is no journal"),
        (["WEBHOOK.REPLAY", "have", "EVENT", "evt_1"], "ERR no event id of this server"),
        (["WEBHOOK.REPLAY", "have", "ALL"], "ERR syntax error"),
        (["WEBHOOK.EMIT", "nodots"], "ERR bad event name"),
        (["WEBHOOK.EMIT", "a.b", "DATA", "{"], "ERR DATA has to be JSON: "),
        (["WEBHOOK.EMIT", "webhook.created"], "ERR "),
        (["WEBHOOK.ROTATE", "have", "OVERLAP", "-1"], "ERR OVERLAP"),
    ],
)
def test_errors(hooks: Hooks, words: list[str], error: str) -> None:
    hooks("WEBHOOK.CREATE", "have", URL)
    before = hooks("WEBHOOK.INFO", "have")
    assert error in hooks.refused(*words)
    assert hooks("WEBHOOK.INFO", "have") == before


def test_switched_off(client: Client) -> None:
    reply = client("WEBHOOK.LIST")
    assert isinstance(reply, ReplyError) and "switched off" in reply.text


def test_tenants_do_not_see_each_other(hooks: Hooks) -> None:
    ann, bob = hooks.user("ann"), hooks.user("bob")
    ann("WEBHOOK.CREATE", "anns", URL)
    assert bob("WEBHOOK.LIST") == [] and len(ann("WEBHOOK.LIST")) == len(hooks("WEBHOOK.LIST")) == 1
    assert bob("WEBHOOK.DELETE", "anns") == 0
    assert bob("WEBHOOK.STATS")["total_webhooks"] == 0
    for words in (["INFO", "anns"], ["PAUSE", "anns"], ["TEST", "anns"], ["REPLAY", "anns", "DEAD"], ["STATS", "anns"]):
        assert "no such webhook" in hooks.refused(f"WEBHOOK.{words[0]}", *words[1:], by=bob)


def test_tenants_receive_only_what_they_may_read(hooks: Hooks) -> None:
    ann, bob = hooks.user("ann"), hooks.user("bob")
    ann("WEBHOOK.CREATE", "anns", URL, "EVENTS", "*")
    bob("WEBHOOK.CREATE", "bobs", URL, "EVENTS", "*", "PATTERN", "*")
    hooks("SET", "ann:1", "v")
    hooks("SET", "other", "v")
    hooks("WEBHOOK.EMIT", "a.private")
    ann("WEBHOOK.EMIT", "a.own")
    hooks("WEBHOOK.EMIT", "a.keyed", "KEY", "bob:1")
    hooks.turn()
    got = sorted((dict(r.headers)["X-Ferrite-Webhook"], orjson.loads(r.body)["event"]) for r, _ in hooks.flying)
    assert got == [("anns", "SET"), ("anns", "a.own"), ("bobs", "a.keyed")]
    hooks.flying.clear()
    hooks("ACL", "SETUSER", "bob", "~other")
    hooks("SET", "other", "v")
    hooks.turn()
    assert [dict(r.headers)["X-Ferrite-Webhook"] for r, _ in hooks.flying] == ["bobs"], "the ACL is asked again"


def test_a_rename_and_a_flush_are_one_event_each(hooks: Hooks) -> None:
    hooks("WEBHOOK.CREATE", "w", URL, "PATTERN", "new:*", "EVENTS", "RENAME", "FLUSH")
    hooks("SET", "old:1", "v")
    hooks("RENAME", "old:1", "new:1")
    body = hooks.answer()
    assert (body["event"], body["key"], body["data"]["new_key"]) == ("RENAME", "old:1", "new:1")
    hooks("FLUSHDB")
    body = hooks.answer()
    assert (body["event"], body["key"], hooks.flying) == ("FLUSH", None, [])


def test_emit(hooks: Hooks) -> None:
    hooks("WEBHOOK.CREATE", "w", URL, "EVENTS", "user.*")
    id = hooks("WEBHOOK.EMIT", "user.created", "RESOURCE", "42", "data", '{"name":"alice"}', "KEY", "user:42")
    body = hooks.answer()
    assert (body["id"], body["event"], body["key"]) == (id, "user.created", "user:42")
    assert body["data"]["value"] == {"name": "alice"}
    assert hooks("WEBHOOK.EMIT", "nobody.listens") != id


def test_dead_replay_and_purge(hooks: Hooks) -> None:
    hooks("WEBHOOK.CREATE", "w", URL, "RETRIES", "0", "OLD_VALUE", "false")
    for key in "ab":
        hooks("SET", key, "v")
        hooks.answer(FAILED)
    newest, oldest = hooks("WEBHOOK.DEAD", "w")
    assert (newest["key"], oldest["key"], newest["http_status"], newest["attempts"]) == (b"b", b"a", 500, 1)
    assert newest["reason"] == "retries exhausted: HTTP 500"
    assert hooks("WEBHOOK.REPLAY", "w", "EVENT", oldest["event_id"]) == 1
    assert hooks.answer()["id"] == oldest["event_id"]
    assert hooks("WEBHOOK.REPLAY", "w", "dead") == 1
    hooks.answer(FAILED)
    assert hooks("WEBHOOK.PURGE", "w", "DEAD") == 1
    hooks("WEBHOOK.PAUSE", "w")
    hooks("SET", "c", "v")
    hooks.turn()
    assert hooks("WEBHOOK.PURGE", "w") == 1
    stats = hooks("WEBHOOK.STATS", "w")
    assert list(stats)[:7] == [
        "total_webhooks", "active_webhooks", "total_deliveries", "successful_deliveries", "failed_deliveries",
        "pending_deliveries", "avg_latency_ms",
    ]  # fmt: skip
    assert (stats["total_deliveries"], stats["successful_deliveries"], stats["failed_deliveries"]) == (4, 1, 3)
    assert (stats["avg_latency_ms"], stats["purged"]) == (12, 1)
    assert stats["matched"] == sum(
        stats[name] for name in (
            "successful_deliveries", "pending_deliveries", "dead", "dropped", "coalesced", "purged",
        )
    )  # fmt: skip


def test_test_answers_when_the_endpoint_has(hooks: Hooks) -> None:
    hooks("WEBHOOK.CREATE", "w", URL)
    client = hooks.harness.connect()
    assert client("WEBHOOK.TEST", "w") is NO_REPLY
    hooks("SET", "k", "v")  # others go on meanwhile
    hooks.answer()
    assert b"delivered" in client.sent()
    hooks("MULTI")
    hooks("WEBHOOK.TEST", "w")
    [reply] = hooks("EXEC")
    assert isinstance(reply, ReplyError) and "transaction" in reply.text


def test_test_of_a_client_that_has_left(hooks: Hooks) -> None:
    hooks("WEBHOOK.CREATE", "w", URL)
    client = hooks.harness.connect()
    client("WEBHOOK.TEST", "w")
    client.session.blocked = None
    hooks.answer()
    assert client.sent() == b""


async def test_deliveries(hooks: Hooks, history: History) -> None:
    hooks("WEBHOOK.CREATE", "w", URL, "RETRIES", "1")
    hooks("SET", "k", "v")
    id = hooks.answer(FAILED)["id"]
    client = hooks.harness.connect()
    client("HELLO", "3")
    client.sent()
    answered = asyncio.Event()
    client.session.wake = answered.set
    assert client("WEBHOOK.DELIVERIES", "w", "COUNT", "5", "STATUS", "retrying") is NO_REPLY
    await asyncio.wait_for(answered.wait(), 10)
    reply = client.sent()
    for part in (id.encode(), b"HTTP 500", b"oops", b"retrying", b"next_attempt_at"):
        assert part in reply
    answered.clear()
    client("WEBHOOK.DELIVERIES", "w", "BEFORE", "1")
    await asyncio.wait_for(answered.wait(), 10)
    assert client.sent() == b"*0\r\n"


async def test_replay_from_the_journal(hooks: Hooks) -> None:
    hooks("WEBHOOK.CREATE", "w", URL, "PATTERN", "k*", "WHEN", "data.value", "!=", "no")
    ids = []
    for key, value in (("k1", "a"), ("other", "b"), ("k2", "no"), ("k3", "c")):
        hooks.harness.clock.advance(1000)
        hooks("SET", key, value)
        hooks.turn()
        while hooks.flying:
            ids.append(hooks.answer()["id"])
    hooks.manager.frames = lambda: hooks.frames
    client = hooks.harness.connect()
    answered = asyncio.Event()
    client.session.wake = answered.set

    async def replayed(*words: str) -> bytes:
        answered.clear()
        assert client("WEBHOOK.REPLAY", "w", *words) is NO_REPLY
        await asyncio.wait_for(answered.wait(), 10)
        return client.sent()

    assert await replayed("SINCE", "0") == b":2\r\n"
    assert [hooks.answer()["id"] for _ in ids] == ids
    assert await replayed("SINCE", "2023-11-14T22:13:22Z") == b":1\r\n"
    assert hooks.answer()["id"] == ids[1]
    assert await replayed("SINCE", "0", "UNTIL", "2023-11-14T22:13:22") == b":1\r\n"
    assert hooks.answer()["id"] == ids[0]
    assert await replayed("EVENT", ids[1]) == b":1\r\n"
    assert hooks.answer()["id"] == ids[1]


def test_webhooks_that_may_refuse_cost_nothing_where_they_are_not_concerned(hooks: Hooks) -> None:
    def cost() -> float:
        return min(timeit.repeat(lambda: hooks("SET", "k", "v"), number=200, repeat=5))

    made = 0
    costs = []
    for count in (10, 900):
        for n in range(made, count):
            hooks("WEBHOOK.CREATE", f"w{n}", URL, "PATTERN", f"tenant{n}:*", "OVERFLOW", "reject")
        made = count
        costs.append(cost())
    assert costs[1] < 4 * costs[0]


@pytest.mark.parametrize("others", [0, 5])
def test_a_full_webhook_refuses_writes(hooks: Hooks, others: int) -> None:
    for n in range(others):
        hooks("WEBHOOK.CREATE", f"other{n}", URL, "PATTERN", f"tenant{n}:*", "OVERFLOW", "reject")
    hooks("WEBHOOK.CREATE", "w", URL, "PATTERN", "k*", "MAX_PENDING", "1", "OVERFLOW", "reject")
    hooks("SET", "k1", "v")
    hooks.turn()
    assert hooks.refused("SET", "k2", "v") == "WEBHOOKFULL the queue of webhook 'w' is full, nothing was changed"
    assert hooks("GET", "k2") is None
    assert hooks("SET", "other", "v") is OK
    hooks("MULTI")
    assert "WEBHOOKFULL" in hooks.refused("SET", "k2", "v")
    assert "EXECABORT" in hooks.refused("EXEC")
    hooks.answer()
    assert hooks("SET", "k2", "v") is OK


@pytest.mark.parametrize("change", [("UPDATE", "w", "OVERFLOW", "drop_oldest"), ("DISABLE", "w"), ("DELETE", "w")])
def test_a_webhook_that_no_longer_rejects_refuses_nothing(hooks: Hooks, change: tuple[str, ...]) -> None:
    hooks("WEBHOOK.CREATE", "w", URL, "PATTERN", "k*", "MAX_PENDING", "1")
    hooks("WEBHOOK.UPDATE", "w", "OVERFLOW", "reject")
    hooks("SET", "k1", "v")
    hooks.turn()
    assert "WEBHOOKFULL" in hooks.refused("SET", "k2", "v")
    hooks(f"WEBHOOK.{change[0]}", *change[1:])
    assert hooks("SET", "k2", "v") is OK


def test_exec_is_refused_as_a_whole(hooks: Hooks) -> None:
    hooks("WEBHOOK.CREATE", "w", URL, "PATTERN", "k*", "MAX_PENDING", "1", "OVERFLOW", "reject")
    other = hooks.harness.connect()
    other("MULTI")
    other("SET", "a", "v")
    other("SET", "k2", "v")
    hooks("SET", "k1", "v")
    hooks.turn()
    assert "WEBHOOKFULL" in hooks.refused("EXEC", by=other)
    assert hooks("GET", "a") is None


def test_the_acl_category(hooks: Hooks) -> None:
    hooks.engine.acl.set_user("eve", [b"on", b"nopass", b"+@all", b"-@webhook"])
    eve = hooks.harness.connect()
    eve("AUTH", "eve", "any")
    assert "NOPERM" in hooks.refused("WEBHOOK.LIST", by=eve)
    hooks("ACL", "SETUSER", "eve", "+@webhook")
    assert eve("WEBHOOK.LIST") == []


def test_monitor_and_slowlog_hide_secrets(hooks: Hooks) -> None:
    hooks("CONFIG", "SET", "slowlog-log-slower-than", "0")
    monitor = hooks.harness.connect()
    monitor("MONITOR")
    monitor.sent()
    hooks("WEBHOOK.CREATE", "w", URL, "SECRET", "s3cret")
    hooks("WEBHOOK.ROTATE", "w", "SECRET", "s3cret2")
    shown = monitor.sent()
    assert b"WEBHOOK.CREATE" in shown and b"WEBHOOK.ROTATE" in shown and b"s3cret" not in shown
    assert b"s3cret" not in repr(hooks("SLOWLOG", "GET", "10")).encode()


def test_help_and_documentation(hooks: Hooks) -> None:
    lines = [line.text.decode() for line in hooks("WEBHOOK.HELP")]
    ours = [c for c in all_commands() if c.group == "webhook"]
    assert len(lines) == 1 + 2 * len(ours) == 37
    for each in ours:
        assert each.syntax in lines and "webhook" in each.acl and not each.keys
