"""The receiver people try webhooks with: what it says of good events, bad ones, and bad senders."""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import structs
from multidict import CIMultiDict
from receiver import posted

from ferrite_hooks import listen
from ferrite_hooks.listen import SECRET_VARIABLE, Behaviour, Listener, printable, read_events
from ferrite_hooks.webhooks.events import wide_name
from ferrite_hooks.webhooks.guard import Rules
from ferrite_hooks.webhooks.model import Change, Format, Request, Tls, Webhook, Written
from ferrite_hooks.webhooks.payload import render_batch, render_event
from ferrite_hooks.webhooks.send import Sender
from ferrite_hooks.webhooks.sign import BATCH, headers_for

SECRET = "mysecretkey"
HOOK = Webhook(1, "orders", "http://127.0.0.1/", secret=SECRET)


def change(
    position: int, new: Written = b"v", old: Written = None, event: str = "set", key: bytes | None = b"k"
) -> Change:
    return Change(position, 1_768_473_000_123, 0, event, key, new, old, 0, "SET", 1, "127.0.0.1", 0, (1,))


def expiring(of: Change) -> Change:
    return structs.replace(of, expire_at=62_000, at=2_000)


class Bench:
    """A listener and what it printed."""

    def __init__(self, chances: tuple[float, ...] = (), **behaviour: Any) -> None:
        self.lines: list[str] = []
        self._chances = iter(chances)
        self.listener = Listener(Behaviour(**behaviour), self.lines.append, lambda: next(self._chances))

    def give(self, *changes: Change, hook: Webhook = HOOK, attempt: int = 1, batch: bool = False) -> int:
        now = int(time.time() * 1000)
        if batch:
            body = render_batch(hook, [(c, 0) for c in changes], "j", "batch_1", now)
        else:
            body = render_event(hook, changes[0], "j")
        name = BATCH if batch else wide_name(changes[0].event)
        headers = headers_for(hook, f"dlv_{changes[0].position}", name, attempt, body, now)
        return self.listener.receive(body, CIMultiDict(headers))


@pytest.fixture
def bench() -> Bench:
    return Bench(secret=SECRET)


def test_a_line_has_what_one_looks_for(bench: Bench) -> None:
    assert bench.give(change(1, b"Alice", b"Bob")) == 200
    (line,) = bench.lines
    assert line[8:] == ' SET      k = "Alice" (was "Bob") signature ok'


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (change(1, None, b"Bob", "del"), ' DEL      k (was "Bob") signature ok'),
        (expiring(change(1, None, event="expire")), " TTL      k ttl 60 signature ok"),
        (change(1, None, None, "persist"), " TTL      k no ttl signature ok"),
        (expiring(change(1, b"v")), ' SET      k = "v" ttl 60 signature ok'),
        (change(1, ("key", b"k2"), None, "rename_from"), ' RENAME   k to "k2" signature ok'),
        (change(1, b"v" * 70_000), " SET      k = (70000 bytes, left out) signature ok"),
    ],
)
def test_a_line_says_no_more_than_there_is(bench: Bench, told: Change, shown: str) -> None:
    bench.give(told)
    assert bench.lines[0][8:] == shown


@pytest.mark.parametrize("format", list(Format))
@pytest.mark.parametrize("batch", [False, True])
def test_every_format_is_understood(format: Format, batch: bool) -> None:
    bench = Bench(secret=SECRET, json=True)
    assert bench.give(change(7, b"Alice", b"Bob"), hook=replace(HOOK, format=format), batch=batch) == 200
    line = json.loads(bench.lines[0])
    assert (line["event"], line["key"], line["webhook"]) == ("SET", "k", "orders")
    assert (line["data"]["value"], line["signature"], line["remarks"]) == ("Alice", "ok", [])
    assert line["sequence"] == (None if format is Format.STANDARD else 7)
    assert line["id"].startswith("dlv_" if format is Format.STANDARD and not batch else "evt_")


