"""What a connection gets when it arrives, and when all together are too large."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from fakes import Harness
from oracle import Oracle, Pair, Wire, encode
from process import ServerProcess

from ferrite_hooks.server.clients import Clients, _keep_alive
from ferrite_hooks.server.connection import Connection
from ferrite_hooks.server.tick import Tick


def test_keepalive_is_set_on_the_socket() -> None:
    with socket.socket() as sock:
        _keep_alive(sock, 300)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        if hasattr(socket, "TCP_KEEPIDLE"):
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 300
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 50
    _keep_alive(sock, 300)  # a peer that has left already is no error


@pytest.mark.parametrize("value", ["10mb", "5%", "100%", "101%", "-1", "abc", "1000", "0", "%", "1k"])
def test_maxmemory_clients_is_read_as_redis_reads_it(oracle: Oracle, harness: Harness, value: str) -> None:
    both = Pair(oracle, harness)
    try:
        both.check("CONFIG", "SET", "maxmemory-clients", value)
        both.check("CONFIG", "GET", "maxmemory-clients")
    finally:
        both.check("CONFIG", "SET", "maxmemory-clients", "0")


def test_the_largest_clients_go_when_all_are_too_large(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server, server.client() as client:
        client.set("big", b"x" * 1_000_000)
        deaf = [socket.create_connection(("127.0.0.1", server.port), 5) for _ in range(2)]
        deaf[0].sendall(b"CLIENT NO-EVICT ON\r\n")
        assert deaf[0].recv(100) == b"+OK\r\n"
        for sock in deaf:
            sock.sendall(b"GET big\r\n" * 40)
        while len([c for c in client.client_list() if int(c["tot-mem"]) > 5_000_000]) < 2:
            time.sleep(0.01)
        client.config_set("maxmemory-clients", "1mb")
        while client.info("stats")["evicted_clients"] < 1:
            time.sleep(0.01)
        left = [c for c in client.client_list() if int(c["tot-mem"]) > 5_000_000]
        assert [c["flags"] for c in left] == ["e"]
        client.config_set("maxmemory-clients", "0")
        client.config_resetstat()
        assert client.info("stats")["evicted_clients"] == 0
        for sock in deaf:
            sock.close()


def test_a_pipeline_of_large_replies_is_not_answered_at_once(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server, server.client() as client:
        client.set("big", b"x" * 1_000_000)
        status = Path(f"/proc/{server.process.pid}/status")  # type: ignore[union-attr]
        with socket.create_connection(("127.0.0.1", server.port), 10) as sock, sock.makefile("rb") as file:
            sock.sendall(b"GET big\r\n" * 300 + b"PING\r\n")  # no more than one chunk
            for _ in range(300):
                assert file.readline() == b"$1000000\r\n"
                assert len(file.read(1_000_002)) == 1_000_002
            assert file.readline() == b"+PONG\r\n"
        peak = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        assert peak < 200_000  # kB


# -- limits on what a client takes; on a server of their own, whose limits every test sets ---------------------------


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("limited") / "data", "--log-level", "warning") as server:
        yield server


@pytest.fixture
def admin(limited: ServerProcess) -> Iterator[redis.Redis]:
    with limited.client() as client:
        client.client_no_evict("ON")
        before = client.config_get("client-output-buffer-limit", "client-query-buffer-limit", "maxmemory-clients")
        yield client
        for name, value in before.items():
            client.config_set(name, value)
        client.flushall()


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 10
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)
    return found


def named(server: ServerProcess, name: str) -> Wire:
    wire = Wire(server.port)
    assert wire("CLIENT", "SETNAME", name) == b"+OK\r\n"
    return wire


def sizes(admin: redis.Redis) -> dict[str, int]:
    """tot-mem of the clients with names."""
    return {client["name"]: int(client["tot-mem"]) for client in admin.client_list() if client["name"]}


def cut_off(wire: Wire) -> bool:
    """The server has closed the connection, and said nothing more on it."""
    try:
        return wire.socket.recv(1) == b""
    except ConnectionResetError:
        return True
    finally:
        wire.socket.close()


@pytest.mark.parametrize(
    "value",
    [
        "normal 1mb 2mb 60 replica 3mb 4mb 70 pubsub 5mb 6mb 80",
        "pubsub 100000 0 0",
        "slave 1 2 3 NORMAL 1k 2kb 3",
        "wrong number",
        "invalid_class 10mb 10mb 60",
        "master 10mb 10mb 60",
        "normal 10mbs 10mb 60",
        "replica 10mb 10mbs 60",
        "pubsub 10mb 10mb 60s",
    ],
)
def test_output_buffer_limits_are_read_and_shown_as_redis_does_it(
    oracle: Oracle, harness: Harness, value: str
) -> None:
    both = Pair(oracle, harness)
    name, default = "client-output-buffer-limit", "normal 0 0 0 slave 256mb 64mb 60 pubsub 32mb 8mb 60"
    both.check("CONFIG", "SET", name, default)
    try:
        both.check("CONFIG", "SET", name, value)
        both.check("CONFIG", "GET", name)
    finally:
        both.check("CONFIG", "SET", name, default)


def test_a_reply_beyond_the_hard_limit_is_not_sent(limited: ServerProcess, admin: redis.Redis) -> None:
    admin.config_set("client-output-buffer-limit", "normal 100000 0 0")
    admin.rpush("list", *["x" * 1000] * 150)
    for words in (("LRANGE", "list", "0", "-1"), ("EVAL", "return redis.call('lrange', 'list', 0, -1)", "0")):
        wire = named(limited, "greedy")
        wire.send(encode(words))
        assert cut_off(wire)
        assert "greedy" not in sizes(admin)


def test_the_replies_to_one_pipeline_count_together(limited: ServerProcess, admin: redis.Redis) -> None:
    admin.config_set("client-output-buffer-limit", "normal 100000 0 0")
    admin.set("big", "x" * 10_000)
    wire = named(limited, "greedy")
    wire.send(encode(("SET", "n", "1")) + encode(("GET", "big")) * 15)
    assert cut_off(wire) and admin.get("n") == b"1"


def test_a_transaction_whose_reply_is_too_long_has_run_whole(limited: ServerProcess, admin: redis.Redis) -> None:
    admin.config_set("client-output-buffer-limit", "normal 100000 0 0")
    admin.set("big", "x" * 150_000)
    admin.set("old", "1")
    wire = named(limited, "greedy")
    for words in (("MULTI",), ("SET", "a", "1"), ("GET", "big"), ("SET", "b", "2"), ("DEL", "old")):
        wire(*words)
    wire.send(encode(("EXEC",)))
    assert cut_off(wire)
    assert admin.mget("a", "b", "old") == [b"1", b"2", None]


def test_a_subscriber_that_does_not_read_is_cut_off(limited: ServerProcess, admin: redis.Redis) -> None:
    admin.config_set("client-output-buffer-limit", "pubsub 100000 0 0")
    admin.config_resetstat()
    wire = named(limited, "deaf")
    wire("SUBSCRIBE", "c")
    most = 0
    while admin.publish("c", "x" * 1000):
        most = max(most, sizes(admin).get("deaf", 0))
    assert 70_000 <= most < 200_000
    wire.socket.close()
    wire = named(limited, "hears")
    wire("SUBSCRIBE", "c")
    wire.send(encode(("CLIENT", "NO-TOUCH", "on")))  # not allowed here, and nothing else happens
    assert admin.publish("c", "x" * 99_000) == 1 and b"x" * 99_000 in wire.read() + wire.read()
    wire.send(encode(("UNSUBSCRIBE",)))
    wire.socket.close()


def over_soft_limit(limited: ServerProcess, admin: redis.Redis) -> Wire:
    admin.config_set("client-output-buffer-limit", "pubsub 0 100000 1")
    wire = named(limited, "slow")
    wire("SUBSCRIBE", "c")
    until(lambda: admin.publish("c", "x" * 10_000) and sizes(admin)["slow"] > 200_000)
    return wire


def test_the_soft_limit_may_be_exceeded_for_so_long(limited: ServerProcess, admin: redis.Redis) -> None:
    wire, since = over_soft_limit(limited, admin), time.monotonic()
    until(lambda: "slow" not in sizes(admin))
    assert time.monotonic() - since > 0.9
    wire.socket.close()


def test_who_reads_in_time_is_below_the_soft_limit_again(limited: ServerProcess, admin: redis.Redis) -> None:
    wire = over_soft_limit(limited, admin)
    wire.socket.setblocking(True)

    def read() -> bool:
        wire.socket.recv(1 << 20)
        return sizes(admin)["slow"] < 1000

    until(read)
    since = time.monotonic()
    until(lambda: time.monotonic() - since > 2.2)  # twice the time, and a sweep
    assert "slow" in sizes(admin)
    wire.socket.close()


def test_an_unfinished_command_has_a_limit(limited: ServerProcess, admin: redis.Redis) -> None:
    admin.config_set("client-query-buffer-limit", "1mb")
    wire = named(limited, "long")
    assert wire("SET", "k", "x" * 900_000) == b"+OK\r\n"
    wire.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3000000\r\n" + b"x" * 2_000_000)
    assert cut_off(wire)


def test_a_client_that_waits_is_not_read_without_end(limited: ServerProcess, admin: redis.Redis) -> None:
    wire = named(limited, "waits")
    wire.send(encode(("BLPOP", "never", "0")))
    wire.socket.setblocking(False)
    request, sent = encode(("SET", "k", "x" * 500_000)), 0
    try:
        while sent < 200 * len(request):
            sent += wire.socket.send(request[sent % len(request) :])
    except BlockingIOError:
        pass
    assert until(lambda: sizes(admin)["waits"] > 1_000_000) and sizes(admin)["waits"] < 4_000_000
    wire.socket.setblocking(True)
    admin.rpush("never", "now")
    assert wire.read() == b"*2\r\n$5\r\nnever\r\n$3\r\nnow\r\n"
    wire.send(request[sent % len(request) :] if sent % len(request) else b"")
    assert {wire.read() for _ in range(-(-sent // len(request)))} == {b"+OK\r\n"}
    wire.socket.close()


# -- maxmemory-clients


def fill(wire: Wire, size: int) -> None:
    """Sends a command's beginning that the server has to keep."""
    wire.send(b"*2\r\n$%d\r\n%b" % (size, b"v" * size))


