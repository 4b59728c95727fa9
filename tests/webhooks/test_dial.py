"""Every way in which a connection does not come about: names, addresses, TCP, TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from receiver import Receiver, Reply, posted

from ferrite_hooks.webhooks import dial
from ferrite_hooks.webhooks.dial import load_tls
from ferrite_hooks.webhooks.guard import Rules
from ferrite_hooks.webhooks.model import Outcome, Request, Stage, Tls
from ferrite_hooks.webhooks.send import Sender

NEW = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


def request(url: str, timeout_ms: int = 5000, tls: Tls | None = None) -> Request:
    return Request(url, (), b"{}", timeout_ms, tls)


async def test_a_connect_that_is_never_answered(sender: Sender) -> None:
    """The accept queue is full: the system leaves further attempts without an answer."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(address)
            outcome = await posted(sender, request(f"http://127.0.0.1:{address[1]}/", timeout_ms=300))
        finally:
            for filler in fillers:
                filler.close()
    assert outcome.stage is Stage.TIMEOUT and outcome.latency_ms < 3000


async def test_a_tls_handshake_that_is_never_answered(receiver: Receiver, sender: Sender) -> None:
    receiver.on_accept = "hang"
    outcome = await posted(sender, request(receiver.url().replace("http:", "https:"), timeout_ms=300))
    assert outcome.stage is Stage.TIMEOUT and outcome.latency_ms < 3000


async def test_a_refused_connection(receiver: Receiver, sender: Sender) -> None:
    await receiver.refuse()
    outcome = await posted(sender, request(receiver.url()))
    assert (outcome.stage, outcome.error) == (Stage.CONNECT, "cannot connect: Connection refused")