def test_application_events_keep_their_names() -> None:
    for format in Format:
        emitted = change(1, ("json", b'{"a":1}'), event="user.created", key=None)
        body = render_event(replace(HOOK, format=format), emitted, "j")
        assert read_events(body, CIMultiDict())[0].event == "user.created"


def test_signatures(bench: Bench) -> None:
    assert bench.give(change(1), hook=replace(HOOK, secret="another")) == 401
    assert bench.give(change(2), hook=replace(HOOK, secret="")) == 401
    assert "signature BAD (X-Ferrite-Signature does not match) -> 401" in bench.lines[0]
    assert "signature none -> 401" in bench.lines[1]
    assert bench.listener.counts["bad signatures"] == 2
    careless = Bench()
    assert careless.give(change(1)) == 200 and "signature unchecked" in careless.lines[0]


def test_duplicates(bench: Bench) -> None:
    bench.give(change(1))
    bench.give(change(1), attempt=2)
    assert bench.lines[1].endswith("attempt 2 signature ok !! duplicate")


def test_a_retry_of_what_was_refused_is_no_duplicate() -> None:
    bench = Bench(fail_rate=0.5, chances=(0.1, 0.9))
    assert [bench.give(change(1)), bench.give(change(1), attempt=2)] == [500, 200]
    assert bench.lines[0].endswith("-> 500") and "!!" not in bench.lines[1]
    assert "2 requests, 2 events, 1 repeated attempts, 1 answered with an error" in bench.listener.summary()


def test_events_of_a_key_in_the_wrong_order(bench: Bench) -> None:
    bench.give(change(3, b"b"))
    bench.give(change(1, b"a", key=b"other"))
    bench.give(change(2, b"a"))
    assert ["!!" in line for line in bench.lines] == [False, False, True]
    assert bench.lines[2].endswith("!! out of order")


GONE = change(3, None, b"2", "del")


@pytest.mark.parametrize(
    ("changes", "gap"),
    [
        ([change(1, b"1"), change(2, b"2", b"1")], False),
        ([change(1, b"1"), change(2, b"3", b"2")], True),
        ([change(1, b"1"), change(2, b"2", None)], True),
        ([change(2, b"2"), GONE, change(4, b"4", None)], False),
        ([change(2, b"2"), GONE, change(4, b"4", b"2")], True),
        ([change(1, b"1"), GONE], True),
        ([change(1, b"1"), change(2, None, None, "expire"), change(3, b"2", b"1")], False),
        ([change(1, b"1"), change(2, None, ("stub", "list", 3), "del")], False),
        ([change(1, b"\xff"), change(2, b"2", b"\xff")], False),
        ([change(1, b"\xff"), change(2, b"2", b"\xfe")], True),
        ([change(1, b"x" * 70_000), change(2, b"2", b"1")], False),
        ([change(1, b"x" * 1000), change(2, b"2", b"x" * 1000)], False),
        ([change(1, b"x" * 1000), change(2, b"2", b"y" + b"x" * 999)], True),
        ([change(1, b"1"), change(2, ("key", b"k"), b"7", "rename_from", b"j"), change(3, b"2", b"7")], False),
        ([change(1, b"1"), change(2, None, None, "flushdb", None), change(3, b"2", None)], False),
    ],
)
def test_old_values_are_those_seen_last(bench: Bench, changes: list[Change], gap: bool) -> None:
    for one in changes:
        bench.give(one)
    assert bench.lines[-1].endswith("!! gap") is gap
    assert not any("!!" in line for line in bench.lines[:-1])


def test_what_is_not_a_webhook() -> None:
    bench = Bench()
    for body in (b"", b"{", b"[1]", b'"x"', b"{}", b'{"batch_id":1}', b"[" * 100_000, b"\xff"):
        assert bench.listener.receive(body, CIMultiDict()) == 400
    assert bench.listener.counts["events"] == 0 and all("not understood" in line for line in bench.lines)


