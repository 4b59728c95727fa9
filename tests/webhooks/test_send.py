"""Every way in which a request can end, against a receiver that really does it."""

from __future__ import annotations

import asyncio
import gzip
from contextlib import suppress

import pytest
from msgspec import structs
from receiver import Receiver, Reply, posted

from ferrite_hooks.webhooks.guard import Rules
from ferrite_hooks.webhooks.http1 import KEEP_LIMIT
from ferrite_hooks.webhooks.model import Request, Stage, Tls
from ferrite_hooks.webhooks.send import KEEPALIVE_SECONDS, Sender

HEADERS = (
    ("Content-Type", "application/json"),
    ("User-Agent", "ferrite-hooks/test"),
    ("X-API-Key", "s3cret"),
)


def request(url: str, timeout_ms: int = 5000, body: bytes = b"{}", tls: Tls | None = None) -> Request:
    return Request(url, HEADERS, body, timeout_ms, tls)


async def test_what_arrives_is_what_was_given_and_nothing_else(receiver: Receiver, sender: Sender) -> None:
    outcome = await posted(sender, request(receiver.url("/a%2Fb?sig=x%2By"), body="é".encode()))
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
        outcome = await posted(sender, request(receiver.url("/hook")))
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
    outcome = await posted(sender, request(receiver.url(), timeout_ms=300 if "hang" in fault else 10_000))
    assert (outcome.stage, outcome.status, outcome.delivered) == (stage, 0, False)
    assert outcome.error
    assert (await posted(sender, request(receiver.url()))).delivered, "the sender does not recover"
    assert len(receiver.requests) == 2


@pytest.mark.parametrize("fault", ["hang_in_body", "short_body", "endless", "drip"])
async def test_a_status_counts_whatever_becomes_of_the_body(
    receiver: Receiver, sender: Sender, fault: str
) -> None:
    receiver.script("/", Reply(503, fault=fault, body=b"sorry"))
    outcome = await posted(sender, request(receiver.url(), timeout_ms=1000 if "hang" in fault else 10_000))
    assert (outcome.stage, outcome.status, outcome.error) == (Stage.STATUS, 503, "")
    assert outcome.body.startswith(b"x" * KEEP_LIMIT if fault == "endless" else b"sorry")
    assert len(outcome.body) <= KEEP_LIMIT
    assert (await posted(sender, request(receiver.url()))).delivered


@pytest.mark.parametrize(("where", "stage"), [("on_accept", Stage.SEND), ("on_head", Stage.SEND)])
async def test_a_reset_before_the_request_is_read(
    receiver: Receiver, sender: Sender, where: str, stage: Stage
) -> None:
    setattr(receiver, where, "reset")
    outcome = await posted(sender, request(receiver.url(), body=b"x" * 3_000_000))
    assert outcome.stage is stage and not receiver.requests


async def test_a_receiver_that_never_reads(receiver: Receiver, sender: Sender) -> None:
    receiver.on_accept = "hang"
    outcome = await posted(sender, request(receiver.url(), timeout_ms=200))
    assert outcome.stage is Stage.TIMEOUT and outcome.error == "no response within 200 ms"


async def test_a_byte_at_a_time_does_not_keep_a_request_alive(receiver: Receiver, sender: Sender) -> None:
    receiver.script("/", Reply(fault="trickle"))
    outcome = await posted(sender, request(receiver.url(), timeout_ms=300))
    assert outcome.stage is Stage.TIMEOUT and 300 <= outcome.latency_ms < 3000


async def test_an_answer_without_end_holds_no_connection_beyond_its_limit(receiver: Receiver) -> None:
    receiver.default = Reply(200, fault="endless")
    sender = Sender(Rules(), Tls(), max_response_bytes=1000)
    assert (await posted(sender, request(receiver.url()))).delivered
    async with asyncio.timeout(10):
        while receiver._clients:
            await asyncio.sleep(0.01)
    await sender.close()


async def test_a_large_body_arrives_whole(receiver: Receiver, sender: Sender) -> None:
    body = bytes(range(256)) * 20_000
    assert (await posted(sender, request(receiver.url(), body=body))).delivered
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
        outcome = await posted(sender, request(url, body=b"x" * (64 << 20)))
        assert (outcome.stage, outcome.status) == (Stage.STATUS, 413)
    await sender.close()
    server.close()
    await asyncio.wait_for(asyncio.gather(*tasks), 10)
    assert [head[:6] for head in heads] == [b"POST /"] * 2
    assert all(rest < 64 << 20 for rest in rests)


@pytest.mark.parametrize("value", ["a\r\nX-Smuggled: 1", "a\nX-Smuggled: 1", "a\r", "a\0"])
async def test_a_header_with_a_line_break_is_not_sent(receiver: Receiver, sender: Sender, value: str) -> None:
    outcome = await posted(sender, structs.replace(request(receiver.url()), headers=(("X-Own", value),)))
    assert (outcome.stage, outcome.error) == (Stage.SEND, "cannot send: ValueError")
    assert receiver.requests == []


async def test_a_bomb_is_not_opened(receiver: Receiver, sender: Sender) -> None:
    packed = gzip.compress(b"\0" * 10_000_000)
    receiver.default = Reply(headers=(("Content-Encoding", "gzip"),), body=packed)
    assert (await posted(sender, request(receiver.url()))).body == packed[:KEEP_LIMIT]


