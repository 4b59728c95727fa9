"""Channels, patterns and keyspace notifications.

A message is encoded once for each protocol version, however many receive it. Keyspace notifications are
ordinary messages; which of them are published is decided by the class of their event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ferrite_hooks import glob
from ferrite_hooks.resp.reply import Encoded, Push, Reply

if TYPE_CHECKING:
    from ferrite_hooks.engine.session import Session

Subscribers = dict["Session", None]  # in the order they came

_CLASSES = {
    "g": "del expire persist rename_from rename_to move_from move_to copy_to restore touch",
    "$": "set append incrby incrbyfloat setrange setbit pfadd",
    "l": "lpush rpush lpop rpop linsert lset lrem ltrim sortstore",
    "s": "sadd srem spop sinterstore sunionstore sdiffstore",
    "h": "hset hdel hincrby hincrbyfloat hexpire hpersist hexpired",
    "z": "zadd zincr zrem zremrangebyscore zremrangebyrank zremrangebylex zpopmin zpopmax zdiffstore zinterstore"
         " zunionstore zrangestore geosearchstore georadiusstore",
    "x": "expired",
    "e": "evicted",
    "t": "xadd xdel xtrim xsetid xgroup-create xgroup-createconsumer xgroup-delconsumer xgroup-destroy xgroup-setid"
         " xclaim xautoclaim",
    "m": "keymiss",
    "n": "new",
}  # fmt: skip
CLASS_OF = {event: letter for letter, events in _CLASSES.items() for event in events.split()}
_ALL = "g$lshzxetd"  # what the letter A stands for
_ORDER = _ALL + "nKEm"


def notify_flags(text: str) -> frozenset[str]:
    """The letters of `notify-keyspace-events`, A spelled out. Raises ValueError for a letter that is none."""
    flags = set(text)
    if "A" in flags:
        flags = (flags - {"A"}) | set(_ALL)
    if not flags <= set(_ORDER):
        raise ValueError(f"unknown notification class in {text!r}")
    return frozenset(flags)


def notify_text(flags: frozenset[str]) -> str:
    """The letters as CONFIG GET shows them."""
    if set(_ALL) <= flags:  # Redis does not show n beside A
        return "A" + "".join([letter for letter in "KEm" if letter in flags])
    return "".join([letter for letter in _ORDER if letter in flags])


class PubSub:
    """Who listens to what. Pattern subscriptions keep their compiled pattern."""

    __slots__ = ("_matchers", "channels", "patterns", "shard_channels")

    def __init__(self) -> None:
        self.channels: dict[bytes, Subscribers] = {}
        self.patterns: dict[bytes, Subscribers] = {}
        self.shard_channels: dict[bytes, Subscribers] = {}
        self._matchers: dict[bytes, glob.Predicate] = {}

    # -- subscribing ---------------------------------------------------------------------------------------------

    def subscribe(self, s: Session, channel: bytes) -> None:
        _add(self.channels, s.channels, s, channel)

    def psubscribe(self, s: Session, pattern: bytes) -> None:
        _add(self.patterns, s.patterns, s, pattern)
        if pattern not in self._matchers:
            self._matchers[pattern] = glob.compile(pattern)

    def ssubscribe(self, s: Session, channel: bytes) -> None:
        _add(self.shard_channels, s.shard_channels, s, channel)

    def unsubscribe(self, s: Session, channel: bytes) -> None:
        _remove(self.channels, s.channels, s, channel)

    def punsubscribe(self, s: Session, pattern: bytes) -> None:
        _remove(self.patterns, s.patterns, s, pattern)
        if pattern not in self.patterns:
            self._matchers.pop(pattern, None)

    def sunsubscribe(self, s: Session, channel: bytes) -> None:
        _remove(self.shard_channels, s.shard_channels, s, channel)

    def forget(self, s: Session) -> None:
        """Removes every subscription of a client."""
        for channel in list(s.channels):
            self.unsubscribe(s, channel)
        for pattern in list(s.patterns):
            self.punsubscribe(s, pattern)
        for channel in list(s.shard_channels):
            self.sunsubscribe(s, channel)

    # -- publishing ----------------------------------------------------------------------------------------------

    def publish(self, channel: bytes, message: bytes) -> int:
        """Returns how many subscriptions the message went to."""
        count = 0
        subscribers = self.channels.get(channel)
        if subscribers:
            count = _deliver(subscribers, Push([b"message", channel, message]))
        for pattern, matches in self._matchers.items():
            if matches(channel):
                count += _deliver(self.patterns[pattern], Push([b"pmessage", pattern, channel, message]))
        return count

    def spublish(self, channel: bytes, message: bytes) -> int:
        subscribers = self.shard_channels.get(channel)
        return _deliver(subscribers, Push([b"smessage", channel, message])) if subscribers else 0

    def notify(self, flags: frozenset[str], db: int, key: bytes, event: str) -> None:
        """Publishes `__keyspace@db__` and `__keyevent@db__` messages for an event whose class is in `flags`."""
        if CLASS_OF.get(event, "d") not in flags or not (self.channels or self.patterns):
            return
        name = event.encode()
        if "K" in flags:
            self.publish(b"__keyspace@%d__:%b" % (db, key), name)
        if "E" in flags:
            self.publish(b"__keyevent@%d__:%b" % (db, name), key)


def _add(table: dict[bytes, Subscribers], mine: dict[bytes, None], s: Session, name: bytes) -> None:
    mine[name] = None
    table.setdefault(name, {})[s] = None
    s.refresh()


def _remove(table: dict[bytes, Subscribers], mine: dict[bytes, None], s: Session, name: bytes) -> None:
    if name in mine:
        del mine[name]
        subscribers = table[name]
        del subscribers[s]
        if not subscribers:
            del table[name]
        s.refresh()


def _deliver(subscribers: Subscribers, message: Push) -> int:
    wires: dict[int, Reply] = {}
    for s in subscribers:
        wire = wires.get(s.resp)
        if wire is None:
            out: list[bytes] = []
            s.encode(out, message)
            wire = wires[s.resp] = Encoded(b"".join(out))
        s.push(wire)
    return len(subscribers)
