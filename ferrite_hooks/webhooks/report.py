"""What LIST, INFO, STATS and DEAD say, as plain maps. Secrets, tokens and header values are never part of it."""

from __future__ import annotations

from typing import Any

from ferrite_hooks.counters import WebhookCounters
from ferrite_hooks.resp.reply import Double
from ferrite_hooks.webhooks import asymmetric
from ferrite_hooks.webhooks.delivery import DeadLetter, Delivery
from ferrite_hooks.webhooks.events import wide_name
from ferrite_hooks.webhooks.history import Row
from ferrite_hooks.webhooks.manager import Manager
from ferrite_hooks.webhooks.model import Webhook
from ferrite_hooks.webhooks.payload import event_id, timestamp


def summary(webhook: Webhook) -> dict[str, Any]:
    """A line of LIST."""
    return {
        "name": webhook.name,
        "url": webhook.url,
        "pattern": _pattern(webhook),
        "events": list(webhook.events),
        "status": webhook.status,
    }


def _pattern(webhook: Webhook) -> Any:
    """`*` for every key, a text for one pattern, an array for several."""
    patterns = webhook.patterns or (b"*",)
    return patterns[0] if len(patterns) == 1 else list(patterns)


def info(manager: Manager, delivery: Delivery) -> dict[str, Any]:
    """INFO: all that can be set, by the option's name, then what moves."""
    webhook, counters, now = delivery.webhook, delivery.counters, manager.outside.clock.now
    rotating = bool(webhook.old_secret) and now < webhook.old_secret_until
    return {
        **summary(webhook),
        "description": webhook.description,
        "owner": webhook.owner,
        "db": list(webhook.databases),
        "secret": "set" if webhook.secret else "none",
        "public_key": _public_key(webhook.secret),
        "old_secret_until": timestamp(webhook.old_secret_until) if rotating else None,
        "auth": webhook.auth.split(" ", 1)[0].lower() or "none",
        "headers": {name: "set" for name, _ in webhook.headers},
        "retries": webhook.max_retries,
        "retry_delay": webhook.retry_delay_ms,
        "retry_backoff": webhook.backoff.value,
        "max_retry_delay": webhook.max_retry_delay_ms,
        "timeout": webhook.timeout_ms,
        "batch": _yes(webhook.batch),
        "batch_size": webhook.batch_size,
        "batch_interval": webhook.batch_interval_ms,
        "rate_limit": number(webhook.rate_limit),
        "concurrency": webhook.concurrency,
        "format": webhook.format.value,
        "old_value": _yes(webhook.old_value),
        "coalesce": _yes(webhook.coalesce),
        "when": [[clause.path, clause.op, clause.value] for clause in webhook.when],
        "max_pending": webhook.max_pending,
        "overflow": webhook.overflow.value,
        "verify_ssl": "default" if webhook.verify_ssl is None else _yes(webhook.verify_ssl),
        "ca_file": webhook.ca_file,
        "client_cert": webhook.client_cert_file,
        "client_key": webhook.client_key_file,
        "created_at": timestamp(webhook.created_at),
        "updated_at": timestamp(webhook.updated_at),
        "deliveries": counters.delivered + counters.dead,
        "failures": counters.dead,
        "last_delivery": timestamp(counters.last_delivery) if counters.last_delivery else None,
        "pending": len(delivery.queue),
        "pending_on_disk": delivery.queue.spill.size,
        "read_error": delivery.refill.failed,
        "in_flight": delivery.queue.in_flight,
        "oldest_pending_age_ms": delivery.oldest_age_ms(now),
        "dead": len(delivery.dead),
        "circuit": delivery.circuit.state,
        "disabled_reason": webhook.disabled_reason or ("its owner was deleted" if delivery.account.held else ""),
    }


def stats(manager: Manager, deliveries: list[Delivery], *, everything: bool) -> dict[str, Any]:
    """STATS over some webhooks; `everything` adds what deleted ones have seen. Latencies are of this run."""
    total = WebhookCounters()
    if everything:
        total.add(manager.departed)
    for delivery in deliveries:
        total.add(delivery.counters)
    requests = total.duration.count
    positions = [d.queue.oldest_position for d in deliveries if len(d.queue)]
    return {
        "total_webhooks": len(deliveries),
        "active_webhooks": sum(d.webhook.status == "active" for d in deliveries),
        "total_deliveries": total.delivered + total.dead,
        "successful_deliveries": total.delivered,
        "failed_deliveries": total.dead,
        "pending_deliveries": sum(len(d.queue) for d in deliveries),
        "avg_latency_ms": number(total.duration.sum * 1000 / requests if requests else 0.0),
        "p50_latency_ms": number(total.duration.quantile(0.5) * 1000),
        "p99_latency_ms": number(total.duration.quantile(0.99) * 1000),
        "matched": total.matched,
        "dropped": total.dropped,
        "dead": total.dead,
        "coalesced": total.coalesced,
        "purged": total.purged,
        "requests": total.requests,
        "failed_requests": total.failed,
        "retries": total.retries,
        "in_flight": sum(d.queue.in_flight for d in deliveries),
        "pending_on_disk": sum(d.queue.spill.size for d in deliveries),
        "journal_position": manager.position,
        "oldest_pending_position": min(positions, default=None),
    }


def letter(manager: Manager, dead: DeadLetter) -> dict[str, Any]:
    """A line of DEAD."""
    change = dead.change
    return {
        "event_id": event_id(manager.outside.journal_id, change.position),
        "event": wide_name(change.event),
        "key": change.key,
        "database": change.db,
        "event_at": timestamp(change.at),
        "dead_at": timestamp(dead.at),
        "attempts": dead.attempts,
        "http_status": dead.http_status,
        "reason": dead.reason,
    }


def attempt(row: Row) -> dict[str, Any]:
    """A line of DELIVERIES."""
    return {
        "id": row.id,
        "delivery_id": row.delivery,
        "event_ids": row.events,
        "key": row.key,
        "attempt": row.attempt,
        "status": row.status,
        "http_status": row.http_status,
        "latency_ms": number(row.latency_ms),
        "error": row.error,
        "response_body": row.body.decode("utf-8", "replace"),  # a client that decodes replies has to live with it
        "at": timestamp(row.at),
        "next_attempt_at": timestamp(row.next_attempt_at) if row.next_attempt_at else None,
    }


def _public_key(secret: str) -> str | None:
    if not asymmetric.is_private(secret):
        return None
    try:
        return asymmetric.public_key(secret)
    except ValueError as unusable:  # the extra has gone since
        return f"unknown: {unusable}"


def _yes(value: bool) -> str:
    """As the options take it; RESP2 has no booleans."""
    return "true" if value else "false"


def number(value: float) -> int | Double:
    """At most three decimals, and none that are not needed."""
    digits = f"{value:.3f}".rstrip("0").rstrip(".")
    return Double(digits.encode()) if "." in digits else int(digits)
