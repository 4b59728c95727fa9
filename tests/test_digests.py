"""One dataset on both sides: redis-server's snapshot opened by us, ours by redis-server, and all say the same digest.

DEBUG DIGEST covers values and whether they expire; what it leaves out (times, groups of streams and their pending
entries, functions) is compared command by command.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from process import ServerProcess, redis_server
from rdb_world import command, fill, stream_as_read

FAR = 4_102_444_800_000  # unix ms
LIBRARIES = (
    "#!lua name=one\nredis.register_function('f', function() return 1 end)",
    "#!lua name=two\nredis.register_function{function_name='g', callback=function() end, flags={'no-writes'}}",
)
DATABASES = (0, 1, 15)
ENCODINGS = {b"int", b"embstr", b"raw", b"quicklist", b"listpack", b"intset", b"hashtable", b"skiplist", b"stream"}


@contextmanager
def ours(directory: Path) -> Iterator[Any]:
    """A server of ours, from what the directory has."""
    options = ("--log-level", "notice", "--set", "server.enable_debug_command=yes")
    with ServerProcess(directory, *options) as server, server.client(protocol=2) as client:
        yield client


def fill_all(client: Any) -> None:
    """Every type and encoding, in several databases, with times to live and functions."""
    for library in LIBRARIES:
        command(client, "FUNCTION", "LOAD", library)
    for db in reversed(DATABASES):
        client.select(db)
        fill(client, seed=db + 1)
        for n, key in enumerate(sorted(client.keys())[::3]):
            client.pexpireat(key, FAR + 1000 * n + db)
        client.set("int", 10 + db)
        client.set("embstr", "short")
        client.append("embstr", "")
        client.rpush("list:wide", *[b"w" * 9000] * 3)
        client.zadd("zset:ties", {f"m{n}": n // 3 for n in range(200)})
        client.setrange("string:sparse", 2000, "end")
        client.pfadd("hll", *range(50))
        client.geoadd("geo", (13.36, 38.11, "Palermo", 15.08, 37.5, "Catania"))


def everything(client: Any, unknown: frozenset[bytes] = frozenset([b"active-time"])) -> dict[str, Any]:
    """What must be equal on both sides, by what it is. What is `unknown` of consumers is left out: a file of version
    10 does not say when they were active."""
    told: dict[str, Any] = {"digest": command(client, "DEBUG", "DIGEST")}
    told["functions"] = sorted(map(repr, command(client, "FUNCTION", "LIST", "WITHCODE")))
    for db in DATABASES:
        client.select(db)
        keys = sorted(client.keys())
        told[f"{db} keys"] = keys
        told[f"{db} expire"] = {key: client.pexpiretime(key) for key in keys}
        told[f"{db} values"] = {key: command(client, "DEBUG", "DIGEST-VALUE", key) for key in keys}
        told[f"{db} streams"] = {key: groups(client, key, unknown) for key in keys if client.type(key) == b"stream"}
    client.select(0)
    return told


def groups(client: Any, key: bytes, unknown: frozenset[bytes]) -> Any:
    """Entries, groups, consumers and pending entries."""
    entries, facts = stream_as_read(client, key)

    def known(value: Any) -> Any:
        if isinstance(value, list):
            pairs = list(zip(value[::2], value[1::2], strict=False))
            if pairs and pairs[0][0] == b"name":
                return [(name, known(what)) for name, what in pairs if name not in unknown]
            return [known(item) for item in value]
        return value

    return entries, {name: known(value) for name, value in facts.items()}


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name in found:
        assert found[name] == expected[name], name


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"rdbcompression": "no", "maxmemory-policy": "allkeys-lfu"},
        {"maxmemory-policy": "allkeys-lru", "list-max-listpack-size": "8", "hash-max-listpack-entries": "0",
         "set-max-intset-entries": "0", "zset-max-listpack-entries": "0", "stream-node-max-entries": "7"},
        {"list-max-listpack-size": "-5", "hash-max-listpack-entries": "5000", "hash-max-listpack-value": "1000",
         "set-max-intset-entries": "5000", "zset-max-listpack-entries": "5000", "list-compress-depth": "1"},
    ],
    ids=["defaults", "plain", "large encodings", "small encodings"],
)  # fmt: skip
def test_from_redis_to_us_and_back(tmp_path: Path, settings: dict[str, str]) -> None:
    for name in ("theirs", "ours", "back"):
        (tmp_path / name).mkdir()
    with redis_server(tmp_path / "theirs") as theirs:
        for name, value in settings.items():
            theirs.config_set(name, value)
        fill_all(theirs)
        if not settings:
            assert {theirs.object("encoding", key) for key in theirs.scan_iter()} == ENCODINGS
        expected = everything(theirs)
        theirs.save()
    shutil.copy(tmp_path / "theirs" / "dump.rdb", tmp_path / "ours" / "dump.rdb")
    with ours(tmp_path / "ours") as client:
        assert_same(everything(client), expected)
        client.save()
        command(client, "DEBUG", "RELOAD")
        assert_same(everything(client), expected)
    shutil.copy(tmp_path / "ours" / "dump.rdb", tmp_path / "back" / "mine.rdb")
    with redis_server(tmp_path / "back", "mine.rdb") as again:
        assert_same(everything(again), expected)


def test_what_commands_made_here(tmp_path: Path) -> None:
    """Never in a file of redis-server: from our memory, from our journal, then from our snapshot to redis-server."""
    with ours(tmp_path / "ours") as client:
        fill_all(client)
        # A journal does not say either when a consumer was seen: nor does an append-only file.
        journaled = everything(client, frozenset([b"active-time", b"seen-time"]))
    with ours(tmp_path / "ours") as client:
        assert_same(everything(client, frozenset([b"active-time", b"seen-time"])), journaled)
        expected = everything(client)
        client.save()
    (tmp_path / "back").mkdir()
    shutil.copy(tmp_path / "ours" / "dump.rdb", tmp_path / "back" / "dump.rdb")
    with redis_server(tmp_path / "back") as theirs:
        assert_same(everything(theirs), expected)
