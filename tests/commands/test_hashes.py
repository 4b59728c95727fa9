"""Hashes, compared with redis-server and held to their own promises."""

from __future__ import annotations

from itertools import chain

import pytest
from fakes import Client, Harness
from histories import compare, contents, replay
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Oracle, Pair, Word

from ferrite_hooks.errors import ReplyError
from ferrite_hooks.values.collections import Hash
from ferrite_hooks.values.encoding import encoding

READS = ("HGET", "HMGET", "HGETALL", "HKEYS", "HVALS", "HLEN", "HEXISTS", "HSTRLEN", "HRANDFIELD", "HSCAN")
WRITES = ("HSET", "HMSET", "HSETNX", "HDEL", "HINCRBY", "HINCRBYFLOAT")


@pytest.mark.parametrize("resp", [2, 3])
def test_every_command_on_a_hash_nothing_and_a_string(harness: Harness, oracle: Oracle, resp: int) -> None:
    both = Pair(oracle, harness, resp)
    both.check("SET", "s", "v")
    both.check("HSET", "h", "a", "1", "b", "two", "c", "")
    for key in ("h", "nope", "s"):
        for words in [
            ("HGET", key, "a"), ("HGET", key, "x"), ("HMGET", key, "a", "x", "c", "a"), ("HGETALL", key),
            ("HKEYS", key), ("HVALS", key), ("HLEN", key), ("HEXISTS", key, "a"), ("HEXISTS", key, "x"),
            ("HSTRLEN", key, "b"), ("HSTRLEN", key, "x"), ("HRANDFIELD", key, 0), ("HRANDFIELD", key, 10),
            ("HRANDFIELD", key, 10, "WithValues"), ("HSCAN", key, 0), ("HSCAN", key, 0, "MATCH", "[ab]", "COUNT", 1),
            ("HDEL", key, "x"), ("HINCRBY", key, "a", 5), ("HINCRBY", key, "b", 1), ("HINCRBY", key, "c", 1),
            ("HINCRBYFLOAT", key, "a", "0.1"), ("HINCRBYFLOAT", key, "b", 1), ("HSETNX", key, "a", 1),
            ("HSETNX", key, "z", 1), ("HMSET", key, "a", 9), ("HSET", key, "a", 9, "a", 10, "n", 1), ("HGETALL", key),
            ("HDEL", key, "a", "b", "c", "z", "n", "a"), ("HLEN", key),
        ]:  # fmt: skip
            both.check(*words)
    both.events()


@pytest.mark.parametrize("name", READS + WRITES)
def test_arity(harness: Harness, oracle: Oracle, name: str) -> None:
    both = Pair(oracle, harness)
    for count in range(1, 8):
        words = (name, *map(str, range(count - 1)))
        both.check(*words)
        both.check("SET", "s", "v")
        both.check(name, *("s", "0", "x", "1", "y", "2")[: count - 1])


