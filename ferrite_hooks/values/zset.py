"""A sorted set: a dict of member -> score, and an order index that exists only for those who ask.

ZADD, ZSCORE and ZREM need nothing but the dict, so they cost what a dict costs. The first rank or range
builds the index. From then on a write only notes which member moved (`_moved`), and the next question
applies the notes. When the notes outgrow a quarter of the set, a rebuild by sorting is cheaper than
applying them: the index is dropped, and a burst of writes is back at the dict's price. A write pays O(log
n) at most, amortised.

Every range is first turned into positions (`span_by_score`, `span_by_member`); limits, counts and
directions are then arithmetic on positions, and `range` does the reading. Order: by score, then by the
member's bytes.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator
from typing import Any

from ferrite_hooks.values.index import Index
from ferrite_hooks.values.order import Order


class ZSet:
    """Members (bytes) with scores (float, never NaN). `scores` may be read from outside, never written.

    `ZSet(scores)` takes the dict over. `index` serves ZSCAN and ZRANDMEMBER and exists only once one was asked
    for (`hashed`); `big` says that Redis would have given up its compact encoding, for which there is no way
    back."""

    __slots__ = ("_moved", "_order", "big", "index", "scores")

    def __init__(self, scores: dict[bytes, float] | None = None) -> None:
        self.scores: dict[bytes, float] = {} if scores is None else scores
        self.big = False
        self.index: Index | None = None
        self._order: Order | None = None
        self._moved: dict[bytes, float | None] = {}  # member -> its score in _order, None = not in it

    def __len__(self) -> int:
        return len(self.scores)

    def __bool__(self) -> bool:  # mypyc does not ask __len__ for this
        return bool(self.scores)

    def __iter__(self) -> Iterator[bytes]:
        """The members, in no order that means anything."""
        return iter(self.scores)

    def __contains__(self, member: bytes) -> bool:
        return member in self.scores

    def __repr__(self) -> str:
        return f"ZSet({self.scores!r})"

    def items(self) -> ItemsView[bytes, float]:
        """(member, score) pairs, in no order that means anything."""
        return self.scores.items()

    def copy(self) -> ZSet:
        twin = ZSet(self.scores.copy())
        twin.big = self.big
        return twin

    def parts(self) -> list[Any]:
        """Every container that grows with the members, for whoever empties them bit by bit."""
        order = self._order.parts() if self._order is not None else []
        return [self.scores, self._moved, *order, *(self.index.parts() if self.index is not None else ())]

    # -- one member

    def score(self, member: bytes) -> float | None:
        return self.scores.get(member)

    def add(self, member: bytes, score: float) -> bool:
        """Adds the member or moves it to `score`. Returns whether it is new. An equal score changes nothing
        (so -0.0 does not replace 0.0, as in Redis)."""
        old = self.scores.get(member)
        if old == score:
            return False
        self.scores[member] = score
        if self._order is not None:
            self._note(member, old)
        if old is not None:
            return False
        if self.index is not None:
            self.index.add(member)
        return True

    def remove(self, member: bytes) -> bool:
        """Returns whether the member was there."""
        old = self.scores.pop(member, None)
        if old is None:
            return False
        if self._order is not None:
            self._note(member, old)
        if self.index is not None:
            self.index.discard(member)
        return True

    def pop(self, count: int = 1, highest: bool = False) -> list[tuple[bytes, float]]:
        """Removes up to `count` members from the low (or the high) end; returns them, the outermost first."""
        order, scores = self._ordered(), self.scores
        popped = []
        for _ in range(min(count, len(scores))):
            member = order.pop(highest)
            popped.append((member, scores.pop(member)))
            if self.index is not None:
                self.index.discard(member)
        return popped

    # -- positions

    def rank(self, member: bytes, reverse: bool = False) -> int | None:
        """The member's position from the low end (or the high end), None when it is not there."""
        score = self.scores.get(member)
        if score is None:
            return None
        position = self._ordered().rank(member, score)
        return len(self.scores) - 1 - position if reverse else position

    def range(self, start: int, stop: int, reverse: bool = False) -> list[bytes]:
        """The members at positions start <= p < stop. With `reverse`, positions count from the high end."""
        length = len(self.scores)
        start = start if start > 0 else 0
        stop = stop if stop < length else length
        if start >= stop:
            return []
        if reverse:
            start, stop = length - stop, length - start
        members = self._ordered().slice(start, stop)
        if reverse:
            members.reverse()
        return members

    def span_by_score(
        self, low: float, high: float, low_open: bool = False, high_open: bool = False
    ) -> tuple[int, int]:
        """Positions (start, stop) of the members with low <= score <= high; an open end is excluded."""
        order = self._ordered()
        start = order.below_score(low, low_open)
        return start, max(start, order.below_score(high, not high_open))

    def span_by_member(
        self, low: bytes | None, high: bytes | None, low_open: bool = False, high_open: bool = False
    ) -> tuple[int, int]:
        """Positions (start, stop) of the members with low <= member <= high; None is that end of the set.

        Means something only when higher scores never have lower members, above all when all scores are equal."""
        start = 0 if low is None else self._ordered().below_member(low, low_open)
        stop = len(self.scores) if high is None else self._ordered().below_member(high, not high_open)
        return start, max(start, stop)

    # -- by hash

    def hashed(self) -> Index:
        """Random access and scanning, in no order that means anything."""
        if self.index is None:
            self.index = Index(self.scores)
        return self.index

    # -- the order

    def _note(self, member: bytes, old: float | None) -> None:
        moved = self._moved
        if member not in moved:
            moved[member] = old
            if len(moved) * 4 > len(self.scores):
                self._order = None
                moved.clear()

    def _ordered(self) -> Order:
        """The index, with all changes applied."""
        order, scores, moved = self._order, self.scores, self._moved
        if order is None:
            order = self._order = Order(scores)
        elif moved:
            for member, old in moved.items():
                score = scores.get(member)
                if score != old:
                    if old is not None:
                        order.remove(member, old)
                    if score is not None:
                        order.add(member, score)
            moved.clear()
        return order
