"""Transactions, compared with redis-server: what aborts, what runs, and what each command answers inside."""

from __future__ import annotations

from fakes import Client, Harness
from oracle import Oracle, Pair, Wire

from ferrite_hooks.errors import ReplyError
from ferrite_hooks.resp.reply import NIL_ARRAY


def test_replies(harness: Harness, oracle: Oracle) -> None:
    both = Pair(oracle, harness)
    for line in (
        "EXEC", "DISCARD", "MULTI", "MULTI", "WATCH a", "SET k v", "GET k", "LPUSH k x", "EXEC", "GET k",
        "MULTI", "EXEC", "MULTI", "SET k w", "DISCARD", "GET k", "UNWATCH",
        "MULTI", "NOPE", "SET k z", "EXEC", "GET k", "MULTI", "GET", "EXEC",
        "MULTI", "EXEC x", "EXEC", "MULTI", "BLPOP nolist 0", "EXEC",
        "MULTI", "SELECT 3", "SET other db", "EXEC", "GET other", "SELECT 0",
        "WATCH k", "MULTI", "GET k", "EXEC", "WATCH k", "SET k changed", "MULTI", "GET k", "EXEC",
        "WATCH k", "SET k again", "UNWATCH", "MULTI", "GET k", "EXEC",
        "EXEC x", "MULTI", "SSUBSCRIBE s", "SUBSCRIBE c", "EXEC", "EXEC", "RESET", "WATCH k", "EXEC x",
        "MULTI", "UNWATCH", "PING", "ECHO x", "EXEC", "MULTI", "RESET", "EXEC", "MULTI", "QUIT",
    ):  # fmt: skip
        both.check(*line.split(" "))
    both.close()


def test_another_client_breaks_the_watch(harness: Harness, oracle: Oracle) -> None:
    both = Pair(oracle, harness)
    rival, theirs = harness.connect(), Wire(oracle.socket.getpeername()[1])
    for change in (("SET", "k", "1"), ("DEL", "k"), ("DEL", "k"), ("FLUSHALL",), ("SET", "other", "1")):
        if change[0] == "FLUSHALL":
            both.check("SET", "k", "v")
        both.check("WATCH", "k", "absent")
        theirs(*change)
        if change[0] in ("DEL", "FLUSHALL"):
            db = rival.session.db
            _ = db.drop(b"k") if change[0] == "DEL" else db.clear()
        else:
            rival(*change)
        both.check("MULTI")
        both.check("PING")
        both.check("EXEC")
    theirs.close()
    both.close()


def test_of_a_stream_only_entries_break_the_watch(harness: Harness, oracle: Oracle) -> None:
    both = Pair(oracle, harness)
    for line in (
        "XGROUP CREATE s g 0 MKSTREAM", "XADD s 1-1 a b", "XADD s 2-1 a b", "XADD s NOMKSTREAM 3-1 a b",
        "XGROUP CREATE s other 0", "XGROUP SETID s g 1-1", "XGROUP CREATECONSUMER s g c",
        "XREADGROUP GROUP g c STREAMS s >", "XREADGROUP GROUP g new STREAMS s 0", "XACK s g 2-1",
        "XCLAIM s g newer 0 3-1", "XAUTOCLAIM s g newest 0 0 JUSTID", "XGROUP DELCONSUMER s g newest", "XDEL s 9-9",
        "XDEL s 1-1", "XTRIM s MAXLEN 9", "XTRIM s MAXLEN 1", "XSETID s 5-5", "XGROUP DESTROY s other",
    ):  # fmt: skip
        both.check("WATCH", "s")
        both.check(*line.split(" "))
        both.check("MULTI")
        both.check("PING")
        both.check("EXEC")
    both.close()


def test_a_watched_key_that_expires_breaks_the_watch(harness: Harness, client: Client) -> None:
    client("SET", "k", "v")
    client("GETEX", "k", "PX", 10)
    client("WATCH", "k")
    harness.clock.advance(11)  # and no timer has run: nobody has touched it
    client("MULTI")
    assert client("EXEC") is NIL_ARRAY
    assert client.session.watching == set() and not client.session.db.watched


def test_a_key_that_was_past_its_time_does_not(harness: Harness, client: Client) -> None:
    client("SET", "k", "v")
    client("GETEX", "k", "PX", 10)
    harness.clock.advance(11)
    client("WATCH", "k")
    client("MULTI")
    client("PING")
    assert client("EXEC") != NIL_ARRAY


def test_events_and_effects_stay_together(harness: Harness, client: Client) -> None:
    harness.capture_all()
    client("MULTI")
    client("SET", "a", 1)
    client("SET", "b", 2)
    assert harness.effects() == []
    client("EXEC")
    effects, changes = harness.engine.drain()
    assert [effect[0] for effect in effects] == [b"SELECT", b"SET", b"SET"]
    assert changes[0].transaction and {change.transaction for change in changes} == {changes[0].transaction}
    client("SET", "c", 3)
    (change,) = harness.engine.drain()[1]
    assert change.transaction == 0


def test_blocked_clients_are_served_after_exec(harness: Harness, client: Client) -> None:
    other = harness.connect()
    other("BLPOP", "l", 0)
    client("MULTI")
    client("RPUSH", "l", "a")
    client("LPUSH", "l", "b")
    assert client("EXEC") == [1, 2]
    assert other.sent() == b"*2\r\n$1\r\nl\r\n$1\r\nb\r\n"


def test_an_exec_that_is_refused_ends_the_transaction(harness: Harness, client: Client) -> None:
    client("MULTI")
    client("SET", "k", "v")
    harness.engine.write_error = "No space left on device"
    harness.engine.refresh()
    reply = client("EXEC")
    assert isinstance(reply, ReplyError)
    assert reply.text.startswith("EXECABORT Transaction discarded because of: MISCONF")
    assert client.session.queue is None


def test_exec_waits_for_a_write_pause(harness: Harness, client: Client) -> None:
    other = harness.connect()
    other("MULTI")
    other("SET", "k", "v")
    client("CLIENT", "PAUSE", 100, "WRITE")
    other("EXEC")
    assert other.session.blocked and client("GET", "k") is None
    harness.advance(100)
    assert other.sent() == b"*1\r\n+OK\r\n"


def test_a_client_that_leaves_watches_nothing(harness: Harness, client: Client) -> None:
    client("WATCH", "k")
    assert client.session.db.observed
    harness.engine.forget(client.session)
    assert not client.session.db.watched and not client.session.db.observed
