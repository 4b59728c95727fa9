"""The webhooks that exist, by name and by serial, and their definitions as the journal keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from enum import Enum
from typing import Any

from ferrite_hooks.webhooks.delivery import Delivery
from ferrite_hooks.webhooks.match import Matcher
from ferrite_hooks.webhooks.model import Backoff, Condition, Format, Overflow, Webhook

_READ: dict[str, Any] = {
    "backoff": Backoff,
    "format": Format,
    "overflow": Overflow,
    "patterns": tuple,
    "events": tuple,
    "databases": tuple,
    "headers": lambda pairs: tuple((name, value) for name, value in pairs),
    "when": lambda clauses: tuple(Condition(*clause) for clause in clauses),
}
_FIELDS = tuple(field.name for field in fields(Webhook))


def to_plain(webhook: Webhook) -> dict[str, Any]:
    """A definition as plain values, secrets included."""
    plain: dict[str, Any] = {name: getattr(webhook, name) for name in _FIELDS}
    plain["when"] = [[c.path, c.op, c.value] for c in webhook.when]
    return {name: value.value if isinstance(value, Enum) else value for name, value in plain.items()}


def from_plain(plain: dict[str, Any]) -> Webhook:
    """The definition again. What another version has added is passed over, what it lacked has its default.

    Raises KeyError, TypeError or ValueError for what is no definition.
    """
    known = {name: plain[name] for name in _FIELDS if name in plain}
    return Webhook(**{name: _READ[name](value) if name in _READ else value for name, value in known.items()})


class Registry:
    """Deliveries by name and serial. The matcher always knows the present definitions."""

    __slots__ = ("_by_name", "_by_serial", "matcher", "next_serial", "rejecting")

    def __init__(self, matcher: Matcher) -> None:
        self.matcher = matcher
        self.next_serial = 1  # never given twice, not even after a restart
        self._by_name: dict[str, Delivery] = {}
        self._by_serial: dict[int, Delivery] = {}
        self.rejecting: dict[int, Delivery] = {}  # by serial, those that may refuse a write: OVERFLOW reject

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Delivery]:
        """By name."""
        return iter([self._by_name[name] for name in sorted(self._by_name)])

    def named(self, name: str) -> Delivery | None:
        return self._by_name.get(name)

    def get(self, serial: int) -> Delivery | None:
        return self._by_serial.get(serial)

    def add(self, delivery: Delivery) -> None:
        webhook = delivery.webhook
        self._by_name[webhook.name] = self._by_serial[webhook.serial] = delivery
        self.next_serial = max(self.next_serial, webhook.serial + 1)
        self.changed(delivery)

    def remove(self, delivery: Delivery) -> None:
        webhook = delivery.webhook
        del self._by_name[webhook.name], self._by_serial[webhook.serial]
        self.rejecting.pop(webhook.serial, None)
        self.matcher.discard(webhook.serial)

    def changed(self, delivery: Delivery) -> None:
        """Its definition is another one."""
        webhook = delivery.webhook
        self.matcher.put(webhook)
        if webhook.enabled and webhook.overflow is Overflow.REJECT:
            self.rejecting[webhook.serial] = delivery
        else:
            self.rejecting.pop(webhook.serial, None)
