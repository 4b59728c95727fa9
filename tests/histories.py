"""Running random command histories: against redis-server, and against ourselves.

`compare` runs one on both servers. `replay` runs one on ours and holds it to what every write owes: a change
of the data has an event that its command declares, no change has none, and the effects, applied to an empty
server, make the same data.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fakes import Client, Harness
from oracle import Oracle, Pair, Word

from ferrite_hooks.engine.command import find
from ferrite_hooks.values.digest import dataset_digest, shown

History = list[tuple[Word, ...]]


def contents(harness: Harness) -> dict[tuple[int, bytes], Any]:
    """All data in plain types that compare by value."""
    return {
        (db.index, key): (type(value).__name__, _plain(value), db.expires.get(key))
        for db in harness.engine.databases
        for key, value in db.data.items()
    }


def _plain(value: Any) -> Any:
    name = type(value).__name__
    if name == "bytes":
        return value
    if name == "Stream":
        return repr(value), value.range()
    return dict(value.items()) if name in ("Hash", "ZSet") else set(value) if name == "Set" else list(value)


def compare(
    redis_port: int, history: History, resp: int = 2, unordered: tuple[str, ...] = (), events: bool = True
) -> None:
    """The same raw replies, the same events and the same data in the end. `unordered` names the commands whose
    elements have no order."""
    oracle = Oracle(redis_port)
    try:
        oracle("FLUSHALL")
        both = Pair(oracle, Harness(), resp)
        for words in history:
            both.check(*words, unordered=words[0] in unordered)
        if events:
            both.events()
        left = ((db.index, db.data, db.expires) for db in both.harness.engine.databases)
        assert oracle("DEBUG", "DIGEST") == b"+" + shown(dataset_digest(left)) + b"\r\n", history
    finally:
        oracle("HELLO", 2)
        oracle.close()


def replay(history: History) -> None:
    """See above. Errors are part of a history; a command that would block times out at once."""
    harness, copy = Harness(), Harness()
    copy.engine.loading = copy.client.session.internal = True
    harness.capture_all()
    harness.client.session.deny_blocking = True
    for words in history:
        before = contents(harness)
        run_watched(harness, harness.client, words, before)
        effects, _ = harness.engine.drain()
        apply(copy, effects)
        assert contents(copy) == contents(harness), (words, effects)


def play(redis_port: int, history: Iterable[tuple[Word, ...]], resp: int = 2) -> None:
    """Both of the above."""
    history = list(history)
    compare(redis_port, history, resp)
    replay(history)


def run_watched(
    harness: Harness, client: Client, words: tuple[Word, ...], before: dict[tuple[int, bytes], Any]
) -> list[str]:
    """Runs one command and checks its events, which it returns; leaves the effects to be drained."""
    client(*words)
    changes, harness.engine.changes = harness.engine.changes, []
    after = contents(harness)
    changed = {key for _, key in before.keys() | after.keys() if before.get((0, key)) != after.get((0, key))}
    told = {change.key for change in changes}
    assert changed <= told or None in told, (words, changes)  # a flush tells of all keys at once
    caused = {change.event for change in changes if change.command}  # without one: a key that expired when touched
    assert not caused or caused <= set(find([str(word).encode() for word in words]).events), (words, changes)
    if not harness.engine.effects:
        assert not changes and not changed, (words, changes)
    return [change.event for change in changes]


def apply(harness: Harness, effects: list[list[bytes]]) -> None:
    """Runs effects as the journal's replay does. They must change something, and not fail."""
    for effect in effects:
        if effect[0] == b"SELECT":
            harness.client.session.db = harness.engine.databases[int(effect[1])]
            continue
        dirty = harness.engine.dirty
        reply = harness.client(*effect)
        assert type(reply).__name__ != "ReplyError", (effect, reply)
        assert harness.engine.dirty > dirty, effect
