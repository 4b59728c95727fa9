"""Which webhooks want a change: asked for every write, so the answer has to cost next to nothing.

Each (database, event) has a scope: the webhooks that want it. Where they want it of any key, one answer holds for
every key; else the key is looked up among all webhooks' patterns, see patterns.py. Answers that take longer than
remembering them are kept per key, a bounded number of them.

Making, changing or deleting a webhook costs the same among many: the index and the scopes change in place, and only
scopes that it has a part in forget their answers. What a webhook says about an event's content (WHEN) is not asked
here but when the change is queued: see conditions.py.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable
from typing import Final

from ferrite_hooks.webhooks.events import selects
from ferrite_hooks.webhooks.model import Webhook
from ferrite_hooks.webhooks.patterns import Patterns

CACHED_ANSWERS: Final = 65_536
CACHED_KEY_BYTES: Final = 256  # longer keys are looked up each time, so that the cache's memory is bounded
CACHED_SCOPES: Final = 1024  # (database, event) pairs
FLUSH_EVENTS: Final = frozenset({"flush", "flushdb", "swapdb"})

MayRead = Callable[[str, bytes], bool]  # (owner, key) -> whether the ACL lets the owner read the key
ReadsAll = Callable[[str], bool]  # owner -> whether it may read every key


class Matcher:
    """The enabled webhooks, ready to be asked."""

    __slots__ = (
        "_asked", "_everywhere", "_found", "_last", "_limited", "_may_read", "_patterns", "_reads_all", "_remembered",
        "_scopes", "_webhooks", "listening",
    )  # fmt: skip

    def __init__(self, may_read: MayRead | None = None, reads_all: ReadsAll = lambda owner: False) -> None:
        """`may_read` None: every owner may read every key. `reads_all` spares asking it for each key."""
        self.listening = False  # whether there is any enabled webhook
        self._may_read = may_read
        self._reads_all = reads_all
        self._webhooks: dict[int, Webhook] = {}
        self._limited: set[int] = set()  # those whose owners may not read every key
        self._patterns = Patterns()  # of those that do not want any key
        self._everywhere = 0  # how many want any key of some event
        self._scopes: dict[int, dict[str, _Scope]] = {}  # by database and event
        self._last: _Scope | None = None  # that was asked about: the next write is likely to be of its kind
        self._asked: bytes | None = None  # the last key that was looked for, in that scope …
        self._found: tuple[int, ...] = ()  # … and what was found: a write asks again when it has been made
        self._remembered = 0  # answers in all scopes

    def set(self, webhooks: Iterable[Webhook]) -> None:
        """Replaces the definitions; the disabled ones among them match nothing."""
        for serial in list(self._webhooks):
            self.discard(serial)
        for webhook in webhooks:
            self.put(webhook)

    def put(self, webhook: Webhook) -> None:
        """Adds a definition, or replaces the one with its serial."""
        serial = webhook.serial
        before = self._webhooks.get(serial)
        if before is not None and _aim(before) == _aim(webhook):
            self._webhooks[serial] = webhook
            return
        self.discard(serial)
        if webhook.enabled:
            self._webhooks[serial] = webhook
            self.listening = True
            if self._may_read is not None and not self._reads_all(webhook.owner):
                self._limited.add(serial)
            if _wants_any_key(webhook):
                self._everywhere += 1
            else:
                self._patterns.add(serial, webhook.patterns)
            for scope in self._concerned(webhook):
                scope.add(webhook, serial in self._limited)

    def discard(self, serial: int) -> None:
        """Takes out a definition, if it is there."""
        webhook = self._webhooks.pop(serial, None)
        if webhook is not None:
            self.listening = bool(self._webhooks)
            if _wants_any_key(webhook):
                self._everywhere -= 1
            else:
                self._patterns.remove(serial, webhook.patterns)
            for scope in self._concerned(webhook):
                scope.remove(webhook, serial in self._limited)
            self._limited.discard(serial)

    def _concerned(self, webhook: Webhook) -> list[_Scope]:
        """The scopes that a webhook has a part in; what they remember is forgotten."""
        found = [scope for scope in self._all_scopes() if _wants(webhook, scope.db, scope.event)]
        self._forget(found)
        return found

    def _all_scopes(self) -> list[_Scope]:
        return [scope for scopes in self._scopes.values() for scope in scopes.values()]

    def _forget(self, scopes: Iterable[_Scope]) -> None:
        for scope in scopes:
            self._remembered -= len(scope.answers)
            scope.answers.clear()
        self._asked = None

    def acl_changed(self, users: Collection[str]) -> None:
        """What these users may read is another thing than before."""
        if self._may_read is None:
            return
        bound = {user for user in users if not self._reads_all(user)}
        theirs = {w.serial for w in self._webhooks.values() if w.owner in users}
        limited = {serial for serial in theirs if self._webhooks[serial].owner in bound}
        if limited != theirs & self._limited:
            self._limited = self._limited - theirs | limited
            self._forget_scopes()
        elif limited:
            self._forget(scope for scope in self._all_scopes() if scope.limited)

    def _forget_scopes(self) -> None:
        self._scopes.clear()
        self._last = self._asked = None
        self._remembered = 0

    def match(self, db: int, event: str, key: bytes | None) -> tuple[int, ...]:
        """The serials, ascending, of the webhooks that want `event` (a notification name or an application
        event) of `key`. Without a key, a webhook with patterns is asked only about a flush, which
        concerns every key."""
        first = self._patterns.first
        if key and not self._everywhere and not first[key[0]]:
            return ()
        scope = self._last
        if scope is None or scope.event != event or scope.db != db:
            scopes = self._scopes.get(db)
            scope = None if scopes is None else scopes.get(event)
            if scope is None:
                scope = self._scope(db, event)
            self._last = scope
            self._asked = None
        if scope.answer is not None:
            return scope.answer
        if key is None:
            return tuple(sorted(scope.serials)) if event in FLUSH_EVENTS else scope.any_key
        patterns = self._patterns
        if not scope.limited and key and not first[key[0]]:
            return scope.any_key
        if key is self._asked:
            return self._found
        if not scope.limited and patterns.quick:
            answer = patterns.find(key, scope.serials, scope.any_key)
        else:
            known = scope.answers.get(key)
            answer = self._look_up(scope, key) if known is None else known
        self._asked, self._found = key, answer
        return answer

    def _scope(self, db: int, event: str) -> _Scope:
        if sum(map(len, self._scopes.values())) >= CACHED_SCOPES:
            self._forget_scopes()
        webhooks = [w for w in self._webhooks.values() if _wants(w, db, event)]
        scope = self._scopes.setdefault(db, {})[event] = _Scope(db, event, webhooks, self._limited)
        return scope

    def _look_up(self, scope: _Scope, key: bytes) -> tuple[int, ...]:
        answer = self._patterns.find(key, scope.serials, scope.any_key)
        if answer and scope.limited and self._may_read is not None:
            answer = tuple(s for s in answer if self._may_read(self._webhooks[s].owner, key))
        if len(key) <= CACHED_KEY_BYTES:
            if self._remembered >= CACHED_ANSWERS:
                self._forget(self._all_scopes())
            scope.answers[key] = answer
            self._remembered += 1
        return answer


class _Scope:
    """The webhooks that want one event of one database."""

    __slots__ = ("answer", "answers", "any_key", "db", "event", "limited", "serials")

    def __init__(self, db: int, event: str, webhooks: Collection[Webhook], limited: set[int]) -> None:
        self.db = db
        self.event = event
        self.serials = {w.serial for w in webhooks}
        self.any_key = tuple(sorted(w.serial for w in webhooks if _wants_any_key(w)))
        self.limited = len(self.serials & limited)  # how many have owners who may not read every key
        self.answers: dict[bytes, tuple[int, ...]] = {}  # by key
        self._settle()

    def add(self, webhook: Webhook, limited: bool) -> None:
        serial = webhook.serial
        self.serials.add(serial)
        self.limited += limited
        if _wants_any_key(webhook):
            at = bisect_left(self.any_key, serial)
            self.any_key = self.any_key[:at] + (serial,) + self.any_key[at:]
        self._settle()

    def remove(self, webhook: Webhook, limited: bool) -> None:
        serial = webhook.serial
        self.serials.discard(serial)
        self.limited -= limited
        if _wants_any_key(webhook):
            at = bisect_left(self.any_key, serial)
            self.any_key = self.any_key[:at] + self.any_key[at + 1 :]
        self._settle()

    def _settle(self) -> None:
        """Where the answer does not depend on the key it is known beforehand."""
        same = len(self.any_key) == len(self.serials) and not self.limited
        self.answer: tuple[int, ...] | None = self.any_key if same else None


def _aim(webhook: Webhook) -> tuple[object, ...]:
    """All of a definition that is asked about here."""
    return webhook.enabled, webhook.owner, webhook.databases, webhook.events, webhook.patterns


def _wants(webhook: Webhook, db: int, event: str) -> bool:
    """Of some key, at least."""
    return (not webhook.databases or db in webhook.databases) and selects(webhook.events, event)


def _wants_any_key(webhook: Webhook) -> bool:
    """No pattern, or one of stars alone."""
    return not webhook.patterns or any(p and not p.strip(b"*") for p in webhook.patterns)
