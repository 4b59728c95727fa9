"""CLIENT: what connections are there, what they look like, and how the server treats them."""

from __future__ import annotations

from collections.abc import Iterable

from ferrite_hooks.commands.common import help_lines, integer
from ferrite_hooks.commands.connection import client_attribute, client_name
from ferrite_hooks.engine.blocking import unblock_with
from ferrite_hooks.engine.client_info import describe, kind_of
from ferrite_hooks.engine.command import Argv, command, container
from ferrite_hooks.engine.engine import Engine
from ferrite_hooks.engine.pause import pause, unpause
from ferrite_hooks.engine.session import Session
from ferrite_hooks.engine.tracking import Options, enable
from ferrite_hooks.errors import (
    SYNTAX,
    TIMEOUT_NEGATIVE,
    TIMEOUT_OUT_OF_RANGE,
    ReplyError,
    printable,
    subcommand_syntax,
)
from ferrite_hooks.resp.reply import NO_REPLY, OK, Members, Reply, Verbatim

container("CLIENT", "What the server knows of its connections.", group="connection", since="2.4.0")

_FLAGS = "noscript loading stale"
_ADMIN = "admin noscript loading stale"
_TYPES = {b"normal": "normal", b"master": "master", b"slave": "replica", b"replica": "replica", b"pubsub": "pubsub"}
_ON_OFF = {b"ON": True, b"OFF": False}


# -- about the own connection ------------------------------------------------------------------------------------


@command("CLIENT ID", "The connection's number.", group="connection", since="5.0.0", flags=_FLAGS)
def client_id(s: Session, argv: Argv) -> Reply:
    return s.id


@command("CLIENT SETNAME connection-name", "Names the connection; an empty name removes it.",
         group="connection", since="2.6.9", flags=_FLAGS,
         tips="request_policy:all_nodes response_policy:all_succeeded")  # fmt: skip
def client_setname(s: Session, argv: Argv) -> Reply:
    s.name = client_name(argv[2])
    return OK


@command("CLIENT GETNAME", "The connection's name.", group="connection", since="2.6.9", flags=_FLAGS)
def client_getname(s: Session, argv: Argv) -> Reply:
    return s.name or None


@command("CLIENT SETINFO <LIB-NAME libname | LIB-VER libver>", "Tells which library the client is.",
         group="connection", since="7.2.0", flags=_FLAGS,
         tips="request_policy:all_nodes response_policy:all_succeeded")  # fmt: skip
def client_setinfo(s: Session, argv: Argv) -> Reply:
    attribute = argv[2].upper()
    if attribute not in (b"LIB-NAME", b"LIB-VER"):
        raise ReplyError(f"ERR Unrecognized option '{printable(argv[2])}'")
    value = client_attribute(argv[2], argv[3])
    if attribute == b"LIB-NAME":
        s.lib_name = value
    else:
        s.lib_ver = value
    return OK


@command("CLIENT REPLY <ON | OFF | SKIP>", "Chooses whether commands of this connection are answered.",
         group="connection", since="3.2.0", flags=_FLAGS)  # fmt: skip
def client_reply(s: Session, argv: Argv) -> Reply:
    mode = argv[2].upper()
    if mode == b"ON":
        s.reply_mode = "on"
    elif mode == b"OFF":
        s.reply_mode = "off"
    elif mode != b"SKIP":
        raise ReplyError(SYNTAX)
    elif s.reply_mode != "off":
        s.reply_mode = "skip"
    s.refresh()
    return OK if mode == b"ON" else NO_REPLY


@command("CLIENT NO-EVICT <ON | OFF>", "Protects the connection from being closed to save memory.",
         group="connection", since="7.0.0", flags=_ADMIN)  # fmt: skip
def client_no_evict(s: Session, argv: Argv) -> Reply:
    s.no_evict = _on_off(argv[2])
    return OK


@command("CLIENT NO-TOUCH <ON | OFF>", "Lets the connection read without making keys look used.",
         group="connection", since="7.2.0", flags=_FLAGS)  # fmt: skip
def client_no_touch(s: Session, argv: Argv) -> Reply:
    s.no_touch = _on_off(argv[2])
    return OK


def _on_off(raw: bytes) -> bool:
    value = _ON_OFF.get(raw.upper())
    if value is None:
        raise ReplyError(SYNTAX)
    return value


# -- about connections -------------------------------------------------------------------------------------------


@command("CLIENT INFO", "Facts about the own connection, as a line of CLIENT LIST.",
         group="connection", since="6.2.0", flags=_FLAGS, tips="nondeterministic_output")  # fmt: skip
