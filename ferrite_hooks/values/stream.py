"""A stream: entries ordered by id, and the consumer groups that read it.

An id is one int, `ms << 64 | seq`: ids compare, bisect and step (`id + 1`) as plain integers.

Entries live in nodes of a bounded size, as in Redis, where a node is a listpack in a radix tree. The nodes
are visible to clients (an approximate trim drops whole nodes, XINFO counts them), so a node here is full
exactly when Redis's would be: by entries, deleted ones included, or by the bytes its listpack would take.

Consumer groups keep their pending entries ordered by id, once for the group and once for each consumer;
both hold the same Pending object.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

from sortedcontainers import SortedDict

U31: Final = (1 << 31) - 1
U64: Final = (1 << 64) - 1
MAX_ID: Final = (1 << 128) - 1
UNKNOWN: Final = -1  # a group's entries_read when it cannot be told
MAX_NODE_BYTES = 1 << 30  # however large the configured limit

Fields = tuple[bytes, ...]  # field, value, field, value, …

_NUMBER: Final = re.compile(rb"[ \t-\r]*([+-]?)([0-9]+)", re.ASCII)


class _Moment:
    """A millisecond, and what ids of it have in common."""

    __slots__ = ("first", "ms", "text")

    def __init__(self, ms: int) -> None:
        self.ms = ms
        self.first = ms << 64
        self.text = b"%d-" % ms


_latest: Final = [_Moment(0)]  # of the id that was made last: most often the next one has the same
_SEQS: Final = [b"%d" % seq for seq in range(1024)]


def _moment_of(id: int) -> _Moment:
    moment = _latest[0]
    if not 0 <= id - moment.first <= U64:
        moment = _latest[0] = _Moment(id >> 64)
    return moment


def first_id_of(ms: int) -> int:
    """The least id of a millisecond."""
    moment = _latest[0]
    if moment.ms != ms:
        moment = _latest[0] = _Moment(ms)
    return moment.first


def format_id(id: int) -> bytes:
    """The id as clients see it: b"<ms>-<seq>"."""
    seq = id & U64
    return b"%d-%b" % (id >> 64, _SEQS[seq]) if seq < 1024 else b"%d-%d" % (id >> 64, seq)


def format_new_id(id: int) -> bytes:
    """`format_id` for one that was just made: the next may well be of the same millisecond."""
    moment = _latest[0]
    seq = id - moment.first
    return moment.text + _SEQS[seq] if 0 <= seq < 1024 else format_id(id)


def parse_id(raw: bytes, missing_seq: int = 0) -> int | None:
    """Reads `ms-seq`, or `ms` with seq `missing_seq`. None when malformed; `-` and `+` are the caller's."""
    ms_seq = parse_partial_id(raw, missing_seq)
    return None if ms_seq is None or ms_seq[1] is None else ms_seq[0] << 64 | ms_seq[1]


def parse_partial_id(raw: bytes, missing_seq: int = 0) -> tuple[int, int | None] | None:
    """As parse_id, and reads `ms-*` too: (ms, seq), seq None for `*`. None when malformed."""
    if len(raw) > 127:
        return None
    left, dash, right = raw.partition(b"\0")[0].partition(b"-")
    ms = _unsigned(left)
    if ms is None:
        return None
    if not dash:
        return ms, missing_seq
    if right == b"*":
        return ms, None
    seq = _unsigned(right)
    return None if seq is None else (ms, seq)


def _unsigned(text: bytes) -> int | None:
    """An unsigned 64-bit number as Redis reads it: what C's strtoull takes, but no plain negative number."""
    if text.isdigit():
        value = int(text)
        return value if value <= U64 else None
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    sign, digits = match.groups()
    value = int(digits)
    if value > U64:
        return None
    if sign != b"-":
        return value
    plain = text[:1] == b"-" and digits[:1] != b"0" and value <= 1 << 63
    return None if plain else -value & U64