GROWING: list[tuple[str, Callable[[int], bytes]]] = [
    ("a command's arguments", lambda n: encode(("MSET", "k", "v", "k2", "v" * 3_000_000))),
    ("an unfinished command", lambda n: b"*1\r\n$3000000\r\n" + b"v" * 3_000_000),
    ("queued commands", lambda n: encode(("SET", "k", "v" * 500_000)) if n else encode(("MULTI",))),
    ("watched keys", lambda n: encode(("WATCH", *range(n * 1000, n * 1000 + 1000)))),
    ("patterns", lambda n: encode(("PSUBSCRIBE", *range(n * 1000, n * 1000 + 1000)))),
    ("channels", lambda n: encode(("SUBSCRIBE", *range(n * 1000, n * 1000 + 1000)))),
    ("shard channels", lambda n: encode(("SSUBSCRIBE", *range(n * 1000, n * 1000 + 1000)))),
    ("tracked prefixes", lambda n: encode(
        ("CLIENT", "TRACKING", "ON", "BCAST", *[w for i in range(100) for w in ("PREFIX", f"{n:05}:{i:05}")])
    )),
]  # fmt: skip


@pytest.mark.parametrize("step", [step for _, step in GROWING], ids=[name for name, _ in GROWING])
def test_whatever_grows_counts_for_maxmemory_clients(
    limited: ServerProcess, admin: redis.Redis, step: Callable[[int], bytes]
) -> None:
    admin.config_set("maxmemory-clients", "200000" if b"MSET" not in step(0) else "2mb")
    admin.config_resetstat()
    with named(limited, "grows").socket as sock, named(limited, "modest").socket:
        sock.settimeout(10)
        try:
            for n in range(100):
                sock.sendall(step(n))
                if not sock.recv(1 << 20):
                    break
        except ConnectionError:
            pass
        until(lambda: "grows" not in sizes(admin))
        assert "modest" in sizes(admin) and admin.info("stats")["evicted_clients"] == 1
        assert admin.exists("k2") == 0, "what was too large has not run"


