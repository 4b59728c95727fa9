"""A redis-server filled with every type and encoding, and what it has under a key compared with a value of ours."""

import random
from collections.abc import Callable
from typing import Any

from ferrite_hooks.values.collections import Hash, List, Set
from ferrite_hooks.values.stream import UNKNOWN, Group, Stream, format_id
from ferrite_hooks.values.zset import ZSet


def command(client: Any, *words: Any) -> Any:
    """A reply as it came, without what redis-py makes of it."""
    connection = client.connection_pool.get_connection()
    try:
        connection.send_command(*words)
        return connection.read_response()
    finally:
        client.connection_pool.release(connection)


def as_read(client: Any, key: bytes | str) -> Any:
    """A key as clients see it: type and content in a form that compares."""
    kind = client.type(key).decode()
    return kind, READ[kind](client, key)


def stream_as_read(client: Any, key: bytes | str) -> Any:
    """Entries and XINFO, without what only counts nodes: tombstones are not written."""
    info = command(client, "XINFO", "STREAM", key, "FULL", "COUNT", "0")
    facts = dict(zip(info[::2], info[1::2], strict=True))
    del facts[b"radix-tree-keys"], facts[b"radix-tree-nodes"]
    return command(client, "XRANGE", key, "-", "+"), facts


READ: dict[str, Callable[[Any, bytes | str], Any]] = {
    "string": lambda c, k: c.get(k),
    "list": lambda c, k: c.lrange(k, 0, -1),
    "set": lambda c, k: c.smembers(k),
    "hash": lambda c, k: c.hgetall(k),
    "zset": lambda c, k: dict(c.zrange(k, 0, -1, withscores=True)),
    "stream": stream_as_read,
}


def plain(value: Any) -> Any:
    """A value of ours in the form of `as_read`, but for streams."""
    if isinstance(value, Hash):
        return "hash", dict(value)
    if isinstance(value, List):
        return "list", list(value)
    if isinstance(value, Set):
        return "set", set(value)
    if isinstance(value, ZSet):
        return "zset", value.scores
    assert isinstance(value, bytes)
    return "string", value


def entries_of(stream: Stream) -> list[Any]:
    return [
        [format_id(id), list(fields)]
        for node in stream.nodes
        for id, fields in zip(node.ids, node.entries, strict=True)
    ]


def fill(server: Any, seed: int = 1) -> None:
    """Keys of every type in every encoding that redis-server 7.0 has."""
    rng = random.Random(seed)
    blob = rng.randbytes
    for n, value in enumerate([b"", b"x", b"0", b"-1", b"127", b"128", b"-32769", b"2147483647", b"2147483648",
                               b"-9223372036854775808", b"007", b"1.5", blob(100), b"ab" * 5000, b"z" * 100_000,
                               blob(70_000), bytes(300_000)]):  # fmt: skip
        server.set(f"string:{n}", value)
    server.rpush("list:small", "a", "", "1", "-100000", b"x" * 200, blob(70))
    server.rpush(
        "list:large", *[b"%d" % (n * 7919) for n in range(3000)], b"p" * 20_000, *[blob(900) for _ in range(30)]
    )
    server.sadd("set:int16", *range(-5, 100, 7))
    server.sadd("set:int64", 1, 2**40, -(2**62))
    server.sadd("set:text", "a", "b", "", b"\xff\x00", *range(600))
    server.hset("hash:small", mapping={"f": "v", "g": "", "": "1", "n": "-42"})
    server.hset("hash:large", mapping={f"field:{n}": blob(n % 80) for n in range(700)})
    server.zadd("zset:small", {"a": 1, "b": -2.5, "c": float("inf"), "d": 1e300, "7": 3.14, "e": 0.1 + 0.2})
    server.zadd("zset:large", {b"m%d" % n: n / 7 for n in range(500)})
    fill_streams(server)


def fill_streams(server: Any) -> None:
    for n in range(1, 250):
        server.execute_command("XADD", "stream:plain", f"{n}-{n % 3}", "a", n, "b", "x" * (n % 50))
    for n in range(1, 120):
        server.execute_command(
            "XADD", "stream:groups", f"{10**12 + n}-1", *(["f", n] if n % 3 else ["g", "1", "", "y"])
        )
    for n in (1, 5, 6, 100, 119):
        server.xdel("stream:groups", f"{10**12 + n}-1")
    server.xtrim("stream:groups", maxlen=90, approximate=False)
    for group in ("one", "two", "idle"):
        server.xgroup_create("stream:groups", group, "0")
    for consumer, count in (("alice", 10), ("bob", 5), ("alice", 3)):
        server.xreadgroup("one", consumer, {"stream:groups": ">"}, count=count)
    server.xreadgroup("two", "carol", {"stream:groups": ">"})
    server.xack("stream:groups", "one", f"{10**12 + 40}-1")
    server.xgroup_createconsumer("stream:groups", "idle", "nobody")
    server.xadd("stream:empty", {"a": "b"}, id="5-5")
    server.xdel("stream:empty", "5-5")
    top = 2**64 - 1
    server.execute_command("XADD", "stream:edge", "0-1", "a", "b")
    server.execute_command("XADD", "stream:edge", f"{top}-{top - 1}", "a", "b")
    server.execute_command("XGROUP", "CREATE", "stream:edge", "g", f"{top}-{top}")


def check(server: Any, key: bytes, value: Any) -> None:
    """That a value of ours is what the server has under `key`."""
    if not isinstance(value, Stream):
        assert plain(value) == as_read(server, key), key
        return
    entries, info = stream_as_read(server, key)
    assert entries_of(value) == entries
    assert info[b"length"] == value.length
    assert info[b"last-generated-id"] == format_id(value.last_id)
    assert info[b"max-deleted-entry-id"] == format_id(value.max_deleted_id)
    assert info[b"entries-added"] == value.entries_added
    assert info[b"recorded-first-entry-id"] == format_id(value.first_id)
    groups = [dict(zip(group[::2], group[1::2], strict=True)) for group in info[b"groups"]]
    assert {group[b"name"] for group in groups} == value.groups.keys()
    for said in groups:
        check_group(said, value.groups[said[b"name"]])


def check_group(said: dict[bytes, Any], group: Group) -> None:
    assert said[b"last-delivered-id"] == format_id(group.last_id)
    assert said[b"entries-read"] == (None if group.entries_read == UNKNOWN else group.entries_read)
    assert said[b"pending"] == [
        [format_id(id), pending.consumer.name, pending.time, pending.count] for id, pending in group.pending.items()
    ]
    consumers = [dict(zip(consumer[::2], consumer[1::2], strict=True)) for consumer in said[b"consumers"]]
    assert {c[b"name"]: c[b"seen-time"] for c in consumers} == {
        name: consumer.seen_time for name, consumer in group.consumers.items()
    }
    for consumer in consumers:
        owned = group.consumers[consumer[b"name"]].pending
        assert [row[0] for row in consumer[b"pending"]] == [format_id(id) for id in owned]
