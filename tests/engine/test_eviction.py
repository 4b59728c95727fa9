"""maxmemory: what goes, what stays, who is refused, and who hears of it."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Any

import pytest
from fakes import Client, Harness
from histories import apply, contents
from oracle import Oracle, Pair

from ferrite_hooks.commands.info import render
from ferrite_hooks.engine import eviction
from ferrite_hooks.engine.engine import Engine
from ferrite_hooks.engine.eviction import BATCH, Sample, patience
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
    assert engine.observe_from == engine.slow_ns / 1e9 and client.session.db.accessed is None
    for n in range(100):
        client("SET", n, "x" * 1000)
    harness.advance(1000)
    assert client("DBSIZE") == 100


def test_refusals_equal_redis(harness: Harness, oracle: Oracle, limit: Limit) -> None:
    both = Pair(oracle, harness)
    for words in (("SET", "k", "v"), ("RPUSH", "l", "a", "b")):
        both.check(*words)
    oracle("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", 1)
    limit("noeviction", -1)
    try:
        for line in ("SET k 2", "GET k", "APPEND k x", "DEL nothing", "LPOP l", "LPUSH l c", "EXPIRE k 100", "MULTI",
                     "GET k", "SET k 3", "EXEC", "MULTI", "GET k", "EXEC", "HSET h f v", "SADD s a", "DEL k l",
                     "EVAL return(1) 0", "DBSIZE", "PUBLISH c m", "COPY a b", "RENAME a b", "SORT l STORE m", "SORT l",
                     "XADD x * f v", "GETEX a", "SETRANGE a 0 x", "BITFIELD a SET u8 0 1", "MULTI", "PING", "DISCARD",
                     "FLUSHALL"):  # fmt: skip
            both.check(*line.split())
        for script in ("return redis.call('set', KEYS[1], 'v')", "return redis.pcall('set', KEYS[1], 'v').err",
                       "redis.call('get', KEYS[1]) return redis.call('del', KEYS[1])", "#!lua\nreturn 1",
                       "#!lua flags=no-writes\nreturn redis.call('get', KEYS[1])",
                       "#!lua flags=allow-oom\nreturn redis.call('set', KEYS[1], 'v')"):  # fmt: skip
            both.check("EVAL", script, 1, "k")
        both.check("FUNCTION", "LOAD", "#!lua name=l\nredis.register_function('f', function() return 1 end)")
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
        harness.engine.drain()  # the tick ends: who hears of evictions has been told
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


def test_what_was_deleted_makes_room_at_once(
    harness: Harness, client: Client, limit: Limit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eviction, "_SHARE", 1 << 40)  # nothing is measured for the time's sake
    client("SET", "big", "x" * 10_000)
    limit("noeviction", 5_000)
    assert is_oom(client("SET", "k", "v"))
    assert client("DEL", "big") == 1 and client("SET", "k", "v") == OK


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lfu"])
def test_candidates_that_have_gone_are_no_reason_to_refuse(
    harness: Harness, client: Client, limit: Limit, policy: str
) -> None:
    change(harness.engine, "maxmemory-samples", 1)
    change(harness.engine, "maxmemory-eviction-tenacity", 0)
    scales = limit(policy, 100_000)
    for n in range(40):
        client("SETEX", f"old:{n}", 10_000, "x" * 100)
    harness.clock.advance(1000)
    limit(policy, scales.measure() - BASE - 400)
    client("PING")  # evicts a few, and remembers the next to go
    change(harness.engine, "maxmemory", 1 << 40)
    client("DEL", *[f"old:{n}" for n in range(40)])
    for n in range(40):
        client("SETEX", f"new:{n}", 10_000, "x" * 100)
        client("GET", f"new:{n}")
    harness.engine.settings["maxmemory"] = harness.engine.eviction.limit = scales.measure() - 400  # pool as it was
    for n in range(20):
        assert client("SETEX", f"more:{n}", 10_000, "x") == OK


def test_what_evicted_keys_leave_behind_is_given_back(harness: Harness, client: Client, limit: Limit) -> None:
    change(harness.engine, "maxmemory-eviction-tenacity", 100)
    scales, db = limit("volatile-lru", 1 << 30), harness.engine.databases[0]
    for n in range(5000):
        client("SETEX", n, 10_000, "x")
    assert db.accessed is not None
    full = [sys.getsizeof(table) for table in (db.data, db.expires, db.accessed)]
    limit("volatile-lru", (scales.measure() - BASE) // 50)
    harness.advance(1)
    harness.advance(100)
    db = harness.engine.databases[0]
    assert client("SCAN", 0, "COUNT", 1)[1]  # makes an index
    assert 50 < len(db.data) <= 100 and db.accessed is not None
    limit("volatile-lru", 0)  # it is all given back as soon as memory is full again
    assert all(sys.getsizeof(t) < size // 20 for t, size in zip((db.data, db.expires, db.accessed), full, strict=True))
    client("SET", "later", "x")
    assert sorted(client("SCAN", 0, "COUNT", 1000)[1]) == sorted(db.data)
    assert client("RANDOMKEY") in db.data
    assert len(harness.engine.expiry._heap) <= 2 * len(db.expires) + 64


def test_clients_go_before_keys(harness: Harness, client: Client, limit: Limit) -> None:
    asked = []
    client("SET", "k", "x" * 1000)
    harness.engine.host.shrink_clients = lambda: asked.append(1) or 5_000  # type: ignore[func-returns-value]
    limit("allkeys-random", 0)
    assert client("SET", "new", "x") == OK
    assert asked and harness.engine.eviction.evicted == 0
    harness.engine.host.shrink_clients = int  # there are no more that may go
    assert client("SET", "more", "x") == OK and harness.engine.eviction.evicted > 0


def test_a_refused_command_leaves_nothing_behind(harness: Harness, client: Client, limit: Limit) -> None:
    limit("noeviction", -1)
    value = b"x" * 1000
    before = sys.getrefcount(value)
    replies = [client("SET", "k", value) for _ in range(10)]  # an error that led to its frame would keep it
    assert all(map(is_oom, replies)) and sys.getrefcount(value) == before


def test_patience_grows_with_tenacity() -> None:
    assert [patience(n) for n in (0, 1, 10)] == [0, 50_000, 500_000]
    assert patience(11) == 575_000 and 100e9 < patience(99) < 200e9
    assert all(patience(n) < patience(n + 1) for n in range(100))


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu"])
def test_what_is_used_much_stays(harness: Harness, client: Client, limit: Limit, policy: str) -> None:
    """Two of a hundred keys in ten get nine tenths of the reads, as with a cache; default samples."""
    limit(policy, 100 * 300)
    chance = random.Random(1)
    for n in range(4000):
        key = f"hot:{n % 20}" if chance.random() < 0.9 else f"cold:{n}"
        if client("GET", key) is None:
            assert client("SET", key, "x" * 120) == OK
        harness.clock.advance(1)
    hot = sum(client("EXISTS", f"hot:{n}") for n in range(20))
    assert hot >= 19 and harness.engine.eviction.evicted > 200


@pytest.mark.parametrize("policy", POLICIES)
def test_random_commands_in_little_memory(harness: Harness, client: Client, limit: Limit, policy: str) -> None:
    """What is journaled makes the same data again, and everything that is kept of keys agrees with them."""
    chance = random.Random(policy)
    limit(policy, 15_000)
    effects: list[list[bytes]] = []
    kinds: list[Callable[[str, str], tuple[str | int, ...]]] = [
        lambda k, v: ("SET", k, v), lambda k, v: ("SETEX", k, 10_000, v), lambda k, v: ("APPEND", k, v),
        lambda k, v: ("RPUSH", "l" + k, v, v), lambda k, v: ("LPOP", "l" + k), lambda k, v: ("DEL", k, "l" + k),
        lambda k, v: ("SADD", "s" + k, *v[:9]), lambda k, v: ("SPOP", "s" + k), lambda k, v: ("EXPIRE", "s" + k, 5000),
        lambda k, v: ("HSET", "h" + k, v, v), lambda k, v: ("ZADD", "z" + k, len(v), v), lambda k, v: ("GET", k),
        lambda k, v: ("EXPIRE", "h" + k, 9000), lambda k, v: ("PERSIST", k), lambda k, v: ("SELECT", len(v) % 2),
        lambda k, v: ("RENAME", k, v), lambda k, v: ("SUNIONSTORE", "s" + v, "s" + k), lambda k, v: ("RANDOMKEY",),
        lambda k, v: ("EVAL", "redis.call('INCR', 'n') return redis.call('LPUSH', KEYS[1], ARGV[1])", 1, "l" + k, v),
    ]  # fmt: skip
    for n in range(3000):
        inside = n % 50 == 0
        if inside:
            client("MULTI")
        for _ in range(5 if inside else 1):
            client(*chance.choice(kinds)(f"k{chance.randrange(60)}", "v" * chance.randrange(60)))
        if inside:
            client("EXEC")
        if n % 7 == 0:
            harness.advance(3)
        effects += harness.engine.drain()[0]
    engine = harness.engine
    assert engine.eviction.evicted > (100 if policy.startswith("allkeys") else 10)
    for db in engine.databases:
        assert db.expires.keys() <= db.data.keys() and (db.accessed or {}).keys() <= db.data.keys()
        assert db.keys_index is None or sorted(db.keys_index.scan(0, 1 << 20)[1]) == sorted(db.data)
        noted = set(engine.expiry._heap)
        assert all((when, db.index, key) in noted for key, when in db.expires.items())
    again = Harness()
    again.clock.advance(engine.clock.now - again.clock.now)
    apply(again, effects)
    assert contents(again) == contents(harness)
