"""Random access into an unordered collection: what SCAN, RANDOMKEY, SPOP and SRANDMEMBER need and dict and
set lack.

For SCAN the members are spread over buckets by the leading bits of their hash. A cursor is a point in hash
space, so it stays valid when there come to be more or fewer buckets: whatever was there all the time is
returned, as Redis promises. For random members there is a pool, a list of them all; a member that goes stays in
it until it is drawn in vain. Each is made the first time that it is asked for; from then on the collection's
owner keeps both up with `add` and `discard`.
"""

from __future__ import annotations

from collections.abc import Collection
from random import random
from typing import Any, Final

_BITS: Final = 48  # of the hash that place a member; cursors stay below 2**48
_MASK: Final = (1 << _BITS) - 1
_PER_BUCKET: Final = 8


class Index:
    """An index over `members`, a collection that must stay the same object while the index is in use.

    Python's hash of bytes is keyed (SipHash), so nobody outside can aim at one bucket."""

    __slots__ = ("_buckets", "_gone", "_members", "_pool", "_shift", "_size")

    def __init__(self, members: Collection[bytes]) -> None:
        self._members = members
        self._buckets: list[list[bytes]] = []  # empty until there is a scan
        self._shift = self._size = 0
        self._pool: list[bytes] | None = None
        self._gone: set[bytes] = set()  # in the pool, but no longer members

    def parts(self) -> list[Any]:
        """Every container of its own, for whoever empties them bit by bit when the members go."""
        return [self._buckets, self._gone, *([self._pool] if self._pool is not None else ())]

    def moved(self, members: Collection[bytes]) -> None:
        """The same members are in another container now."""
        self._members = members

    def _spread(self, members: Collection[bytes]) -> None:
        bits = max(0, min(_BITS, (len(members) // _PER_BUCKET).bit_length()))
        self._shift = shift = _BITS - bits
        buckets: list[list[bytes]] = [[] for _ in range(1 << bits)]
        self._size = len(members)
        for member in members:
            buckets[(hash(member) & _MASK) >> shift].append(member)
        self._buckets = buckets

    def add(self, member: bytes) -> None:
        """Adds a member that was not there."""
        if self._pool is not None:
            if member in self._gone:
                self._gone.remove(member)
            else:
                self._pool.append(member)
        if self._buckets:
            self._buckets[(hash(member) & _MASK) >> self._shift].append(member)
            self._size += 1
            if self._size > 4 * _PER_BUCKET * len(self._buckets):
                self._spread([m for bucket in self._buckets for m in bucket])

    def discard(self, member: bytes) -> None:
        """Removes a member that was there."""
        if self._pool is not None:
            self._gone.add(member)
            if 2 * len(self._gone) > len(self._pool) + 64:
                self._pool = None  # most draws would be in vain
                self._gone.clear()
        if self._buckets:
            bucket = self._buckets[(hash(member) & _MASK) >> self._shift]
            bucket.remove(member)
            self._size -= 1
            if self._size < len(self._buckets) > 1:
                self._spread([m for bucket in self._buckets for m in bucket])

    def scan(self, cursor: int, count: int) -> tuple[int, list[bytes]]:
        """Members from `cursor` on, at least `count` of them unless the end is reached, and the next cursor
        (0 = done)."""
        if not self._buckets:
            self._spread(self._members)
        found: list[bytes] = []
        position = min(max(cursor, 0), _MASK) >> self._shift
        end = len(self._buckets)
        limit = position + 10 * count  # empty buckets cost too: Redis gives up after ten times count
        while position < end:
            found += self._buckets[position]
            position += 1
            if len(found) >= count or position >= limit:
                break
        return (position << self._shift if position < end else 0), found

    def random(self) -> bytes:
        """One member, each equally likely. There must be one."""
        pool = self._pool
        if pool is None:
            self._pool = pool = list(self._members)
        gone = self._gone
        while True:
            slot = int(random() * len(pool))
            member = pool[slot]
            if member not in gone:
                return member
            gone.remove(member)
            last = pool.pop()
            if slot < len(pool):
                pool[slot] = last
