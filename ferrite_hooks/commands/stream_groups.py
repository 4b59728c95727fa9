"""Consumer groups: each entry of a stream is given to one consumer and stays pending until it is acknowledged.

Acknowledging, claiming and reading have no keyspace notification in Redis, so these changes are silent (`silent` in
their declarations); the journal gets them as Redis replicates them: a delivery is an XCLAIM that says who has the
entry, since when and how often, and XGROUP SETID says how far the group has read.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from ferrite_hooks import errors
from ferrite_hooks.commands.common import help_lines, integer
from ferrite_hooks.commands.stream_args import (
    by_key,
    entries,
    entry,
    loose_id,
    range_end,
    range_start,
    read_options,
    strict_id,
)
from ferrite_hooks.engine.blocking import Wait
from ferrite_hooks.engine.command import Argv, command, container
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import SYNTAX, ReplyError
from ferrite_hooks.resp.reply import NIL_ARRAY, OK, Reply
from ferrite_hooks.values.stream import MAX_ID, UNKNOWN, Consumer, Group, Pending, Stream, format_id, parse_id

_CLAIM_COUNT_MAX = (2**63 - 1) // 16
_CLAIM_ATTEMPTS = 10  # pending entries that XAUTOCLAIM looks at for each one it may return

container("XGROUP", "Subcommands that manage the consumer groups of a stream.", group="stream", since="5.0.0")


# XGROUP


@command(
    'XGROUP CREATE key group <id | "$"> [MKSTREAM] [ENTRIESREAD entries-read]',
    "Creates a consumer group that has read a stream up to an id.",
    group="stream", since="5.0.0", flags="write denyoom", keys="RW insert @2", events="xgroup-create",
)  # fmt: skip
def xgroup_create(s: Session, argv: Argv) -> Reply:
    db, key, name = s.db, argv[2], argv[3]
    create, entries_read = _group_options(argv)
    stream = db.edit(key, Stream)
    if stream is None and not create:
        raise ReplyError(errors.XGROUP_NO_KEY)
    if len(argv) > 8:
        raise ReplyError(errors.subcommand_syntax("xgroup", argv[1]))
    id = (0 if stream is None else stream.last_id) if argv[4] == b"$" else strict_id(argv[4])
    new = stream is None
    if stream is None:
        stream = Stream()
    if name in stream.groups:
        raise ReplyError(errors.BUSYGROUP)
    stream.groups[name] = Group(id, entries_read)
    if new:
        db.commit(key, stream, "xgroup-create")
    else:
        db.mention(key, "xgroup-create")
    return OK


@command(
    'XGROUP SETID key group <id | "$"> [ENTRIESREAD entries-read]',
    "Sets how far a consumer group has read.",
    group="stream", since="5.0.0", flags="write", keys="RW update @2", events="xgroup-setid",
)  # fmt: skip
def xgroup_setid(s: Session, argv: Argv) -> Reply:
    db, key = s.db, argv[2]
    _, entries_read = _group_options(argv)
    stream, group = _existing_group(s, argv)
    if len(argv) not in (5, 7):
        raise ReplyError(errors.subcommand_syntax("xgroup", argv[1]))
    group.last_id = stream.last_id if argv[4] == b"$" else loose_id(argv[4])
    group.entries_read = entries_read
    db.mention(key, "xgroup-setid")
    return OK


@command(
    "XGROUP DESTROY key group", "Removes a consumer group with all that is pending in it.",
    group="stream", since="5.0.0", flags="write", keys="RW delete @2", events="xgroup-destroy",
)  # fmt: skip
def xgroup_destroy(s: Session, argv: Argv) -> Reply:
    db, key = s.db, argv[2]
    stream = db.edit(key, Stream)
    if stream is None:
        raise ReplyError(errors.XGROUP_NO_KEY)
    if stream.groups.pop(argv[3], None) is None:
        return 0
    db.mention(key, "xgroup-destroy")
    return 1


@command(
    "XGROUP CREATECONSUMER key group consumer", "Creates a consumer in a consumer group.",
    group="stream", since="6.2.0", flags="write denyoom", keys="RW insert @2", events="xgroup-createconsumer",
)  # fmt: skip
def xgroup_createconsumer(s: Session, argv: Argv) -> Reply:
    _, group = _existing_group(s, argv)
    if argv[4] in group.consumers:
        return 0
    group.consumers[argv[4]] = Consumer(argv[4], s.engine.clock.now)
    s.db.mention(argv[2], "xgroup-createconsumer")
    return 1


@command(
    "XGROUP DELCONSUMER key group consumer", "Removes a consumer with all that is pending at it.",
    group="stream", since="5.0.0", flags="write", keys="RW delete @2", events="xgroup-delconsumer",
)  # fmt: skip
def xgroup_delconsumer(s: Session, argv: Argv) -> Reply:
    _, group = _existing_group(s, argv)
    pending = group.remove_consumer(argv[4])
    if pending is None:
        return 0
    s.db.mention(argv[2], "xgroup-delconsumer")
    return pending


@command("XGROUP HELP", "Tells about the subcommands.", group="stream", since="5.0.0", flags="loading stale")
def xgroup_help(s: Session, argv: Argv) -> Reply:
    return help_lines("XGROUP")


def _group_options(argv: Argv) -> tuple[bool, int]:
    """Reads `[MKSTREAM] [ENTRIESREAD n]` of CREATE and SETID, which takes the second only."""
    create, entries_read = False, UNKNOWN
    at = 5
    while at < len(argv):
        option = argv[at].upper()
        if option == b"MKSTREAM" and argv[1].upper() == b"CREATE":
            create = True
        elif option == b"ENTRIESREAD" and at + 1 < len(argv):
            at += 1
            entries_read = integer(argv[at])
            if entries_read < 0 and entries_read != UNKNOWN:
                raise ReplyError(errors.XGROUP_ENTRIES_READ)
        else:
            raise ReplyError(errors.subcommand_syntax("xgroup", argv[1]))
        at += 1
    return create, entries_read


def _existing_group(s: Session, argv: Argv) -> tuple[Stream, Group]:
    stream = s.db.edit(argv[2], Stream)
    if stream is None:
        raise ReplyError(errors.XGROUP_NO_KEY)
    group = stream.groups.get(argv[3])
    if group is None:
        raise ReplyError(errors.no_group_of_key(argv[2], argv[3]))
    return stream, group


# Reading


@command(
    'XREADGROUP "GROUP" group consumer [COUNT count] [BLOCK milliseconds] [NOACK]'
    " STREAMS key [key ...] id [id ...]",
    "New entries for a consumer of a group, or those still pending at it, or a wait for the next ones.",
    group="stream", since="5.0.0", flags="write blocking movablekeys", keys="RO access =STREAMS/4:-1:1:2",
    events="xgroup-createconsumer silent",
)  # fmt: skip
def xreadgroup(s: Session, argv: Argv) -> Reply:
    options = read_options(s, argv, "xreadgroup")
    name = options.group or b""
    reads: list[tuple[bytes, Stream, Group, int | None]] = []  # None: what is new
    for key, raw in zip(options.keys, options.ids, strict=True):
        stream = s.db.read(key, Stream)
        group = None if stream is None else stream.groups.get(name)
        if stream is None or group is None:
            raise ReplyError(errors.no_group(key, name, " in XREADGROUP with GROUP option"))
        if raw == b"$":
            raise ReplyError(errors.XREADGROUP_NO_DOLLAR)
        after = None if raw == b">" else strict_id(raw)
        reads.append((key, stream, group, None if after == MAX_ID else after))
    found: list[tuple[bytes, Reply]] = []
    for key, stream, group, after in reads:
        fresh = after is None and stream.top_id > group.last_id
        if s.blocked is not None and not fresh:
            continue  # a repeated call changes nothing before there is something to give
        consumer = _consumer(s, key, stream, name, options.consumer)
        if fresh:
            found.append((key, _deliver(s, key, stream, name, consumer, options.limit, options.noack)))
        elif after is not None:
            found.append((key, _history(s, key, stream, name, consumer, after, options.limit)))
    if found:
        return by_key(s, found)
    if options.deadline is None:
        return NIL_ARRAY
    return Wait(tuple(options.keys), options.deadline, kind=Stream, strict=True)


def _consumer(s: Session, key: bytes, stream: Stream, group: bytes, name: bytes) -> Consumer:
    """The consumer that issues a command, created if need be; it has been seen now."""
    now = s.engine.clock.now
    consumers = stream.groups[group].consumers
    consumer = consumers.get(name)
    if consumer is None:
        consumer = consumers[name] = Consumer(name, now)
        s.db.mention(key, "xgroup-createconsumer")
        s.engine.effect(b"XGROUP", b"CREATECONSUMER", key, group, name)
    consumer.seen_time = now
    return consumer


def _deliver(
    s: Session, key: bytes, stream: Stream, name: bytes, consumer: Consumer, limit: int, noack: bool
) -> Reply:
    """Gives what follows the group's last id to a consumer."""
    engine, group = s.engine, stream.groups[name]
    found = stream.range(group.last_id + 1, MAX_ID, limit)
    for id, _ in found:
        stream.deliver(group, id)
        if not noack:
            group.assign(id, consumer, engine.clock.now, 1)
    if not noack:
        consumer.active_time = engine.clock.now
        _effect_claim(s, key, name, group, [id for id, _ in found], group.pending[found[0][0]])
    _effect_progress(s, key, name, group)
    return entries(found)