def test_messages_for_a_client_count_for_maxmemory_clients(limited: ServerProcess, admin: redis.Redis) -> None:
    admin.config_set("maxmemory-clients", "3000000")
    listener, tracker = named(limited, "listener"), named(limited, "tracker")
    number = int(listener("CLIENT", "ID")[1:])
    listener("SUBSCRIBE", "__redis__:invalidate")
    tracker("CLIENT", "TRACKING", "ON", "REDIRECT", number, "BCAST")
    key = "k" * 200_000
    while "listener" in sizes(admin):
        admin.incr(key)
    assert "tracker" in sizes(admin)
    listener.socket.close()
    tracker.socket.close()


def test_a_share_of_maxmemory(limited: ServerProcess, admin: redis.Redis) -> None:
    admin.config_set("maxmemory", "1gb", "maxmemory-clients", "1%")  # 10.7 MB
    try:
        with named(limited, "half") as half, named(limited, "more") as more:
            fill(half, 5_000_000)
            until(lambda: sizes(admin)["half"] >= 5_000_000)
            fill(more, 7_000_000)
            until(lambda: "more" not in sizes(admin))
            assert "half" in sizes(admin)
            admin.config_set("maxmemory", "400mb")
            assert "half" not in sizes(admin), "a smaller maxmemory is a smaller share"
    finally:
        admin.config_set("maxmemory", 0)


