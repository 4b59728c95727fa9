"""COMMAND: what the server knows of its own commands. Everything shown is derived from the declarations."""

from __future__ import annotations

from ferrite_hooks import glob
from ferrite_hooks.commands.common import help_lines
from ferrite_hooks.engine.command import (
    COMMANDS,
    Argument,
    Argv,
    Command,
    KeySpec,
    all_commands,
    command,
    container,
    find,
    shown_flags,
)
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import SYNTAX, ReplyError
from ferrite_hooks.resp.reply import Pairs, Reply, Simple

container("COMMAND", "What the server knows of its commands.", group="server", since="2.8.13")
COMMANDS[b"command"].arity = -1
COMMANDS[b"command"].flags = frozenset({"loading", "stale"})
COMMANDS[b"command"].acl = frozenset({"slow", "connection"})
COMMANDS[b"command"].settle()


def _top() -> list[Command]:
    return [made for made in all_commands() if not made.parent]


def _lookup(name: bytes) -> Command | None:
    """A command by its name, a subcommand as `container|sub`."""
    head, _, sub = name.lower().partition(b"|")
    made = COMMANDS.get(head)
    return made.subcommands.get(sub) if made is not None and sub else made


def _all(s: Session, argv: Argv) -> Reply:
    return [describe(made) for made in _top()]


COMMANDS[b"command"].handler = _all


@command("COMMAND COUNT", "How many commands there are.",
         group="server", since="2.8.13", flags="loading stale", acl="connection")  # fmt: skip
def command_count(s: Session, argv: Argv) -> Reply:
    return len(_top())


@command("COMMAND INFO [command-name [command-name ...]]", "Facts about commands: arity, flags, keys, categories.",
         group="server", since="2.8.13", flags="loading stale", acl="connection",
         tips="nondeterministic_output_order")  # fmt: skip
def command_info(s: Session, argv: Argv) -> Reply:
    if len(argv) == 2:
        return _all(s, argv)
    return [None if made is None else describe(made) for made in map(_lookup, argv[2:])]


@command("COMMAND DOCS [command-name [command-name ...]]", "Documentation of commands.",
         group="server", since="7.0.0", flags="loading stale", acl="connection",
         tips="nondeterministic_output_order")  # fmt: skip
def command_docs(s: Session, argv: Argv) -> Reply:
    chosen = _top() if len(argv) == 2 else [made for made in map(_lookup, argv[2:]) if made is not None]
    return Pairs([part for made in chosen for part in (made.name, document(made))])


@command("COMMAND LIST [FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]", "Names of commands.",
         group="server", since="7.0.0", flags="loading stale", acl="connection",
         tips="nondeterministic_output_order")  # fmt: skip
def command_list(s: Session, argv: Argv) -> Reply:
    if len(argv) == 2:
        return [made.name for made in all_commands()]
    if len(argv) != 5 or argv[2].upper() != b"FILTERBY":
        raise ReplyError(SYNTAX)
    kind, value = argv[3].upper(), argv[4]
    if kind == b"MODULE":
        return []
    if kind == b"ACLCAT":
        category = value.decode("utf-8", "replace").lower()
        return [made.name for made in all_commands() if category in made.acl]
    if kind == b"PATTERN":
        matches = glob.compile(value, nocase=True)
        return [made.name for made in all_commands() if matches(made.name.encode())]
    raise ReplyError(SYNTAX)


def _keys(argv: Argv) -> list[tuple[int, tuple[str, ...]]]:
    try:
        made = find(argv)
    except ReplyError as error:
        if error.text.startswith("ERR wrong number"):
            raise ReplyError("ERR Invalid number of arguments specified for command") from None
        raise ReplyError("ERR Invalid command specified") from None
    if not made.keys and made.getkeys is None:
        raise ReplyError("ERR The command has no key arguments")
    found = made.key_positions(argv)
    if not found and "no_mandatory_keys" not in made.flags:
        raise ReplyError("ERR Invalid arguments specified for command")
    return found


@command("COMMAND GETKEYS command [arg [arg ...]]", "The keys in a whole command.",
         group="server", since="2.8.13", flags="loading stale", acl="connection", arity=-4)  # fmt: skip
def command_getkeys(s: Session, argv: Argv) -> Reply:
    return [argv[2 + i] for i, _ in _keys(argv[2:])]


