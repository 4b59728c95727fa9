"""XINFO: what a stream, its consumer groups and their consumers are like inside."""

from __future__ import annotations

from itertools import islice

from ferrite_hooks import errors
from ferrite_hooks.commands.common import help_lines, integer
from ferrite_hooks.commands.stream_args import entries, entry
from ferrite_hooks.engine.command import Argv, command, container
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import NO_SUCH_KEY, ReplyError
from ferrite_hooks.resp.reply import Reply
from ferrite_hooks.values.stream import UNKNOWN, Consumer, Group, Stream, format_id

_FULL_COUNT = 10  # entries and pending entries that FULL shows unless told otherwise

container("XINFO", "Subcommands that look into a stream.", group="stream", since="5.0.0")


@command(
    "XINFO STREAM key [FULL [COUNT count]]", "What a stream is like; FULL shows its entries and groups too.",
    group="stream", since="5.0.0", flags="readonly", keys="RO access @2",
)  # fmt: skip
def xinfo_stream(s: Session, argv: Argv) -> Reply:
    stream = _stream(s, argv)
    count = _full_count(argv)
    info: dict[bytes, Reply] = {
        b"length": len(stream),
        b"radix-tree-keys": len(stream.nodes),
        b"radix-tree-nodes": stream.radix_tree_nodes(),
        b"last-generated-id": format_id(stream.last_id),
        b"max-deleted-entry-id": format_id(stream.max_deleted_id),
        b"entries-added": stream.entries_added,
        b"recorded-first-entry-id": format_id(stream.first_id),
    }
    if count is None:
        first, last = stream.range(count=1), stream.revrange(count=1)
        info[b"groups"] = len(stream.groups)
        info[b"first-entry"] = entry(*first[0]) if first else None
        info[b"last-entry"] = entry(*last[0]) if last else None
    else:
        info[b"entries"] = entries(stream.range(count=count))
        info[b"groups"] = [
            _full_group(stream, name, group, count) for name, group in sorted(stream.groups.items())
        ]
    return info


@command(
    "XINFO GROUPS key", "The consumer groups of a stream.",
    group="stream", since="5.0.0", flags="readonly", keys="RO access @2",
)  # fmt: skip
def xinfo_groups(s: Session, argv: Argv) -> Reply:
    stream = _stream(s, argv)
    return [
        {
            b"name": name,
            b"consumers": len(group.consumers),
            b"pending": len(group.pending),
            b"last-delivered-id": format_id(group.last_id),
            b"entries-read": None if group.entries_read == UNKNOWN else group.entries_read,
            b"lag": stream.lag(group),
        }
        for name, group in sorted(stream.groups.items())
    ]


@command(
    "XINFO CONSUMERS key group", "The consumers of a consumer group.",
    group="stream", since="5.0.0", flags="readonly", keys="RO access @2", tips="nondeterministic_output",
)  # fmt: skip
def xinfo_consumers(s: Session, argv: Argv) -> Reply:
    stream, now = _stream(s, argv), s.engine.clock.now
    group = stream.groups.get(argv[3])
    if group is None:
        raise ReplyError(errors.no_group_of_key(argv[2], argv[3]))
    return [
        {
            b"name": name,
            b"pending": len(consumer.pending),
            b"idle": max(now - consumer.seen_time, 0),
            b"inactive": -1 if consumer.active_time == -1 else now - consumer.active_time,
        }
        for name, consumer in sorted(group.consumers.items())
    ]


@command("XINFO HELP", "Tells about the subcommands.", group="stream", since="5.0.0", flags="loading stale")
def xinfo_help(s: Session, argv: Argv) -> Reply:
    return help_lines("XINFO")


def _stream(s: Session, argv: Argv) -> Stream:
    stream = s.db.read(argv[2], Stream)
    if stream is None:
        raise ReplyError(NO_SUCH_KEY)
    return stream


def _full_count(argv: Argv) -> int | None:
    """Reads `[FULL [COUNT count]]`: the count, 0 = all, None without FULL."""
    words = [word.upper() for word in argv[3:]]
    if not words:
        return None
    if words[0] != b"FULL" or len(words) not in (1, 3) or (len(words) == 3 and words[1] != b"COUNT"):
        raise ReplyError(errors.subcommand_syntax("xinfo", argv[1]))
    count = integer(argv[5]) if len(words) == 3 else _FULL_COUNT
    return count if count >= 0 else _FULL_COUNT


def _full_group(stream: Stream, name: bytes, group: Group, count: int) -> Reply:
    return {
        b"name": name,
        b"last-delivered-id": format_id(group.last_id),
        b"entries-read": None if group.entries_read == UNKNOWN else group.entries_read,
        b"lag": stream.lag(group),
        b"pel-count": len(group.pending),
        b"pending": [
            [format_id(id), pending.consumer.name, pending.time, pending.count]
            for id, pending in islice(group.pending.items(), count or None)
        ],
        b"consumers": [_full_consumer(consumer, count) for _, consumer in sorted(group.consumers.items())],
    }


def _full_consumer(consumer: Consumer, count: int) -> Reply:
    return {
        b"name": consumer.name,
        b"seen-time": consumer.seen_time,
        b"active-time": consumer.active_time,
        b"pel-count": len(consumer.pending),
        b"pending": [
            [format_id(id), pending.time, pending.count]
            for id, pending in islice(consumer.pending.items(), count or None)
        ],
    }
