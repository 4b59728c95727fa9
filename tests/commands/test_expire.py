"""Times to live against redis-server, and their effects."""

from __future__ import annotations

from itertools import count

import pytest
from fakes import Client, Harness
from histories import play
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

KEYS = st.sampled_from(["a", "b"])
CONDITIONS = st.lists(st.sampled_from(["NX", "xx", "GT", "LT"]), max_size=2).map(tuple)
FAR = ["4102444800", "4102444900", "4102444700"]
COMMANDS = st.one_of(
    st.tuples(st.just("SET"), KEYS, st.just("v")),
    st.tuples(st.just("EXPIRE"), KEYS, st.sampled_from(["100", "200", "300", "0", "-1"]), CONDITIONS),
    st.tuples(st.just("PEXPIRE"), KEYS, st.sampled_from(["100000", "200000", "-1"]), CONDITIONS),
    st.tuples(st.just("EXPIREAT"), KEYS, st.sampled_from([*FAR, "1", "-5"]), CONDITIONS),
    st.tuples(st.just("PEXPIREAT"), KEYS, st.sampled_from([f"{far}000" for far in FAR]), CONDITIONS),
    st.tuples(st.sampled_from(["PERSIST", "EXISTS", "DEL"]), KEYS),
).map(lambda parts: (*parts[:3], *parts[3]) if len(parts) == 4 else parts)


def apart(words: tuple[str, ...], seconds: int) -> tuple[str, ...]:
    """No two deadlines from now may be the same but for how long the commands between them took: GT and LT compare."""
    if words[0] not in ("EXPIRE", "PEXPIRE") or int(words[2]) <= 0:
        return words
    unit = 1 if words[0] == "EXPIRE" else 1000
    return (*words[:2], str(int(words[2]) + seconds * unit), *words[3:])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(COMMANDS, min_size=5, max_size=30), resp=st.sampled_from([2, 3]))
def test_random_histories(redis_port: int, history: list[tuple[str, ...]], resp: int) -> None:
    play(redis_port, [*map(apart, history, count()), ("PERSIST", "a"), ("PERSIST", "b")], resp)


@pytest.mark.parametrize(
    "words",
    [
        ("EXPIRE", "k", "10", "FOO"), ("EXPIRE", "k", "x", "FOO"), ("EXPIRE", "k", "x"), ("EXPIRE", "k"),
        ("EXPIRE", "k", "10", "NX", "XX"), ("EXPIRE", "k", "10", "GT", "LT"), ("EXPIRE", "k", "9223372036854775807"),
        ("EXPIRE", "k", "-9223372036854775808"), ("PEXPIRE", "k", "9223372036854775807"), ("EXPIRE", "nope", "10"),
        ("PEXPIRE", "k", "-9223372036854775808"), ("PEXPIREAT", "k", "-9223372036854775808"),
        ("EXPIREAT", "k", "9223372036854775"), ("EXPIREAT", "k", "9223372036854776"), ("PEXPIREAT", "k", "0"),
        ("TTL",), ("PERSIST", "k"), ("PERSIST", "nope"), ("PTTL", "nope"), ("PTTL", "k"), ("EXPIRETIME", "k"),
        ("PEXPIRETIME", "nope"),
    ],
)  # fmt: skip
def test_errors_and_corner_cases(redis_port: int, words: tuple[str, ...]) -> None:
    play(redis_port, [("SET", "k", "value"), words, ("EXPIRETIME", "k"), ("EXISTS", "k")])


def test_reading_deadlines(redis_port: int) -> None:
    play(redis_port, [
        ("SET", "k", "v", "PXAT", "4102444800499"), ("EXPIRETIME", "k"), ("PEXPIRETIME", "k"),
        ("SET", "k", "v", "PXAT", "4102444800500"), ("EXPIRETIME", "k"), ("PEXPIRETIME", "k"),
    ])  # fmt: skip


def test_effects_hold_at_any_time(client: Client, harness: Harness) -> None:
    client("SET", "k", "v")
    harness.effects()
    client("EXPIRE", "k", 10)
    client("PEXPIRE", "k", 5, "GT")
    client("PEXPIRE", "k", 5)
    client("PERSIST", "k")
    client("EXPIREAT", "k", 1)
    now = harness.clock.now
    assert harness.effects() == [
        [b"PEXPIREAT", b"k", b"%d" % (now + 10_000)], [b"PEXPIREAT", b"k", b"%d" % (now + 5)],
        [b"PERSIST", b"k"], [b"DEL", b"k"],
    ]  # fmt: skip


def test_time_passes(client: Client, harness: Harness) -> None:
    harness.capture_all()
    client("SET", "k", "v", "EX", 10)
    harness.advance(8_600)
    assert (client("TTL", "k"), client("PTTL", "k")) == (1, 1400)
    harness.advance(1_400)
    assert (client("TTL", "k"), client("PTTL", "k")) == (0, 0)
    harness.advance(1)
    assert (client("TTL", "k"), client("EXPIRE", "k", 10)) == (-2, 0)
    assert [event for event, _ in harness.events()] == ["set", "expire", "expired"]


def test_a_journal_that_is_read_again_keeps_deadlines_that_have_passed(client: Client, harness: Harness) -> None:
    harness.engine.loading = True
    client.session.internal = True
    client("SET", "k", "v")
    client("PEXPIREAT", "k", 1)
    assert harness.engine.databases[0].expires == {b"k": 1}
