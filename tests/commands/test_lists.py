"""Lists, compared with redis-server and held to their own promises."""

from __future__ import annotations

import pytest
from fakes import Client, Harness
from histories import compare, replay
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Oracle, Pair, Word

from ferrite_hooks.values.encoding import encoding

NAMES = (
    "LPUSH", "RPUSH", "LPUSHX", "RPUSHX", "LPOP", "RPOP", "LLEN", "LINDEX", "LSET", "LINSERT", "LRANGE", "LREM",
    "LTRIM", "LPOS", "LMOVE", "RPOPLPUSH", "LMPOP",
)  # fmt: skip


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("key", ["l", "nope", "s"])
def test_every_command_on_a_list_nothing_and_a_string(harness: Harness, oracle: Oracle, resp: int, key: str) -> None:
    both = Pair(oracle, harness, resp)
    both.check("SET", "s", "v")
    for words in [
        ("LLEN", key), ("LINDEX", key, 0), ("LINDEX", key, -1), ("LINDEX", key, 9), ("LRANGE", key, 0, -1),
        ("LPOS", key, "b"), ("LPOS", key, "x"), ("LPOS", key, "a", "COUNT", 0), ("LPOS", key, "x", "COUNT", 0),
        ("LPUSHX", key, "x"), ("RPUSHX", key, "y", "z"), ("LINSERT", key, "before", "b", "i"),
        ("LINSERT", key, "AFTER", "z", "i"), ("LINSERT", key, "AFTER", "nope", "i"), ("LSET", key, 0, "n"),
        ("LREM", key, 0, "a"), ("LREM", key, 1, "nope"), ("LTRIM", key, 1, -2), ("LRANGE", key, 0, -1),
        ("LPOP", key), ("RPOP", key), ("LPOP", key, 0), ("LPOP", key, 2), ("RPOP", key, 2), ("LMOVE", key, "d", "LEFT",
        "RIGHT"), ("RPOPLPUSH", key, key), ("LMPOP", 2, "none", key, "left", "count", 2), ("RPOP", key, 100),
        ("LPOP", key, 0), ("RPOP", key),
    ]:  # fmt: skip
        both.check("DEL", "l", "d")
        both.check("RPUSH", "l", "a", "b", "a", "c", "a")
        both.events()
        both.check(*words)
        both.events()
        both.check("LRANGE", "l", 0, -1)
        both.check("LRANGE", "d", 0, -1)


@pytest.mark.parametrize("name", NAMES)
def test_arity(harness: Harness, oracle: Oracle, name: str) -> None:
    both = Pair(oracle, harness)
    both.check("SET", "s", "v")
    for count in range(1, 9):
        both.check(name, *map(str, range(count - 1)))
        both.check(name, *("s", "0", "x", "1", "y", "2", "z")[: count - 1])


@pytest.mark.parametrize("words", [
    ("LPOP", "l", -1), ("LPOP", "l", "x"), ("LPOP", "s", "x"), ("LPOP", "nope", -1), ("LPOP", "l", 1, 1),
    ("LINDEX", "l", "x"), ("LINDEX", "nope", "x"), ("LINDEX", "s", "x"), ("LSET", "nope", "x", "y"),
    ("LSET", "l", "x", "y"), ("LSET", "l", 5, "y"), ("LSET", "l", -6, "y"), ("LSET", "s", 0, "y"),
    ("LINSERT", "s", "BEFOR", "a", "x"), ("LINSERT", "nope", "BEFOR", "a", "x"), ("LRANGE", "s", "x", 1),
    ("LRANGE", "nope", 1, "x"), ("LTRIM", "s", "x", 1), ("LTRIM", "nope", 1, "x"), ("LREM", "s", "x", "a"),
    ("LREM", "nope", "x", "a"), ("LPOS", "s", "a", "RANK", 0), ("LPOS", "l", "a", "RANK", "x"),
    ("LPOS", "l", "a", "RANK", 2**63 - 1), ("LPOS", "l", "a", "RANK", 2**63),
    ("LPOS", "l", "a", "RANK", -(2**63) + 1), ("LPOS", "l", "a", "COUNT", -1), ("LPOS", "l", "a", "COUNT", "x"),
    ("LPOS", "l", "a", "COUNT", 2**63 - 1, "MAXLEN", 2**63 - 1), ("LPOS", "l", "a", "MAXLEN", -1),
    ("LPOS", "l", "a", "MAXLEN", "x"), ("LPOS", "l", "a", "RANK"), ("LPOS", "l", "a", "FOO", 1),
    ("LPOS", "l", "a", "FOO"),
    ("LPOS", "l", "a", "RANK", -1, "COUNT", 2, "MAXLEN", 3), ("LPOS", "l", "a", "RANK", 1, "RANK", 2),
    ("LMOVE", "l", "d", "LEFT", "UP"), ("LMOVE", "s", "d", "DOWN", "RIGHT"), ("LMOVE", "l", "s", "LEFT", "RIGHT"),
    ("LMOVE", "nope", "s", "LEFT", "RIGHT"), ("LMOVE", "s", "l", "LEFT", "RIGHT"), ("RPOPLPUSH", "l", "s"),
    ("LMPOP", 0, "l", "LEFT"), ("LMPOP", "x", "l", "LEFT"), ("LMPOP", -1, "l", "LEFT"), ("LMPOP", 1, "l", "UP"),
    ("LMPOP", 2, "l", "LEFT"), ("LMPOP", 3, "l", "LEFT"), ("LMPOP", 1, "l", "LEFT", "COUNT"),
    ("LMPOP", 1, "l", "LEFT", "COUNT", 0), ("LMPOP", 1, "l", "LEFT", "COUNT", "x"), ("LMPOP", 1, "l", "LEFT", "FOO", 1),
    ("LMPOP", 1, "l", "LEFT", "COUNT", 1, "COUNT", 1), ("LMPOP", 1, "l", "LEFT", "COUNT", 0, "x"),
    ("LMPOP", 1, "l", "LEFT", "RIGHT"), ("LMPOP", 2, "nope", "s", "LEFT"), ("LMPOP", 2**63 - 1, "l", "LEFT"),
])  # fmt: skip
def test_errors_and_corner_cases(harness: Harness, oracle: Oracle, words: tuple[Word, ...]) -> None:
    both = Pair(oracle, harness)
    both.check("SET", "s", "v")
    both.check("RPUSH", "l", "a", "b", "a", "c", "a")
    both.check(*words)
    both.events()
    both.check("LRANGE", "l", 0, -1)


