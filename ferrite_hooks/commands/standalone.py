"""What a stand-alone server answers about replicas, clusters, modules and other servers. The commands are there,
with Redis's facts about them, because clients and tools ask for them before they know whom they talk to."""

from __future__ import annotations

from ferrite_hooks.commands.common import help_lines
from ferrite_hooks.engine.command import Argv, command, container
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import NOT_INTEGER, SYNTAX, ReplyError, printable
from ferrite_hooks.resp.reply import OK, Reply, Simple

_ADMIN = "admin noscript"


# -- replication ---------------------------------------------------------------------------------------------


def _replicaof(s: Session, argv: Argv) -> Reply:
    if argv[1].upper() == b"NO" and argv[2].upper() == b"ONE":
        return OK
    if not argv[2].isdigit():
        raise ReplyError(NOT_INTEGER)
    raise ReplyError("ERR this server cannot be a replica; load the other server's dump.rdb instead")


@command("REPLICAOF host port", "Only NO ONE is possible: this server is no replica.",
         group="server", since="5.0.0", flags=_ADMIN + " stale no_async_loading")  # fmt: skip
def replicaof(s: Session, argv: Argv) -> Reply:
    return _replicaof(s, argv)


@command("SLAVEOF host port", "The older name of REPLICAOF.",
         group="server", since="1.0.0", flags=_ADMIN + " stale no_async_loading")  # fmt: skip
def slaveof(s: Session, argv: Argv) -> Reply:
    return _replicaof(s, argv)


@command("FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]", "Refused: there are no replicas.",
         group="server", since="6.2.0", flags=_ADMIN + " stale")  # fmt: skip
def failover(s: Session, argv: Argv) -> Reply:
    if len(argv) == 2 and argv[1].upper() == b"ABORT":
        raise ReplyError("ERR No failover in progress.")
    raise ReplyError("ERR FAILOVER requires connected replicas.")


def _no_stream(s: Session, argv: Argv) -> Reply:
    raise ReplyError("ERR this server has no replication stream; webhooks tell of its changes")


@command("SYNC", "Refused: there is no replication stream.",
         group="server", since="1.0.0", flags=_ADMIN + " no_async_loading no_multi")  # fmt: skip
def sync(s: Session, argv: Argv) -> Reply:
    return _no_stream(s, argv)


@command("PSYNC replicationid offset", "Refused: there is no replication stream.",
         group="server", since="2.8.0", flags=_ADMIN + " no_async_loading no_multi", arity=-3)  # fmt: skip
def psync(s: Session, argv: Argv) -> Reply:
    return _no_stream(s, argv)


_REPLCONF = frozenset([b"listening-port", b"ip-address", b"capa", b"ack", b"getack", b"rdb-only", b"rdb-filter-only"])


@command("REPLCONF", "What a replica says of itself; heard and left.",
         group="server", since="3.0.0", flags=_ADMIN + " loading stale allow_busy", arity=-1)  # fmt: skip
def replconf(s: Session, argv: Argv) -> Reply:
    if len(argv) % 2 == 0:
        raise ReplyError(SYNTAX)
    for option in argv[1::2]:
        if option.lower() not in _REPLCONF:
            raise ReplyError(f"ERR Unrecognized REPLCONF option: {printable(option)}")
    return OK


def _migrated(argv: Argv) -> list[int]:
    """Where the keys of MIGRATE stand: the third argument, or behind KEYS, which may be a password as well."""
    at = 6
    while not argv[3] and at < len(argv):
        word = argv[at].upper()
        if word == b"KEYS":
            return list(range(at + 1, len(argv)))
        at += {b"AUTH": 2, b"AUTH2": 3}.get(word, 1)
    return [3]


@command(
    "MIGRATE host port key destination-db timeout [COPY] [REPLACE] [AUTH password] [AUTH2 username password]"
    " [KEYS key [key ...]]",
    "Refused, unless there is no such key: DUMP here and RESTORE there do the same.",
    group="generic", since="2.6.0", flags="write movablekeys dangerous", keys="RW access delete @3",
    getkeys=_migrated, events="del", tips="nondeterministic_output", arity=-6,
)  # fmt: skip
def migrate(s: Session, argv: Argv) -> Reply:
    if all(s.db.find(argv[i]) is None for i in _migrated(argv)):
        return Simple(b"NOKEY")
    raise ReplyError("ERR MIGRATE is not supported; DUMP here and RESTORE there do the same")


# -- clusters ------------------------------------------------------------------------------------------------


