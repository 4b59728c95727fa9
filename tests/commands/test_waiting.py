"""WAIT and WAITAOF."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from fakes import Client, Harness


def test_wait_ends_with_its_timeout(client: Client, harness: Harness) -> None:
    client("WAIT", 1, 100)
    assert client.session.blocked
    harness.advance(100)
    assert client.sent() == b":0\r\n" and not client.session.blocked


def test_waitaof_waits_for_the_disk(client: Client, harness: Harness) -> None:
    journal = harness.engine.host.journal = SimpleNamespace(last_frame=4, durable_frame=4)
    assert client("WAITAOF", 1, 0, 0) == [1, 0]
    client("SET", "k", "v")
    client("WAITAOF", 1, 0, 0)
    harness.advance(1000)
    assert client.session.blocked
    journal.last_frame = 5
    harness.advance(1000)
    assert client.session.blocked
    journal.durable_frame = 5
    harness.advance(10)
    assert client.sent() == b"*2\r\n:1\r\n:0\r\n" and not client.session.blocked


def test_waitaof_ends_with_its_timeout(client: Client, harness: Harness) -> None:
    harness.engine.host.journal = SimpleNamespace(last_frame=4, durable_frame=3)
    client("WAITAOF", 1, 0, 500)
    harness.advance(500)
    assert client.sent() == b"*2\r\n:0\r\n:0\r\n"
    client("WAITAOF", 0, 1, 500)
    harness.engine.host.journal.durable_frame = 4
    harness.advance(499)
    assert client.session.blocked
    harness.advance(1)
    assert client.sent() == b"*2\r\n:1\r\n:0\r\n"


def test_nobody_waits_without_a_journal(client: Client) -> None:
    assert client("WAITAOF", 0, 0, 0) == [0, 0]
    error = client("WAITAOF", 1, 0, 0)
    assert error.text == "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."


@pytest.mark.parametrize(("words", "text"), [
    (("2", "0", "0"), "ERR value is out of range, value must between 0 and 1"),
    (("0", "-1", "0"), "ERR value is out of range, must be positive"),
    (("0", "0", "-1"), "ERR timeout is negative"),
    (("0", "0", "x"), "ERR timeout is not an integer or out of range"),
    (("0", "0", "9223372036854775807"), "ERR timeout is out of range"),
])  # fmt: skip
def test_waitaof_errors(client: Client, words: tuple[str, str, str], text: str) -> None:
    assert client("WAITAOF", *words).text == text
