"""Time series and histograms of latencies."""

from __future__ import annotations

from fakes import Client, Harness

from ferrite_hooks.clock import ManualClock
from ferrite_hooks.engine.latency import SAMPLES, Latency, cumulative, percentile
from ferrite_hooks.engine.settings import change

MS = 1_000_000


def test_only_what_reaches_the_threshold_is_kept() -> None:
    latency = Latency(ManualClock())
    latency.add("command", 1 << 50)
    assert not latency.events
    latency.threshold_ns = 10 * MS
    latency.add("command", 9 * MS)
    assert not latency.events
    latency.add("command", 10 * MS)
    assert list(latency.events["command"].samples) == [(1_700_000_000, 10)]


def test_a_second_keeps_its_worst_and_160_seconds_are_kept() -> None:
    clock = ManualClock()
    latency = Latency(clock)
    latency.threshold_ns = MS
    for ms in (5, 9, 7):
        latency.add("command", ms * MS)
    series = latency.events["command"]
    assert [ms for _, ms in series.samples] == [9]
    for _ in range(300):
        clock.advance(1000)
        latency.add("command", 2 * MS)
    assert len(series.samples) == SAMPLES and series.worst == 9
    assert series.analyse(clock.now // 1000) == (160, 2, 0, 159 / 160)


def test_cumulative_and_percentiles() -> None:
    buckets = [0] * 64
    buckets[5], buckets[11], buckets[14] = 50, 49, 1  # to 32 ns, 2048 ns, 16384 ns
    assert cumulative(buckets) == [(1, 50), (2, 99), (16, 100)]
    assert percentile(buckets, 50) == 0.032
    assert 1.024 < percentile(buckets, 90) <= 2.048
    assert 8.192 <= percentile(buckets, 100) <= 16.384
    assert percentile([0] * 64, 50) == 0


def test_commands_and_expiry_are_recorded(harness: Harness, client: Client) -> None:
    change(harness.engine, "latency-monitor-threshold", 1)
    harness.engine.latency.threshold_ns = 1  # everything takes long now
    harness.engine.refresh()
    client("GET", "k")
    client("KEYS", "*")
    client("SET", "k", "v", "PX", 10)
    harness.advance(20)
    assert set(harness.engine.latency.events) == {"fast-command", "command", "expire-cycle"}
    change(harness.engine, "latency-monitor-threshold", 0)
    assert harness.engine.observe_from == harness.engine.slow_ns / 1e9
