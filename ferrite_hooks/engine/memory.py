"""How much memory the process and its values take.

Redis asks jemalloc what it has handed out. Here two allocators lie under Python: malloc for what is larger than
512 bytes, which keeps accounts (mallinfo2), and pymalloc for the rest, which only counts its blocks. `Meter`
adds the two up. The resident set would not do: neither allocator gives freed memory back at once, so evicting
would never seem to help. A value is measured by `sys.getsizeof` over what it holds (a sample of it, when large).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import cache
from itertools import islice
from sys import getallocatedblocks, getsizeof
from typing import Any

from ferrite_hooks.values.collections import Hash, List, Set
from ferrite_hooks.values.stream import Stream
from ferrite_hooks.values.zset import ZSet

_PAGE = os.sysconf("SC_PAGE_SIZE")
_ARENA = 1 << 20  # what pymalloc asks the system for at a time


@cache
def _statm() -> int:
    """Kept open: the file costs ten times as much to open as to read. -1: not Linux."""
    try:
        return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def _resident() -> tuple[int, int]:
    """Bytes of the resident set, and those of them that no file stands for."""
    if (statm := _statm()) >= 0:
        _, resident, shared, *_ = map(int, os.pread(statm, 256, 0).split())
        return resident * _PAGE, (resident - shared) * _PAGE
    import resource  # the most that there ever was is all that one can know

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return peak, peak


def resident_bytes() -> int:
    """Resident set size of this process."""
    return _resident()[0]


class _MallInfo(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks",
                     "keepcost")
    ]  # fmt: skip


def _find_mallinfo() -> Callable[[], _MallInfo]:
    try:
        found = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError):  # another C library than glibc: all is put down to pymalloc's blocks
        return _MallInfo
    found.restype = _MallInfo
    return found


_mallinfo = _find_mallinfo()


class Meter:
    """Bytes in use by the whole process: `used` when last measured, `peak`, and `startup`, when it was made.

    pymalloc's arenas are about full at first. From then on its bytes are taken to shrink and grow as the number of
    its blocks does, and by as much at least as its arenas exceed what they ever were; they never exceed the arenas.
    Trials: within 25 % of an exact count, and above it."""

    __slots__ = ("_blocks", "_inside", "_mark", "peak", "startup", "used")

    def __init__(self) -> None:
        self._blocks = 1
        self._inside = 0.0  # bytes of pymalloc's blocks
        self._mark = 0  # the most that its arenas have had, or less, when they have shrunk since
        self.used = self.peak = 0
        self.startup = self.measure()

    def measure(self) -> int:
        """Takes some 0.02 ms, more when memory is scattered."""
        malloc = _mallinfo()
        blocks = getallocatedblocks()
        arenas = max(0, _resident()[1] - malloc.arena - malloc.hblkhd)
        inside = self._inside * blocks / self._blocks if blocks else arenas
        if arenas > self._mark:
            inside = max(inside, min(inside, self._inside) + arenas - self._mark)
            self._mark = arenas
        elif arenas <= self._mark - _ARENA:
            self._mark = arenas
        self._inside = min(inside, arenas)
        self._blocks = max(1, blocks)
        self.used = int(malloc.uordblks + malloc.hblkhd + self._inside)
        self.peak = max(self.peak, self.used)
        return self.used


def entry_bytes(key: bytes, value: Any, samples: int = 5) -> int:
    """Estimated bytes of a key with its value: the key's object, its place in the keyspace, the value."""
    return len(key) + 33 + 104 + value_bytes(value, samples)


def value_bytes(value: Any, samples: int = 5) -> int:
    """Estimated bytes of a value; `samples` elements are measured and stand for all, 0 = all of them."""
    if type(value) is bytes:
        return getsizeof(value)
    if type(value) is Stream:
        return getsizeof(value) + len(value) * 256
    limit = samples or len(value)
    if type(value) is Hash:
        parts = [getsizeof(k) + getsizeof(v) for k, v in islice(value.items(), limit)]
    elif type(value) is ZSet:
        parts = [getsizeof(m) + getsizeof(s) + 64 for m, s in islice(value.items(), limit)]
    elif type(value) in (List, Set):
        parts = [getsizeof(e) for e in islice(value, limit)]
    else:
        parts = []
    per_element = sum(parts) / len(parts) if parts else 0
    return int(getsizeof(value) + per_element * len(value))
