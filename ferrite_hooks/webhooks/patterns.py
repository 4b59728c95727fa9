"""Who has a glob that matches a key: an index that changes in place.

Literal patterns stand in a dict; all others in nested dicts: by their literal prefix, by the length of their literal
suffix, by that suffix. `user:*` and `order:*:items` are decided by that alone, and only what is left is matched as a
glob; a pattern that many have stands there once. A look-up takes a step per length of a prefix, and one per length
of a suffix that goes with a prefix of the key, however many patterns there are. Most steps are over with one byte:
that of the key where such prefixes end (or suffixes begin), often a colon. One more costs the same among many.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from ferrite_hooks import glob

QUICK_STEPS: Final = 8  # a look-up in so many steps is as cheap as a cache

_ByPrefix = dict[bytes, dict["_Affix", dict[bytes, list["_Pattern"]]]]  # prefix -> length of the suffix -> suffix


class _Pattern:
    """One glob, and the serials of those who have it."""

    __slots__ = ("literal", "predicate", "prefix", "serials", "shortest", "suffix")

    def __init__(self, text: bytes) -> None:
        self.prefix, self.suffix, certain = glob.affixes(text)
        self.literal = certain is True
        self.predicate = glob.compile(text) if certain is False else None  # None: its ends decide
        self.shortest = len(self.prefix) + len(self.suffix)
        self.serials: set[int] = set()


class _Affix:
    """The prefixes, or the suffixes, of one length: how many patterns have one, and how many of these have each byte at
    its inner end."""

    __slots__ = ("inner", "length", "patterns")

    def __init__(self, length: int) -> None:
        self.length = length
        self.patterns = 0
        self.inner = [0] * 256

    def count(self, inner: bytes, by: int) -> None:
        self.patterns += by
        for byte in inner:
            self.inner[byte] += by


class Patterns:
    """Globs by who has them. `quick`: it is not worth remembering what `find` says. `first`: how many patterns may
    match a key with this first byte; where it is 0, `find` need not be asked."""

    __slots__ = (
        "_by_prefix", "_by_text", "_heads", "_literal", "_predicates", "_sizes", "_steps", "_tails", "first",
        "quick",
    )  # fmt: skip

    def __init__(self) -> None:
        self.quick = True
        self._by_text: dict[bytes, _Pattern] = {}
        self._literal: dict[bytes, list[_Pattern]] = {}
        self._sizes: dict[int, _Affix] = {}  # of those, by their length
        self._by_prefix: _ByPrefix = {}
        self._heads: dict[int, _Affix] = {}  # of the others: their prefixes by length …
        self._steps: list[_Affix] = []  # … the shortest first …
        self._tails: dict[int, _Affix] = {}  # … and their suffixes
        self._predicates = 0
        self.first = [0] * 256

    def add(self, serial: int, patterns: Iterable[bytes]) -> None:
        for text in patterns:
            pattern = self._by_text.get(text)
            if pattern is None:
                pattern = self._by_text[text] = _Pattern(text)
                self._count(pattern, 1)
                tree, path = self._place(pattern)
                for step in path[:-1]:
                    tree = tree.setdefault(step, {})
                tree.setdefault(path[-1], []).append(pattern)
            pattern.serials.add(serial)

    def remove(self, serial: int, patterns: Iterable[bytes]) -> None:
        """What was added, perhaps with repetitions."""
        for text in patterns:
            pattern = self._by_text.get(text)
            if pattern is not None:
                pattern.serials.discard(serial)
                if not pattern.serials:
                    del self._by_text[text]
                    _prune(*self._place(pattern), pattern)
                    self._count(pattern, -1)

    def _place(self, pattern: _Pattern) -> tuple[dict[Any, Any], tuple[bytes | _Affix, ...]]:
        """Nested dicts, and the way in them to the list that a pattern is in."""
        if pattern.literal:
            return self._literal, (pattern.prefix,)
        return self._by_prefix, (pattern.prefix, self._tails[len(pattern.suffix)], pattern.suffix)

    def _count(self, pattern: _Pattern, by: int) -> None:
        prefix, suffix = pattern.prefix, pattern.suffix
        for byte in prefix[:1] or range(256):
            self.first[byte] += by
        if pattern.literal:
            _count(self._sizes, len(prefix), prefix[-1:], by)
        else:
            if _count(self._heads, len(prefix), prefix[-1:], by):
                self._steps = [self._heads[length] for length in sorted(self._heads)]
            _count(self._tails, len(suffix), suffix[:1], by)
            self._predicates += by * (pattern.predicate is not None)
        self.quick = len(self._heads) + len(self._tails) + self._predicates <= QUICK_STEPS

    def find(self, key: bytes, among: set[int], always: tuple[int, ...]) -> tuple[int, ...]:
        """The serials, ascending, that are in `always`, or are in `among` and have a pattern which matches."""
        size = len(key)
        found: set[int] | None = None
        if self._literal and size in self._sizes:
            for pattern in self._literal.get(key, ()):
                wanting = among & pattern.serials
                found = wanting if found is None else found | wanting
        for head in self._steps:
            length = head.length
            if length > size:
                break
            if length and not head.inner[key[length - 1]]:
                continue
            by_tail = self._by_prefix.get(key[:length])
            if by_tail is None:
                continue
            for tail, by_suffix in by_tail.items():
                start = size - tail.length
                if start < 0 or (start < size and not tail.inner[key[start]]):
                    continue
                for pattern in by_suffix.get(key[start:], ()):
                    predicate = pattern.predicate
                    if (
                        size >= pattern.shortest
                        and not among.isdisjoint(pattern.serials)
                        and (predicate is None or predicate(key))
                    ):
                        wanting = among & pattern.serials
                        found = wanting if found is None else found | wanting
        return tuple(sorted(found.union(always))) if found else always


def _count(affixes: dict[int, _Affix], length: int, inner: bytes, by: int) -> bool:
    """Whether it is the first one of this length, or was the last one."""
    affix = affixes.get(length)
    first = affix is None
    if affix is None:
        affix = affixes[length] = _Affix(length)
    affix.count(inner, by)
    if not affix.patterns:
        del affixes[length]
    return first or not affix.patterns


def _prune(tree: Any, path: tuple[bytes | _Affix, ...], pattern: _Pattern) -> None:
    """Takes a pattern out of nested dicts, and what that leaves empty."""
    if path:
        _prune(tree[path[0]], path[1:], pattern)
        if not tree[path[0]]:
            del tree[path[0]]
    else:
        tree.remove(pattern)
