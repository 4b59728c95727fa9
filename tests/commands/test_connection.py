"""Connections, compared with redis-server: what they answer, and what RESET leaves of them."""

from __future__ import annotations

import re

import pytest
from fakes import Client, Harness
from oracle import Oracle, Pair

from ferrite_hooks.engine.command import COMMANDS, shown_flags
from ferrite_hooks.errors import ReplyError


def test_small_commands(harness: Harness, oracle: Oracle) -> None:
    both = Pair(oracle, harness)
    for words in (
        ("PING",), ("PING", "hi"), ("PING", "a", "b"), ("ECHO", "x"), ("ECHO",), ("SELECT", 1), ("SELECT", "x"),
        ("SELECT", 16), ("SELECT", -1), ("SELECT", 0), ("AUTH", "a"), ("AUTH", "a", "b", "c"), ("AUTH", "no", "b"),
        ("AUTH", "default", "whatever"), ("HELLO", "x"), ("HELLO", 1), ("HELLO", 4), ("HELLO", 2, "AUTH", "a"),
        ("HELLO", 2, "SETNAME"), ("HELLO", 2, "SETNAME", "a b"), ("HELLO", 2, "what"), ("RESET",), ("RESET", 1),
        ("QUIT", "now"),
    ):  # fmt: skip
        both.check(*words)
    assert both.ours.session.close_after_reply
    both.close()


@pytest.mark.parametrize("protocol", [2, 3])
def test_hello(harness: Harness, oracle: Oracle, protocol: int) -> None:
    def without_id(reply: bytes) -> bytes:
        return re.sub(rb":\d+\r\n(\$4\r\nmode)", rb":N\r\n\1", reply)

    both = Pair(oracle, harness)
    words = ("HELLO", protocol, "SETNAME", "me")
    assert without_id(both.ours.raw(*words)) == without_id(oracle(*words))
    both.check("CLIENT", "GETNAME")
    both.check("GET", "nothing")
    assert without_id(oracle("HELLO")) == without_id(both.ours.raw("HELLO"))
    both.close()


def test_hello_checks_the_password_before_it_changes_anything(harness: Harness, client: Client) -> None:
    reply = client("HELLO", 3, "AUTH", "default", "x", "SETNAME", "n")
    assert reply[b"proto"] == 3  # the default user takes any password
    reply = client("HELLO", 2, "AUTH", "nobody", "x", "SETNAME", "other")
    assert isinstance(reply, ReplyError) and reply.text.startswith("WRONGPASS")
    assert client.session.resp == 3 and client("CLIENT", "GETNAME") == b"n"


def test_reset_forgets_everything_but_the_library(client: Client) -> None:
    client("HELLO", 3)
    client("SELECT", 5)
    client("CLIENT", "SETNAME", "me")
    client("CLIENT", "SETINFO", "LIB-NAME", "lib")
    client("CLIENT", "NO-TOUCH", "ON")
    assert client.raw("RESET") == b"+RESET\r\n"
    s = client.session
    assert (s.resp, s.db.index, s.name, s.no_touch, s.special, s.lib_name) == (2, 0, b"", False, False, b"lib")


def test_facts_equal_redis(oracle: Oracle) -> None:
    for name in ("ping", "echo", "select", "auth", "hello", "quit", "reset"):
        made = COMMANDS[name.encode()]
        described = oracle("COMMAND", "INFO", name)
        flags = b"".join(b"+%b\r\n" % flag.encode() for flag in shown_flags(made))
        assert b":%d\r\n" % made.arity in described
        assert sorted(flags.split()) == sorted(re.findall(rb"\+[a-z_]+", described)), name
        assert {b"+@" + category.encode() for category in made.acl} == set(re.findall(rb"\+@[a-z]+", described))
