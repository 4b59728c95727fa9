"""MONITOR and SLOWLOG: the exact lines, and what they never show."""

from __future__ import annotations

import re

from fakes import Client, Harness
from oracle import Oracle, Pair, Wire

from ferrite_hooks.engine.command import COMMANDS
from ferrite_hooks.engine.monitor import quoted, visible
from ferrite_hooks.engine.settings import change


def lines(data: bytes) -> list[bytes]:
    """MONITOR lines without what differs between servers: time and address."""
    return [re.sub(rb"^\+[\d.]+ \[(\d+) [^\]]+\]", rb"[\1]", line) for line in data.split(b"\r\n")[:-1]]


def test_lines_equal_redis(harness: Harness, oracle: Oracle) -> None:
    theirs, ours = Wire(oracle.socket.getpeername()[1]), harness.connect()
    assert theirs("MONITOR") == ours.raw("MONITOR")
    script = (
        ("SET", "k", b'a"b\\c\n\r\t\x07\x08\x00\xff e'), ("get", "k"), ("SELECT", 2), ("NOPE",), ("GET",), ("MULTI",),
        ("SET", "k", "1"), ("LPUSH", "k", "x"), ("EXEC",), ("CLIENT", "LIST"), ("CLIENT", "ID"), ("AUTH", "a", "b"),
        ("HELLO", 2, "AUTH", "default", "secret"), ("BLPOP", "l", "0.01"), ("SLOWLOG", "LEN"),
    )  # fmt: skip
    for words in script:
        oracle(*words)
        harness.client(*words)
    oracle("ECHO", "end")
    expected = b""
    while b'"end"' not in expected:
        expected += theirs.read()
    harness.advance(11)
    harness.client("ECHO", "end")
    assert lines(ours.sent()) == lines(expected)
    oracle("SELECT", 0)
    theirs.close()


def test_line_form(harness: Harness, client: Client) -> None:
    other = harness.connect()
    client("MONITOR")
    harness.clock.advance(7)
    other("SET", "k", "v")
    assert client.sent() == b'+1700000000.007000 [0 127.0.0.1:50000] "SET" "k" "v"\r\n'
    assert client.raw("PING") == b'+PONG\r\n+1700000000.007000 [0 127.0.0.1:50000] "PING"\r\n'
    client("RESET")
    client.sent()
    other("PING")
    assert client.sent() == b"" and harness.engine.observe_from == harness.engine.slow_ns / 1e9


def test_quoting_survives_every_byte() -> None:
    assert quoted(b"abc") == b'"abc"'
    assert quoted(bytes(range(14))) == b'"\\x00\\x01\\x02\\x03\\x04\\x05\\x06\\a\\b\\t\\n\\x0b\\x0c\\r"'
    assert quoted(b"\x7f\x80\xff\"\\") == b'"\\x7f\\x80\\xff\\"\\\\"'


def test_secrets_are_hidden() -> None:
    def shown(*words: bytes) -> list[bytes]:
        made = COMMANDS[words[0].lower()]
        return visible(made.subcommands.get(words[1].lower(), made), list(words))

    assert shown(b"AUTH", b"u", b"p") == [b"AUTH", b"(redacted)", b"(redacted)"]
    assert shown(b"HELLO", b"3", b"AUTH", b"u", b"p", b"SETNAME", b"n") == [
        b"HELLO", b"3", b"AUTH", b"(redacted)", b"(redacted)", b"SETNAME", b"n",
    ]  # fmt: skip
    assert shown(b"CONFIG", b"SET", b"maxmemory", b"1", b"requirepass", b"p")[3:] == [
        b"1", b"requirepass", b"(redacted)",
    ]  # fmt: skip


def test_slowlog(harness: Harness, oracle: Oracle) -> None:
    both = Pair(oracle, harness)
    for line in ("GET -2", "GET x", "GET 1 2", "LEN x", "RESET", "NOPE", "GET 0"):
        both.check("SLOWLOG", *line.split())
    oracle("CONFIG", "SET", "slowlog-log-slower-than", 0)
    oracle("SLOWLOG", "RESET")
    change(harness.engine, "slowlog-log-slower-than", 0)
    harness.client("SLOWLOG", "RESET")
    harness.client.session.name = b"me"
    oracle("CLIENT", "SETNAME", "me")
    script = (["SET", "k", "x" * 200], ["RPUSH", "l", *range(50)], ["RPUSH", "l", *range(30)], ["AUTH", "a"], ["MULTI"],
              ["PING"], ["EXEC"], ["BLPOP", "nothing", "0.01"])  # fmt: skip
    for words in script:
        oracle(*words)
        harness.client(*words)
    harness.advance(11)
    oracle("CONFIG", "SET", "slowlog-log-slower-than", 10000)
    change(harness.engine, "slowlog-log-slower-than", 10000)
    expected = [part for part in oracle("SLOWLOG", "GET", -1).split(b"\r\n") if part[:1] not in (b":", b"*")]
    entries = harness.client("SLOWLOG", "GET", -1)
    told = [entry[3] for entry in entries]
    for argv in told[::-1]:
        for arg in argv:
            assert arg in expected, arg
    assert b"... (21 more arguments)" in [argv[-1] for argv in told]
    assert entries[-2][4:] == ["127.0.0.1:50000", b"me"]
    both.close()


def test_slowlog_is_bounded(harness: Harness, client: Client) -> None:
    change(harness.engine, "slowlog-log-slower-than", 0)
    change(harness.engine, "slowlog-max-len", 3)
    for _ in range(10):
        client("PING")
    assert client("SLOWLOG", "LEN") == 3 and len(client("SLOWLOG", "GET")) == 3
    ids = [entry[0] for entry in client("SLOWLOG", "GET", 2)]
    assert ids == [ids[1] + 1, ids[1]]
    change(harness.engine, "slowlog-log-slower-than", -1)
    client("SLOWLOG", "RESET")
    client("PING")
    assert client("SLOWLOG", "LEN") == 0
