"""Connections: who the client is, which protocol it speaks, which database it uses."""

from __future__ import annotations

import re

from ferrite_hooks.commands.common import integer
from ferrite_hooks.engine.command import Argv, command
from ferrite_hooks.engine.session import Session
from ferrite_hooks.engine.transactions import discard
from ferrite_hooks.errors import DB_OUT_OF_RANGE, NOPROTO, SYNTAX, ReplyError, printable, wrong_arity
from ferrite_hooks.resp.reply import OK, PONG, Reply, Simple
from ferrite_hooks.version import REDIS_VERSION

_ATTRIBUTE = re.compile(rb"[!-~]*\Z")  # what CLIENT LIST can show without breaking its format
_RESET = Simple(b"RESET")


@command("PING [message]", "Answers PONG, or with the message.", group="connection", since="1.0.0", flags="fast",
         tips="request_policy:all_shards response_policy:all_succeeded")  # fmt: skip
def ping(s: Session, argv: Argv) -> Reply:
    if len(argv) > 2:
        raise ReplyError(wrong_arity("ping"))
    if s.resp == 2 and s.subscribed:
        return [b"pong", argv[1] if len(argv) == 2 else b""]
    return argv[1] if len(argv) == 2 else PONG


@command("ECHO message", "Answers with the message.", group="connection", since="1.0.0", flags="loading stale fast")
def echo(s: Session, argv: Argv) -> Reply:
    return argv[1]


@command("SELECT index", "Changes the database that the connection uses.",
         group="connection", since="1.0.0", flags="loading stale fast")  # fmt: skip
def select(s: Session, argv: Argv) -> Reply:
    index = integer(argv[1])
    if not 0 <= index < len(s.engine.databases):
        raise ReplyError(DB_OUT_OF_RANGE)
    s.db = s.engine.databases[index]
    return OK


@command("QUIT", "Closes the connection.", group="connection", since="1.0.0",
         flags="noscript loading stale fast no_auth allow_busy", arity=-1)  # fmt: skip
def quit_(s: Session, argv: Argv) -> Reply:
    s.close_after_reply = True
    return OK


@command("RESET", "Makes the connection as it was when it was new.",
         group="connection", since="6.2.0", flags="noscript loading stale fast no_auth allow_busy")  # fmt: skip
def reset(s: Session, argv: Argv) -> Reply:
    engine = s.engine
    engine.unlisten(s)
    discard(s)
    s.db = engine.databases[0]
    s.name = b""
    s.reply_mode = "on"
    s.no_evict = s.no_touch = False
    engine.acl.welcome(s)
    s.set_protocol(2)
    return _RESET


@command("AUTH [username] password", "Authenticates the connection as a user.",
         group="connection", since="1.0.0", flags="noscript loading stale fast no_auth allow_busy secret")  # fmt: skip
def auth(s: Session, argv: Argv) -> Reply:
    if len(argv) > 3:
        raise ReplyError(SYNTAX)
    acl = s.engine.acl
    if len(argv) == 2 and acl.default.nopass:
        raise ReplyError(
            "ERR AUTH <password> called without any password configured for the default user. "
            "Are you sure your configuration is correct?"
        )
    acl.authenticate(s, argv[1] if len(argv) == 3 else b"default", argv[-1], argv[0])
    return OK


@command("HELLO [protover [AUTH username password] [SETNAME clientname]]",
         "Greets the server: chooses the protocol, authenticates and names the connection.",
         group="connection", since="6.0.0", flags="noscript loading stale fast no_auth allow_busy")  # fmt: skip
def hello(s: Session, argv: Argv) -> Reply:
    protocol = s.resp
    if len(argv) > 1:
        protocol = integer(argv[1], "ERR Protocol version is not an integer or out of range")
        if protocol not in (2, 3):
            raise ReplyError(NOPROTO)
    credentials, name = None, None
    at = 2
    while at < len(argv):
        option, more = argv[at].upper(), len(argv) - at - 1
        if option == b"AUTH" and more >= 2:
            credentials = argv[at + 1], argv[at + 2]
            at += 3
        elif option == b"SETNAME" and more:
            name = client_name(argv[at + 1])
            at += 2
        else:
            raise ReplyError(f"ERR Syntax error in HELLO option '{printable(argv[at])}'")
    if credentials is not None:
        s.engine.acl.authenticate(s, *credentials, argv[0])
    if not s.authenticated:
        raise ReplyError(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> "
            "<pass> option can be used to authenticate the client and select the RESP protocol version at the same "
            "time"
        )
    if name is not None:
        s.name = name
    s.set_protocol(protocol)
    return {
        b"server": b"redis",
        b"version": REDIS_VERSION,
        b"proto": protocol,
        b"id": s.id,
        b"mode": b"standalone",
        b"role": b"master",
        b"modules": [],
    }


def client_name(raw: bytes) -> bytes:
    """Checks a connection's name. Raises when CLIENT LIST could not show it."""
    if not _ATTRIBUTE.match(raw):
        raise ReplyError("ERR Client names cannot contain spaces, newlines or special characters.")
    return raw


def client_attribute(what: bytes, raw: bytes) -> bytes:
    """Checks another attribute that CLIENT LIST shows; `what` is how the client spelt its name."""
    if not _ATTRIBUTE.match(raw):
        raise ReplyError(f"ERR {printable(what)} cannot contain spaces, newlines or special characters.")
    return raw
