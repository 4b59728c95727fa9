"""What is counted, as plain integers, and how Prometheus reads it.

The hot path adds to slots and lists; a collector turns them into samples when somebody scrapes. Every series of a
webhook exists, at 0, as soon as the webhook does, and goes with it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

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


_Value = Callable[[WebhookSample], float]
_COUNTERS: list[tuple[str, str, list[tuple[tuple[str, ...], _Value]], tuple[str, ...]]] = [
    ("ferrite_webhook_events_matched", "Events queued for the webhook.",
     [((), lambda s: s.counters.matched)], ()),
    ("ferrite_webhook_deliveries", "Requests, by what came of them.",
     [(("delivered",), lambda s: s.counters.succeeded), (("failed",), lambda s: s.counters.failed)], ("outcome",)),
    ("ferrite_webhook_failures", "Failed attempts.", [((), lambda s: s.counters.failed)], ()),
    ("ferrite_webhook_retries", "Requests that were not the first for their events.",
     [((), lambda s: s.counters.retries)], ()),
    ("ferrite_webhook_dropped", "Events that were not delivered because of a limit, a newer one, or a command.",
     [(("overflow",), lambda s: s.counters.dropped), (("coalesced",), lambda s: s.counters.coalesced),
      (("purged",), lambda s: s.counters.purged)], ("reason",)),
    ("ferrite_webhook_read_failures", "Failed attempts to read pending events back from the journal.",
     [((), lambda s: s.read_failures)], ()),
    ("ferrite_webhook_dead", "Events given up after their last retry.", [((), lambda s: s.counters.dead)], ()),
]  # fmt: skip
_GAUGES: list[tuple[str, str, _Value]] = [
    ("ferrite_webhook_queue_depth", "Events pending.", lambda s: s.pending),
    ("ferrite_webhook_queue_on_disk", "Events pending that are only in the journal.", lambda s: s.spilled),
    ("ferrite_webhook_queue_capacity", "Events that may be pending.", lambda s: s.capacity),
    ("ferrite_webhook_oldest_pending_age_seconds", "Age of the oldest pending event.",
     lambda s: s.oldest_pending_age_ms / 1000),
    ("ferrite_webhook_circuit_open", "1 while the circuit breaker is open.", lambda s: float(s.circuit_open)),
]  # fmt: skip
_HISTOGRAMS: list[tuple[str, str, Callable[[WebhookSample], Histogram]]] = [
    ("ferrite_webhook_delivery_duration_seconds", "Duration of a request.", lambda s: s.counters.duration),
    ("ferrite_webhook_end_to_end_seconds", "From a change to the 2xx for it.", lambda s: s.counters.end_to_end),
]


class WebhookCollector(Collector):
    """Gives the webhooks' metrics to a prometheus_client registry."""

    def __init__(
        self,
        samples: Callable[[], Iterable[WebhookSample]],
        history_lost: Callable[[], int] = lambda: 0,
    ) -> None:
        self._samples = samples
        self._history_lost = history_lost

    def collect(self) -> Iterator[Metric]:
        samples = list(self._samples())
        for name, text, series, extra in _COUNTERS:
            counter = CounterMetricFamily(name, text, labels=("webhook", *extra))
            for sample in samples:
                for labels, value in series:
                    counter.add_metric((sample.name, *labels), value(sample))
            yield counter
        for name, text, value in _GAUGES:
            gauge = GaugeMetricFamily(name, text, labels=("webhook",))
            for sample in samples:
                gauge.add_metric((sample.name,), value(sample))
            yield gauge
        for name, text, histogram in _HISTOGRAMS:
            family = HistogramMetricFamily(name, text, labels=("webhook",))
            for sample in samples:
                seen = histogram(sample)
                family.add_metric((sample.name,), buckets=seen.cumulative(), sum_value=seen.sum)
            yield family
        lost = CounterMetricFamily(
            "ferrite_webhook_history_lost", "Rows of the delivery history that could not be written."
        )
        lost.add_metric((), self._history_lost())
        yield lost
