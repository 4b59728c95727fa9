"""Which webhooks want a change: asked for every write, so the answer has to cost next to nothing.

Answers are remembered per (database, event, key) in a bounded cache that empties when a definition or the
ACL changes. A new key is looked up in an index made per (database, event): literal patterns in a dict, all
others by their literal prefix and, within it, their literal suffix; `user:*` and `order:*:items` are decided
by that alone, and only what is left is matched as a glob. What a webhook says about an event's content (WHEN)
is not asked here but when the change is queued: see conditions.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ferrite_hooks import glob
from ferrite_hooks.webhooks.events import selects
from ferrite_hooks.webhooks.model import Webhook

CACHED_ANSWERS = 65_536
CACHED_KEY_BYTES = 256  # longer keys are looked up each time, so that the cache's memory is bounded
CACHED_SCOPES = 1024  # (database, event) pairs
FLUSH_EVENTS = frozenset({"flush", "flushdb", "swapdb"})

MayRead = Callable[[str, bytes], bool]  # (owner, key) -> whether the ACL lets the owner read the key


class Matcher:
    """The enabled webhooks, ready to be asked."""

    __slots__ = ("_answers", "_may_read", "_scopes", "_webhooks", "listening")

    def __init__(self, may_read: MayRead | None = None) -> None:
        """`may_read` None: every owner may read every key."""
        self.listening = False  # whether there is any enabled webhook
        self._may_read = may_read
        self._webhooks: dict[int, Webhook] = {}
        self._answers: dict[tuple[int, str, bytes | None], tuple[int, ...]] = {}
        self._scopes: dict[tuple[int, str], _Scope] = {}

    def set(self, webhooks: Iterable[Webhook]) -> None:
        """Replaces the definitions; the disabled ones among them match nothing."""
        self._webhooks = {w.serial: w for w in webhooks if w.enabled}
        self.listening = bool(self._webhooks)
        self.clear()

    def clear(self) -> None:
        """Forgets all answers: the ACL has changed."""
        self._answers.clear()
        self._scopes.clear()

    def match(self, db: int, event: str, key: bytes | None) -> tuple[int, ...]:
        """The serials, ascending, of the webhooks that want `event` (a notification name or an application
        event) of `key`. Without a key, a webhook with patterns is asked only about a flush, which
        concerns every key."""
        answer = self._answers.get((db, event, key))
        return self._look_up(db, event, key) if answer is None else answer

    def _look_up(self, db: int, event: str, key: bytes | None) -> tuple[int, ...]:
        scope = self._scopes.get((db, event))
        if scope is None:
            if len(self._scopes) >= CACHED_SCOPES:
                self._scopes.clear()
            scope = self._scopes[(db, event)] = _Scope(
                w for w in self._webhooks.values()
                if (not w.databases or db in w.databases) and selects(w.events, event)
            )  # fmt: skip
        if key is None:
            return scope.everyone if event in FLUSH_EVENTS else scope.any_key
        answer = scope.find(key)
        if answer and self._may_read is not None:
            answer = tuple(s for s in answer if self._may_read(self._webhooks[s].owner, key))
        if len(key) <= CACHED_KEY_BYTES:
            if len(self._answers) >= CACHED_ANSWERS:
                self._answers.clear()
            self._answers[(db, event, key)] = answer
        return answer


# Patterns of one prefix and one suffix: (shortest key, predicate or None where the affixes decide, serial)
_Candidates = list[tuple[int, glob.Predicate | None, int]]
_BySuffix = dict[int, dict[bytes, _Candidates]]  # length of the suffix -> suffix -> candidates


class _Scope:
    """The webhooks that want one event of one database, by their key patterns."""

    __slots__ = ("_exact", "_lengths", "_prefixes", "any_key", "everyone")

    def __init__(self, webhooks: Iterable[Webhook]) -> None:
        any_key: set[int] = set()
        everyone: set[int] = set()
        self._exact: dict[bytes, list[int]] = {}
        self._prefixes: dict[bytes, _BySuffix] = {}
        for webhook in webhooks:
            everyone.add(webhook.serial)
            if not webhook.patterns:
                any_key.add(webhook.serial)
            for pattern in webhook.patterns:
                prefix, suffix, certain = glob.affixes(pattern)
                if certain:
                    self._exact.setdefault(prefix, []).append(webhook.serial)
                elif certain is None and not prefix and not suffix:
                    any_key.add(webhook.serial)
                else:
                    predicate = None if certain is None else glob.compile(pattern)
                    table = self._prefixes.setdefault(prefix, {}).setdefault(len(suffix), {})
                    candidate = (len(prefix) + len(suffix), predicate, webhook.serial)
                    table.setdefault(suffix, []).append(candidate)
        self._lengths = sorted({len(prefix) for prefix in self._prefixes})
        self.any_key = tuple(sorted(any_key))
        self.everyone = tuple(sorted(everyone))

    def find(self, key: bytes) -> tuple[int, ...]:
        found = self._exact.get(key, []).copy()
        size = len(key)
        for length in self._lengths:
            if length > size:
                break
            by_suffix = self._prefixes.get(key[:length])
            if by_suffix is None:
                continue
            for tail, table in by_suffix.items():
                for shortest, predicate, serial in table.get(key[size - tail :] if tail <= size else key, ()):
                    if size >= shortest and (predicate is None or predicate(key)):
                        found.append(serial)
        if not found:
            return self.any_key
        return tuple(sorted({*found, *self.any_key}))
