"""What INFO counts of commands and errors, and the parameters that Redis checks; compared with redis-server."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from fakes import Client, Harness
from oracle import Oracle, Pair, Word

from ferrite_hooks.commands.info import render


@pytest.fixture
def both(harness: Harness, oracle: Oracle) -> Iterator[Pair]:
    pair = Pair(oracle, harness)
    yield pair
    pair.close()


def counts(text: str) -> dict[str, str]:
    """Calls, rejected and failed calls by command, and errors by code."""
    found = dict(re.findall(r"^(cmdstat_[^:]+):(calls=\d+),.*", text, re.M))
    for name, rest in re.findall(r"^(cmdstat_[^:]+):.*?,(rejected_calls=.*)$", text, re.M):
        found[name] += "," + rest.strip()
    found |= dict(re.findall(r"^(errorstat_[^:]+):(.*?)\r?$", text, re.M))
    found |= dict(re.findall(r"^(total_error_replies):(\d+)", text, re.M))
    return {name: value for name, value in found.items() if not name.startswith(("cmdstat_info", "cmdstat_config"))}


HISTORIES: list[list[tuple[Word, ...]]] = [
    [("AUTH", "k")],
    [("MULTI",), ("SET", "a", "b"), ("AUTH", "a"), ("EXEC",), ("EXEC",)],
    [("MULTI",), ("SET",), ("EXEC",), ("DISCARD",)],
    [("MULTI",), ("SET", "a", "b"), ("LPUSH", "a", "x"), ("INCR", "a"), ("GET", "a"), ("EXEC",)],
    [("EVAL", "redis.pcall('XGROUP', 'CREATECONSUMER', 's1', 'mygroup', 'consumer') return", 0), ("EVAL", "a")],
    [("EVAL", "return redis.call('set', 'k')", 0), ("EVAL", "return redis.call('nope')", 0)],
    [("EVAL", "redis.call('set', 'k', 'v') return redis.call('lpush', 'k', 'x')", 0)],
    [("EVALSHA", "NotValidShaSUM", 0), ("EVALSHA", "0" * 40, 0)],
    [("XGROUP", "CREATECONSUMER", "s1", "mygroup", "consumer"), ("XGROUP", "NOPE"), ("XGROUP",)],
    [("XADD", "s", "*", "a", "b"), ("XREADGROUP", "GROUP", "nope", "c", "STREAMS", "s", ">")],
    [("NOPE", "x"), ("NOPE",), ("SET", "k"), ("GET",), ("SET", "k", "v"), ("LPUSH", "k", "v"), ("GET", "k", "x")],
    [("CLIENT", "NOPE"), ("CLIENT", "GETNAME", "x"), ("CLIENT", "KILL", "x"), ("OBJECT", "ENCODING")],
    [("SET", "k", "v"), ("WATCH", "k"), ("MULTI",), ("WATCH", "k"), ("MULTI",), ("PING",), ("EXEC",)],
    [("ACL", "SETUSER", "alice", "on", "nopass", "+get", "+auth", "~a*"), ("AUTH", "alice", ""), ("GET", "b"),
     ("SET", "a", "b"), ("GET", "a"), ("MULTI",), ("AUTH", "default", "")],
]  # fmt: skip


@pytest.mark.parametrize("history", HISTORIES, ids=lambda history: " ".join(map(str, history[0][:2])))
def test_commands_and_errors_are_counted_as_in_redis(both: Pair, history: list[tuple[Word, ...]]) -> None:
    both.check("CONFIG", "RESETSTAT")
    try:
        for words in history:
            both.oracle(*words)
            both.ours(*words)
        theirs = both.oracle("INFO", "everything").decode()
        assert counts(render(both.harness.engine, {"everything"})) == counts(theirs)
    finally:
        both.oracle("ACL", "DELUSER", "alice")


def test_rejections_for_lack_of_memory_are_counted_as_in_redis(both: Pair) -> None:
    both.check("CONFIG", "SET", "maxmemory", "1")
    try:
        both.check("CONFIG", "RESETSTAT")
        both.check("SET", "a", "b")
        both.check("GET", "a")
        both.check("EVAL", "return redis.call('set', 'x', 1)", 0)
        theirs = both.oracle("INFO", "everything").decode()
        assert counts(render(both.harness.engine, {"everything"})) == counts(theirs)
    finally:
        both.check("CONFIG", "SET", "maxmemory", "0")


@pytest.mark.parametrize("name, default, values", [
    ("latency-tracking-info-percentiles", "50 99 99.9",
     ["0.0 50.0 100.0", "10 a", "10.0 50.0 101.0", "", "1e1 99.99", "-1", "99.123456789"]),
    ("client-output-buffer-limit", "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
     ["wrong number", "invalid_class 10mb 10mb 60", "master 10mb 10mb 60", "normal 10mbs 10mb 60",
      "replica 10mb 10mbs 60", "pubsub 10mb 10mb 60s", "pubsub 10mb 10mb -1", "pubsub -1 10mb 1", "normal 1 2"]),
])  # fmt: skip
def test_parameters_are_checked_as_in_redis(both: Pair, name: str, default: str, values: list[str]) -> None:
    try:
        for value in values:
            both.check("CONFIG", "SET", name, value)
            if name.startswith("latency"):
                both.check("CONFIG", "GET", name)
    finally:
        both.check("CONFIG", "SET", name, default)


def test_latency_percentiles_of_what_was_asked_for(harness: Harness, client: Client) -> None:
    client("CONFIG", "SET", "latency-tracking-info-percentiles", "0.0 50 100")
    client("GET", "k")
    line = re.search(r"^latency_percentiles_usec_get:(.*)\r$", render(harness.engine, {"latencystats"}), re.M)
    assert line is not None and [part.split("=")[0] for part in line[1].split(",")] == ["p0", "p50", "p100"]


@pytest.mark.parametrize("password", [b"auth\x00test", b"\x00\x00", b"\xff\xfe\x00", "ü".encode()])
def test_passwords_may_have_any_bytes(both: Pair, password: bytes) -> None:
    both.check("CONFIG", "SET", "requirepass", password)
    try:
        both.check("AUTH", password + b"x")
        both.check("AUTH", password)
        both.check("CONFIG", "GET", "requirepass")
    finally:
        both.oracle("CONFIG", "SET", "requirepass", "")


@pytest.mark.parametrize("value", ["0", "1", "9999", "10000", "-1", "007", "+1", "text", ""])
def test_small_numbers_are_shared(both: Pair, value: str) -> None:
    both.check("SET", "k", value)
    both.check("OBJECT", "REFCOUNT", "k")
    both.check("RPUSH", "l", 1)
    both.check("OBJECT", "REFCOUNT", "l")
    both.check("CONFIG", "SET", "maxmemory", "1gb", "maxmemory-policy", "allkeys-lru")
    try:
        both.check("SET", "k", value)
        both.check("OBJECT", "REFCOUNT", "k")
    finally:
        both.check("CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction")


def test_migrate_finds_its_keys_behind_passwords(both: Pair) -> None:
    for words in (
        ("k", 0, 500), ("", 0, 500, "KEYS", "a", "b"), ("", 0, 500, "AUTH", "KEYS", "KEYS", "a"),
        ("", 0, 500, "AUTH2", "KEYS", "KEYS", "KEYS", "a"), ("", 0, 500, "COPY", "REPLACE", "KEYS", "a"),
    ):  # fmt: skip
        both.check("COMMAND", "GETKEYS", "MIGRATE", "host", "port", *words)


def test_the_average_time_to_live_is_that_of_a_sample(harness: Harness, client: Client) -> None:
    for n in range(150):
        client("SET", f"k{n}", n, "PX", 60_000 if n < 100 else 3_600_000)
    client("SET", "stays", 1)
    assert "\r\ndb0:keys=151,expires=150,avg_ttl=60000\r\n" in render(harness.engine, {"keyspace"})
    harness.advance(1000)
    assert ",avg_ttl=59000\r\n" in render(harness.engine, {"keyspace"})