def test_hostile_fields_neither_break_it_nor_reach_the_terminal() -> None:
    bench = Bench()
    hostile: list[Any] = [
        {"event": "\x1b[2J", "key": "a\r\nb\x9b\u202e", "data": {"value": "\x1b]0;x\x07", "encoding": "base64"}},
        {"event": "SET", "metadata": {"sequence": "9" * 5000}, "id": {"a": []}, "key": [], "data": "\ud800"},
        {"event": "SET", "metadata": {"sequence": -1}, "database": True, "data": {"value": "!", "encoding": []}},
    ]
    for event in hostile:
        for _ in range(2):
            assert bench.listener.receive(json.dumps(event).encode(), CIMultiDict()) == 200
    assert all(line.isprintable() for line in bench.lines)
    assert printable("é😀 \x7f") == "é😀 \\x7f"


# --- as a program --------------------------------------------------------------------------------------------

PROGRAM = (
    "import argparse,sys; from ferrite_hooks import listen;"
    "p=argparse.ArgumentParser(); listen.add_arguments(p); sys.exit(listen.run(p.parse_args()))"
)


@pytest.fixture
def program() -> Iterator[Any]:
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **environment: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "--port", "0", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment,
        )  # fmt: skip
        running.append(process)
        assert process.stderr is not None
        greeting = process.stderr.readline()
        assert greeting.startswith("listening on http://127.0.0.1:")
        return process, greeting.split()[2]

    yield start
    for process in running:
        process.kill()
        process.communicate()


async def test_the_program_listens_prints_and_sums_up(program: Any) -> None:
    process, url = program("--json", "--delay", "1", **{SECRET_VARIABLE: SECRET})
    sender = Sender(Rules(), Tls())
    body = render_event(HOOK, change(1), "j")
    headers = headers_for(HOOK, "dlv_1", "SET", 1, body, int(time.time() * 1000))
    for path in ("", "any/path?x=1"):
        assert (await posted(sender, Request(url + path, headers, body, 5000))).status == 200
    await sender.close()
    process.send_signal(signal.SIGINT)
    out, err = await asyncio.to_thread(process.communicate, timeout=10)
    assert process.returncode == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["remarks"] for line in lines] == [[], ["duplicate"]]
    assert err.startswith("2 requests, 2 events") and err.rstrip().endswith("1 duplicate")
    assert SECRET not in out + err


def test_a_taken_port_is_an_error(program: Any, capsys: pytest.CaptureFixture[str]) -> None:
    _, url = program()
    port = url.rstrip("/").rpartition(":")[2]
    parser = argparse.ArgumentParser()
    listen.add_arguments(parser)
    assert listen.run(parser.parse_args(["--port", port])) == 1
    assert "in use" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["--port", "70000"], ["--port", "x"], ["--fail-rate", "2"], ["--status", "99"], ["--delay", "-1"]],
)
def test_bad_arguments_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    listen.add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(arguments)
    told = capsys.readouterr().err
    assert f"argument {arguments[0]}: expected " in told and f"got '{arguments[1]}'" in told


def verify(monkeypatch: pytest.MonkeyPatch, body: bytes, *arguments: str) -> int:
    parser = argparse.ArgumentParser()
    listen.add_verify_arguments(parser)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(body)))
    return listen.run_verify(parser.parse_args(arguments))


def test_verify(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    body = render_event(HOOK, change(1), "j")
    headers = headers_for(HOOK, "dlv_1", "SET", 1, body, 1_768_473_000_123)
    given = [word for name, value in headers for word in ("--header", f"{name}: {value}")]
    assert verify(monkeypatch, body, "--secret", SECRET, "--tolerance", "inf", *given) == 0
    assert capsys.readouterr().out == "verified: X-Ferrite-Signature, webhook-signature\n"
    assert verify(monkeypatch, body, "--secret", SECRET, *given) == 1  # signed long ago
    assert verify(monkeypatch, body + b" ", "--secret", SECRET, "--tolerance", "inf", *given) == 1
    assert verify(monkeypatch, body, "--secret", "wrong", "--tolerance", "inf", *given) == 1
    assert verify(monkeypatch, body, *given) == 1
    assert verify(monkeypatch, body, "--secret", SECRET, "--header", "nonsense") == 1
    captured = capsys.readouterr()
    assert not captured.out and captured.err.count("\n") == 5
