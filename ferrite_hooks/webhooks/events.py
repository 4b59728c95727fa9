"""The names of events: what Redis calls a change, what a webhook's EVENTS may ask for, and how the two meet.

Redis names every change by its keyspace notification ("incrby"). A webhook may ask for that name, for a
wider one that several notifications count as (SET: any write of a string), for a class (@string), for
everything (*), or for an application's own dotted events ("user.created", "user.*"). Names are read in any
case; where a wide name and a notification are spelled alike the wide one is meant: EXPIRE is "the key
expired", and setting a time to live is TTL. `webhook.*`, our own events, must be asked for by name: were they
part of `*`, two failing webhooks could go on telling each other about their failures for ever.
"""

from __future__ import annotations

import re
from functools import lru_cache

from ferrite_hooks import glob

_NOTIFICATIONS = {
    "string": "set setrange incrby incrbyfloat append setbit pfadd",
    "list": "lpush rpush lpop rpop linsert lset lrem ltrim sortstore",
    "hash": "hset hincrby hincrbyfloat hdel hexpire hpersist hexpired",
    "set": "sadd srem spop sinterstore sunionstore sdiffstore",
    "zset": "zadd zincr zrem zremrangebyscore zremrangebyrank zremrangebylex zpopmin zpopmax zdiffstore"
    " zinterstore zunionstore zrangestore geosearchstore georadiusstore",
    "stream": "xadd xdel xtrim xsetid xgroup-create xgroup-createconsumer xgroup-delconsumer xgroup-destroy"
    " xgroup-setid",
    # Redis files "expired" and "evicted" under classes of their own and has no notification for a flush or swap;
    # to a webhook they are things that happen to keys of any type.
    # "rename_to" is not here: a rename is one event, of the old name.
    "generic": "del expire persist rename_from restore copy_to move_from move_to expired evicted flushdb"
    " swapdb",
}

# Notification -> its class. No webhook hears of others ("new" and "keymiss" change nothing).
CLASS_OF: dict[str, str] = {name: cls for cls, names in _NOTIFICATIONS.items() for name in names.split()}

# Wide name -> the notifications that count as it. A store command (ZUNIONSTORE, SORT … STORE) sets elements
# and so counts as adding them; metadata.notification tells it from an addition to what was there.
WIDE: dict[str, frozenset[str]] = {
    "SET": frozenset(_NOTIFICATIONS["string"].split()),
    "DEL": frozenset({"del"}),
    "EXPIRE": frozenset({"expired"}),
    "TTL": frozenset({"expire", "persist"}),
    "RENAME": frozenset({"rename_from"}),
    "LPUSH": frozenset({"lpush"}),
    "RPUSH": frozenset({"rpush", "sortstore"}),
    "HSET": frozenset({"hset", "hincrby", "hincrbyfloat"}),
    "SADD": frozenset({"sadd", "sinterstore", "sunionstore", "sdiffstore"}),
    "ZADD": frozenset(
        {"zadd", "zincr", "zdiffstore", "zinterstore", "zunionstore", "zrangestore"}
        | {"geosearchstore", "georadiusstore"}
    ),
    "XADD": frozenset({"xadd"}),
    "EVICT": frozenset({"evicted"}),
    "FLUSH": frozenset({"flushdb"}),
}

ALIASES = {
    "EXPIRED": "EXPIRE", "EVICTED": "EVICT", "FLUSHDB": "FLUSH", "FLUSHALL": "FLUSH",
    "RENAME_FROM": "RENAME", "RENAME_TO": "RENAME",
}  # fmt: skip

_WIDE_NAME = {notification: wide for wide, narrow in WIDE.items() for notification in narrow}

# What one selector covers: wide names, classes, and each remaining notification by its own name.
_COVERS: dict[str, frozenset[str]] = {
    "*": frozenset(CLASS_OF),
    **{f"@{cls}": frozenset(names.split()) for cls, names in _NOTIFICATIONS.items()},
    **{name.upper(): frozenset({name}) for name in CLASS_OF},
    **WIDE,
}

# Our own events, never emitted by applications.
SYSTEM_EVENTS = (
    "webhook.created", "webhook.updated", "webhook.deleted", "webhook.disabled", "webhook.enabled",
    "webhook.circuit.opened", "webhook.circuit.closed", "webhook.delivery.exhausted",
)  # fmt: skip

KNOWN: tuple[str, ...] = (
    *WIDE,
    *sorted(n.upper() for n in CLASS_OF if n.upper() not in WIDE and n.upper() not in ALIASES),
    *(f"@{cls}" for cls in _NOTIFICATIONS),
    "*",
)

MAX_NAME = 128  # characters of an application event's name
_DOTTED = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+")
_DOTTED_GLOB = re.compile(r"[A-Za-z0-9_*-]+(\.[A-Za-z0-9_*-]+)+")


def wide_name(event: str) -> str:
    """The name a payload carries: SET for "incrby", LPOP for "lpop"; an application event is itself."""
    return _WIDE_NAME.get(event) or (event.upper() if event in CLASS_OF else event)


def parse_events(tokens: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """The canonical form of an EVENTS list: capitals, @classes in lower case, application events as they
    are; without repetitions, in the order given.

    Raises ValueError for an empty list or a name nothing is known about, with all that is known.
    """
    if not tokens:
        raise ValueError("EVENTS needs at least one event")
    return tuple(dict.fromkeys(map(_canonical, tokens)))


def _canonical(token: str) -> str:
    name = token.lower() if token.startswith("@") else token.upper()
    name = ALIASES.get(name, name)
    if name in _COVERS:
        return name
    if len(token) <= MAX_NAME and _DOTTED_GLOB.fullmatch(token):
        return token
    if "," in token:
        raise ValueError(f"unknown event {token[:MAX_NAME]!a}; events stand apart, with spaces between them")
    raise ValueError(
        f"unknown event {token[:MAX_NAME]!a}; known are {' '.join(KNOWN)},"
        " and application events such as user.created or user.*"
    )


def check_application_event(name: str) -> None:
    """Raises ValueError unless an application may emit an event of this name."""
    if len(name) > MAX_NAME or not _DOTTED.fullmatch(name):
        raise ValueError(
            f"bad event name {name[:MAX_NAME]!a}: expected dotted words such as user.created"
            f" (letters, digits, _ and -), at most {MAX_NAME} characters"
        )
    if name.startswith("webhook."):
        raise ValueError("event names that begin with 'webhook.' are the server's own")


@lru_cache(maxsize=4096)
def notifications(events: tuple[str, ...]) -> frozenset[str]:
    """Every keyspace notification that `events` (from parse_events) select: what a matcher indexes by."""
    return frozenset().union(*(_COVERS.get(event, ()) for event in events))


@lru_cache(maxsize=65536)
def selects(events: tuple[str, ...], event: str) -> bool:
    """Whether a webhook with these `events` (from parse_events) wants `event`: a notification name, or an
    application event."""
    if "." not in event:
        return event in notifications(events)
    everything = "*" in events and not event.startswith("webhook.")
    return everything or any("." in name and glob.matches(name.encode(), event.encode()) for name in events)
