"""Time as a value that tests can set.

Everything that stores or compares an instant uses `now_ms()` of the one Clock it was given; nothing else
in the package reads the wall clock. Durations that only measure (latency, slow log) use perf_counter directly.
"""

import time


class Clock:
    """Wall-clock time in unix milliseconds; `now` is refreshed once per loop tick, as Redis caches its time."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = int(time.time() * 1000)

    def tick(self) -> int:
        """Reads the time again. Returns unix milliseconds."""
        self.now = int(time.time() * 1000)
        return self.now


class ManualClock(Clock):
    """A clock that stands still until it is told otherwise."""

    __slots__ = ()

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self.now = now_ms

    def tick(self) -> int:
        return self.now

    def advance(self, ms: int) -> None:
        self.now += ms
