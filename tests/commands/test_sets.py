"""Sets, compared with redis-server and held to their own promises."""

from __future__ import annotations

from collections import Counter

import pytest
from fakes import Client, Harness
from histories import compare, replay
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Oracle, Pair, Word

from ferrite_hooks.values.encoding import encoding

UNORDERED = ("SMEMBERS", "SINTER", "SUNION", "SDIFF", "SSCAN", "SRANDMEMBER", "SPOP")
NAMES = (
    "SADD", "SREM", "SMOVE", "SISMEMBER", "SMISMEMBER", "SCARD", "SMEMBERS", "SPOP", "SRANDMEMBER", "SSCAN", "SINTER",
    "SUNION", "SDIFF", "SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE", "SINTERCARD",
)  # fmt: skip


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("key", ["t", "nope", "s"])
def test_every_command_on_a_set_nothing_and_a_string(harness: Harness, oracle: Oracle, resp: int, key: str) -> None:
    both = Pair(oracle, harness, resp)
    both.check("SET", "s", "v")
    for words in [
        ("SCARD", key), ("SISMEMBER", key, "a"), ("SISMEMBER", key, "x"), ("SMISMEMBER", key, "a", "x", "b"),
        ("SMEMBERS", key), ("SPOP", key, 0), ("SPOP", key, 100), ("SRANDMEMBER", key, 0), ("SRANDMEMBER", key, 100),
        ("SSCAN", key, 0), ("SSCAN", key, 0, "MATCH", "[ab]*", "COUNT", 99), ("SADD", key, "x", "a", "y", "x"),
        ("SADD", key, "a"), ("SREM", key, "a", "x", "a"), ("SREM", key, "x"), ("SREM", key, "a", "b", "c", "1"),
        ("SMOVE", key, "d", "a"), ("SMOVE", key, "t", "a"), ("SMOVE", key, "d", "x"), ("SMOVE", "t", key, "b"),
        ("SINTER", key), ("SINTER", "t", key), ("SINTER", key, "u"), ("SUNION", key, "u"), ("SUNION", "nope", key),
        ("SDIFF", key, "u"), ("SDIFF", "u", key), ("SDIFF", key, key), ("SINTERCARD", 2, key, "u"),
        ("SINTERCARD", 2, key, "u", "LIMIT", 1), ("SINTERCARD", 1, key, "limit", 0), ("SINTERSTORE", "d", key, "u"),
        ("SUNIONSTORE", "d", key, "u"), ("SDIFFSTORE", "d", key, "u"), ("SDIFFSTORE", key, "u", "t"),
        ("SINTERSTORE", "u", "u", key), ("SINTERSTORE", key, "u", "t"), ("SUNIONSTORE", key, "nope"),
    ]:  # fmt: skip
        both.check("SUNIONSTORE", "d", "none")
        both.check("SADD", "t", "a", "b", "c", 1)
        both.check("SADD", "u", "b", "c", 2)
        both.events()
        both.check(*words, unordered=words[0] in UNORDERED)
        both.events()
        both.check("SMEMBERS", key, unordered=True)
        both.check("SMEMBERS", "d", unordered=True)


@pytest.mark.parametrize("name", NAMES)
def test_arity(harness: Harness, oracle: Oracle, name: str) -> None:
    both = Pair(oracle, harness)
    both.check("SET", "s", "v")
    for count in range(1, 8):
        both.check(name, *map(str, range(count - 1)))
        both.check(name, *("s", "0", "x", "1", "y", "2")[: count - 1])