def _history(
    s: Session, key: bytes, stream: Stream, name: bytes, consumer: Consumer, after: int, limit: int
) -> Reply:
    """What is pending at a consumer; reading it again counts as one more delivery."""
    group = stream.groups[name]
    found: list[Reply] = []
    for id in islice(consumer.pending.irange(after + 1), limit or None):
        fields = stream.get(id)
        if fields is None:
            found.append([format_id(id), NIL_ARRAY])
            continue
        pending = consumer.pending[id]
        pending.time = s.engine.clock.now
        pending.count += 1
        _effect_claim(s, key, name, group, [id], pending)
        found.append(entry(id, fields))
    return found


def _effect_claim(
    s: Session, key: bytes, name: bytes, group: Group, ids: Iterable[int], pending: Pending
) -> None:
    """Journals that `ids` are pending, all of them in the way that `pending` is."""
    s.engine.dirty += 1
    s.engine.effect(
        b"XCLAIM", key, name, pending.consumer.name, b"0", *map(format_id, ids),
        b"TIME", b"%d" % pending.time, b"RETRYCOUNT", b"%d" % pending.count,
        b"FORCE", b"JUSTID", b"LASTID", format_id(group.last_id),
    )  # fmt: skip


def _effect_progress(s: Session, key: bytes, name: bytes, group: Group) -> None:
    """Journals how far a group has read."""
    s.engine.dirty += 1
    s.engine.effect(
        b"XGROUP", b"SETID", key, name, format_id(group.last_id),
        b"ENTRIESREAD", b"%d" % group.entries_read,
    )  # fmt: skip


