"""The three collections that a Python built-in already is: hash, list and set.

Each is a thin subclass, so that a value's Python type is its Redis type, with room for what Redis keeps
beside the elements. Sorted sets and streams have files of their own. `values.encoding` says which encoding
Redis would have chosen; `big` is its memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice
from random import random, sample
from typing import Any

from ferrite_hooks.values.field_times import FieldTimes
from ferrite_hooks.values.index import Index

SMALL = 256  # members: up to here walking to a random one beats keeping an index


class Hash(dict[bytes, bytes]):
    """field -> value. `index` serves HSCAN and HRANDFIELD and exists only once one was asked for, `times` once a
    field got a time to live."""

    __slots__ = ("big", "index", "times")

    def __init__(self, fields: Iterable[tuple[bytes, bytes]] = ()) -> None:
        if fields:  # mostly there are none yet
            super().__init__(fields)
        self.index: Index | None = None
        self.big = False  # has outgrown Redis's compact encoding; never goes back
        self.times: FieldTimes | None = None

    def copy(self) -> Hash:
        twin = Hash()
        twin.update(self)
        twin.big = self.big
        if self.times is not None:
            twin.times = self.times.copy()
        return twin

    def parts(self) -> list[Any]:
        """Every container that grows with the fields, for whoever empties them bit by bit."""
        index = self.index.parts() if self.index is not None else []
        return [self, *index, *(self.times.parts() if self.times is not None else ())]


class List(deque[bytes]):
    """Elements from left to right; both ends are O(1), the middle is reached from the nearer end."""

    __slots__ = ("big",)

    def __init__(self, elements: Iterable[bytes] = ()) -> None:
        if elements:
            super().__init__(elements)
        self.big = False  # was last seen as a quicklist

    def copy(self) -> List:
        twin = List(self)
        twin.big = self.big
        return twin

    def span(self, start: int, stop: int) -> list[bytes]:
        """The elements of `range(start, stop)`, which must lie within the list."""
        size, before, after = stop - start, start, len(self) - stop
        if size < 64 and min(before, after) > 1000:  # few and far from both ends: seek each, block by block
            return [self[i] for i in range(start, stop)]
        if size == len(self):
            return list(self)
        if before <= after:
            return list(islice(self, start, stop))
        found = list(islice(reversed(self), after, after + size))
        found.reverse()
        return found

    def cut(self, count: int, left: bool) -> list[bytes]:
        """Takes `count` elements off one end, outermost first; the list must have as many."""
        take = self.popleft if left else self.pop
        return [take() for _ in range(count)]

    def keep(self, start: int, stop: int) -> None:
        """Removes all but `range(start, stop)`, which must lie within the list."""
        after = len(self) - stop
        if start + after <= stop - start:
            self.cut(start, True)
            self.cut(after, False)
        else:
            kept = self.span(start, stop)
            self.clear()
            self.extend(kept)

    def drop(self, element: bytes, count: int, left: bool) -> None:
        """Removes the first (or last) `count` elements that equal `element`; there must be as many."""
        if count <= 4:  # each costs moving what lies before it
            if not left:
                self.reverse()
            for _ in range(count):
                self.remove(element)
            if not left:
                self.reverse()
            return
        kept = []
        for other in self if left else reversed(self):
            if count and other == element:
                count -= 1
            else:
                kept.append(other)
        if not left:
            kept.reverse()
        self.clear()
        self.extend(kept)


class Set(set[bytes]):
    """Members. `index` serves SSCAN, SPOP and SRANDMEMBER and exists only once one was asked for."""

    __slots__ = ("big", "index")

    def __init__(self, members: Iterable[bytes] = ()) -> None:
        if members:
            super().__init__(members)
        self.index: Index | None = None
        self.big = 0  # 0 intset, 1 listpack, 2 hashtable: encodings only ever grow

    def copy(self) -> Set:
        twin = Set(self)
        twin.big = self.big
        return twin

    def parts(self) -> list[Any]:
        """Every container that grows with the members, for whoever empties them bit by bit."""
        return [self, *(self.index.parts() if self.index is not None else ())]


def index_of(value: Hash | Set) -> Index:
    """The value's index, made if it has none; from then on whoever changes the members must tell it."""
    if value.index is None:
        value.index = Index(value)
    return value.index


def random_member(value: Hash | Set) -> bytes:
    """A field or member, each equally likely. The collection must not be empty."""
    if value.index is None and len(value) <= SMALL:
        return next(islice(value, int(random() * len(value)), None))
    return index_of(value).random()


def random_members(value: Hash | Set, count: int) -> list[bytes]:
    """`count` different fields or members (all of them, if there are no more), every choice equally likely."""
    size = len(value)
    if count >= size:
        return list(value)
    if count * 4 > size or size <= SMALL:
        return sample(list(value), count)
    index = index_of(value)
    found: dict[bytes, None] = {}
    while len(found) < count:
        found[index.random()] = None
    return list(found)
