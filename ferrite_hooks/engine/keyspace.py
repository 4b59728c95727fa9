"""The keys of one database, and the only ways to change them.

A handler parses, then reads (`read`, `edit`), then changes. Every change goes through `put`, `commit`, `drop`
or `expire_at` and names its event, so that no write can be silent: `emit` is where transactions, blocked
clients, client caches, keyspace notifications and webhooks learn of it. When nobody listens to a database
(`observed` is False) that costs two attribute reads.

    value = db.edit(key, Hash)          # a live value to mutate, or None; raises WRONGTYPE
    ...mutate it...
    db.commit(key, value, "hdel")       # stores it (or drops it, when it has become empty) and emits
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain, islice
from sys import getsizeof
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ferrite_hooks.errors import WRONGTYPE, ReplyError
from ferrite_hooks.values.collections import Hash, List, Set
from ferrite_hooks.values.index import Index
from ferrite_hooks.values.raw import Raw
from ferrite_hooks.values.stream import Stream
from ferrite_hooks.values.zset import ZSet
from ferrite_hooks.webhooks.model import Written

if TYPE_CHECKING:
    from ferrite_hooks.engine.engine import Engine
    from ferrite_hooks.engine.session import Session

Value = Any  # bytes | Raw | Hash | List | Set | ZSet | Stream
T = TypeVar("T")

TYPE_NAMES: dict[type, str] = {
    bytes: "string", Raw: "string", Hash: "hash", List: "list", Set: "set", ZSet: "zset", Stream: "stream",
}  # fmt: skip
SNAPSHOT_MAX: Final = 64  # larger collections are told by type and length when they are deleted


class Database:
    """One numbered database of an Engine."""

    __slots__ = (
        "accessed", "blocked", "data", "engine", "expires", "hooked", "index", "keys_index", "observed",
        "timed_hashes", "watched",
    )  # fmt: skip

    def __init__(self, engine: Engine, index: int) -> None:
        self.engine = engine
        self.index = index
        self.data: dict[bytes, Value] = {}
        self.expires: dict[bytes, int] = {}  # unix ms
        self.timed_hashes: set[bytes] = set()  # all hashes with fields that expire, and some that no longer are
        self.keys_index: Index | None = None  # for SCAN and RANDOMKEY, once one was asked for
        self.watched: dict[bytes, set[Session]] = {}
        self.blocked: dict[bytes, dict[Session, None]] = {}  # in the order they began to wait
        self.accessed: dict[bytes, int] | None = None  # when or how often keys were used, see access.py
        self.observed = False  # somebody listens to changes …
        self.hooked = False  # … and it is nobody but webhooks

    # -- reading ---------------------------------------------------------------------------------------------

    def find(self, key: bytes) -> Value | None:
        """The value of any type, without counting a hit or miss. A key past its time is removed first."""
        if self.expires and key in self.expires and self.engine.expiry.overdue(self, key):
            return None
        if self.timed_hashes and key in self.timed_hashes:
            return self.engine.expiry.pruned(self, key)
        return self.data.get(key)

    def read(self, key: bytes, kind: type[T]) -> T | None:
        """The value for a reading command, or None; counts a keyspace hit or miss. Raises WRONGTYPE."""
        if self.expires and key in self.expires and self.engine.expiry.overdue(self, key):
            value = None
        elif self.timed_hashes and key in self.timed_hashes:
            value = self.engine.expiry.pruned(self, key)
        else:
            value = self.data.get(key)
        if value is None:
            self.engine.misses += 1
            if self.engine.notify_flags:
                self.engine.notify(self, key, "keymiss")
            return None
        self.engine.hits += 1
        if type(value) is not kind:
            value = _as_string(value, kind)
        return value

    def edit(self, key: bytes, kind: type[T]) -> T | None:
        """The live value, to be changed and then committed, or None; of a string that is not Raw yet, a Raw copy.
        Raises WRONGTYPE."""
        value = self.find(key)
        if value is None:
            return None
        if type(value) is not kind:
            value = _as_string(value, kind)
        if self.engine.audit is not None:
            self.engine.audit.opened(self, key)
        return value

    # -- changing --------------------------------------------------------------------------------------------

    def put(
        self,
        key: bytes,
        value: Value,
        event: str,
        *,
        keep_ttl: bool = False,
        expire_at: int = 0,
        new: Written = None,
    ) -> None:
        """Sets a whole value, whatever stood there. `expire_at` (unix ms) gives it a time to live at once,
        which the caller announces with `emit(key, "expire")`. `new` is what webhooks show; a string shows
        itself."""
        old = None
        heard = self._heard(key, event)
        if heard:
            displaced = self.find(key)
            old = displaced if type(displaced) is bytes else snapshot(displaced)
            if self.engine.notify_flags:
                self._welcome(key)
        else:
            displaced = self.data.get(key)
        if self.keys_index is not None and key not in self.data:
            self.keys_index.add(key)
        self.data[key] = value
        if displaced is not None and type(displaced) is not bytes:
            self.engine.lazyfree.value(displaced)
        if expire_at:
            self.expires[key] = expire_at
            self.engine.expiry.note(self, key, expire_at)
        elif self.expires and not keep_ttl:
            self.expires.pop(key, None)
        self.engine.dirty += 1
        if heard:
            self.announce(key, event, value if type(value) is bytes else new, old)

    def commit(self, key: bytes, value: Value, event: str, new: Written = None, old: Written = None) -> None:
        """Ends an edit: stores a new collection, drops one that has become empty (event `del`), and emits
        `event` before that."""
        engine = self.engine
        if engine.audit is not None:
            engine.audit.committed(self, key)
        if value or type(value) is Stream:
            if self.observed:
                self._welcome(key)
            if self.keys_index is not None and key not in self.data:
                self.keys_index.add(key)
            self.data[key] = value
            engine.dirty += 1
            if self._heard(key, event):
                self.announce(key, event, new, old)
        else:
            engine.dirty += 1
            if self._heard(key, event):
                self.announce(key, event, new, old)
            if key in self.data:
                self._remove(key)
                if self.observed:
                    self.announce(key, "del", None, None)

    def drop(self, key: bytes, event: str = "del") -> bool:
        """Deletes a key. Returns False if there was none."""
        value = self.find(key)
        if value is None:
            return False
        heard = self._heard(key, event)
        old = snapshot(value) if heard else None
        expire_at = self.expires.get(key, 0)
        self._remove(key)
        self.engine.lazyfree.value(value)
        self.engine.dirty += 1
        if heard:
            self.announce(key, event, None, old, expire_at)
        return True

    def expire_at(self, key: bytes, when: int | None, event: str) -> None:
        """Sets (unix ms) or removes (None) the time to live of an existing key."""
        if when is None:
            self.expires.pop(key, None)
        else:
            self.expires[key] = when
            self.engine.expiry.note(self, key, when)
        self.emit(key, event)

    def rename(self, key: bytes, newkey: bytes) -> None:
        """Moves an existing value and its time to live over whatever stands at `newkey`: events rename_from,
        rename_to."""
        old = snapshot(self.find(newkey)) if self.observed else None
        value, expire_at = self.data[key], self.expires.get(key, 0)
        self._remove(key)
        if newkey in self.data:
            self.engine.lazyfree.value(self.data[newkey])
            self._remove(newkey)
        self.place(newkey, value, expire_at)
        self.engine.dirty += 1
        if self.observed:
            self.announce(key, "rename_from", ("key", newkey), old, expire_at)
            self.announce(newkey, "rename_to", ("key", key), old)

    def move(self, key: bytes, target: Database) -> None:
        """Moves an existing value and its time to live to a database that has no such key: events move_from,
        move_to."""
        value, expire_at = self.data[key], self.expires.get(key, 0)
        self._remove(key)
        target.place(key, value, expire_at)
        self.engine.dirty += 1
        if self.observed:
            self.announce(key, "move_from", None, snapshot(value), expire_at)
        if target.observed:
            target.announce(key, "move_to", snapshot(value), None)

    def swap(self, other: Database) -> None:
        """Exchanges the contents (SWAPDB): one event `swapdb` for each of the two. Those who watch a key or wait
        for one stay, and are told of what either side has."""
        for db in (self, other):
            for key in list(chain(db.watched, db.blocked)):  # what is past its time is no change
                self.find(key)
                other.find(key)
        self.data, other.data = other.data, self.data
        self.expires, other.expires = other.expires, self.expires
        self.timed_hashes, other.timed_hashes = other.timed_hashes, self.timed_hashes
        self.keys_index, other.keys_index = other.keys_index, self.keys_index
        self.accessed, other.accessed = other.accessed, self.accessed
        engine = self.engine
        engine.expiry.rebuild()
        engine.dirty += 1
        for db in (self, other):
            for key in chain(db.watched, db.blocked):
                if key in self.data or key in other.data:
                    db._touch(key)
            engine.capture(db, None, "swapdb", None, None, 0)

    def place(self, key: bytes, value: Value, expire_at: int = 0) -> None:
        """Stores without an event: loading, and the inside of operations that announce themselves."""
        if self.observed:
            self._welcome(key)
        if self.keys_index is not None and key not in self.data:
            self.keys_index.add(key)
        self.data[key] = value
        if expire_at:
            self.expires[key] = expire_at
            self.engine.expiry.note(self, key, expire_at)
        if type(value) is Hash and value.times is not None:
            value.times.noted = 0  # the timer knew it under another key, if at all
            self.note_fields(key, value)

    def note_fields(self, key: bytes, value: Hash) -> None:
        """Tells the timer of the fields with a time to live that `value`, which is at `key`, may have."""
        if value.times:
            self.timed_hashes.add(key)
            self.engine.expiry.note_fields(self, key, value.times)

    def _welcome(self, key: bytes) -> None:
        """Notifies that a key is about to appear, where that was asked for."""
        engine = self.engine
        if "n" in engine.notify_flags and key not in self.data and not engine.loading:
            engine.notify(self, key, "new")

    def _remove(self, key: bytes) -> None:
        del self.data[key]
        self.expires.pop(key, None)
        if self.timed_hashes:
            self.timed_hashes.discard(key)
        if self.keys_index is not None:
            self.keys_index.discard(key)
        if self.accessed is not None:
            self.accessed.pop(key, None)

    def remove_overdue(self, key: bytes) -> None:
        """Deletes a key whose time has come: event `expired`."""
        self.engine.expired_keys += 1
        self._vanish(key, "expired")

    def evict(self, key: bytes) -> None:
        """Deletes a key because memory is full: event `evicted`."""
        self._vanish(key, "evicted")

    def _vanish(self, key: bytes, event: str) -> None:
        """Deletes a key for no command's sake, replicated as DEL."""
        engine = self.engine
        value = self.data[key]
        old = snapshot(value) if self.observed else None
        self._remove(key)
        engine.lazyfree.value(value)
        engine.propagate(self, [b"DEL", key])
        if self.observed:
            engine.uncaused = True
            self.announce(key, event, None, old)
            engine.uncaused = False

    def remove_overdue_fields(self, key: bytes, value: Hash, fields: list[bytes]) -> None:
        """Deletes fields whose time has come, and the hash with its last one: events `hexpired` and `del`,
        replicated as HDEL, caused by no command."""
        engine = self.engine
        gone = [part for field in fields for part in (field, value.pop(field))]
        if value.index is not None:
            for field in fields:
                value.index.discard(field)
        if not value:
            self._remove(key)
        engine.stats.expired_fields += len(fields)
        engine.propagate(self, [b"HDEL", key, *fields])
        if self.observed:
            engine.uncaused = True
            self.announce(key, "hexpired", None, ("hash", gone))
            if not value:
                self.announce(key, "del", None, None)
            engine.uncaused = False

    def clear(self) -> int:
        """Removes every key (FLUSHDB): one event for the whole database. Returns how many there were."""
        count = len(self.data)
        for key in [key for key in chain(self.watched, self.blocked) if key in self.data]:
            self._touch(key)
        containers: list[Any] = [self.data, self.expires, self.timed_hashes]
        if self.keys_index is not None:
            containers += self.keys_index.parts()
        if self.accessed is not None:
            containers.append(self.accessed)
            self.accessed = {}
        self.data, self.expires, self.timed_hashes, self.keys_index = {}, {}, set(), None
        self.engine.lazyfree.add(count, containers)
        self.engine.dirty += count
        self.engine.capture(self, None, "flushdb", None, None, 0)
        return count

    def compact(self) -> bool:
        """Memory is full: gives back the room of tables most of whose entries have gone, which dicts keep. Returns
        whether there was any."""
        found = False
        if _sparse(self.data):
            self.data, found = dict(self.data), True
            if self.keys_index is not None:
                self.keys_index.moved(self.data)
        if _sparse(self.expires):
            self.expires, found = dict(self.expires), True
        if self.accessed is not None and _sparse(self.accessed):
            self.accessed, found = dict(self.accessed), True
        return found

    # -- telling ---------------------------------------------------------------------------------------------

    def emit(self, key: bytes, event: str, new: Written = None, old: Written = None) -> None:
        """Announces a change that was made in place."""
        self.engine.dirty += 1
        if self._heard(key, event):
            self.announce(key, event, new, old)

    def mention(self, key: bytes, event: str) -> None:
        """Announces a change of what is kept beside a stream's entries: as in Redis, who watches the key, or caches it,
        is not told."""
        engine = self.engine
        if engine.audit is not None:
            engine.audit.committed(self, key)
        engine.dirty += 1
        if self._heard(key, event):
            self._rouse(key)
            if engine.notify_flags:
                engine.notify(self, key, event)
            if engine.interest is not None:
                engine.capture(self, key, event, None, None, self.expires.get(key, 0))

    def _heard(self, key: bytes, event: str) -> bool:
        """Whether anyone wants to know. Where there are only webhooks most writes concern none of them, which is
        found out before anything is collected."""
        if not self.observed:
            return False
        interest = self.engine.interest
        return not self.hooked or interest is None or bool(interest.match(self.index, event, key))

    def announce(self, key: bytes, event: str, new: Written, old: Written, expire_at: int = -1) -> None:
        """Tells everyone who listens. Only called while `observed`."""
        engine = self.engine
        if not self.hooked:  # otherwise only webhooks do
            if key in self.watched or key in self.blocked:
                self._touch(key)
            if engine.tracking is not None:
                engine.tracking.invalidate(key)
            if engine.notify_flags:
                engine.notify(self, key, event)
        if engine.interest is not None:
            engine.capture(self, key, event, new, old, self.expires.get(key, 0) if expire_at < 0 else expire_at)

    def _touch(self, key: bytes) -> None:
        for session in self.watched.get(key, ()):
            session.watch_broken = True  # EXEC will refuse
        self._rouse(key)

    def _rouse(self, key: bytes) -> None:
        """Those who wait for something at the key look again."""
        if key in self.blocked:
            self.engine.ready[(self.index, key)] = None
            self.engine.unsettled = True

    def observe(self) -> None:
        """Recomputes `observed`; called whenever a listener comes or goes."""
        engine = self.engine
        others = bool(self.watched or self.blocked or engine.notify_flags or engine.tracking is not None)
        self.hooked = engine.interest is not None and not others
        self.observed = self.hooked or others

    # -- random access ---------------------------------------------------------------------------------------

    def index_keys(self) -> Index:
        if self.keys_index is None:
            self.keys_index = Index(self.data)
        return self.keys_index


