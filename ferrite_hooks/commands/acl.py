"""ACL: users and their permissions."""

from __future__ import annotations

import logging
from secrets import token_hex

from ferrite_hooks.commands.common import help_lines, integer
from ferrite_hooks.engine.acl_rules import ALLOWED, CATEGORIES, Selector, valid_name
from ferrite_hooks.engine.command import Argv, all_commands, command, container, find
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import ReplyError, printable, subcommand_syntax, whole
from ferrite_hooks.resp.reply import OK, Members, Reply

log = logging.getLogger("ferrite_hooks.acl")

container("ACL", "Users and their permissions.", group="server", since="6.0.0")

_ADMIN = "admin noscript loading stale"
_OPEN = "noscript loading stale"
_EVERYWHERE = "request_policy:all_nodes response_policy:all_succeeded"
_GENPASS_MAX_BITS = 4096


@command("ACL WHOAMI", "The connection's user.", group="server", since="6.0.0", flags=_OPEN)
def acl_whoami(s: Session, argv: Argv) -> Reply:
    return s.user.name


@command("ACL USERS", "The names of all users.", group="server", since="6.0.0", flags=_ADMIN)
def acl_users(s: Session, argv: Argv) -> Reply:
    return sorted(s.engine.acl.users)


@command("ACL LIST", "All users and their rules, as in an ACL file.", group="server", since="6.0.0", flags=_ADMIN)
def acl_list(s: Session, argv: Argv) -> Reply:
    return s.engine.acl.listing()


@command("ACL CAT [category]", "The categories of commands, or the commands of one.",
         group="server", since="6.0.0", flags=_OPEN)  # fmt: skip
def acl_cat(s: Session, argv: Argv) -> Reply:
    if len(argv) > 3:
        raise ReplyError(subcommand_syntax("acl", argv[1]))
    if len(argv) == 2:
        return list(CATEGORIES)
    category = argv[2].decode("utf-8", "surrogateescape").lower()
    if category not in CATEGORIES:
        raise ReplyError(f"ERR Unknown category '{printable(argv[2])}'")
    return [made.name for made in all_commands() if category in made.acl]


@command("ACL SETUSER username [rule [rule ...]]", "Makes a user, or changes one by rules.",
         group="server", since="6.0.0", flags=_ADMIN + " secret", tips=_EVERYWHERE)  # fmt: skip
def acl_setuser(s: Session, argv: Argv) -> Reply:
    if not valid_name(argv[2]):
        raise ReplyError("ERR Usernames can't contain spaces or null characters")
    s.engine.acl.set_user(argv[2].decode("utf-8", "surrogateescape"), argv[3:])
    return OK


@command("ACL DELUSER username [username ...]", "Deletes users and closes their connections.",
         group="server", since="6.0.0", flags=_ADMIN, tips=_EVERYWHERE)  # fmt: skip
def acl_deluser(s: Session, argv: Argv) -> Reply:
    if b"default" in argv[2:]:
        raise ReplyError("ERR The 'default' user cannot be removed")
    return sum([s.engine.acl.delete_user(name.decode("utf-8", "surrogateescape")) for name in argv[2:]])


@command("ACL GETUSER username", "A user's flags, password hashes and rules.",
         group="server", since="6.0.0", flags=_ADMIN)  # fmt: skip
def acl_getuser(s: Session, argv: Argv) -> Reply:
    user = s.engine.acl.users.get(argv[2].decode("utf-8", "surrogateescape"))
    if user is None:
        return None
    root, *others = user.selectors
    return {
        b"flags": Members(user.flags()),
        b"passwords": list(user.passwords),
        **_described(root),
        b"selectors": [_described(selector) for selector in others],
    }


def _described(selector: Selector) -> dict[bytes, str]:
    return {
        b"commands": selector.describe_commands(),
        b"keys": selector.describe_keys(),
        b"channels": selector.describe_channels(),
    }


@command("ACL DRYRUN username command [arg [arg ...]]", "Whether a user may run a command, without running it.",
         group="server", since="7.0.0", flags=_ADMIN)  # fmt: skip
def acl_dryrun(s: Session, argv: Argv) -> Reply:
    acl, words = s.engine.acl, argv[3:]
    user = acl.users.get(argv[2].decode("utf-8", "surrogateescape"))
    if user is None:
        raise ReplyError(f"ERR User '{whole(argv[2])}' not found")
    try:
        made = find(words)
    except ReplyError as error:
        if error.text.startswith("ERR wrong number"):
            raise
        raise ReplyError(f"ERR Command '{whole(argv[3])}' not found") from None
    verdict = user.judge(made, words)
    return OK if verdict[0] == ALLOWED else acl.explain(user, made, words, verdict, verbose=True)


@command("ACL GENPASS [bits]", "A random password in hexadecimal digits.",
         group="server", since="6.0.0", flags=_OPEN)  # fmt: skip
def acl_genpass(s: Session, argv: Argv) -> Reply:
    if len(argv) > 3:
        raise ReplyError(subcommand_syntax("acl", argv[1]))
    bits = integer(argv[2]) if len(argv) == 3 else 256
    if not 0 < bits <= _GENPASS_MAX_BITS:
        raise ReplyError(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to "
            f"{_GENPASS_MAX_BITS}"
        )
    return token_hex(_GENPASS_MAX_BITS // 8)[: (bits + 3) // 4]


@command("ACL LOG [count | RESET]", "What was refused lately, and failed logins.",
         group="server", since="6.0.0", flags=_ADMIN)  # fmt: skip
def acl_log(s: Session, argv: Argv) -> Reply:
    acl = s.engine.acl
    if len(argv) > 3:
        raise ReplyError(subcommand_syntax("acl", argv[1]))
    if len(argv) == 3 and argv[2].upper() == b"RESET":
        acl.log.clear()
        return OK
    count = max(integer(argv[2]), 0) if len(argv) == 3 else 10
    now = s.engine.clock.now
    return [
        {
            b"count": entry.count,
            b"reason": entry.reason,
            b"context": entry.context,
            b"object": entry.object,
            b"username": entry.user,
            b"age-seconds": (now - entry.updated) / 1000,
            b"client-info": entry.info,
            b"entry-id": entry.id,
            b"timestamp-created": entry.created,
            b"timestamp-last-updated": entry.updated,
        }
        for entry in list(acl.log)[:count]
    ]


@command("ACL LOAD", "Reads the users again from the ACL file.", group="server", since="6.0.0", flags=_ADMIN)
def acl_load(s: Session, argv: Argv) -> Reply:
    s.engine.acl.load(_file(s))
    return OK


@command("ACL SAVE", "Writes the users to the ACL file.",
         group="server", since="6.0.0", flags=_ADMIN, tips=_EVERYWHERE)  # fmt: skip
def acl_save(s: Session, argv: Argv) -> Reply:
    path = _file(s)
    try:
        s.engine.acl.save(path)
    except OSError as error:
        log.error("the ACL file %s cannot be written: %s", path, error)
        raise ReplyError(
            "ERR There was an error trying to save the ACLs. Please check the server logs for more information"
        ) from None
    return OK


def _file(s: Session) -> str:
    path = str(s.engine.settings["aclfile"])
    if not path:
        raise ReplyError(
            "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL "
            "SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in "
            "order to store users in the Redis configuration."
        )
    return path


@command("ACL HELP", "The subcommands of ACL.", group="server", since="6.0.0", flags="loading stale")
def acl_help(s: Session, argv: Argv) -> Reply:
    return help_lines("ACL")
