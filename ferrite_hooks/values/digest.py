"""The digest of a value and of a whole dataset, as DEBUG DIGEST computes them: two servers with equal data say the
same.

What has an order is chained (each step hashes the digest so far), what has none is joined by XOR.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from hashlib import sha1
from typing import Any

from ferrite_hooks.resp.encoder import format_double
from ferrite_hooks.values.collections import Hash, List, Set
from ferrite_hooks.values.raw import Raw
from ferrite_hooks.values.stream import U64, Stream
from ferrite_hooks.values.zset import ZSet

EMPTY = 0
_SIZE = 20


def _hash(data: bytes) -> int:
    return int.from_bytes(sha1(data, usedforsecurity=False).digest())


def _chain(digest: int, data: bytes) -> int:
    return _hash((digest ^ _hash(data)).to_bytes(_SIZE))


def _chained(digest: int, parts: Iterable[bytes]) -> int:
    for part in parts:
        digest = _chain(digest, part)
    return digest


def _joined(digest: int, groups: Iterable[tuple[bytes, bytes]]) -> int:
    for group in groups:
        digest ^= _hash(_chained(EMPTY, group).to_bytes(_SIZE))
    return digest


def _fields(digest: int, value: Hash) -> int:
    if not value.times:
        return _joined(digest, value.items())
    for pair in value.items():
        element = _chained(EMPTY, pair)
        if pair[0] in value.times.when:
            element ^= _hash(b"!!hexpire!!")
        digest ^= _hash(element.to_bytes(_SIZE))
    return digest


def _set(digest: int, value: Set) -> int:
    for member in value:
        digest ^= _hash(member)
    return digest


def _stream(digest: int, value: Stream) -> int:
    for node in value.nodes:
        for id, fields in zip(node.ids, node.entries, strict=True):
            digest = _chained(digest, (b"%d.%d" % (id >> 64, id & U64), *fields))
    return digest


# Python type -> Redis's number of the type, and how its content is mixed in
_MIX: dict[type, tuple[int, Callable[[int, Any], int]]] = {
    bytes: (0, _chain),
    Raw: (0, lambda digest, value: _chain(digest, bytes(value))),
    List: (1, _chained),
    Set: (2, _set),
    ZSet: (3, lambda digest, value: _joined(digest, ((m, format_double(s)) for m, s in value.items()))),
    Hash: (4, _fields),
    Stream: (6, _stream),
}


def value_digest(value: Any, expires: bool, digest: int = EMPTY) -> int:
    """The digest of a value, going on from `digest`; `expires`: it has a time to live."""
    number, mix = _MIX[type(value)]
    digest = mix(_chain(digest, number.to_bytes(4)), value)
    return digest ^ _hash(b"!!expire!!") if expires else digest


def dataset_digest(databases: Iterable[tuple[int, Mapping[bytes, Any], Mapping[bytes, int]]]) -> int:
    """The digest of (index, values, times of expiry) of all databases; 0 when they are empty."""
    digest = EMPTY
    for index, values, expires in databases:
        if values:
            digest = _chain(digest, index.to_bytes(4))
            for key, value in values.items():
                digest ^= _hash(value_digest(value, key in expires, _chain(EMPTY, key)).to_bytes(_SIZE))
    return digest


def shown(digest: int) -> bytes:
    return digest.to_bytes(_SIZE).hex().encode()
