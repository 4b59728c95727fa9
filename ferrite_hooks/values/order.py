"""The order of a sorted set: its members by score, and among equals by their bytes.

Chunks of some hundred members each, and beside them lists of their scores: what is looked for is found by bisection,
first among the last ones of all chunks, then within one. A Fenwick tree of the chunks' sizes tells the position where
a chunk begins, and the reverse. So every question and every change is O(log n), and a range is read by slicing.
Pairs in sortedcontainers' SortedList took two to six times as long: each pair is a tuple, and tuples compare slowly.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any, Final

FULL: Final = 1024  # the most members of a chunk: with more it is split …
SCANT: Final = 128  # … and with fewer than these it joins its neighbour


class Order:
    """Made of a dict of member -> score. Whoever changes it says the score, too: the dict may have another by now."""

    __slots__ = ("_last_members", "_last_scores", "_members", "_scores", "_sizes")

    def __init__(self, scores: dict[bytes, float]) -> None:
        members = sorted(scores, key=scores.__getitem__)
        ordered = [scores[member] for member in members]
        _order_equals(members, ordered)
        half = FULL // 2
        self._members = [members[at : at + half] for at in range(0, len(members), half)]  # none is empty
        self._scores = [ordered[at : at + half] for at in range(0, len(members), half)]
        self._last_members: list[bytes] = []  # of each chunk
        self._last_scores: list[float] = []
        self._sizes: list[int] = []  # a Fenwick tree
        self._arrange()

    def parts(self) -> list[list[list[Any]]]:
        """What grows with the members."""
        return [self._members, self._scores]

    # -- positions

    def rank(self, member: bytes, score: float) -> int:
        """How many come before a member that is there."""
        chunk = self._chunk(member, score)
        return self._before(chunk) + _position(self._members[chunk], self._scores[chunk], member, score)

    def below_score(self, score: float, inclusive: bool) -> int:
        """How many have a lower score, or with `inclusive` a lower or equal one."""
        return self._below(self._last_scores, self._scores, score, inclusive)

    def below_member(self, member: bytes, inclusive: bool) -> int:
        """How many members are lower, or with `inclusive` lower or equal, where no higher score has a lower member."""
        return self._below(self._last_members, self._members, member, inclusive)

    def _below(self, last: list[Any], chunks: list[list[Any]], bound: Any, inclusive: bool) -> int:
        bisect = bisect_right if inclusive else bisect_left
        chunk = bisect(last, bound)
        within = bisect(chunks[chunk], bound) if chunk < len(chunks) else 0
        return self._before(chunk) + within

    def slice(self, start: int, stop: int) -> list[bytes]:
        """The members at positions start <= p < stop, all of which are there."""
        size = stop - start
        chunk, at = self._find(start)
        found = self._members[chunk][at : at + size]
        while len(found) < size:
            chunk += 1
            found += self._members[chunk][: size - len(found)]
        return found

    # -- changes

    def add(self, member: bytes, score: float) -> None:
        """Adds one that is not there."""
        if not self._members:
            self._members.append([member])
            self._scores.append([score])
            self._arrange()
            return
        chunk = min(self._chunk(member, score), len(self._members) - 1)
        members, scores = self._members[chunk], self._scores[chunk]
        at = _position(members, scores, member, score)
        members.insert(at, member)
        scores.insert(at, score)
        if len(members) > FULL:
            self._split(chunk)
        else:
            self._resized(chunk, 1)

    def remove(self, member: bytes, score: float) -> None:
        """Removes one that is there."""
        chunk = self._chunk(member, score)
        self._take(chunk, _position(self._members[chunk], self._scores[chunk], member, score))

    def pop(self, highest: bool) -> bytes:
        """Removes the first or the last one, and returns it."""
        chunk = len(self._members) - 1 if highest else 0
        return self._take(chunk, len(self._members[chunk]) - 1 if highest else 0)

    def _take(self, chunk: int, at: int) -> bytes:
        members = self._members[chunk]
        member = members.pop(at)
        self._scores[chunk].pop(at)
        if len(members) >= SCANT or (members and len(self._members) == 1):
            self._resized(chunk, -1)
        else:
            self._join(chunk)
        return member

    # -- chunks

    def _chunk(self, member: bytes, score: float) -> int:
        """The first chunk that does not end before this pair."""
        last = self._last_scores
        return _position(self._last_members, last, member, score) if len(last) > 1 else 0

    def _split(self, chunk: int) -> None:
        half = FULL // 2
        for chunks in self.parts():
            whole = chunks[chunk]
            chunks[chunk : chunk + 1] = [whole[:half], whole[half:]]
        self._arrange()

    def _join(self, chunk: int) -> None:
        """Appends a chunk to the one before, or the one behind to it; it vanishes if it is the only one."""
        first = max(chunk - 1, 0)
        for chunks in self.parts():
            whole = chunks[first] + (chunks[first + 1] if len(chunks) > 1 else [])
            chunks[first : first + 2] = [whole] if whole else []
        if self._members and len(self._members[first]) > FULL:
            self._split(first)
        else:
            self._arrange()

    def _arrange(self) -> None:
        """There are other chunks than before."""
        self._last_members = [chunk[-1] for chunk in self._members]
        self._last_scores = [chunk[-1] for chunk in self._scores]
        sizes = self._sizes = [len(chunk) for chunk in self._members]
        for chunk, size in enumerate(sizes):
            above = chunk | (chunk + 1)
            if above < len(sizes):
                sizes[above] += size

    def _resized(self, chunk: int, by: int) -> None:
        self._last_members[chunk] = self._members[chunk][-1]
        self._last_scores[chunk] = self._scores[chunk][-1]
        sizes = self._sizes
        while chunk < len(sizes):
            sizes[chunk] = sizes[chunk] + by  # with += the compiled build would add objects
            chunk |= chunk + 1

    def _before(self, chunk: int) -> int:
        """How many members the chunks before this one have."""
        total, sizes = 0, self._sizes
        while chunk:
            total += sizes[chunk - 1]
            chunk &= chunk - 1
        return total

    def _find(self, position: int) -> tuple[int, int]:
        """The chunk that has this position, and where in it."""
        chunk, sizes = 0, self._sizes
        step = 1 << len(sizes).bit_length() >> 1
        while step:
            following = chunk + step
            if following <= len(sizes) and sizes[following - 1] <= position:
                chunk = following
                position -= sizes[following - 1]
            step >>= 1
        return chunk, position


def _position(members: list[bytes], scores: list[float], member: bytes, score: float) -> int:
    """Where among them this pair is, or belongs."""
    at = bisect_left(scores, score)
    if at < len(scores) and scores[at] == score and members[at] < member:
        return bisect_left(members, member, at, bisect_right(scores, score, at))
    return at


def _order_equals(members: list[bytes], scores: list[float]) -> None:
    """Sorts those that have the same score, in place."""
    at, size = 0, len(members)
    while at < size:
        end = at + 1
        if end < size and scores[end] == scores[at]:
            end = bisect_right(scores, scores[at], end)
            members[at:end] = sorted(members[at:end])
        at = end
