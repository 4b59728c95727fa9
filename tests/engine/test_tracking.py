"""Client-side caching: who is told of which change, in which protocol, and when nobody is."""

from __future__ import annotations

import pytest
from fakes import Client, Harness
from oracle import Oracle, Pair, Wire

from ferrite_hooks.errors import ReplyError


def invalidation(*keys: bytes) -> bytes:
    return b">2\r\n$10\r\ninvalidate\r\n*%d\r\n" % len(keys) + b"".join(b"$%d\r\n%b\r\n" % (len(k), k) for k in keys)


@pytest.fixture
def reader(harness: Harness) -> Client:
    client = harness.connect()
    client("HELLO", 3)
    return client


def test_replies(harness: Harness, oracle: Oracle) -> None:
    both = Pair(oracle, harness, resp=3)
    for line in (
        "GETREDIR", "TRACKINGINFO", "CACHING YES", "CACHING", "TRACKING maybe", "TRACKING ON WHAT",
        "TRACKING ON PREFIX", "TRACKING ON PREFIX a", "TRACKING ON BCAST OPTIN", "TRACKING ON OPTIN OPTOUT",
        "TRACKING ON REDIRECT 99999",
        "TRACKING ON REDIRECT x", "TRACKING ON OPTIN NOLOOP", "TRACKING ON BCAST", "TRACKING ON OPTOUT", "CACHING NO",
        "CACHING YES", "TRACKINGINFO", "CACHING maybe", "TRACKINGINFO", "TRACKING OFF", "TRACKING OFF",
        "TRACKING ON BCAST PREFIX foo PREFIX bar", "TRACKING ON BCAST PREFIX fo",
        "TRACKING ON BCAST PREFIX x PREFIX xy",
        "TRACKINGINFO", "GETREDIR", "TRACKING OFF", "TRACKING ON BCAST", "TRACKINGINFO", "TRACKING OFF",
        "TRACKING ON OPTOUT", "CACHING NO", "TRACKINGINFO", "TRACKING OFF",
    ):  # fmt: skip
        both.check("CLIENT", *line.split())
    assert harness.engine.tracking is None
    both.close()


def test_a_read_key_is_told_once(harness: Harness, client: Client, reader: Client) -> None:
    reader("CLIENT", "TRACKING", "ON")
    reader("GET", "k")
    client("SET", "k", "1")
    assert reader.sent() == invalidation(b"k")
    client("SET", "k", "2")
    assert reader.sent() == b""
    reader("CLIENT", "TRACKING", "OFF")
    assert harness.engine.tracking is None and not client.session.db.observed and harness.engine.observe_from > 0


def test_expiry_and_flush_are_changes(harness: Harness, client: Client, reader: Client) -> None:
    client("SET", "k", "v")
    client("GETEX", "k", "PX", 10)
    reader("CLIENT", "TRACKING", "ON")
    reader("GET", "k")
    harness.advance(12)
    assert reader.sent() == invalidation(b"k")
    client("FLUSHALL")
    assert reader.sent() == b">2\r\n$10\r\ninvalidate\r\n_\r\n"


def test_own_changes_follow_the_reply_unless_noloop(client: Client, reader: Client) -> None:
    reader("CLIENT", "TRACKING", "ON")
    reader("GET", "k")
    assert reader.raw("SET", "k", "1") == b"+OK\r\n" + invalidation(b"k")
    reader("CLIENT", "TRACKING", "OFF")
    reader("CLIENT", "TRACKING", "ON", "NOLOOP")
    reader("GET", "k")
    assert reader.raw("SET", "k", "1") == b"+OK\r\n"
    reader("GET", "k")
    reader("MULTI")
    reader("GET", "k")
    reader("EXEC")
    client("SET", "k", "2")
    assert reader.sent() == invalidation(b"k")


def test_optin_and_optout(client: Client, reader: Client) -> None:
    reader("CLIENT", "TRACKING", "ON", "OPTIN")
    reader("GET", "a")
    reader("CLIENT", "CACHING", "YES")
    reader("GET", "b")
    reader("GET", "c")
    for key in "abc":
        client("SET", key, "x")
    assert reader.sent() == invalidation(b"b")
    reader("CLIENT", "TRACKING", "OFF")
    reader("CLIENT", "TRACKING", "ON", "OPTOUT")
    reader("CLIENT", "CACHING", "NO")
    reader("GET", "a")
    reader("GET", "b")
    for key in "ab":
        client("SET", key, "x")
    assert reader.sent() == invalidation(b"b")


