"""HyperLogLog commands against redis-server: replies, events, and the bytes of the values."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from fakes import Client, Harness
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import Oracle, Pair, Word

from ferrite_hooks.values import hll


@pytest.fixture(params=[2, 3])
def both(request: pytest.FixtureRequest, harness: Harness, oracle: Oracle) -> Iterator[Pair]:
    pair = Pair(oracle, harness, request.param)
    oracle("CONFIG", "SET", "hll-sparse-max-bytes", 3000)
    yield pair
    oracle("HELLO", 2)


def set_both(both: Pair, key: bytes, value: bytes) -> None:
    """Sets a string on both servers."""
    both.oracle("SET", key, value)
    both.harness.engine.databases[0].put(key, value, "set")


LINES = """
PFADD h
PFADD h
PFADD h a b c
PFADD h a b c
PFADD h '' x
PFCOUNT h
PFCOUNT h
PFCOUNT h none
PFCOUNT none
PFCOUNT none none
PFADD i c d e
PFMERGE m h i none
PFCOUNT m
PFCOUNT h i
PFMERGE m
PFMERGE n none
PFCOUNT n
PFDEBUG ENCODING h
PFDEBUG DECODE h
PFDEBUG decode n
PFDEBUG TODENSE h
PFDEBUG TODENSE h
PFDEBUG DECODE h
PFDEBUG ENCODING h
PFDEBUG GETREG i
PFDEBUG ENCODING i
PFADD h new
PFCOUNT h i
PFMERGE m h
PFDEBUG ENCODING m
PFDEBUG NOPE h
PFDEBUG DECODE none
PFDEBUG DECODE
PFADD text a
PFCOUNT text
PFCOUNT none text
PFMERGE text h
PFMERGE h text
PFDEBUG DECODE text
PFADD
PFCOUNT
PFMERGE
"""


@pytest.mark.oracle
def test_replies_events_and_bytes_are_those_of_redis(both: Pair) -> None:
    set_both(both, b"text", b"not a HyperLogLog")
    both.events()
    for line in filter(None, LINES.splitlines()):
        both.check(*("" if word == "''" else word for word in line.split()))
        both.events()
        for key in "himn":
            both.check("GET", key)


@pytest.mark.oracle
def test_wrong_types_and_damage_are_refused(both: Pair) -> None:
    both.oracle("HSET", "hash", "f", "v")
    both.ours("HSET", "hash", "f", "v")
    both.events()
    sparse = hll.add(hll.EMPTY, [b"a", b"b"]) or b""
    dense = hll.to_dense(sparse)
    values = {b"tail": sparse + b"hello", b"short": sparse[:-1], b"magic": b"HELL" + sparse[4:],
              b"encoding": b"HYLL\x02" + sparse[5:], b"dense": dense + b"x", b"header": b"HYLL\x01"}  # fmt: skip
    for key, value in values.items():
        set_both(both, key, value)
    set_both(both, b"good", sparse)
    both.events()
    for key in ("hash", *values):
        for command in ("PFCOUNT {}", "PFCOUNT {} good", "PFMERGE good {}", "PFMERGE {} good", "PFDEBUG GETREG {}",
                        "PFCOUNT {} tail magic", "PFMERGE {} tail magic", "PFMERGE tail {}"):  # fmt: skip
            both.check(*command.format(key).split())
    both.check("PFADD", "hash", "a")
    both.check("PFADD", "magic", "a")
    both.check("GET", "good")


@pytest.mark.oracle
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("PFADD"), st.sampled_from("abc"), st.integers(0, 120)),
            st.tuples(st.just("PFADD"), st.sampled_from("abc"), st.integers(0, 120)),
            st.tuples(st.just("PFMERGE"), st.sampled_from("abc"), st.sampled_from("abcd")),
            st.tuples(st.just("PFCOUNT"), st.sampled_from("abc")),
            st.tuples(st.just("PFCOUNT"), st.sampled_from("abc"), st.sampled_from("abcd")),
            st.tuples(st.just("PFDEBUG"), st.just("TODENSE"), st.sampled_from("c")),
        ),
        max_size=30,
    ),
    st.sampled_from([50, 300, 3000]),
    st.integers(0, 1 << 32),
    st.sampled_from([2, 3]),
)
def test_random_histories_end_as_on_redis(
    oracle: Oracle, history: list[tuple[Word, ...]], sparse_max: int, seed: int, resp: int
) -> None:
    oracle("HELLO", 2)
    oracle("FLUSHALL")
    oracle("CONFIG", "SET", "hll-sparse-max-bytes", sparse_max)
    harness = Harness()
    harness.engine.settings["hll-sparse-max-bytes"] = sparse_max
    pair = Pair(oracle, harness, resp)
    rng = random.Random(seed)
    for command in history:
        if command[0] == "PFADD":
            elements = [rng.randbytes(rng.randrange(12)) for _ in range(int(command[2]))]
            command = (*command[:2], *elements)
        pair.check(*command)
        pair.events()
        pair.check("GET", command[1] if command[0] != "PFDEBUG" else command[2])
    pair.listener.close()
    oracle("HELLO", 2)


def test_counting_keeps_its_result_and_tells_nobody(harness: Harness, client: Client) -> None:
    harness.capture_all()
    client("PFADD", "h", "a", "b")
    assert harness.events() == [("pfadd", b"h")]
    stale = client("GET", "h")
    assert client("PFCOUNT", "h") == 2
    cached = client("GET", "h")
    assert hll.cached_count(stale) is None and hll.cached_count(cached) == 2
    effects, changes = harness.engine.drain()
    assert effects == [[b"SELECT", b"0"], [b"PFCOUNT", b"h"]] and not changes
    assert client("PFCOUNT", "h") == 2
    assert harness.effects() == []


def test_a_time_to_live_survives(harness: Harness, client: Client) -> None:
    db = harness.engine.databases[0]
    client("PFADD", "h", "a")
    client("GETEX", "h", "EX", 100)
    client("PFADD", "h", "b")
    client("PFMERGE", "h", "none")
    client("PFCOUNT", "h")
    client("PFDEBUG", "TODENSE", "h")
    assert db.expires == {b"h": harness.clock.now + 100_000}


def test_effects_replayed_make_the_same_bytes(harness: Harness, client: Client) -> None:
    for line in ("PFADD a 1 2 3", "PFCOUNT a", "PFADD b 3 4", "PFDEBUG TODENSE b", "PFMERGE c a b", "PFCOUNT c"):
        client(*line.split())
    again = Harness()
    for effect in harness.effects():
        again.client(*effect)
    assert again.engine.databases[0].data == harness.engine.databases[0].data


def test_self_test(client: Client) -> None:
    assert client.raw("PFSELFTEST") == b"+OK\r\n"


@pytest.mark.parametrize("tail", ["x", "@", "\x7f"])
@pytest.mark.parametrize("more", [1, 30])
def test_an_opcode_that_is_cut_off_stays_cut_off(both: Pair, tail: str, more: int) -> None:
    both.check("PFADD", "h", 1)
    both.check("APPEND", "h", tail)  # the first byte of two
    both.check("PFADD", "h", *range(2, 2 + more))
    both.check("GET", "h")
    both.check("PFCOUNT", "h")
