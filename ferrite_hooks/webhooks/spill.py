"""Which events of one webhook's queue are only in the journal, each as two numbers: its position and its frame.

The journal has every matched change anyway, so an event that memory has no room for needs no other place. The
numbers stand in arrays, ascending by position, 16 bytes an event. What is removed, from wherever, leaves a hole
(frame 0) that goes when there are too many. `ahead` gives the next ones to read back and `passed` says how far
reading has come: it may leave events behind for later, then it begins anew at the front with `rewind`.

What a restart knows of single events that it has not read yet is kept by position: how many changes one stands
for, and which request of several attempts it was part of. Both are bounded by what was in memory before.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import compress
from typing import NamedTuple

_TRIM = 1024  # holes that are not worth an effort


class Tried(NamedTuple):
    """A request that has failed and will be made again."""

    positions: list[int]
    attempt: int
    spent: int
    due: int  # unix ms


class Spill:
    """`size` events. `since`: unix ms, no later than the first of them."""

    __slots__ = ("_frames", "_head", "_ordered", "_passed", "_positions", "merged", "since", "size", "tried")

    def __init__(self) -> None:
        self._positions = array("Q")
        self._frames = array("Q")
        self._head = 0  # what is before it are holes
        self._passed = 0  # the position up to which reading has come
        self._ordered = True  # the frames ascend, too
        self.size = 0
        self.since = 0
        self.merged: dict[int, int] = {}  # position -> earlier changes that it stands for
        self.tried: dict[int, Tried] = {}  # by the first position

    def __len__(self) -> int:
        return self.size

    def __contains__(self, position: int) -> bool:
        return self._find(position) >= 0

    def __iter__(self) -> Iterator[int]:
        """The positions, ascending."""
        return compress(self._positions, self._frames)

    def add(self, position: int, frame: int, at: int) -> bool:
        """Returns False if it was there already. `at`: unix ms of the event."""
        positions = self._positions
        if not self.size:
            self.clear()
            positions = self._positions
            self.since = at
        if positions and position <= positions[-1]:
            return self._insert(position, frame)
        if positions and frame < self._frames[-1]:
            self._ordered = False
        positions.append(position)
        self._frames.append(frame)
        self.size += 1
        return True

    def add_all(self, positions: list[int], frame: int) -> None:
        """As `add`, for several of one frame; there has to be one already. They ascend, unless a script that has run
        for long hands its changes over."""
        if positions[0] > self._positions[-1] and positions == sorted(positions):
            if frame < self._frames[-1]:
                self._ordered = False
            self._positions.extend(positions)
            self._frames.extend([frame] * len(positions))
            self.size += len(positions)
        else:
            for position in positions:
                self.add(position, frame, self.since)

    def _insert(self, position: int, frame: int) -> bool:
        """Rare: a script that has run for long hands its changes over late."""
        at = bisect_left(self._positions, position, self._head)
        if at < len(self._positions) and self._positions[at] == position:
            if self._frames[at]:
                return False
            self._frames[at] = frame
        else:
            self._positions.insert(at, position)
            self._frames.insert(at, frame)
        self._ordered = False
        self._passed = min(self._passed, position - 1)
        self.size += 1
        return True

    def _find(self, position: int) -> int:
        positions, head = self._positions, self._head
        if head < len(positions) and positions[head] == position:
            return head
        at = bisect_left(positions, position, head)
        if at < len(positions) and positions[at] == position and self._frames[at]:
            return at
        return -1

    def remove(self, position: int) -> int:
        """Returns the event's frame, 0 if it was not there."""
        at = self._find(position)
        if at < 0:
            return 0
        frames = self._frames
        frame = frames[at]
        frames[at] = 0
        self.size -= 1
        if not self.size:
            self.clear()
        elif at == self._head:
            while not frames[at]:
                at += 1
            self._head = at
        if self._head > self.size + _TRIM:
            del self._positions[: self._head], frames[: self._head]
            self._head = 0
        elif len(frames) - self._head > 2 * self.size + _TRIM:
            self._close_holes()
        if self.merged:
            self.merged.pop(position, None)
        if self.tried:
            self.tried.pop(position, None)
        return frame

    def _close_holes(self) -> None:
        self._positions = array("Q", compress(self._positions, self._frames))
        self._frames = array("Q", filter(None, self._frames))
        self._head = 0

    def remove_between(self, first: int, last: int, but: set[int]) -> int:
        """Removes all from position `first` to `last` but some. Returns how many."""
        low, high = bisect_left(self._positions, first, self._head), bisect_right(self._positions, last, self._head)
        gone = list(compress(self._positions[low:high], self._frames[low:high]))
        return sum(self.remove(position) > 0 for position in gone if position not in but)

    def remove_before(self, frame: int) -> int:
        """Removes what stands in frames before `frame`. Returns how many."""
        gone = [p for p, f in zip(self._positions, self._frames, strict=True) if 0 < f < frame]
        return sum(self.remove(position) > 0 for position in gone)

    def clear(self) -> None:
        self._positions, self._frames = array("Q"), array("Q")
        self._head = self._passed = self.size = self.since = 0
        self._ordered = True
        self.merged.clear()
        self.tried.clear()

    # -- reading back ------------------------------------------------------------------------------------------

    @property
    def first(self) -> int:
        """The lowest position, 0 if there is none."""
        return self._positions[self._head] if self.size else 0

    @property
    def last(self) -> int:
        """The highest position that was added."""
        return self._positions[-1] if self.size else 0

    @property
    def lowest_frame(self) -> int:
        """Of the journal, that an event stands in; 0 if there is none."""
        if not self.size:
            return 0
        return self._frames[self._head] if self._ordered else min(filter(None, self._frames))

    @property
    def ahead_of_reading(self) -> bool:
        """Whether there is any that reading has not come to."""
        return self.last > self._passed

    def ahead(self, count: int) -> dict[int, int]:
        """About the next `count`: position -> frame. Those that were sent in one request stay together, and so do
        those of one frame, up to four times as many."""
        positions, frames = self._positions, self._frames
        found: dict[int, int] = {}
        together, frame = 0, 0
        for at in range(bisect_right(positions, self._passed, self._head), len(positions)):
            position = positions[at]
            if not frames[at]:
                continue
            if len(found) >= count and position > together and (frames[at] != frame or len(found) >= 4 * count):
                break
            frame = found[position] = frames[at]
            if self.tried and position in self.tried:
                together = max(together, self.tried[position].positions[-1])
        return found

    def passed(self, position: int) -> None:
        """Reading has come up to and including this one."""
        self._passed = position

    def rewind(self) -> None:
        """Reading begins with the first again."""
        self._passed = 0

    # -- for the snapshot --------------------------------------------------------------------------------------

    def packed(self) -> tuple[bytes, bytes]:
        """Positions and frames, little-endian, 64 bits each."""
        if len(self._positions) > self.size:
            self._close_holes()
        return _to_bytes(self._positions), _to_bytes(self._frames)

    def unpack(self, positions: bytes, frames: bytes, since: int) -> None:
        """Takes what `packed` gave. Raises ValueError."""
        numbers, places = _from_bytes(positions), _from_bytes(frames)
        if len(numbers) != len(places) or len(set(numbers)) < len(numbers) or 0 in places or not _ascending(numbers):
            raise ValueError("positions and frames make no sense")
        self.clear()
        self._positions, self._frames = numbers, places
        self.size = len(self._positions)
        self.since = since
        self._ordered = _ascending(self._frames)


def _ascending(numbers: array[int]) -> bool:
    listed = numbers.tolist()
    return listed == sorted(listed)


def _to_bytes(numbers: array[int]) -> bytes:
    if sys.byteorder == "big":
        numbers = array("Q", numbers)
        numbers.byteswap()
    return numbers.tobytes()


def _from_bytes(data: bytes) -> array[int]:
    numbers = array("Q")
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
