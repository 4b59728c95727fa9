"""Keyspace notifications: their classes, their letters, their messages."""

from __future__ import annotations

import pytest
from fakes import Client, Harness
from oracle import Oracle

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
