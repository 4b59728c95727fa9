"""Clients that err, stay away or do not read: what has arrived before counts, and nothing is given to who has left."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import redis
from oracle import Wire, encode
from process import ServerProcess, redis_server, until

BROKEN = b"*1\r\nx\r\n"
MANY = 5000  # more than a client's turn


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[redis.Redis]]:
    """A client of our server, and one of redis-server."""
    where = tmp_path_factory.mktemp("both")
    with ExitStack() as stack:
        server = stack.enter_context(ServerProcess(where / "ours"))
        yield [stack.enter_context(server.client()), stack.enter_context(redis_server(where))]


@pytest.fixture
def admin(both: list[redis.Redis]) -> Iterator[redis.Redis]:
    """A client of our server, which has no keys afterwards."""
    yield both[0]
    both[0].flushall()


def wire(client: redis.Redis) -> Wire:
    return Wire(client.connection_pool.connection_kwargs["port"])


def number(peer: Wire) -> int:
    return int(peer("CLIENT", "ID")[1:])


def listed(admin: redis.Redis, number: int) -> bool:
    return any(int(client["id"]) == number for client in admin.client_list())


def blocked(client: redis.Redis) -> int:
    return int(client.info("clients")["blocked_clients"])


def received(client: redis.Redis) -> int:
    return int(client.info("stats")["total_net_input_bytes"])


def everything(peer: Wire) -> bytes:
    with peer.socket:
        return b"".join(iter(lambda: peer.socket.recv(1 << 16), b""))


@pytest.mark.parametrize(
    "data",
    [
        b"".join(b"SET key:%d v\r\n" % n for n in range(MANY)), b"GET big\r\n" * 100 + b"SET k v\r\n",
        b"MULTI\r\n" + b"INCR n\r\n" * MANY + b"EXEC\r\n",
    ],
    ids=["many commands", "large replies", "a transaction"],
)  # fmt: skip
def test_commands_before_what_cannot_be_read_run_and_are_answered(both: list[redis.Redis], data: bytes) -> None:
    found = []
    for client in both:
        client.flushall()
        client.set("big", "x" * 100_000)
        peer = wire(client)
        peer.send(data + BROKEN)
        found.append((everything(peer), client.dbsize()))
    assert found[0] == found[1] and found[0][0].endswith(b"-ERR Protocol error: expected '$', got 'x'\r\n")


def test_what_cannot_be_read_waits_like_a_command(both: list[redis.Redis]) -> None:
    for client in both:
        client.delete("list")
        peer = wire(client)
        peer.send(b"BLPOP list 0\r\nSET k v\r\n" + BROKEN)
        until(lambda client=client: blocked(client) == 1)
        peer.send(b"SET k ignored\r\n")
        client.rpush("list", "v")
        said = b"*2\r\n$4\r\nlist\r\n$1\r\nv\r\n+OK\r\n-ERR Protocol error: expected '$', got 'x'\r\n"
        assert b"".join(peer.read() for _ in range(3)) == said and client.get("k") == b"v"
        peer.close()


def test_what_was_held_by_a_pause_is_skipped_as_asked(both: list[redis.Redis]) -> None:
    for client in both:
        client.delete("list")
        with wire(client) as first, wire(client) as second:
            first("PING")
            second.send(encode(("CLIENT", "REPLY", "SKIP")))
            second.send(encode(("PING",)))
            second("PING")
            client.client_pause(200)
            first.send(encode(("CLIENT", "REPLY", "SKIP")) + encode(("ECHO", "skipped")) + encode(("ECHO", "said")))
            second.send(encode(("CLIENT", "REPLY", "SKIP")) + encode(("BLPOP", "list", "0")) + encode(("ECHO", "said")))
            until(lambda client=client: blocked(client) == 1)
            client.rpush("list", "v")
            for peer in (first, second):
                assert peer.read() == b"$4\r\nsaid\r\n"


# -- clients that do not read


def deaf(admin: redis.Redis, *last: str) -> tuple[Wire, int]:
    """One that has asked for more than it reads."""
    admin.set("big", "x" * 30_000_000)
    peer = wire(admin)
    mine = number(peer)
    peer.send(encode(("GET", "big")) + (encode(last) if last else b""))
    until(lambda: any(int(client["id"]) == mine and int(client["omem"]) > 1 << 20 for client in admin.client_list()))
    return peer, mine


@pytest.mark.parametrize("last", [(), ("QUIT",)])
def test_who_does_not_read_is_seen_and_can_be_killed(admin: redis.Redis, last: tuple[str, ...]) -> None:
    peer, mine = deaf(admin, *last)
    assert admin.execute_command("CLIENT", "KILL", "ID", mine) == 1
    with peer.socket:
        try:
            assert len(everything(peer)) < 30_000_000
        except ConnectionResetError:
            pass


def test_who_has_quit_without_reading_hears_nothing_more(admin: redis.Redis) -> None:
    admin.set("big", "x" * 30_000_000)
    with wire(admin) as peer:
        peer("HELLO", "3")
        peer("SUBSCRIBE", "d")
        peer.send(encode(("GET", "big")) + encode(("QUIT",)))
        until(lambda: admin.publish("d", "x") == 0)


@pytest.mark.parametrize("end", ["close", "reset", "half"])
@pytest.mark.parametrize("behind", [5 * encode(("SET", "k", "x" * 300_000)), 5000 * b"PING\r\n"])
def test_who_has_left_while_a_command_waits_gets_nothing(admin: redis.Redis, behind: bytes, end: str) -> None:
    """More than is read ahead stands between its end and the command."""
    with wire(admin) as peer:
        mine = number(peer)
        peer.send(encode(("BLPOP", "list", "0")))
        until(lambda: blocked(admin) == 1)
        before = received(admin)
        peer.send(behind)
        until(lambda: received(admin) >= before + min(len(behind), 1 << 20))
        if end == "reset":
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if end == "half":
            peer.socket.shutdown(socket.SHUT_WR)
        else:
            peer.close()
        until(lambda: not listed(admin, mine) and blocked(admin) == 0)
        admin.rpush("list", "v")
        assert admin.lrange("list", 0, -1) == [b"v"]
