"""The store's metrics, read from the engine's plain counters at each scrape."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ferrite_hooks.engine.command import all_commands
from ferrite_hooks.engine.engine import Engine
from ferrite_hooks.engine.memory import resident_bytes
from ferrite_hooks.version import REDIS_VERSION, __version__


class StoreCollector(Collector):
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        engine = self._engine
        host = engine.host
        build = GaugeMetricFamily(
            "ferrite_build_info", "The running version", labels=["version", "redis_version", "build"]
        )
        build.add_metric([__version__, REDIS_VERSION, host.build], 1)
        yield build
        yield _gauge("ferrite_uptime_seconds", "Time since the start", (engine.clock.now - engine.started_at) / 1000)
        commands = CounterMetricFamily("ferrite_commands", "Commands that ran", labels=["cmd"])
        seconds = CounterMetricFamily("ferrite_commands_duration_seconds", "Time spent in them", labels=["cmd"])
        for made in all_commands():
            if made.calls:
                commands.add_metric([made.name], made.calls)
                seconds.add_metric([made.name], made.seconds)
        yield commands
        yield seconds
        errors = CounterMetricFamily("ferrite_error_replies", "Error replies", labels=["code"])
        for code, count in engine.errors.items():
            errors.add_metric([code], count)
        yield errors
        yield _gauge("ferrite_connected_clients", "Clients", len(engine.sessions))
        yield _gauge("ferrite_blocked_clients", "Clients that wait in a blocking command", engine.blocked_clients)
        yield _counter("ferrite_connections_received", "Connections accepted", host.connections_received)
        yield _counter("ferrite_rejected_connections", "Connections refused", host.rejected_connections)
        yield _counter("ferrite_net_input_bytes", "Bytes read from clients", host.input_bytes)
        yield _counter("ferrite_net_output_bytes", "Bytes written to clients", host.output_bytes)
        yield _gauge("ferrite_memory_used_bytes", "Memory in use by the process", engine.memory.measure())
        yield _gauge("ferrite_memory_resident_bytes", "Resident memory of the process", resident_bytes())
        yield _gauge("ferrite_memory_max_bytes", "maxmemory, 0 = no limit", engine.settings["maxmemory"])
        yield _counter("ferrite_keyspace_hits", "Reads that found their key", engine.hits)
        yield _counter("ferrite_keyspace_misses", "Reads that did not", engine.misses)
        yield _counter("ferrite_expired_keys", "Keys that have expired", engine.expired_keys)
        yield _counter("ferrite_evicted_keys", "Keys that went because memory was full", engine.eviction.evicted)
        keys = GaugeMetricFamily("ferrite_db_keys", "Keys", labels=["db"])
        expiring = GaugeMetricFamily("ferrite_db_keys_expiring", "Keys with a time to live", labels=["db"])
        for db in engine.databases:
            if db.data or db.index == 0:
                keys.add_metric([f"db{db.index}"], len(db.data))
                expiring.add_metric([f"db{db.index}"], len(db.expires))
        yield keys
        yield expiring
        refused = int(bool(engine.write_error))
        yield _gauge("ferrite_journal_write_error", "1 while the journal cannot be written", refused)
        journal = host.journal
        if journal is not None:
            yield _gauge("ferrite_journal_size_bytes", "Bytes in all journal files", journal.size)
            yield _gauge("ferrite_journal_held_bytes", "Bytes in journal files that are only kept for pending events",
                         journal.held_bytes)  # fmt: skip
            yield _counter("ferrite_journal_appends", "Frames appended", journal.appends)
            yield _counter("ferrite_journal_appended_bytes", "Bytes appended", journal.appended_bytes)
            yield _counter("ferrite_journal_fsyncs", "fsyncs", journal.syncs)
            yield _gauge("ferrite_journal_fsync_lag_seconds", "Age of the oldest write that is not on the disk",
                         journal.fsync_lag_ms / 1000)  # fmt: skip


def _gauge(name: str, help: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help, value=value)


def _counter(name: str, help: str, value: float) -> Metric:
    return CounterMetricFamily(name, help, value=value)
