"""LATENCY: replies like redis-server's, and the texts that are our own."""

from __future__ import annotations

from fakes import Client, Harness
from oracle import Oracle, Pair

from ferrite_hooks.commands.info import render
from ferrite_hooks.engine.latency import OFF
from ferrite_hooks.engine.settings import change
from ferrite_hooks.errors import ReplyError

MS = 1_000_000


def record(harness: Harness, event: str, *latencies: int) -> None:
    """Milliseconds, one a second."""
    harness.engine.latency.threshold_ns = MS
    for ms in latencies:
        harness.clock.advance(1000)
        harness.engine.latency.add(event, ms * MS)


def test_replies_equal_redis(harness: Harness, oracle: Oracle) -> None:
    both = Pair(oracle, harness)
    for line in ("LATEST", "HISTORY nothing", "RESET", "RESET a b", "GRAPH nothing", "HISTOGRAM nothing", "HELP x",
                 "HISTORY", "GRAPH", "LATEST x", "NOPE"):  # fmt: skip
        both.check("LATENCY", *line.split())
    both.close()


def test_samples(harness: Harness, client: Client) -> None:
    record(harness, "command", 300, 500, 400)
    record(harness, "expire-cycle", 20)
    start = 1_700_000_001
    assert client("LATENCY", "HISTORY", "command") == [[start, 300], [start + 1, 500], [start + 2, 400]]
    assert client("LATENCY", "LATEST") == [[b"command", start + 2, 400, 500], [b"expire-cycle", start + 3, 20, 20]]
    assert client("LATENCY", "RESET", "command", "nothing") == 1
    assert client("LATENCY", "HISTORY", "command") == []
    assert client("LATENCY", "RESET") == 1 and client("LATENCY", "LATEST") == []


def test_graph_equals_redis(harness: Harness, oracle: Oracle) -> None:
    oracle("CONFIG", "SET", "latency-monitor-threshold", 1)
    try:
        oracle("LATENCY", "RESET")
        oracle("DEBUG", "SLEEP", "0.01")
        expected = oracle("LATENCY", "GRAPH", "command")
        samples = oracle("LATENCY", "HISTORY", "command")
    finally:
        oracle("CONFIG", "SET", "latency-monitor-threshold", 0)
        oracle("LATENCY", "RESET")
    at, ms = [int(part[1:]) for part in samples.split(b"\r\n") if part[:1] == b":"]
    harness.clock.now = at * 1000 - 1000
    record(harness, "command", ms)
    assert harness.client.raw("LATENCY", "GRAPH", "command") == expected


def test_a_long_graph(harness: Harness, client: Client) -> None:
    record(harness, "command", *range(10, 130))
    lines = client("LATENCY", "GRAPH", "command").text.decode().splitlines()
    assert lines[0] == "command - high 129 ms, low 10 ms (all time high 129 ms)"
    assert lines[1] == "-" * 80 and lines[2] == " " * 80
    assert lines[5][0] == "_" and lines[5][79] == "|"
    assert all(len(line) <= 80 for line in lines)


def test_doctor(harness: Harness, client: Client) -> None:
    def report() -> str:
        text: str = client("LATENCY", "DOCTOR").text.decode()
        return text

    assert "latency-monitor-threshold" in report()
    harness.engine.latency.threshold_ns = 1 << 60
    assert "Nothing took long" in report()
    record(harness, "command", 100, 300)
    record(harness, "aof-write", 50)
    harness.engine.latency.threshold_ns = OFF
    assert "1. command: 2 latency spikes (average 200ms, mean deviation 100ms, period 1.00 sec)" in report()
    assert "Worst all time event 300ms." in report() and "SLOWLOG" in report() and "disk" in report()


def test_histogram(harness: Harness, client: Client) -> None:
    client("CONFIG", "RESETSTAT")
    client("SET", "a", 1)
    client("SET", "b", 1)
    client("CLIENT", "ID")
    client("CLIENT", "LIST")
    client("GET")
    assert isinstance(client("GET", "a", "b"), ReplyError)
    found = client("LATENCY", "HISTOGRAM")
    assert set(found) == {"config|resetstat", "set", "client|id", "client|list"}
    words = found["set"].items
    assert words[:3] == ["calls", 2, "histogram_usec"] and words[3].items[-1] == 2
    assert set(client("LATENCY", "HISTOGRAM", "client", "nothing")) == {"client|id", "client|list"}
    assert set(client("LATENCY", "HISTOGRAM", "CLIENT|id", "set")) == {"client|id", "set"}
    assert "latency_percentiles_usec_set:p50=" in render(harness.engine, {"latencystats"})
    change(harness.engine, "latency-tracking", False)
    assert client("LATENCY", "HISTOGRAM") == {}
    assert "latency_percentiles" not in render(harness.engine, {"latencystats"})


def test_percentiles_are_those_asked_for(harness: Harness, client: Client) -> None:
    client("PING")
    change(harness.engine, "latency-tracking-info-percentiles", "0 75.5 100")
    line = next(line for line in render(harness.engine, {"all"}).splitlines() if "usec_ping:" in line)
    assert [part.split("=")[0] for part in line.split(":")[1].split(",")] == ["p0", "p75.5", "p100"]
