"""MEMORY: what values and the process take."""

from __future__ import annotations

from ferrite_hooks.commands.common import help_lines, integer
from ferrite_hooks.engine.command import Argv, command, container
from ferrite_hooks.engine.memory import entry_bytes, resident_bytes
from ferrite_hooks.engine.overhead import overhead
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import SYNTAX, ReplyError
from ferrite_hooks.resp.reply import OK, Pairs, Reply, Verbatim

container("MEMORY", "What values and the process take.", group="server", since="4.0.0")
_ALL_SHARDS = "nondeterministic_output request_policy:all_shards response_policy:special"


@command("MEMORY USAGE key [SAMPLES count]", "Estimated bytes that a key and its value take.",
         group="server", since="4.0.0", flags="readonly", keys="RO @2")  # fmt: skip
def memory_usage(s: Session, argv: Argv) -> Reply:
    samples = 5
    if len(argv) > 3:
        if len(argv) != 5 or argv[3].upper() != b"SAMPLES":
            raise ReplyError(SYNTAX)
        samples = integer(argv[4])
        if samples < 0:
            raise ReplyError(SYNTAX)
    value = s.db.find(argv[2])
    if value is None:
        return None
    return entry_bytes(argv[2], value, samples)


@command("MEMORY STATS", "Figures about the process's memory.",
         group="server", since="4.0.0", tips=_ALL_SHARDS)  # fmt: skip
def memory_stats(s: Session, argv: Argv) -> Reply:
    engine, meter = s.engine, s.engine.memory
    keys = sum(len(db.data) for db in engine.databases)
    taken, used, resident = overhead(engine), meter.measure(), resident_bytes()
    data, grown = max(0, used - taken.total), max(1, used - meter.startup)
    tables: list[Reply] = []
    for index, (main, expires) in taken.tables.items():
        tables += [f"db.{index}", Pairs(["overhead.hashtable.main", main, "overhead.hashtable.expires", expires,
                                         "overhead.hashtable.slot-to-keys", 0])]  # fmt: skip
    return Pairs([
        "peak.allocated", meter.peak, "total.allocated", used, "startup.allocated", meter.startup,
        "replication.backlog", 0, "clients.slaves", 0, "clients.normal", taken.clients, "cluster.links", 0,
        "aof.buffer", 0, "lua.caches", taken.scripts, "functions.caches", taken.functions, *tables,
        "overhead.total", min(used, taken.total), "keys.count", keys, "keys.bytes-per-key", grown // max(1, keys),
        "dataset.bytes", data, "dataset.percentage", data / grown * 100, "peak.percentage", used / meter.peak * 100,
        "allocator.allocated", used, "allocator.active", resident, "allocator.resident", resident,
        "allocator-fragmentation.ratio", resident / used, "allocator-fragmentation.bytes", resident - used,
        "allocator-rss.ratio", 1.0, "allocator-rss.bytes", 0, "rss-overhead.ratio", 1.0, "rss-overhead.bytes", 0,
        "fragmentation", resident / used, "fragmentation.bytes", resident - used,
    ])  # fmt: skip


@command("MEMORY DOCTOR", "What the figures suggest.", group="server", since="4.0.0", tips=_ALL_SHARDS)
def memory_doctor(s: Session, argv: Argv) -> Reply:
    return Verbatim(b"Python manages the memory; MEMORY STATS and the resident set size tell the rest.\n")


@command("MEMORY MALLOC-STATS", "Statistics of the allocator: Python has none to show here.",
         group="server", since="4.0.0", tips=_ALL_SHARDS)  # fmt: skip
def memory_malloc_stats(s: Session, argv: Argv) -> Reply:
    return Verbatim(b"Stats not supported for the current allocator")


@command("MEMORY PURGE", "Gives back what the allocator can spare.",
         group="server", since="4.0.0", tips="request_policy:all_shards response_policy:all_succeeded")  # fmt: skip
def memory_purge(s: Session, argv: Argv) -> Reply:
    return OK


@command("MEMORY HELP", "The subcommands of MEMORY.", group="server", since="4.0.0", flags="loading stale")
def memory_help(s: Session, argv: Argv) -> Reply:
    return help_lines("MEMORY")
