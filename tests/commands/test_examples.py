"""The three commands that set the pattern: a string read with a TTL change, a shrinking collection, a
blocking pop."""

from __future__ import annotations

from fakes import Client, Harness
from oracle import Oracle, Pair

from ferrite_hooks.engine.command import COMMANDS


def test_getex(harness: Harness, oracle: Oracle) -> None:
    both = Pair(oracle, harness)
    both.check("GETEX", "k")
    both.check("SET", "k", "v")
    both.check("GETEX", "k", "EX", 100)
    both.check("GETEX", "k", "PERSIST")
    both.check("GETEX", "k", "PERSIST")
    both.check("GETEX", "k", "EX")
    both.check("GETEX", "k", "EX", 0)
    both.check("GETEX", "k", "EX", "x")
    both.check("GETEX", "k", "PX", 2**63 - 1)
    both.check("GETEX", "k", "EXAT", 1)
    both.check("GETEX")
    both.check("HSET", "h", "f", "v")
    both.check("GETEX", "h", "EX", 100)
    assert [event for event, _ in both.events()] == ["set", "expire", "persist", "del", "hset"]
    both.close()


def test_getex_effects(harness: Harness, client: Client) -> None:
    client("SET", "k", "v")
    harness.effects()
    client("GETEX", "k", "EX", 100)
    assert harness.effects() == [[b"PEXPIREAT", b"k", b"%d" % (harness.clock.now + 100_000)]]
    harness.advance(100_001)
    assert client("GET", "k") is None
    assert harness.effects() == [[b"DEL", b"k"]]


def test_hdel(harness: Harness, oracle: Oracle) -> None:
    both = Pair(oracle, harness)
    both.check("HDEL", "h", "f")
    both.check("HSET", "h", "a", "1", "b", "2")
    both.check("HDEL", "h", "a", "a", "nope")
    both.check("HDEL", "h", "b")
    both.check("HDEL", "h")
    both.check("SET", "s", "v")
    both.check("HDEL", "s", "f")
    assert [event for event, _ in both.events()] == ["hset", "hdel", "hdel", "del", "set"]
    both.close()


def test_hdel_change_shows_what_was_removed(harness: Harness, client: Client) -> None:
    client("HSET", "h", "a", "1", "b", "2")
    harness.capture_all()
    client("HDEL", "h", "a", "nope")
    _, (change,) = harness.engine.drain()
    assert (change.event, change.key, change.new, change.old) == ("hdel", b"h", None, ("hash", [b"a", b"1"]))
    assert (change.command, change.client, change.ip) == ("HDEL", client.session.id, "127.0.0.1")


def test_blpop(harness: Harness, oracle: Oracle) -> None:
    both = Pair(oracle, harness)
    both.check("RPUSH", "l", "a", "b")
    both.check("BLPOP", "nope", "l", 0)
    both.check("BLPOP", "l", 0.5)
    both.check("BLPOP", "l", -1)
    both.check("BLPOP", "l", "x")
    both.check("SET", "s", "v")
    both.check("BLPOP", "s", 0)
    assert [event for event, _ in both.events()] == ["rpush", "lpop", "lpop", "del", "set"]
    both.close()


def test_blpop_waits_and_is_served_in_order(harness: Harness, client: Client) -> None:
    first, second = harness.connect(), harness.connect()
    first("BLPOP", "l", 0)
    second("BLPOP", "l", 0)
    assert first.session.blocked and second.session.blocked
    harness.capture_all()
    client("RPUSH", "l", "a")
    assert first.sent() == b"*2\r\n$1\r\nl\r\n$1\r\na\r\n"
    assert second.session.blocked
    effects, changes = harness.engine.drain()
    assert effects == [[b"SELECT", b"0"], [b"RPUSH", b"l", b"a"], [b"LPOP", b"l"]]
    assert [(c.event, c.client) for c in changes] == [
        ("rpush", client.session.id), ("lpop", first.session.id), ("del", first.session.id),
    ]  # fmt: skip


def test_blpop_times_out(harness: Harness, client: Client) -> None:
    client("BLPOP", "l", 0.5)
    harness.advance(499)
    assert client.session.blocked
    harness.advance(1)
    assert client.sent() == b"*-1\r\n" and not client.session.blocked


def test_command_facts_equal_redis(oracle: Oracle) -> None:
    for name in ("GETEX", "HDEL", "BLPOP"):
        made = COMMANDS[name.encode()]
        reply = oracle("COMMAND", "INFO", name)
        assert b":%d\r\n" % made.arity in reply
        for flag in made.flags:
            assert b"+%b\r\n" % flag.encode() in reply
        for category in made.acl:
            assert b"+@%b\r\n" % category.encode() in reply
