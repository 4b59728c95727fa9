"""The parameters of CONFIG GET and CONFIG SET, under Redis's names.

Most are keys of our own configuration (`config_keys.Key.redis` says which); `webhooks.*` and `journal.*` keys
that Redis has no name for go by their full names. The rows below exist only in Redis, because clients and
tools set them. A parameter's value lives in `Engine.settings`; what the hot path needs is copied to an engine
attribute by APPLY.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ferrite_hooks.config import KEYS, REDIS_NAMES
from ferrite_hooks.config_keys import Key, Value, output_buffer_limits, parse_size
from ferrite_hooks.engine.latency import OFF
from ferrite_hooks.engine.pubsub import notify_flags, notify_text

if TYPE_CHECKING:
    from ferrite_hooks.engine.engine import Engine


_LEAST_FOR_CLIENTS = 128 << 10  # with less nobody could say that it was a mistake


def _percentiles_error(text: str) -> str:
    try:
        inside = all(0 <= float(word) <= 100 for word in text.split())
    except ValueError:
        return "Invalid latency-tracking-info-percentiles parameters"
    return "" if inside else "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"


def _row(name: str, default: Value, help: str, **facts: Any) -> Key:
    return Key(name, default, help, redis=name, live=True, **facts)


_REDIS_ONLY = (
    _row("list-compress-depth", 0, "Accepted; lists are not compressed", low=0),
    _row("set-max-listpack-entries", 128, "Larger sets are hashtable", low=0),
    _row("set-max-listpack-value", 64, "Sets with longer members are hashtable", low=0),
    _row("lazyfree-lazy-user-del", False, "Accepted; large values are always freed bit by bit"),
    _row("lazyfree-lazy-user-flush", False, "Accepted; large values are always freed bit by bit"),
    _row("lazyfree-lazy-server-del", False, "Accepted; large values are always freed bit by bit"),
    _row("lazyfree-lazy-expire", False, "Accepted; large values are always freed bit by bit"),
    _row("lazyfree-lazy-eviction", False, "Accepted; large values are always freed bit by bit"),
    _row("activedefrag", False, "Accepted; Python's allocator does not defragment"),
    _row("active-expire-effort", 1, "Accepted; expiry follows a heap and needs no effort", low=1, high=10),
    _row("hz", 10, "Accepted; timers are exact", low=1, high=500),
    _row("dynamic-hz", True, "Accepted; timers are exact"),
    _row("acllog-max-len", 128, "Entries that ACL LOG keeps", low=0),
    _row("tracking-table-max-keys", 1_000_000, "Most keys that client-side caching remembers", low=0),
    _row("latency-tracking", True, "Whether INFO latencystats is kept"),
    _row("latency-tracking-info-percentiles", "50 99 99.9", "Percentiles of INFO latencystats",
         check=_percentiles_error),
    _row("lfu-log-factor", 10, "How slowly the access counter grows", low=0),
    _row("lfu-decay-time", 1, "Minutes after which the access counter is halved", low=0),
    _row("close-on-replica-write", True, "Accepted; there are no replicas"),
    _row("replica-serve-stale-data", True, "Accepted; there are no replicas"),
    _row("replica-read-only", True, "Accepted; there are no replicas"),
    _row("min-replicas-to-write", 0, "Any but 0 refuses all writes, for there are no replicas", low=0),
    _row("min-replicas-max-lag", 10, "0 = min-replicas-to-write is not obeyed", low=0),
    _row("repl-backlog-size", 1 << 20, "Accepted; there are no replicas", unit="bytes", low=1),
    _row("repl-diskless-sync", True, "Accepted; there are no replicas"),
    _row("repl-diskless-sync-delay", 5, "Accepted; there are no replicas", low=0),
    _row("repl-diskless-sync-max-replicas", 0, "Accepted; there are no replicas", low=0),
    _row("repl-diskless-load", "disabled", "Accepted", choices=("disabled", "on-empty-db", "swapdb")),
    _row("repl-ping-replica-period", 10, "Accepted; there are no replicas", low=1),
    _row("repl-timeout", 60, "Accepted; there are no replicas", low=1),
    _row("repl-backlog-ttl", 3600, "Accepted; there are no replicas", low=0),
    _row("repl-disable-tcp-nodelay", False, "Accepted; there are no replicas"),
    _row("replica-priority", 100, "Accepted; there are no replicas", low=0),
    _row("replica-announced", True, "Accepted; there are no replicas"),
    _row("replica-ignore-maxmemory", True, "Accepted; there are no replicas"),
    _row("replica-ignore-disk-write-errors", False, "Accepted; there are no replicas"),
    _row("replica-lazy-flush", False, "Accepted; there are no replicas"),
    _row("masterauth", "", "Accepted; this server is no replica", secret=True),
    _row("masteruser", "", "Accepted; this server is no replica"),
    Key("replicaof", "", "This server is no replica", redis="replicaof"),
    Key("daemonize", False, "A supervisor's business", redis="daemonize"),
    _row("rdbcompression", True, "Accepted; snapshots are not compressed"),
    _row("rdb-del-sync-files", False, "Accepted; there are no replicas"),
    _row("rdb-save-incremental-fsync", True, "Accepted"),
    _row("rdb-key-save-delay", 0, "Accepted"),
    _row("key-load-delay", 0, "Accepted"),
    _row("activerehashing", True, "Accepted; Python's dictionaries rehash at once"),
    _row("jemalloc-bg-thread", True, "Accepted; there is no jemalloc"),
    _row("stop-writes-on-bgsave-error", True, "Accepted; a journal that cannot be written stops writes"),
    _row("aof-use-rdb-preamble", True, "Accepted; snapshots are RDB files"),
    _row("no-appendfsync-on-rewrite", False, "Accepted; fsync is never left out"),
    _row("rdbchecksum", True, "Accepted; snapshots always carry a checksum"),
    _row("sanitize-dump-payload", "yes", "Payloads are always checked", choices=("yes", "no", "clients")),
    _row("propagation-error-behavior", "ignore", "Accepted", choices=("ignore", "panic", "panic-on-replicas")),
    _row("oom-score-adj", "no", "Accepted", choices=("yes", "no", "relative", "absolute")),
    _row("shutdown-timeout", 10, "Accepted; see webhooks.delivery.shutdown_ms", low=0),
    _row("cluster-enabled", False, "A stand-alone server"),
)

HIDDEN = frozenset(["rdb-key-save-delay", "key-load-delay"])  # of Redis's own tests: no pattern shows them

# Redis's older names for the same parameter
ALIASES = {
    "hash-max-ziplist-entries": "hash-max-listpack-entries",
    "hash-max-ziplist-value": "hash-max-listpack-value",
    "zset-max-ziplist-entries": "zset-max-listpack-entries",
    "zset-max-ziplist-value": "zset-max-listpack-value",
    "list-max-ziplist-size": "list-max-listpack-size",
    "lua-time-limit": "busy-reply-threshold",
    "slave-serve-stale-data": "replica-serve-stale-data",
    "slave-read-only": "replica-read-only",
    "slave-priority": "replica-priority",
    "slave-lazy-flush": "replica-lazy-flush",
    "slave-ignore-maxmemory": "replica-ignore-maxmemory",
    "slaveof": "replicaof",
    "repl-ping-slave-period": "repl-ping-replica-period",
    "min-slaves-to-write": "min-replicas-to-write",
    "min-slaves-max-lag": "min-replicas-max-lag",
}
_OURS = {key.name: key for key in KEYS.values() if not key.redis and not key.name.startswith("server.")}
SETTINGS: dict[str, Key] = {**REDIS_NAMES, **{key.name: key for key in _REDIS_ONLY}, **_OURS}


def initial(values: Mapping[str, Value] | None = None) -> dict[str, Any]:
    """All settings with their defaults, or with the configuration's `values` by full name."""
    given = values or {}
    return {name: given.get(key.name, key.default) for name, key in SETTINGS.items()}


