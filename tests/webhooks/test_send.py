"""Every way in which a request can end, against a receiver that really does it."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from receiver import Receiver, Reply

from ferrite_hooks.webhooks import send
from ferrite_hooks.webhooks.guard import Rules
from ferrite_hooks.webhooks.model import Outcome, Request, Stage, Tls
from ferrite_hooks.webhooks.send import KEEP_LIMIT, Sender, load_tls

HEADERS = (
    ("Content-Type", "application/json"),
    ("User-Agent", "ferrite-hooks/test"),
    ("X-API-Key", "s3cret"),
)
NEW = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


def request(url: str, timeout_ms: int = 5000, body: bytes = b"{}", tls: Tls | None = None) -> Request:
    return Request(url, HEADERS, body, timeout_ms, tls)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as running:
        yield running


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    made = Sender(Rules(), Tls())
    yield made
    await made.close()


async def test_what_arrives_is_what_was_given_and_nothing_else(receiver: Receiver, sender: Sender) -> None:
    outcome = await sender.post(request(receiver.url("/a%2Fb?sig=x%2By"), body="é".encode()))
    assert outcome.delivered and (outcome.status, outcome.body, outcome.error) == (200, b"ok", "")
    assert 0 < outcome.latency_ms < 5000
    (received,) = receiver.requests
    assert (received.method, received.path, received.body) == ("POST", "/a%2Fb?sig=x%2By", "é".encode())
    assert received.headers == {
        "host": f"127.0.0.1:{receiver.port}", "content-length": "2", "content-type": "application/json",
        "user-agent": "ferrite-hooks/test", "x-api-key": "s3cret",
    }  # fmt: skip


@pytest.mark.parametrize("status", [200, 204, 299, 302, 400, 404, 410, 429, 500, 503])
async def test_a_status_is_the_outcome(receiver: Receiver, sender: Sender, status: int) -> None:
    elsewhere = (("Location", receiver.url("/elsewhere")), ("Retry-After", "120"), ("Set-Cookie", "a=b"))
    receiver.default = Reply(status, elsewhere)
    for _ in range(2):
        outcome = await sender.post(request(receiver.url("/hook")))
        assert (outcome.stage, outcome.status, outcome.retry_after) == (Stage.STATUS, status, "120")
        assert outcome.delivered is (200 <= status < 300)
    assert [r.path for r in receiver.requests] == ["/hook", "/hook"], "a redirect was followed"
    assert "cookie" not in receiver.requests[1].headers


@pytest.mark.parametrize(
    ("fault", "stage"),
    [
        ("reset", Stage.SEND), ("close", Stage.SEND), ("garbage", Stage.SEND), ("long_head", Stage.SEND),
        ("hang", Stage.TIMEOUT), ("hang_in_head", Stage.TIMEOUT),
    ],
)  # fmt: skip
async def test_no_answer(receiver: Receiver, sender: Sender, fault: str, stage: Stage) -> None:
    receiver.script("/", Reply(fault=fault))
    outcome = await sender.post(request(receiver.url(), timeout_ms=300 if "hang" in fault else 10_000))
    assert (outcome.stage, outcome.status, outcome.delivered) == (stage, 0, False)
    assert outcome.error
    assert (await sender.post(request(receiver.url()))).delivered, "the sender does not recover"
    assert len(receiver.requests) == 2


@pytest.mark.parametrize("fault", ["hang_in_body", "short_body", "endless", "drip"])
async def test_a_status_counts_whatever_becomes_of_the_body(
    receiver: Receiver, sender: Sender, fault: str
) -> None:
    receiver.script("/", Reply(503, fault=fault, body=b"sorry"))
    outcome = await sender.post(request(receiver.url(), timeout_ms=1000 if "hang" in fault else 10_000))
    assert (outcome.stage, outcome.status, outcome.error) == (Stage.STATUS, 503, "")
    assert outcome.body.startswith(b"x" * KEEP_LIMIT if fault == "endless" else b"sorry")
    assert len(outcome.body) <= KEEP_LIMIT
    assert (await sender.post(request(receiver.url()))).delivered


@pytest.mark.parametrize(("where", "stage"), [("on_accept", Stage.SEND), ("on_head", Stage.SEND)])
async def test_a_reset_before_the_request_is_read(
    receiver: Receiver, sender: Sender, where: str, stage: Stage
) -> None:
    setattr(receiver, where, "reset")
    outcome = await sender.post(request(receiver.url(), body=b"x" * 3_000_000))
    assert outcome.stage is stage and not receiver.requests


async def test_a_receiver_that_never_reads(receiver: Receiver, sender: Sender) -> None:
    receiver.on_accept = "hang"
    outcome = await sender.post(request(receiver.url(), timeout_ms=200))
    assert outcome.stage is Stage.TIMEOUT and outcome.error == "no response within 200 ms"


async def test_a_byte_at_a_time_does_not_keep_a_request_alive(receiver: Receiver, sender: Sender) -> None:
    receiver.script("/", Reply(fault="trickle"))
    outcome = await sender.post(request(receiver.url(), timeout_ms=300))
    assert outcome.stage is Stage.TIMEOUT and 300 <= outcome.latency_ms < 3000


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
            outcome = await sender.post(request(f"http://127.0.0.1:{address[1]}/", timeout_ms=300))
        finally:
            for filler in fillers:
                filler.close()
    assert outcome.stage is Stage.TIMEOUT and outcome.latency_ms < 3000


async def test_a_tls_handshake_that_is_never_answered(receiver: Receiver, sender: Sender) -> None:
    receiver.on_accept = "hang"
    outcome = await sender.post(request(receiver.url().replace("http:", "https:"), timeout_ms=300))
    assert outcome.stage is Stage.TIMEOUT and outcome.latency_ms < 3000


async def test_an_answer_without_end_holds_no_connection_beyond_its_limit(receiver: Receiver) -> None:
    receiver.default = Reply(200, fault="endless")
    sender = Sender(Rules(), Tls(), max_response_bytes=1000)
    assert (await sender.post(request(receiver.url()))).delivered
    async with asyncio.timeout(10):
        while receiver._clients:
            await asyncio.sleep(0.01)
    await sender.close()


async def test_a_large_body_arrives_whole(receiver: Receiver, sender: Sender) -> None:
    body = bytes(range(256)) * 20_000
    assert (await sender.post(request(receiver.url(), body=body))).delivered
    assert receiver.requests[0].body == body
    assert receiver.requests[0].headers["content-length"] == str(len(body))


async def test_an_answer_that_came_before_all_was_read_ends_the_connection() -> None:
    """What is left of the body would be taken for the next request; nor is it sent for nothing."""
    heads, rests, tasks = [], list[int](), []

    async def impatient(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 413 Too much\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        rests.append(0)
        with suppress(ConnectionError):
            while chunk := await reader.read(1 << 20):
                rests[-1] += len(chunk)
                await asyncio.sleep(0.001)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(impatient, "127.0.0.1", 0, limit=1000)
    sender = Sender(Rules(), Tls())
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    for _ in range(2):
        outcome = await sender.post(request(url, body=b"x" * (64 << 20)))
        assert (outcome.stage, outcome.status) == (Stage.STATUS, 413)
    await sender.close()
    server.close()
    await asyncio.wait_for(asyncio.gather(*tasks), 10)
    assert [head[:6] for head in heads] == [b"POST /"] * 2
    assert all(rest < 64 << 20 for rest in rests)


@pytest.mark.parametrize("value", ["a\r\nX-Smuggled: 1", "a\nX-Smuggled: 1", "a\r", "a\0"])
async def test_a_header_with_a_line_break_is_not_sent(receiver: Receiver, sender: Sender, value: str) -> None:
    outcome = await sender.post(request(receiver.url())._replace(headers=(("X-Own", value),)))
    assert (outcome.stage, outcome.error) == (Stage.SEND, "cannot send: ValueError")
    assert receiver.requests == []


async def test_a_cancelled_request_is_cancelled_and_no_timeout(receiver: Receiver, sender: Sender) -> None:
    receiver.default = Reply(fault="hang")
    task = asyncio.create_task(sender.post(request(receiver.url())))
    await receiver.wait(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_timeout_leaves_the_task_as_it_was(receiver: Receiver, sender: Sender) -> None:
    receiver.script("/", Reply(fault="hang"))

    async def twice() -> list[Outcome]:
        found = [await sender.post(request(receiver.url("/"), timeout_ms=n)) for n in (50, 5000)]
        task = asyncio.current_task()
        assert task is not None and not task.cancelling()
        return found

    first, second = await asyncio.create_task(twice())
    assert (first.stage, second.status) == (Stage.TIMEOUT, 200)


async def test_a_bomb_is_not_opened(receiver: Receiver, sender: Sender) -> None:
    packed = gzip.compress(b"\0" * 10_000_000)
    receiver.default = Reply(headers=(("Content-Encoding", "gzip"),), body=packed)
    assert (await sender.post(request(receiver.url()))).body == packed[:KEEP_LIMIT]


async def test_only_so_much_of_an_answer_is_read(receiver: Receiver, sender: Sender) -> None:
    receiver.default = Reply(body=b"x" * 5000)
    sender.max_response_bytes = 100
    outcome = await sender.post(request(receiver.url()))
    assert outcome.delivered and outcome.body == b"x" * 100
    sender.max_response_bytes = 0
    outcome = await sender.post(request(receiver.url()))
    assert outcome.delivered and outcome.body == b""


async def test_a_refused_connection(receiver: Receiver, sender: Sender) -> None:
    await receiver.refuse()
    outcome = await sender.post(request(receiver.url()))
    assert (outcome.stage, outcome.error) == (Stage.CONNECT, "cannot connect: Connection refused")


async def test_an_unknown_host(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(send.socket, "getaddrinfo", fails)
    outcome = await sender.post(request("http://no-such-host.invalid/"))
    assert outcome.stage is Stage.RESOLVE
    assert outcome.error == "cannot resolve the host: Name or service not known"


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://", "http://[::1", "http://127.0.0.1:99999/", ""])
async def test_an_impossible_url_is_an_outcome(sender: Sender, url: str) -> None:
    outcome = await sender.post(request(url))
    assert not outcome.delivered and outcome.error


async def test_proxies_of_the_environment_are_not_used(
    receiver: Receiver, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await sender.post(request(receiver.url()))).delivered


# --- connections --------------------------------------------------------------------------------------------


async def test_connections_are_kept_alive(receiver: Receiver, sender: Sender) -> None:
    for _ in range(5):
        await sender.post(request(receiver.url()))
    assert receiver.connections == 1


async def test_a_kept_connection_that_was_closed_costs_no_attempt(receiver: Receiver, sender: Sender) -> None:
    receiver.script("/", Reply(), Reply(fault="close"), Reply())
    outcomes = [await sender.post(request(receiver.url())) for _ in range(2)]
    assert [outcome.status for outcome in outcomes] == [200, 200]
    assert [r.connection for r in receiver.requests] == [1, 1, 2]


async def test_a_new_connection_that_was_closed_is_a_failure(receiver: Receiver, sender: Sender) -> None:
    receiver.script("/", Reply(fault="close"))
    assert (await sender.post(request(receiver.url()))).stage is Stage.SEND
    assert len(receiver.requests) == 1


async def test_no_more_connections_than_allowed_and_waiting_costs_no_timeout(receiver: Receiver) -> None:
    sender = Sender(Rules(), Tls(), max_connections=2)
    receiver.default = Reply(delay=0.2)
    outcomes = await asyncio.gather(*(sender.post(request(receiver.url(), 1000)) for _ in range(12)))
    assert all(outcome.delivered for outcome in outcomes)
    assert receiver.connections == 2
    await sender.close()


async def test_closing_ends_what_is_in_flight_with_an_outcome(receiver: Receiver) -> None:
    sender = Sender(Rules(), Tls())
    receiver.default = Reply(fault="hang")
    in_flight = asyncio.create_task(sender.post(request(receiver.url(), 60_000)))
    await receiver.wait(1)
    await sender.close()
    assert (await in_flight).stage is (await sender.post(request(receiver.url()))).stage is Stage.CUT
    await sender.close()


async def test_a_resolver_that_hangs_holds_up_neither_the_request_nor_the_close(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered = threading.Event()

    def hangs(*args: Any) -> Any:
        answered.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(send.socket, "getaddrinfo", hangs)
    sender = Sender(Rules(), Tls(), max_connections=2)
    try:
        assert (await sender.post(request("http://slow.invalid/", 50))).stage is Stage.TIMEOUT
        waiting = [asyncio.create_task(sender.post(request("http://slow.invalid/", 60_000))) for _ in range(4)]
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await sender.close()
        assert [(await task).stage for task in waiting] == [Stage.CUT] * 4
    finally:
        answered.set()


async def test_closing_with_grace_waits(receiver: Receiver) -> None:
    sender = Sender(Rules(), Tls())
    receiver.default = Reply(delay=0.1)
    in_flight = asyncio.create_task(sender.post(request(receiver.url())))
    await receiver.wait(1)
    await sender.close(grace_seconds=10)
    assert (await in_flight).delivered


async def test_cancelling_a_request_frees_its_place(receiver: Receiver) -> None:
    sender = Sender(Rules(), Tls(), max_connections=1)
    receiver.script("/", Reply(fault="hang"))
    in_flight = asyncio.create_task(sender.post(request(receiver.url(), 60_000)))
    await receiver.wait(1)
    in_flight.cancel()
    with pytest.raises(asyncio.CancelledError):
        await in_flight
    assert (await sender.post(request(receiver.url()))).delivered
    await sender.close()


# --- the guard at the socket --------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "[::ffff:7f00:1]"])
async def test_private_addresses_are_refused_at_the_socket(receiver: Receiver, host: str) -> None:
    sender = Sender(Rules(block_private_networks=True), Tls())
    outcome = await sender.post(request(receiver.url(host=host)))
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
    monkeypatch.setattr(send.socket, "getaddrinfo", resolves)
    receiver.default = Reply(headers=(("Connection", "close"),))
    assert (await sender.post(request(receiver.url(host="rebind.test")))).delivered
    await sender.close()
    sender = Sender(Rules(), Tls())  # as when the resolver's answer is no longer cached
    outcome = await sender.post(request(receiver.url(host="rebind.test")))
    assert outcome.stage is Stage.CONNECT and "metadata" in outcome.error and "never allowed" in outcome.error
    await sender.close()


async def test_hosts_outside_allowed_hosts_are_refused(receiver: Receiver) -> None:
    sender = Sender(Rules(allowed_hosts=("127.0.0.*",)), Tls())
    assert (await sender.post(request(receiver.url()))).delivered
    outcome = await sender.post(request(receiver.url(host="localhost")))
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
    outcome = await sender.post(request(receiver.url(host=host), tls=tls))
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
    outcome = await sender.post(request(receiver.url().replace("http:", "https:")))
    assert outcome.stage is Stage.TLS
    receiver.on_accept = "reset"
    outcome = await sender.post(request(receiver.url().replace("http:", "https:")))
    assert outcome.stage is Stage.TLS
    receiver.on_accept = "hang"
    outcome = await sender.post(request(receiver.url().replace("http:", "https:"), 200))
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
        outcome = await sender.post(request("https://127.0.0.1:1/"))
        assert outcome.stage is Stage.TLS and outcome.error.startswith("cannot load the TLS files")
        assert str(tmp_path) not in outcome.error
        await sender.close()


async def test_a_renewed_certificate_is_loaded(certificates: Path, tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    openssl(*NEW, "-keyout", tmp_path / "key", "-out", authority, "-subj", "/CN=other CA")
    async with Receiver(ssl_context=server_context(certificates)) as receiver:
        sender = Sender(Rules(), Tls(ca_file=str(authority)))
        assert (await sender.post(request(receiver.url()))).stage is Stage.TLS
        authority.write_bytes((certificates / "ca.pem").read_bytes())
        assert (await sender.post(request(receiver.url()))).delivered
        await sender.close()


# --- nothing leaks ------------------------------------------------------------------------------------------


async def test_errors_hold_no_secrets(receiver: Receiver, sender: Sender) -> None:
    await receiver.refuse()
    broken = ("http://[::1/", "https://127.0.0.1:1/", "http://127.0.0.1:99999/", "http://0.0.0.0/", "x:")
    for url in (receiver.url(), *broken):
        outcome = await sender.post(request(url + "s3cret?token=s3cret"))
        assert outcome.error and "s3cret" not in outcome.error
