"""INFO: one function per section, each yielding (field, value) with Redis's names.

The fields are those that redis-cli, redis_exporter and client libraries read; what Redis has and this server
has not (replicas, an allocator of its own) is there with the value that a stand-alone server shows.
"""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from ferrite_hooks.engine.command import Argv, all_commands, command
from ferrite_hooks.engine.engine import Engine
from ferrite_hooks.engine.latency import percentile
from ferrite_hooks.engine.libraries import libraries
from ferrite_hooks.engine.memory import resident_bytes
from ferrite_hooks.engine.overhead import Overhead, overhead
from ferrite_hooks.engine.scripts import Scripts
from ferrite_hooks.engine.session import Session
from ferrite_hooks.engine.stats import total_calls
from ferrite_hooks.resp.reply import Reply, Verbatim
from ferrite_hooks.version import REDIS_VERSION, __version__

Fields = Iterator[tuple[str, Any]]


def human(size: float) -> str:
    """Bytes as Redis abbreviates them: 1.50M."""
    if size < 1024:
        return f"{int(size)}B"
    for unit in "KMGTP":
        size /= 1024
        if size < 1024 or unit == "P":
            return f"{size:.2f}{unit}"
    raise AssertionError


def _server(engine: Engine) -> Fields:
    host = engine.host
    uptime = (engine.clock.now - engine.started_at) // 1000
    yield "redis_version", REDIS_VERSION
    yield "redis_git_sha1", "00000000"
    yield "redis_git_dirty", 0
    yield "redis_build_id", "0"
    yield "redis_mode", "standalone"
    yield "ferrite_hooks_version", __version__
    yield "ferrite_hooks_build", host.build
    yield "os", f"{platform.system()} {platform.release()} {platform.machine()}"
    yield "arch_bits", 64 if sys.maxsize > 2**32 else 32
    yield "monotonic_clock", "POSIX clock_gettime"
    yield "multiplexing_api", "epoll" if sys.platform == "linux" else "kqueue"
    yield "python_version", platform.python_version()
    yield "process_id", os.getpid()
    yield "process_supervised", "no"
    yield "run_id", host.run_id
    yield "tcp_port", host.port
    yield "server_time_usec", engine.clock.tick() * 1000
    yield "uptime_in_seconds", uptime
    yield "uptime_in_days", uptime // 86400
    yield "hz", engine.settings["hz"]
    yield "configured_hz", engine.settings["hz"]
    yield "lru_clock", engine.clock.now // 1000 & 0xFFFFFF
    yield "executable", sys.executable
    yield "config_file", host.config_file
    yield "io_threads_active", 0


def _clients(engine: Engine) -> Fields:
    sessions = engine.sessions.values()
    yield "connected_clients", len(engine.sessions)
    yield "cluster_connections", 0
    yield "maxclients", engine.settings["maxclients"]
    buffers = [s.transport_info() for s in sessions]
    yield "client_recent_max_input_buffer", max((sizes.get("qbuf", 0) for sizes in buffers), default=0)
    yield "client_recent_max_output_buffer", max((sizes.get("obuf", 0) for sizes in buffers), default=0)
    yield "blocked_clients", engine.blocked_clients
    yield "tracking_clients", sum(s.tracking is not None for s in sessions)
    yield "clients_in_timeout_table", sum(s.blocked is not None and s.blocked.deadline > 0 for s in sessions)
    blocking = [waiting for db in engine.databases for waiting in db.blocked.values()]
    yield "total_blocking_keys", len(blocking)
    # keys whose disappearance ends a wait too
    strict = sum(any(s.blocked is not None and s.blocked.strict for s in waiting) for waiting in blocking)
    yield "total_blocking_keys_on_nokey", strict


