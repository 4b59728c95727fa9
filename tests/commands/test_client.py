"""CLIENT: replies as redis-server gives them, and what they do to connections."""

from __future__ import annotations

import re

from fakes import Client, Harness
from oracle import Oracle, Pair

from ferrite_hooks.engine.command import COMMANDS


def facts(line: bytes) -> dict[str, str]:
    return dict(part.split("=", 1) for part in line.decode().strip().split(" "))


def test_replies(harness: Harness, oracle: Oracle) -> None:
    both = Pair(oracle, harness)
    for words in (
        "GETNAME", "SETNAME me", "GETNAME", "SETNAME a\nb", "LIST TYPE no", "LIST TYPE", "LIST ID x", "LIST ID 99999",
        "LIST what 1", "REPLY maybe", "REPLY ON", "NO-EVICT maybe", "NO-EVICT on", "KILL 1.2.3.4:5",
        "KILL ID x", "KILL ID 0", "KILL ID -1", "KILL ID 99999", "KILL TYPE no", "KILL USER nobody", "KILL SKIPME x",
        "KILL WHAT x", "KILL ID 1 ADDR", "KILL USER default ADDR 1.2.3.4:5 LADDR 1.2.3.4:6 TYPE pubsub",
        "UNBLOCK x", "UNBLOCK 99999", "UNBLOCK 1 why", "PAUSE x", "PAUSE -1", "PAUSE 1 what",
        "UNPAUSE", "NOTHING", "ID 1", "GETNAME x",
    ):  # fmt: skip
        both.check("CLIENT", *words.split(" "))
    both.check("CLIENT")
    both.close()


def test_facts_equal_redis(oracle: Oracle) -> None:
    for sub in COMMANDS[b"client"].subcommands.values():
        if sub.since < "7.2":
            described = oracle("COMMAND", "INFO", sub.name)
            assert b":%d\r\n" % sub.arity in described, sub
            assert set(re.findall(rb"\+@?[a-z_]+", described)) == {
                *(b"+" + flag.encode() for flag in sub.flags), *(b"+@" + category.encode() for category in sub.acl)
            }, sub  # fmt: skip


def test_list_has_redis_fields_in_order(client: Client, oracle: Oracle) -> None:
    ours = facts(client("CLIENT", "INFO").text)
    theirs = facts(oracle("CLIENT", "INFO").split(b"\r\n", 1)[1])
    assert [name for name in ours if not name.startswith("lib-")] == list(theirs)
    for name in ("name", "flags", "db", "sub", "multi", "cmd", "user", "redir", "resp"):
        assert ours[name] == theirs[name], name


def test_list_selects(harness: Harness, client: Client) -> None:
    other = harness.connect()
    harness.advance(5000)
    lines = client("CLIENT", "LIST").text.splitlines()
    assert [facts(line)["id"] for line in lines] == [str(client.session.id), str(other.session.id)]
    assert facts(lines[0])["age"] == "5"
    assert len(client("CLIENT", "LIST", "ID", other.session.id, 12345).text.splitlines()) == 1
    assert len(client("CLIENT", "LIST", "TYPE", "normal").text.splitlines()) == 2
    assert client("CLIENT", "LIST", "TYPE", "pubsub").text == b""


def test_setinfo(client: Client) -> None:
    assert client.raw("CLIENT", "SETINFO", "lib-name", "a b") == (
        b"-ERR lib-name cannot contain spaces, newlines or special characters.\r\n"
    )
    assert client.raw("CLIENT", "SETINFO", "what", "x") == b"-ERR Unrecognized option 'what'\r\n"
    client("CLIENT", "SETINFO", "LIB-NAME", "redis-py")
    client("CLIENT", "SETINFO", "lib-ver", "5.1")
    shown = facts(client("CLIENT", "INFO").text)
    assert (shown["lib-name"], shown["lib-ver"]) == ("redis-py", "5.1")


def test_kill_forgets_at_once(harness: Harness, client: Client) -> None:
    other = harness.connect()
    closed: list[bool] = []
    other.session.close = lambda: closed.append(True)
    other("BLPOP", "l", 0)
    assert client("CLIENT", "KILL", "ID", other.session.id) == 1
    assert closed and not other.session.blocked and harness.engine.blocked_clients == 0
    assert client("CLIENT", "KILL", "ID", other.session.id) == 0
    assert client("CLIENT", "KILL", "ID", client.session.id) == 0
    assert client("CLIENT", "KILL", "ID", client.session.id, "SKIPME", "no") == 1
    assert client.session.close_after_reply


def test_unblock(harness: Harness, client: Client) -> None:
    other = harness.connect()
    for reason, sent in (("TIMEOUT", b"*-1\r\n"), ("ERROR", b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n")):
        other("BLPOP", "l", 0)
        assert client("CLIENT", "UNBLOCK", other.session.id, reason) == 1
        assert other.sent() == sent
    assert client("CLIENT", "UNBLOCK", other.session.id) == 0


def test_reply_off_and_skip(client: Client) -> None:
    assert client.raw("CLIENT", "REPLY", "OFF") == b"" and client.session.reply_mode == "off"
    assert client.raw("CLIENT", "REPLY", "SKIP") == b"" and client.session.reply_mode == "off"
    assert client.raw("CLIENT", "REPLY", "ON") == b"+OK\r\n"
    assert client.raw("CLIENT", "REPLY", "SKIP") == b"" and client.session.special


def test_pause_holds_and_releases_in_order(harness: Harness, client: Client) -> None:
    first, second = harness.connect(), harness.connect()
    client("CLIENT", "PAUSE", 1000, "WRITE")
    first("SET", "k", "1")
    second("SET", "k", "2")
    assert first.session.blocked and second.session.blocked and client("GET", "k") is None
    assert client("CLIENT", "UNBLOCK", first.session.id) == 0
    harness.advance(999)
    assert first.sent() == b""
    harness.advance(1)
    assert first.sent() == second.sent() == b"+OK\r\n" and client("GET", "k") == b"2"
    assert not harness.engine.special and harness.engine.blocked_clients == 0


def test_pause_all_and_unpause(harness: Harness, client: Client) -> None:
    other = harness.connect()
    client("CLIENT", "PAUSE", 1000)
    client("GET", "k")
    assert client.session.blocked
    client.session.close()
    harness.advance(1000)
    assert client.sent() == b"$-1\r\n"
    client("CLIENT", "PAUSE", 100_000, "WRITE")
    other("SET", "k", "v")
    assert client.raw("CLIENT", "UNPAUSE") == b"+OK\r\n"
    assert other.sent() == b"+OK\r\n" and not other.session.blocked


def test_pause_grows_longer_and_stricter_only(harness: Harness, client: Client) -> None:
    other = harness.connect()
    client("CLIENT", "PAUSE", 1000, "WRITE")
    client("CLIENT", "PAUSE", 10, "WRITE")
    harness.advance(500)
    other("SET", "k", "v")
    assert other.session.blocked
    client("CLIENT", "PAUSE", 1000, "ALL")
    client("GET", "k")
    assert client.session.blocked
    harness.advance(1000)
    assert client.sent() == b"$1\r\nv\r\n"


def test_pause_is_over_for_a_client_that_left(harness: Harness, client: Client) -> None:
    other = harness.connect()
    client("CLIENT", "PAUSE", 1000, "WRITE")
    other("SET", "k", "v")
    client("CLIENT", "KILL", "ID", other.session.id)
    harness.advance(1000)
    assert client("GET", "k") is None
