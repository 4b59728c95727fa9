"""The parameters of CONFIG GET and CONFIG SET: one row each, with Redis's names, units and checks.

A parameter lives in `Engine.settings` under its name as a plain Python value; what the hot path needs is
copied to an engine attribute by the row's `apply`. Rows that only describe the process (`port`, `dir`) are
marked immutable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ferrite_hooks.engine.pubsub import notify_flags

if TYPE_CHECKING:
    from ferrite_hooks.engine.engine import Engine

Apply = Callable[["Engine", Any], None]


def _nothing(engine: Engine, value: Any) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Setting:
    """`kind`: int, memory (bytes, accepts kb/mb/gb), bool (yes/no), str, enum, or a family of its own."""

    name: str
    default: Any
    kind: str
    choices: tuple[str, ...] = ()
    low: int = 0
    high: int = 2**63 - 1
    immutable: bool = False
    apply: Apply = _nothing


def _slowlog(engine: Engine, value: int) -> None:
    engine.slow_ns = value * 1000 if value >= 0 else 1 << 62
    engine.refresh()


def _notify(engine: Engine, value: str) -> None:
    engine.notify_flags = notify_flags(value)
    engine.observe_all()


_ROWS = (
    Setting("hash-max-listpack-entries", 128, "int"),
    Setting("hash-max-listpack-value", 64, "int"),
    Setting("list-max-listpack-size", -2, "int", low=-(2**31), high=2**31 - 1),
    Setting("list-compress-depth", 0, "int"),
    Setting("set-max-intset-entries", 512, "int"),
    Setting("set-max-listpack-entries", 128, "int"),
    Setting("set-max-listpack-value", 64, "int"),
    Setting("zset-max-listpack-entries", 128, "int"),
    Setting("zset-max-listpack-value", 64, "int"),
    Setting("hll-sparse-max-bytes", 3000, "int"),
    Setting("stream-node-max-bytes", 4096, "memory"),
    Setting("stream-node-max-entries", 100, "int"),
    Setting("proto-max-bulk-len", 512 * 1024 * 1024, "memory", low=1024 * 1024),
    Setting("notify-keyspace-events", "", "notify", apply=_notify),
    Setting("slowlog-log-slower-than", 10_000, "int", low=-1, apply=_slowlog),
    Setting("slowlog-max-len", 128, "int"),
)

SETTINGS: dict[str, Setting] = {row.name: row for row in _ROWS}