@pytest.mark.parametrize("words", [
    ("SPOP", "t", -1), ("SPOP", "t", "x"), ("SPOP", "s", "x"), ("SPOP", "nope", -1), ("SPOP", "t", 1, 1),
    ("SRANDMEMBER", "t", "x"), ("SRANDMEMBER", "s", "x"), ("SRANDMEMBER", "t", -(2**63)), ("SRANDMEMBER", "t", 1, 1),
    ("SRANDMEMBER", "nope", 2**63 - 1), ("SRANDMEMBER", "t", 2**63), ("SMOVE", "t", "s", "a"), ("SMOVE", "s", "t", "a"),
    ("SMOVE", "nope", "s", "a"), ("SMOVE", "t", "s", "nope"), ("SMOVE", "t", "t", "a"), ("SMOVE", "t", "t", "nope"),
    ("SINTER", "nope", "s"), ("SINTER", "s", "nope"), ("SUNION", "nope", "s"), ("SDIFF", "nope", "s"),
    ("SINTERSTORE", "s", "t"), ("SUNIONSTORE", "s", "nope"), ("SDIFFSTORE", "t", "s"),
    ("SINTERSTORE", "t", "nope", "s"),
    ("SINTERCARD", 0, "t"), ("SINTERCARD", "x", "t"), ("SINTERCARD", -1, "t"), ("SINTERCARD", 2, "t"),
    ("SINTERCARD", 1, "t", "LIMIT"), ("SINTERCARD", 1, "t", "LIMIT", -1), ("SINTERCARD", 1, "t", "LIMIT", "x"),
    ("SINTERCARD", 1, "t", "FOO", 1), ("SINTERCARD", 1, "t", "u"), ("SINTERCARD", 2, "t", "s"),
    ("SINTERCARD", 1, "t", "LIMIT", 2**63 - 1), ("SINTERCARD", 1, "t", "LIMIT", 1, "LIMIT", 2),
    ("SINTERCARD", 2, "nope", "s"), ("SSCAN", "t", "x"), ("SSCAN", "s", "x"), ("SSCAN", "t", 0, "COUNT"),
    ("SSCAN", "t", 0, "COUNT", 0), ("SSCAN", "t", 0, "NOVALUES"), ("SSCAN", "nope", 0, "COUNT", "x"),
])  # fmt: skip
def test_errors_and_corner_cases(harness: Harness, oracle: Oracle, words: tuple[Word, ...]) -> None:
    both = Pair(oracle, harness)
    both.check("SET", "s", "v")
    both.check("SADD", "t", "a", "b", "c")
    both.check("SADD", "u", "b")
    both.check(*words)
    both.events()
    both.check("SMEMBERS", "t", unordered=True)


KEYS = st.sampled_from(["k", "t", "u", "s"])
MEMBERS = st.sampled_from(["a", "b", "1", "22", "-3"])
ADDS = st.tuples(st.just("SADD"), KEYS, MEMBERS, MEMBERS, MEMBERS)
FIXED = st.one_of(
    ADDS,
    st.tuples(st.sampled_from(["SREM", "SMISMEMBER"]), KEYS, MEMBERS, MEMBERS),
    st.tuples(st.just("SMOVE"), KEYS, KEYS, MEMBERS),
    st.tuples(st.just("SISMEMBER"), KEYS, MEMBERS),
    st.tuples(st.sampled_from(["SMEMBERS", "SCARD", "SUNION"]), KEYS),
    st.tuples(st.sampled_from(["SPOP", "SRANDMEMBER"]), KEYS, st.sampled_from([0, 9])),
    st.tuples(st.sampled_from(["SINTER", "SUNION", "SDIFF"]), KEYS, KEYS, KEYS),
    st.tuples(st.sampled_from(["SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE"]), KEYS, KEYS, KEYS),
    st.tuples(st.just("SINTERCARD"), st.just(2), KEYS, KEYS, st.just("LIMIT"), st.integers(0, 3)),
    st.tuples(st.just("SET"), st.just("s"), MEMBERS),
)
RANDOM = st.one_of(st.tuples(st.just("SPOP"), KEYS), st.tuples(st.just("SPOP"), KEYS, st.integers(0, 4)))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.one_of(ADDS, FIXED), max_size=30), st.sampled_from([2, 3]))
def test_random_histories_equal_redis(redis_port: int, history: list[tuple[Word, ...]], resp: int) -> None:
    compare(redis_port, [("SET", "s", "v"), *history], resp, unordered=UNORDERED)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.one_of(ADDS, FIXED, RANDOM), max_size=25))
def test_effects_replay_and_events_are_declared(history: list[tuple[Word, ...]]) -> None:
    replay([("SET", "s", "v"), *history])


def test_spop_is_replicated_as_what_it_removed(harness: Harness, client: Client) -> None:
    client("SADD", "t", *range(3000))
    harness.effects()
    member = client("SPOP", "t")
    assert harness.effects() == [[b"SREM", b"t", member]]
    members = client("SPOP", "t", 2000)
    effects = harness.effects()
    assert [effect[:2] for effect in effects] == [[b"SREM", b"t"]] * 2
    assert set(effects[0][2:] + effects[1][2:]) == members and len(members) == 2000
    client("SPOP", "t", 5000)
    assert harness.effects() == [[b"DEL", b"t"]]


@pytest.mark.parametrize("words, event, new, old", [
    (("SADD", "t", "a", "x", "y", "x"), "sadd", ("set", [b"x", b"y"]), ("stub", "set", 2)),
    (("SADD", "new", "x"), "sadd", ("set", [b"x"]), None),
    (("SREM", "t", "a", "nope"), "srem", None, ("set", [b"a"])),
    (("SUNIONSTORE", "d", "one"), "sunionstore", ("set", [b"1"]), None),
    (("SUNIONSTORE", "one", "one"), "sunionstore", ("set", [b"1"]), ("set", [b"1"])),
])  # fmt: skip
def test_a_change_shows_what_came_or_went(
    harness: Harness, client: Client, words: tuple[Word, ...], event: str, new: object, old: object
) -> None:
    client("SADD", "t", "a", "b")
    client("SADD", "one", "1")
    harness.capture_all()
    client(*words)
    _, (change,) = harness.engine.drain()
    assert (change.event, change.new, change.old) == (event, new, old)


