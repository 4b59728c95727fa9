"""Counters for INFO, and rates: commands and bytes per second, from samples taken once a second."""

from __future__ import annotations

from collections import deque

from ferrite_hooks.engine.command import all_commands


class Stats:
    __slots__ = ("_samples", "evicted_clients", "expired_fields")

    def __init__(self) -> None:
        self.expired_fields = 0  # of hashes
        self.evicted_clients = 0
        self._samples: deque[tuple[int, int, int, int]] = deque(maxlen=16)

    def sample(self, now: int, input_bytes: int, output_bytes: int) -> None:
        """Notes how many commands have run, and how many bytes came and went, by `now` (unix ms)."""
        self._samples.append((now, total_calls(), input_bytes, output_bytes))

    @property
    def per_second(self) -> tuple[float, float, float]:
        """Commands, bytes in, bytes out."""
        if len(self._samples) < 2:
            return 0.0, 0.0, 0.0
        (start, *before), (end, *after) = self._samples[0], self._samples[-1]
        # what CONFIG RESETSTAT has set back shows no rate for a while
        rates = [max(0, b - a) * 1000 / max(1, end - start) for a, b in zip(before, after, strict=True)]
        return rates[0], rates[1], rates[2]


def total_calls() -> int:
    """Commands that have run since the start."""
    return sum([made.calls for made in all_commands()])