def _memory(engine: Engine) -> Fields:
    meter, limit = engine.memory, engine.settings["maxmemory"]
    used, resident, startup, peak = meter.measure(), resident_bytes(), meter.startup, meter.peak
    taken = overhead(engine)
    data, grown = max(0, used - taken.total), max(1, used - startup)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name, size in (("used_memory", used), ("used_memory_rss", resident), ("used_memory_peak", peak)):
        yield name, size
        yield f"{name}_human", human(size)
    yield "used_memory_peak_perc", f"{used / peak * 100:.2f}%"
    yield "used_memory_overhead", min(used, taken.total)
    yield "used_memory_startup", startup
    yield "used_memory_dataset", data
    yield "used_memory_dataset_perc", f"{data / grown * 100:.2f}%"
    yield "allocator_allocated", used
    yield "allocator_active", resident
    yield "allocator_resident", resident
    yield "total_system_memory", total
    yield "total_system_memory_human", human(total)
    yield from _scripting_memory(engine, taken)
    yield "maxmemory", limit
    yield "maxmemory_human", human(limit)
    yield "maxmemory_policy", engine.settings["maxmemory-policy"]
    for kind in ("allocator_frag", "allocator_rss", "rss_overhead", "mem_fragmentation"):
        whole = kind in ("allocator_frag", "mem_fragmentation")  # nothing tells its parts apart
        yield f"{kind}_ratio", f"{resident / used if whole else 1:.2f}"
        yield f"{kind}_bytes", resident - used if whole else 0
    yield "mem_not_counted_for_evict", 0
    for name in ("mem_replication_backlog", "mem_total_replication_buffers", "mem_cluster_links", "mem_clients_slaves"):
        yield name, 0  # no replicas, no cluster
    yield "mem_clients_normal", taken.clients
    yield "mem_aof_buffer", 0
    yield "mem_allocator", "python"
    yield "active_defrag_running", 0
    yield "lazyfree_pending_objects", engine.lazyfree.pending
    yield "lazyfreed_objects", engine.lazyfree.freed


def _scripting_memory(engine: Engine, taken: Overhead) -> Fields:
    scripting: Scripts | None = engine.extensions.get("scripting")
    held = libraries(engine)
    used, functions = taken.scripts, taken.functions
    cached = scripting.cache if scripting is not None else {}
    sources = sum(len(script.source) for script in cached.values())
    yield from (
        ("used_memory_vm_eval", used), ("used_memory_lua", used), ("used_memory_scripts_eval", sources),
        ("used_memory_vm_functions", 0), ("used_memory_vm_total", used), ("used_memory_functions", functions),
        ("used_memory_scripts", sources + functions),
    )  # fmt: skip
    yield "used_memory_lua_human", human(used)
    yield "used_memory_vm_total_human", human(used)
    yield "used_memory_scripts_human", human(sources + functions)
    yield "number_of_cached_scripts", len(cached)
    yield "number_of_functions", len(held.functions)
    yield "number_of_libraries", len(held.by_name)


def _persistence(engine: Engine) -> Fields:
    yield "loading", int(engine.loading)
    yield "async_loading", 0
    yield from engine.host.persistence()


def _stats(engine: Engine) -> Fields:
    host, pubsub = engine.host, engine.pubsub
    commands, bytes_in, bytes_out = engine.stats.per_second
    exceeded, exceeded_now = engine.eviction.exceeded_ms
    yield "total_connections_received", host.connections_received
    yield "total_commands_processed", total_calls()
    yield "instantaneous_ops_per_sec", int(commands)
    yield "total_net_input_bytes", host.input_bytes
    yield "total_net_output_bytes", host.output_bytes
    yield "instantaneous_input_kbps", f"{bytes_in / 1024:.2f}"
    yield "instantaneous_output_kbps", f"{bytes_out / 1024:.2f}"
    yield "instantaneous_input_repl_kbps", "0.00"
    yield "instantaneous_output_repl_kbps", "0.00"
    yield "total_net_repl_input_bytes", 0
    yield "total_net_repl_output_bytes", 0
    yield "rejected_connections", host.rejected_connections
    yield "sync_full", 0
    yield "sync_partial_ok", 0
    yield "sync_partial_err", 0
    yield "expired_keys", engine.expired_keys
    yield "expired_subkeys", engine.stats.expired_fields
    yield "expired_stale_perc", "0.00"
    yield "expired_time_cap_reached_count", 0
    yield "evicted_keys", engine.eviction.evicted
    yield "evicted_clients", engine.stats.evicted_clients
    yield "total_eviction_exceeded_time", exceeded
    yield "current_eviction_exceeded_time", exceeded_now
    yield "keyspace_hits", engine.hits
    yield "keyspace_misses", engine.misses
    yield "pubsub_channels", len(pubsub.channels)
    yield "pubsub_patterns", len(pubsub.patterns)
    yield "pubsubshard_channels", len(pubsub.shard_channels)
    yield "latest_fork_usec", host.fork_usec
    yield "total_forks", host.forks
    yield "migrate_cached_sockets", 0
    yield "slave_expires_tracked_keys", 0
    yield "total_active_defrag_time", 0
    yield "current_active_defrag_time", 0
    yield "active_defrag_hits", 0
    yield "active_defrag_misses", 0
    yield "active_defrag_key_hits", 0
    yield "active_defrag_key_misses", 0
    keys, items, prefixes = engine.tracking.totals if engine.tracking is not None else (0, 0, 0)
    yield "tracking_total_keys", keys
    yield "tracking_total_items", items
    yield "tracking_total_prefixes", prefixes
    yield "unexpected_error_replies", 0
    yield "total_error_replies", engine.error_replies
    yield "dump_payload_sanitizations", 0
    yield "total_reads_processed", host.reads
    yield "total_writes_processed", host.writes
    yield "io_threaded_reads_processed", 0
    yield "io_threaded_writes_processed", 0
    yield "reply_buffer_shrinks", 0
    yield "reply_buffer_expands", 0
    denied = engine.acl.denied
    yield "acl_access_denied_auth", denied["auth"]
    yield "acl_access_denied_cmd", denied["command"]
    yield "acl_access_denied_key", denied["key"]
    yield "acl_access_denied_channel", denied["channel"]


