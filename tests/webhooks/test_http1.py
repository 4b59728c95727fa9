"""Answers as they may arrive, in any pieces, at a connection whose transport only notes what is done to it."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any, cast

import pytest
from httptools import HttpParserError
from hypothesis import given
from hypothesis import strategies as st

from ferrite_hooks.webhooks.dial import Peer
from ferrite_hooks.webhooks.http1 import KEEP_LIMIT, MAX_HEAD, SMALL, Connection, Exchange
from ferrite_hooks.webhooks.model import Request


class Wire:
    """A transport."""

    def __init__(self) -> None:
        self.sent = b""
        self.unsent = 0
        self.open = True

    def write(self, data: bytes) -> None:
        self.sent += data

    def writelines(self, parts: tuple[bytes, ...]) -> None:
        self.sent += b"".join(parts)

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def abort(self) -> None:
        self.open = False


class World:
    """A connection, its transport, and what its owner was told."""

    def __init__(self, limit: int = 65_536, body: bytes = b"{}") -> None:
        self.limit, self.body = limit, body
        self.told: list[Any] = []
        self.wire = Wire()
        self.connection = Connection(Peer("h", 80, None), self)
        self.connection.connection_made(cast(asyncio.Transport, self.wire))
        self.exchange = self.begin()

    def begin(self) -> Exchange:
        self.exchange = Exchange(Request("http://h/", (), self.body, 1000), lambda outcome: None)
        self.exchange.head = b"POST / HTTP/1.1\r\n\r\n"
        self.connection.begin(self.exchange, self.limit)
        return self.exchange

    def answered(self, connection: Connection, exchange: Exchange, reusable: bool) -> None:
        self.told.append(("answered", exchange.status, reusable))

    def broken(self, exchange: Exchange, reused: bool, error: Exception | None) -> None:
        self.told.append(("broken", reused, type(error)))

    def gone(self, connection: Connection) -> None:
        self.told.append("gone")

    def comes(self, *pieces: bytes) -> list[Any]:
        for piece in pieces:
            self.connection.data_received(piece)
        return self.told


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

# What arrives -> the status, the body, whether the connection can be used again
WHOLE = {
    OK: (200, b"ok", True),
    b"HTTP/1.1 204 None\r\n\r\n": (204, b"", True),
    b"HTTP/1.1 304 None\r\nContent-Length: 5\r\n\r\n": (304, b"", True),
    b"HTTP/1.1 200\r\nX-Empty:\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n3 \r\nay!\r\n0\r\nT: 1\r\n\r\n": (
        200, b"okay!", True,
    ),
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok": (200, b"ok", False),
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok": (200, b"ok", True),
    b"HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno": (503, b"no", False),
    b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok": (200, b"ok", True),
    b"HTTP/1.1 100 Go on\r\nRetry-After: 1\r\n\r\nHTTP/1.1 103 Hints\r\nLink: </x>\r\n\r\n" + OK: (200, b"ok", True),
    b"HTTP/1.1 101 Switch\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n": (101, b"", False),
}  # fmt: skip


@pytest.mark.parametrize("answer", WHOLE)
@given(cuts=st.sets(st.integers(1, 150), max_size=8))
def test_an_answer_in_any_pieces(answer: bytes, cuts: set[int]) -> None:
    world = World()
    edges = [0, *sorted(cut for cut in cuts if cut < len(answer)), len(answer)]
    pieces = [answer[a:b] for a, b in pairwise(edges)]
    status, body, reusable = WHOLE[answer]
    assert world.comes(*pieces) == [("answered", status, reusable)]
    assert (world.exchange.body, world.exchange.retry_after, world.wire.open) == (body, "", reusable)
    if reusable:
        world.begin()
        assert world.comes(OK)[1:] == [("answered", 200, True)]


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    world = World()
    assert world.comes(b"HTTP/1.1 200 OK\r\n\r\nall ", b"of it") == []
    world.connection.eof_received()
    world.connection.connection_lost(None)
    assert world.told == [("answered", 200, False)] and world.exchange.body == b"all of it"


def test_a_broken_body_does_not_undo_a_status() -> None:
    world = World()
    assert world.comes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"no length\r\n") == [
        ("answered", 200, False)
    ]
    world = World()
    world.comes(b"HTTP/1.1 500 No\r\nContent-Length: 10\r\n\r\n")
    world.connection.connection_lost(ConnectionResetError())
    assert world.told == [("answered", 500, False)]


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0\r\n", b"HTTP/1.1 000 Nothing\r\n\r\n", b"HTTP/1.1 99\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * MAX_HEAD,
        b"HTTP/1.1 100 Go on\r\n\r\n" * (MAX_HEAD // 20),
    ],
)  # fmt: skip
def test_what_is_no_answer(answer: bytes) -> None:
    world = World()
    pieces = [answer[n : n + 1000] for n in range(0, len(answer), 1000)]
    world.comes(*pieces)
    [(what, reused, error)] = world.told
    assert (what, reused, world.wire.open) == ("broken", False, False) and issubclass(error, HttpParserError)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_bytes_end_in_one_word_or_none(first: bytes, second: bytes) -> None:
    for start in (b"", b"HTTP/1.1 200 OK\r\n", OK):
        world = World()
        world.comes(start + first, second)
        world.connection.connection_lost(None)
        assert len([told for told in world.told if told != "gone"]) == 1


def test_more_than_an_answer_is_not_the_next_one() -> None:
    world = World()
    assert world.comes(OK + b"HTTP/1.1 500 Not asked for\r\n\r\n") == [("answered", 200, False)]
    assert not world.wire.open
    world = World()
    assert world.comes(OK, b"HTTP/1.1 500") == [("answered", 200, True), "gone"]
    assert not world.wire.open, "what it says unasked ends it"
    world.wire.sent = b""
    world.begin()
    assert world.told[2:] == [("broken", True, type(None))] and not world.wire.sent


def test_an_answer_before_the_request_was_read_ends_the_connection() -> None:
    world = World(body=b"x" * (SMALL + 1))
    assert world.wire.sent.endswith(b"\r\n\r\n" + b"x" * (SMALL + 1))
    world.wire.unsent = 1
    assert world.comes(OK) == [("answered", 200, False)] and not world.wire.open


@pytest.mark.parametrize(("limit", "kept"), [(0, b""), (1, b"o"), (2, b"ok"), (10, b"ok")])
def test_only_so_much_is_read(limit: int, kept: bytes) -> None:
    world = World(limit)
    world.comes(OK[:-2])
    world.comes(OK[-2:]) if limit else None
    assert world.told == [("answered", 200, limit > 0)] and world.exchange.body == kept


@pytest.mark.parametrize("begin", [b"0\r\nX: ", b"1;"])
def test_what_is_no_body_is_limited_too(begin: bytes) -> None:
    """A trailer, or what stands beside the size of a chunk, without end."""
    world = World(limit=10)
    world.comes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + begin, b"a" * (MAX_HEAD - 100))
    assert not world.told
    assert world.comes(b"a" * 200) == [("answered", 200, False)] and not world.wire.open


def test_only_so_much_is_kept() -> None:
    world = World()
    world.comes(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", b"a" * 1000, b"b" * 3000)
    assert not world.told and world.wire.open
    assert world.comes(b"c" * 1000) == [("answered", 200, True)]
    assert world.exchange.body == b"a" * 1000 + b"b" * (KEEP_LIMIT - 1000)


@pytest.mark.parametrize(("value", "seen"), [(b"120", "120"), (b"x" * 100, "x" * 64), (b"\xe9", "é")])
def test_retry_after(value: bytes, seen: str) -> None:
    world = World()
    world.comes(b"HTTP/1.1 503 No\r\nRETRY-AFTER: " + value + b"\r\nContent-Length: 0\r\n\r\n")
    assert world.exchange.retry_after == seen


def test_a_connection_that_served_before_says_so_when_it_breaks() -> None:
    world = World()
    world.comes(OK)
    world.begin()
    world.connection.connection_lost(ConnectionResetError())
    assert world.told[1:] == [("broken", True, ConnectionResetError)]
    world.begin()
    assert world.told[2:] == [("broken", True, type(None))], "there is no transport any more"


def test_closing_tells_nothing() -> None:
    world = World()
    world.connection.close()
    world.connection.connection_lost(None)
    assert world.told == ["gone"] and not world.wire.open
