"""Bitmaps against redis-server."""

from __future__ import annotations

import time

import pytest
from fakes import Client, Harness
from histories import play
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

KEYS = st.sampled_from(["a", "b", "c", "list"])
BYTES = st.one_of(st.binary(max_size=40), st.sampled_from([b"", b"\0" * 20, b"\xff" * 20, b"\0" * 9 + b"\x01"]))
OFFSETS = st.one_of(st.integers(0, 90), st.sampled_from([-1, 2**32, "x"]))
ENDS = st.one_of(st.integers(-60, 60), st.integers(-400, 400))
UNITS = st.sampled_from([(), ("BIT",), ("BYTE",), ("bit",), ("NIBBLE",)])
FIELDS = st.one_of(
    st.builds(lambda sign, width: f"{sign}{width}", st.sampled_from("iu"), st.integers(1, 64)),
    st.sampled_from(["i0", "i65", "x8", "u", "i8", "u8"]),
)
PLACES = st.one_of(st.integers(0, 100), st.integers(0, 9).map(lambda n: f"#{n}"))
# redis-server saturates -2**63 at the wrong end of a narrow signed field: a subtraction overflows there
NUMBERS = st.one_of(st.integers(-300, 300), st.sampled_from([2**63 - 1, -(2**62), 2**62, "x"]))
SUBCOMMANDS = st.one_of(
    st.tuples(st.just("GET"), FIELDS, PLACES),
    st.tuples(st.sampled_from(["SET", "INCRBY"]), FIELDS, PLACES, NUMBERS),
    st.tuples(st.just("OVERFLOW"), st.sampled_from(["WRAP", "SAT"])),
)
COMMANDS = st.one_of(
    st.tuples(st.just("SET"), KEYS, BYTES),
    st.tuples(st.just("SETBIT"), KEYS, OFFSETS.filter(lambda n: n != 2**32), st.sampled_from([0, 1, 1, 2, "x"])),
    st.tuples(st.just("GETBIT"), KEYS, OFFSETS),
    st.tuples(st.just("BITCOUNT"), KEYS, ENDS, ENDS, UNITS).map(lambda p: (*p[:4], *p[4])),
    st.tuples(st.just("BITCOUNT"), KEYS),
    st.tuples(st.just("BITPOS"), KEYS, st.sampled_from([0, 1]), ENDS, ENDS, UNITS).map(lambda p: (*p[:5], *p[5])),
    st.tuples(st.just("BITPOS"), KEYS, st.sampled_from([0, 1]), ENDS),
    st.tuples(st.just("BITPOS"), KEYS, st.sampled_from([0, 1, 2, "x"])),
    st.tuples(st.sampled_from(["AND", "or", "XOR", "NOT", "NAND"]), KEYS, KEYS, KEYS).map(lambda p: ("BITOP", *p)),
    st.tuples(st.just("BITOP"), st.sampled_from(["AND", "OR", "XOR", "NOT"]), KEYS, KEYS),
    st.tuples(st.just("BITFIELD"), KEYS, st.lists(SUBCOMMANDS, max_size=4)).map(
        lambda p: (*p[:2], *(word for sub in p[2] for word in sub))
    ),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(COMMANDS, min_size=5, max_size=30), resp=st.sampled_from([2, 3]))
def test_random_histories(redis_port: int, history: list[tuple[str | bytes | int, ...]], resp: int) -> None:
    ends = [(word, key) for key in ("a", "b", "c") for word in ("GET", "TTL")]
    play(redis_port, [("RPUSH", "list", "x"), *history, *ends], resp)