# Pending entries


@command(
    "XACK key group id [id ...]", "Ends the pending state of entries: how many were pending.",
    group="stream", since="5.0.0", flags="write fast", keys="RW update @1", events="silent",
)  # fmt: skip
def xack(s: Session, argv: Argv) -> Reply:
    stream = s.db.read(argv[1], Stream)
    group = None if stream is None else stream.groups.get(argv[2])
    if group is None:
        return 0
    acknowledged = sum(map(group.acknowledge, [strict_id(raw) for raw in argv[3:]]))
    s.engine.dirty += acknowledged
    return acknowledged


@command(
    "XPENDING key group [[IDLE min-idle-time] start end count [consumer]]",
    "What is pending in a consumer group: a summary, or entry by entry.",
    group="stream", since="5.0.0", flags="readonly", keys="RO access @1", tips="nondeterministic_output",
)  # fmt: skip
def xpending(s: Session, argv: Argv) -> Reply:
    if len(argv) == 3:
        return _pending_summary(_read_group(s, argv)[1])
    if not 6 <= len(argv) <= 9:
        raise ReplyError(SYNTAX)
    at, min_idle = 3, 0
    if argv[3].upper() == b"IDLE":
        min_idle = integer(argv[4])
        if len(argv) < 8:
            raise ReplyError(SYNTAX)
        at = 5
    count = max(integer(argv[at + 2]), 0)
    low, high = range_start(argv[at]), range_end(argv[at + 1])
    group = _read_group(s, argv)[1]
    table = group.pending
    if len(argv) > at + 3:
        consumer = group.consumers.get(argv[at + 3])
        if consumer is None:
            return []
        table = consumer.pending
    now = s.engine.clock.now
    found: list[Reply] = []
    for id in table.irange(low, high):
        if len(found) >= count:
            break
        pending = table[id]
        idle = now - pending.time
        if not min_idle or idle >= min_idle:
            found.append([format_id(id), pending.consumer.name, max(idle, 0), pending.count])
    return found


def _pending_summary(group: Group) -> Reply:
    table = group.pending
    if not table:
        return [0, None, None, NIL_ARRAY]
    consumers: list[Reply] = [
        [name, b"%d" % len(consumer.pending)]
        for name, consumer in sorted(group.consumers.items())
        if consumer.pending
    ]
    return [len(table), format_id(table.peekitem(0)[0]), format_id(table.peekitem(-1)[0]), consumers]


def _read_group(s: Session, argv: Argv) -> tuple[Stream, Group]:
    stream = s.db.read(argv[1], Stream)
    group = None if stream is None else stream.groups.get(argv[2])
    if stream is None or group is None:
        raise ReplyError(errors.no_group(argv[1], argv[2]))
    return stream, group


