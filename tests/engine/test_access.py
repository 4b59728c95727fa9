"""When and how often keys were used, as OBJECT IDLETIME and OBJECT FREQ tell it."""

from __future__ import annotations

from fakes import Client, Harness
from oracle import Oracle, Pair

from ferrite_hooks.engine.settings import change


def test_idle_time_counts_from_the_first_question(harness: Harness, client: Client) -> None:
    client("SET", "k", "v")
    harness.clock.advance(60_000)
    assert harness.engine.access is None and client("OBJECT", "IDLETIME", "k") == 0
    harness.clock.advance(5_000)
    assert client("OBJECT", "IDLETIME", "k") == 5
    for words in (["TTL", "k"], ["PTTL", "k"], ["TYPE", "k"], ["EXISTS", "k"], ["OBJECT", "ENCODING", "k"]):
        client(*words)
    assert client("OBJECT", "IDLETIME", "k") == 5
    client("GET", "k")
    assert client("OBJECT", "IDLETIME", "k") == 0
    assert client("OBJECT", "IDLETIME", "nothing") is None


def test_what_counts_as_use(harness: Harness, client: Client) -> None:
    client("MSET", "a", 1, "b", 2)
    client("OBJECT", "IDLETIME", "a")
    harness.clock.advance(9_000)
    assert client("MGET", "a", "nothing") == [b"1", None]
    assert [client("OBJECT", "IDLETIME", key) for key in "ab"] == [0, 9]
    client("CLIENT", "NO-TOUCH", "ON")
    client("GET", "b")
    assert client("OBJECT", "IDLETIME", "b") == 9
    client("TOUCH", "b")
    assert client("OBJECT", "IDLETIME", "b") == 0


def test_records_follow_their_database(harness: Harness, client: Client) -> None:
    client("SET", "k", "v")
    client("OBJECT", "IDLETIME", "k")
    harness.clock.advance(3_000)
    client("SELECT", 1)
    client("SET", "k", "v")
    client("SWAPDB", 0, 1)
    assert client("OBJECT", "IDLETIME", "k") == 3
    client("DEL", "k")
    client("FLUSHALL")
    assert not any(db.accessed for db in harness.engine.databases)


def test_frequency_grows_with_use_and_decays(harness: Harness, client: Client) -> None:
    change(harness.engine, "maxmemory-policy", "allkeys-lfu")
    change(harness.engine, "lfu-log-factor", 0)
    client("SET", "k", "v")
    assert client("OBJECT", "FREQ", "k") == 5
    for _ in range(20):
        client("GET", "k")
    assert client("OBJECT", "FREQ", "k") == 25
    harness.clock.advance(10 * 60_000)
    assert client("OBJECT", "FREQ", "k") == 15
    harness.clock.advance(100 * 60_000)
    assert client("OBJECT", "FREQ", "k") == 0
    for _ in range(300):
        client("GET", "k")
    assert client("OBJECT", "FREQ", "k") == 255
    change(harness.engine, "lfu-log-factor", 10)
    client("SET", "slow", "v")
    for _ in range(1000):
        client("GET", "slow")
    assert 5 < client("OBJECT", "FREQ", "slow") < 60


def test_restore_says_how_much_a_key_was_used(harness: Harness, client: Client) -> None:
    client("SET", "k", "v")
    payload = client("DUMP", "k")
    change(harness.engine, "maxmemory-policy", "allkeys-lru")
    client("RESTORE", "a", 0, payload, "IDLETIME", 1000)
    assert client("OBJECT", "IDLETIME", "a") == 1000
    change(harness.engine, "maxmemory-policy", "allkeys-lfu")
    client("RESTORE", "b", 0, payload, "FREQ", 100)
    client("RESTORE", "c", 0, payload)
    assert [client("OBJECT", "FREQ", key) for key in "bc"] == [100, 5]


def test_answers_equal_redis(harness: Harness, oracle: Oracle) -> None:
    both = Pair(oracle, harness)
    try:
        for policy in ("noeviction", "allkeys-lru", "volatile-lfu", "allkeys-random"):
            both.check("CONFIG", "SET", "maxmemory-policy", policy)
            both.check("SET", policy, "v")
            both.check("OBJECT", "FREQ", policy)
            both.check("OBJECT", "IDLETIME", policy)
            both.check("OBJECT", "FREQ", "nothing")
    finally:
        oracle("CONFIG", "SET", "maxmemory-policy", "noeviction")
        both.close()
