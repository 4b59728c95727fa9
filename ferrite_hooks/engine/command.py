"""A command is one declaration: its syntax line, what it does, how it behaves, and the function below it.

    @command("HDEL key field [field ...]", "Removes fields from a hash.",
             group="hash", since="2.0.0", flags="write fast", keys="RW delete @1", events="hdel del")
    def hdel(s: Session, argv: Argv) -> Reply: ...

Name, arity, key positions, ACL categories, COMMAND INFO, COMMAND DOCS, HELP and the table in the
documentation all follow from it. The decorator returns the function untouched and refuses, at import, a
declaration that contradicts itself.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ferrite_hooks.engine.latency import QUICK_BITS
from ferrite_hooks.engine.syntax import Argument, arity, parse
from ferrite_hooks.errors import SYNTAX, ReplyError, unknown_command, unknown_subcommand, wrong_arity
from ferrite_hooks.resp.reply import Reply

if TYPE_CHECKING:
    from ferrite_hooks.engine.session import Session

Argv = list[bytes]
Handler = Callable[["Session", Argv], Reply]

_ACCESS = {"RO", "RW", "OW", "RM", "not_key"}
_GROUP_CATEGORIES = {
    "string": "string", "bitmap": "bitmap", "list": "list", "set": "set", "sorted-set": "sortedset", "hash": "hash",
    "hyperloglog": "hyperloglog", "geo": "geo", "stream": "stream", "transactions": "transaction",
    "scripting": "scripting", "connection": "connection", "pubsub": "", "generic": "keyspace",
    "server": "", "cluster": "", "sentinel": "", "webhook": "webhook",
}  # fmt: skip
FLAGS = frozenset({
    "write", "readonly", "denyoom", "admin", "pubsub", "noscript", "blocking", "loading", "stale", "fast", "no_auth",
    "may_replicate", "skip_monitor", "skip_slowlog", "asking", "no_async_loading", "no_multi", "movablekeys",
    "allow_busy", "no_mandatory_keys",
    "dangerous",  # only for the ACL category
    "secret",  # the arguments are hidden from MONITOR and SLOWLOG
})  # fmt: skip
_UNSHOWN = {"dangerous", "may_replicate", "secret"}


@dataclass(frozen=True, slots=True)
class KeySpec:
    """Where keys stand in the arguments, in the terms of COMMAND INFO.

    Written `FLAGS @first[:last[:step]]` (positions), `FLAGS @n#` (a count at n, the keys behind it) or
    `FLAGS =WORD/start[:last[:step[:limit]]]` (behind a keyword); last counts from the end when negative.
    `FLAGS ?` says that there are keys which no rule can find.
    """

    flags: tuple[str, ...]
    first: int  # 0: unknown
    last: int = 0  # relative to the first key; negative: from the end
    step: int = 1
    limit: int = 0
    counted: bool = False  # the number of keys stands at `first`
    keyword: str = ""

    def positions(self, argv: Argv) -> Iterator[int]:
        """The indexes of the keys in `argv`. Raises ReplyError when the arguments cannot hold them."""
        begin = self.first
        if not begin:
            return
        if self.keyword:
            word = self.keyword.encode()
            found = [i for i in range(begin, len(argv)) if argv[i].upper() == word]
            if not found:
                return
            begin = found[0] + 1
        if self.counted:
            if begin >= len(argv):
                return
            if not argv[begin].isdigit():
                raise ReplyError("ERR Invalid arguments specified for command")
            if int(argv[begin]) == 0:
                return
            begin, end = begin + 1, begin + int(argv[begin])
        elif self.last >= 0:
            end = begin + self.last
        elif self.limit > 1:
            end = begin + (len(argv) - begin) // self.limit + self.last
        else:
            end = len(argv) + self.last
        if end >= len(argv):
            raise ReplyError("ERR Invalid arguments specified for command")
        yield from range(begin, end + 1, self.step)


class Command:
    """A declared command or subcommand, with its running statistics."""

    __slots__ = (
        "acl", "arguments", "arity", "buckets", "calls", "complexity", "denies_oom", "events", "failed",
        "flags", "flags_of", "getkeys", "group", "handler", "id", "key_flags", "keys", "max_words", "min_words",
        "name", "noscript", "parent", "rejected", "seconds", "secret", "since", "subcommands", "summary",
        "syntax", "tips", "title", "writes",
    )  # fmt: skip

    def __init__(self, syntax: str, handler: Handler | None) -> None:
        words, self.arguments = parse(syntax)
        self.syntax = syntax
        self.handler: Handler = handler or _container
        self.name = "|".join(words).lower()  # as Redis prints it: "get", "client|list"
        self.title = " ".join(words).upper()  # as webhooks show it: "GET", "CLIENT LIST"
        self.parent = words[0].lower() if len(words) > 1 else ""
        self.id = 0
        self.arity = arity(words, self.arguments)
        self.summary = self.group = self.since = self.complexity = ""
        self.flags: frozenset[str] = frozenset()
        self.acl: frozenset[str] = frozenset()
        self.tips: tuple[str, ...] = ()
        self.events: tuple[str, ...] = ()
        self.keys: tuple[KeySpec, ...] = ()
        self.getkeys: Callable[[Argv], list[int]] | None = None
        self.key_flags: Callable[[Argv], tuple[str, ...]] | None = None
        self.flags_of: Callable[[Session, Argv], frozenset[str]] | None = None
        self.subcommands: dict[bytes, Command] = {}
        self.reset_statistics()
        self.settle()

    def reset_statistics(self) -> None:
        self.buckets = [0] * 64  # calls by the bits that their nanoseconds have, without the quick ones
        self.calls = self.failed = self.rejected = 0
        self.seconds = 0.0

    def histogram(self) -> list[int]:
        """Calls by the bits that their nanoseconds have."""
        counts = self.buckets.copy()
        counts[QUICK_BITS] += self.calls - sum(counts)
        return counts

    def settle(self) -> None:
        """Derives what the hot path asks for from the declaration."""
        self.min_words = abs(self.arity)
        self.max_words = self.arity if self.arity > 0 else 1 << 60
        self.writes = "write" in self.flags
        self.noscript = "noscript" in self.flags
        self.denies_oom = "denyoom" in self.flags
        self.secret = "secret" in self.flags

    def key_positions(self, argv: Argv) -> list[tuple[int, tuple[str, ...]]]:
        """(index, flags) of each key in `argv`."""
        if self.key_flags is not None:
            return [(i, self.key_flags(argv)) for spec in self.keys for i in spec.positions(argv)]
        if self.getkeys is not None:
            flags = [spec.flags for spec in self.keys] or [("RW", "access")]
            return [(i, flags[-1 if n else 0]) for n, i in enumerate(self.getkeys(argv))]
        return [(i, spec.flags) for spec in self.keys for i in spec.positions(argv)]

    def flags_for(self, s: Session, argv: Argv) -> frozenset[str]:
        """The flags of one call."""
        return self.flags if self.flags_of is None else self.flags_of(s, argv)

    def __repr__(self) -> str:
        return f"<Command {self.name}>"


_ids = itertools.count()
COMMANDS: Final[dict[bytes, Command]] = {}  # upper- and lower-case names: the spellings that clients send
_SPEC = re.compile(r"(?:@(\d+)(?::(-?\d+)(?::(\d+))?)?(#?)|=([A-Z]+)/(\d+)(?::(-?\d+)(?::(\d+)(?::(\d+))?)?)?)\Z")


def parse_keys(text: str) -> tuple[KeySpec, ...]:
    """Reads the `keys=` notation; several specifications are separated by semicolons."""
    specs = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        *flags, where = part.split()
        if where == "?":
            specs.append(KeySpec(tuple(flags), 0))
            continue
        match = _SPEC.match(where)
        if match is None or not flags or flags[0] not in _ACCESS:
            raise ValueError(f"bad key specification {part!r}")
        first, last, step, counted, word, start, last2, step2, limit = match.groups()
        if word:
            spec = KeySpec(tuple(flags), int(start), int(last2 or 0), int(step2 or 1), int(limit or 0), False, word)
        else:
            relative = int(last or 0)
            if relative > 0:
                relative -= int(first)
            spec = KeySpec(tuple(flags), int(first), relative, int(step or 1), 0, bool(counted))
        specs.append(spec)
    return tuple(specs)


def command(
    syntax: str,
    summary: str,
    *,
    group: str,
    since: str,
    flags: str = "",
    keys: str = "",
    events: str = "",
    acl: str = "",
    tips: str = "",
    complexity: str = "",
    arity: int | None = None,
    getkeys: Callable[[Argv], list[int]] | None = None,
    key_flags: Callable[[Argv], tuple[str, ...]] | None = None,
    flags_of: Callable[[Session, Argv], frozenset[str]] | None = None,
) -> Callable[[Handler], Handler]:
    """Declares the command below it. `events` names the keyspace notifications that it can cause.

    `acl` adds categories that do not follow from the group and the flags, or removes one (`-keyspace`).
    `arity` is for the few commands whose arity in Redis is laxer than their syntax; `key_flags` and `flags_of`
    for those whose arguments say what they do with their keys, or at all. Raises ValueError for a
    contradictory declaration."""

    def declare(handler: Handler) -> Handler:
        made = Command(syntax, handler)
        made.summary, made.group, made.since, made.complexity = summary, group, since, complexity
        made.flags = frozenset(flags.split())
        made.events = tuple(events.split())
        made.tips = tuple(tips.split())
        made.keys = parse_keys(keys)
        made.getkeys, made.key_flags, made.flags_of = getkeys, key_flags, flags_of
        if arity is not None:
            made.arity = arity
        made.settle()
        _validate(made)
        made.acl = _categories(made, acl)
        _add(made)
        return handler

    return declare


def container(name: str, summary: str, *, group: str, since: str) -> None:
    """Declares a command that only has subcommands (CLIENT, XGROUP, …)."""
    made = Command(name, None)
    made.summary, made.group, made.since = summary, group, since
    made.arity = -2
    made.settle()
    made.acl = frozenset({"slow"})
    _add(made)


def _validate(made: Command) -> None:
    if unknown := made.flags - FLAGS:
        raise ValueError(f"{made.name}: unknown flags {sorted(unknown)}")
    if made.group not in _GROUP_CATEGORIES:
        raise ValueError(f"{made.name}: unknown group {made.group!r}")
    if made.writes and not made.events:
        raise ValueError(f"{made.name}: a write command must declare the events it can cause")
    if not made.writes and made.events and "may_replicate" not in made.flags:
        raise ValueError(f"{made.name}: only a write command can cause events")


def _categories(made: Command, extra: str) -> frozenset[str]:
    found = set(extra.split())
    flags = made.flags
    if "write" in flags:
        found.add("write")
    if "readonly" in flags and made.group != "scripting":
        found.add("read")
    if "admin" in flags:
        found |= {"admin", "dangerous"}
    if "dangerous" in flags:
        found.add("dangerous")
    if "pubsub" in flags:
        found.add("pubsub")
    if "blocking" in flags:
        found.add("blocking")
    found.add("fast" if "fast" in flags else "slow")
    if category := _GROUP_CATEGORIES[made.group]:
        found.add(category)
    return frozenset(name for name in found if name[0] != "-" and f"-{name}" not in found)


_all: list[Command] = []  # as far as somebody has asked since the last declaration


def _add(made: Command) -> None:
    _all.clear()
    made.id = next(_ids)
    if made.parent:
        family = COMMANDS[made.parent.encode()].subcommands
        family[made.name.split("|")[1].encode()] = made
    else:
        name = made.name.encode()
        if name in COMMANDS:
            raise ValueError(f"{made.name} is declared twice")
        COMMANDS[name] = COMMANDS[name.upper()] = made


def all_commands() -> Sequence[Command]:
    """Every command once, subcommands behind their container."""
    if not _all:
        for name, made in COMMANDS.items():
            if name == made.name.encode():
                _all.append(made)
                _all.extend(made.subcommands.values())
    return _all


def find(argv: Argv) -> Command:
    """The command or subcommand that `argv` calls, its arity checked (and counted as rejected if it is wrong). Raises
    ReplyError as Redis words it."""
    found = COMMANDS.get(argv[0]) or COMMANDS.get(argv[0].lower())
    if found is None:
        raise ReplyError(unknown_command(argv))
    if found.subcommands and len(argv) > 1:
        sub = found.subcommands.get(argv[1].lower())
        if sub is None:
            raise ReplyError(unknown_subcommand(found.name, argv[1]))
        found = sub
    if not found.min_words <= len(argv) <= found.max_words:
        found.rejected += 1
        raise ReplyError(wrong_arity(found.name))
    return found


def shown_flags(made: Command) -> list[str]:
    """Flags as COMMAND INFO lists them."""
    return [flag for flag in sorted(made.flags) if flag not in _UNSHOWN]


def _container(s: Session, argv: Argv) -> Reply:
    raise ReplyError(SYNTAX)  # unreachable: find() resolves a container to a subcommand


__all__ = ["COMMANDS", "Argument", "Argv", "Command", "Handler", "KeySpec", "all_commands", "command", "container"]
