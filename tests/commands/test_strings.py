"""Strings against redis-server: replies in both protocols, events, effects, errors."""

from __future__ import annotations

import pytest
from fakes import Client, Harness
from histories import play
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import Oracle, Pair

from ferrite_hooks.values.raw import Raw

KEYS = st.sampled_from(["a", "b", "c", "list"])
TEXTS = st.one_of(
    st.sampled_from(["", "0", "-1", "10", "007", "9223372036854775807", "-9223372036854775808", "3.5", "1e3", "x"]),
    st.binary(max_size=60),
)
INTS = st.one_of(st.integers(-40, 40), st.sampled_from([2**63 - 1, -(2**63), 2**63, "x", "", "+1"]))
FLOATS = st.one_of(
    st.sampled_from(["1", "-0.5", "3.0e3", "1e20", "1e-20", "inf", "-inf", "nan", "", " 1", "0x1p-3", "5e4931"]),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(allow_nan=False, allow_infinity=False, places=20, min_value=-(10**12), max_value=10**12).map(str),
)
SECONDS = st.sampled_from(["100", "1000", "0", "-1", "x", str(2**63 - 1), str(2**62)])
SOON = st.sampled_from(["EX", "PX"]).flatmap(lambda unit: st.tuples(st.just(unit), SECONDS))
LATER = st.tuples(st.sampled_from(["EXAT", "PXAT"]), st.sampled_from(["4102444800", "4102444800000", "0", "x"]))
SET_OPTIONS = st.lists(
    st.one_of(st.sampled_from([("NX",), ("xx",), ("GET",), ("KEEPTTL",), ("PERSIST",), ("EX",)]), SOON, LATER),
    max_size=3,
).map(lambda parts: tuple(word for part in parts for word in part))
GETEX_OPTIONS = st.one_of(
    st.sampled_from([(), ("PERSIST",), ("EXAT", "1"), ("PXAT", "1"), ("PERSIST", "EX", "5"), ("KEEPTTL",), ("EX",)]),
    SOON, LATER,
)  # fmt: skip
COMMANDS = st.one_of(
    st.tuples(st.just("SET"), KEYS, TEXTS),
    st.tuples(st.just("SET"), KEYS, TEXTS, SET_OPTIONS).map(lambda parts: (*parts[:3], *parts[3])),
    st.tuples(st.just("GETEX"), KEYS, GETEX_OPTIONS).map(lambda parts: (*parts[:2], *parts[2])),
    st.tuples(st.sampled_from(["SETNX", "GETSET", "APPEND"]), KEYS, TEXTS),
    st.tuples(st.sampled_from(["SETEX", "PSETEX"]), KEYS, st.sampled_from(["900000", "0", "x"]), TEXTS),
    st.tuples(st.sampled_from(["GET", "GETDEL", "STRLEN", "INCR", "DECR"]), KEYS),
    st.tuples(st.sampled_from(["INCRBY", "DECRBY"]), KEYS, INTS),
    st.tuples(st.just("INCRBYFLOAT"), KEYS, FLOATS),
    st.tuples(st.just("SETRANGE"), KEYS, INTS.filter(lambda n: n != 2**63 - 1), TEXTS),
    st.tuples(st.sampled_from(["GETRANGE", "SUBSTR"]), KEYS, INTS, INTS),
    st.tuples(st.just("MGET"), KEYS, KEYS, KEYS),
    st.tuples(st.sampled_from(["MSET", "MSETNX"]), KEYS, TEXTS, KEYS, TEXTS),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(COMMANDS, min_size=5, max_size=30), resp=st.sampled_from([2, 3]))
def test_random_histories(redis_port: int, history: list[tuple[str | bytes | int, ...]], resp: int) -> None:
    ends = [(*words, key) for key in "abc" for words in (("GET",), ("PERSIST",))]
    play(redis_port, [("RPUSH", "list", "x"), *history, *ends], resp)


@pytest.mark.parametrize(
    "words",
    [
        ("SET", "k", "v", "NX", "XX"), ("SET", "k", "v", "EX", "10", "PX", "10"), ("SET", "k", "v", "EX"),
        ("SET", "k", "v", "KEEPTTL", "EX", "10"), ("SET", "k", "v", "EX", "0"), ("SET", "k", "v", "EX", "abc"),
        ("SET", "k", "v", "EX", "9223372036854776"), ("SET", "k", "v", "PX", "9223372036854775807"),
        ("SET", "k", "v", "EX", "5", "EX", "10"), ("SET", "k", "v", "BOGUS"), ("SET", "list", "v", "GET"),
        ("SET", "list", "v", "NX", "GET"), ("SET", "nope", "v", "XX", "GET"), ("SET", "nope", "v", "XX", "EX", "0"),
        ("SETEX", "k", "0", "v"), ("SETEX", "k", "-5", "v"), ("SETEX", "k", "9223372036854775807", "v"),
        ("PSETEX", "k", "0", "v"), ("GETEX", "nope", "EX", "0"), ("GETEX", "k", "EX", "1", "EX", "500"),
        ("GETEX", "list"), ("GETDEL", "list"), ("GETSET", "list", "v"), ("APPEND", "list", "v"), ("INCR", "list"),
        ("INCRBYFLOAT", "list", "1"), ("INCRBYFLOAT", "k", "x"), ("STRLEN", "list"), ("SETRANGE", "list", "0", "v"),
        ("SETRANGE", "k", "-1", "v"), ("SETRANGE", "k", "536870912", "v"), ("SETRANGE", "k", "x", "v"),
        ("SETRANGE", "list", "0", ""), ("SETRANGE", "nope", "5", ""), ("GETRANGE", "list", "0", "1"),
        ("GETRANGE", "k", "x", "1"), ("MSET", "a", "1", "b"), ("MSETNX", "a", "1", "b"), ("MGET", "k", "list"),
        ("DECRBY", "k", "-9223372036854775808"), ("INCRBY", "k", "1.5"), ("LCS", "k", "list"), ("LCS", "k", "k", "x"),
        ("LCS", "k", "k", "LEN", "IDX"), ("LCS", "k", "k", "MINMATCHLEN"), ("LCS", "k", "k", "MINMATCHLEN", "x"),
        ("SET", "k"), ("GET",), ("GET", "k", "x"), ("SETNX", "k"), ("MSET", "k"), ("LCS", "k"), ("INCR",),
    ],
)  # fmt: skip
def test_errors_and_corner_cases(redis_port: int, words: tuple[str, ...]) -> None:
    play(redis_port, [("RPUSH", "list", "x"), ("SET", "k", "value"), words, ("GET", "k")])