@pytest.mark.parametrize("words", [
    ("HINCRBY", "h", "n", "x"), ("HINCRBY", "h", "n", "1.5"), ("HINCRBY", "h", "n", 2**63), ("HINCRBY", "s", "n", "x"),
    ("HINCRBY", "h", "n", 2**63 - 1), ("HINCRBY", "h", "m", -(2**63)), ("HINCRBY", "h", "text", 1),
    ("HINCRBY", "h", "space", 1), ("HINCRBY", "h", "float", 1), ("HINCRBYFLOAT", "h", "n", "inf"),
    ("HINCRBYFLOAT", "h", "n", "nan"), ("HINCRBYFLOAT", "h", "n", "x"), ("HINCRBYFLOAT", "h", "n", ""),
    ("HINCRBYFLOAT", "h", "inf", "1"), ("HINCRBYFLOAT", "h", "text", "1"), ("HINCRBYFLOAT", "s", "n", "x"),
    ("HINCRBYFLOAT", "h", "space", "1"), ("HINCRBYFLOAT", "h", "float", "1e-3"), ("HINCRBYFLOAT", "h", "n", "1e400"),
    ("HRANDFIELD", "h", "x"), ("HRANDFIELD", "h", -(2**63)), ("HRANDFIELD", "h", -(2**62) - 1, "WITHVALUES"),
    ("HRANDFIELD", "h", 2**62, "WITHVALUES"), ("HRANDFIELD", "h", 1, "VALUES"), ("HRANDFIELD", "h", "x", "y", "z"),
    ("HRANDFIELD", "h", 1, "WITHVALUES", "y"), ("HRANDFIELD", "s", "x"), ("HSCAN", "h", "x"), ("HSCAN", "s", "x"),
    ("HSCAN", "h", 0, "COUNT"), ("HSCAN", "h", 0, "COUNT", 0), ("HSCAN", "h", 0, "COUNT", "x"),
    ("HSCAN", "h", 0, "TYPE", "hash"), ("HSCAN", "nope", 0, "COUNT", "x"), ("HSCAN", "s", 0, "COUNT", "x"),
])  # fmt: skip
def test_errors(harness: Harness, oracle: Oracle, words: tuple[Word, ...]) -> None:
    both = Pair(oracle, harness)
    both.check("SET", "s", "v")
    both.check("HSET", "h", "n", 1, "m", -1, "text", "x", "space", " 1", "float", "1.5", "inf", "inf")
    both.events()
    both.check(*words)
    both.events()
    assert len(both.check("HGETALL", "h", unordered=True))  # 1e400 outgrows Redis's ordered encoding


KEYS = st.sampled_from(["h", "i", "s"])
FIELDS = st.sampled_from(["a", "b", "c", "1"])
VALUES = st.sampled_from(["", "x", "0", "10", "-7", "1.5", "9223372036854775807"])
COMMANDS = st.one_of(
    st.tuples(st.sampled_from(["HSET", "HMSET"]), KEYS, FIELDS, VALUES),
    st.tuples(st.sampled_from(["HSET", "HMSET"]), KEYS, FIELDS, VALUES, FIELDS, VALUES),
    st.tuples(st.sampled_from(["HSETNX", "HINCRBY", "HINCRBYFLOAT"]), KEYS, FIELDS, VALUES),
    st.tuples(st.sampled_from(["HDEL", "HMGET"]), KEYS, FIELDS, FIELDS),
    st.tuples(st.sampled_from(["HGET", "HEXISTS", "HSTRLEN"]), KEYS, FIELDS),
    st.tuples(st.sampled_from(["HGETALL", "HKEYS", "HVALS", "HLEN"]), KEYS),
    st.tuples(st.just("SET"), st.just("s"), VALUES),
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(COMMANDS, max_size=25), st.sampled_from([2, 3]))
def test_random_histories_equal_redis(redis_port: int, history: list[tuple[Word, ...]], resp: int) -> None:
    compare(redis_port, history, resp)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(COMMANDS, max_size=25))
def test_effects_replay_and_events_are_declared(history: list[tuple[Word, ...]]) -> None:
    replay(history)


def test_hincrbyfloat_is_replicated_as_its_result(harness: Harness, client: Client) -> None:
    client("HINCRBYFLOAT", "h", "f", "0.1")
    assert harness.effects() == [[b"HSET", b"h", b"f", b"0.1"]]


@pytest.mark.parametrize("words, new, old", [
    (("HSET", "h", "a", "2", "c", "3"), [b"a", b"2", b"c", b"3"], [b"a", b"1", b"c", None]),
    (("HSETNX", "h", "c", "3"), [b"c", b"3"], [b"c", None]),
    (("HINCRBY", "h", "a", "4"), [b"a", b"5"], [b"a", b"1"]),
    (("HINCRBYFLOAT", "h", "a", "0.5"), [b"a", b"1.5"], [b"a", b"1"]),
])  # fmt: skip
def test_a_change_shows_the_fields_set_and_what_they_were(
    harness: Harness, client: Client, words: tuple[Word, ...], new: list[bytes], old: list[bytes]
) -> None:
    client("HSET", "h", "a", "1", "b", "2")
    harness.capture_all()
    client(*words)
    _, (change,) = harness.engine.drain()
    assert (change.new, change.old) == (("hash", new), ("hash", old))