def _sparse(table: Mapping[bytes, Any]) -> bool:
    """Whether a table has three times the room that its entries need, or more."""
    return getsizeof(table) > 4096 + 160 * len(table)


def _as_string(value: Value, kind: type) -> Any:
    """A copy of a string as the other of the two types that strings have. Raises WRONGTYPE."""
    if (kind is bytes and type(value) is Raw) or (kind is Raw and type(value) is bytes):
        return kind(value)
    raise ReplyError(WRONGTYPE)


def snapshot(value: Value | None) -> Written:
    """What webhooks show of a value that is about to go: all of it, or a stub when it is a large
    collection."""
    if value is None or type(value) is bytes:
        return value
    if type(value) is Raw:
        return bytes(value)
    name, size = TYPE_NAMES[type(value)], len(value)
    if size > SNAPSHOT_MAX or type(value) is Stream:
        return ("stub", name, size)
    if type(value) is Hash:
        return ("hash", list(chain.from_iterable(value.items())))
    if type(value) is ZSet:
        return ("zset", list(chain.from_iterable(islice(value.items(), SNAPSHOT_MAX))))
    return (name, list(value))


def stub(value: Value | None) -> Written:
    """Type and length of a collection that is about to grow, None if it does not exist."""
    return None if value is None else ("stub", TYPE_NAMES[type(value)], len(value))
