"""Which of Redis's encodings a value would have: what OBJECT ENCODING answers.

Nothing here depends on an encoding, but clients look at it, and a small collection is scanned in one go.
Hashes, sets and sorted sets never go back to a smaller encoding, so the commands that add to them call
`grow_hash`, `grow_set` and `grow_zset`, which note it in the value's `big`. Lists do go back, at half the
limit; their state is worked out when it is asked for. The rules are those of Redis 7.2, and `settings` are the
parameters of CONFIG GET.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ferrite_hooks.values.collections import Hash, List, Set
from ferrite_hooks.values.raw import Raw
from ferrite_hooks.values.stream import Stream
from ferrite_hooks.values.zset import ZSet

Settings = Mapping[str, Any]

_INTEGER = re.compile(rb"(?:0|-?[1-9][0-9]{0,18})\Z").match
_SAFE_BYTES = 8192  # no list node of a limited count grows beyond it
_NODE_BYTES = (4096, 8192, 16384, 32768, 65536)  # list-max-listpack-size -1 … -5
_LISTPACK_OVERHEAD = 7


def encoding(value: Any, settings: Settings) -> bytes:
    """The encoding of a value of any type, as OBJECT ENCODING names it."""
    kind = type(value)
    if kind is Raw:
        return b"raw"
    if kind is bytes:
        if _is_integer(value):
            return b"int"
        # Redis makes counting sketches in place
        return b"embstr" if len(value) <= 44 and not value.startswith(b"HYLL") else b"raw"
    if kind is Hash:
        return b"hashtable" if value.big else b"listpack" if value.times is None else b"listpackex"
    if kind is Set:
        return (b"intset", b"listpack", b"hashtable")[value.big]
    if kind is List:
        value.big = _outgrown(value, settings["list-max-listpack-size"])
        return b"quicklist" if value.big else b"listpack"
    if kind is ZSet:
        return b"skiplist" if value.big else b"listpack"
    assert kind is Stream, kind
    return b"stream"


def grow_hash(value: Hash, added: Collection[bytes], settings: Settings) -> None:
    """Notes the encoding of a hash after fields and values were set."""
    if not value.big and (
        len(value) > settings["hash-max-listpack-entries"]
        or _any_longer(added, settings["hash-max-listpack-value"])
    ):
        value.big = True


def grow_set(value: Set, added: Collection[bytes], settings: Settings) -> None:
    """Notes the encoding of a set after members were added."""
    if value.big == 0:
        if all(map(_is_integer, added)):
            if len(value) > settings["set-max-intset-entries"]:
                value.big = 2
            return
        value.big = 1
    if value.big == 1 and (
        len(value) > settings["set-max-listpack-entries"]
        or _any_longer(added, settings["set-max-listpack-value"])
    ):
        value.big = 2


def grow_zset(value: ZSet, added: Collection[bytes], settings: Settings) -> None:
    """Notes the encoding of a sorted set after members were added."""
    if not value.big and (
        len(value) > settings["zset-max-listpack-entries"]
        or _any_longer(added, settings["zset-max-listpack-value"])
    ):
        value.big = True


def _any_longer(added: Collection[bytes], most: int) -> bool:
    for element in added:  # noqa: SIM110  # any() would be a generator, for every write
        if len(element) > most:
            return True
    return False


def settle(value: Any, settings: Settings) -> None:
    """Notes the encoding of a value that was made or loaded as a whole."""
    if type(value) is Hash:
        grow_hash(value, value, settings)
        grow_hash(value, value.values(), settings)
    elif type(value) is Set:
        grow_set(value, value, settings)
    elif type(value) is ZSet:
        grow_zset(value, value.scores, settings)


def is_compact(value: Hash | Set) -> bool:
    """True if Redis keeps it in one piece, and so scans it in one go."""
    return not value.big if type(value) is Hash else value.big < 2


def _is_integer(raw: bytes) -> bool:
    return bool(_INTEGER(raw)) and (len(raw) < 19 or -(2**63) <= int(raw) < 2**63)


def _outgrown(value: List, limit: int) -> bool:
    """True if a list is a quicklist: larger than one node may be, or since then not yet down to half of that."""
    most = max(limit, 1) if limit >= 0 else len(value)
    size = _SAFE_BYTES if limit >= 0 else _NODE_BYTES[min(-limit, 5) - 1]
    if value.big:
        most, size = most // 2 if limit >= 0 else most, size // 2
    if len(value) > most or len(value) * 2 > size:
        return True
    return listpack_bytes(value) > size


def listpack_bytes(elements: Iterable[bytes]) -> int:
    """The size of a listpack of these elements."""
    return _LISTPACK_OVERHEAD + sum(map(_entry_bytes, elements))


def _entry_bytes(element: bytes) -> int:
    """What an element takes in a listpack: its header, itself, and its length once more for walking back."""
    if _is_integer(element):
        number = int(element)
        bits = (number if number >= 0 else ~number).bit_length() + 1
        if 0 <= number < 128:
            return 2
        return next(size for most, size in ((13, 3), (16, 4), (24, 5), (32, 6), (64, 10)) if bits <= most)
    size = len(element)
    size += 1 if size < 64 else 2 if size < 4096 else 5
    return size + (1 if size < 128 else 2 if size < 16384 else 3 if size < 1 << 21 else 4)