@command(
    "XCLAIM key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds]"
    " [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]",
    "Makes pending entries those of another consumer.",
    group="stream", since="5.0.0", flags="write fast", keys="RW update @1",
    events="xgroup-createconsumer silent", tips="nondeterministic_output",
)  # fmt: skip
def xclaim(s: Session, argv: Argv) -> Reply:
    key, name, now = argv[1], argv[2], s.engine.clock.now
    stream, group = _read_group(s, argv)
    min_idle = max(integer(argv[4], errors.invalid_argument("min-idle-time", "XCLAIM")), 0)
    ids: list[int] = []
    at = 5
    while at < len(argv) and (id := parse_id(argv[at])) is not None:
        ids.append(id)
        at += 1
    time, count, last_id = -1, -1, 0
    force = just_id = False
    while at < len(argv):
        option = argv[at].upper()
        if option == b"FORCE":
            force = True
        elif option == b"JUSTID":
            just_id = True
        elif option in (b"IDLE", b"TIME", b"RETRYCOUNT") and at + 1 < len(argv):
            at += 1
            value = integer(argv[at], errors.invalid_argument(f"{option.decode()} option", "XCLAIM"))
            if option == b"RETRYCOUNT":
                count = value
            else:
                time = value if option == b"TIME" else now - value
        elif option == b"LASTID" and at + 1 < len(argv):
            at += 1
            last_id = strict_id(argv[at])
        else:
            raise ReplyError(f"ERR Unrecognized XCLAIM option '{errors.whole(argv[at])}'")
        at += 1
    advanced = last_id > group.last_id
    if advanced:
        group.last_id = last_id
    if not 0 <= time <= now:
        time = now
    consumer = _consumer(s, key, stream, name, argv[3])
    found: list[Reply] = []
    for id in ids:
        pending = group.pending.get(id)
        fields = stream.get(id)
        if fields is None:
            if pending is not None:
                _drop_deleted(s, key, name, group, id)
            continue
        if pending is None:
            if not force:
                continue
            deliveries = 1
        elif min_idle and now - pending.time < min_idle:
            continue
        else:
            deliveries = pending.count
        if count >= 0:
            deliveries = count
        elif not just_id:
            deliveries += 1
        pending = group.assign(id, consumer, time, deliveries)
        consumer.active_time = now
        _effect_claim(s, key, name, group, [id], pending)
        found.append(format_id(id) if just_id else entry(id, fields))
    if advanced:
        _effect_progress(s, key, name, group)
    return found


@command(
    "XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]",
    "Makes entries that have been pending for long those of another consumer.",
    group="stream", since="6.2.0", flags="write fast", keys="RW delete @1",
    events="xgroup-createconsumer silent", tips="nondeterministic_output",
)  # fmt: skip
def xautoclaim(s: Session, argv: Argv) -> Reply:
    key, name, now = argv[1], argv[2], s.engine.clock.now
    min_idle = max(integer(argv[4], errors.invalid_argument("min-idle-time", "XAUTOCLAIM")), 0)
    start = range_start(argv[5])
    count, just_id = 100, False
    at = 6
    while at < len(argv):
        option = argv[at].upper()
        if option == b"COUNT" and at + 1 < len(argv):
            at += 1
            count = integer(argv[at], errors.CLAIM_COUNT)
            if not 1 <= count <= _CLAIM_COUNT_MAX:
                raise ReplyError(errors.CLAIM_COUNT)
        elif option == b"JUSTID":
            just_id = True
        else:
            raise ReplyError(SYNTAX)
        at += 1
    stream, group = _read_group(s, argv)
    consumer = _consumer(s, key, stream, name, argv[3])
    attempts = min(count * _CLAIM_ATTEMPTS, len(group.pending))
    candidates = list(islice(group.pending.irange(start), attempts + 1))
    found: list[Reply] = []
    deleted: list[Reply] = []
    looked_at = 0
    for id in candidates[:attempts]:
        if len(found) + len(deleted) == count:
            break
        looked_at += 1
        fields = stream.get(id)
        pending = group.pending[id]
        if fields is None:
            _drop_deleted(s, key, name, group, id)
            deleted.append(format_id(id))
        elif not min_idle or now - pending.time >= min_idle:
            group.assign(id, consumer, now, pending.count if just_id else pending.count + 1)
            consumer.active_time = now
            _effect_claim(s, key, name, group, [id], pending)
            found.append(format_id(id) if just_id else entry(id, fields))
    following = candidates[looked_at] if looked_at < len(candidates) else 0
    return [format_id(following), found, deleted]


def _drop_deleted(s: Session, key: bytes, name: bytes, group: Group, id: int) -> None:
    """Ends the pending state of an entry that was deleted from the stream."""
    _effect_claim(s, key, name, group, [id], group.pending[id])
    group.acknowledge(id)