def _no_cluster(s: Session, argv: Argv) -> Reply:
    raise ReplyError("ERR This instance has cluster support disabled")


container("CLUSTER", "Clusters; this server is stand-alone.", group="cluster", since="3.0.0")

_CHANGES = "admin stale no_async_loading"
_VARIES = "nondeterministic_output"
for _syntax, _since, _flags, _tips in (
    ("ADDSLOTS slot [slot ...]", "3.0.0", _CHANGES, ""),
    ("ADDSLOTSRANGE start-slot end-slot [start-slot end-slot ...]", "7.0.0", _CHANGES, ""),
    ("BUMPEPOCH", "3.0.0", _CHANGES, _VARIES),
    ("COUNT-FAILURE-REPORTS node-id", "3.0.0", "admin stale", _VARIES),
    ("COUNTKEYSINSLOT slot", "3.0.0", "stale", ""),
    ("DELSLOTS slot [slot ...]", "3.0.0", _CHANGES, ""),
    ("DELSLOTSRANGE start-slot end-slot [start-slot end-slot ...]", "7.0.0", _CHANGES, ""),
    ("FAILOVER [FORCE | TAKEOVER]", "3.0.0", _CHANGES, ""),
    ("FLUSHSLOTS", "3.0.0", _CHANGES, ""),
    ("FORGET node-id", "3.0.0", _CHANGES, ""),
    ("GETKEYSINSLOT slot count", "3.0.0", "stale", _VARIES),
    ("HELP", "5.0.0", "loading stale", ""),
    ("INFO", "3.0.0", "stale", _VARIES),
    ("KEYSLOT key", "3.0.0", "stale", ""),
    ("LINKS", "7.0.0", "stale", _VARIES),
    ("MEET ip port [cluster-bus-port]", "3.0.0", _CHANGES, ""),
    ("MYID", "3.0.0", "stale", ""),
    ("MYSHARDID", "7.2.0", "stale", _VARIES),
    ("NODES", "3.0.0", "stale", _VARIES),
    ("REPLICAS node-id", "5.0.0", "admin stale", _VARIES),
    ("REPLICATE node-id", "3.0.0", _CHANGES, ""),
    ("RESET [HARD | SOFT]", "3.0.0", "admin noscript stale", ""),
    ("SAVECONFIG", "3.0.0", _CHANGES, ""),
    ("SET-CONFIG-EPOCH config-epoch", "3.0.0", _CHANGES, ""),
    ("SETSLOT slot subcommand [node-id]", "3.0.0", _CHANGES, ""),
    ("SHARDS", "7.0.0", "stale", _VARIES),
    ("SLAVES node-id", "3.0.0", "admin stale", _VARIES),
    ("SLOTS", "3.0.0", "stale", _VARIES),
):
    command(f"CLUSTER {_syntax}", "Refused: this server is stand-alone.",
            group="cluster", since=_since, flags=_flags, tips=_tips)(_no_cluster)  # fmt: skip
for _name, _flags in (("ASKING", "fast"), ("READONLY", "fast loading stale"), ("READWRITE", "fast loading stale")):
    command(_name, "Refused: this server is stand-alone.",
            group="cluster", since="3.0.0", flags=_flags, acl="connection")(_no_cluster)  # fmt: skip


# -- modules -------------------------------------------------------------------------------------------------


container("MODULE", "Modules; this server has none.", group="server", since="4.0.0")


@command("MODULE LIST", "The loaded modules: none.",
         group="server", since="4.0.0", flags=_ADMIN, tips="nondeterministic_output_order")  # fmt: skip
def module_list(s: Session, argv: Argv) -> Reply:
    return []


def _no_modules(s: Session, argv: Argv) -> Reply:
    raise ReplyError("ERR MODULE command not allowed. This server has no modules.")


for _syntax, _since in (
    ("LOAD path [arg [arg ...]]", "4.0.0"),
    ("LOADEX path [CONFIG name value [CONFIG name value ...]] [ARGS args [args ...]]", "7.0.0"),
    ("UNLOAD name", "4.0.0"),
):
    command(f"MODULE {_syntax}", "Refused: this server has no modules.",
            group="server", since=_since, flags=_ADMIN + " no_async_loading")(_no_modules)  # fmt: skip


@command("MODULE HELP", "The subcommands of MODULE.", group="server", since="5.0.0", flags="loading stale")
def module_help(s: Session, argv: Argv) -> Reply:
    return help_lines("MODULE")