async def test_an_unknown_host(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    outcome = await posted(sender, request("http://no-such-host.invalid/"))
    assert outcome.stage is Stage.RESOLVE
    assert outcome.error == "cannot resolve the host: Name or service not known"


async def test_a_resolver_that_hangs_holds_up_neither_the_request_nor_the_close(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered = threading.Event()

    def hangs(*args: Any) -> Any:
        answered.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    sender = Sender(Rules(), Tls(), max_connections=2)
    try:
        assert (await posted(sender, request("http://slow.invalid/", 50))).stage is Stage.TIMEOUT
        waiting = [asyncio.create_task(posted(sender, request("http://slow.invalid/", 60_000))) for _ in range(4)]
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await sender.close()
        assert [(await task).stage for task in waiting] == [Stage.CUT] * 4
    finally:
        answered.set()


async def test_a_name_is_looked_up_once_for_all_who_ask(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def resolves(host: str, port: int, *args: Any) -> Any:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolves)
    receiver.default = Reply(headers=(("Connection", "close"),))
    sender = Sender(Rules(), Tls())
    url = receiver.url(host="many.test")
    outcomes = await asyncio.gather(*(posted(sender, request(url)) for _ in range(8)))
    assert all(outcome.delivered for outcome in outcomes) and receiver.connections == 8
    assert asked == ["many.test"]
    monkeypatch.setattr(dial, "RESOLVED_SECONDS", -1.0)
    assert (await posted(sender, request(url))).delivered
    assert len(asked) == 2
    await sender.close()


async def test_a_name_that_did_not_exist_is_asked_for_again(
    receiver: Receiver, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Any] = [socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "127.0.0.1"]

    def resolves(host: str, port: int, *args: Any) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answer, port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolves)
    url = receiver.url(host="new.test")
    assert (await posted(sender, request(url))).stage is Stage.RESOLVE
    assert (await posted(sender, request(url))).delivered


# --- the guard at the socket --------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "[::ffff:7f00:1]"])
async def test_private_addresses_are_refused_at_the_socket(receiver: Receiver, host: str) -> None:
    sender = Sender(Rules(block_private_networks=True), Tls())
    outcome = await posted(sender, request(receiver.url(host=host)))
    assert outcome.stage is Stage.CONNECT and "not allowed" in outcome.error
    assert receiver.connections == 0
    await sender.close()


async def test_a_name_that_turns_into_a_forbidden_address(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rebinding: the name was harmless when the webhook was made."""
    addresses = ["127.0.0.1", "169.254.169.254"]

    def resolves(host: str, port: int, *args: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (addresses.pop(0), port))]

    sender = Sender(Rules(), Tls())
    monkeypatch.setattr(socket, "getaddrinfo", resolves)
    receiver.default = Reply(headers=(("Connection", "close"),))
    assert (await posted(sender, request(receiver.url(host="rebind.test")))).delivered
    await sender.close()
    sender = Sender(Rules(), Tls())  # as when the resolver's answer is no longer cached
    outcome = await posted(sender, request(receiver.url(host="rebind.test")))
    assert outcome.stage is Stage.CONNECT and "metadata" in outcome.error and "never allowed" in outcome.error
    await sender.close()


async def test_hosts_outside_allowed_hosts_are_refused(receiver: Receiver) -> None:
    sender = Sender(Rules(allowed_hosts=("127.0.0.*",)), Tls())
    assert (await posted(sender, request(receiver.url()))).delivered
    outcome = await posted(sender, request(receiver.url(host="localhost")))
    assert outcome.stage is Stage.CONNECT and "allowed_hosts" in outcome.error
    await sender.close()


# --- TLS ----------------------------------------------------------------------------------------------------


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem; server.pem and client.pem (certificate and key in one file) that it signed."""
    home = tmp_path_factory.mktemp("tls")
    openssl(*NEW, "-keyout", home / "ca.key", "-out", home / "ca.pem", "-subj", "/CN=test CA")
    for name in ("server", "client"):
        key, pem = home / f"{name}.key", home / f"{name}.pem"
        openssl(
            *NEW, "-CA", home / "ca.pem", "-CAkey", home / "ca.key", "-keyout", key, "-out", pem,
            "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1,DNS:hook.test",
            "-addext", "basicConstraints=critical,CA:FALSE",
        )  # fmt: skip
        pem.write_bytes(pem.read_bytes() + key.read_bytes())
    return home


def server_context(certificates: Path, client_required: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem")
    if client_required:
        context.load_verify_locations(certificates / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def post_tls(receiver: Receiver, tls: Tls, host: str = "127.0.0.1") -> Outcome:
    sender = Sender(Rules(), Tls())
    outcome = await posted(sender, request(receiver.url(host=host), tls=tls))
    await sender.close()
    return outcome


async def test_tls_with_a_private_authority(certificates: Path) -> None:
    async with Receiver(ssl_context=server_context(certificates)) as receiver:
        trusted = Tls(ca_file=str(certificates / "ca.pem"))
        assert (await post_tls(receiver, trusted)).delivered
        assert (await post_tls(receiver, Tls(verify=False))).delivered
        outcome = await post_tls(receiver, Tls())
        assert outcome.stage is Stage.TLS and outcome.error.startswith("certificate not trusted: ")
        outcome = await post_tls(receiver, trusted, host="localhost")
        assert outcome.stage is Stage.TLS and "localhost" in outcome.error
        assert len(receiver.requests) == 2


async def test_a_client_certificate(certificates: Path) -> None:
    async with Receiver(ssl_context=server_context(certificates, client_required=True)) as receiver:
        trusted = Tls(ca_file=str(certificates / "ca.pem"))
        outcome = await post_tls(receiver, trusted)
        assert outcome.stage in (Stage.TLS, Stage.SEND)  # TLS 1.3 tells the client only after its handshake
        assert not receiver.requests
        known = trusted._replace(cert_file=str(certificates / "client.pem"))
        assert (await post_tls(receiver, known)).delivered


async def test_https_to_a_port_that_speaks_http(receiver: Receiver) -> None:
    outcome = await post_tls(receiver, Tls(verify=False))
    assert outcome.delivered  # plain http: the settings are not used
    sender = Sender(Rules(), Tls(verify=False))
    receiver.on_accept = "garbage"
    outcome = await posted(sender, request(receiver.url().replace("http:", "https:")))
    assert outcome.stage is Stage.TLS
    receiver.on_accept = "reset"
    outcome = await posted(sender, request(receiver.url().replace("http:", "https:")))
    assert outcome.stage is Stage.TLS
    receiver.on_accept = "hang"
    outcome = await posted(sender, request(receiver.url().replace("http:", "https:"), 200))
    assert outcome.stage is Stage.TIMEOUT
    await sender.close()


async def test_unusable_tls_files(certificates: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    key, locked = certificates / "client.key", tmp_path / "locked"
    openssl("ec", "-in", key, "-aes256", "-passout", "pass:x", "-out", locked)
    for tls in (
        Tls(ca_file=str(tmp_path / "absent.pem")),
        Tls(cert_file=str(tmp_path / "bad.pem")),
        Tls(cert_file=str(certificates / "client.pem"), key_file=str(locked)),
    ):
        with pytest.raises(OSError):
            load_tls(tls)
        sender = Sender(Rules(), tls)
        outcome = await posted(sender, request("https://127.0.0.1:1/"))
        assert outcome.stage is Stage.TLS and outcome.error.startswith("cannot load the TLS files")
        assert str(tmp_path) not in outcome.error
        await sender.close()


async def test_a_renewed_certificate_is_loaded(certificates: Path, tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    openssl(*NEW, "-keyout", tmp_path / "key", "-out", authority, "-subj", "/CN=other CA")
    async with Receiver(ssl_context=server_context(certificates)) as receiver:
        sender = Sender(Rules(), Tls(ca_file=str(authority)))
        assert (await posted(sender, request(receiver.url()))).stage is Stage.TLS
        for _ in range(3):
            authority.write_bytes((certificates / "ca.pem").read_bytes())
            assert (await posted(sender, request(receiver.url()))).delivered
        assert len(sender._peers) == 1, "what went by the old ones is forgotten"
        await sender.close()
