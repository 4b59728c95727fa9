"""Encodings, compared with redis-server where 7.0 and 7.2 agree, and with 7.2's rules where they do not."""

from __future__ import annotations

import pytest
from fakes import Harness
from oracle import Oracle

from ferrite_hooks.values.collections import Hash, List, Set
from ferrite_hooks.values.encoding import encoding, listpack_bytes, settle
from ferrite_hooks.values.stream import Stream
from ferrite_hooks.values.zset import ZSet

SETTINGS = Harness().engine.settings
SMALL = {**SETTINGS, "hash-max-listpack-entries": 2, "set-max-listpack-entries": 2, "zset-max-listpack-entries": 2}


@pytest.mark.parametrize("value", [
    b"", b"0", b"-0", b"007", b"+7", b"12345678901234567890", b"9223372036854775807", b"9223372036854775808",
    b"-9223372036854775808", b"1.5", b" 1", b"x" * 44, b"x" * 45,
])  # fmt: skip
def test_strings(oracle: Oracle, value: bytes) -> None:
    oracle("SET", "k", value)
    assert b"%b\r\n" % encoding(value, SETTINGS) in oracle("OBJECT", "ENCODING", "k")


@pytest.mark.parametrize("fields", [
    {b"f": b"v"}, {b"f": b"v" * 64}, {b"f": b"v" * 65}, {b"f" * 65: b"v"}, {b"%d" % i: b"" for i in range(512)},
    {b"%d" % i: b"" for i in range(513)},
])  # fmt: skip
def test_hashes(oracle: Oracle, fields: dict[bytes, bytes]) -> None:
    oracle("HSET", "k", *(word for pair in fields.items() for word in pair))
    value = Hash(fields.items())
    settle(value, SETTINGS)
    assert b"%b\r\n" % encoding(value, SETTINGS) in oracle("OBJECT", "ENCODING", "k")


def test_settle_measures_what_was_made_as_a_whole() -> None:
    members = [b"a", b"b", b"c"]
    for value, expected in [
        (Hash((m, b"") for m in members), b"hashtable"), (Set(members), b"hashtable"), (Set(members[:2]), b"listpack"),
        (Set([b"1"]), b"intset"), (ZSet(dict.fromkeys(members, 1.0)), b"skiplist"), (Stream(), b"stream"),
        (Hash(), b"listpack"),
    ]:  # fmt: skip
        settle(value, SMALL)
        assert encoding(value, SMALL) == expected


@pytest.mark.parametrize("limit, most", [(0, 1), (3, 3), (128, 128)])
def test_lists_of_a_limited_count(limit: int, most: int) -> None:
    parameters = {**SETTINGS, "list-max-listpack-size": limit}
    value = List([b"e"] * most)
    assert encoding(value, parameters) == b"listpack"
    value.append(b"e")
    assert encoding(value, parameters) == b"quicklist"
    while len(value) > max(most // 2, 1):
        assert encoding(value, parameters) == b"quicklist"
        value.pop()
    assert encoding(value, parameters) == (b"listpack" if most > 1 else b"quicklist")


@pytest.mark.parametrize("limit, size", [(-1, 4096), (-2, 8192), (-5, 65536), (-99, 65536)])
def test_lists_of_a_limited_size(limit: int, size: int) -> None:
    parameters = {**SETTINGS, "list-max-listpack-size": limit}
    assert encoding(List([b"x" * (size - 20)]), parameters) == b"listpack"
    assert encoding(List([b"x" * size]), parameters) == b"quicklist"
    assert encoding(List([b"7"] * ((size - 7) // 2)), parameters) == b"listpack"
    assert encoding(List([b"7"] * ((size - 7) // 2 + 1)), parameters) == b"quicklist"


@pytest.mark.parametrize("element", [
    b"0", b"127", b"128", b"-1", b"4095", b"4096", b"-4096", b"-4097", b"32767", b"32768", b"8388607", b"8388608",
    b"2147483647", b"2147483648", b"9223372036854775807", b"x", b"x" * 63, b"x" * 64, b"x" * 127, b"x" * 1000,
])  # fmt: skip
def test_a_listpack_takes_what_redis_says(oracle: Oracle, element: bytes) -> None:
    """DUMP of a list of one node shows its listpack, which begins with its own size."""
    oracle("CONFIG", "SET", "rdbcompression", "no")
    oracle("DEBUG", "QUICKLIST-PACKED-THRESHOLD", "1gb")  # other tests lower it
    oracle("RPUSH", "k", element, element)
    payload = oracle("DUMP", "k").split(b"\r\n", 1)[1]
    assert payload.startswith(b"\x12\x01\x02")  # a quicklist of one node, which is a listpack
    start = 4 if payload[3] < 64 else 5
    size = int.from_bytes(payload[start : start + 4], "little")
    assert size == listpack_bytes([element, element])
