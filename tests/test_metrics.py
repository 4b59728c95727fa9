"""The series that Prometheus gets from the counters."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from ferrite_hooks.counters import WebhookCounters, WebhookSample
from ferrite_hooks.metrics import WebhookCollector

SERIES = """\
ferrite_webhook_events_matched_total{webhook="w"} 0.0
ferrite_webhook_deliveries_total{outcome="delivered",webhook="w"} 0.0
ferrite_webhook_deliveries_total{outcome="failed",webhook="w"} 0.0
ferrite_webhook_failures_total{webhook="w"} 0.0
ferrite_webhook_retries_total{webhook="w"} 0.0
ferrite_webhook_dropped_total{reason="overflow",webhook="w"} 0.0
ferrite_webhook_dropped_total{reason="coalesced",webhook="w"} 0.0
ferrite_webhook_dropped_total{reason="purged",webhook="w"} 0.0
ferrite_webhook_dead_total{webhook="w"} 0.0
ferrite_webhook_queue_depth{webhook="w"} 0.0
ferrite_webhook_queue_capacity{webhook="w"} 10.0
ferrite_webhook_oldest_pending_age_seconds{webhook="w"} 0.0
ferrite_webhook_circuit_open{webhook="w"} 0.0
ferrite_webhook_delivery_duration_seconds_count{webhook="w"} 0.0
ferrite_webhook_delivery_duration_seconds_sum{webhook="w"} 0.0
ferrite_webhook_delivery_duration_seconds_bucket{le="+Inf",webhook="w"} 0.0
ferrite_webhook_end_to_end_seconds_count{webhook="w"} 0.0
""".splitlines()


def exposition(samples: list[WebhookSample], lost: int = 0) -> str:
    registry = CollectorRegistry()
    registry.register(WebhookCollector(lambda: samples, lambda: lost))
    return generate_latest(registry).decode()


def test_every_series_exists_at_zero_and_goes_with_its_webhook() -> None:
    sample = WebhookSample("w", WebhookCounters(), 0, 10, 0, False)
    lines = exposition([sample]).splitlines()
    assert [line for line in SERIES if line not in lines] == []
    assert 'webhook="w"' not in exposition([])


def test_what_is_counted_is_shown() -> None:
    counters = WebhookCounters()
    counters.failed = 3
    for seconds in (0.004, 0.03, 0.03, 99):
        counters.duration.observe(seconds)
    lines = exposition([WebhookSample("w", counters, 4, 10, 1500, True)], lost=2).splitlines()
    for line in (
        'ferrite_webhook_failures_total{webhook="w"} 3.0',
        'ferrite_webhook_queue_depth{webhook="w"} 4.0',
        'ferrite_webhook_oldest_pending_age_seconds{webhook="w"} 1.5',
        'ferrite_webhook_circuit_open{webhook="w"} 1.0',
        'ferrite_webhook_delivery_duration_seconds_bucket{le="0.005",webhook="w"} 1.0',
        'ferrite_webhook_delivery_duration_seconds_bucket{le="0.05",webhook="w"} 3.0',
        'ferrite_webhook_delivery_duration_seconds_bucket{le="60.0",webhook="w"} 3.0',
        'ferrite_webhook_delivery_duration_seconds_bucket{le="+Inf",webhook="w"} 4.0',
        "ferrite_webhook_history_lost_total 2.0",
    ):
        assert line in lines