def _packed_int(value: int) -> int:
    """Bytes an integer takes in a listpack, its back-length included."""
    if 0 <= value <= 127:
        return 2
    if -4096 <= value <= 4095:
        return 3
    if -32768 <= value <= 32767:
        return 4
    if -(1 << 23) <= value < 1 << 23:
        return 5
    return 6 if -(1 << 31) <= value < 1 << 31 else 10


def _packed(item: bytes) -> int:
    """Bytes a string takes in a listpack, its back-length included. Canonical integers are stored as such."""
    size = len(item)
    if 0 < size < 64 and item[0] > 57:  # no number
        return size + 2
    if 0 < size <= 20 and (item.isdigit() or (item[0] == 45 and item[1:].isdigit())):
        value = int(item)
        if -(1 << 63) <= value < 1 << 63 and b"%d" % value == item:
            return _packed_int(value)
    size += 1 if size < 64 else 2 if size < 4096 else 5
    if size <= 127:
        return size + 1
    return size + (2 if size < 16383 else 3 if size < 2097151 else 4 if size < 268435455 else 5)


def signed(delta: int) -> int:
    """A difference of two unsigned 64-bit numbers as the int64 that C makes of it."""
    if -U31 <= delta <= U31:
        return delta
    return ((delta + (1 << 63)) & U64) - (1 << 63)


class Node:
    """A run of entries. Never empty: with its last entry the node goes.

    (Redis keeps a node whose entries were all deleted by XDEL and then MINID; only XINFO's count of nodes shows it.)
    """

    __slots__ = ("deleted", "entries", "ids", "last", "master", "ms", "names", "seq", "size")

    def __init__(self, id: int, fields: Fields) -> None:
        self.master = id  # of the first entry ever in it: the node's key
        moment = _moment_of(id)
        self.ms, self.seq = moment.ms, id - moment.first  # of the master
        self.last = id  # of the last entry ever in it
        self.names = fields[::2]  # entries with the same fields store only their values
        self.ids: list[int] = []
        self.entries: list[Fields] = []
        self.deleted = 0
        # listpack header and end, the field count, the fields, the terminator
        self.size = 7 + _packed_int(len(self.names)) + sum(map(_packed, self.names)) + 2

    def __len__(self) -> int:
        return len(self.ids)

    def parts(self) -> list[Any]:
        """Its containers, for whoever empties them bit by bit."""
        return [self.ids, self.entries]

    def full(self, adding: int, max_entries: int, max_bytes: int) -> bool:
        """Whether `adding` more bytes of fields and values belong into a new node."""
        live = len(self.ids)
        if 0 < max_entries <= live + self.deleted:
            return True
        counts = _packed_int(live) + _packed_int(self.deleted) if live + self.deleted > 127 else 4
        return self.size + counts + adding >= (max_bytes if 0 < max_bytes < MAX_NODE_BYTES else MAX_NODE_BYTES)

    def append(self, id: int, fields: Fields) -> None:
        count = len(fields) // 2
        if self._has_names(fields, count):
            for at in range(1, 2 * count, 2):
                self.size += _packed(fields[at])
            self.size += _packed_int(count + 3)
        else:
            self.size += sum(map(_packed, fields)) + _packed_int(count) + _packed_int(2 * count + 4)
        moment = _moment_of(id)
        self.size += 2 + _packed_int(signed(moment.ms - self.ms)) + _packed_int(signed(id - moment.first - self.seq))
        self.ids.append(id)
        self.entries.append(fields)
        self.last = id

    def _has_names(self, fields: Fields, count: int) -> bool:
        names = self.names
        if count != len(names):
            return False
        return all(fields[2 * at] == names[at] for at in range(count))  # no slice: XADD's commonest case

    def copy(self) -> Node:
        node = Node(self.master, ())
        node.last, node.names = self.last, self.names
        node.ids, node.entries = self.ids.copy(), self.entries.copy()
        node.deleted, node.size = self.deleted, self.size
        return node