async def test_only_so_much_of_an_answer_is_read(receiver: Receiver, sender: Sender) -> None:
    receiver.default = Reply(body=b"x" * 5000)
    sender.max_response_bytes = 100
    outcome = await posted(sender, request(receiver.url()))
    assert outcome.delivered and outcome.body == b"x" * 100
    sender.max_response_bytes = 0
    outcome = await posted(sender, request(receiver.url()))
    assert outcome.delivered and outcome.body == b""


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://", "http://[::1", "http://127.0.0.1:99999/", ""])
async def test_an_impossible_url_is_an_outcome(sender: Sender, url: str) -> None:
    outcome = await posted(sender, request(url))
    assert not outcome.delivered and outcome.error


async def test_proxies_of_the_environment_are_not_used(
    receiver: Receiver, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await posted(sender, request(receiver.url()))).delivered


# --- connections --------------------------------------------------------------------------------------------


async def test_connections_are_kept_alive(receiver: Receiver, sender: Sender) -> None:
    for _ in range(5):
        await posted(sender, request(receiver.url()))
    assert receiver.connections == 1


async def test_a_connection_rests_only_so_long(receiver: Receiver, sender: Sender) -> None:
    """A receiver may be about to close it."""
    await asyncio.gather(*(posted(sender, request(receiver.url())) for _ in range(2)))
    assert len(sender._resting) == receiver.connections == 2
    older, younger = sender._resting
    older.resting_since -= KEEPALIVE_SECONDS
    sender._close_old()
    assert list(sender._resting) == [younger] == younger.peer.idle
    younger.resting_since -= KEEPALIVE_SECONDS
    assert (await posted(sender, request(receiver.url()))).delivered
    assert receiver.connections == 3 and younger not in sender._resting
    async with asyncio.timeout(10):
        while len(receiver._clients) > 1:
            await asyncio.sleep(0.01)


async def test_a_receiver_that_has_gone_leaves_nothing_behind(receiver: Receiver, sender: Sender) -> None:
    receiver.default = Reply(fault="close_after")
    for _ in range(3):
        assert (await posted(sender, request(receiver.url()))).delivered
    async with asyncio.timeout(10):
        while sender._resting:
            await asyncio.sleep(0.01)
    assert not sender._active and not any(peer.idle for peer in sender._peers.values())


async def test_a_kept_connection_that_was_closed_costs_no_attempt(receiver: Receiver, sender: Sender) -> None:
    receiver.script("/", Reply(), Reply(fault="close"), Reply())
    outcomes = [await posted(sender, request(receiver.url())) for _ in range(2)]
    assert [outcome.status for outcome in outcomes] == [200, 200]
    assert [r.connection for r in receiver.requests] == [1, 1, 2]


async def test_half_an_answer_says_nothing_of_the_next_one() -> None:
    tasks = []
    answers = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 No\r\nRetry-After: 86400\r\nX: 1\r\n",
        b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
    ]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n{}")
                said = answers.pop(0)
                writer.write(said)
                if not said.endswith(b"\r\n\r\n"):
                    break
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    sender = Sender(Rules(), Tls())
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    assert (await posted(sender, request(url))).delivered
    outcome = await posted(sender, request(url))
    assert (outcome.status, outcome.retry_after) == (500, "")
    await sender.close()
    server.close()
    await asyncio.wait_for(asyncio.gather(*tasks), 10)


async def test_a_new_connection_that_was_closed_is_a_failure(receiver: Receiver, sender: Sender) -> None:
    receiver.script("/", Reply(fault="close"))
    assert (await posted(sender, request(receiver.url()))).stage is Stage.SEND
    assert len(receiver.requests) == 1


async def test_no_more_connections_than_allowed_and_waiting_costs_no_timeout(receiver: Receiver) -> None:
    sender = Sender(Rules(), Tls(), max_connections=2)
    receiver.default = Reply(delay=0.2)
    outcomes = await asyncio.gather(*(posted(sender, request(receiver.url(), 1000)) for _ in range(12)))
    assert all(outcome.delivered for outcome in outcomes)
    assert receiver.connections == 2
    await sender.close()


async def test_closing_ends_what_is_in_flight_with_an_outcome(receiver: Receiver) -> None:
    sender = Sender(Rules(), Tls())
    receiver.default = Reply(fault="hang")
    in_flight = asyncio.create_task(posted(sender, request(receiver.url(), 60_000)))
    await receiver.wait(1)
    await sender.close()
    assert (await in_flight).stage is (await posted(sender, request(receiver.url()))).stage is Stage.CUT
    await sender.close()


async def test_closing_with_grace_waits(receiver: Receiver) -> None:
    sender = Sender(Rules(), Tls())
    receiver.default = Reply(delay=0.1)
    in_flight = asyncio.create_task(posted(sender, request(receiver.url())))
    await receiver.wait(1)
    await sender.close(grace_seconds=10)
    assert (await in_flight).delivered


async def test_a_timeout_frees_its_place(receiver: Receiver) -> None:
    sender = Sender(Rules(), Tls(), max_connections=1)
    receiver.script("/", Reply(fault="hang"))
    hanging, waiting = request(receiver.url(), 100), request(receiver.url())
    first, second = await asyncio.gather(posted(sender, hanging), posted(sender, waiting))
    assert (first.stage, second.status) == (Stage.TIMEOUT, 200)
    await sender.close()


# --- nothing leaks ------------------------------------------------------------------------------------------


async def test_errors_hold_no_secrets(receiver: Receiver, sender: Sender) -> None:
    await receiver.refuse()
    broken = ("http://[::1/", "https://127.0.0.1:1/", "http://127.0.0.1:99999/", "http://0.0.0.0/", "x:")
    for url in (receiver.url(), *broken):
        outcome = await posted(sender, request(url + "s3cret?token=s3cret"))
        assert outcome.error and "s3cret" not in outcome.error