def test_a_lower_limit_takes_the_largest_clients_and_no_more(limited: ServerProcess, admin: redis.Redis) -> None:
    wires = [(named(limited, f"{size}-{n}"), size) for size in (128, 1024, 3072) for n in range(3)]
    for wire, size in wires:
        fill(wire, size << 10)
    until(lambda: sum(sizes(admin).values()) >= 4224 * 3072)
    admin.config_set("maxmemory-clients", sum(sizes(admin).values()) - 1)
    assert sorted(name.split("-")[0] for name in sizes(admin)) == ["1024"] * 3 + ["128"] * 3 + ["3072"] * 2
    for left in (["1024"] * 3 + ["128"] * 3, ["128"] * 3):
        kept = sum(size for name, size in sizes(admin).items() if name.split("-")[0] in left)
        admin.config_set("maxmemory-clients", kept + 1000)
        assert sorted(name.split("-")[0] for name in sizes(admin)) == left
    for wire, _ in wires:
        wire.socket.close()


def test_protected_clients_neither_go_nor_cost_others_their_place(limited: ServerProcess, admin: redis.Redis) -> None:
    admin.config_set("maxmemory-clients", "1mb")
    with named(limited, "protected") as protected, named(limited, "other") as other:
        assert protected("CLIENT", "NO-EVICT", "ON") == b"+OK\r\n"
        fill(protected, 3_000_000)
        until(lambda: sizes(admin)["protected"] >= 3_000_000)
        assert other("PING") == b"+PONG\r\n"
        fill(other, 2_000_000)
        until(lambda: "other" not in sizes(admin))
        assert "protected" in sizes(admin)


def test_an_output_limit_goes_before_the_eviction_of_others(limited: ServerProcess, admin: redis.Redis) -> None:
    admin.config_set("client-output-buffer-limit", "normal 3mb 0 0", "maxmemory-clients", "10mb")
    admin.set("k", "x" * 4_000_000)
    admin.config_resetstat()
    with named(limited, "long") as long:
        fill(long, 6_500_000)
        until(lambda: sizes(admin)["long"] >= 6_500_000)
        for name in ("greedy-1", "greedy-2"):
            wire = named(limited, name)
            wire.send(encode(("GET", "k")))
            assert cut_off(wire)
        assert set(sizes(admin)) == {"long"} and admin.info("stats")["evicted_clients"] == 0


def test_the_limit_on_all_clients_can_stand_in_the_configuration(tmp_path: Path) -> None:
    with (
        ServerProcess(tmp_path / "data", "--set", "server.maxmemory_clients=1mb") as server,
        server.client() as admin,
        named(server, "large") as large,
    ):
        assert admin.config_get("maxmemory-clients") == {"maxmemory-clients": "1048576"}
        fill(large, 1_100_000)
        until(lambda: "large" not in sizes(admin))


class Stranger:
    """A transport to another machine."""

    def __init__(self) -> None:
        self.said = b""

    def get_extra_info(self, name: str) -> object:
        return {"sockname": ("192.0.2.1", 6379), "peername": ("192.0.2.7", 50_000)}.get(name)

    def write(self, data: bytes) -> None:
        self.said += data

    def close(self) -> None:
        pass


async def test_protected_mode_keeps_other_machines_out_until_there_is_a_password(harness: Harness) -> None:
    engine, client = harness.engine, harness.connect()
    clients = Clients(engine, Tick(engine, asyncio.get_running_loop()))
    client("CONFIG", "SET", "tcp-keepalive", "0")

    def said() -> bytes:
        stranger = Stranger()
        Connection(clients).connection_made(stranger)  # type: ignore[arg-type]
        return stranger.said

    assert said().startswith(b"-DENIED ")
    client("CONFIG", "SET", "requirepass", "secret")
    assert said() == b""
    client("CONFIG", "SET", "requirepass", "")
    assert said().startswith(b"-DENIED ")
    client("CONFIG", "SET", "protected-mode", "no")
    assert said() == b""