@command("COMMAND GETKEYSANDFLAGS command [arg [arg ...]]", "The keys in a whole command and how it uses them.",
         group="server", since="7.0.0", flags="loading stale", acl="connection", arity=-4)  # fmt: skip
def command_getkeysandflags(s: Session, argv: Argv) -> Reply:
    return [[argv[2 + i], _flags(flags)] for i, flags in _keys(argv[2:])]


@command("COMMAND HELP", "The subcommands of COMMAND.",
         group="server", since="5.0.0", flags="loading stale", acl="connection")  # fmt: skip
def command_help(s: Session, argv: Argv) -> Reply:
    return help_lines("COMMAND")


# -- forms -----------------------------------------------------------------------------------------------------


def _flags(flags: tuple[str, ...]) -> Reply:
    return _set([Simple(flag.encode()) for flag in flags])


def _set(items: list[Simple]) -> Reply:
    return tuple(items)  # a RESP3 set in Redis; an array reads the same to every client


def describe(made: Command) -> Reply:
    """The ten elements of COMMAND INFO."""
    first, last, step = legacy_range(made)
    return [
        made.name,
        made.arity,
        _set([Simple(flag.encode()) for flag in shown_flags(made)]),
        first,
        last,
        step,
        _set([Simple(b"@" + category.encode()) for category in sorted(made.acl)]),
        list(made.tips),
        [_spec(spec) for spec in made.keys],
        [describe(sub) for sub in made.subcommands.values()],
    ]


def legacy_range(made: Command) -> tuple[int, int, int]:
    """First key, last key and step as before key specifications: the span of the plain ranges that touch."""
    specs = [spec for spec in made.keys if spec.first and not spec.counted and not spec.keyword]
    if not specs:
        return 0, 0, 0
    first, step = specs[0].first, specs[0].step
    last = specs[0].first + specs[0].last if specs[0].last >= 0 else specs[0].last
    for spec in specs[1:]:
        if last >= 0 and spec.first == last + step:
            last = spec.first + spec.last if spec.last >= 0 else spec.last
    return first, last, step


def _spec(spec: KeySpec) -> Reply:
    if not spec.first:
        unknown: dict[str, Reply] = {"type": "unknown", "spec": {}}
        return {"flags": _flags(spec.flags), "begin_search": unknown, "find_keys": unknown}
    begin: dict[str, Reply]
    if spec.keyword:
        begin = {"type": "keyword", "spec": {"keyword": spec.keyword, "startfrom": spec.first}}
    else:
        begin = {"type": "index", "spec": {"index": spec.first}}
    found: dict[str, Reply]
    if spec.counted:
        found = {"type": "keynum", "spec": {"keynumidx": 0, "firstkey": 1, "keystep": spec.step}}
    else:
        found = {"type": "range", "spec": {"lastkey": spec.last, "keystep": spec.step, "limit": spec.limit}}
    return {"flags": _flags(spec.flags), "begin_search": begin, "find_keys": found}


def document(made: Command) -> Reply:
    """One entry of COMMAND DOCS."""
    entry: dict[str, Reply] = {"summary": made.summary, "since": made.since, "group": made.group}
    if made.complexity:
        entry["complexity"] = made.complexity
    if made.arguments:
        entry["arguments"] = [_argument(argument) for argument in made.arguments]
    if made.subcommands:
        entry["subcommands"] = Pairs(
            [part for sub in made.subcommands.values() for part in (sub.name, document(sub))]
        )
    return entry


def _argument(argument: Argument) -> Reply:
    entry: dict[str, Reply] = {"name": argument.name, "type": argument.type}
    if not argument.arguments and argument.type != "pure-token":
        entry["display_text"] = argument.name
    if argument.type == "key":
        entry["key_spec_index"] = 0
    if argument.token:
        entry["token"] = argument.token
    flags = [
        name
        for name, is_set in (
            ("optional", argument.optional),
            ("multiple", argument.multiple),
            ("multiple_token", argument.multiple_token),
        )
        if is_set
    ]
    if flags:
        entry["flags"] = _set([Simple(flag.encode()) for flag in flags])
    if argument.arguments:
        entry["arguments"] = [_argument(inner) for inner in argument.arguments]
    return entry
