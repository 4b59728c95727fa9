"""Pub/Sub, compared byte for byte with redis-server in both protocols."""

from __future__ import annotations

import pytest
from fakes import Client, Harness
from oracle import Oracle, Pair, Wire

SCRIPT = (
    "SUBSCRIBE a b", "SUBSCRIBE a", "PSUBSCRIBE n* m?", "SSUBSCRIBE s1", "PING", "PING x", "UNSUBSCRIBE b nothing",
    "PUNSUBSCRIBE m?", "SUNSUBSCRIBE", "SUNSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "UNSUBSCRIBE",
    "PUNSUBSCRIBE", "PING",
)  # fmt: skip


def replies(wire: Wire, line: str) -> bytes:
    """All replies to one command: a PING behind it, which the caller does not see, marks their end."""
    data = wire(*line.split(" "))
    wanted = max(1, len(line.split(" ")) - 1) if "SUBSCRIBE" in line else 1
    return data + b"".join(wire.read() for _ in range(wanted - 1))


@pytest.mark.parametrize("protocol", [2, 3])
def test_subscribing(harness: Harness, oracle: Oracle, protocol: int) -> None:
    theirs = Wire(oracle.socket.getpeername()[1])
    theirs("HELLO", protocol)
    ours = harness.client
    ours.session.set_protocol(protocol)
    for line in SCRIPT:
        assert ours.raw(*line.split(" ")) == replies(theirs, line), line
    theirs.close()


@pytest.mark.parametrize("protocol", [2, 3])
def test_messages(harness: Harness, oracle: Oracle, protocol: int) -> None:
    both = Pair(oracle, harness)
    theirs, ours = Wire(oracle.socket.getpeername()[1]), harness.connect()
    theirs("HELLO", protocol)
    ours.session.set_protocol(protocol)
    for line in ("SUBSCRIBE news", "PSUBSCRIBE n?ws", "SSUBSCRIBE news"):
        theirs(*line.split())
        ours(*line.split())
    both.check("PUBLISH", "news", "hello")
    expected = theirs.read() + theirs.read()
    assert ours.sent() == expected
    both.check("SPUBLISH", "news", "sharded")
    assert ours.sent() == theirs.read()
    both.check("PUBLISH", "other", "x")
    both.check("PUBSUB", "CHANNELS")
    both.check("PUBSUB", "CHANNELS", "n*")
    both.check("PUBSUB", "CHANNELS", "x*")
    both.check("PUBSUB", "NUMSUB", "news", "other")
    both.check("PUBSUB", "NUMSUB")
    both.check("PUBSUB", "SHARDCHANNELS")
    both.check("PUBSUB", "SHARDCHANNELS", "x*")
    both.check("PUBSUB", "SHARDNUMSUB", "news")
    both.check("PUBSUB", "NOPE")
    both.check("PUBSUB", "NUMPAT", "x")
    assert harness.client("PUBSUB", "NUMPAT") == 1
    theirs.close()
    both.close()


def test_resp2_subscriber_may_do_little_else(harness: Harness, oracle: Oracle) -> None:
    theirs = Wire(oracle.socket.getpeername()[1])
    for line in ("SUBSCRIBE a", "GET k", "CLIENT ID", "PUBLISH a b", "MULTI", "HELLO 3", "RESET", "GET k", "QUIT"):
        assert harness.client.raw(*line.split()) == theirs(*line.split()), line
    theirs.close()


def test_a_message_to_oneself_follows_the_reply(client: Client) -> None:
    client("HELLO", 3)
    client("SUBSCRIBE", "a")
    message = b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n"
    assert client.raw("PUBLISH", "a", "x") == b":1\r\n" + message
    client("MULTI")
    client("PUBLISH", "a", "x")
    client("PING")
    assert client.raw("EXEC") == b"*2\r\n:1\r\n+PONG\r\n" + message


def test_messages_come_even_when_replies_do_not(harness: Harness, client: Client) -> None:
    client("CLIENT", "REPLY", "OFF")
    client("SUBSCRIBE", "a")
    client.session.out.clear()
    harness.connect()("PUBLISH", "a", "x")
    assert client.sent() == b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n"


def test_subscribing_inside_a_transaction(harness: Harness, oracle: Oracle) -> None:
    theirs = Wire(oracle.socket.getpeername()[1])
    for line in ("MULTI", "SUBSCRIBE a", "EXEC", "PING"):
        assert harness.client.raw(*line.split()) == theirs(*line.split()), line
    theirs.close()


def test_who_leaves_is_forgotten(harness: Harness, client: Client) -> None:
    other = harness.connect()
    for line in ("SUBSCRIBE a", "PSUBSCRIBE b", "SSUBSCRIBE c"):
        other(*line.split())
    harness.engine.forget(other.session)
    pubsub = harness.engine.pubsub
    assert not (pubsub.channels or pubsub.patterns or pubsub.shard_channels)
    assert client("PUBLISH", "b", "x") == 0