def client_info(s: Session, argv: Argv) -> Reply:
    return _listing([s])


@command("CLIENT LIST [TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]",
         "Facts about connections, one line each.",
         group="connection", since="2.4.0", flags=_ADMIN, tips="nondeterministic_output")  # fmt: skip
def client_list(s: Session, argv: Argv) -> Reply:
    sessions = s.engine.sessions
    option = argv[2].upper() if len(argv) > 3 else b""
    if len(argv) == 2:
        return _listing(sessions.values())
    if option == b"TYPE" and len(argv) == 4:
        kind = _type(argv[3])
        return _listing(each for each in sessions.values() if kind_of(each) == kind)
    if option == b"ID":
        wanted = [integer(raw, "ERR Invalid client ID") for raw in argv[3:]]
        return _listing(sessions[number] for number in wanted if number in sessions)
    raise ReplyError(SYNTAX)


def _listing(sessions: Iterable[Session]) -> Verbatim:
    return Verbatim("".join([describe(s) + "\n" for s in sessions]).encode("utf-8", "surrogateescape"))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _type(raw: bytes) -> str:
    kind = _TYPES.get(raw.lower())
    if kind is None:
        raise ReplyError(f"ERR Unknown client type '{printable(raw)}'")
    return kind


@command("CLIENT KILL <ip:port | [ID client-id] [TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [USER username]"
         " [ADDR ip:port] [LADDR ip:port] [SKIPME <YES | NO>]>", "Closes connections.",
         group="connection", since="2.4.0", flags=_ADMIN, arity=-3)  # fmt: skip
def client_kill(s: Session, argv: Argv) -> Reply:
    engine = s.engine
    if len(argv) == 3:
        address = _text(argv[2])
        if not _kill(s, [each for each in engine.sessions.values() if each.addr == address]):
            raise ReplyError("ERR No such client")
        return OK
    wanted: dict[str, object] = {}
    skip_me = True
    if len(argv) % 2:
        raise ReplyError(SYNTAX)
    for option, raw in zip(argv[2::2], argv[3::2], strict=True):
        match option.upper():
            case b"ID":
                wanted["id"] = integer(raw, "ERR client-id should be greater than 0")
                if wanted["id"] == 0 or integer(raw) < 0:
                    raise ReplyError("ERR client-id should be greater than 0")
            case b"TYPE":
                wanted["type"] = _type(raw)
            case b"ADDR":
                wanted["addr"] = _text(raw)
            case b"LADDR":
                wanted["laddr"] = _text(raw)
            case b"USER":
                wanted["user"] = engine.acl.users.get(_text(raw))
                if wanted["user"] is None:
                    raise ReplyError(f"ERR No such user '{printable(raw)}'")
            case b"SKIPME" if raw.upper() in (b"YES", b"NO"):
                skip_me = raw.upper() == b"YES"
            case _:
                raise ReplyError(SYNTAX)
    return _kill(s, [each for each in engine.sessions.values()
                     if not (skip_me and each is s) and wanted.items() <= _identity(each).items()])  # fmt: skip


def _identity(s: Session) -> dict[str, object]:
    return {"id": s.id, "type": kind_of(s), "addr": s.addr, "laddr": s.laddr, "user": s.user}


def _kill(s: Session, victims: list[Session]) -> int:
    for victim in victims:
        s.engine.kill(victim)
    return len(victims)


@command("CLIENT UNBLOCK client-id [TIMEOUT | ERROR]", "Ends another connection's blocking command.",
         group="connection", since="5.0.0", flags=_ADMIN)  # fmt: skip
