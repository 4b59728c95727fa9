"""Streams in RDB form: nodes as listpacks, then the stream's counters, then its consumer groups.

A node's listpack begins with a master entry (live count, deleted count, the names of the fields, 0); each entry
is then its flags, its id relative to the node's, its fields (only the values, when the names are the
master's) and the number of elements to step back over. Form 2 (Redis 7.0) is written; 1 to 3 are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ferrite_hooks.store.packed import RdbError, encode_listpack, listpack
from ferrite_hooks.values.stream import U64, UNKNOWN, Consumer, Group, Node, Stream, signed

if TYPE_CHECKING:
    from ferrite_hooks.store.cursor import Cursor
    from ferrite_hooks.store.output import Output

_DELETED = 1
_SAME_FIELDS = 2


# --- reading ---


def read_stream(cursor: Cursor, form: int) -> Stream:
    """Raises RdbError."""
    stream = Stream()
    for _ in range(cursor.length()):
        key = cursor.string()
        if len(key) != 16:
            raise RdbError("a stream's node has no id")
        node = _read_node(int.from_bytes(key, "big"), listpack(cursor.string()))
        if stream.nodes and node.master <= stream.nodes[-1].last:
            raise RdbError("a stream's nodes are out of order")
        stream.nodes.append(node)
    stream.nodes = [node for node in stream.nodes if node.ids]
    count = cursor.length()
    stream.last_id = _read_id(cursor)
    if form >= 2:
        _read_id(cursor)  # the first id: the nodes know
        stream.max_deleted_id = _read_id(cursor)
        stream.entries_added = cursor.length()
    else:
        stream.entries_added = count
    stream.length = sum(len(node.ids) for node in stream.nodes)
    if stream.length != count or stream.top_id > stream.last_id:
        raise RdbError("a stream's counters do not fit its entries")
    for _ in range(cursor.length()):
        _read_group(cursor, stream, form)
    return stream


def _read_id(cursor: Cursor) -> int:
    return cursor.length() << 64 | cursor.length()


def _read_node(master: int, items: list[bytes]) -> Node:
    items.reverse()  # so that they can be popped
    try:
        live, deleted, names = _small(items.pop()), _small(items.pop()), _small(items.pop())
        if len(items) < names:
            raise IndexError
        fields = tuple(items.pop() for _ in range(names))
        node = Node(master, tuple(part for name in fields for part in (name, b"")))
        if _small(items.pop()) != 0:
            raise RdbError("a stream's node has no end of its first entry")
        while items:
            _read_entry(node, items)
    except IndexError:
        raise RdbError("a stream's node is cut short") from None
    if (len(node.ids), node.deleted) != (live, deleted):
        raise RdbError("a stream's node does not have the entries it claims")
    return node


def _read_entry(node: Node, items: list[bytes]) -> None:
    flags = _small(items.pop())
    ms = node.ms + _small(items.pop()) & U64
    seq = node.seq + _small(items.pop()) & U64
    id = ms << 64 | seq
    if flags & _SAME_FIELDS:
        names, fixed = node.names, 3
    else:
        names, fixed = None, 4
    count = len(names) if names is not None else _small(items.pop())
    width = count if names is not None else 2 * count
    if not 0 <= width < len(items):
        raise IndexError
    parts = items[-width:][::-1] if width else []
    del items[len(items) - width :]
    if _small(items.pop()) != fixed + width:
        raise RdbError("a stream's entry does not have the size it claims")
    if id < node.master or ((node.ids or node.deleted) and id <= node.last):
        raise RdbError("a stream's entries are out of order")
    if flags & _DELETED:
        node.deleted += 1
        node.last = id
    else:
        entry = parts if names is None else [part for pair in zip(names, parts, strict=True) for part in pair]
        node.append(id, tuple(entry))


def _small(item: bytes) -> int:
    """An integer of a listpack."""
    try:
        if len(item) <= 20:
            return int(item)
    except ValueError:
        pass
    raise RdbError("a stream's node has a text where a number should be")


def _read_group(cursor: Cursor, stream: Stream, form: int) -> None:
    name = cursor.string()
    if name in stream.groups:
        raise RdbError("a stream has a group twice")
    group = Group(_read_id(cursor))
    if form >= 2:
        read = cursor.length()
        group.entries_read = UNKNOWN if read == U64 else read
    else:
        group.entries_read = stream.entries_up_to(group.last_id)
    delivered = {}
    for _ in range(cursor.length()):
        id = int.from_bytes(cursor.take(16), "big")
        if id in delivered:
            raise RdbError("a stream has a pending entry twice")
        delivered[id] = (cursor.time(), cursor.length())
    for _ in range(cursor.length()):
        consumer = _read_consumer(cursor, group, form)
        for _ in range(cursor.length()):
            id = int.from_bytes(cursor.take(16), "big")
            if id not in delivered:
                raise RdbError("a consumer's pending entry is not its group's")
            time, count = delivered.pop(id)
            group.assign(id, consumer, time, count)
    if delivered:
        raise RdbError("a stream has a pending entry without a consumer")
    stream.groups[name] = group


def _read_consumer(cursor: Cursor, group: Group, form: int) -> Consumer:
    name = cursor.string()
    if name in group.consumers:
        raise RdbError("a group has a consumer twice")
    seen = cursor.time()
    active = cursor.time() if form >= 3 else seen
    consumer = group.consumers[name] = Consumer(name, seen, active)
    return consumer


# --- writing ---


def write_stream(out: Output, stream: Stream) -> None:
    """In form 2. What form 2 has no place for: a consumer's active_time."""
    out.length(len(stream.nodes))
    for node in stream.nodes:
        out.add(b"\x10")
        out.add(node.master.to_bytes(16, "big"))
        out.string(_node_listpack(node))
    out.length(stream.length)
    for id in (stream.last_id, stream.first_id, stream.max_deleted_id):
        _write_id(out, id)
    out.length(stream.entries_added)
    out.length(len(stream.groups))
    for name, group in stream.groups.items():
        out.string(name)
        _write_id(out, group.last_id)
        out.length(group.entries_read & U64)
        out.length(len(group.pending))
        for id, pending in group.pending.items():
            out.add(id.to_bytes(16, "big"))
            out.time(pending.time)
            out.length(pending.count)
        out.length(len(group.consumers))
        for name, consumer in group.consumers.items():
            out.string(name)
            out.time(consumer.seen_time)
            out.length(len(consumer.pending))
            for id in consumer.pending:
                out.add(id.to_bytes(16, "big"))


def _write_id(out: Output, id: int) -> None:
    out.length(id >> 64)
    out.length(id & U64)


def _node_listpack(node: Node) -> bytes:
    names = node.names
    items: list[bytes | int] = [len(node.ids), 0, len(names), *names, 0]
    for id, fields in zip(node.ids, node.entries, strict=True):
        ms, seq = signed((id >> 64) - node.ms), signed((id & U64) - node.seq)
        if fields[::2] == names:
            items += (_SAME_FIELDS, ms, seq, *fields[1::2], len(names) + 3)
        else:
            items += (0, ms, seq, len(fields) // 2, *fields, len(fields) + 4)
    return encode_listpack(items)
