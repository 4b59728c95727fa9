"""The three collections that a Python built-in already is: hash, list and set.

Each is a thin subclass, so that a value's Python type is its Redis type, with room for what Redis keeps
beside the elements. Sorted sets and streams have files of their own.
"""

from __future__ import annotations

from collections import deque

from ferrite_hooks.values.index import Index


class Hash(dict[bytes, bytes]):
    """field -> value. `index` serves HSCAN and HRANDFIELD and exists only once one was asked for."""

    __slots__ = ("big", "index")

    def __init__(self) -> None:
        self.index: Index | None = None
        self.big = False  # has outgrown Redis's compact encoding; never goes back


class List(deque[bytes]):
    """Elements from left to right; both ends are O(1)."""

    __slots__ = ()


class Set(set[bytes]):
    """Members. `index` serves SSCAN, SPOP and SRANDMEMBER and exists only once one was asked for."""

    __slots__ = ("big", "index")

    def __init__(self) -> None:
        self.index: Index | None = None
        self.big = 0  # 0 intset, 1 listpack, 2 hashtable: encodings only ever grow
