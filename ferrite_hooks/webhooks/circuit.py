"""A webhook's circuit breaker: pure transitions of a small value.

closed     requests go out
open       nothing is sent until `retry_at`; what waits spends no retry
half-open  `retry_at` has come: one request goes out as a probe. Its failure opens the circuit for twice as
           long (up to the webhook's longest retry delay) and costs the event no retry; any success closes it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ferrite_hooks.webhooks.model import Webhook

THRESHOLD = 5  # failures in a row that open the circuit


@dataclass(frozen=True, slots=True)
class Circuit:
    """Times are unix ms, 0 = not."""

    failures: int = 0  # in a row
    failing_since: int = 0  # the first of them
    retry_at: int = 0  # when a probe may go; 0 = closed
    interval_ms: int = 0  # how long the circuit is open before the next probe
    probing: bool = False  # the probe is on its way

    @property
    def open(self) -> bool:
        return self.retry_at > 0

    @property
    def state(self) -> str:
        return "half-open" if self.probing else "open" if self.open else "closed"


CLOSED = Circuit()


def may_send(circuit: Circuit, now: int) -> bool:
    """Whether a request may go out now; while the circuit is open that request is the probe."""
    return not circuit.open or (not circuit.probing and now >= circuit.retry_at)


def probe(circuit: Circuit) -> Circuit:
    """The probe has been sent."""
    return replace(circuit, probing=True)


def failed(
    circuit: Circuit, webhook: Webhook, now: int, was_probe: bool, threshold: int = THRESHOLD
) -> Circuit:
    """A request has failed. One that was under way when the circuit opened does not move the next probe."""
    failures = circuit.failures + 1
    since = circuit.failing_since or now
    if was_probe and circuit.open:
        interval = min(circuit.interval_ms * 2, max(webhook.max_retry_delay_ms, webhook.retry_delay_ms))
        return Circuit(failures, since, now + interval, interval)
    if circuit.open:
        return replace(circuit, failures=failures)
    if failures >= threshold:
        return Circuit(failures, since, now + webhook.retry_delay_ms, webhook.retry_delay_ms)
    return Circuit(failures, since)


def worn_out(circuit: Circuit, now: int, disable_after_ms: int) -> bool:
    """Whether the webhook has only failed for so long that it is to be disabled; 0 ms = never."""
    return bool(disable_after_ms and circuit.failures and now - circuit.failing_since >= disable_after_ms)
