"""What memory is taken by other things than values: for INFO and MEMORY STATS.

Only what can be told at once is counted: the process as it started, the buffers of clients, scripts, and the tables
of the databases. Keys, which have objects of their own, count as data.
"""

from __future__ import annotations

from dataclasses import dataclass
from sys import getsizeof
from typing import TYPE_CHECKING

from ferrite_hooks.engine.client_info import memory
from ferrite_hooks.engine.libraries import libraries

if TYPE_CHECKING:
    from ferrite_hooks.engine.engine import Engine
    from ferrite_hooks.engine.scripts import Scripts


@dataclass(frozen=True, slots=True)
class Overhead:
    """Bytes."""

    startup: int
    clients: int
    scripts: int  # the interpreter, with all that scripts and functions have made in it
    functions: int  # the sources of libraries
    tables: dict[int, tuple[int, int]]  # by database that has keys: of keys, of times to live

    @property
    def total(self) -> int:
        return self.startup + self.clients + self.scripts + self.functions + sum(map(sum, self.tables.values()))


def overhead(engine: Engine) -> Overhead:
    scripting: Scripts | None = engine.extensions.get("scripting")
    return Overhead(
        engine.memory.startup,
        sum([memory(s) for s in engine.sessions.values()]),
        scripting.used() if scripting is not None else 0,
        sum(map(len, libraries(engine).sources())),
        {db.index: (getsizeof(db.data) + getsizeof(db.accessed or {}), getsizeof(db.expires))
         for db in engine.databases if db.data},
    )  # fmt: skip