def client_unblock(s: Session, argv: Argv) -> Reply:
    reason = argv[3].upper() if len(argv) > 3 else b"TIMEOUT"
    if len(argv) > 4:
        raise ReplyError(subcommand_syntax("client", argv[1]))
    if reason not in (b"TIMEOUT", b"ERROR"):
        raise ReplyError("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
    target = s.engine.sessions.get(integer(argv[2]))
    if target is None or target in s.engine.postponed:
        return 0
    return int(unblock_with(target, reason == b"ERROR"))


# -- pause -------------------------------------------------------------------------------------------------------


@command("CLIENT PAUSE timeout [WRITE | ALL]", "Holds commands for a number of milliseconds.",
         group="connection", since="2.9.50", flags=_ADMIN)  # fmt: skip
def client_pause(s: Session, argv: Argv) -> Reply:
    mode = argv[3].upper() if len(argv) > 3 else b"ALL"
    if len(argv) > 4:
        raise ReplyError(subcommand_syntax("client", argv[1]))
    if mode not in (b"WRITE", b"ALL"):
        raise ReplyError("ERR CLIENT PAUSE mode must be WRITE or ALL")
    pause(s.engine, _until(s.engine, argv[2]), mode == b"ALL")
    return OK


@command("CLIENT UNPAUSE", "Ends CLIENT PAUSE.", group="connection", since="6.2.0", flags=_ADMIN)
def client_unpause(s: Session, argv: Argv) -> Reply:
    unpause(s.engine)
    return OK


def _until(engine: Engine, raw: bytes) -> int:
    milliseconds = integer(raw, "ERR timeout is not an integer or out of range")
    if milliseconds < 0:
        raise ReplyError(TIMEOUT_NEGATIVE)
    if milliseconds > 2**63 - 1 - engine.clock.now:
        raise ReplyError(TIMEOUT_OUT_OF_RANGE)
    return engine.clock.now + milliseconds


# -- client-side caching -----------------------------------------------------------------------------------------


@command("CLIENT TRACKING <ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN]"
         " [OPTOUT] [NOLOOP]", "Tells the client when keys change that it has read.",
         group="connection", since="6.0.0", flags=_FLAGS)  # fmt: skip
def client_tracking(s: Session, argv: Argv) -> Reply:
    asked = Options()
    words = iter(argv[3:])
    for word in words:
        option = word.upper()
        value = next(words, None) if option in (b"REDIRECT", b"PREFIX") else b""
        if value is None:
            raise ReplyError(SYNTAX)
        match option:
            case b"REDIRECT":
                if asked.redirect:
                    raise ReplyError("ERR A client can only redirect to a single other client")
                asked.redirect = integer(value)
                if asked.redirect not in s.engine.sessions:
                    raise ReplyError("ERR The client ID you want redirect to does not exist")
            case b"PREFIX":
                asked.prefixes = (*asked.prefixes, value)
            case b"BCAST":
                asked.broadcast = True
            case b"OPTIN":
                asked.optin = True
            case b"OPTOUT":
                asked.optout = True
            case b"NOLOOP":
                asked.noloop = True
            case _:
                raise ReplyError(SYNTAX)
    if _on_off(argv[2]):
        enable(s, asked)
    elif s.engine.tracking is not None:
        s.engine.tracking.forget(s)
    return OK


@command("CLIENT CACHING <YES | NO>", "Says whether the next command's keys are tracked, in OPTIN or OPTOUT mode.",
         group="connection", since="6.0.0", flags=_FLAGS)  # fmt: skip
def client_caching(s: Session, argv: Argv) -> Reply:
    options, answer = s.tracking, argv[2].upper()
    if options is None:
        raise ReplyError(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode "
            "enabled"
        )
    if answer not in (b"YES", b"NO"):
        raise ReplyError(SYNTAX)
    mode = "OPTIN" if answer == b"YES" else "OPTOUT"
    if not (options.optin if answer == b"YES" else options.optout):
        raise ReplyError(
            f"ERR CLIENT CACHING {answer.decode()} is only valid when tracking is enabled in {mode} mode."
        )
    options.caching = True
    return OK


@command("CLIENT GETREDIR", "The client that invalidations are redirected to.",
         group="connection", since="6.0.0", flags=_FLAGS)  # fmt: skip
def client_getredir(s: Session, argv: Argv) -> Reply:
    return s.tracking.redirect if s.tracking is not None else -1


@command("CLIENT TRACKINGINFO", "How the connection's keys are tracked.",
         group="connection", since="6.2.0", flags=_FLAGS)  # fmt: skip
def client_trackinginfo(s: Session, argv: Argv) -> Reply:
    options = s.tracking or Options(redirect=-1)
    flags = (
        ("off", s.tracking is None),
        ("on", s.tracking is not None),
        ("bcast", options.broadcast),
        ("optin", options.optin),
        ("caching-yes", options.optin and options.caching),
        ("optout", options.optout),
        ("caching-no", options.optout and options.caching),
        ("noloop", options.noloop),
        ("broken_redirect", options.broken),
    )
    return {
        b"flags": Members([name for name, is_set in flags if is_set]),
        b"redirect": options.redirect,
        b"prefixes": list(options.prefixes),
    }


@command("CLIENT HELP", "The subcommands of CLIENT.", group="connection", since="5.0.0", flags="loading stale")
def client_help(s: Session, argv: Argv) -> Reply:
    return help_lines("CLIENT")