def test_plain_set_replaces_any_type_and_its_ttl(redis_port: int) -> None:
    play(redis_port, [
        ("RPUSH", "k", "x"), ("SET", "k", "v", "EX", "100"), ("SET", "k", "w"), ("TTL", "k"),
        ("SET", "k", "v", "EX", "100"), ("SET", "k", "w", "KEEPTTL"), ("TTL", "k"), ("INCRBYFLOAT", "n", "1.5"),
    ])  # fmt: skip


@pytest.mark.parametrize("words", [
    ("SET", "k", "12"), ("SET", "k", "-9223372036854775808"), ("SET", "k", "9223372036854775808"), ("SET", "k", "012"),
    ("SET", "k", "x" * 44), ("SET", "k", "x" * 45), ("APPEND", "k", "1"), ("APPEND", "i", "1"), ("INCR", "i"),
    ("SETRANGE", "k", "0", "v"), ("SETRANGE", "i", "0", "2"), ("GETSET", "k", "7"), ("APPEND", "e", "x"), ("INCR", "k"),
])  # fmt: skip
def test_encodings(redis_port: int, words: tuple[str, ...]) -> None:
    play(redis_port, [
        ("MSET", "i", "1", "e", "text"), words, *(("OBJECT", "ENCODING", key) for key in "kie"),
    ])  # fmt: skip


def test_effects_hold_at_any_time(client: Client, harness: Harness) -> None:
    now = harness.clock.now
    client("SET", "k", "v", "EX", 10, "NX", "GET")
    client("SETEX", "k", 20, "w")
    client("GETSET", "k", "x")
    client("INCRBYFLOAT", "f", "0.1")
    client("GETDEL", "k")
    client("SET", "n", "1", "XX")
    assert harness.effects() == [
        [b"SET", b"k", b"v", b"PXAT", b"%d" % (now + 10_000)],
        [b"SET", b"k", b"w", b"PXAT", b"%d" % (now + 20_000)],
        [b"SET", b"k", b"x"],
        [b"SET", b"f", b"0.1", b"KEEPTTL"],
        [b"DEL", b"k"],
    ]


def test_changes_show_new_and_old_value(client: Client, harness: Harness) -> None:
    harness.capture_all()
    client("SET", "k", "v")
    client("APPEND", "k", "w")
    client("SETRANGE", "k", 0, "X")
    client("GETDEL", "k")
    _, changes = harness.engine.drain()
    assert [(c.event, c.new, c.old) for c in changes] == [
        ("set", b"v", None), ("append", b"vw", b"v"), ("setrange", b"Xw", b"vw"), ("del", None, b"Xw"),
    ]  # fmt: skip


def test_long_strings_are_refused(client: Client, harness: Harness) -> None:
    harness.engine.settings["proto-max-bulk-len"] = 1 << 20
    client("SET", "k", b"x" * (1 << 20))
    error = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
    assert client("APPEND", "k", "y").text == error
    assert client("SETRANGE", "k", 1 << 20, "y").text == error
    assert client("APPEND", "k", "") == 1 << 20


def test_growing_strings_are_changed_in_place(client: Client, harness: Harness) -> None:
    client("SET", "k", b"x" * 1000)
    client("APPEND", "k", "y")
    value = harness.engine.databases[0].data[b"k"]
    client("APPEND", "k", "z")
    client("SETRANGE", "k", 0, "a")
    assert harness.engine.databases[0].data[b"k"] is value and type(value) is Raw
    assert client("GET", "k") == b"a" + b"x" * 999 + b"yz"
    client("INCR", "n")
    client("APPEND", "n", "0")
    assert client("INCR", "n") == 11
    assert type(harness.engine.databases[0].data[b"n"]) is bytes


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    a=st.text("abcd", max_size=40), b=st.text("abcd", max_size=40), least=st.integers(0, 4), more=st.booleans()
)  # fmt: skip
def test_lcs(redis_port: int, a: str, b: str, least: int, more: bool) -> None:
    also = ("WITHMATCHLEN",) if more else ()
    play(redis_port, [
        ("MSET", "a", a, "b", b), ("LCS", "a", "b"), ("LCS", "a", "b", "LEN"), ("LCS", "a", "nope"),
        ("LCS", "a", "b", "IDX", "MINMATCHLEN", least, *also),
    ], 3)  # fmt: skip


def test_lcs_of_long_strings(harness: Harness, oracle: Oracle) -> None:
    both = Pair(oracle, harness)
    both.check("MSET", "a", "abcde" * 600, "b", "badce" * 500)
    both.check("LCS", "a", "b")
    both.check("LCS", "b", "a", "LEN")
    both.check("CONFIG", "SET", "proto-max-bulk-len", "1048576")
    harness.engine.settings["proto-max-bulk-len"] = 1048576
    both.check("LCS", "a", "b")
    oracle("CONFIG", "SET", "proto-max-bulk-len", "536870912")
    both.close()
