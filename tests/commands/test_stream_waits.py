"""XREAD and XREADGROUP that wait: who is served, with what, and what ends a wait."""

from __future__ import annotations

from typing import Any

import hiredis
import pytest
from fakes import Client, Harness

from ferrite_hooks.engine.command import COMMANDS


def parsed(raw: bytes) -> Any:
    reader = hiredis.Reader()
    reader.feed(raw)
    return reader.gets()


def test_xread_waits_for_what_comes_after_now(harness: Harness, client: Client) -> None:
    reader = harness.connect()
    client("XADD", "s", "1-1", "a", "b")
    reader("XREAD", "COUNT", 1, "BLOCK", 0, "STREAMS", "none", "s", "$", "$")
    assert reader.session.blocked
    client("XDEL", "s", "1-1")
    client("XGROUP", "CREATE", "s", "g", "$")
    assert reader.session.blocked and reader.sent() == b""
    client("XADD", "s", "1-2", "a", "b")
    assert parsed(reader.sent()) == [[b"s", [[b"1-2", [b"a", b"b"]]]]]
    assert not reader.session.blocked


def test_xread_times_out_and_outlives_wrong_types(harness: Harness, client: Client) -> None:
    reader = harness.connect()
    reader("XREAD", "BLOCK", 100, "STREAMS", "s", "0")
    client("SET", "s", "v")
    assert reader.session.blocked
    harness.advance(99)
    assert reader.session.blocked
    harness.advance(1)
    assert reader.sent() == b"*-1\r\n"


def test_the_right_type_at_one_key_shows_the_wrong_one_at_another(harness: Harness, client: Client) -> None:
    """As Redis 7.2, which runs the whole command again (7.0 looked at the one key)."""
    waits = [("XREAD", "BLOCK", 0, "STREAMS", "a", "b", "$", "$"), ("BLPOP", "a", "l", 0), ("BZPOPMIN", "a", "z", 0)]
    readers = []
    for words in waits:
        readers.append(harness.connect())
        readers[-1](*words)
    client("SET", "a", "v")
    assert all(reader.session.blocked for reader in readers)
    client("XADD", "b", "1-1", "f", "v")
    client("RPUSH", "l", "x")
    client("ZADD", "z", 1, "x")
    for reader in readers:
        assert reader.sent().startswith(b"-WRONGTYPE") and not reader.session.blocked
    assert client("LLEN", "l") == client("ZCARD", "z") == 1


def test_every_reader_gets_the_entry_but_one_consumer_of_a_group(harness: Harness, client: Client) -> None:
    readers = [harness.connect(), harness.connect()]
    consumers = [harness.connect(), harness.connect()]
    client("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
    for reader in readers:
        reader("XREAD", "BLOCK", 0, "STREAMS", "s", "$")
    for name, consumer in zip("cd", consumers, strict=True):
        consumer("XREADGROUP", "GROUP", "g", name, "BLOCK", 0, "STREAMS", "s", ">")
    harness.effects()
    client("XADD", "s", "5-1", "a", "b")
    got = [[b"s", [[b"5-1", [b"a", b"b"]]]]]
    assert [parsed(reader.sent()) for reader in readers] == [got, got]
    assert parsed(consumers[0].sent()) == got
    assert consumers[1].sent() == b"" and consumers[1].session.blocked
    time = b"%d" % harness.clock.now
    assert harness.effects() == [
        [b"XADD", b"s", b"5-1", b"a", b"b"],
        [b"XCLAIM", b"s", b"g", b"c", b"0", b"5-1", b"TIME", time, b"RETRYCOUNT", b"1", b"FORCE", b"JUSTID",
         b"LASTID", b"5-1"],
        [b"XGROUP", b"SETID", b"s", b"g", b"5-1", b"ENTRIESREAD", b"1"],
    ]  # fmt: skip
    client("XADD", "s", "5-2", "a", "b")
    assert parsed(consumers[1].sent()) == [[b"s", [[b"5-2", [b"a", b"b"]]]]]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("XGROUP DESTROY s g", "NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option"),
        ("SET s v", "WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("", "NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option"),
    ],
)
def test_consumers_learn_that_their_group_is_gone(
    harness: Harness, client: Client, change: str, error: str
) -> None:
    consumer = harness.connect()
    client("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
    consumer("XREADGROUP", "GROUP", "g", "c", "BLOCK", 0, "STREAMS", "s", ">")
    client("XGROUP", "CREATE", "s", "other", "$")
    assert consumer.session.blocked
    if change:
        client(*change.split())
    else:
        harness.engine.databases[0].drop(b"s")
        harness.engine.settle()
    assert consumer.sent() == f"-{error}\r\n".encode() and not consumer.session.blocked


def test_a_blocked_consumer_is_not_recreated_when_it_is_removed(harness: Harness, client: Client) -> None:
    consumer = harness.connect()
    client("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
    consumer("XREADGROUP", "GROUP", "g", "c", "BLOCK", 0, "STREAMS", "s", ">")
    client("XGROUP", "DELCONSUMER", "s", "g", "c")
    assert client("XINFO", "CONSUMERS", "s", "g") == []
    client("XADD", "s", "1-1", "a", "b")
    assert [c[b"name"] for c in client("XINFO", "CONSUMERS", "s", "g")] == [b"c"]


def test_xread_does_not_wait_in_a_transaction_or_script(harness: Harness, client: Client) -> None:
    client.session.deny_blocking = True
    assert client.raw("XREAD", "BLOCK", 0, "STREAMS", "s", "$") == b"*-1\r\n"
    client.session.internal = True
    assert client("xread", "BLOCK", 0, "STREAMS", "s", "$").text == (
        "ERR xread command is not allowed with BLOCK option from scripts"
    )


def test_a_wait_is_counted_once_when_it_ends(harness: Harness, client: Client) -> None:
    made = COMMANDS[b"xreadgroup"]
    made.reset_statistics()
    first, second = harness.connect(), harness.connect()
    client("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
    first("XREADGROUP", "GROUP", "g", "c", "BLOCK", 0, "STREAMS", "s", ">")
    second("XREADGROUP", "GROUP", "g", "c", "BLOCK", 10, "STREAMS", "s", ">")
    assert (made.calls, made.failed) == (0, 0)
    harness.advance(10)
    assert (made.calls, made.failed) == (1, 0)
    client("XGROUP", "DESTROY", "s", "g")
    assert (made.calls, made.failed) == (2, 1)
    assert harness.engine.errors == {"NOGROUP": 1}
