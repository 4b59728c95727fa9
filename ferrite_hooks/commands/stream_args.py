"""What the stream commands share: reading ids, ranges, trim and read options, and showing entries.

Each reader raises the ReplyError that Redis gives, in Redis's order of checks.
"""

from __future__ import annotations

from typing import NamedTuple

from ferrite_hooks import errors
from ferrite_hooks.commands.common import I64_MAX, integer
from ferrite_hooks.engine.command import Argv
from ferrite_hooks.engine.engine import Engine
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import INVALID_STREAM_ID, SYNTAX, ReplyError
from ferrite_hooks.resp.reply import Entries, Pairs, Reply
from ferrite_hooks.values.stream import MAX_ID, U64, Fields, Stream, format_id, parse_id, parse_partial_id

_TRIM_LIMIT_MAX = 1_000_000  # entries that an approximate trim may delete at once, whatever a node holds


# Ids


def strict_id(raw: bytes, missing_seq: int = 0) -> int:
    """An id as `ms` or `ms-seq`, neither `-` nor `+`."""
    id = parse_id(raw, missing_seq)
    if id is None:
        raise ReplyError(INVALID_STREAM_ID)
    return id


def loose_id(raw: bytes, missing_seq: int = 0) -> int:
    """An id that may also be `-` (the smallest) or `+` (the greatest)."""
    if raw == b"-":
        return 0
    return MAX_ID if raw == b"+" else strict_id(raw, missing_seq)


def range_start(raw: bytes) -> int:
    """The first id of a range; `(id` leaves the id itself out."""
    if raw[:1] != b"(" or len(raw) == 1:
        return loose_id(raw)
    id = strict_id(raw[1:]) + 1
    if id > MAX_ID:
        raise ReplyError(errors.INVALID_RANGE_START)
    return id


def range_end(raw: bytes) -> int:
    """The last id of a range; `(id` leaves the id itself out."""
    if raw[:1] != b"(" or len(raw) == 1:
        return loose_id(raw, U64)
    id = strict_id(raw[1:], U64) - 1
    if id < 0:
        raise ReplyError(errors.INVALID_RANGE_END)
    return id


# Entries


def entry(id: int, fields: Fields) -> Reply:
    return [format_id(id), list(fields)]


def entries(found: list[tuple[int, Fields]]) -> Reply:
    return Entries([(format_id(id), fields) for id, fields in found])


# Trimming


class Trim(NamedTuple):
    """MAXLEN or MINID of XADD and XTRIM."""

    maxlen: int
    minid: int | None  # None: trim to maxlen
    approximate: bool
    limit: int  # entries to delete at most, 0 = no limit

    def apply(self, stream: Stream) -> int:
        """Trims. Returns how many entries were deleted."""
        if self.minid is None:
            return stream.trim_length(self.maxlen, self.approximate, self.limit)
        return stream.trim_id(self.minid, self.approximate, self.limit)


class Added(NamedTuple):
    """The options of XADD (and, without the first three, of XTRIM)."""

    at: int  # where the id stands
    id: tuple[int, int | None] | None  # (ms, seq), seq None for `ms-*`; None for `*`
    create: bool
    trim: Trim | None


