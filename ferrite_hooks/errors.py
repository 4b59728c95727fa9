"""Everything a client can be told when something is wrong, word for word as Redis says it.

One exception carries an error reply; it is raised anywhere below `run()` and caught only there. Texts are
kept here so that a spelling exists once and a test can compare all of them with redis-server.
"""

from __future__ import annotations


class ReplyError(Exception):
    """An error reply: `text` goes to the client after the dash, its first word being the code."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


WRONGTYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
SYNTAX = "ERR syntax error"
NOT_INTEGER = "ERR value is not an integer or out of range"
NOT_FLOAT = "ERR value is not a valid float"
OUT_OF_RANGE = "ERR value is out of range"
INDEX_OUT_OF_RANGE = "ERR index out of range"
NO_SUCH_KEY = "ERR no such key"
NAN_OR_INFINITY = "ERR value is NaN or Infinity"
INCREMENT_NAN = "ERR increment would produce NaN or Infinity"
OVERFLOW = "ERR increment or decrement would overflow"
STRING_TOO_LONG = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
BUSYKEY = "BUSYKEY Target key name already exists."
SAME_OBJECT = "ERR source and destination objects are the same"
DB_OUT_OF_RANGE = "ERR DB index is out of range"
NOAUTH = "NOAUTH Authentication required."
WRONGPASS = "WRONGPASS invalid username-password pair or user is disabled."
NOPROTO = "NOPROTO unsupported protocol version"
LOADING = "LOADING Redis is loading the dataset in memory"
BUSY_SCRIPT = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
BUSY_FUNCTION = "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE."
NOTBUSY = "NOTBUSY No scripts in execution right now."
UNKILLABLE = (
    "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the script "
    "termination or kill the server in a hard way using the SHUTDOWN NOSAVE command."
)
OOM = "OOM command not allowed when used memory > 'maxmemory'."
EXECABORT = "EXECABORT Transaction discarded because of previous errors."
EXECABORT_BECAUSE = "EXECABORT Transaction discarded because of: "
UNBLOCKED = "UNBLOCKED client unblocked via CLIENT UNBLOCK"
NO_MULTI = "ERR Command not allowed inside a transaction"
INTERNAL = "ERR internal error; the server's log has the details"
NOSCRIPT = "NOSCRIPT No matching script. Please use EVAL."
TIMEOUT_NEGATIVE = "ERR timeout is negative"
TIMEOUT_NOT_FLOAT = "ERR timeout is not a float or out of range"
TIMEOUT_OUT_OF_RANGE = "ERR timeout is out of range"
NOREPLICAS = "NOREPLICAS Not enough good replicas to write."
MISCONF = (
    "MISCONF Errors writing to the journal: %s. Commands that may modify the data set are refused "
    "until the disk can be written again."
)


def printable(raw: bytes, limit: int = 128) -> str:
    """Client bytes for an error text: cut to `limit`, line ends made blanks, as Redis does."""
    return raw[:limit].decode("utf-8", "surrogateescape").replace("\r", " ").replace("\n", " ")


def unknown_command(argv: list[bytes]) -> str:
    args = ""
    for arg in argv[1:]:
        if len(args) >= 128:
            break
        args += f"'{printable(arg, 128 - len(args))}' "
    return f"ERR unknown command '{printable(argv[0])}', with args beginning with: {args}"


def unknown_subcommand(container: str, sub: bytes) -> str:
    return f"ERR unknown subcommand '{printable(sub)}'. Try {container.upper()} HELP."


def wrong_arity(name: str) -> str:
    return f"ERR wrong number of arguments for '{name}' command"


def subscribed_context(name: str) -> str:
    return (
        f"ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed "
        "in this context"
    )


def invalid_expire(name: str) -> str:
    return f"ERR invalid expire time in '{name}' command"


# Streams

INVALID_STREAM_ID = "ERR Invalid stream ID specified as stream command argument"
INVALID_RANGE_START = "ERR invalid start ID for the interval"
INVALID_RANGE_END = "ERR invalid end ID for the interval"
XADD_ID_ZERO = "ERR The ID specified in XADD must be greater than 0-0"
XADD_ID_SMALL = "ERR The ID specified in XADD is equal or smaller than the target stream top item"
XADD_EXHAUSTED = "ERR The stream has exhausted the last possible ID, unable to add more items"
XADD_TOO_LARGE = "ERR Elements are too large to be stored"
TRIM_BOTH = "ERR syntax error, MAXLEN and MINID options at the same time are not compatible"
TRIM_MAXLEN_NEGATIVE = "ERR The MAXLEN argument must be >= 0."
TRIM_LIMIT_NEGATIVE = "ERR The LIMIT argument must be >= 0."
TRIM_LIMIT_ALONE = "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy"
TRIM_LIMIT_EXACT = "ERR syntax error, LIMIT cannot be used without the special ~ option"
XTRIM_NO_STRATEGY = "ERR syntax error, XTRIM must be called with a trimming strategy"
XSETID_NEGATIVE = "ERR entries_added must be positive"
XSETID_BELOW_GIVEN = "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id"
XSETID_BELOW_DELETED = "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id"
XSETID_BELOW_TOP = "ERR The ID specified in XSETID is smaller than the target stream top item"
XSETID_BELOW_LENGTH = "ERR The entries_added specified in XSETID is smaller than the target stream length"
XREAD_NO_GROUP = "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead."
XREAD_NO_NOACK = "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead."
XREAD_NO_NEW = (
    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option."
)
XREADGROUP_NO_GROUP = "ERR Missing GROUP option for XREADGROUP"
XREADGROUP_NO_DOLLAR = (
    "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by "
    "specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set."
)
XGROUP_NO_KEY = (
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM "
    "option to create an empty stream automatically."
)
XGROUP_ENTRIES_READ = "ERR value for ENTRIESREAD must be positive or -1"
BUSYGROUP = "BUSYGROUP Consumer Group name already exists"
CLAIM_COUNT = "ERR COUNT must be > 0"
TIMEOUT_NOT_INTEGER = "ERR timeout is not an integer or out of range"


def invalid_argument(what: str, name: str) -> str:
    return f"ERR Invalid {what} argument for {name}"


def no_group(key: bytes, group: bytes, context: str = "") -> str:
    return f"NOGROUP No such key '{whole(key)}' or consumer group '{whole(group)}'{context}"


def no_group_of_key(key: bytes, group: bytes) -> str:
    return f"NOGROUP No such consumer group '{whole(group)}' for key name '{whole(key)}'"


def unbalanced_streams(name: str, mark: str) -> str:
    return f"ERR Unbalanced '{name}' list of streams: for each stream key an ID or '{mark}' must be specified."


def subcommand_syntax(container: str, sub: bytes) -> str:
    return (
        f"ERR unknown subcommand or wrong number of arguments for '{printable(sub)}'. "
        f"Try {container.upper()} HELP."
    )


def whole(raw: bytes) -> str:
    """Client bytes of any length for an error text."""
    return printable(raw, len(raw))


# HyperLogLogs

NOT_HLL = "WRONGTYPE Key is not a valid HyperLogLog string value."
CORRUPT_HLL = "INVALIDOBJ Corrupted HLL object detected"
PFDEBUG_NO_KEY = "ERR The specified key does not exist"
PFDEBUG_NOT_SPARSE = "ERR HLL encoding is not sparse"
