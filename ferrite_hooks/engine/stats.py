"""Counters for INFO, and rates: commands per second, from samples taken once a second."""

from __future__ import annotations

from collections import deque

from ferrite_hooks.engine.command import all_commands


class Stats:
    __slots__ = ("_samples", "expired_fields")

    def __init__(self) -> None:
        self.expired_fields = 0  # of hashes
        self._samples: deque[tuple[int, int]] = deque(maxlen=16)

    def sample(self, now: int) -> None:
        """Notes how many commands have run by `now` (unix ms)."""
        self._samples.append((now, total_calls()))

    @property
    def per_second(self) -> int:
        if len(self._samples) < 2:
            return 0
        (start, before), (end, after) = self._samples[0], self._samples[-1]
        return max(0, (after - before) * 1000 // max(1, end - start))


def total_calls() -> int:
    """Commands that have run since the start."""
    return sum(made.calls for made in all_commands())
