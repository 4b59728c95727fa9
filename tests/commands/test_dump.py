"""DUMP and RESTORE with redis-server on the other side."""

from __future__ import annotations

import pytest
from fakes import Client, Harness
from histories import apply, compare
from oracle import Oracle, Pair

MAKE = [
    ("SET", "int", "12"), ("SET", "text", "x" * 100), ("APPEND", "text", "y"), ("RPUSH", "list", "a", "1", "b" * 70),
    ("HSET", "hash", "f", "v", "g", "2"), ("SADD", "ints", "1", "2"), ("SADD", "set", "a", "b"),
    ("ZADD", "zset", "1.5", "m", "-inf", "n"), ("XADD", "stream", "1-1", "f", "v"),
]  # fmt: skip
READ = [
    ("GET", "int"), ("GET", "text"), ("LRANGE", "list", "0", "-1"), ("HGETALL", "hash"), ("SMEMBERS", "ints"),
    ("SMEMBERS", "set"), ("ZRANGE", "zset", "0", "-1", "WITHSCORES"), ("XRANGE", "stream", "-", "+"),
]  # fmt: skip


def payload(reply: bytes) -> bytes:
    return reply.split(b"\r\n", 1)[1][:-2]


def test_values_go_both_ways(harness: Harness, oracle: Oracle) -> None:
    both = Pair(oracle, harness)
    for words in MAKE:
        both.check(*words)
    for read in READ:
        theirs, ours = payload(oracle("DUMP", read[1])), harness.client("DUMP", read[1])
        before = sorted(both.check(*read, unordered=True).split(b"\r\n"))
        assert oracle("RESTORE", read[1], 0, ours, "REPLACE") == b"+OK\r\n"
        assert harness.client.raw("RESTORE", read[1], 0, theirs, "REPLACE") == b"+OK\r\n"
        assert sorted(both.check(*read, unordered=True).split(b"\r\n")) == before
    both.close()


@pytest.mark.parametrize("words", [
    ("RESTORE", "k", 0, "xx"), ("RESTORE", "k", 0, b"\x00" * 20), ("RESTORE", "new", -1, "xx"),
    ("RESTORE", "new", "x", "xx"), ("RESTORE", "new", 0, "xx", "BOGUS"), ("RESTORE", "new", 0, "xx", "FREQ", 256),
    ("RESTORE", "new", 0, "xx", "FREQ", 1, "IDLETIME", 1), ("RESTORE", "new", 0, "xx", "IDLETIME", -1),
    ("RESTORE", "new", 0, "xx", "IDLETIME", 1, "IDLETIME", 2), ("RESTORE", "new"), ("DUMP",), ("DUMP", "nope"),
])  # fmt: skip
def test_errors(redis_port: int, words: tuple[str | bytes | int, ...]) -> None:
    compare(redis_port, [("SET", "k", "v"), words, ("EXISTS", "new")])


def test_times_to_live(harness: Harness, oracle: Oracle) -> None:
    both = Pair(oracle, harness)
    both.check("SET", "k", "v")
    good = payload(oracle("DUMP", "k"))
    for words in (
        ("RESTORE", "a", 100_000, good), ("RESTORE", "b", 4102444800000, good, "ABSTTL"),
        ("RESTORE", "c", 1, good, "ABSTTL"), ("RESTORE", "k", 1, good, "ABSTTL", "REPLACE"), ("RESTORE", "a", 0, good),
        ("RESTORE", "a", 0, good, "replace"),
    ):  # fmt: skip
        both.check(*words)
        both.check("TTL" if words[1] == "a" else "PEXPIRETIME", words[1])
    assert [event for event, _ in both.events()] == ["set", "restore", "restore", "del", "restore"]
    both.close()


def test_effects_hold_at_any_time(client: Client, harness: Harness) -> None:
    client("SET", "k", "v")
    good = client("DUMP", "k")
    client("RESTORE", "j", 5000, good)
    client("RESTORE", "k", 1, good, "REPLACE", "ABSTTL")
    effects = harness.effects()
    assert effects[1:] == [
        [b"RESTORE", b"j", b"%d" % (harness.clock.now + 5000), good, b"REPLACE", b"ABSTTL"], [b"DEL", b"k"],
    ]  # fmt: skip
    later = Harness()
    later.clock.now = harness.clock.now + 60_000
    later.engine.loading = later.client.session.internal = True
    apply(later, effects)
    assert later.engine.databases[0].expires == {b"j": harness.clock.now + 5000}


def test_restored_collections_have_their_encoding(client: Client, harness: Harness) -> None:
    client("HSET", "h", "f", "v" * 100)
    client("RESTORE", "twin", 0, client("DUMP", "h"))
    assert client("OBJECT", "ENCODING", "twin") == b"hashtable"


def test_the_form_of_clusters_is_the_same(client: Client, harness: Harness) -> None:
    client("SET", "k", "v")
    assert client.raw("RESTORE-ASKING", "j", 0, client("DUMP", "k")) == b"+OK\r\n"
    assert client("GET", "j") == b"v"
    assert harness.effects()[-1][0] == b"RESTORE"
