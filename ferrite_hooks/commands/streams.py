"""Streams: append-only entries under ids that grow, read by range or by waiting for what comes next.

Consumer groups are in stream_groups.py, what XINFO tells in stream_info.py. XADD is replicated with the id it chose and
with the length its trim came to, so that a replay does the same whatever the clock and the node sizes.
"""

from __future__ import annotations

from typing import Final

from ferrite_hooks import errors
from ferrite_hooks.commands.common import integer
from ferrite_hooks.commands.stream_args import (
    Added,
    add_options,
    by_key,
    entries,
    range_end,
    range_start,
    read_options,
    strict_id,
)
from ferrite_hooks.engine.blocking import Wait
from ferrite_hooks.engine.command import Argv, command
from ferrite_hooks.engine.keyspace import stub
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import NO_SUCH_KEY, SYNTAX, ReplyError
from ferrite_hooks.resp.reply import NIL_ARRAY, OK, Reply
from ferrite_hooks.values.stream import MAX_ID, U64, Stream, format_id, format_new_id
from ferrite_hooks.webhooks.model import Written

_PLAIN: Final = Added(2, None, True, None)  # XADD key * …


@command(
    'XADD key [NOMKSTREAM] [<MAXLEN | MINID> ["=" | "~"] threshold [LIMIT count]] <"*" | id>'
    " field value [field value ...]",
    "Appends an entry to a stream, which it creates, and may trim the oldest entries.",
    group="stream", since="5.0.0", flags="write denyoom fast", keys="RW update @1", events="xadd xtrim",
    tips="nondeterministic_output",
)  # fmt: skip
def xadd(s: Session, argv: Argv) -> Reply:
    engine, db, key = s.engine, s.db, argv[1]
    options = _PLAIN if argv[2] == b"*" else add_options(engine, argv, True)
    fields = tuple(argv[options.at + 1 :])
    if len(fields) < 2 or len(fields) % 2:
        raise ReplyError(errors.wrong_arity("xadd"))
    if options.id == (0, 0):
        raise ReplyError(errors.XADD_ID_ZERO)
    stream = db.edit(key, Stream)
    old = stub(stream) if db.observed else None
    if stream is None:
        if not options.create:
            return None
        stream = Stream()
    id = _new_id(stream, options.id, engine.clock.now)
    settings = engine.settings
    try:
        stream.append(id, fields, settings["stream-node-max-entries"], settings["stream-node-max-bytes"])
    except ValueError:
        raise ReplyError(errors.XADD_TOO_LARGE)
    name = format_new_id(id)
    db.commit(key, stream, "xadd", ("stream", [name, *fields]) if db.observed else None, old)
    if options.trim is not None:
        if options.trim.apply(stream):
            db.emit(key, "xtrim")
        engine.effect(b"XADD", key, b"MAXLEN", b"=", b"%d" % len(stream), name, *fields)
    elif options.id is None or options.id[1] is None:
        engine.effect_of([b"XADD", key, name, *fields])
    return name


def _new_id(stream: Stream, wanted: tuple[int, int | None] | None, now: int) -> int:
    """The id of a new entry. Raises ReplyError when it would not be greater than the last one."""
    last = stream.last_id
    if last == MAX_ID:
        raise ReplyError(errors.XADD_EXHAUSTED)
    if wanted is None:
        return stream.next_id(now)
    ms, seq = wanted
    if seq is None:
        seq = (last & U64) + 1 if last >> 64 == ms else 0
    if seq > U64 or ms << 64 | seq <= last:
        raise ReplyError(errors.XADD_ID_SMALL)
    return ms << 64 | seq


@command(
    'XTRIM key <MAXLEN | MINID> ["=" | "~"] threshold [LIMIT count]',
    "Deletes the oldest entries of a stream, down to a length or up to an id.",
    group="stream", since="5.0.0", flags="write", keys="RW delete @1", events="xtrim",
    tips="nondeterministic_output",
)  # fmt: skip
def xtrim(s: Session, argv: Argv) -> Reply:
    db, key = s.db, argv[1]
    trim = add_options(s.engine, argv, False).trim
    stream = db.edit(key, Stream)
    if stream is None or trim is None:
        return 0
    deleted = trim.apply(stream)
    if deleted:
        db.commit(key, stream, "xtrim")
        s.engine.effect(b"XTRIM", key, b"MAXLEN", b"=", b"%d" % len(stream))
    return deleted


@command(
    "XDEL key id [id ...]", "Deletes entries from a stream.",
    group="stream", since="5.0.0", flags="write fast", keys="RW delete @1", events="xdel",
)  # fmt: skip
def xdel(s: Session, argv: Argv) -> Reply:
    db, key = s.db, argv[1]
    stream = db.edit(key, Stream)
    if stream is None:
        return 0
    ids = [strict_id(raw) for raw in argv[2:]]
    old = _about_to_go(stream, ids) if db.observed else None
    deleted = sum(map(stream.delete, ids))
    if deleted:
        db.commit(key, stream, "xdel", None, old)
    return deleted


