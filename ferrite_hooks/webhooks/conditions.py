"""WHEN clauses: what a webhook demands of an event's content, decided without rendering the event.

A path names a part of the payload: `event`, `notification`, `key`, `database`, `command`, `client_id`,
`source_ip`, `resource_id`, `data.value…`, `data.old_value…`, `data.ttl`, `data.new_key`. Below `data.value`
it goes into hashes by field, into sorted sets by member, into lists by index, into streams as `fields.name`
or `id`, and into strings as JSON. `=` and `<` compare numbers where both sides are numbers, else text by its
code points. A path that leads nowhere satisfies `!=` and `exists false` only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from ferrite_hooks import glob
from ferrite_hooks.webhooks.events import wide_name
from ferrite_hooks.webhooks.model import Change, Condition, Webhook, Written

_ROOTS: dict[str, Callable[[Change], Any]] = {
    "event": lambda c: wide_name(c.event),
    "notification": lambda c: c.event,
    "key": lambda c: c.key,
    "database": lambda c: c.db,
    "command": lambda c: c.command,
    "client_id": lambda c: f"conn:{c.client}" if c.client else None,
    "source_ip": lambda c: c.ip or None,
    "resource_id": lambda c: c.resource or None,
}
_DATA: dict[str, Callable[[Change], Any]] = {
    "value": lambda c: _plain(c.new),
    "old_value": lambda c: _plain(c.old),
    "ttl": lambda c: (c.expire_at - c.at + 999) // 1000 if c.expire_at else None,
    "new_key": lambda c: c.new[1] if isinstance(c.new, tuple) and c.new[0] == "key" else None,
}
_MISSING = object()


def check_condition(path: str, op: str, value: str) -> Condition:
    """Makes a condition. Raises ValueError for a path or an operator that cannot mean anything."""
    root, _, rest = path.partition(".")
    if root == "metadata" and rest:  # as the payload spells it
        path, root, rest = rest, rest, ""
    name = rest.partition(".")[0]
    if not (root in _ROOTS and not rest) and not (root == "data" and name in _DATA):
        known = [*_ROOTS, *(f"data.{part}" for part in _DATA)]
        raise ValueError(f"unknown path {path[:100]!a}; known are {' '.join(known)}")
    if op.lower() not in OPERATORS:
        raise ValueError(f"unknown operator {op[:100]!a}; known are {' '.join(OPERATORS)}")
    if op.lower() == "exists" and value.lower() not in ("true", "false"):
        raise ValueError("exists needs true or false")
    return Condition(path, op.lower(), value)


def conditions_hold(webhook: Webhook, change: Change) -> bool:
    """Whether all of the webhook's WHEN clauses hold for the change."""
    return all(OPERATORS[c.op](_find(c.path, change), c.value) for c in webhook.when)


def _find(path: str, change: Change) -> Any:
    root, _, rest = path.partition(".")
    if root != "data":
        return _ROOTS[root](change)
    name, _, rest = rest.partition(".")
    value = _DATA[name](change)
    for part in rest.split(".") if rest else ():
        value = _step(value, part)
    return _MISSING if value is None and rest else value


def _step(value: Any, part: str) -> Any:
    """Goes one name deeper. Strings that hold a JSON object or array are looked into."""
    if isinstance(value, bytes | str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return None
    if isinstance(value, dict):
        return value.get(part)
    if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
        return value[int(part)]
    return None


def _plain(written: Written) -> Any:
    """What was written, as the payload would show it."""
    if not isinstance(written, tuple):
        return written
    kind, items = written[0], written[1]
    if kind == "json":
        try:
            return orjson.loads(items)
        except orjson.JSONDecodeError:
            return None
    if kind in ("hash", "zset"):
        return _pairs(items)
    if kind == "stream":
        return {"id": items[0], "fields": _pairs(items[1:])}
    if kind == "stub":
        return {"type": items, "length": written[2]}
    return items


def _pairs(flat: Any) -> dict[str, Any]:
    return {_text(name): value for name, value in zip(flat[::2], flat[1::2], strict=False)}


def _text(value: Any) -> str:
    """A value as the user would write it in a WHEN clause."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return orjson.dumps(value, default=_text).decode()


def _numbers(found: Any, literal: str) -> tuple[float, float] | None:
    try:
        return float(found if isinstance(found, int | float) else _text(found)), float(literal)
    except ValueError:
        return None


def _equal(found: Any, literal: str) -> bool:
    if found is _MISSING:
        return False
    if isinstance(found, bool) or found is None:
        return _text(found) == literal.lower()
    if numbers := _numbers(found, literal):
        return numbers[0] == numbers[1]
    return _text(found) == literal


def _order(found: Any, literal: str) -> int | None:
    """-1, 0, 1 as `found` is below, at or above the literal; None where they cannot be compared."""
    if found is _MISSING or found is None or isinstance(found, bool | list | dict):
        return None
    numbers = _numbers(found, literal)
    a, b = numbers if numbers else (_text(found), literal)
    return (a > b) - (a < b)  # type: ignore[operator]


OPERATORS: dict[str, Callable[[Any, str], bool]] = {
    "=": _equal,
    "!=": lambda found, literal: not _equal(found, literal),
    "<": lambda found, literal: _order(found, literal) == -1,
    "<=": lambda found, literal: _order(found, literal) in (-1, 0),
    ">": lambda found, literal: _order(found, literal) == 1,
    ">=": lambda found, literal: _order(found, literal) in (0, 1),
    "in": lambda found, literal: any(_equal(found, choice.strip()) for choice in literal.split(",")),
    "exists": lambda found, literal: (found is _MISSING or found is None) == (literal.lower() == "false"),
    "prefix": lambda found, literal: _is_text(found) and _text(found).startswith(literal),
    "glob": lambda found, literal: _is_text(found) and glob.matches(
        literal.encode("utf-8", "surrogateescape"), _text(found).encode("utf-8", "surrogateescape")
    ),
}  # fmt: skip


def _is_text(found: Any) -> bool:
    return isinstance(found, bytes | str | int | float) and not isinstance(found, bool)