def test_a_new_hash_has_no_old_value(harness: Harness, client: Client) -> None:
    harness.capture_all()
    client("HSET", "h", "a", "1")
    _, (change,) = harness.engine.drain()
    assert (change.new, change.old) == (("hash", [b"a", b"1"]), None)


def test_replies_are_copies(client: Client) -> None:
    client("HSET", "h", "a", "1")
    before = [client(name, "h") for name in ("HGETALL", "HKEYS", "HVALS")]
    client("HSET", "h", "b", "2")
    assert before == [{b"a": b"1"}, [b"a"], [b"1"]]


@pytest.mark.parametrize("size", [20, 2000])
def test_hrandfield(client: Client, size: int) -> None:
    client("HSET", "h", *chain.from_iterable((f"f{i}", f"v{i}") for i in range(size)))
    fields = {b"f%d" % i for i in range(size)}
    seen = {client("HRANDFIELD", "h") for _ in range(20 * 20)}
    assert seen <= fields and len(seen) > min(size, 400) // 2
    for count in (1, 5, size - 1, size, size + 1):
        picked = client("HRANDFIELD", "h", count)
        assert len(picked) == len(set(picked)) == min(count, size) and set(picked) <= fields
    for count in (1, 5, 3 * size):
        picked = client("HRANDFIELD", "h", -count, "WITHVALUES")
        assert len(picked) == 2 * count
        assert all(value == b"v" + field[1:] for field, value in zip(picked[::2], picked[1::2], strict=True))
    client.session.set_protocol(3)
    assert all(value == b"v" + field[1:] for field, value in client("HRANDFIELD", "h", 3, "WITHVALUES"))
    assert type(client("HRANDFIELD", "h", -(2**62))) is ReplyError


def test_hscan_returns_whatever_stays(client: Client) -> None:
    client.session.engine.settings["hash-max-listpack-entries"] = 128
    stay = {b"s%d" % i for i in range(500)}
    client("HSET", "h", *chain.from_iterable((field, b"v") for field in stay))
    seen: set[bytes] = set()
    cursor, calls = b"0", 0
    while True:
        cursor, page = client("HSCAN", "h", cursor, "COUNT", 20)
        assert set(page[1::2]) <= {b"v"}
        seen |= set(page[::2])
        client("HSET", "h", *chain.from_iterable((f"t{calls}-{i}", b"v") for i in range(60)))
        client("HDEL", "h", *(f"t{calls - 1}-{i}" for i in range(60)))
        calls += 1
        if cursor == b"0":
            break
    assert stay <= seen and calls > 5


def test_encoding_only_grows(harness: Harness, client: Client) -> None:
    def is_now(expected: bytes) -> bool:
        return encoding(harness.engine.databases[0].data[b"h"], harness.engine.settings) == expected

    harness.engine.settings["hash-max-listpack-entries"] = 128
    client("HSET", "h", *chain.from_iterable((f"f{i}", "v") for i in range(128)))
    assert is_now(b"listpack")
    client("HSET", "h", "one more", "v")
    assert is_now(b"hashtable")
    client("HDEL", "h", *(f"f{i}" for i in range(128)))
    assert is_now(b"hashtable")
    client("HDEL", "h", "one more")
    client("HSET", "h", "f", "v" * 64)
    assert is_now(b"listpack")
    client("HSET", "h", "f", "v" * 65)
    assert is_now(b"hashtable")


def test_a_copy_is_independent(harness: Harness, client: Client) -> None:
    client("HSET", "h", "a", "1")
    value = harness.engine.databases[0].data[b"h"]
    twin = value.copy()
    client("HSET", "h", "a", "2")
    assert type(twin) is Hash and twin == {b"a": b"1"} and contents(harness)[0, b"h"][1] == {b"a": b"2"}
