"""How Prometheus reads what is counted: a collector makes samples of the counters when somebody scrapes.

Every series of a webhook exists, at 0, as soon as the webhook does, and goes with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from ferrite_hooks.counters import Histogram, WebhookSample

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
        senders: Callable[[], tuple[int, int]] = lambda: (0, 0),
    ) -> None:
        """`senders`: how many sender processes there are, and how often one was started again."""
        self._samples = samples
        self._history_lost = history_lost
        self._senders = senders

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
        running, restarts = self._senders()
        processes = GaugeMetricFamily("ferrite_webhook_sender_processes", "Processes that send requests.")
        processes.add_metric((), running)
        yield processes
        again = CounterMetricFamily(
            "ferrite_webhook_sender_restarts", "Sender processes that ended by themselves and were started again."
        )
        again.add_metric((), restarts)
        yield again
