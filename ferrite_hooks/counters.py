"""What is counted of webhooks, as plain integers: the hot path adds to slots and lists, metrics.py reads them."""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Histogram:
    """Counts of observations per bucket; `bounds` are inclusive upper bounds, one more bucket takes the rest."""

    __slots__ = ("bounds", "buckets", "sum")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.buckets[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def observe_all(self, values: list[float]) -> None:
        bounds, buckets = self.bounds, self.buckets
        for value in values:
            buckets[bisect_left(bounds, value)] += 1
        self.sum += sum(values)

    @property
    def count(self) -> int:
        return sum(self.buckets)

    def add(self, other: Histogram) -> None:
        """Adds what another histogram with the same bounds has seen."""
        self.buckets = [a + b for a, b in zip(self.buckets, other.buckets, strict=True)]
        self.sum += other.sum

    def quantile(self, q: float) -> float:
        """The value below which the part `q` of the observations lie, linear within a bucket; 0 without any."""
        rank = q * self.count
        seen = 0
        low = 0.0
        for bound, n in zip(self.bounds, self.buckets, strict=False):
            if n and seen + n >= rank:
                return low + (bound - low) * (rank - seen) / n
            seen += n
            low = bound
        return low if self.count else 0.0

    def cumulative(self) -> list[tuple[str, float]]:
        """(upper bound as text, observations up to it), as Prometheus wants them."""
        total, rows = 0, []
        for bound, n in zip((*map(str, self.bounds), "+Inf"), self.buckets, strict=True):
            total += n
            rows.append((bound, float(total)))
        return rows


# The counters that survive a restart. matched = delivered + pending + dead + dropped + coalesced + purged, always.
DURABLE = ("matched", "delivered", "dead", "dropped", "coalesced", "purged")


class WebhookCounters:
    """What one webhook has seen. The durable six count events, the others requests."""

    __slots__ = (*DURABLE, "failed", "duration", "end_to_end", "last_delivery", "requests", "retries", "succeeded")

    def __init__(self) -> None:
        self.matched = self.delivered = self.dead = self.dropped = self.coalesced = self.purged = 0
        self.requests = self.succeeded = self.failed = self.retries = 0
        self.last_delivery = 0  # unix ms
        self.duration = Histogram()  # seconds per request
        self.end_to_end = Histogram()  # seconds from change to 2xx, per event

    def add(self, other: WebhookCounters) -> None:
        """Adds up, for totals."""
        for name in (*DURABLE, "requests", "succeeded", "failed", "retries"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.last_delivery = max(self.last_delivery, other.last_delivery)
        self.duration.add(other.duration)
        self.end_to_end.add(other.end_to_end)


class WebhookSample(NamedTuple):
    """One webhook at the moment of a scrape."""

    name: str
    counters: WebhookCounters
    pending: int
    capacity: int
    oldest_pending_age_ms: int
    circuit_open: bool
    spilled: int = 0
    read_failures: int = 0
