"""What an outcome means for the events it was about: delivered, again later, or given up. Pure decisions."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from ferrite_hooks.webhooks.model import Backoff, Outcome, Stage, Webhook

JITTER = 0.2
MULTIPLIER = 2.0  # of exponential backoff, unless the configuration says otherwise
GONE = 410


class Ack(NamedTuple):
    """Delivered."""


class RetryAt(NamedTuple):
    """Try again at `at` (unix ms)."""

    at: int


class Dead(NamedTuple):
    """Given up. `disable`: the endpoint has said that it is gone for good."""

    reason: str
    disable: bool = False


Decision = Ack | RetryAt | Dead
ACK = Ack()


def decide(
    outcome: Outcome,
    attempt: int,
    webhook: Webhook,
    now: int,
    random: float,
    multiplier: float = MULTIPLIER,
    jitter: float = JITTER,
) -> Decision:
    """What follows from `outcome` of attempt number `attempt`: from 1, probes of an open circuit not counted.

    `random` is a number from [0, 1) that spreads the delay by ±`jitter`.
    """
    if outcome.delivered:
        return ACK
    if outcome.status == GONE:
        return Dead("the endpoint is gone (410)", disable=True)
    if outcome.stage is Stage.RENDER:
        return Dead(describe(outcome))  # nor could it be written the next time
    if attempt > webhook.max_retries:
        return Dead(f"retries exhausted: {describe(outcome)}")
    delay = backoff_ms(webhook, max(attempt, 1), multiplier) * (1 - jitter + 2 * jitter * random)
    delay = max(delay, retry_after_ms(outcome.retry_after, now))
    return RetryAt(now + max(1, int(min(delay, webhook.max_retry_delay_ms))))


def describe(outcome: Outcome) -> str:
    """One line on why a request failed."""
    return f"HTTP {outcome.status}" if outcome.status else outcome.error or outcome.stage.value


def backoff_ms(webhook: Webhook, attempt: int, multiplier: float = MULTIPLIER) -> float:
    """The delay after failed attempt number `attempt` (from 1), before jitter, capped."""
    base, cap = webhook.retry_delay_ms, webhook.max_retry_delay_ms
    if webhook.backoff is Backoff.FIXED:
        delay: float = base
    elif webhook.backoff is Backoff.LINEAR:
        delay = base * attempt
    else:
        delay = base * multiplier ** min(attempt - 1, 64)
    return min(delay, cap)


def retry_after_ms(header: str, now: int) -> int:
    """How long a Retry-After header asks to wait, in ms; 0 if it is absent or makes no sense."""
    if re.fullmatch(r"\d{1,9}", header.strip(), re.ASCII):
        return int(header) * 1000
    try:
        date = parsedate_to_datetime(header)
        return max(0, int(date.replace(tzinfo=date.tzinfo or UTC).timestamp() * 1000) - now)
    except (ValueError, OverflowError):
        return 0
