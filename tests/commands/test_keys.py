"""Keys and whole databases against redis-server, and what swapping and flushing do to those who wait."""

from __future__ import annotations

import pytest
from fakes import Client, Harness
from histories import play
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import Oracle, Pair

from ferrite_hooks.errors import ReplyError

KEYS = st.sampled_from(["a", "b", "c", "d"])
COPIES = st.sampled_from([(), ("REPLACE",), ("DB", "1", "replace"), ("DB", "0")])
MAKERS = st.one_of(
    st.tuples(st.just("SET"), KEYS, st.sampled_from(["1", "text", "x" * 50])),
    st.tuples(st.just("SET"), KEYS, st.just("v"), st.just("EX"), st.just("1000")),
    st.tuples(st.just("RPUSH"), KEYS, st.just("x"), st.just("y")),
    st.tuples(st.just("HSET"), KEYS, st.just("f"), st.just("v")),
    st.tuples(st.just("SADD"), KEYS, st.just("1")),
    st.tuples(st.just("ZADD"), KEYS, st.just("1"), st.just("m")),
    st.tuples(st.just("APPEND"), KEYS, st.just("z")),
)
COMMANDS = st.one_of(
    MAKERS,
    st.tuples(st.sampled_from(["DEL", "UNLINK", "EXISTS", "TOUCH"]), KEYS, KEYS, KEYS),
    st.tuples(st.sampled_from(["TYPE", "TTL", "DEL", "PERSIST"]), KEYS),
    st.tuples(st.sampled_from(["RENAME", "RENAMENX"]), KEYS, KEYS),
    st.tuples(st.just("COPY"), KEYS, KEYS, st.sampled_from([(), ("REPLACE",), ("DB", "1", "replace"),
    ("DB", "0")])).map(
        lambda parts: (*parts[:3], *parts[3])
    ),
    st.tuples(st.just("MOVE"), KEYS, st.just("1")),
    st.sampled_from([("DBSIZE",), ("SWAPDB", "0", "1"), ("FLUSHDB",), ("FLUSHALL", "async")]),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(COMMANDS, min_size=5, max_size=40), resp=st.sampled_from([2, 3]))
def test_random_histories(redis_port: int, history: list[tuple[str, ...]], resp: int) -> None:
    ends = [(*word, key) for key in "abcd" for word in (("TYPE",), ("TTL",))]
    play(redis_port, [*history, *ends, ("DBSIZE",)], resp)


@pytest.mark.parametrize(
    "words",
    [
        ("MOVE", "k", "99"), ("MOVE", "k", "x"), ("MOVE", "k", "99999999999"), ("MOVE", "k", "0"),
        ("MOVE", "nope", "1"),
        ("SWAPDB", "x", "1"), ("SWAPDB", "0", "99999999999"), ("SWAPDB", "0", "99"), ("SWAPDB", "0", "0"),
        ("COPY", "k", "k"), ("COPY", "k", "j", "DB", "99"), ("COPY", "k", "j", "DB", "x"), ("COPY", "k", "j", "DB"),
        ("COPY", "nope", "j"), ("COPY", "k", "j", "BOGUS"), ("RENAME", "nope", "nope"), ("RENAME", "k", "k"),
        ("RENAMENX", "k", "k"), ("RENAMENX", "nope", "k"), ("FLUSHDB", "x"), ("FLUSHALL", "ASYNC", "x"), ("FLUSHDB",),
        ("OBJECT", "FREQ", "k"), ("OBJECT", "FREQ", "nope"), ("OBJECT", "REFCOUNT", "k"),
        ("OBJECT", "IDLETIME", "nope"),
        ("OBJECT",), ("OBJECT", "BOGUS"), ("OBJECT", "ENCODING"), ("OBJECT", "ENCODING", "nope"),
        ("WAIT", "x", "1"), ("WAIT", "1", "x"), ("WAIT", "1", "-1"), ("WAIT", "0", "5"), ("WAIT", "-1", "0"),
        ("DEL",), ("EXISTS",), ("TYPE",), ("KEYS",), ("RANDOMKEY", "x"),
        ("RENAME", "k"), ("KEYS", "k"), ("KEYS", "[j-l]"), ("KEYS", "nope*"), ("RANDOMKEY",),
    ],
)  # fmt: skip
def test_errors_and_corner_cases(redis_port: int, words: tuple[str, ...]) -> None:
    play(redis_port, [("SET", "k", "value"), words])