def test_caching_holds_for_a_whole_transaction(client: Client, reader: Client) -> None:
    reader("CLIENT", "TRACKING", "ON", "OPTIN")
    reader("CLIENT", "CACHING", "YES")
    for line in ("MULTI", "GET a", "GET b", "EXEC", "GET c"):
        reader(*line.split())
    for key in "abc":
        client("SET", key, "x")
    assert reader.sent() == invalidation(b"a") + invalidation(b"b")


def test_broadcast_collects_one_command(client: Client, reader: Client) -> None:
    reader("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "u:", "PREFIX", "v:")
    client("MULTI")
    for key in ("u:1", "u:2", "u:1", "w:1"):
        client("SET", key, "x")
    client("EXEC")
    assert reader.sent() == invalidation(b"u:1", b"u:2")
    assert reader.raw("SET", "v:1", "x") == b"+OK\r\n" + invalidation(b"v:1")


def test_redirection_to_a_resp2_subscriber(harness: Harness, client: Client) -> None:
    other = harness.connect()
    client("CLIENT", "TRACKING", "ON", "REDIRECT", other.session.id)
    client("GET", "k")
    harness.connect()("SET", "k", "1")
    assert other.sent() == b""  # it does not subscribe yet
    other("SUBSCRIBE", "__redis__:invalidate")
    other.sent()
    client("GET", "k")
    client("SET", "k", "2")
    assert other.sent() == b"*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n$1\r\nk\r\n"


def test_broken_redirection(harness: Harness, client: Client, reader: Client) -> None:
    other = harness.connect()
    reader("CLIENT", "TRACKING", "ON", "REDIRECT", other.session.id)
    reader("GET", "k")
    client("CLIENT", "KILL", "ID", other.session.id)
    client("SET", "k", "1")
    assert reader.sent() == b">2\r\n$21\r\ntracking-redir-broken\r\n:%d\r\n" % other.session.id
    assert "broken_redirect" in reader("CLIENT", "TRACKINGINFO")[b"flags"].items
    assert b" flags=tR " in reader("CLIENT", "INFO").text


def test_the_table_is_bounded(harness: Harness, client: Client, reader: Client) -> None:
    harness.engine.settings["tracking-table-max-keys"] = 2
    reader("CLIENT", "TRACKING", "ON")
    assert reader.raw("GET", "a") == reader.raw("GET", "b") == b"_\r\n"
    assert reader.raw("GET", "c") == b"_\r\n" + invalidation(b"a")
    tracking = harness.engine.tracking
    assert tracking is not None and tracking.totals == (2, 2, 0)


def test_who_leaves_is_not_told(harness: Harness, client: Client, reader: Client) -> None:
    reader("CLIENT", "TRACKING", "ON")
    reader("GET", "k")
    harness.engine.forget(reader.session)
    client("SET", "k", "1")
    assert harness.engine.tracking is None and reader.sent() == b""


def test_exchange_equals_redis(harness: Harness, oracle: Oracle) -> None:
    theirs, ours = Wire(oracle.socket.getpeername()[1]), harness.connect()
    for words in (("HELLO", 3), ("CLIENT", "TRACKING", "ON"), ("GET", "k"), ("SET", "k", "1")):
        theirs(*words)
        reply = ours.raw(*words)
    assert reply == b"+OK\r\n" + theirs.read()
    theirs.close()


def test_a_write_that_fails_tells_nobody(client: Client, reader: Client) -> None:
    client("RPUSH", "k", "x")
    reader("CLIENT", "TRACKING", "ON")
    reader("GET", "k")
    assert isinstance(client("GETEX", "k"), ReplyError)
    assert reader.sent() == b""


def test_a_client_can_redirect_to_itself(harness: Harness, client: Client, oracle: Oracle) -> None:
    other = harness.connect()
    with Wire(oracle.socket.getpeername()[1]) as theirs:
        number = theirs("CLIENT", "ID")[1:-2]
        for change in (("SET", "k", "v"), ("FLUSHALL",)):
            for peer, mine in ((client.raw, client.session.id), (theirs, number)):
                peer("RESET")
                peer("CLIENT", "TRACKING", "ON", "REDIRECT", mine)
                peer("GET", "k")
                peer("SUBSCRIBE", "__redis__:invalidate")
            other(*change)
            oracle(*change)
            assert client.sent() == theirs.read()
