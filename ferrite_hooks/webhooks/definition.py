"""A webhook's definition as plain values: what the journal keeps of it, and what sender processes are told."""

from __future__ import annotations

from dataclasses import fields
from enum import Enum
from typing import Any

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