def test_smove_and_spop_show_the_member(harness: Harness, client: Client) -> None:
    client("SADD", "t", "a")
    harness.capture_all()
    client("SMOVE", "t", "d", "a")
    client("SPOP", "d")
    _, changes = harness.engine.drain()
    assert [(c.event, c.key, c.new, c.old) for c in changes] == [
        ("srem", b"t", None, ("set", [b"a"])), ("del", b"t", None, None), ("sadd", b"d", ("set", [b"a"]), None),
        ("spop", b"d", None, ("set", [b"a"])), ("del", b"d", None, None),
    ]  # fmt: skip


def test_replies_are_copies(client: Client) -> None:
    client("SADD", "t", "a")
    before = [client(name, "t") for name in ("SMEMBERS", "SINTER", "SUNION", "SDIFF")]
    client("SADD", "t", "b")
    assert before == [{b"a"}] * 4


@pytest.mark.parametrize("size", [20, 3000])
def test_random_members(client: Client, size: int) -> None:
    members = {b"m%d" % i for i in range(size)}
    client("SADD", "t", *members)
    for count in (1, 5, size - 1, size, size + 1):
        picked = client("SRANDMEMBER", "t", count)
        assert len(picked) == len(set(picked)) == min(count, size) and set(picked) <= members
    for count in (1, 7, 2 * size):
        picked = client("SRANDMEMBER", "t", -count)
        assert len(picked) == count and set(picked) <= members
    assert client("SRANDMEMBER", "t", -(2**62)).text == "ERR value is out of range"
    popped: set[bytes] = set()
    for count in (1, size // 4, size // 2):
        gone = client("SPOP", "t", count)
        assert len(gone) == count and not gone & popped
        popped |= gone
    while client("SCARD", "t"):
        popped.add(client("SPOP", "t"))
    assert popped == members


@pytest.mark.parametrize("size", [40, 400])
def test_random_members_are_equally_likely(client: Client, size: int) -> None:
    client("SADD", "t", *range(size))
    draws = 50 * size
    counts = Counter(client("SRANDMEMBER", "t") for _ in range(draws))
    chi_squared = sum((counts[b"%d" % i] - 50) ** 2 / 50 for i in range(size))
    assert abs(chi_squared - (size - 1)) < 8 * (2 * (size - 1)) ** 0.5  # eight standard deviations


def test_sscan_returns_whatever_stays(client: Client) -> None:
    stay = {b"s%d" % i for i in range(500)}
    client("SADD", "t", *stay)
    seen: set[bytes] = set()
    cursor, calls = b"0", 0
    while True:
        cursor, page = client("SSCAN", "t", cursor, "COUNT", 20)
        seen |= set(page)
        client("SADD", "t", *(f"t{calls}-{i}" for i in range(60)))
        client("SREM", "t", *(f"t{calls - 1}-{i}" for i in range(60)))
        calls += 1
        if cursor == b"0":
            break
    assert stay <= seen and calls > 5
    assert set(client("SSCAN", "t", 0, "MATCH", "s1*", "COUNT", 100_000)[1]) == {m for m in stay if m[:2] == b"s1"}


@pytest.mark.parametrize("members, expected", [
    (["1", "-5", "9223372036854775807"], b"intset"), (["1", "9223372036854775808"], b"listpack"),
    (["01"], b"listpack"), (["+1"], b"listpack"), ([*range(512)], b"intset"), ([*range(513)], b"hashtable"),
    ([*range(127), "x"], b"listpack"), ([*range(128), "x"], b"hashtable"), (["x" * 64], b"listpack"),
    (["x" * 65], b"hashtable"), (["1", "x" * 65], b"hashtable"), (["x", *range(200)], b"hashtable"),
])  # fmt: skip
def test_encoding(harness: Harness, client: Client, members: list[Word], expected: bytes) -> None:
    def now(key: bytes) -> bytes:
        return encoding(harness.engine.databases[0].data[key], harness.engine.settings)

    client("SADD", "t", *members)
    assert now(b"t") == expected
    client("SUNIONSTORE", "d", "t")
    assert now(b"d") == expected
    client("SREM", "t", *members[1:])
    assert now(b"t") == expected