_master = attrgetter("master")


class Pending:
    """An entry that was delivered and is not acknowledged yet."""

    __slots__ = ("consumer", "count", "time")

    def __init__(self, consumer: Consumer, time: int, count: int) -> None:
        self.consumer = consumer
        self.time = time  # of the last delivery, unix ms
        self.count = count  # deliveries


class Consumer:
    __slots__ = ("active_time", "name", "pending", "seen_time")

    def __init__(self, name: bytes, seen_time: int, active_time: int = -1) -> None:
        self.name = name
        self.seen_time = seen_time  # unix ms of its last command
        self.active_time = active_time  # unix ms of the last time it got an entry, -1 = never
        self.pending: SortedDict[int, Pending] = SortedDict()

    def parts(self) -> list[Any]:
        """Its containers, for whoever empties them bit by bit."""
        return [self.pending, self.pending._list._lists]


class Group:
    __slots__ = ("consumers", "entries_read", "last_id", "pending")

    def __init__(self, last_id: int, entries_read: int = UNKNOWN) -> None:
        self.last_id = last_id  # last delivered
        self.entries_read = entries_read  # how many entries up to last_id were ever added, or UNKNOWN
        self.pending: SortedDict[int, Pending] = SortedDict()
        self.consumers: dict[bytes, Consumer] = {}

    def assign(self, id: int, consumer: Consumer, time: int, count: int) -> Pending:
        """Makes `id` pending at `consumer`, whoever had it before."""
        pending: Pending | None = self.pending.get(id)
        if pending is None:
            pending = self.pending[id] = consumer.pending[id] = Pending(consumer, time, count)
            return pending
        if pending.consumer is not consumer:
            del pending.consumer.pending[id]
            consumer.pending[id] = pending
            pending.consumer = consumer
        pending.time = time
        pending.count = count
        return pending

    def acknowledge(self, id: int) -> bool:
        """Ends the pending state of `id`. False when it was not pending."""
        pending = self.pending.pop(id, None)
        if pending is None:
            return False
        del pending.consumer.pending[id]
        return True

    def remove_consumer(self, name: bytes) -> int | None:
        """Removes a consumer and what is pending at it: how many entries that was, None without it."""
        consumer = self.consumers.pop(name, None)
        if consumer is None:
            return None
        for id in consumer.pending:
            del self.pending[id]
        return len(consumer.pending)

    def parts(self) -> list[Any]:
        """Its containers, for whoever empties them bit by bit."""
        return [self.consumers, self.pending, self.pending._list._lists]

    def copy(self) -> Group:
        group = Group(self.last_id, self.entries_read)
        for name, consumer in self.consumers.items():
            twin = Consumer(name, consumer.seen_time, consumer.active_time)
            group.consumers[name] = twin
            for id, pending in consumer.pending.items():
                group.assign(id, twin, pending.time, pending.count)
        return group


