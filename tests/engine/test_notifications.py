"""Keyspace notifications: their classes, their letters, their messages."""

from __future__ import annotations

import pytest
from fakes import Client, Harness
from oracle import Oracle, Wire

from ferrite_hooks.engine.command import all_commands
from ferrite_hooks.engine.pubsub import CLASS_OF, notify_flags, notify_text


def test_every_declared_event_has_a_class() -> None:
    declared = {event for made in all_commands() for event in made.events}
    unknown = declared - set(CLASS_OF) - {"silent", "flushdb", "swapdb"}  # for webhooks only
    assert not unknown, f"notification events without a class: {sorted(unknown)}"


@pytest.mark.parametrize(
    "text",
    ["", "KEA", "g$lshzxetdKE", "Eg", "xE", "AKEn", "nK", "mK", "Km", "KEAm", "K$lz", "d", "Ag"],
)
def test_letters_are_shown_as_redis_shows_them(oracle: Oracle, text: str) -> None:
    oracle("CONFIG", "SET", "notify-keyspace-events", text)
    shown = oracle("CONFIG", "GET", "notify-keyspace-events").split(b"\r\n")[4].decode()
    assert notify_text(notify_flags(text)) == shown


def test_unknown_letters_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown"):
        notify_flags("KEq")


def test_messages_name_key_and_event(harness: Harness, client: Client) -> None:
    other = harness.connect()
    other("PSUBSCRIBE", "__key*")
    harness.engine.notify_flags = notify_flags("KE$")
    harness.engine.observe_all()
    client("SET", "k", "v")
    client("RPUSH", "l", "x")
    sent = other.sent()
    assert b"__keyspace@0__:k\r\n$3\r\nset" in sent and b"__keyevent@0__:set\r\n$1\r\nk" in sent
    assert b"rpush" not in sent


@pytest.mark.parametrize("flags", ["KEAnm", "En", "Em"])
def test_new_and_missing_keys_are_told_as_redis_tells_them(harness: Harness, oracle: Oracle, flags: str) -> None:
    theirs, ours = Wire(oracle.socket.getpeername()[1]), harness.connect()
    theirs("PSUBSCRIBE", "__key*", "end")
    ours("PSUBSCRIBE", "__key*", "end")
    oracle("CONFIG", "SET", "notify-keyspace-events", flags)
    harness.client("CONFIG", "SET", "notify-keyspace-events", flags)
    ours.sent()
    for line in ("GET k", "SET k v", "SET k w", "RPUSH l a", "RPUSH l b", "HSET h f v", "RENAME k k2", "RENAME l k2",
                 "LPOP k2 2", "GET k2", "SADD s a", "COPY s s2", "PUBLISH end x"):  # fmt: skip
        oracle(*line.split())
        harness.client(*line.split())
    expected = theirs.read()
    while b"$3\r\nend\r\n$1\r\nx" not in expected:
        expected += theirs.read()
    theirs.close()
    oracle("CONFIG", "SET", "notify-keyspace-events", "")
    assert ours.sent() == expected[expected.index(b"*4") :]
