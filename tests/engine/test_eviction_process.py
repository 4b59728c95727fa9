"""maxmemory in a whole server: real memory, real clients, more data than fits."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from oracle import Wire, encode
from process import ServerProcess

MB = 1 << 20
KEYS = 50  # of 100 kB


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("eviction") / "data") as process:
        yield process


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Any]:
    """Of a server without keys and limits."""
    with server.client(protocol=2) as found:
        found.config_set("maxmemory", 0)
        found.config_set("maxmemory-clients", 0)
        found.config_set("maxmemory-eviction-tenacity", 10)
        found.flushall()
        found.config_resetstat()
        yield found


def used(client: Any) -> int:
    return int(client.info("memory")["used_memory"])


def evicted(client: Any) -> tuple[int, int]:
    """Keys, clients."""
    stats = client.info("stats")
    return stats["evicted_keys"], stats["evicted_clients"]


@pytest.mark.parametrize(("size", "writes"), [(60_000, 700), (200, 90_000)])
def test_memory_stays_at_the_limit_and_data_stays_too(tmp_path: Path, size: int, writes: int) -> None:
    with ServerProcess(tmp_path / "data", "--set", "journal.enabled=false") as server, server.client() as client:
        limit = client.info("memory")["used_memory"] + 16 * MB
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", limit)
        pipe = client.pipeline(transaction=False)
        for n in range(writes):
            pipe.set(f"key:{n}", os.urandom(size))
            if n % 100 == 99:
                pipe.execute()
        memory = client.info("memory")
        stats, left = client.pipeline().info("stats").dbsize().execute()
        assert memory["used_memory"] < limit + MB
        assert memory["used_memory_rss"] < limit + 50 * MB
        assert stats["evicted_keys"] == writes - left
        assert left * size > 3 * MB
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            client.set("k", "v")
        assert client.get(f"key:{writes - 1}") is not None


@pytest.mark.parametrize("policy", ["allkeys-random", "allkeys-lru", "allkeys-lfu", "volatile-random", "volatile-lru",
                                    "volatile-lfu", "volatile-ttl"])  # fmt: skip
def test_a_narrow_limit_is_kept(client: Any, policy: str) -> None:
    client.config_set("maxmemory-policy", policy)
    limit = used(client) + MB
    client.config_set("maxmemory", limit)
    for n in range(6000):
        client.set(f"key:{n}", "x" * 200, ex=10_000)
        assert n % 100 or any(used(client) < limit + 32 * 1024 for _ in range(500))  # a table may have just grown
    stats, left = client.pipeline().info("stats").dbsize().execute()
    assert left > 300 and left + stats["evicted_keys"] == 6000


def _big_keys(client: Any, protect: bool) -> None:
    """Five megabytes of keys, room for four more, and a limit for clients if they are to go instead of the keys."""
    client.config_set("maxmemory-policy", "allkeys-lru")
    for n in range(KEYS):
        client.setrange(n, 100_000, "x")
    client.config_set("maxmemory", used(client) + 4 * MB)
    client.config_set("maxmemory-clients", MB if protect else 0)
    client.execute_command("CLIENT", "NO-EVICT", "ON")


def _judge(client: Any, protect: bool) -> None:
    stats, left = client.pipeline().info("stats").dbsize().execute()
    keys, clients = stats["evicted_keys"], stats["evicted_clients"]
    assert (keys == 0 and clients > 0) if protect else (keys > 0 and clients == 0)
    assert left == KEYS - keys


@pytest.mark.parametrize("protect", [False, True])
def test_what_half_a_command_takes_counts(server: ServerProcess, client: Any, protect: bool) -> None:
    before = used(client)
    _big_keys(client, protect)
    dead = [socket.create_connection(("127.0.0.1", server.port), 10) for _ in range(30)]
    for sock in dead:
        try:
            sock.sendall(b"*250\r\n" + b"$1000\r\n%b\r\n" % (b"x" * 1000) * 249)
        except OSError:  # it was closed meanwhile
            assert protect
    while evicted(client) == (0, 0):
        client.ping()
    _judge(client, protect)
    for sock in dead:
        sock.close()
    while len(client.client_list()) > 1:
        client.ping()
    client.flushall()
    while client.info("memory")["lazyfree_pending_objects"]:
        client.ping()
    assert used(client) < before + MB  # what the clients had is free as soon as they have left


@pytest.mark.parametrize("protect", [False, True])
def test_what_subscribers_do_not_read_counts(server: ServerProcess, client: Any, protect: bool) -> None:
    deaf = [socket.create_connection(("127.0.0.1", server.port), 10) for _ in range(20)]
    for sock in deaf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(encode(("SUBSCRIBE", "news")))
    while client.pubsub_numsub("news")[0][1] < len(deaf):
        client.ping()
    _big_keys(client, protect)
    for _ in range(2000):
        client.publish("news", "x" * 100_000)
        if evicted(client) != (0, 0):
            break
    _judge(client, protect)
    for sock in deaf:
        sock.close()


def test_telling_caches_of_evictions_does_not_evict_more(server: ServerProcess, client: Any) -> None:
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("maxmemory-eviction-tenacity", 100)
    caches = [Wire(server.port) for _ in range(10)]
    for cache in caches:
        cache("HELLO", 3)
        assert cache("CLIENT", "TRACKING", "ON") == b"+OK\r\n"
    for n in range(300):
        key = f"{n}" + "x" * 1000
        client.set(key, "x")
        for cache in caches:
            assert cache("GET", key) == b"$1\r\nx\r\n"
    client.config_set("maxmemory", used(client) - 40_000)
    while not evicted(client)[0]:
        client.ping()
    assert 10 <= 300 - client.dbsize() <= 150  # about 36 are enough, but pages come and go
    for cache in caches:
        assert cache.read().startswith(b">2\r\n$10\r\ninvalidate\r\n")
        cache.close()


def test_lowering_the_limit_answers_at_once_and_evicts_on(client: Any) -> None:
    pipe = client.pipeline(transaction=False)
    for n in range(20_000):
        pipe.set(n, "x" * 100)
    pipe.execute()
    client.config_set("maxmemory-policy", "allkeys-random")
    client.config_set("maxmemory", 1)
    first = client.dbsize()
    assert first > 10_000  # nobody has waited for all of it
    assert client.set("more", "x")  # nor is a write refused meanwhile
    while client.dbsize():
        assert client.dbsize() <= first
    memory = client.info("stats")
    assert memory["current_eviction_exceeded_time"] > 0 and memory["total_eviction_exceeded_time"] > 0
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        client.set("k", "v")
    client.config_set("maxmemory", 0)
    assert client.info("stats")["current_eviction_exceeded_time"] == 0


@pytest.mark.parametrize("policy", ["allkeys-lfu", "volatile-ttl"])
def test_what_was_evicted_stays_away_after_a_crash(tmp_path: Path, policy: str) -> None:
    chance = random.Random(policy)
    server = ServerProcess(tmp_path / "data", "--set", "server.enable_debug_command=yes")
    with server, server.client(protocol=2) as client:
        client.config_set("maxmemory-policy", policy)
        client.config_set("maxmemory", used(client) + MB)
        for _ in range(150):
            pipe = client.pipeline(transaction=chance.random() < 0.3)
            for _ in range(50):
                key, value = f"k{chance.randrange(5000)}", "v" * chance.randrange(600)
                kind = chance.randrange(6)
                if kind < 3:
                    pipe.set(key, value, ex=10_000)
                elif kind == 3:
                    pipe.rpush("l" + key, value)
                    pipe.expire("l" + key, 5000)
                elif kind == 4:
                    pipe.hset("h" + key, value[:5] or "f", value)
                else:
                    pipe.delete(key, "l" + key)
            try:
                pipe.execute(raise_on_error=False)
            except (redis.exceptions.ExecAbortError, redis.exceptions.OutOfMemoryError):
                assert policy == "volatile-ttl"
        assert evicted(client)[0] > 50
        client.config_set("maxmemory", 0)
        size, digest = client.dbsize(), client.execute_command("DEBUG", "DIGEST")
        server.kill()
        server.start()
        assert client.dbsize() == size and client.execute_command("DEBUG", "DIGEST") == digest
