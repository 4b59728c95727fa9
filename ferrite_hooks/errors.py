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
OVERFLOW = "ERR increment or decrement would overflow"
STRING_TOO_LONG = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
DB_OUT_OF_RANGE = "ERR DB index is out of range"
NOAUTH = "NOAUTH Authentication required."
WRONGPASS = "WRONGPASS invalid username-password pair or user is disabled."
NOPROTO = "NOPROTO unsupported protocol version"
LOADING = "LOADING Redis is loading the dataset in memory"
BUSY = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
OOM = "OOM command not allowed when used memory > 'maxmemory'."
EXECABORT = "EXECABORT Transaction discarded because of previous errors."
EXECABORT_BECAUSE = "EXECABORT Transaction discarded because of: "
UNBLOCKED = "UNBLOCKED client unblocked via CLIENT UNBLOCK"
NO_MULTI = "ERR Command not allowed inside a transaction"
NOSCRIPT = "NOSCRIPT No matching script. Please use EVAL."
TIMEOUT_NEGATIVE = "ERR timeout is negative"
TIMEOUT_NOT_FLOAT = "ERR timeout is not a float or out of range"
TIMEOUT_OUT_OF_RANGE = "ERR timeout is out of range"
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