def _about_to_go(stream: Stream, ids: list[int]) -> Written:
    """What webhooks show of deleted entries: a single one whole, several by the length of the stream before."""
    fields = stream.get(ids[0]) if len(ids) == 1 else None
    return stub(stream) if fields is None else ("stream", [format_id(ids[0]), *fields])


@command(
    "XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]",
    "Sets the last id of a stream, and what it remembers of its past.",
    group="stream", since="5.0.0", flags="write denyoom fast", keys="RW update @1", events="xsetid",
)  # fmt: skip
def xsetid(s: Session, argv: Argv) -> Reply:
    db, key = s.db, argv[1]
    id = strict_id(argv[2])
    added, max_deleted = -1, 0
    for at in range(3, len(argv), 2):
        option = argv[at].upper()
        if at + 1 == len(argv):
            raise ReplyError(SYNTAX)
        if option == b"ENTRIESADDED":
            added = integer(argv[at + 1])
            if added < 0:
                raise ReplyError(errors.XSETID_NEGATIVE)
        elif option == b"MAXDELETEDID":
            max_deleted = strict_id(argv[at + 1])
            if id < max_deleted:
                raise ReplyError(errors.XSETID_BELOW_GIVEN)
        else:
            raise ReplyError(SYNTAX)
    stream = db.edit(key, Stream)
    if stream is None:
        raise ReplyError(NO_SUCH_KEY)
    if id < stream.max_deleted_id:
        raise ReplyError(errors.XSETID_BELOW_DELETED)
    if len(stream):
        if id < stream.top_id:
            raise ReplyError(errors.XSETID_BELOW_TOP)
        if added != -1 and added < len(stream):
            raise ReplyError(errors.XSETID_BELOW_LENGTH)
    stream.last_id = id
    if added != -1:
        stream.entries_added = added
    if max_deleted:
        stream.max_deleted_id = max_deleted
    db.mention(key, "xsetid")
    return OK


@command(
    "XLEN key", "How many entries a stream has.",
    group="stream", since="5.0.0", flags="readonly fast", keys="RO @1",
)  # fmt: skip
def xlen(s: Session, argv: Argv) -> Reply:
    stream = s.db.read(argv[1], Stream)
    return 0 if stream is None else len(stream)


@command(
    "XRANGE key start end [COUNT count]", "The entries of a stream within a range of ids, oldest first.",
    group="stream", since="5.0.0", flags="readonly", keys="RO access @1",
)  # fmt: skip
def xrange_(s: Session, argv: Argv) -> Reply:
    return _range(s, argv, argv[2], argv[3], False)


@command(
    "XREVRANGE key end start [COUNT count]", "The entries of a stream within a range of ids, newest first.",
    group="stream", since="5.0.0", flags="readonly", keys="RO access @1",
)  # fmt: skip
def xrevrange(s: Session, argv: Argv) -> Reply:
    return _range(s, argv, argv[3], argv[2], True)


def _range(s: Session, argv: Argv, start: bytes, end: bytes, reverse: bool) -> Reply:
    low, high = range_start(start), range_end(end)
    count = -1
    for at in range(4, len(argv), 2):
        if argv[at].upper() != b"COUNT" or at + 1 == len(argv):
            raise ReplyError(SYNTAX)
        count = max(integer(argv[at + 1]), 0)
    stream = s.db.read(argv[1], Stream)
    if stream is None:
        return []
    if count == 0:
        return NIL_ARRAY
    return entries((stream.revrange if reverse else stream.range)(low, high, max(count, 0)))


@command(
    "XREAD [COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]",
    "The entries of one or more streams that follow the ids given, or a wait for the next ones.",
    group="stream", since="5.0.0", flags="readonly blocking movablekeys", keys="RO access =STREAMS/1:-1:1:2",
)  # fmt: skip
def xread(s: Session, argv: Argv) -> Reply:
    options = read_options(s, argv, "xread")
    streams: list[tuple[bytes, Stream | None, int]] = []
    for key, raw in zip(options.keys, options.ids, strict=True):
        stream = s.db.read(key, Stream)
        if raw == b"$":
            after = stream.last_id if stream is not None else 0
        elif raw == b">":
            raise ReplyError(errors.XREAD_NO_NEW)
        else:
            after = strict_id(raw)
        streams.append((key, stream, after))
    found = [
        (key, entries(stream.range(after + 1, MAX_ID, options.limit)))
        for key, stream, after in streams
        if stream is not None and stream.top_id > after
    ]
    if found:
        return by_key(s, found)
    if options.deadline is None:
        return NIL_ARRAY
    fixed = argv
    if b"$" in options.ids:  # means now, also when the call is repeated
        fixed = argv[: options.first + len(options.keys)] + [format_id(after) for _, _, after in streams]
    return Wait(tuple(options.keys), options.deadline, argv=fixed, kind=Stream)
