"""What leaves the keyspace goes at once; a large value is freed afterwards, in slices, to its last container."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from fakes import Client, Harness
from oracle import Oracle

from ferrite_hooks.commands.info import render
from ferrite_hooks.engine.lazyfree import SLICE_NS, SMALL, parts
from ferrite_hooks.engine.settings import change
from ferrite_hooks.resp.reply import OK
from ferrite_hooks.values.collections import Hash

LARGE = 3000
NUMBERS = range(LARGE)


def make_hash(client: Client, size: int = LARGE) -> None:
    client("HSET", "k", *[word for n in range(size) for word in (n, "v")])
    client("HPEXPIRE", "k", 100_000, "FIELDS", size, *range(size))
    client("HSCAN", "k", 0)
    client("HRANDFIELD", "k")


def make_set(client: Client, size: int = LARGE) -> None:
    client("SADD", "k", *[f"m{n}" for n in range(size)])
    client("SSCAN", "k", 0)
    client("SRANDMEMBER", "k")


def make_list(client: Client, size: int = LARGE) -> None:
    client("RPUSH", "k", *range(size))


def make_zset(client: Client, size: int = LARGE) -> None:
    client("ZADD", "k", *[word for n in range(size) for word in (n, f"m{n}")])
    client("ZRANK", "k", "m5")
    client("ZADD", "k", 2.5, "m7")
    client("ZSCAN", "k", 0)


def make_stream(client: Client, size: int = LARGE) -> None:
    for n in range(size):
        client("XADD", "k", f"{n + 1}-1", "f", "v")
    for group in ("g", "h"):
        client("XGROUP", "CREATE", "k", group, 0)
        client("XREADGROUP", "GROUP", group, "alice", "COUNT", size // 2, "STREAMS", "k", ">")
        client("XREADGROUP", "GROUP", group, "bob", "STREAMS", "k", ">")


MAKERS = [make_hash, make_set, make_list, make_zset, make_stream]


def finish(harness: Harness) -> None:
    for _ in range(100_000):
        if not harness.engine.lazyfree.pending:
            return
        harness.advance(1)
    raise AssertionError("freeing does not end")


def counts(harness: Harness) -> tuple[int, int]:
    """(pending, freed), as INFO has them."""
    fields = dict(line.split(":") for line in render(harness.engine, {"memory"}).splitlines() if ":" in line)
    return int(fields["lazyfree_pending_objects"]), int(fields["lazyfreed_objects"])


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    "words",
    [("UNLINK", "k"), ("DEL", "k"), ("SET", "k", "v"), ("RENAME", "small", "k"), ("COPY", "small", "k", "REPLACE"),
     ("PEXPIREAT", "k", 1), ("SUNIONSTORE", "k", "k2"), ("SUNIONSTORE", "k", "small"), ("GETDEL", "none")],
)  # fmt: skip
def test_a_large_value_goes_at_once_and_is_freed_later(
    harness: Harness, client: Client, make: Callable[[Client], None], words: tuple[Any, ...]
) -> None:
    client("SADD", "small", "x")
    make(client)
    value = harness.engine.databases[0].data[b"k"]
    containers = parts(value)
    client(*words)
    if words[0] == "GETDEL":
        assert counts(harness) == (0, 0) and all(containers[:1])
        return
    assert harness.engine.databases[0].data.get(b"k") is not value
    assert counts(harness) == (1, 0)
    assert any(containers)
    finish(harness)
    assert counts(harness) == (0, 1)
    assert not any(containers)
    client("CONFIG", "RESETSTAT")
    assert counts(harness) == (0, 0)


@pytest.mark.parametrize("make", MAKERS[:4])
def test_a_small_value_is_freed_on_the_spot(
    harness: Harness, client: Client, make: Callable[[Client, int], None]
) -> None:
    make(client, SMALL)
    client("DEL", "k")
    assert counts(harness) == (0, 0)
    client("SET", "k", "x" * 1000)
    client("SETRANGE", "k", 5, "y")
    client("DEL", "k")
    assert counts(harness) == (0, 0)


def test_a_short_stream_with_many_pending_entries_is_large(harness: Harness, client: Client) -> None:
    make_stream(client)
    client("XTRIM", "k", "MAXLEN", 0)
    client("DEL", "k")
    assert counts(harness) == (1, 0)
    finish(harness)


@pytest.mark.parametrize("make", MAKERS)
def test_expired_and_evicted_values_are_freed_later(
    harness: Harness, client: Client, make: Callable[[Client], None]
) -> None:
    make(client)
    client("PEXPIRE", "k", 10)
    harness.clock.advance(20)
    assert client("EXISTS", "k") == 0
    assert counts(harness) == (1, 0)
    make(client)
    harness.engine.databases[0].evict(b"k")
    assert counts(harness)[0] == 2
    finish(harness)
    assert counts(harness) == (0, 2)


def test_what_is_overwritten_after_its_time_is_freed_once(harness: Harness, client: Client) -> None:
    harness.capture_all()
    make_set(client)
    client("PEXPIRE", "k", 10)
    harness.clock.advance(20)
    client("SET", "k", "v")
    assert counts(harness) == (1, 0)


@pytest.mark.parametrize("make", MAKERS)
def test_what_only_moves_stays_whole(harness: Harness, client: Client, make: Callable[[Client], None]) -> None:
    make(client)
    before = client("DUMP", "k")
    client("RENAME", "k", "other")
    client("MOVE", "other", 1)
    client("SWAPDB", 0, 1)
    client("RENAME", "other", "k")
    harness.advance(100)
    assert counts(harness) == (0, 0)
    assert client("DUMP", "k") == before


def test_a_flushed_database_counts_its_keys(harness: Harness, client: Client) -> None:
    make_hash(client)
    client("MSET", *[word for n in range(500) for word in (f"s{n}", n)])
    client("EXPIRE", "s1", 100)
    client("SCAN", 0)
    client("RANDOMKEY")
    client("OBJECT", "IDLETIME", "s1")
    client("GET", "s1")
    db = harness.engine.databases[0]
    held = [db.data, db.expires, db.timed_hashes, db.accessed, *parts(db.data[b"k"])]
    assert db.keys_index is not None
    held += db.keys_index.parts()
    client("FLUSHALL", "ASYNC")
    assert client("DBSIZE") == 0 and counts(harness) == (501, 0)
    make_list(client)  # life goes on
    finish(harness)
    assert counts(harness) == (0, 501) and not any(held)
    assert client("LLEN", "k") == LARGE


def test_few_keys_with_large_values_are_freed_in_slices(harness: Harness, client: Client) -> None:
    make_zset(client)
    held = parts(harness.engine.databases[0].data[b"k"])
    harness.engine.lazyfree.slice_ns = 0
    client("FLUSHDB")
    harness.advance(1)
    assert counts(harness) == (1, 0) and any(held)
    harness.engine.lazyfree.slice_ns = SLICE_NS
    finish(harness)
    assert not any(held)


def test_a_slice_ends_in_time_and_grows_with_the_backlog(harness: Harness, client: Client) -> None:
    free = harness.engine.lazyfree
    for _ in range(3):
        free.value(Hash((b"%d" % n, b"v") for n in range(200_000)))
    started = time.perf_counter_ns()
    assert free.work()
    first = time.perf_counter_ns() - started
    assert first >= SLICE_NS
    harness.clock.advance(9_500)
    started = time.perf_counter_ns()
    assert free.work()
    assert time.perf_counter_ns() - started >= 9 * SLICE_NS
    finish(harness)


def test_the_slices_look_at_the_clock_inside_of_nested_values(harness: Harness, client: Client) -> None:
    make_stream(client)
    free = harness.engine.lazyfree
    client("UNLINK", "k")
    free.slice_ns = 0  # a slice ends at the first look
    assert free.work() and free.work() and free.pending == 1
    free.slice_ns = SLICE_NS
    finish(harness)


def test_nothing_is_evicted_or_refused_for_what_is_about_to_go(harness: Harness, client: Client) -> None:
    class Scales:
        """Memory that is full until all garbage has gone."""

        startup = used = peak = 1000

        def measure(self) -> int:
            self.used = 10_000 if harness.engine.lazyfree.pending else 1000
            return self.used

    scales: Any = Scales()
    client("SET", "stays", "v")
    for policy in ("noeviction", "allkeys-lru"):
        make_list(client)
        client("DEL", "k")
        harness.engine.memory = scales
        change(harness.engine, "maxmemory-policy", policy)
        change(harness.engine, "maxmemory", 5000)
        assert client("SET", "more", "v") is OK
        finish(harness)
        harness.advance(1000)
        assert client("EXISTS", "stays", "more") == 2 and harness.engine.eviction.evicted == 0


def test_counts_equal_redis(harness: Harness, client: Client, oracle: Oracle) -> None:
    def theirs() -> tuple[int, int]:
        while True:
            fields = dict(line.split(b":") for line in oracle("INFO", "memory").split(b"\r\n") if b":" in line)
            if fields[b"lazyfree_pending_objects"] == b"0":
                return 0, int(fields[b"lazyfreed_objects"])

    oracle("CONFIG", "RESETSTAT")
    for words in (
        ("HSET", "h", *[word for n in range(1000) for word in (n, "v")]),
        ("SADD", "s", *[f"m{n}" for n in range(1000)]),
        ("ZADD", "z", *[word for n in range(1000) for word in (n, n)]),
        ("SET", "k", "v"), ("SADD", "few", 1, 2),
        ("UNLINK", "h", "s", "few", "none"), ("UNLINK", "z"), ("MSET", "a", 1, "b", 2), ("FLUSHALL", "ASYNC"),
    ):  # fmt: skip
        oracle(*words)
        client(*words)
    finish(harness)
    assert counts(harness) == theirs() == (0, 6)
