"""DEBUG, and its digests compared with those of redis-server."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import Client, Harness
from oracle import Oracle, Pair

from ferrite_hooks.engine.settings import change
from ferrite_hooks.errors import ReplyError

FILL = [
    ("SET", "int", "12"), ("SET", "text", "x" * 100), ("APPEND", "text", "y"), ("SET", "ttl", "v", "EX", "1000"),
    ("RPUSH", "list", "a", "1", "b" * 70), ("HSET", "hash", "f", "v", "g", "2"), ("SADD", "ints", "1", "2", "-3"),
    ("SADD", "set", "a", "b"), ("ZADD", "zset", "1.5", "m", "-inf", "n", "3", "7"),
    ("XADD", "stream", "1-1", "f", "v", "g", "w"), ("XADD", "stream", "2-1", "f", "v"), ("XDEL", "stream", "1-1"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def allowed(harness: Harness) -> None:
    change(harness.engine, "enable-debug-command", "yes")


def test_digests_are_those_of_redis(harness: Harness, oracle: Oracle) -> None:
    both = Pair(oracle, harness)
    both.check("DEBUG", "DIGEST")
    for words in FILL:
        both.check(*words)
        both.check("DEBUG", "DIGEST-VALUE", words[1])
        both.check("DEBUG", "DIGEST")
    both.check("SELECT", 3)
    both.check("SET", "elsewhere", "v")
    both.check("DEBUG", "DIGEST")
    both.check("DEBUG", "DIGEST-VALUE", "elsewhere", "missing")
    both.close()


@pytest.mark.parametrize("resp", [2, 3])
def test_protocol(harness: Harness, oracle: Oracle, resp: int) -> None:
    both = Pair(oracle, harness, resp)
    for kind in ("string", "integer", "bignum", "null", "array", "set", "map", "true", "false", "verbatim", "bogus"):
        both.check("DEBUG", "PROTOCOL", kind)
    if resp == 3:
        both.check("DEBUG", "PROTOCOL", "attrib")
        expected = oracle("DEBUG", "PROTOCOL", "push") + oracle.read()  # the push, and the reply behind it
        assert both.ours.raw("DEBUG", "PROTOCOL", "push") == expected
    else:
        both.check("DEBUG", "PROTOCOL", "attrib")
        both.check("DEBUG", "PROTOCOL", "push")
    both.oracle("HELLO", 2)
    both.close()


def test_errors_and_simple_ones(harness: Harness, oracle: Oracle) -> None:
    both = Pair(oracle, harness)
    for words in (
        ("DEBUG",), ("DEBUG", "BOGUS"), ("DEBUG", "SLEEP"), ("DEBUG", "SLEEP", "0"), ("DEBUG", "OBJECT", "missing"),
        ("DEBUG", "ERROR", "MYERR it is so"), ("DEBUG", "QUICKLIST-PACKED-THRESHOLD", "100b"),
        ("DEBUG", "QUICKLIST-PACKED-THRESHOLD", "5gb"), ("DEBUG", "SET-ACTIVE-EXPIRE", "1"),
        ("DEBUG", "POPULATE", "5"), ("GET", "key:4"), ("DEBUG", "POPULATE", "3", "p", "4"), ("GET", "p:2"),
        ("DEBUG", "POPULATE", "x"), ("DBSIZE",), ("DEBUG", "DIGEST"),
    ):  # fmt: skip
        both.check(*words)
    both.close()


def test_object_tells_the_encoding(client: Client) -> None:
    client("RPUSH", "l", "a")
    reply = client("DEBUG", "OBJECT", "l").text
    assert b"encoding:listpack" in reply and reply.startswith(b"Value at:0x")


def test_populate_reaches_the_journal(client: Client, harness: Harness) -> None:
    client("DEBUG", "POPULATE", 2)
    assert harness.effects() == [[b"SET", b"key:0", b"value:0"], [b"SET", b"key:1", b"value:1"]]


def test_expiry_can_be_left_to_readers(client: Client, harness: Harness) -> None:
    client("DEBUG", "SET-ACTIVE-EXPIRE", 0)
    client("SET", "k", "v", "PX", 10)
    harness.advance(1000)
    assert client("DBSIZE") == 1
    client("DEBUG", "SET-ACTIVE-EXPIRE", 1)
    harness.advance(1000)
    assert client("DBSIZE") == 0


def test_stringmatch(client: Client) -> None:
    assert client("DEBUG", "STRINGMATCH-LEN", "hello", "h*o") == 1
    assert client("DEBUG", "STRINGMATCH-LEN", "hello", "h?o") == 0


def test_help_names_every_subcommand(client: Client) -> None:
    lines = [line.text for line in client("DEBUG", "HELP")]
    assert b"RELOAD [NOSAVE] [NOFLUSH] [MERGE]" in lines and b"HELP" in lines


@pytest.mark.parametrize("ip, setting, may", [
    ("127.0.0.1", "no", False), ("127.0.0.1", "local", True), ("", "local", True), ("::1", "local", True),
    ("10.0.0.1", "local", False), ("10.0.0.1", "yes", True),
])  # fmt: skip
def test_only_those_who_are_allowed(client: Client, harness: Harness, ip: str, setting: str, may: bool) -> None:
    change(harness.engine, "enable-debug-command", setting)
    client.session.ip = ip
    reply = client("DEBUG", "SLEEP", "0")
    assert isinstance(reply, ReplyError) != may
    if not may:
        assert reply.text.startswith("ERR DEBUG command not allowed.")


def test_without_a_disk_there_is_nothing_to_reload(client: Client, tmp_path: Path) -> None:
    assert isinstance(client("DEBUG", "RELOAD"), ReplyError)
    said = "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options."
    assert client("DEBUG", "RELOAD", "BOGUS").text == said