def test_keys(harness: Harness, oracle: Oracle) -> None:
    both = Pair(oracle, harness)
    both.check("MSET", "user:1", "a", "user:2", "b", "order:1", "c", "u", "d")
    for pattern in ("*", "user:*", "*:1", "u", "?", "[^u]*", ""):
        both.check("KEYS", pattern, unordered=True)
    both.close()


def test_overdue_keys_are_not_there(client: Client, harness: Harness) -> None:
    harness.engine.expiry.active = False
    client("SET", "k", "v", "PX", 10)
    client("SET", "stays", "v")
    client("RANDOMKEY")  # makes the index
    harness.advance(11)
    assert client("KEYS", "*") == [b"stays"]
    assert client("RANDOMKEY") == b"stays"
    assert client("EXISTS", "k", "k") == 0
    client("SET", "k", "v", "PX", 10)
    harness.advance(11)
    assert client("DEL", "k") == 0
    client("SET", "k", "v", "PX", 10)
    harness.advance(11)
    assert type(client("RENAME", "k", "j")) is ReplyError
    assert client("DBSIZE") == 1


def test_random_keys_are_found_however_the_database_changes(client: Client) -> None:
    assert client("RANDOMKEY") is None
    for n in range(200):
        client("SET", n, "v")
    assert len({client("RANDOMKEY") for _ in range(2000)}) > 100
    client("DEL", *range(1, 200))
    client("RENAME", 0, "last")
    assert client("RANDOMKEY") == b"last"
    client("FLUSHALL")
    assert client("RANDOMKEY") is None


def test_swapping_databases(client: Client, harness: Harness) -> None:
    second, waiting = harness.connect(), harness.connect()
    second.session.db = harness.engine.databases[1]
    second("RPUSH", "list", "x")
    second("SET", "t", "v", "PX", 50)
    client("SET", "k", "v")
    client("RANDOMKEY")
    waiting("BLPOP", "list", 0)
    harness.capture_all()
    client("SWAPDB", 0, 1)
    assert waiting.sent() == b"*2\r\n$4\r\nlist\r\n$1\r\nx\r\n"
    assert client("GET", "t") == b"v" and second("GET", "k") == b"v"
    assert second("RANDOMKEY") == b"k"
    _, changes = harness.engine.drain()
    assert [(c.event, c.db, c.key) for c in changes[:2]] == [("swapdb", 0, None), ("swapdb", 1, None)]
    harness.advance(51)
    assert client("DBSIZE") == 0
    assert [(c.event, c.db, c.key) for c in harness.engine.drain()[1]] == [("expired", 0, b"t")]


def test_a_flush_is_one_event_for_each_database(client: Client, harness: Harness) -> None:
    client("SET", "a", "1")
    client("MOVE", "a", 3)
    client("SET", "b", "1")
    harness.capture_all()
    harness.engine.drain()
    client("FLUSHDB")
    client("FLUSHALL")
    client("FLUSHALL")
    effects, changes = harness.engine.drain()
    assert [(c.event, c.db, c.key) for c in changes] == [("flushdb", 0, None), ("flushdb", 3, None)]
    assert effects == [[b"SELECT", b"0"], [b"FLUSHDB"], [b"FLUSHALL"]]


def test_changes_of_moving_and_copying(client: Client, harness: Harness) -> None:
    client("RPUSH", "l", "x")
    harness.capture_all()
    client("COPY", "l", "m")
    client("RENAME", "l", "n")
    client("MOVE", "n", 1)
    shown = [(c.event, c.key, c.new, c.old) for c in harness.engine.drain()[1]]
    assert shown == [
        ("copy_to", b"m", ("list", [b"x"]), None),
        ("rename_from", b"l", ("key", b"n"), None), ("rename_to", b"n", ("key", b"l"), None),
        ("move_from", b"n", None, ("list", [b"x"])), ("move_to", b"n", ("list", [b"x"]), None),
    ]  # fmt: skip


def test_copies_share_nothing(client: Client) -> None:
    client("RPUSH", "list", "x")
    client("HSET", "hash", "f", "v")
    client("ZADD", "zset", 1, "m")
    client("APPEND", "raw", "x")
    client("APPEND", "raw", "y")
    for key in ("list", "hash", "zset", "raw"):
        assert client("COPY", key, "twin-" + key) == 1
    client("RPUSH", "twin-list", "y")
    client("HSET", "twin-hash", "f", "w")
    client("ZADD", "twin-zset", 2, "m")
    client("APPEND", "twin-raw", "z")
    assert (client("LLEN", "list"), client("HGET", "hash", "f")) == (1, b"v")
    assert (client("ZSCORE", "zset", "m"), client("GET", "raw")) == (1, b"xy")
