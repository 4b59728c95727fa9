"""What a process lends its engine: facts for INFO, and the few acts that reach beyond the keyspace.

`app` fills it in; an engine alone (a test) has these harmless defaults.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ferrite_hooks.errors import ReplyError
from ferrite_hooks.version import build


def _refuse(*_: Any) -> Any:
    raise ReplyError("ERR this server has no disk to do that on")


def _agree(values: dict[str, Any]) -> None:
    return None


class Host:
    __slots__ = (
        "background_save", "build", "check_settings", "compact", "config_file", "connections_received", "fork_usec",
        "forks", "input_bytes", "journal", "last_save", "output_bytes", "persistence", "port",
        "reads", "rejected_connections", "reload", "reload_journal", "rewrite_config", "run_id", "save",
        "settings_changed", "shrink_clients", "shutdown", "tls_port", "writes",
    )  # fmt: skip

    def __init__(self) -> None:
        self.run_id = "0" * 40
        self.port = self.tls_port = 0
        self.config_file = ""
        self.build = build()
        self.connections_received = self.rejected_connections = self.input_bytes = self.output_bytes = 0
        self.reads = self.writes = 0  # chunks that came from clients, and went to them
        self.shrink_clients: Callable[[], int] = int  # obeys maxmemory-clients; returns the bytes that will be free
        # INFO's persistence section, as (name, value) pairs
        self.persistence: Callable[[], list[tuple[str, Any]]] = list
        self.last_save = 0  # unix seconds
        self.save: Callable[[], None] = _refuse
        self.background_save: Callable[[bool], str] = _refuse  # BGSAVE [SCHEDULE]: returns what to say
        self.compact: Callable[[], str] = _refuse  # BGREWRITEAOF: returns what to say
        self.forks = self.fork_usec = 0  # how many, and how long the last one took
        # DEBUG RELOAD: save (if the first is True), empty (the second), load what was saved; add it to what is there
        # (the third)
        self.reload: Callable[[bool, bool, bool], None] = _refuse
        self.reload_journal: Callable[[], None] = _refuse  # DEBUG LOADAOF
        # SHUTDOWN: True to save first, False not to, None as configured. Raises ReplyError when saving fails
        self.shutdown: Callable[[bool | None], None] = _refuse
        # CONFIG SET: the first may refuse, the second is told
        self.check_settings: Callable[[dict[str, Any]], None] = _agree
        self.settings_changed: Callable[[dict[str, Any]], None] = _agree
        self.rewrite_config: Callable[[], None] = _refuse
        self.journal: Any = None
