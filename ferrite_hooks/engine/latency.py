"""What took long: LATENCY's time series, and the percentiles of INFO latencystats.

A series keeps the worst latency of each of the last 160 seconds in which its event took at least
`latency-monitor-threshold` milliseconds. Events: command, fast-command, expire-cycle, eviction-cycle,
aof-write, aof-fsync-always, aof-write-pending-fsync. How long each command takes is counted by `call` in powers
of two (Command.buckets), but for those below the resolution that Redis has.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from ferrite_hooks.clock import Clock

SAMPLES = 160
BITS: Final = [6 + n.bit_length() for n in range(1024)]  # which bucket a duration belongs to, by its nanoseconds // 64
QUICK_BITS = 10
QUICK: Final = 1.024e-6  # seconds below which a command is just quick: 2**QUICK_BITS ns
OFF = 1 << 62


class Analysis(NamedTuple):
    """What LATENCY DOCTOR says of a series; milliseconds and seconds."""

    samples: int
    average: int
    deviation: int  # mean absolute
    period: float  # seconds between samples


class Series:
    __slots__ = ("samples", "worst")

    def __init__(self) -> None:
        self.samples: deque[tuple[int, int]] = deque(maxlen=SAMPLES)  # (unix seconds, ms), oldest first
        self.worst = 0

    def add(self, second: int, ms: int) -> None:
        self.worst = max(self.worst, ms)
        if self.samples and self.samples[-1][0] == second:
            ms = max(ms, self.samples.pop()[1])
        self.samples.append((second, ms))

    def analyse(self, now: int) -> Analysis:
        """`now` in unix seconds; there is at least one sample."""
        latencies = [ms for _, ms in self.samples]
        count = len(latencies)
        average = sum(latencies) // count
        deviation = sum(abs(average - ms) for ms in latencies) // count
        return Analysis(count, average, deviation, max(1, now - self.samples[0][0]) / count)


class Latency:
    """All series by event. `threshold_ns` is out of reach while nothing is recorded."""

    __slots__ = ("_clock", "events", "threshold_ns")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.events: dict[str, Series] = {}
        self.threshold_ns = OFF

    def add(self, event: str, nanoseconds: int) -> None:
        """Records an event that took this long, if that is long."""
        if nanoseconds >= self.threshold_ns:
            series = self.events.setdefault(event, Series())
            series.add(self._clock.now // 1000, nanoseconds // 1_000_000)


def cumulative(buckets: Sequence[int]) -> list[tuple[int, int]]:
    """(microseconds, calls that took no longer), for every bucket that has any; the first is 1 microsecond."""
    rows: list[tuple[int, int]] = []
    total = sum(buckets[:11])
    if total:
        rows.append((1, total))
    for bits, count in enumerate(buckets[11:], 11):
        if count:
            total += count
            rows.append(((1 << bits) // 1000, total))
    return rows


def percentile(buckets: Sequence[int], percent: float) -> float:
    """Microseconds below which this part of the calls took, linear within a bucket; 0 without calls."""
    rank = percent / 100 * sum(buckets)
    seen = 0
    high = 0
    for bits, count in enumerate(buckets):
        if not count:
            continue
        high = 1 << bits
        if seen + count >= rank:
            return (high // 2 + high / 2 * (rank - seen) / count) / 1000
        seen += count
    return high / 1000