def test_the_lowest_rank_has_no_negative(client: Client) -> None:
    assert client("LPOS", "l", "a", "RANK", -(2**63)).text == (
        "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807"
    )


INDEXES = st.integers(-7, 7)
KEYS = st.sampled_from(["k", "l", "s"])
ELEMENTS = st.sampled_from(["a", "b", "1"])
SIDES = st.sampled_from(["LEFT", "RIGHT"])
PUSHES = st.tuples(st.sampled_from(["LPUSH", "RPUSH"]), KEYS, ELEMENTS, ELEMENTS, ELEMENTS)
COMMANDS = st.one_of(
    PUSHES,
    st.tuples(st.sampled_from(["LPUSHX", "RPUSHX"]), KEYS, ELEMENTS),
    st.tuples(st.sampled_from(["LPOP", "RPOP", "LLEN"]), KEYS),
    st.tuples(st.sampled_from(["LPOP", "RPOP"]), KEYS, st.integers(0, 4)),
    st.tuples(st.just("LSET"), KEYS, INDEXES, ELEMENTS),
    st.tuples(st.just("LINDEX"), KEYS, INDEXES),
    st.tuples(st.just("LINSERT"), KEYS, st.sampled_from(["BEFORE", "AFTER"]), ELEMENTS, ELEMENTS),
    st.tuples(st.just("LRANGE"), KEYS, INDEXES, INDEXES),
    st.tuples(st.just("LREM"), KEYS, INDEXES, ELEMENTS),
    st.tuples(st.just("LPOS"), KEYS, ELEMENTS, st.just("RANK"), INDEXES, st.just("MAXLEN"), st.integers(0, 5)),
    st.tuples(st.just("LPOS"), KEYS, ELEMENTS, st.just("RANK"), INDEXES, st.just("COUNT"), st.integers(0, 3)),
    st.tuples(st.just("LMOVE"), KEYS, KEYS, SIDES, SIDES),
    st.tuples(st.just("RPOPLPUSH"), KEYS, KEYS),
    st.tuples(st.just("LMPOP"), st.just(2), KEYS, KEYS, SIDES, st.just("COUNT"), st.integers(0, 3)),
    st.tuples(st.just("BLMPOP"), st.just(0), st.just(1), st.just("s"), SIDES),
    st.tuples(st.just("SET"), st.just("s"), ELEMENTS),
)
BLOCKING = st.one_of(
    st.tuples(st.sampled_from(["BLPOP", "BRPOP"]), KEYS, KEYS, st.just(0)),
    st.tuples(st.just("BLMOVE"), KEYS, KEYS, SIDES, SIDES, st.just(0)),
    st.tuples(st.just("BRPOPLPUSH"), KEYS, KEYS, st.just(0)),
    st.tuples(st.just("BLMPOP"), st.just(0), st.just(2), KEYS, KEYS, SIDES),
)
TRIMS = st.tuples(st.just("LTRIM"), KEYS, INDEXES, INDEXES)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.one_of(PUSHES, COMMANDS), max_size=30), st.sampled_from([2, 3]))
def test_random_histories_equal_redis(redis_port: int, history: list[tuple[Word, ...]], resp: int) -> None:
    compare(redis_port, [("SET", "s", "v"), *history], resp)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.lists(st.one_of(PUSHES, TRIMS, COMMANDS), max_size=20))
def test_random_histories_with_trims(redis_port: int, history: list[tuple[Word, ...]]) -> None:
    compare(redis_port, [("SET", "s", "v"), *history], events=False)  # an LTRIM of nothing is silent here


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.one_of(PUSHES, TRIMS, COMMANDS, BLOCKING), max_size=25))
def test_effects_replay_and_events_are_declared(history: list[tuple[Word, ...]]) -> None:
    replay([("SET", "s", "v"), *history])