@pytest.mark.parametrize(
    "words",
    [
        ("SETBIT", "k", "4294967296", "1"), ("SETBIT", "k", "#1", "1"), ("SETBIT", "list", "0", "1"),
        ("SETBIT", "k", "0", "0"), ("SETBIT", "nope", "9", "0"), ("SETBIT", "k", "7"), ("GETBIT", "list", "0"),
        ("BITCOUNT", "list"), ("BITCOUNT", "k", "0"), ("BITCOUNT", "nope", "x"),
        ("BITCOUNT", "k", "0", "1", "BIT", "x"),
        ("BITPOS", "list", "1"), ("BITPOS", "k", "1", "0", "1", "BIT", "x"), ("BITPOS", "k", "1", "x"),
        ("BITPOS", "empty", "0"), ("BITPOS", "ones", "0"), ("BITPOS", "ones", "0", "1"), ("BITPOS", "ones", "0", "5"),
        ("BITPOS", "ones", "0", "0", "-1"), ("BITPOS", "ones", "0", "0", "-1", "BIT"), ("BITPOS", "nope", "0"),
        ("BITOP", "NOT", "d", "k", "k"), ("BITOP", "AND", "d", "k", "list"), ("BITOP", "OR", "d", "nope"),
        ("BITOP", "OR", "k", "nope"), ("BITOP", "NOT", "list", "k"),
        ("BITFIELD", "k"), ("BITFIELD", "list", "GET", "u8", "0"), ("BITFIELD", "k", "GET", "u64", "0"),
        ("BITFIELD", "k", "OVERFLOW", "x"), ("BITFIELD", "k", "SET", "u8", "0"), ("BITFIELD", "k", "GET", "u8", "#x"),
        ("BITFIELD", "k", "OVERFLOW", "FAIL", "INCRBY", "u2", "0", "3", "SET", "i5", "3", "2"),
        ("BITFIELD", "k", "OVERFLOW", "SAT", "SET", "u8", "0", "-5", "INCRBY", "u8", "8", "-300"),
        ("BITFIELD_RO", "k", "GET", "u8", "0", "GET", "i64", "#1"), ("BITFIELD_RO", "k", "SET", "u8", "0", "1"),
        ("BITFIELD_RO", "list", "GET", "u8", "0"), ("BITFIELD_RO", "nope", "GET", "u8", "0"),
    ],
)  # fmt: skip
def test_errors_and_corner_cases(redis_port: int, words: tuple[str, ...]) -> None:
    setup = [("RPUSH", "list", "x"), ("SET", "k", "value"), ("SET", "empty", ""), ("SET", "ones", b"\xff\xff")]
    play(redis_port, [*setup, words, ("GET", "k"), ("GET", "d")])


def test_changed_in_place_is_raw(redis_port: int) -> None:
    encodings = [("OBJECT", "ENCODING", key) for key in "abcd"]
    play(redis_port, [
        ("SET", "a", "1"), ("SETBIT", "a", "0", "1"), ("BITFIELD", "b", "SET", "u8", "0", "65"),
        ("SETBIT", "c", "1", "0"),
        ("BITOP", "OR", "d", "a"), *encodings, ("SET", "a", "1"), ("COPY", "b", "a", "REPLACE"), *encodings,
    ])  # fmt: skip


def test_a_field_that_does_not_fit_leaves_no_key_behind(client: Client, harness: Harness) -> None:
    # redis-server creates the key here, without telling its replicas
    assert client("BITFIELD", "k", "OVERFLOW", "FAIL", "SET", "u8", 0, 256) == [None]
    assert client("EXISTS", "k") == 0 and harness.effects() == []


def test_saturation(client: Client) -> None:
    assert client("BITFIELD", "k", "OVERFLOW", "SAT", "SET", "i4", 0, -(2**63), "GET", "i4", 0) == [0, -8]
    assert client("BITFIELD", "k", "OVERFLOW", "SAT", "SET", "i4", 0, 2**63 - 1, "GET", "i4", 0) == [-8, 7]


def test_megabytes_are_no_trouble(client: Client, harness: Harness) -> None:
    harness.engine.audit = None  # it would copy the megabytes each time
    client("SETBIT", "big", 8 * 8_000_000 - 1, 1)
    started = time.perf_counter()
    for at in range(2000):
        client("SETBIT", "big", at * 7, 1)
    assert client("BITCOUNT", "big") == 2001
    assert client("BITPOS", "big", 0) == 1
    client("BITOP", "NOT", "inverse", "big")
    assert client("BITPOS", "inverse", 1) == 1
    client("BITOP", "AND", "both", "big", "inverse")
    assert client("BITPOS", "both", 1) == -1
    assert time.perf_counter() - started < 5  # a copy for each bit would take longer
