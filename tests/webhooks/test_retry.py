"""Decisions about outcomes, and the circuit breaker's transitions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferrite_hooks.webhooks import circuit
from ferrite_hooks.webhooks.circuit import CLOSED, THRESHOLD, failed, may_send, probe, worn_out
from ferrite_hooks.webhooks.model import Backoff, Outcome, Stage, Webhook
from ferrite_hooks.webhooks.retry import ACK, Dead, RetryAt, backoff_ms, decide, retry_after_ms

HOOK = Webhook(1, "w", "http://x/", max_retries=3, retry_delay_ms=1000, max_retry_delay_ms=60_000)
NOW = 1_700_000_000_000


def status(code: int, retry_after: str = "") -> Outcome:
    return Outcome(Stage.STATUS, code, 1.0, "", b"", retry_after)


REFUSED = Outcome(Stage.CONNECT, 0, 1.0, "connection refused", b"", "")


@pytest.mark.parametrize("code", [200, 201, 204, 299])
def test_success(code: int) -> None:
    assert decide(status(code), 1, HOOK, NOW, 0.5) == ACK


@pytest.mark.parametrize("code", [301, 400, 404, 429, 500, 503, 199])
def test_every_other_status_is_retried(code: int) -> None:
    assert decide(status(code), 1, HOOK, NOW, 0.5) == RetryAt(NOW + 1000)


def test_gone_is_final_and_disables() -> None:
    decision = decide(status(410), 1, HOOK, NOW, 0.5)
    assert isinstance(decision, Dead) and decision.disable


def test_retries_run_out() -> None:
    assert isinstance(decide(REFUSED, 3, HOOK, NOW, 0.5), RetryAt)
    decision = decide(REFUSED, 4, HOOK, NOW, 0.5)
    assert decision == Dead("retries exhausted: connection refused")
    assert isinstance(decide(REFUSED, 1, replace(HOOK, max_retries=0), NOW, 0.5), Dead)


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [
        (Backoff.FIXED, [1000, 1000, 1000, 1000]),
        (Backoff.LINEAR, [1000, 2000, 3000, 4000]),
        (Backoff.EXPONENTIAL, [1000, 2000, 4000, 8000]),
    ],
)
def test_backoff(backoff: Backoff, delays: list[int]) -> None:
    hook = replace(HOOK, backoff=backoff)
    assert [backoff_ms(hook, n) for n in range(1, 5)] == delays
    assert backoff_ms(hook, 10**9) <= 60_000


@given(st.integers(1, 200), st.floats(0, 1, exclude_max=True), st.sampled_from(Backoff))
def test_the_delay_is_jittered_and_capped(attempt: int, random: float, backoff: Backoff) -> None:
    hook = replace(HOOK, max_retries=1000, backoff=backoff)
    decision = decide(status(500), attempt, hook, NOW, random)
    assert isinstance(decision, RetryAt)
    base = backoff_ms(hook, attempt)
    assert 0.8 * base - 1 <= decision.at - NOW <= min(1.2 * base, 60_000)


@pytest.mark.parametrize(
    ("header", "ms"),
    [
        ("5", 5000),
        (" 7 ", 7000),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10_000),
        ("Tue, 14 Nov 2023 22:13:10 GMT", 0),
        ("", 0),
        ("-1", 0),
        ("soon", 0),
        ("99999999999999", 0),
        ("Tue, 14 Nov 99999 22:13:30 GMT", 0),
    ],
)
def test_retry_after(header: str, ms: int) -> None:
    assert retry_after_ms(header, NOW) == ms


def test_retry_after_delays_up_to_the_cap() -> None:
    assert decide(status(429, "30"), 1, HOOK, NOW, 0.5) == RetryAt(NOW + 30_000)
    assert decide(status(429, "3600"), 1, HOOK, NOW, 0.5) == RetryAt(NOW + 60_000)


def test_circuit_opens_probes_at_growing_intervals_and_closes() -> None:
    state = CLOSED
    for n in range(THRESHOLD):
        assert may_send(state, NOW) and not state.open, n
        state = failed(state, HOOK, NOW + n, was_probe=False)
    assert state.state == "open" and state.failing_since == NOW
    opened = state.retry_at
    assert not may_send(state, opened - 1) and may_send(state, opened)
    assert failed(state, HOOK, NOW + 50, was_probe=False).retry_at == opened, "a straggler changes nothing"

    gaps, now = [], opened
    for _ in range(10):
        state = probe(state)
        assert state.state == "half-open" and not may_send(state, now + 10**9), "one probe at a time"
        state = failed(state, HOOK, now, was_probe=True)
        gaps.append(state.retry_at - now)
        now = state.retry_at
    assert gaps == [2000, 4000, 8000, 16_000, 32_000] + [60_000] * 5
    assert circuit.CLOSED.state == "closed"


def test_worn_out() -> None:
    state = failed(CLOSED, HOOK, NOW, False)
    assert not worn_out(state, NOW + 999, 1000)
    assert worn_out(state, NOW + 1000, 1000)
    assert not worn_out(state, NOW + 10**12, 0)
    assert not worn_out(CLOSED, NOW, 1)
