"""What a connection gets when it arrives, and when all together are too large."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from fakes import Harness
from oracle import Oracle, Pair
from process import ServerProcess

from ferrite_hooks.server.clients import _keep_alive


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
