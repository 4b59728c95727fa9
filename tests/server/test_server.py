"""A whole server process: starting, listening, limits, stopping, and what it says when it cannot."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from process import ServerProcess, free_port


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data", metrics=True) as running:
        yield running


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ferrite_hooks", *words], capture_output=True, text=True, timeout=30, check=False
    )


def http(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_data_and_webhooks_survive_stop_and_kill(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data")
    with server, server.client() as client:
        client.set("k", "v")
        client.hset("h", mapping={"a": 1})
        client.execute_command("WEBHOOK.CREATE", "w", "http://127.0.0.1:9/x", "SECRET", "top-secret")
        assert server.stop() == 0
        server.start()
        client.rpush("l", 1, 2)
        server.kill()
        server.start()
        assert client.get("k") == b"v"
        assert client.hgetall("h") == {b"a": b"1"}
        assert client.lrange("l", 0, -1) == [b"1", b"2"]
        assert client.execute_command("WEBHOOK.LIST")[0][b"name"] == b"w"
    assert "top-secret" not in server.log()


def test_what_a_start_prints(server: ServerProcess) -> None:
    log = server.log()
    for part in ("Ferrite Hooks", f"127.0.0.1:{server.port}", str(server.directory), "webhooks: 0", "/metrics"):
        assert part in log


def test_files_are_private(server: ServerProcess) -> None:
    assert server.directory.stat().st_mode & 0o777 == 0o700
    for file in server.directory.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file


def test_health_and_metrics(server: ServerProcess) -> None:
    with server.client() as client:
        client.set("k", "v")
    assert http(server.metrics_port, "/healthz") == (200, '{"status": "ok"}')
    status, body = http(server.metrics_port, "/readyz")
    assert status == 200 and json.loads(body)["ready"] is True
    status, body = http(server.metrics_port, "/metrics")
    assert 'ferrite_commands_total{cmd="set"} 1.0' in body
    assert "ferrite_connected_clients" in body and "ferrite_memory_used_bytes" in body
    with server.client() as client:
        assert client.info("memory")["used_memory_dataset"] < 4 << 20, "what metrics need is no data"


def test_a_port_in_use_is_one_clear_line(server: ServerProcess, tmp_path: Path) -> None:
    found = run("--port", str(server.port), "--dir", str(tmp_path / "other"), "--metrics-port", "0")
    assert found.returncode == 1
    assert f"127.0.0.1:{server.port}" in found.stderr and "in use" in found.stderr
    assert "Traceback" not in found.stderr


def test_a_metrics_port_in_use_is_one_clear_line(server: ServerProcess, tmp_path: Path) -> None:
    port = str(server.metrics_port)
    found = run("--port", str(free_port()), "--dir", str(tmp_path / "other"), "--metrics-port", port)
    assert found.returncode == 1
    assert f"127.0.0.1:{port}: the port is in use; choose another with --metrics-port" in found.stderr


def test_a_metrics_address_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    words = ["--port", str(free_port()), "--dir", str(tmp_path / "data"), "--metrics-port", "9122"]
    found = run(*words, "--set", "server.metrics_bind=2001:db8::1")
    assert found.returncode == 1
    assert "cannot serve metrics on [2001:db8::1]:9122: " in found.stderr and "Traceback" not in found.stderr


def test_a_directory_in_use_names_the_process(server: ServerProcess) -> None:
    found = run("--port", str(free_port()), "--dir", str(server.directory), "--metrics-port", "0")
    assert found.returncode == 1
    assert server.process is not None and str(server.process.pid) in found.stderr


def test_a_bad_configuration_names_the_key(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[webhooks.delivery]\ntimeout_ms = "fast"\nretry_dleay_ms = 5\n')
    found = run("--config", str(config), "--check-config")
    assert found.returncode == 2
    assert "webhooks.delivery.timeout_ms" in found.stderr and "'fast'" in found.stderr
    assert "retry_dleay_ms" in found.stderr and "retry_delay_ms" in found.stderr
    assert run("--config", str(tmp_path / "nope.toml")).returncode == 2
    assert run("--port", "abc").returncode == 2


def test_an_unusable_directory(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a directory")
    found = run("--port", str(free_port()), "--dir", str(file), "--metrics-port", "0")
    assert found.returncode == 1 and str(file) in found.stderr and "Traceback" not in found.stderr


def test_sigterm_and_sigint_end_with_zero(tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with ServerProcess(tmp_path / f"data-{number}") as server:
            assert server.process is not None
            os.kill(server.process.pid, number)
            assert server.process.wait(10) == 0


def test_password(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "--requirepass", "s3cret") as server:
        with server.client(retry=None) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.get("k")
        with server.client(password="wrong", retry=None) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.get("k")
        with server.client(password="s3cret", protocol=3) as friend:
            assert friend.set("k", b"x" * 100_000)
        assert server.process is not None
        assert b"s3cret" not in Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
    assert "s3cret" not in server.log()


def test_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with ServerProcess(tmp_path / "data", "--unixsocket", str(path)):
        with redis.Redis(unix_socket_path=str(path)) as client:
            assert client.ping()
        assert path.stat().st_mode & 0o777 == 0o700
    assert not path.exists()


def test_maxclients(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "--set", "server.maxclients=2") as server:
        one = socket.create_connection(("127.0.0.1", server.port), 5)
        two = socket.create_connection(("127.0.0.1", server.port), 5)
        with one, two:
            for wire in (one, two):
                wire.sendall(b"PING\r\n")
                assert wire.recv(100) == b"+PONG\r\n"
            with socket.create_connection(("127.0.0.1", server.port), 5) as third:
                assert third.recv(100) == b"-ERR max number of clients reached\r\n"
                assert third.recv(100) == b""


def test_tls_with_and_without_a_client_certificate(tmp_path: Path, certificates: Path) -> None:
    port = free_port()
    options = ("--tls-port", str(port), "--tls-cert-file", str(certificates / "server.pem"),
               "--tls-key-file", str(certificates / "server.key"),
               "--tls-ca-cert-file", str(certificates / "ca.pem"), "--tls-auth-clients", "yes")  # fmt: skip
    with ServerProcess(tmp_path / "data", *options):
        tls = {"ssl": True, "ssl_ca_certs": str(certificates / "ca.pem"), "port": port, "host": "localhost"}
        client = {"ssl_certfile": str(certificates / "client.pem"), "ssl_keyfile": str(certificates / "client.key")}
        with redis.Redis(**tls, **client) as friend:  # type: ignore[arg-type]
            assert friend.set("k", "v" * 1_000_000) and len(friend.get("k")) == 1_000_000
        refused = pytest.raises((redis.ConnectionError, ssl.SSLError, OSError))
        with redis.Redis(**tls) as stranger, refused:  # type: ignore[arg-type]
            stranger.ping()


def test_tls_files_that_do_not_exist_are_named(tmp_path: Path) -> None:
    found = run("--tls-port", str(free_port()), "--port", "0", "--dir", str(tmp_path / "d"), "--metrics-port", "0",
                "--tls-cert-file", "/nope.pem", "--tls-key-file", "/nope.pem", "--tls-auth-clients", "no")  # fmt: skip
    assert found.returncode == 1 and "/nope.pem" in found.stderr and "Traceback" not in found.stderr


def test_a_client_that_never_reads_is_not_served_into_memory(server: ServerProcess) -> None:
    """Thousands of large replies for a peer that reads none: the server stays small and answers others."""
    with server.client() as client, socket.create_connection(("127.0.0.1", server.port), 5) as deaf:
        client.set("big", b"x" * 1_000_000)
        deaf.setblocking(False)
        request, sent = b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n" * 2000, 0
        try:
            while sent < len(request):
                sent += deaf.send(request[sent:])
        except BlockingIOError:
            pass
        for _ in range(50):
            assert client.ping()
        assert server.process is not None
        fields = Path(f"/proc/{server.process.pid}/statm").read_text().split()
        assert int(fields[1]) * os.sysconf("SC_PAGE_SIZE") < 1_500_000_000


def test_shutdown_command(server: ServerProcess) -> None:
    with server.client() as client:
        client.shutdown(nosave=True)
    assert server.process is not None and server.process.wait(10) == 0


@pytest.mark.parametrize("head", [b"POST / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_http_requests_get_no_further_than_their_head(server: ServerProcess, head: bytes) -> None:
    """A web page, or a webhook that points here, must not be able to send commands in a body."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as wire:
        wire.sendall(head + b"Content-Length: 30\r\n\r\nSET k by-http\r\n")
        received = b""
        while chunk := wire.recv(1000):
            received += chunk
    assert b"+OK" not in received
    with server.client() as client:
        assert client.get("k") is None
    assert "it speaks HTTP" in server.log()


def test_info_counts_reads_and_writes(server: ServerProcess) -> None:
    with server.client() as client:
        client.config_resetstat()
        before = client.info("stats")
        for _ in range(3):
            client.ping()
        after = client.info("stats")
        assert after["total_reads_processed"] - before["total_reads_processed"] == 4
        assert after["total_writes_processed"] - before["total_writes_processed"] == 4
