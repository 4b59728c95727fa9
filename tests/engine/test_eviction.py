"""maxmemory: what goes, what stays, who is refused, and who hears of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fakes import Client, Harness
from oracle import Oracle, Pair

from ferrite_hooks.commands.info import render
from ferrite_hooks.engine import eviction
from ferrite_hooks.engine.engine import Engine
from ferrite_hooks.engine.eviction import BATCH, Sample
from ferrite_hooks.engine.memory import entry_bytes
from ferrite_hooks.engine.pubsub import notify_flags
from ferrite_hooks.engine.settings import change
from ferrite_hooks.errors import OOM, ReplyError
from ferrite_hooks.resp.reply import OK

POLICIES = ["allkeys-random", "allkeys-lru", "allkeys-lfu", "volatile-random", "volatile-lru", "volatile-lfu",
            "volatile-ttl"]  # fmt: skip
VOLATILE = [policy for policy in POLICIES if policy.startswith("volatile")]
BASE = 1_000_000


class Scales:
    """Stands for the Meter: the process takes BASE bytes, and the keys what they are estimated to."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.startup = self.used = self.peak = BASE

    def measure(self) -> int:
        entries = [entry for db in self.engine.databases for entry in db.data.items()]
        self.used = BASE + sum(entry_bytes(key, value) for key, value in entries)
        return self.used


Limit = Callable[[str, int], Any]


