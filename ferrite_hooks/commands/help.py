"""The HELP subcommand of every container, written from the declarations of its subcommands."""

from __future__ import annotations

from ferrite_hooks.engine.command import COMMANDS
from ferrite_hooks.resp.reply import Reply, Simple


def help_of(container: str) -> Reply:
    """Redis's form of help: a head line, then for each subcommand its syntax and, indented, what it does."""
    lines = [f"{container.upper()} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"]
    subcommands = COMMANDS[container.encode()].subcommands
    for name in sorted(subcommands, key=lambda name: (name == b"help", name)):
        lines += [subcommands[name].syntax.split(" ", 1)[1], f"    {subcommands[name].summary}"]
    return [Simple(line.encode()) for line in lines]
