"""Random access into an unordered collection: what SCAN, RANDOMKEY, SPOP and SRANDMEMBER need and dict and
set lack.

The members are spread over buckets by the leading bits of their hash. A SCAN cursor is a point in hash space,
so it stays valid when the index is rebuilt with more or fewer buckets: whatever was there all the time is
returned, as Redis promises. The index is made the first time it is asked for, and from then on the
collection's owner keeps it up with `add` and `discard`.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import random

_BITS = 48  # of the hash that place a member; cursors stay below 2**48
_MASK = (1 << _BITS) - 1
_PER_BUCKET = 8


def _place(member: bytes) -> int:
    # Python's hash of bytes is keyed (SipHash), so nobody outside can aim at one bucket.
    return hash(member) & _MASK


class Index:
    """Buckets over members; `size` is kept by add/discard."""

    __slots__ = ("_buckets", "_longest", "_shift", "size")

    def __init__(self, members: Iterable[bytes], expected: int) -> None:
        self._build(members, expected)

    def _build(self, members: Iterable[bytes], expected: int) -> None:
        bits = max(0, min(_BITS, (expected // _PER_BUCKET).bit_length()))
        self._shift = shift = _BITS - bits
        buckets: list[list[bytes]] = [[] for _ in range(1 << bits)]
        self.size = 0
        for member in members:
            buckets[(hash(member) & _MASK) >> shift].append(member)
            self.size += 1
        self._buckets = buckets
        self._longest = max(map(len, buckets))  # at least the length of every bucket

    def add(self, member: bytes) -> None:
        """Adds a member that is not there yet."""
        bucket = self._buckets[_place(member) >> self._shift]
        bucket.append(member)
        self._longest = max(self._longest, len(bucket))
        self.size += 1
        if self.size > 4 * _PER_BUCKET * len(self._buckets):
            self._build([m for bucket in self._buckets for m in bucket], self.size)

    def discard(self, member: bytes) -> None:
        bucket = self._buckets[_place(member) >> self._shift]
        if member in bucket:
            bucket.remove(member)
            self.size -= 1
            if self.size < 2 * len(self._buckets) > 2:
                self._build([m for bucket in self._buckets for m in bucket], self.size)

    def scan(self, cursor: int, count: int) -> tuple[int, list[bytes]]:
        """Members from `cursor` on, at least `count` of them unless the end is reached, and the next cursor
        (0 = done)."""
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
        """One member, each equally likely. The index must not be empty."""
        buckets, end, longest = self._buckets, len(self._buckets), self._longest
        while True:  # a random slot of a random bucket, until there is a member in it
            bucket = buckets[int(random() * end)]
            slot = int(random() * longest)
            if slot < len(bucket):
                return bucket[slot]