def add_options(engine: Engine, argv: Argv, xadd: bool) -> Added:
    """Reads `[NOMKSTREAM] [MAXLEN | MINID [= | ~] threshold [LIMIT count]]` and, for XADD, the id."""
    at, end = 2, len(argv)
    id: tuple[int, int | None] | None = None
    create = True
    kind = b""
    maxlen = 0
    minid: int | None = None
    approximate = False
    limit: int | None = None
    while at < end:
        more = end - 1 - at
        option = argv[at].upper()
        if xadd and option == b"*":
            break
        if option in (b"MAXLEN", b"MINID") and more:
            if kind:
                raise ReplyError(errors.TRIM_BOTH)
            sign = argv[at + 1] if more >= 2 else b""
            approximate = sign == b"~"
            at += 2 if sign in (b"~", b"=") else 1
            kind = option
            if option == b"MINID":
                minid = strict_id(argv[at])
            else:
                maxlen = integer(argv[at])
                if maxlen < 0:
                    raise ReplyError(errors.TRIM_MAXLEN_NEGATIVE)
        elif option == b"LIMIT" and more:
            at += 1
            limit = integer(argv[at])
            if limit < 0:
                raise ReplyError(errors.TRIM_LIMIT_NEGATIVE)
        elif xadd and option == b"NOMKSTREAM":
            create = False
        elif xadd:
            id = parse_partial_id(argv[at])
            if id is None:
                raise ReplyError(INVALID_STREAM_ID)
            break
        else:
            raise ReplyError(SYNTAX)
        at += 1
    if limit and not kind:
        raise ReplyError(errors.TRIM_LIMIT_ALONE)
    if not xadd and not kind:
        raise ReplyError(errors.XTRIM_NO_STRATEGY)
    if limit is not None and not approximate:
        raise ReplyError(errors.TRIM_LIMIT_EXACT)
    if limit is None:
        limit = _default_limit(engine) if approximate else 0
    return Added(at, id, create, Trim(maxlen, minid, approximate, limit) if kind else None)


def _default_limit(engine: Engine) -> int:
    per_node: int = engine.settings["stream-node-max-entries"]
    return min(100 * per_node or 10_000, _TRIM_LIMIT_MAX)


# Reading


class Read(NamedTuple):
    """The options of XREAD and XREADGROUP."""

    deadline: int | None  # unix ms, 0 = wait for ever, None = don't wait
    limit: int  # entries of each stream, 0 = all
    group: bytes | None
    consumer: bytes
    noack: bool
    first: int  # where the keys stand
    keys: list[bytes]
    ids: list[bytes]


def read_options(s: Session, argv: Argv, name: str) -> Read:
    """Reads the arguments of `name`, xread or xreadgroup."""
    grouped = name == "xreadgroup"
    deadline: int | None = None
    count = 0
    group: bytes | None = None
    consumer = b""
    noack = False
    at, end = 1, len(argv)
    while at < end:
        more = end - 1 - at
        option = argv[at].upper()
        if option == b"BLOCK" and more:
            if s.internal and s.deny_blocking:
                command = errors.whole(argv[0])
                raise ReplyError(f"ERR {command} command is not allowed with BLOCK option from scripts")
            at += 1
            deadline = block_deadline_ms(s.engine, argv[at])
        elif option == b"COUNT" and more:
            at += 1
            count = max(integer(argv[at]), 0)
        elif option == b"STREAMS" and more:
            first, streams = at + 1, more // 2
            if more % 2:
                raise ReplyError(errors.unbalanced_streams(name, ">" if grouped else "$"))
            break
        elif option == b"GROUP" and more >= 2:
            if not grouped:
                raise ReplyError(errors.XREAD_NO_GROUP)
            group, consumer = argv[at + 1], argv[at + 2]
            at += 2
        elif option == b"NOACK":
            if not grouped:
                raise ReplyError(errors.XREAD_NO_NOACK)
            noack = True
        else:
            raise ReplyError(SYNTAX)
        at += 1
    else:
        raise ReplyError(SYNTAX)
    if grouped and group is None:
        raise ReplyError(errors.XREADGROUP_NO_GROUP)
    keys, ids = argv[first : first + streams], argv[first + streams :]
    return Read(deadline, count, group, consumer, noack, first, keys, ids)


def block_deadline_ms(engine: Engine, raw: bytes) -> int:
    """The timeout in milliseconds of a blocking command, as a deadline in unix ms; 0 = wait for ever."""
    timeout = integer(raw, errors.TIMEOUT_NOT_INTEGER)
    if timeout < 0:
        raise ReplyError(errors.TIMEOUT_NEGATIVE)
    if timeout > I64_MAX - engine.clock.now:
        raise ReplyError(errors.TIMEOUT_OUT_OF_RANGE)
    return engine.clock.now + timeout if timeout else 0


def by_key(s: Session, found: list[tuple[bytes, Reply]]) -> Reply:
    """What was read, stream by stream: a map in RESP3, pairs in RESP2."""
    if s.resp == 2:
        return [list(pair) for pair in found]
    return Pairs([part for pair in found for part in pair])
