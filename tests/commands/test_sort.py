"""SORT against redis-server."""

from __future__ import annotations

import pytest
from fakes import Client, Harness
from histories import play
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ELEMENTS = st.one_of(
    st.integers(-20, 20).map(str),
    st.sampled_from(["1.5", "-0.25", "1e2", "inf", "-inf", "0x10", " 7", "", "abc", "x9"]),
)
NUMBERS = st.one_of(st.integers(-20, 20).map(str), st.sampled_from(["1.5", "-0.25", "1e2"]))
BY = st.sampled_from([(), (), ("BY", "w_*"), ("BY", "h_*->f"), ("BY", "nosort"), ("BY", "*->"), ("BY", "none_*")])
GET = st.sampled_from([(), (), ("GET", "#"), ("GET", "w_*", "GET", "#"), ("GET", "h_*->f"), ("GET", "plain")])
LIMIT = st.one_of(
    st.just(()), st.tuples(st.just("LIMIT"), st.integers(-2, 8).map(str), st.integers(-2, 8).map(str))
)
REST = st.lists(st.sampled_from(["ASC", "desc", "ALPHA"]), max_size=2).map(tuple)
STORE = st.sampled_from([(), (), ("STORE", "d")])
OPTIONS = st.tuples(BY, GET, LIMIT, REST, STORE).map(lambda parts: tuple(word for part in parts for word in part))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    elements=st.lists(ELEMENTS, min_size=1, max_size=8), numbers=st.lists(NUMBERS, min_size=1, max_size=8),
    weights=st.lists(ELEMENTS, max_size=8), sorts=st.lists(OPTIONS, min_size=1, max_size=6),
)  # fmt: skip
def test_random_sorts(
    redis_port: int, elements: list[str], numbers: list[str], weights: list[str], sorts: list[tuple[str, ...]]
) -> None:
    history: list[tuple[str, ...]] = [("RPUSH", "l", *numbers), ("RPUSH", "t", *elements)]
    history += [("ZADD", "z", str(n), element) for n, element in enumerate(numbers)]
    for element, weight in zip(numbers, weights, strict=False):
        history += [("SET", f"w_{element}", weight), ("HSET", f"h_{element}", "f", weight)]
    for options in sorts:
        # equal weights: redis-server's order is an accident of its qsort
        unsure = "ALPHA" in options and "BY" in options and "nosort" not in options
        history += [("SORT", key, *options) for key in ("l", "t", "z", "nope") if not unsure]
        history += [("LRANGE", "d", "0", "-1"), ("OBJECT", "ENCODING", "d"), ("DEL", "d")]
    history = [words for words in history if words[:3] != ("OBJECT", "ENCODING", "d")]
    play(redis_port, history)


@pytest.mark.parametrize("options", [
    ("BY", "w_*", "ALPHA"), ("BY", "w_*", "ALPHA", "DESC"), ("BY", "h_*->f", "ALPHA", "GET", "w_*"),
    ("BY", "w_*", "DESC"),
    ("BY", "w_*", "ALPHA", "STORE", "d"), ("BY", "w_*", "LIMIT", "1", "1"), ("BY", "nosort", "STORE", "d"),
])  # fmt: skip
def test_weights(redis_port: int, options: tuple[str, ...]) -> None:
    play(redis_port, [
        ("SADD", "s", "1", "2", "3"), ("MSET", "w_1", "30", "w_2", "4", "w_3", "100"),
        ("HSET", "h_1", "f", "c"), ("HSET", "h_2", "f", "b"), ("HSET", "h_3", "f", "a"),
        ("SORT", "s", *options), ("LRANGE", "d", "0", "-1"),
    ])  # fmt: skip


@pytest.mark.parametrize("words", [
    ("SORT", "string"), ("SORT", "l", "BOGUS"), ("SORT", "l", "LIMIT", "0"), ("SORT", "l", "LIMIT", "x", "1"),
    ("SORT", "l", "BY"), ("SORT", "l", "GET"), ("SORT", "l", "STORE"), ("SORT_RO", "l", "STORE", "d"), ("SORT_RO", "l"),
    ("SORT", "l", "STORE", "l"), ("SORT", "nope", "STORE", "l"), ("SORT", "nope", "STORE", "nope"), ("SORT",),
    ("COMMAND", "GETKEYS", "SORT", "a", "STORE", "b"), ("COMMAND", "GETKEYS", "SORT", "a", "BY", "STORE", "STORE", "c"),
])  # fmt: skip
def test_errors_and_corner_cases(redis_port: int, words: tuple[str, ...]) -> None:
    play(redis_port, [("SET", "string", "v"), ("RPUSH", "l", "3", "1", "2"), words, ("EXISTS", "l")])


def test_patterns_need_the_right_to_every_key(client: Client, harness: Harness) -> None:
    client("RPUSH", "l", "1")
    client("ACL", "SETUSER", "part", "on", "nopass", "+@all", "~l")
    client("ACL", "SETUSER", "whole", "on", "nopass", "+sort", "~*")
    for user, allowed in (("part", False), ("whole", True)):
        other = harness.connect()
        other("AUTH", user, "x")
        for option in ("BY", "GET"):
            reply = other("SORT", "l", option, "w_*")
            denied = f"ERR {option} option of SORT denied due to insufficient ACL permissions."
            assert type(reply) is list if allowed else reply.text == denied
        assert other("SORT", "l", "BY", "nosort") == [b"1"]
    part = harness.connect()
    part("AUTH", "part", "x")
    assert part("SORT", "l", "STORE", "elsewhere").text.startswith("NOPERM")
