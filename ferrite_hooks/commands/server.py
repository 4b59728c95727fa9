"""The server itself: time, role, saving, stopping."""

from __future__ import annotations

from time import time_ns

from ferrite_hooks.engine.command import Argv, command
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import SYNTAX, ReplyError
from ferrite_hooks.resp.reply import NO_REPLY, OK, Reply, Simple, Verbatim
from ferrite_hooks.version import REDIS_VERSION, __version__

_ADMIN = "admin noscript"


@command("TIME", "The server's time: unix seconds and microseconds.",
         group="server", since="2.6.0", flags="loading stale fast", tips="nondeterministic_output")  # fmt: skip
def time(s: Session, argv: Argv) -> Reply:
    # for transactions and scripts time stands still
    now = s.engine.clock.now * 1000 if s.deny_blocking else time_ns() // 1000
    seconds, microseconds = divmod(now, 1_000_000)
    return [b"%d" % seconds, b"%d" % microseconds]


@command("ROLE", "The server's part in replication: always a master without replicas.",
         group="server", since="2.8.12", flags="noscript loading stale fast", acl="admin dangerous")  # fmt: skip
def role(s: Session, argv: Argv) -> Reply:
    return [b"master", 0, []]


@command("LOLWUT [VERSION version]", "A small picture, and the versions.",
         group="server", since="5.0.0", flags="readonly fast")  # fmt: skip
def lolwut(s: Session, argv: Argv) -> Reply:
    hook = "  __\n /  \\\n|    |\n \\   |\n     |   event -> journal -> POST\n  \\__/\n"
    return Verbatim(f"{hook}\nRedis ver. {REDIS_VERSION}, Ferrite Hooks {__version__}\n".encode())


@command("SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]", "Stops the server.",
         group="server", since="1.0.0", flags="admin noscript loading stale no_multi allow_busy")  # fmt: skip
def shutdown(s: Session, argv: Argv) -> Reply:
    words = [arg.upper() for arg in argv[1:]]
    if not set(words) <= {b"NOSAVE", b"SAVE", b"NOW", b"FORCE", b"ABORT"} or {b"SAVE", b"NOSAVE"} <= set(words):
        raise ReplyError(SYNTAX)
    if b"ABORT" in words:
        if len(words) > 1:
            raise ReplyError(SYNTAX)
        raise ReplyError("ERR No shutdown in progress.")
    save = True if b"SAVE" in words else False if b"NOSAVE" in words else None
    s.engine.host.shutdown(save, b"FORCE" in words)
    s.close_after_reply = True
    return NO_REPLY


@command("LASTSAVE", "When the last snapshot was finished, in unix seconds.",
         group="server", since="1.0.0", flags="loading stale fast", acl="admin dangerous",
         tips="nondeterministic_output")  # fmt: skip
def lastsave(s: Session, argv: Argv) -> Reply:
    return s.engine.host.last_save


@command("SAVE", "Writes a snapshot, and the server waits for it.",
         group="server", since="1.0.0", flags=_ADMIN + " no_async_loading no_multi")  # fmt: skip
def save(s: Session, argv: Argv) -> Reply:
    s.engine.host.save()
    return OK


@command("BGSAVE [SCHEDULE]", "Writes a snapshot in the background.",
         group="server", since="1.0.0", flags=_ADMIN + " no_async_loading")  # fmt: skip
def bgsave(s: Session, argv: Argv) -> Reply:
    if len(argv) > 2 or (len(argv) == 2 and argv[1].upper() != b"SCHEDULE"):
        raise ReplyError(SYNTAX)
    return Simple(s.engine.host.background_save(len(argv) == 2).encode())


@command("BGREWRITEAOF", "Compacts the journal in the background.",
         group="server", since="1.0.0", flags=_ADMIN + " no_async_loading")  # fmt: skip
def bgrewriteaof(s: Session, argv: Argv) -> Reply:
    return Simple(s.engine.host.compact().encode())
