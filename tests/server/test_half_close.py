"""What becomes of what a peer has sent when it says no more, beside redis-server."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random

import pytest
import redis
from process import ServerProcess, free_port, redis_server, until

MANY = 5000  # more than a client's turn, in one chunk


def addressed(client: redis.Redis) -> tuple[str, int]:
    return "127.0.0.1", client.connection_pool.connection_kwargs["port"]


def said(wire: socket.socket, data: bytes) -> bytes:
    """What comes back for `data`, behind which the peer says no more."""
    with wire:
        wire.settimeout(20)
        wire.sendall(data)
        wire.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: wire.recv(1 << 16), b""))


def sets(count: int) -> bytes:
    return b"".join(b"SET key:%d v\r\n" % n for n in range(count))


def alone(client: redis.Redis) -> bool:
    return len(client.client_list()) == 1


@pytest.fixture(scope="module", params=["everysec", "always"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[redis.Redis]]:
    """A client of our server, and one of redis-server."""
    where = tmp_path_factory.mktemp("both")
    with ExitStack() as stack:
        server = stack.enter_context(ServerProcess(where / "ours", "--set", f"journal.fsync={request.param}"))
        yield [stack.enter_context(server.client()), stack.enter_context(redis_server(where))]


@pytest.mark.parametrize("count", [1, 1024, 1025, MANY])
def test_commands_before_the_end_run_and_are_answered(both: list[redis.Redis], count: int) -> None:
    for client in both:
        client.flushall()
        assert said(socket.create_connection(addressed(client)), sets(count)) == b"+OK\r\n" * count
        assert client.dbsize() == count


@pytest.mark.parametrize(
    "data",
    [
        b"", b"PI", b"PING", b"GET nothing\r\n", b"QUIT\r\nSET k v\r\n", b"SET k v\r\nQUIT\r\nSET k w\r\n",
        b"SET k v\r\nBLPOP empty 0\r\nSET k w\r\n", b"BLPOP empty 0\r\n" + sets(2000), b"MULTI\r\nSET k v\r\n",
        b"MULTI\r\n" + sets(MANY) + b"EXEC\r\n", b"SUBSCRIBE c\r\nSET k v\r\n", b"SET k v\r\n*1\r\nx\r\n",
        b"CLIENT REPLY OFF\r\n" + sets(MANY), sets(MANY) + b"INCR key:1\r\n",
    ],
)  # fmt: skip
def test_the_end_is_as_redis_has_it(both: list[redis.Redis], data: bytes) -> None:
    found = []
    for client in both:
        client.flushall()
        found.append((said(socket.create_connection(addressed(client)), data), client.dbsize(), client.get("k")))
    assert found[0] == found[1]


def test_replies_that_do_not_fit_into_the_socket_follow(both: list[redis.Redis]) -> None:
    client = both[0]  # redis-server drops what it could not send yet
    client.set("big", b"x" * 100_000)
    with socket.create_connection(addressed(client)) as wire:
        wire.sendall(b"GET big\r\n" * 200)
        wire.shutdown(socket.SHUT_WR)
        wire.settimeout(20)
        size = sum(map(len, iter(lambda: wire.recv(1 << 16), b"")))
    assert size == 200 * len(b"$100000\r\n" + b"x" * 100_000 + b"\r\n")
    until(lambda: alone(client))


def test_however_clients_end_none_stays(both: list[redis.Redis]) -> None:
    client, random = both[0], Random(7)
    for _ in range(100):
        wire = socket.create_connection(addressed(client))
        last = random.choice([b"", b"BLPOP empty 0\r\nPING\r\n", b"QUIT\r\n"])
        wire.sendall(sets(random.choice([1, 2000, MANY])) + last)
        end = random.randrange(4)
        if end == 0:
            wire.shutdown(socket.SHUT_WR)
        elif end == 1:  # RST
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif end == 2:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        wire.close()
        if random.random() < 0.3:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    until(lambda: alone(client))
    assert client.info("clients")["blocked_clients"] == 0 and client.ping()


def test_commands_before_the_end_of_tls_run(tmp_path: Path, certificates: Path) -> None:
    port = free_port()
    options = ("--tls-port", str(port), "--tls-cert-file", str(certificates / "server.pem"),
               "--tls-key-file", str(certificates / "server.key"), "--tls-auth-clients", "no")  # fmt: skip
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    with ServerProcess(tmp_path / "data", *options) as server, server.client() as client:
        for count in (1, MANY):
            client.flushall()
            wire = context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="localhost")
            with wire:
                wire.sendall(sets(count))
                with suppress(ssl.SSLError):  # the replies come behind our farewell
                    wire.unwrap()
            until(lambda client=client, count=count: client.dbsize() == count and alone(client))
        assert "eof_received" not in server.log()