def _replication(engine: Engine) -> Fields:
    yield "role", "master"
    yield "connected_slaves", 0
    yield "master_failover_state", "no-failover"
    yield "master_replid", engine.host.run_id
    yield "master_replid2", "0" * 40
    yield "master_repl_offset", 0
    yield "second_repl_offset", -1
    yield "repl_backlog_active", 0
    yield "repl_backlog_size", engine.settings["repl-backlog-size"]
    yield "repl_backlog_first_byte_offset", 0
    yield "repl_backlog_histlen", 0


def _cpu(engine: Engine) -> Fields:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    yield "used_cpu_sys", f"{own.ru_stime:.6f}"
    yield "used_cpu_user", f"{own.ru_utime:.6f}"
    yield "used_cpu_sys_children", f"{children.ru_stime:.6f}"
    yield "used_cpu_user_children", f"{children.ru_utime:.6f}"


def _modules(engine: Engine) -> Fields:
    return iter(())


def _commandstats(engine: Engine) -> Fields:
    for made in all_commands():
        if made.calls or made.rejected:
            microseconds = made.seconds * 1e6
            each = microseconds / made.calls if made.calls else 0.0
            yield f"cmdstat_{made.name}", (
                f"calls={made.calls},usec={microseconds:.0f},usec_per_call={each:.2f},"
                f"rejected_calls={made.rejected},failed_calls={made.failed}"
            )


def _latencystats(engine: Engine) -> Fields:
    if engine.settings["latency-tracking"]:
        wanted = [float(text) for text in engine.settings["latency-tracking-info-percentiles"].split()]
        for made in all_commands():
            if made.calls:
                shown = [f"p{percent:.10g}={percentile(made.histogram(), percent):.3f}" for percent in wanted]
                yield f"latency_percentiles_usec_{made.name}", ",".join(shown)


def _errorstats(engine: Engine) -> Fields:
    for code, count in sorted(engine.errors.items()):
        yield f"errorstat_{code}", f"count={count}"


def _cluster(engine: Engine) -> Fields:
    yield "cluster_enabled", 0


def _keyspace(engine: Engine) -> Fields:
    now = engine.clock.now
    for db in engine.databases:
        if db.data:
            left = [when - now for when in islice(db.expires.values(), 100)]
            average = max(0, sum(left) // len(left)) if left else 0
            yield f"db{db.index}", f"keys={len(db.data)},expires={len(db.expires)},avg_ttl={average}"


SECTIONS: dict[str, Callable[[Engine], Fields]] = {
    "Server": _server,
    "Clients": _clients,
    "Memory": _memory,
    "Persistence": _persistence,
    "Stats": _stats,
    "Replication": _replication,
    "CPU": _cpu,
    "Modules": _modules,
    "Commandstats": _commandstats,
    "Errorstats": _errorstats,
    "Latencystats": _latencystats,
    "Cluster": _cluster,
    "Keyspace": _keyspace,
}
_NOT_DEFAULT = {"Commandstats", "Latencystats"}


def render(engine: Engine, wanted: set[str]) -> str:
    """The text of INFO for lower-case section names, `default`, `all` or `everything`."""
    blocks = []
    for title, section in SECTIONS.items():
        default = title not in _NOT_DEFAULT and (not wanted or "default" in wanted)
        if default or title.lower() in wanted or wanted & {"all", "everything"}:
            lines = [f"{name}:{value}\r\n" for name, value in section(engine)]
            blocks.append(f"# {title}\r\n" + "".join(lines))
    return "\r\n".join(blocks)


@command(
    "INFO [section [section ...]]", "Facts and statistics about the server.",
    group="server", since="1.0.0", flags="loading stale", acl="dangerous",
    tips="nondeterministic_output request_policy:all_shards response_policy:special",
)  # fmt: skip
def info(s: Session, argv: Argv) -> Reply:
    wanted = {arg.decode("utf-8", "replace").lower() for arg in argv[1:]}
    return Verbatim(render(s.engine, wanted).encode())
