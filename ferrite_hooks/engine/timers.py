"""Things to do at a later time: timeouts of blocked clients, retries, probes, batch intervals.

A heap of (unix ms, callback). Whoever owns the event loop sets `arm`, is told the earliest instant whenever
it moves forward, and calls `run_due`; tests move a ManualClock and call it themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count

from ferrite_hooks.clock import Clock


class Timer:
    """One appointment; `cancel()` is cheap and may come late or twice."""

    __slots__ = ("callback", "order", "when")

    def __init__(self, when: int, order: int, callback: Callable[[], None]) -> None:
        self.when = when
        self.order = order
        self.callback: Callable[[], None] | None = callback

    def __lt__(self, other: Timer) -> bool:
        return (self.when, self.order) < (other.when, other.order)

    def cancel(self) -> None:
        self.callback = None


class Timers:
    __slots__ = ("_heap", "_order", "arm", "clock")

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.arm: Callable[[int], None] = lambda when: None
        self._heap: list[Timer] = []
        self._order = count()

    def at(self, when: int, callback: Callable[[], None]) -> Timer:
        """Calls `callback` once at unix ms `when`, or as soon as possible after it."""
        timer = Timer(when, next(self._order), callback)
        heappush(self._heap, timer)
        if self._heap[0] is timer:
            self.arm(when)
        elif len(self._heap) > 1024 and sum(t.callback is None for t in self._heap[:64]) > 48:
            self._heap = [t for t in self._heap if t.callback is not None]
            heapify(self._heap)
        return timer

    def after(self, ms: int, callback: Callable[[], None]) -> Timer:
        return self.at(self.clock.now + ms, callback)

    def run_due(self, most: int = 1000) -> int | None:
        """Runs what is due, at most `most` callbacks. Returns the next instant, or None when nothing is
        left."""
        heap = self._heap
        while heap and (heap[0].when <= self.clock.now or heap[0].callback is None):
            timer = heappop(heap)
            if timer.callback is not None:
                if most == 0:
                    heappush(heap, timer)
                    break
                most -= 1
                callback, timer.callback = timer.callback, None
                callback()
                heap = self._heap
        return heap[0].when if heap else None
