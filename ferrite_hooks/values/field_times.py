"""When the fields of a hash expire, for the hashes that have such fields.

`when` is the truth. A heap beside it knows which field is next; its entries are not removed when a time
changes, but skipped when they come up.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from typing import Any

LATEST = (1 << 48) - 1 >> 2  # unix ms; Redis takes nothing later


class FieldTimes:
    """field -> unix ms. False while no field has a time to live."""

    __slots__ = ("_heap", "noted", "when")

    def __init__(self, times: Iterable[tuple[bytes, int]] = ()) -> None:
        self.when: dict[bytes, int] = dict(times)
        self._heap = [(when, field) for field, when in self.when.items()]
        heapify(self._heap)
        self.noted = 0  # the deadline that the timer was given for this hash, 0 = none

    def __len__(self) -> int:
        return len(self.when)

    def __bool__(self) -> bool:  # mypyc does not ask __len__ for this
        return bool(self.when)

    def set(self, field: bytes, when: int) -> None:
        self.when[field] = when
        heappush(self._heap, (when, field))
        if len(self._heap) > 64 and len(self._heap) > 4 * len(self.when):
            self._heap = [(when, field) for field, when in self.when.items()]
            heapify(self._heap)

    def drop(self, field: bytes) -> bool:
        """Lets a field live for ever, or go. Returns False if it had no time to live."""
        return self.when.pop(field, None) is not None

    def next(self) -> int:
        """The earliest deadline; there must be one."""
        heap, when = self._heap, self.when
        while when.get(heap[0][1]) != heap[0][0]:
            heappop(heap)
        return heap[0][0]

    def take(self, now: int, most: int = 0) -> list[bytes]:
        """The fields whose time has passed, earliest first, no longer in it; 0 = all of them."""
        found: list[bytes] = []
        while self.when and self.next() < now and not (most and len(found) == most):
            found.append(self._heap[0][1])
            del self.when[found[-1]]
        return found

    def parts(self) -> list[Any]:
        """Every container that grows with the fields, for whoever empties them bit by bit."""
        return [self.when, self._heap]

    def copy(self) -> FieldTimes:
        return FieldTimes(self.when.items())
