"""OBJECT: what a value looks like from inside."""

from __future__ import annotations

import re

from ferrite_hooks.commands.common import help_lines
from ferrite_hooks.engine.access import Access, keep
from ferrite_hooks.engine.command import Argv, command, container
from ferrite_hooks.engine.engine import Engine
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import ReplyError
from ferrite_hooks.resp.reply import Reply
from ferrite_hooks.values.encoding import encoding

_SWITCHING = (
    " Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust."
)
_LFU = "ERR An LFU maxmemory policy is selected, idle time not tracked." + _SWITCHING
_NO_LFU = "ERR An LFU maxmemory policy is not selected, access frequency not tracked." + _SWITCHING

_SMALL_NUMBER = re.compile(rb"0|[1-9][0-9]{0,3}")
_SHARED = 2**31 - 1

container("OBJECT", "What a value looks like from inside.", group="generic", since="2.2.3")


@command(
    "OBJECT ENCODING key", "How Redis would represent the value.",
    group="generic", since="2.2.3", flags="readonly", keys="RO @2", tips="nondeterministic_output",
    complexity="O(1) for most values, O(N) for sorted sets and lists",
)  # fmt: skip
def object_encoding(s: Session, argv: Argv) -> Reply:
    value = s.db.find(argv[2])
    return None if value is None else encoding(value, s.engine.settings)


@command(
    "OBJECT FREQ key", "How often the key is used, on a logarithmic scale; only with an LFU maxmemory policy.",
    group="generic", since="4.0.0", flags="readonly", keys="RO @2", tips="nondeterministic_output",
    complexity="O(1)",
)  # fmt: skip
def object_freq(s: Session, argv: Argv) -> Reply:
    if s.db.find(argv[2]) is None:
        return None
    records = s.engine.access
    if records is None or not records.lfu:
        raise ReplyError(_NO_LFU)
    return records.frequency(s.db, argv[2])


@command(
    "OBJECT IDLETIME key",
    "The seconds since the key was last used, counted from the first time that anyone asks; not with an LFU maxmemory"
    " policy.",
    group="generic", since="2.2.3", flags="readonly", keys="RO @2", tips="nondeterministic_output",
    complexity="O(1)",
)  # fmt: skip
def object_idletime(s: Session, argv: Argv) -> Reply:
    if s.db.find(argv[2]) is None:
        return None
    return idle_records(s.engine).idle_ms(s.db, argv[2]) // 1000


@command(
    "OBJECT REFCOUNT key", "How many share the value: Redis shares small numbers, unless LRU or LFU need to tell them"
    " apart.",
    group="generic", since="2.2.3", flags="readonly", keys="RO @2", tips="nondeterministic_output",
    complexity="O(1)",
)  # fmt: skip
def object_refcount(s: Session, argv: Argv) -> Reply:
    value = s.db.find(argv[2])
    if value is None:
        return None
    settings = s.engine.settings
    shared = not settings["maxmemory"] or settings["maxmemory-policy"].rpartition("-")[2] not in ("lru", "lfu")
    return _SHARED if shared and type(value) is bytes and _SMALL_NUMBER.fullmatch(value) else 1


@command(
    "OBJECT HELP", "Lists the subcommands.",
    group="generic", since="6.2.0", flags="loading stale", complexity="O(1)",
)  # fmt: skip
def object_help(s: Session, argv: Argv) -> Reply:
    return help_lines("OBJECT")


def idle_records(engine: Engine) -> Access:
    """The records of when keys were used; they begin now if nobody has needed them yet. Raises ReplyError."""
    if engine.access is None:
        engine.eviction.asked_idle = True
        keep(engine, "lru")
    records = engine.access
    if records is None or records.lfu:
        raise ReplyError(_LFU)
    return records
