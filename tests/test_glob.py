"""glob.py against the real thing: each pattern and string is put to a redis-server through SCAN MATCH."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ferrite_hooks import glob


@pytest.fixture(scope="module")
def server(redis_port: int) -> Iterator[redis.Redis]:
    with redis.Redis(port=redis_port) as client:
        yield client


LETTERS = b"aAbBzZ-^]\\*?[\x00\x80\xff9_"
STRINGS = st.lists(st.sampled_from([bytes([c]) for c in LETTERS]), max_size=6).map(b"".join)
PATTERNS = st.lists(
    st.one_of(
        st.sampled_from([bytes([c]) for c in LETTERS]),
        st.sampled_from([b"*", b"**", b"?", b"[a-z]", b"[^ab]", b"[z-a]", b"\\*", b"[\\]]", b"[", b"[^"]),
    ),
    max_size=6,
).map(b"".join)


@pytest.mark.oracle
@settings(
    max_examples=1500, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(PATTERNS, STRINGS)
@example(b"**", b"")
@example(b"[a-", b"a")
@example(b"[a-]", b"]")
@example(b"[^", b"x")
@example(b"[\x80-\x05]", b"\x00")
@example(b"a*[", b"ab")
def test_as_redis(server: redis.Redis, pattern: bytes, string: bytes) -> None:
    server.flushall()
    server.set(string, 1)
    if pattern != b"*":  # SCAN never asks the matcher about a lone star
        assert glob.matches(pattern, string) == (server.keys(pattern) == [string])


@given(PATTERNS, STRINGS)
def test_nocase_folds_both_sides(pattern: bytes, string: bytes) -> None:
    """Outside of classes, whose escapes and ranges fold in their own way, case is ignored on both sides."""
    if b"[" not in pattern:
        assert glob.matches(pattern, string, nocase=True) == glob.matches(pattern.lower(), string.lower())


def test_nocase_in_classes() -> None:
    assert glob.matches(b"[A-C]x", b"bX", nocase=True)
    assert not glob.matches(b"[\\B]", b"b", nocase=True), "an escaped byte keeps its case"
    assert not glob.matches(b"[A-C]", b"b")


@pytest.mark.parametrize("pattern", [b"*a" * 400 + b"b", b"a*" * 60 + b"[b]", b"*?" * 500 + b"b"])
def test_hostile_patterns_cost_little(pattern: bytes) -> None:
    matcher = glob.compile(pattern)
    start = time.perf_counter()
    assert not matcher(b"a" * 20_000)
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (b"user:1", (b"user:1", b"", True)),
        (b"us\\*er", (b"us*er", b"", True)),
        (b"[x]y", (b"xy", b"", True)),
        (b"user:*", (b"user:", b"", None)),
        (b"order:**:items", (b"order:", b":items", None)),
        (b"*", (b"", b"", None)),
        (b"*:tail", (b"", b":tail", None)),
        (b"a?c", (b"a", b"c", False)),
        (b"a*b*c", (b"a", b"c", False)),
        (b"", (b"", b"", True)),
    ],
)
def test_affixes(pattern: bytes, expected: tuple[bytes, bytes, bool | None]) -> None:
    assert glob.affixes(pattern) == expected


@given(PATTERNS, STRINGS)
def test_affixes_never_exclude_a_match(pattern: bytes, string: bytes) -> None:
    prefix, suffix, certain = glob.affixes(pattern)
    fits = string.startswith(prefix) and string.endswith(suffix) and len(string) >= len(prefix) + len(suffix)
    if glob.matches(pattern, string):
        assert fits
    elif certain is None:
        assert not fits or string == b""
    elif certain is True:
        assert string != prefix


def test_redis_gives_up_after_a_thousand_stars() -> None:
    assert glob.matches(b"*?" * 1000 + b"*", b"a" * 1000)
    assert not glob.matches(b"*?" * 1001, b"a" * 2000)
