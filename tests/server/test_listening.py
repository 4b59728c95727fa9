"""Where the server listens, changed while it runs: new doors open, old ones shut, those inside stay."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from oracle import Oracle, Wire
from process import ServerProcess, free_port


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data", "--unixsocket", str(tmp_path / "door")) as running:
        yield running


def answers(port: int, address: str = "127.0.0.1") -> bool:
    try:
        with redis.Redis(address, port, socket_timeout=5, retry=None) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_port_changes_and_clients_stay(server: ServerProcess) -> None:
    old, new = server.port, free_port()
    with server.client() as client:
        assert client.config_set("port", new)
        assert client.ping(), "who is in stays in"
        assert answers(new) and not answers(old)
        assert client.config_get("port") == {"port": str(new)} and client.info("server")["tcp_port"] == new
        client.config_set("port", old)
        assert answers(old) and not answers(new)


def test_a_port_in_use_is_refused_as_redis_refuses_it(server: ServerProcess, oracle: Oracle) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0), backlog=1) as other:
        ours = Wire(server.port)
        port, spare = taken.getsockname()[1], other.getsockname()[1]
        for words in [
            ("CONFIG", "SET", "port", port),
            ("CONFIG", "SET", "maxmemory", "10mb", "port", spare),  # all or none
            ("CONFIG", "GET", "maxmemory"),
            ("CONFIG", "SET", "port", "65536"),
            ("CONFIG", "SET", "port", "x"),
        ]:
            assert ours(*words) == oracle(*words), words
        ours.socket.close()
    assert answers(server.port)
    assert "in use" in server.log()


def test_addresses_change(server: ServerProcess, oracle: Oracle) -> None:
    """127.0.0.2 is this machine as well, so the same port can be listened on twice, and by all addresses at once."""
    door = Wire(server.port)
    bad = ("CONFIG", "SET", "bind", "999.999.999.999")
    assert door(*bad) == oracle(*bad)
    assert answers(server.port), "still where it was"
    assert door("CONFIG", "SET", "bind", "127.0.0.1 127.0.0.2") == b"+OK\r\n"
    assert answers(server.port) and answers(server.port, "127.0.0.2")
    assert door("CONFIG", "SET", "bind", "127.0.0.2 203.0.113.77") != b"+OK\r\n"
    assert answers(server.port), "what had to go came back when the rest could not be had"
    assert door("CONFIG", "SET", "bind", "* -::*") == b"+OK\r\n"
    assert answers(server.port) and answers(server.port, "127.0.0.2")
    assert door("CONFIG", "GET", "bind") == b"*2\r\n$4\r\nbind\r\n$6\r\n* -::*\r\n"
    assert door("CONFIG", "SET", "bind", "-203.0.113.77 127.0.0.2") == b"+OK\r\n"
    assert answers(server.port, "127.0.0.2") and not answers(server.port)
    door.socket.close()


def test_without_addresses_only_the_unix_socket_is_left(server: ServerProcess, tmp_path: Path) -> None:
    with redis.Redis(unix_socket_path=str(tmp_path / "door")) as client:
        client.config_set("bind", "")
        assert client.config_get("bind") == {"bind": ""} and not answers(server.port)
        client.config_set("bind", "127.0.0.1")
        assert answers(server.port)


def test_changes_that_follow_each_other_at_once(server: ServerProcess) -> None:
    ports = [free_port() for _ in range(4)]
    with server.client() as client, client.pipeline(transaction=False) as pipe:
        for port in ports:
            pipe.config_set("port", port)
        assert pipe.execute() == [True] * 4
        assert [answers(port) for port in [server.port, *ports]] == [False] * 4 + [True]
        assert client.ping()


def test_sighup_takes_the_server_where_the_configuration_says(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("")
    elsewhere = free_port()
    with ServerProcess(tmp_path / "data", "--config", str(config)) as server, server.client() as client:
        client.config_set("port", elsewhere)
        assert answers(elsewhere) and not answers(server.port)
        assert server.process is not None
        server.process.send_signal(signal.SIGHUP)
        until(lambda: answers(server.port))
        assert not answers(elsewhere) and client.ping()


def test_more_clients_than_the_system_allows(server: ServerProcess) -> None:
    with server.client() as client:
        before = client.config_get("maxclients")
        with pytest.raises(redis.ResponseError, match="not able to handle the specified number of clients, try with"):
            client.config_set("maxclients", 2_000_000_000)
        assert client.config_get("maxclients") == before
        client.config_set("maxclients", 1)
        assert not answers(server.port)
        client.config_set("maxclients", 100)
        assert answers(server.port)


# -- TLS -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two self-signed certificates, and the first one's key under the passphrase 1234."""
    where = tmp_path_factory.mktemp("papers")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=where, check=True, capture_output=True)

    for name in ("first", "second"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem",
                "-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1")  # fmt: skip
    openssl("rsa", "-in", "first.key", "-out", "locked.key", "-aes256", "-passout", "pass:1234")
    return where


