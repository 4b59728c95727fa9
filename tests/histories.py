"""Random histories: the same commands on redis-server and on ours, and what must hold after every one of them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from fakes import Harness
from oracle import Oracle, Pair, Word

from ferrite_hooks.engine.command import COMMANDS
from ferrite_hooks.engine.engine import Engine
from ferrite_hooks.values.raw import Raw


def state(engine: Engine) -> dict[tuple[int, bytes], tuple[str, Any]]:
    """All data: (database, key) -> (the value in full, its expiry)."""

    def shown(value: Any) -> str:
        if type(value) is Raw:
            value = bytes(value)
        return repr(sorted(value)) if isinstance(value, set) else repr(value)

    return {
        (db.index, key): (shown(value), db.expires.get(key))
        for db in engine.databases
        for key, value in db.data.items()
    }


def play(port: int, history: Iterable[tuple[Word, ...]], resp: int = 2) -> Harness:
    """Plays a history on both servers and compares replies and events.

    After each command: what changed was announced, by events that the command declares, and the effects
    alone lead a second engine to the same data."""
    oracle = Oracle(port)
    oracle("FLUSHALL")
    harness, replica = Harness(), Harness()
    harness.clock.now = replica.clock.now = time.time_ns() // 1_000_000
    pair = Pair(oracle, harness, resp)
    try:
        events: list[Any] = []
        before = state(harness.engine)
        for words in history:
            pair.check(*words)
            effects, changes = harness.engine.drain()
            after = state(harness.engine)
            declared = COMMANDS[str(words[0]).encode().upper()].events
            assert {change.event for change in changes} <= {*declared, "expired"}, words
            assert changes or before == after, f"{words} changed something and told nobody"
            for effect in effects:
                if effect[0] == b"SELECT":
                    replica.client.session.db = replica.engine.databases[int(effect[1])]
                    continue
                assert not isinstance(replica.client(*effect), Exception), effect
            assert state(replica.engine) == after, f"{words}: the effects {effects} lead elsewhere"
            events += [(change.event, change.key) for change in changes if change.event != "flushdb"]
            before = after
        assert events == pair.heard()
    finally:
        pair.close()
        oracle.close()
    return harness