def _slowlog(engine: Engine, value: int) -> None:
    engine.slow_ns = value * 1000 if value >= 0 else 1 << 62
    engine.refresh()


def _password(engine: Engine, value: str) -> None:
    engine.acl.require_password(value)


def _notify(engine: Engine, value: str) -> None:
    engine.notify_flags = notify_flags(value)
    engine.settings["notify-keyspace-events"] = notify_text(engine.notify_flags)
    engine.observe_all()


def _latency(engine: Engine, value: int) -> None:
    engine.latency.threshold_ns = value * 1_000_000 or OFF
    engine.refresh()


def _memory(engine: Engine, value: object) -> None:
    engine.eviction.configure()


def _output_limits(engine: Engine, value: str) -> None:
    """Classes that `value` does not name keep their limits."""
    limits = engine.host.output_limits
    limits.update(output_buffer_limits(value))
    shown = [f"{'slave' if kind == 'replica' else kind} {hard} {soft} {seconds}" for kind, (hard, soft, seconds)
             in limits.items()]  # fmt: skip
    engine.settings["client-output-buffer-limit"] = " ".join(shown)


def _clients_limit(engine: Engine, value: str) -> None:
    if not value.endswith("%"):
        engine.settings["maxmemory-clients"] = str(parse_size(value))


def clients_limit(engine: Engine) -> int:
    """Bytes that the buffers of all clients may take, 0 = any number."""
    value: str = engine.settings["maxmemory-clients"]
    limit = engine.settings["maxmemory"] * int(value[:-1]) // 100 if value.endswith("%") else int(value)
    return max(limit, _LEAST_FOR_CLIENTS) if limit else 0


def _percentiles(engine: Engine, value: str) -> None:
    shown = [f"{float(word):.6f}".rstrip("0").rstrip(".") for word in value.split()]
    engine.settings["latency-tracking-info-percentiles"] = " ".join(shown)


def _replicas(engine: Engine, _: int) -> None:
    engine.wants_replicas = bool(engine.settings["min-replicas-to-write"] and engine.settings["min-replicas-max-lag"])
    engine.refresh()


# what a new value means to a running engine; families add their own rows
APPLY: dict[str, Callable[[Engine, Any], None]] = {
    "client-output-buffer-limit": _output_limits,
    "requirepass": _password,
    "latency-monitor-threshold": _latency,
    "latency-tracking-info-percentiles": _percentiles,
    "maxmemory": _memory,
    "maxmemory-clients": _clients_limit,
    "maxmemory-policy": _memory,
    "slowlog-log-slower-than": _slowlog,
    "notify-keyspace-events": _notify,
    "min-replicas-to-write": _replicas,
    "min-replicas-max-lag": _replicas,
}


def change(engine: Engine, name: str, value: Any) -> None:
    """Gives a setting a checked value and lets it take effect."""
    engine.settings[name] = value
    apply = APPLY.get(name)
    if apply is not None:
        apply(engine, value)
