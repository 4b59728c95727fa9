"""The receiver counts what arrives, however it is cut into pieces."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from benchmarks.delivery import sample
from benchmarks.receiver import Counts, Responder


class Transport:
    def __init__(self) -> None:
        self.sent = b""

    def write(self, data: bytes) -> None:
        self.sent += data


@pytest.fixture
def responder(monkeypatch: pytest.MonkeyPatch) -> Responder:
    monkeypatch.setattr(Responder, "counts", Counts())
    made = Responder()
    made.connection_made(Transport())  # type: ignore[arg-type]
    return made


def post(body: str, path: str = "/count") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_events_are_counted_in_any_pieces(responder: Responder, piece: int) -> None:
    stream = post(sample(1)) + post(sample(100)) + post(sample(1))
    for start in range(0, len(stream), piece):
        responder.data_received(stream[start : start + piece])
    assert (Responder.counts.requests, Responder.counts.events) == (3, 102)
    sent: Any = responder.transport
    assert sent.sent.count(b"HTTP/1.1 200 OK") == 3


def test_latency_is_that_of_the_new_value(responder: Responder) -> None:
    now = time.monotonic_ns()
    body = json.dumps({"data": {"value": str(now - 5_000_000), "old_value": "1"}}, separators=(",", ":"))
    responder.data_received(post(body, "/timed"))
    (found,) = Responder.counts.latencies_ms
    assert 5 <= found < 1000


def test_last_id_and_reset(responder: Responder) -> None:
    responder.data_received(post(sample(2)))
    responder.data_received(b"GET /reset HTTP/1.1\r\n\r\n")
    sent: Any = responder.transport
    told = json.loads(sent.sent.rpartition(b"\r\n\r\n")[2])
    assert told["events"] == 2 and told["last_id"] == "evt_0123456789abcdef"
    assert Responder.counts.events == 0