class Stream:
    """Entries and consumer groups under one key. Empty streams exist: they keep last_id and the groups."""

    __slots__ = ("entries_added", "groups", "last_id", "length", "max_deleted_id", "nodes")

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.length = 0
        self.last_id = 0
        self.max_deleted_id = 0
        self.entries_added = 0  # over its whole life
        self.groups: dict[bytes, Group] = {}

    def __len__(self) -> int:
        return self.length

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        groups = {
            name: (group.last_id, group.entries_read, [(id, p.consumer.name) for id, p in group.pending.items()])
            for name, group in self.groups.items()
        }
        ids = (self.first_id, self.last_id, self.max_deleted_id)
        return f"<Stream of {self.length}, ids {ids}, {self.entries_added} added, groups {groups}>"

    @property
    def first_id(self) -> int:
        """The id of the first entry, 0 when empty."""
        return self.nodes[0].ids[0] if self.nodes else 0

    @property
    def top_id(self) -> int:
        """The id of the last entry that is still there, 0 when empty. last_id may be greater."""
        return self.nodes[-1].ids[-1] if self.nodes else 0

    # Entries

    def append(self, id: int, fields: Fields, max_entries: int = 100, max_bytes: int = 4096) -> None:
        """Adds an entry; `id` must be greater than last_id. The limits are those of a node, 0 = none.

        Raises ValueError when the fields and values are larger than any node.
        """
        nodes = self.nodes
        adding = 0
        for field in fields:
            adding += len(field)
        if adding > MAX_NODE_BYTES:
            raise ValueError("entry too large")
        node = nodes[-1] if nodes else None
        if node is None or node.full(adding, max_entries, max_bytes):
            node = Node(id, fields)
            nodes.append(node)
        node.append(id, fields)
        self.last_id = id
        self.length += 1
        self.entries_added += 1

    def next_id(self, now_ms: int) -> int:
        """The id that `*` gives: greater than last_id even when the clock went back. May be MAX_ID + 1."""
        id = first_id_of(now_ms)
        return id if id > self.last_id else self.last_id + 1

    def get(self, id: int) -> Fields | None:
        """The fields and values of one entry, None without it."""
        i = bisect_right(self.nodes, id, key=_master) - 1
        if i >= 0:
            node = self.nodes[i]
            at = bisect_left(node.ids, id)
            if at < len(node.ids) and node.ids[at] == id:
                return node.entries[at]
        return None

    def range(self, low: int = 0, high: int = MAX_ID, count: int = 0) -> list[tuple[int, Fields]]:
        """The entries with low <= id <= high, ascending; the first `count` of them unless that is 0."""
        found: list[tuple[int, Fields]] = []
        nodes = self.nodes
        for i in range(max(0, bisect_right(nodes, low, key=_master) - 1), len(nodes)):
            node = nodes[i]
            if node.master > high:
                break
            first, end = bisect_left(node.ids, low), bisect_right(node.ids, high)
            if count:
                end = min(end, first + count - len(found))
            found += zip(node.ids[first:end], node.entries[first:end], strict=True)
            if count and len(found) >= count:
                break
        return found

    def revrange(self, low: int = 0, high: int = MAX_ID, count: int = 0) -> list[tuple[int, Fields]]:
        """As range, descending: with a count, the last ones."""
        found: list[tuple[int, Fields]] = []
        nodes = self.nodes
        for i in range(bisect_right(nodes, high, key=_master) - 1, -1, -1):
            node = nodes[i]
            if node.last < low:
                break
            first, end = bisect_left(node.ids, low), bisect_right(node.ids, high)
            if count:
                first = max(first, end - count + len(found))
            found += zip(node.ids[first:end][::-1], node.entries[first:end][::-1], strict=True)
            if count and len(found) >= count:
                break
        return found

    def delete(self, id: int) -> bool:
        """Deletes one entry and remembers it as a gap. False when it is not there."""
        i = bisect_right(self.nodes, id, key=_master) - 1
        if i < 0:
            return False
        node = self.nodes[i]
        at = bisect_left(node.ids, id)
        if at == len(node.ids) or node.ids[at] != id:
            return False
        if len(node.ids) == 1:
            del self.nodes[i]
        else:
            del node.ids[at], node.entries[at]
            node.deleted += 1
        self.length -= 1
        self.max_deleted_id = max(self.max_deleted_id, id)
        return True

    def trim_length(self, maxlen: int, approximate: bool = False, limit: int = 0) -> int:
        """Deletes the oldest entries until `maxlen` are left. Returns how many were deleted.

        Approximate: only whole nodes go. limit: nodes are deleted only as long as no more than so many
        entries go in all, 0 = no limit.
        """
        return self._trim(maxlen, None, approximate, limit)

    def trim_id(self, minid: int, approximate: bool = False, limit: int = 0) -> int:
        """Deletes the entries with id < minid; otherwise as trim_length."""
        return self._trim(0, minid, approximate, limit)

    def _trim(self, maxlen: int, minid: int | None, approximate: bool, limit: int) -> int:
        deleted = gone = 0
        nodes = self.nodes
        for node in nodes:
            excess = self.length - deleted - maxlen
            if minid is None and excess <= 0:
                break
            live = len(node.ids)
            if limit and deleted + live > limit:
                break
            if live <= excess if minid is None else node.last < minid:
                gone += 1
                deleted += live
                continue
            if not approximate:
                cut = excess if minid is None else bisect_left(node.ids, minid)
                del node.ids[:cut], node.entries[:cut]
                node.deleted += cut
                deleted += cut
                if cut == live:  # only tombstones are left in it
                    gone += 1
            break
        del nodes[:gone]
        self.length -= deleted
        return deleted

    # Groups

    def deliver(self, group: Group, id: int) -> None:
        """Moves the group on to `id`, an entry after its last_id, and keeps count of what it has read."""
        if group.entries_read != UNKNOWN and not self._gap_after(id):
            group.entries_read += 1
        elif self.entries_added:
            group.entries_read = self.entries_up_to(id)
        group.last_id = id

    def lag(self, group: Group) -> int | None:
        """How many entries the group has not been given yet, None when deletions make that unknown."""
        if not self.entries_added:
            return 0
        read = group.entries_read
        if read == UNKNOWN or self._gap_after(group.last_id):
            read = self.entries_up_to(group.last_id)
        return None if read == UNKNOWN else self.entries_added - read

    def _gap_after(self, id: int) -> bool:
        """Whether an entry that follows `id`, or `id` itself, was deleted from between the others."""
        gap = self.max_deleted_id
        return self.length > 0 and gap > 0 and self.first_id <= gap and id <= gap

    def entries_up_to(self, id: int) -> int:
        """How many entries were ever added up to `id`, UNKNOWN when that cannot be told."""
        if not self.entries_added:
            return 0
        if (id == self.last_id) or (not self.length and id < self.last_id):
            return self.entries_added
        if id > self.last_id:
            return UNKNOWN
        if not self.max_deleted_id or self.max_deleted_id < self.first_id:
            if id < self.first_id:
                return self.entries_added - self.length
            if id == self.first_id:
                return self.entries_added - self.length + 1
        return UNKNOWN

    # The whole

    def parts(self) -> list[Any]:
        """Its containers, for whoever empties them bit by bit."""
        return [self.nodes, self.groups]

    def copy(self) -> Stream:
        """A stream that shares nothing mutable with this one."""
        twin = Stream()
        twin.nodes = [node.copy() for node in self.nodes]
        twin.length, twin.last_id = self.length, self.last_id
        twin.max_deleted_id, twin.entries_added = self.max_deleted_id, self.entries_added
        twin.groups = {name: group.copy() for name, group in self.groups.items()}
        return twin

    def radix_tree_nodes(self) -> int:
        """How many nodes Redis's radix tree has for this stream: what XINFO tells."""
        keys = [node.master.to_bytes(16, "big") for node in self.nodes]
        return _radix_nodes(keys, 0) if keys else 1


def _radix_nodes(keys: Sequence[bytes], depth: int) -> int:
    """Nodes of the path-compressed trie over sorted, different 16-byte keys that agree up to `depth`."""
    first, last = keys[0], keys[-1]
    shared = depth
    while shared < 16 and first[shared] == last[shared]:
        shared += 1
    nodes = 1 if shared > depth else 0  # the common stretch
    if shared == 16:
        return nodes + 1  # the leaf
    branches = [list(branch) for _, branch in groupby(keys, lambda key: key[shared])]
    return nodes + 1 + sum(_radix_nodes(branch, shared + 1) for branch in branches)