@pytest.mark.parametrize("start, stop", [(1, -2), (0, 0), (5, 1), (-100, -3), (2, 100)])
def test_ltrim_events(harness: Harness, oracle: Oracle, start: int, stop: int) -> None:
    both = Pair(oracle, harness)
    both.check("RPUSH", "l", *"abcdefgh")
    both.check("LTRIM", "l", start, stop)
    assert "ltrim" in [event for event, _ in both.events()]
    both.check("LRANGE", "l", 0, -1)


def test_ltrim_of_nothing_writes_nothing(harness: Harness, client: Client) -> None:
    client("RPUSH", "l", "a", "b")
    harness.capture_all()
    harness.engine.drain()
    client("LTRIM", "l", 0, 10)
    assert harness.engine.drain() == ([], [])


@pytest.mark.parametrize("words, event, new, old", [
    (("LPUSH", "l", "x", "y"), "lpush", ("list", [b"x", b"y"]), ("stub", "list", 4)),
    (("RPUSHX", "l", "x"), "rpush", ("list", [b"x"]), ("stub", "list", 4)),
    (("LINSERT", "l", "AFTER", "b", "x"), "linsert", ("list", [b"x"]), ("stub", "list", 4)),
    (("LSET", "l", 1, "x"), "lset", ("list", [b"x"]), ("list", [b"b"])),
    (("LPOP", "l"), "lpop", None, ("list", [b"a"])),
    (("RPOP", "l", 2), "rpop", None, ("list", [b"d", b"c"])),
    (("LMPOP", 1, "l", "LEFT", "COUNT", 2), "lpop", None, ("list", [b"a", b"b"])),
    (("LREM", "l", 0, "c"), "lrem", None, ("list", [b"c"])),
    (("LTRIM", "l", 1, 2), "ltrim", None, ("list", [b"a", b"d"])),
])  # fmt: skip
def test_a_change_shows_what_came_or_went(
    harness: Harness, client: Client, words: tuple[Word, ...], event: str, new: object, old: object
) -> None:
    client("RPUSH", "l", "a", "b", "c", "d")
    harness.capture_all()
    client(*words)
    _, (change,) = harness.engine.drain()
    assert (change.event, change.new, change.old) == (event, new, old)


def test_a_great_removal_is_told_by_length(harness: Harness, client: Client) -> None:
    client("RPUSH", "l", *["a"] * 1000, "b")
    harness.capture_all()
    client("LREM", "l", 500, "a")
    client("LTRIM", "l", -1, -1)
    _, changes = harness.engine.drain()
    assert [change.old for change in changes] == [("stub", "list", 1001), ("stub", "list", 501)]


def test_lmove_shows_both_lists(harness: Harness, client: Client) -> None:
    client("RPUSH", "l", "a")
    client("RPUSH", "d", "x")
    harness.capture_all()
    client("LMOVE", "l", "d", "LEFT", "RIGHT")
    _, changes = harness.engine.drain()
    assert [(c.event, c.key, c.new, c.old) for c in changes] == [
        ("rpush", b"d", ("list", [b"a"]), ("stub", "list", 1)),
        ("lpop", b"l", None, ("list", [b"a"])),
        ("del", b"l", None, None),
    ]


def test_lmpop_is_replicated_as_a_pop(harness: Harness, client: Client) -> None:
    client("RPUSH", "l", "a", "b")
    harness.effects()
    client("LMPOP", 2, "none", "l", "RIGHT", "COUNT", 10)
    assert harness.effects() == [[b"RPOP", b"l", b"2"]]


def test_encoding_grows_at_the_limit_and_shrinks_at_half(harness: Harness, client: Client) -> None:
    parameters = harness.engine.settings

    def now() -> bytes:
        return encoding(harness.engine.databases[0].data[b"l"], parameters)

    parameters["list-max-listpack-size"] = 4
    client("RPUSH", "l", *"abcd")
    assert now() == b"listpack"
    client("RPUSH", "l", "e")
    assert now() == b"quicklist"
    client("LPOP", "l", 2)
    assert now() == b"quicklist"
    client("LPOP", "l")
    assert now() == b"listpack"
    parameters["list-max-listpack-size"] = -1
    client("RPUSH", "l", "x" * 4050)
    assert now() == b"listpack"
    client("RPUSH", "l", "x" * 40)
    assert now() == b"quicklist"


def test_moving_an_element_is_one_change(harness: Harness, oracle: Oracle) -> None:
    def changes() -> int:
        text = oracle("INFO", "persistence").split(b"rdb_changes_since_last_save:")[1]
        return int(text.split(b"\r\n")[0])

    both = Pair(oracle, harness)
    both.check("RPUSH", "src", "a", "b")
    for words in (("LMOVE", "src", "dst", "LEFT", "RIGHT"), ("RPOPLPUSH", "src", "dst"), ("BLMOVE", "dst", "dst",
                  "LEFT", "LEFT", 0)):  # fmt: skip
        theirs, ours = changes(), harness.engine.dirty
        both.check(*words)
        assert harness.engine.dirty - ours == changes() - theirs == 1
