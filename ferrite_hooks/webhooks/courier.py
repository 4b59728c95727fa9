"""Makes requests of errands and sends them: the same code in the command loop and in a sender process.

An Errand names events and a webhook; here they become JSON, are signed and go out, and what the endpoint answers
loses the webhook's secrets before anyone keeps it. The Terms hold for all webhooks alike.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import NamedTuple

from msgspec.structs import replace

from ferrite_hooks.webhooks.events import wide_name
from ferrite_hooks.webhooks.guard import Rules
from ferrite_hooks.webhooks.model import Done, Errand, Outcome, Request, Stage, Tls, Webhook, tls_of
from ferrite_hooks.webhooks.payload import batch_id, delivery_id, render_batch, render_event
from ferrite_hooks.webhooks.send import Sender
from ferrite_hooks.webhooks.sign import BATCH, headers_for, hide_secrets

log = logging.getLogger(__name__)


class Terms(NamedTuple):
    """What the configuration says about requests, and the journal that ids come from."""

    journal_id: str = ""
    rules: Rules = Rules()
    tls: Tls = Tls()
    max_connections: int = 512
    max_response_bytes: int = 65_536
    max_value_bytes: int = 65_536
    grace_ms: int = 5000  # for requests under way by rules that hold no more


def request_of(errand: Errand, terms: Terms) -> tuple[str, Request]:
    """The delivery id and the whole request, the same bytes wherever it is made."""
    webhook, now, events = errand.webhook, errand.now, errand.events
    positions = [change.position for change, _ in events]
    if webhook.batch:
        batch = batch_id(terms.journal_id, webhook.serial, positions)
        body = render_batch(
            webhook, events, terms.journal_id, batch, now, max_value_bytes=terms.max_value_bytes
        )
        name = BATCH
    else:
        [(change, coalesced)] = events
        body = render_event(
            webhook, change, terms.journal_id, coalesced=coalesced, max_value_bytes=terms.max_value_bytes
        )
        name = wide_name(change.event)
    delivery = delivery_id(terms.journal_id, webhook.serial, positions)
    headers = headers_for(webhook, delivery, name, errand.attempt, body, now)
    return delivery, Request(webhook.url, headers, body, webhook.timeout_ms, tls_of(webhook, terms.tls))


class Courier:
    """Sends errands by one Sender, and by another one when the terms change. For inside a running event loop."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._sender: Sender | None = None
        self._leaving: set[asyncio.Task[None]] = set()  # senders by older terms

    def change(self, terms: Terms) -> None:
        """Other terms for what is sent from now on."""
        before, self._terms = self._terms, terms
        sender = self._sender
        if sender is None:
            return
        sender.max_response_bytes = terms.max_response_bytes
        if before[1:4] != terms[1:4]:  # rules, tls, max_connections
            self._sender = None  # the next errand makes one by the new terms
            task = asyncio.get_running_loop().create_task(sender.close(terms.grace_ms / 1000))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    def carry(self, errand: Errand, done: Done) -> None:
        """Sends one errand; `done` gets its Outcome in a later turn."""
        terms = self._terms
        try:
            delivery, request = request_of(errand, terms)
        except Exception as broken:  # nothing an event holds may stop the others
            log.exception("webhook %s: cannot render an event", errand.webhook.name)
            outcome = Outcome(Stage.RENDER, 0, 0.0, f"cannot be rendered: {type(broken).__name__}", b"", "")
            asyncio.get_running_loop().call_soon(done, outcome)
            return
        if self._sender is None:
            self._sender = Sender(
                terms.rules, terms.tls,
                max_connections=terms.max_connections, max_response_bytes=terms.max_response_bytes,
            )  # fmt: skip
        self._sender.send(request, partial(_sent, errand.webhook, delivery, done))

    async def close(self, grace_seconds: float) -> None:
        """Takes no more errands, gives those under way so long; the rest get an Outcome."""
        sender, self._sender = self._sender, None
        if sender is not None:
            await sender.close(grace_seconds)
        if self._leaving:
            await asyncio.wait(self._leaving)


def _sent(webhook: Webhook, delivery: str, done: Done, outcome: Outcome) -> None:
    """Makes an errand's outcome of its request's."""
    shown = hide_secrets(webhook, outcome.body) if outcome.body else b""
    done(replace(outcome, body=shown, delivery=delivery))
