"""Large values are freed in slices, so that nobody waits while a million elements go.

Whatever is deleted, overwritten, expired, evicted or flushed leaves the keyspace at once. A small value is gone
then. Of a large one, the containers that hold its elements are kept here and emptied by a timer, some hundred
microseconds at a time; the longer it takes, the longer the slices become, so that no client makes garbage faster
than it is cleared away. What is handed over must have no other owner.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import repeat
from time import perf_counter_ns
from typing import Any

from sortedcontainers import SortedDict

from ferrite_hooks.engine.timers import Timer, Timers
from ferrite_hooks.values.collections import Hash, List, Set
from ferrite_hooks.values.stream import Consumer, Group, Node, Stream
from ferrite_hooks.values.zset import ZSet

SMALL = 64  # elements: up to here a value is freed on the spot, as in Redis
SLICE_NS = 300_000
PAUSE_MS = 1  # between slices
_LONGEST = 16  # slices' length, times SLICE_NS
_PER_LOOK = 32  # elements between looks at the clock

_POP: dict[type, Callable[[Any], Any]] = {
    dict: dict.popitem, Hash: dict.popitem, SortedDict: dict.popitem,
    list: list.pop, set: set.pop, Set: set.pop, List: deque.pop,
}  # fmt: skip
_PLAIN = frozenset([dict, SortedDict, list, set, List])  # elements and nothing else
_KINDS = frozenset([*_POP, ZSet, Stream, Node, Group, Consumer])


class Lazyfree:
    """Of one engine. `pending` and `freed` count objects as INFO does: values, or the keys of flushed databases."""

    __slots__ = ("_jobs", "_since", "_timer", "_timers", "freed", "pending", "slice_ns")

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._timer: Timer | None = None
        self._jobs: deque[tuple[int, list[Any]]] = deque()  # (objects, containers that are not yet empty)
        self._since = 0  # unix ms: when there was last nothing to do
        self.pending = self.freed = 0
        self.slice_ns = SLICE_NS

    def value(self, value: Any) -> None:
        """Frees a value of any type that has left the keyspace."""
        containers = parts(value)
        if containers:
            self.add(1, containers)

    def add(self, objects: int, containers: list[Any]) -> None:
        """Frees the dicts, sets and lists that so many objects consisted of."""
        self._jobs.append((objects, containers))
        self.pending += objects
        if self._timer is None:
            self._since = self._timers.clock.now
            self._timer = self._timers.after(PAUSE_MS, self._run)

    def _run(self) -> None:
        self._timer = None
        if self.work():
            self._timer = self._timers.after(PAUSE_MS, self._run)

    def work(self) -> bool:
        """Frees one slice. Returns whether there is more."""
        jobs = self._jobs
        seconds = (self._timers.clock.now - self._since) // 1000
        deadline = perf_counter_ns() + self.slice_ns * max(1, min(seconds, _LONGEST))
        while jobs:
            objects, containers = jobs[0]
            while containers:
                if _empty(containers.pop(), containers, deadline):
                    return True
            jobs.popleft()
            self.pending -= objects
            self.freed += objects
        return False


def _empty(container: Any, others: list[Any], deadline: int) -> bool:
    """Takes out elements until `deadline`; what is itself large goes to `others`, as does the container, for another
    time, when the result is True."""
    pop = _POP[type(container)]
    pairs = isinstance(container, dict)
    while container:
        if perf_counter_ns() >= deadline:
            others.append(container)
            return True
        for _ in repeat(None, min(_PER_LOOK, len(container))):
            element = pop(container)
            if pairs:
                element = element[1]
            if type(element) in _KINDS:
                others += parts(element)
    return False


def parts(value: Any) -> list[Any]:
    """The containers that hold a value's elements, none if it is small or no collection at all."""
    kind = type(value)
    if kind not in _KINDS:
        return []
    if kind is Group or kind is Consumer:
        found: list[Any] = value.parts()
        return found
    size = len(value) + (sum(len(group.pending) for group in value.groups.values()) if kind is Stream else 0)
    if size <= SMALL:
        return []
    return [value] if kind in _PLAIN else value.parts()
