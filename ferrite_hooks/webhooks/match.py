"""Which webhooks want a change: asked for every write, so the answer has to cost next to nothing.

Each (database, event) has an index of its own. Where no webhook has a pattern, one answer holds for every key.
Else a key is looked up: literal patterns in a dict, all others by their literal prefix and, within it, their
literal suffix; `user:*` and `order:*:items` are decided by that alone, and only what is left is matched as a
glob. Answers that take longer than remembering them are kept per key in a bounded cache; all is forgotten when a
definition or the ACL changes. What a webhook says about an event's content (WHEN) is not asked here but when the
change is queued: see conditions.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ferrite_hooks import glob
from ferrite_hooks.webhooks.events import selects
from ferrite_hooks.webhooks.model import Webhook

CACHED_ANSWERS = 65_536
CACHED_KEY_BYTES = 256  # longer keys are looked up each time, so that the cache's memory is bounded
CACHED_SCOPES = 1024  # (database, event) pairs
QUICK_STEPS = 8  # a look-up in so many steps is as cheap as a cache
FLUSH_EVENTS = frozenset({"flush", "flushdb", "swapdb"})

MayRead = Callable[[str, bytes], bool]  # (owner, key) -> whether the ACL lets the owner read the key
ReadsAll = Callable[[str], bool]  # owner -> whether it may read every key


class Matcher:
    """The enabled webhooks, ready to be asked."""

    __slots__ = ("_answers", "_may_read", "_reads_all", "_scopes", "_webhooks", "listening")

    def __init__(self, may_read: MayRead | None = None, reads_all: ReadsAll = lambda owner: False) -> None:
        """`may_read` None: every owner may read every key. `reads_all` spares asking it for each key."""
        self.listening = False  # whether there is any enabled webhook
        self._may_read = may_read
        self._reads_all = reads_all
        self._webhooks: dict[int, Webhook] = {}
        self._answers: dict[tuple[int, str, bytes], tuple[int, ...]] = {}
        self._scopes: dict[int, dict[str, _Scope]] = {}  # by database and event

    def set(self, webhooks: Iterable[Webhook]) -> None:
        """Replaces the definitions; the disabled ones among them match nothing."""
        self._webhooks = {w.serial: w for w in webhooks if w.enabled}
        self.listening = bool(self._webhooks)
        self.clear()

    def put(self, webhook: Webhook) -> None:
        """Adds a definition, or replaces the one with its serial."""
        self.discard(webhook.serial)
        if webhook.enabled:
            self._webhooks[webhook.serial] = webhook
            self.listening = True
            self._forget(webhook)

    def discard(self, serial: int) -> None:
        """Takes out a definition, if it is there."""
        before = self._webhooks.pop(serial, None)
        if before is not None:
            self.listening = bool(self._webhooks)
            self._forget(before)

    def _forget(self, webhook: Webhook) -> None:
        """Only what this webhook has a part in: so making many does not build everything anew each time."""
        for db, scopes in self._scopes.items():
            stale = [event for event in scopes if _wants(webhook, db, event)]
            for event in stale:
                del scopes[event]
            if stale:
                self._answers.clear()

    def clear(self) -> None:
        """Forgets all answers: the ACL has changed."""
        self._answers.clear()
        self._scopes.clear()

    def match(self, db: int, event: str, key: bytes | None) -> tuple[int, ...]:
        """The serials, ascending, of the webhooks that want `event` (a notification name or an application
        event) of `key`. Without a key, a webhook with patterns is asked only about a flush, which
        concerns every key."""
        scopes = self._scopes.get(db)
        scope = None if scopes is None else scopes.get(event)
        if scope is None:
            scope = self._scope(db, event)
        if scope.answer is not None:
            return scope.answer
        if key is None:
            return scope.everyone if event in FLUSH_EVENTS else scope.any_key
        if scope.quick:
            return scope.find(key)
        answer = self._answers.get((db, event, key))
        return self._look_up(scope, db, event, key) if answer is None else answer

    def _scope(self, db: int, event: str) -> _Scope:
        if sum(map(len, self._scopes.values())) >= CACHED_SCOPES:
            self._scopes.clear()
        webhooks = [w for w in self._webhooks.values() if _wants(w, db, event)]
        limited = self._may_read is not None and not all(self._reads_all(w.owner) for w in webhooks)
        scope = _Scope(webhooks, limited)
        self._scopes.setdefault(db, {})[event] = scope
        return scope

    def _look_up(self, scope: _Scope, db: int, event: str, key: bytes) -> tuple[int, ...]:
        answer = scope.find(key)
        if answer and scope.limited and self._may_read is not None:
            answer = tuple(s for s in answer if self._may_read(self._webhooks[s].owner, key))
        if len(key) <= CACHED_KEY_BYTES:
            if len(self._answers) >= CACHED_ANSWERS:
                self._answers.clear()
            self._answers[(db, event, key)] = answer
        return answer


def _wants(webhook: Webhook, db: int, event: str) -> bool:
    """Of some key, at least."""
    return (not webhook.databases or db in webhook.databases) and selects(webhook.events, event)


# Patterns of one prefix and one suffix: (shortest key, predicate or None where the affixes decide, serial)
_Candidates = list[tuple[int, glob.Predicate | None, int]]
_BySuffix = dict[int, dict[bytes, _Candidates]]  # length of the suffix -> suffix -> candidates


class _Scope:
    """The webhooks that want one event of one database, by their key patterns."""

    __slots__ = ("_exact", "_first", "_lengths", "_prefixes", "answer", "any_key", "everyone", "limited", "quick")

    def __init__(self, webhooks: Iterable[Webhook], limited: bool) -> None:
        self.limited = limited  # an owner may not read every key
        steps = 0
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
                    steps += predicate is not None
                    table = self._prefixes.setdefault(prefix, {}).setdefault(len(suffix), {})
                    candidate = (len(prefix) + len(suffix), predicate, webhook.serial)
                    table.setdefault(suffix, []).append(candidate)
        # By a key's first byte: whether any pattern begins with it. "" begins with every byte.
        firsts = {start[:1] for start in (*self._exact, *self._prefixes)}
        self._first = [b"" in firsts or bytes((byte,)) in firsts for byte in range(256)]
        self._lengths = sorted({len(prefix) for prefix in self._prefixes})
        self.any_key = tuple(sorted(any_key))
        self.everyone = tuple(sorted(everyone))
        # The answer for every key, where it does not depend on the key
        self.answer = self.any_key if any_key == everyone and not limited else None
        steps += len(self._lengths) + max((len(table) for table in self._prefixes.values()), default=0)
        self.quick = not limited and steps <= QUICK_STEPS

    def find(self, key: bytes) -> tuple[int, ...]:
        size = len(key)
        if size and not self._first[key[0]]:
            return self.any_key
        found = list(self._exact.get(key, ()))
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
