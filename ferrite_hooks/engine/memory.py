"""How much memory the process and its values take.

Python does not count bytes per key as jemalloc does for Redis: the process is measured by its resident set, a
value by `sys.getsizeof` over what it holds (a sample of it, when it is large).
"""

from __future__ import annotations

import os
from itertools import islice
from sys import getsizeof
from typing import Any

from ferrite_hooks.values.collections import Hash, List, Set
from ferrite_hooks.values.stream import Stream
from ferrite_hooks.values.zset import ZSet

_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """Resident set size of this process."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


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