@pytest.fixture
def limit(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> Limit:
    """`limit(policy, bytes)`: from now on the keys may take so many bytes."""
    monkeypatch.setattr(eviction, "_SHARE", 0)  # a busy machine must not measure more seldom
    scales: Any = Scales(harness.engine)
    harness.engine.memory = scales

    def set_limit(policy: str, size: int) -> Any:
        change(harness.engine, "maxmemory-policy", policy)
        change(harness.engine, "maxmemory", BASE + size)
        return scales

    return set_limit


def is_oom(reply: object) -> bool:
    return isinstance(reply, ReplyError) and reply.text == OOM


def test_without_a_limit_nothing_is_kept_or_asked(harness: Harness, client: Client, limit: Limit) -> None:
    engine = harness.engine
    limit("allkeys-lru", 5000)
    change(engine, "maxmemory", 0)
    change(engine, "maxmemory-policy", "noeviction")
    assert engine.over_memory is None and engine.access is None and not engine.special
    assert engine.observe_ns == engine.slow_ns and client.session.db.accessed is None
    for n in range(100):
        client("SET", n, "x" * 1000)
    harness.advance(1000)
    assert client("DBSIZE") == 100


def test_refusals_equal_redis(harness: Harness, oracle: Oracle, limit: Limit) -> None:
    both = Pair(oracle, harness)
    for words in (("SET", "k", "v"), ("RPUSH", "l", "a", "b")):
        both.check(*words)
    oracle("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", 1)
    limit("noeviction", 0)
    try:
        for line in ("SET k 2", "GET k", "APPEND k x", "DEL nothing", "LPOP l", "LPUSH l c", "EXPIRE k 100", "MULTI",
                     "GET k", "SET k 3", "EXEC", "MULTI", "GET k", "EXEC", "HSET h f v", "SADD s a", "DEL k l",
                     "EVAL return(1) 0", "DBSIZE"):  # fmt: skip
            both.check(*line.split())
    finally:
        oracle("CONFIG", "SET", "maxmemory", 0)
        both.close()


@pytest.mark.parametrize("policy", POLICIES)
def test_the_limit_is_honoured(harness: Harness, client: Client, limit: Limit, policy: str) -> None:
    scales = limit(policy, 20_000)
    for n in range(300):
        assert client("SETEX", f"key:{n}", 10_000, "x" * 50) == OK
        harness.advance(10)
        assert scales.measure() <= BASE + 20_000 + 10 * 300  # what is written between two measurements
    assert 50 < client("DBSIZE") < 150
    assert harness.engine.eviction.evicted == 300 - client("DBSIZE")
    assert f"evicted_keys:{harness.engine.eviction.evicted}\r\n" in render(harness.engine, {"stats"})


@pytest.mark.parametrize("policy", POLICIES)
def test_only_allkeys_policies_remove_lasting_keys(
    harness: Harness, client: Client, limit: Limit, policy: str
) -> None:
    limit(policy, 10_000)
    replies = []
    for n in range(200):
        replies.append(client("SET", f"key:{n}", "x" * 50))
        harness.advance(10)
    refused = [reply for reply in replies if is_oom(reply)]
    if policy in VOLATILE:
        assert refused and client("DBSIZE") == 200 - len(refused)
        assert harness.engine.eviction.evicted == 0
    else:
        assert not refused and harness.engine.eviction.evicted > 100


@pytest.mark.parametrize("policy", VOLATILE)
def test_lasting_keys_stay_where_others_can_go(harness: Harness, client: Client, limit: Limit, policy: str) -> None:
    limit(policy, 20_000)
    for n in range(80):
        assert client(*(("SETEX", f"key:{n}", 10_000, "x") if n % 2 else ("SET", f"key:{n}", "x"))) == OK
    for n in range(200):
        assert client("SETEX", f"new:{n}", 10_000, "x") == OK
        harness.advance(10)
    assert all(client("EXISTS", f"key:{n}") for n in range(0, 80, 2))


def test_volatile_ttl_takes_what_expires_first(harness: Harness, client: Client, limit: Limit) -> None:
    limit("volatile-ttl", 100_000)
    change(harness.engine, "maxmemory-eviction-tenacity", 0)
    for n in range(20):
        client("SETEX", n, 1000 + (n * 7) % 20, "x")
    client("PERSIST", 0)  # would have been the first
    client("EXPIRE", 3, 5000)  # the second
    limit("volatile-ttl", 0)
    client("SET", "more", "x")
    left = {int(key) for key in harness.engine.databases[0].data if key != b"more"}
    by_time = sorted((n for n in range(20) if n not in (0, 3)), key=lambda n: (n * 7) % 20)
    assert left == set(range(20)) - set(by_time[:BATCH])


def test_lru_takes_what_was_not_used(harness: Harness, client: Client, limit: Limit) -> None:
    limit("allkeys-lru", 100_000)
    change(harness.engine, "maxmemory-samples", 64)
    for n in range(40):
        client("SET", n, "x" * 100)
        harness.clock.advance(10)
    shy = harness.connect()
    shy("CLIENT", "NO-TOUCH", "ON")
    for n in range(30):
        client("GET", n)
    for n in range(30, 40):
        shy("GET", n)  # leaves no trace
        client("TTL", n)
        client("EXISTS", n)
    shy("TOUCH", 35)
    limit("allkeys-lru", (harness.engine.memory.measure() - BASE) * 31 // 40 + 50)
    harness.advance(10)
    left = {int(key) for key in client("KEYS", "*")}
    assert left >= {35} and left.isdisjoint({30, 31, 32, 33, 34, 36, 37, 38, 39}), left


def test_lfu_takes_what_is_used_least(harness: Harness, client: Client, limit: Limit) -> None:
    limit("allkeys-lfu", 100_000)
    change(harness.engine, "maxmemory-samples", 64)
    change(harness.engine, "lfu-log-factor", 0)
    for n in range(40):
        client("SET", n, "x" * 100)
        for _ in range(n % 2 * 20):
            client("GET", n)
    limit("allkeys-lfu", (harness.engine.memory.measure() - BASE) // 2)
    harness.advance(10)
    left = [int(key) for key in client("KEYS", "*")]
    assert 10 < len(left) <= 20 and all(n % 2 for n in left)


def test_everyone_hears_of_it(harness: Harness, client: Client, limit: Limit) -> None:
    harness.capture_all()
    harness.engine.notify_flags = notify_flags("Ee")
    harness.engine.observe_all()
    listener, watcher = harness.connect(), harness.connect()
    listener("PSUBSCRIBE", "__keyevent@*")
    client("SET", "k", "value")
    watcher("WATCH", "k")
    listener.sent()
    harness.engine.drain()
    limit("allkeys-random", 100)
    client("SET", "new", "x")
    effects, changes = harness.engine.drain()
    assert effects == [[b"SELECT", b"0"], [b"DEL", b"k"], [b"SET", b"new", b"x"]]
    told = changes[0]
    assert (told.event, told.key, told.new, told.old, told.command) == ("evicted", b"k", None, b"value", "")
    assert b"__keyevent@0__:evicted\r\n$1\r\nk" in listener.sent()
    watcher("MULTI")
    watcher("PING")
    assert watcher.raw("EXEC") == b"*-1\r\n"


def test_a_command_evicts_few_and_a_timer_the_rest(harness: Harness, client: Client, limit: Limit) -> None:
    change(harness.engine, "maxmemory-eviction-tenacity", 0)
    for db in (0, 3):
        client("SELECT", db)
        for n in range(300):
            client("SET", n, "x")
    limit("allkeys-lru", -1)
    assert client("SET", "new", "x") == OK  # eviction is under way
    assert harness.engine.eviction.evicted == BATCH
    for _ in range(600 // BATCH + 1):
        harness.advance(1)
    assert not any(db.data for db in harness.engine.databases)
    assert is_oom(client("SET", "new", "x"))  # nothing left that could go
    change(harness.engine, "maxmemory", 0)
    assert client("SET", "new", "x") == OK


def test_a_transaction_is_not_disturbed(harness: Harness, client: Client, limit: Limit) -> None:
    limit("allkeys-lru", 1 << 30)
    client("MULTI")
    client("INCR", "x")
    client("CONFIG", "SET", "maxmemory", 1)
    client("INCR", "x")
    assert client("EXEC") == [1, OK, 2]
    harness.advance(100)
    effects = [effect[0] for effect in harness.effects()]
    assert effects[-1] == b"DEL" and effects.count(b"INCR") == 2 and client("DBSIZE") == 0


def test_what_clients_send_counts_until_it_is_measured(
    harness: Harness, client: Client, limit: Limit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eviction, "_SHARE", 1 << 40)
    limit("noeviction", 10_000)
    harness.engine.host.input_bytes += 20_000  # too little to be worth a measurement
    assert is_oom(client("SET", "k", "v"))
    harness.engine.host.input_bytes += 200_000
    assert client("SET", "k", "v") == OK


def test_nothing_is_evicted_while_clients_are_paused(harness: Harness, client: Client, limit: Limit) -> None:
    client("SET", "k", "v")
    client("CLIENT", "PAUSE", 1000, "WRITE")
    limit("allkeys-random", 0)
    harness.advance(500)
    assert client("DBSIZE") == 1
    harness.advance(1000)
    assert client("DBSIZE") == 0


def test_the_time_over_the_limit_is_told(harness: Harness, client: Client, limit: Limit) -> None:
    client("SET", "k", "v")
    limit("noeviction", 0)
    harness.advance(250)
    assert harness.engine.eviction.exceeded_ms == (250, 250)
    client("DEL", "k")
    harness.advance(150)
    assert harness.engine.eviction.exceeded_ms[1] == 0
    assert 250 <= harness.engine.eviction.exceeded_ms[0] <= 400


def test_a_sample_reaches_every_key_and_only_keys() -> None:
    members = {b"%d" % n: None for n in range(100)}
    sample = Sample()
    drawn = {sample.draw(members) for _ in range(3000)}
    assert drawn == set(members)
    for n in range(95):
        del members[b"%d" % n]
    assert all(sample.draw(members) in members for _ in range(50))
    members.clear()
    assert sample.draw(members) is None


def test_a_reading_command_evicts_too_and_caches_hear_of_it_before_the_reply(
    harness: Harness, client: Client, limit: Limit
) -> None:
    client.session.set_protocol(3)
    client("CLIENT", "TRACKING", "ON")
    client("SETEX", "volatile", 1000, "x")
    client("GET", "volatile")
    limit("volatile-random", 100_000)
    assert client.raw("SETBIT", "big", 1_600_000, 0) == b":0\r\n"
    assert client.raw("GETBIT", "big", 0) == b">2\r\n$10\r\ninvalidate\r\n*1\r\n$8\r\nvolatile\r\n:0\r\n"
    assert is_oom(client("SET", "k", "v")) and client("GETBIT", "big", 0) == 0