@pytest.fixture
def secure(tmp_path: Path, papers: Path) -> Iterator[tuple[ServerProcess, int]]:
    port = free_port()
    files = ("--tls-cert-file", f"{papers}/first.pem", "--tls-key-file", f"{papers}/first.key")
    with ServerProcess(tmp_path / "data", "--tls-port", str(port), "--tls-auth-clients", "no", *files) as server:
        yield server, port


def shake_hands(port: int, adjust: Callable[[ssl.SSLContext], object] = lambda context: None) -> ssl.SSLSocket | None:
    """A TLS connection that has answered PING, or None."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    adjust(context)
    wire = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 5), do_handshake_on_connect=False)
    try:
        wire.do_handshake()
        wire.sendall(b"PING\r\n")
        if wire.recv(100) == b"+PONG\r\n":
            return wire
    except OSError:
        pass
    wire.close()
    return None


def works(port: int, adjust: Callable[[ssl.SSLContext], object] = lambda context: None) -> bool:
    hands = shake_hands(port, adjust)
    if hands is not None:
        hands.close()
    return hands is not None


def subject(port: int) -> bytes:
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port)))


def test_certificates_are_renewed(secure: tuple[ServerProcess, int], papers: Path) -> None:
    server, port = secure
    inside = shake_hands(port)
    with server.client() as client:
        first = subject(port)
        client.config_set("tls-cert-file", f"{papers}/second.pem", "tls-key-file", f"{papers}/second.key")
        assert subject(port) != first
        with pytest.raises(redis.ResponseError, match="Unable to update TLS configuration"):
            client.config_set("tls-cert-file", f"{papers}/first.pem")  # not this key's
        assert works(port) and client.config_get("tls-cert-file")["tls-cert-file"].endswith("second.pem")
    assert inside is not None, "who came with the old one goes on"
    inside.sendall(b"PING\r\n")
    assert inside.recv(100) == b"+PONG\r\n"
    inside.close()


def test_an_encrypted_key_needs_its_passphrase(secure: tuple[ServerProcess, int], papers: Path) -> None:
    server, port = secure
    with server.client() as client:
        with pytest.raises(redis.ResponseError, match="Unable to update TLS configuration"):
            client.config_set("tls-key-file", f"{papers}/locked.key")
        client.config_set("tls-key-file-pass", "1234")
        client.config_set("tls-key-file", f"{papers}/locked.key")
        assert client.config_get("tls-*")["tls-key-file-pass"] == "(hidden)"
    assert works(port) and "1234" not in server.log().replace(str(port), "")


def test_who_needs_a_certificate(secure: tuple[ServerProcess, int], papers: Path) -> None:
    server, port = secure
    with server.client() as client:
        for value, stranger in (("yes", False), ("optional", True), ("no", True)):
            client.config_set("tls-ca-cert-file", f"{papers}/second.pem", "tls-auth-clients", value)
            assert works(port) is stranger, value
            known = works(port, lambda context: context.load_cert_chain(f"{papers}/second.pem", f"{papers}/second.key"))
            assert known, value


def test_protocols_and_ciphers(secure: tuple[ServerProcess, int]) -> None:
    def newest(context: ssl.SSLContext) -> None:
        context.minimum_version = ssl.TLSVersion.TLSv1_3

    def ciphers(text: str) -> Callable[[ssl.SSLContext], None]:
        def adjust(context: ssl.SSLContext) -> None:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(text)

        return adjust

    server, port = secure
    small, large = "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384"
    with server.client() as client:
        assert works(port, newest)
        client.config_set("tls-protocols", "TLSv1.2")
        assert not works(port, newest) and works(port)
        with pytest.raises(redis.ResponseError, match="SSLv3"):
            client.config_set("tls-protocols", "SSLv3")
        client.config_set("tls-ciphers", large)
        assert not works(port, ciphers(small)) and works(port, ciphers(large))
        with pytest.raises(redis.ResponseError, match="Unable to update TLS configuration"):
            client.config_set("tls-ciphers", "no-such-cipher")
        for prefer, chosen in (("no", large), ("yes", small)):
            client.config_set("tls-ciphers", f"{small}:{large}", "tls-prefer-server-ciphers", prefer)
            hands = shake_hands(port, ciphers(f"{large}:{small}"))
            assert hands is not None and (hands.cipher() or ("",))[0] == chosen
            hands.close()


def test_a_port_changes_between_plain_and_tls(secure: tuple[ServerProcess, int]) -> None:
    server, port = secure
    with server.client() as client:
        client.config_set("tls-port", 0, "port", port)
        assert answers(port) and not works(port)
        client.config_set("tls-port", port, "port", 0)
        assert works(port) and not answers(port) and not answers(server.port)
        with pytest.raises(redis.ResponseError, match="unixsocket has to be set"):
            client.config_set("tls-port", 0)
        assert works(port)
