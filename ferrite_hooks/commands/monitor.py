"""MONITOR shows every command as it runs; SLOWLOG keeps those that took long."""

from __future__ import annotations

from ferrite_hooks.commands.common import help_lines, integer
from ferrite_hooks.engine.command import Argv, command, container
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import ReplyError, subcommand_syntax
from ferrite_hooks.resp.reply import OK, Reply

container("SLOWLOG", "Commands that took long.", group="server", since="2.2.12")

_GET_TIPS = "request_policy:all_nodes nondeterministic_output"


@command("MONITOR", "Shows every command that the server runs, until the connection ends.",
         group="server", since="1.0.0", flags="admin noscript loading stale")  # fmt: skip
def monitor(s: Session, argv: Argv) -> Reply:
    engine = s.engine
    if s.deny_blocking:
        raise ReplyError("ERR MONITOR isn't allowed for DENY BLOCKING client")
    engine.monitors[s] = None
    engine.refresh()
    return OK


@command("SLOWLOG GET [count]", "The latest entries: id, time, microseconds, arguments, client address and name.",
         group="server", since="2.2.12", flags="admin loading stale", tips=_GET_TIPS)  # fmt: skip
def slowlog_get(s: Session, argv: Argv) -> Reply:
    error = "ERR count should be greater than or equal to -1"
    if len(argv) > 3:
        raise ReplyError(subcommand_syntax("slowlog", argv[1]))
    count = integer(argv[2], error) if len(argv) == 3 else 10
    if count < -1:
        raise ReplyError(error)
    entries = list(s.engine.slowlog)
    return [
        [entry.id, entry.at, entry.microseconds, list(entry.argv), entry.addr, entry.name]
        for entry in (entries if count == -1 else entries[:count])
    ]


@command("SLOWLOG LEN", "How many entries there are.", group="server", since="2.2.12", flags="admin loading stale",
         tips="request_policy:all_nodes response_policy:agg_sum nondeterministic_output")  # fmt: skip
def slowlog_len(s: Session, argv: Argv) -> Reply:
    return len(s.engine.slowlog)


@command("SLOWLOG RESET", "Forgets all entries.", group="server", since="2.2.12", flags="admin loading stale",
         tips="request_policy:all_nodes response_policy:all_succeeded")  # fmt: skip
def slowlog_reset(s: Session, argv: Argv) -> Reply:
    s.engine.slowlog.clear()
    return OK


@command("SLOWLOG HELP", "The subcommands of SLOWLOG.", group="server", since="6.2.0", flags="loading stale")
def slowlog_help(s: Session, argv: Argv) -> Reply:
    return help_lines("SLOWLOG")
