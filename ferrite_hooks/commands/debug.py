"""DEBUG: what tests and tools look at and provoke. One function per subcommand, in SUBCOMMANDS.

Only for those whom `server.enable_debug_command` lets in. What shows the insides of Redis's own memory layout
does not exist here.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from typing import NamedTuple

from ferrite_hooks import glob
from ferrite_hooks.commands.common import integer, strtod
from ferrite_hooks.config import parse_size
from ferrite_hooks.engine.command import Argv, command
from ferrite_hooks.engine.scripts import scripts
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import NO_SUCH_KEY, ReplyError, printable, subcommand_syntax
from ferrite_hooks.resp.reply import OK, BigNumber, Encoded, Members, Pairs, Push, Reply, Several, Simple, Verbatim
from ferrite_hooks.store.rdb_write import dump_value
from ferrite_hooks.values.digest import EMPTY, dataset_digest, shown, value_digest
from ferrite_hooks.values.encoding import encoding

log = logging.getLogger("ferrite_hooks")

_MAX_POPULATE = 10_000_000
_DUMP_FRAME = 11  # bytes of a DUMP payload that are not the value: type, version, checksum
_ATTRIBUTE = b"|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n"


class Sub(NamedTuple):
    syntax: str
    summary: str
    run: Callable[[Session, Argv], Reply]
    low: int  # words that follow it
    high: int


SUBCOMMANDS: dict[bytes, Sub] = {}


def _sub(syntax: str, summary: str, low: int = 0, high: int = 0) -> Callable[[Callable[[Session, Argv], Reply]], None]:
    def declare(run: Callable[[Session, Argv], Reply]) -> None:
        SUBCOMMANDS[syntax.split()[0].encode()] = Sub(syntax, summary, run, low, high)

    return declare


@command("DEBUG subcommand [argument [argument ...]]", "A container for debugging commands.",
         group="server", since="1.0.0", flags="admin noscript loading stale", arity=-2,
         complexity="Depends on subcommand.")  # fmt: skip
def debug(s: Session, argv: Argv) -> Reply:
    allowed = s.engine.settings["enable-debug-command"]
    local = not s.ip or s.ip == "::1" or s.ip.startswith("127.")
    if not (allowed == "yes" or (allowed == "local" and local) or s.internal):
        raise ReplyError(
            'ERR DEBUG command not allowed. If the enable-debug-command option is set to "local", you can run it from a'
            " local connection, otherwise you need to set this option in the configuration file, and then restart the"
            " server."
        )
    sub = SUBCOMMANDS.get(argv[1].upper())
    if sub is None or not sub.low <= len(argv) - 2 <= sub.high:
        raise ReplyError(subcommand_syntax("DEBUG", argv[1]))
    return sub.run(s, argv)


@_sub("CHANGE-REPL-ID", "Gives the server a new id for replication, which is its run id here.")
def _change_repl_id(s: Session, argv: Argv) -> Reply:
    s.engine.host.run_id = secrets.token_hex(20)
    return OK


@_sub("DIGEST", "The digest of all data, as every Redis computes it.")
def _digest(s: Session, argv: Argv) -> Reply:
    return Simple(shown(dataset_digest((db.index, db.data, db.expires) for db in s.engine.databases)))


@_sub("DIGEST-VALUE [key ...]", "The digests of values.", 0, 1 << 20)
def _digest_value(s: Session, argv: Argv) -> Reply:
    data, expires = s.db.data, s.db.expires
    return [Simple(shown(value_digest(data[key], key in expires) if key in data else EMPTY)) for key in argv[2:]]


@_sub("ERROR <string>", "Replies with this error.", 1, 1)
def _error(s: Session, argv: Argv) -> Reply:
    raise ReplyError(printable(argv[2]))


@_sub("LOADAOF", "Reads snapshot and journal again in place of the data in memory.")
def _loadaof(s: Session, argv: Argv) -> Reply:
    s.engine.host.reload_journal()
    return OK


@_sub("LOG <message>", "Writes a line to the server's log.", 1, 1)
def _log(s: Session, argv: Argv) -> Reply:
    log.warning("DEBUG LOG: %s", printable(argv[2]))
    return OK


@_sub("OBJECT <key>", "What there is to say about a key's value.", 1, 1)
def _object(s: Session, argv: Argv) -> Reply:
    value = s.db.data.get(argv[2])
    if value is None:
        raise ReplyError(NO_SUCH_KEY)
    said = encoding(value, s.engine.settings)
    return Simple(
        b"Value at:0x%x refcount:1 encoding:%b serializedlength:%d lru:0 lru_seconds_idle:0"
        % (id(value), said, len(dump_value(value)) - _DUMP_FRAME)
    )


@_sub("POPULATE <count> [<prefix>] [<size>]", "Creates string keys <prefix>:0, <prefix>:1, ….", 1, 3)
def _populate(s: Session, argv: Argv) -> Reply:
    wrong = "ERR value is out of range, must be positive"
    count = integer(argv[2], wrong)
    prefix = argv[3] if len(argv) > 3 else b"key"
    size = integer(argv[4], wrong) if len(argv) > 4 else 0
    if not 0 <= count <= _MAX_POPULATE or not 0 <= size <= s.engine.settings["proto-max-bulk-len"]:
        raise ReplyError(wrong)
    for n in range(count):
        key, value = b"%b:%d" % (prefix, n), b"value:%d" % n
        if s.db.find(key) is None:
            value = value.ljust(size, b"\0")[:size] if size else value
            s.db.place(key, value)
            s.engine.dirty += 1
            s.engine.effect(b"SET", key, value)
    return OK


_REPLIES: dict[bytes, Callable[[], Reply]] = {
    b"string": lambda: b"Hello World",
    b"integer": lambda: 12345,
    b"double": lambda: 3.141,
    b"bignum": lambda: BigNumber(b"1234567999999999999999999999999999999"),
    b"null": lambda: None,
    b"array": lambda: [0, 1, 2],
    b"set": lambda: Members([0, 1, 2]),
    b"map": lambda: Pairs([0, False, 1, True, 2, False]),
    b"true": lambda: True,
    b"false": lambda: False,
    b"verbatim": lambda: Verbatim(b"This is a verbatim\nstring"),
}


@_sub("PROTOCOL <type>", "Replies with a value of this type: string, integer, double, bignum, null, array, set,"
      " map, attrib, push, verbatim, true, false.", 1, 1)  # fmt: skip
def _protocol(s: Session, argv: Argv) -> Reply:
    kind = argv[2].lower()
    if kind == b"attrib":
        text = b"Some real reply following the attribute"
        return Several([Encoded(_ATTRIBUTE), text]) if s.resp == 3 else text
    if kind == b"push":
        if s.resp == 2:
            raise ReplyError("ERR RESP2 is not supported by this command")
        return Several([Push([b"server-cpu-usage", 42]), b"Some real reply following the push reply"])
    if kind not in _REPLIES:
        known = "string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false"
        raise ReplyError(f"ERR Wrong protocol type name. Please use one of the following: {known}")
    return _REPLIES[kind]()


@_sub("QUICKLIST-PACKED-THRESHOLD <size>", "Checked, and without effect: lists have no nodes of that kind.", 1, 1)
def _quicklist_packed_threshold(s: Session, argv: Argv) -> Reply:
    try:
        if parse_size(argv[2].decode("utf-8", "replace")) <= (1 << 32) - (1 << 20):
            return OK
    except ValueError:
        pass
    raise ReplyError("ERR argument must be a memory value bigger than 1 and smaller than 4gb")


@_sub("RELOAD [NOSAVE] [NOFLUSH] [MERGE]", "Saves a snapshot and loads it in place of the data in memory; NOSAVE: loads"
      " the one that is there; NOFLUSH MERGE: adds it to the data.", 0, 3)  # fmt: skip
def _reload(s: Session, argv: Argv) -> Reply:
    words = {word.upper() for word in argv[2:]}
    if not words <= {b"MERGE", b"NOFLUSH", b"NOSAVE"}:
        raise ReplyError("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.")
    s.engine.host.reload(b"NOSAVE" not in words, b"NOFLUSH" not in words, b"MERGE" in words)
    return OK


@_sub("SET-ACTIVE-EXPIRE <0|1>", "Whether keys past their time go when nobody touches them.", 1, 1)
def _set_active_expire(s: Session, argv: Argv) -> Reply:
    s.engine.expiry.active = argv[2] != b"0"
    return OK


@_sub("SET-DISABLE-DENY-SCRIPTS <0|1>", "Whether scripts may also call what is closed to them: server and connection"
      " commands.", 1, 1)  # fmt: skip
def _set_disable_deny_scripts(s: Session, argv: Argv) -> Reply:
    scripts(s.engine).all_commands = argv[2] != b"0"
    return OK


@_sub("SLEEP <seconds>", "Stops the whole server for so long.", 1, 1)
def _sleep(s: Session, argv: Argv) -> Reply:
    seconds = strtod(argv[2])
    time.sleep(min(max(seconds or 0.0, 0.0), 3600.0))
    return OK


@_sub("STRINGMATCH-LEN <string> <pattern>", "1 if the glob pattern matches the string, else 0.", 2, 2)
def _stringmatch_len(s: Session, argv: Argv) -> Reply:
    return int(bool(glob.compile(argv[3])(argv[2])))


@_sub("HELP", "Prints this help.")
def _help(s: Session, argv: Argv) -> Reply:
    lines = ["DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"]
    for sub in SUBCOMMANDS.values():
        lines += [sub.syntax, "    " + sub.summary]
    return [Simple(line.encode()) for line in lines]
