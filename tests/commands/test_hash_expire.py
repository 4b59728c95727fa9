"""Fields with a time to live. No redis-server here knows them (7.4, 8.0), so the replies are written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes import Client, Harness
from histories import apply, contents, replay
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Word

from ferrite_hooks.engine.expiry import Expiry
from ferrite_hooks.errors import ReplyError
from ferrite_hooks.resp.reply import NIL_ARRAY
from ferrite_hooks.store.rdb_read import RdbFile
from ferrite_hooks.store.rdb_write import write_rdb
from ferrite_hooks.values.collections import Hash
from ferrite_hooks.values.encoding import encoding

LATEST = 70368744177663


@pytest.fixture
def h(client: Client) -> Client:
    client("HSET", "h", "a", "1", "b", "2", "c", "3")
    return client


def times(harness: Harness, key: bytes = b"h") -> dict[bytes, int]:
    value = harness.engine.databases[0].data[key]
    return value.times.when if value.times is not None else {}


def test_the_four_ways_to_say_when(harness: Harness, h: Client) -> None:
    now = harness.clock.now
    assert h("HEXPIRE", "h", 10, "FIELDS", 1, "a") == [1]
    assert h("HPEXPIRE", "h", 10, "FIELDS", 2, "b", "none") == [1, -2]
    assert times(harness) == {b"a": now + 10_000, b"b": now + 10}
    assert h("HEXPIREAT", "h", now // 1000 + 9, "FIELDS", 1, "a") == [1]
    assert h("HPEXPIREAT", "h", now + 7001, "FIELDS", 1, "b") == [1]
    assert times(harness) == {b"a": (now // 1000 + 9) * 1000, b"b": now + 7001}
    fields = ("FIELDS", 4, "a", "b", "c", "none")
    assert h("HPEXPIRETIME", "h", *fields) == [(now // 1000 + 9) * 1000, now + 7001, -1, -2]
    assert h("HEXPIRETIME", "h", *fields) == [now // 1000 + 9, (now + 7001 + 999) // 1000, -1, -2]
    assert h("HPTTL", "h", "FIELDS", 2, "b", "c") == [7001, -1]
    assert h("HTTL", "h", "FIELDS", 2, "b", "c") == [8, -1]
    for name in ("HTTL", "HPTTL", "HEXPIRETIME", "HPEXPIRETIME", "HPERSIST"):
        assert h(name, "none", "FIELDS", 2, "a", "b") == [-2, -2]
    assert h("HEXPIRE", "none", 10, "FIELDS", 1, "a") == [-2] and h("EXISTS", "none") == 0


def test_conditions(harness: Harness, h: Client) -> None:
    assert h("HPEXPIRE", "h", 1000, "XX", "FIELDS", 1, "a") == [0]
    assert h("HPEXPIRE", "h", 1000, "GT", "FIELDS", 1, "a") == [0]
    assert h("HPEXPIRE", "h", 1000, "LT", "FIELDS", 1, "a") == [1]
    assert h("HPEXPIRE", "h", 1000, "nx", "FIELDS", 2, "a", "b") == [0, 1]
    assert h("HPEXPIRE", "h", 500, "GT", "FIELDS", 2, "a", "b") == [0, 0]
    assert h("HPEXPIRE", "h", 500, "LT", "FIELDS", 2, "a", "a") == [1, 0]
    assert h("HPEXPIRE", "h", 2000, "XX", "FIELDS", 2, "b", "c") == [1, 0]
    assert h("HPEXPIRE", "h", 0, "NX", "FIELDS", 2, "b", "c") == [0, 2]
    assert h("HGETALL", "h") == {b"a": b"1", b"b": b"2"}


@pytest.mark.parametrize("words, error", [
    (("HEXPIRE", "h", "x", "FIELDS", 1, "a"), "value is not an integer or out of range"),
    (("HEXPIRE", "h", -1, "FIELDS", 1, "a"), "invalid expire time, must be >= 0"),
    (("HPEXPIREAT", "h", LATEST + 1, "FIELDS", 1, "a"), "invalid expire time in 'hpexpireat' command"),
    (("HEXPIRE", "h", LATEST // 1000, "FIELDS", 1, "a"), "invalid expire time in 'hexpire' command"),
    (("HEXPIRE", "h", 1, "FELDS", 1, "a"), "Mandatory argument FIELDS is missing or not at the right position"),
    (("HEXPIRE", "h", 1, "FIELDS", 0, "a"), "Parameter `numFields` should be greater than 0"),
    (("HEXPIRE", "h", 1, "FIELDS", "x", "a"), "Parameter `numFields` should be greater than 0"),
    (("HEXPIRE", "h", 1, "FIELDS", 2, "a"), "The `numfields` parameter must match the number of arguments"),
    (("HEXPIRE", "h", 1, "NX", "FIELDS", 1), "The `numfields` parameter must match the number of arguments"),
    (("HEXPIRE", "s", 1, "FIELDS", 1, "a"), "Operation against a key holding the wrong kind of value"),
    (("HTTL", "h", "FIELDS", 0, "a"), "Number of fields must be a positive integer"),
    (("HTTL", "h", "FIELDS", 3, "a"), "The `numfields` parameter must match the number of arguments"),
    (("HPERSIST", "h", "X", 1, "a"), "Mandatory argument FIELDS is missing or not at the right position"),
    (("HGETDEL", "h", "FIELDS", 2, "a"), "The `numfields` parameter must match the number of arguments"),
    (("HGETEX", "h", "EX", "FIELDS", 1, "a"), "value is not an integer or out of range"),
    (("HGETEX", "h", "EX", 1, "FIELDS"), "wrong number of arguments for 'hgetex' command"),
    (("HGETEX", "h", "KEEPTTL", "FIELDS", 1, "a"), "Mandatory argument FIELDS is missing or not at the right"),
    (("HSETEX", "h", "EX", 1, "PX", 1, "FIELDS", 1, "a", "v"), "Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments"),
    (("HSETEX", "h", "FNX", "FXX", "FIELDS", 1, "a", "v"), "Only one of FXX or FNX arguments can be specified"),
    (("HSETEX", "h", "FIELDS", 0, "a", "v"), "invalid number of fields"),
    (("HSETEX", "h", "FIELDS", 2, "a", "v"), "wrong number of arguments for 'hsetex' command"),
    (("HSETEX", "h", "PERSIST", "FIELDS", 1, "a", "v"), "unknown argument: PERSIST"),
    (("HSETEX", "h", "KEEPTTL", "FXX", "FNX", "EX"), "Only one of FXX or FNX arguments can be specified"),
    (("HSETEX", "h", "FXX", "PX", 1, "PX"), "Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments"),
])  # fmt: skip
def test_errors(harness: Harness, h: Client, words: tuple[Word, ...], error: str) -> None:
    h("SET", "s", "v")
    before = contents(harness)
    reply = h(*words)
    assert type(reply) is ReplyError and error in reply.text
    assert contents(harness) == before and not times(harness)


def test_what_keeps_a_time_to_live_and_what_ends_it(harness: Harness, h: Client) -> None:
    def timed(*fields: bytes) -> bool:
        return times(harness).keys() == set(fields)

    h("HPEXPIRE", "h", 1000, "FIELDS", 3, "a", "b", "c")
    h("HINCRBY", "h", "a", 1)
    h("HINCRBYFLOAT", "h", "a", "0.5")
    h("HSETEX", "h", "KEEPTTL", "FIELDS", 1, "a", "x")
    h("HSETNX", "h", "a", "y")
    assert timed(b"a", b"b", b"c")
    h("HSET", "h", "a", "x")
    assert timed(b"b", b"c")
    h("HSETEX", "h", "FIELDS", 1, "b", "x")
    assert timed(b"c")
    assert h("HPERSIST", "h", "FIELDS", 4, "c", "c", "a", "none") == [1, -1, -1, -2]
    assert timed()
    h("HPEXPIRE", "h", 1000, "FIELDS", 1, "c")
    h("HDEL", "h", "c")
    h("HSET", "h", "c", "again")
    assert timed()


def test_a_field_expires_by_the_timer(harness: Harness, h: Client) -> None:
    harness.capture_all()
    h("HPEXPIRE", "h", 100, "FIELDS", 1, "a")
    h("HPEXPIRE", "h", 50, "FIELDS", 1, "b")
    h("HPEXPIRE", "h", 5000, "FIELDS", 1, "c")
    harness.engine.drain()
    harness.advance(50)
    assert harness.events() == []
    harness.advance(1)
    effects, changes = harness.engine.drain()
    assert effects[1:] == [[b"HDEL", b"h", b"b"]]
    assert [(c.event, c.old, c.command) for c in changes] == [("hexpired", ("hash", [b"b", b"2"]), "")]
    harness.advance(100)
    assert harness.events() == [("hexpired", b"h")] and h("HGETALL", "h") == {b"c": b"3"}
    harness.advance(5000)
    assert harness.events() == [("hexpired", b"h"), ("del", b"h")] and h("EXISTS", "h") == 0
    assert harness.engine.stats.expired_fields == 3 and not harness.engine.databases[0].timed_hashes


def test_an_overdue_field_is_gone_when_it_is_touched(harness: Harness, h: Client) -> None:
    harness.engine.expiry.active = False
    harness.capture_all()
    h("HPEXPIRE", "h", 10, "FIELDS", 2, "a", "b")
    h("HSCAN", "h", 0)
    harness.advance(11)
    assert harness.engine.databases[0].data[b"h"].keys() == {b"a", b"b", b"c"}
    harness.events()
    assert h("HGET", "h", "a") is None
    assert harness.events() == [("hexpired", b"h")]
    assert (h("HLEN", "h"), h("HSCAN", "h", 0)) == (1, [b"0", [b"c", b"3"]])
    h("HPEXPIRE", "h", 10, "FIELDS", 1, "c")
    harness.advance(11)
    assert h("HSET", "h", "c", "new") == 1
    assert harness.events()[-3:] == [("hexpired", b"h"), ("del", b"h"), ("hset", b"h")]
    assert h("HTTL", "h", "FIELDS", 1, "c") == [-1]


def test_overdue_fields_are_hidden_while_writes_are_paused(harness: Harness, h: Client) -> None:
    h("HPEXPIRE", "h", 10, "FIELDS", 2, "a", "b")
    h("CLIENT", "PAUSE", 1000, "WRITE")
    harness.engine.drain()
    harness.advance(11)
    assert h("HGETALL", "h") == {b"c": b"3"} and harness.effects() == []
    harness.advance(1100)
    assert harness.effects() == [[b"HDEL", b"h", b"a", b"b"]]


def test_many_fields_go_in_slices(harness: Harness, client: Client) -> None:
    client("HSET", "h", "stays", "v", *(word for i in range(1000) for word in (f"f{i}", "v")))
    client("HPEXPIRE", "h", 10, "FIELDS", 1000, *(f"f{i}" for i in range(1000)))
    harness.effects()
    harness.advance(11)
    slices = [len(effect) - 2 for effect in harness.effects()]
    assert sum(slices) == 1000 and max(slices) == 200
    assert harness.engine.databases[0].data[b"h"] == {b"stays": b"v"} and not harness.engine.databases[0].timed_hashes


@pytest.mark.parametrize("move", [
    [("RENAME", "h", "k")], [("COPY", "h", "k"), ("DEL", "h")], [("MOVE", "h", 1), ("SELECT", 1), ("RENAME", "h", "k")],
    [("SWAPDB", 0, 1), ("SELECT", 1), ("RENAME", "h", "k")],
])  # fmt: skip
def test_times_go_with_the_hash(harness: Harness, h: Client, move: list[tuple[Word, ...]]) -> None:
    h("HPEXPIRE", "h", 10, "FIELDS", 1, "a")
    for words in move:
        assert type(h(*words)) is not ReplyError
    assert h("HPTTL", "k", "FIELDS", 2, "a", "b") == [10, -1]
    harness.advance(11)
    assert h.session.db.data[b"k"] == {b"b": b"2", b"c": b"3"}


def test_a_copy_has_times_of_its_own(harness: Harness, h: Client) -> None:
    h("HPEXPIRE", "h", 10, "FIELDS", 1, "a")
    h("COPY", "h", "k")
    h("HPERSIST", "k", "FIELDS", 1, "a")
    harness.advance(11)
    data = harness.engine.databases[0].data
    assert data[b"h"].keys() == {b"b", b"c"} and data[b"k"].keys() == {b"a", b"b", b"c"}


def test_dump_and_restore(harness: Harness, h: Client) -> None:
    now = harness.clock.now
    h("HPEXPIRE", "h", 10, "FIELDS", 1, "a")
    h("HPEXPIRE", "h", 70_000, "FIELDS", 1, "b")
    payload = h("DUMP", "h")
    h("RESTORE", "k", 0, payload)
    assert times(harness, b"k") == {b"a": now + 10, b"b": now + 70_000}
    assert encoding(harness.engine.databases[0].data[b"k"], harness.engine.settings) == b"listpackex"
    harness.advance(11)
    assert h("HGETALL", "k") == {b"b": b"2", b"c": b"3"}
    h("RESTORE", "late", 0, payload)
    assert h("HGETALL", "late") == {b"b": b"2", b"c": b"3"}


def test_a_snapshot_keeps_times(harness: Harness, h: Client, tmp_path: Path) -> None:
    h("HPEXPIRE", "h", 70_000, "FIELDS", 2, "a", "b")
    h("HSET", "plain", "f", "v")
    db = harness.engine.databases[0]
    write_rdb(tmp_path / "x", [(0, db.data, db.expires)], {})
    with RdbFile(tmp_path / "x") as rdb:
        again = {key: value for _, key, value, _ in rdb.entries()}
    assert again == db.data and again[b"plain"].times is None
    assert again[b"h"].times.when == times(harness)
    other = Harness()
    for key, value in again.items():
        other.engine.databases[0].place(key, value)
    other.advance(70_001)
    assert other.engine.databases[0].data == {b"h": {b"c": b"3"}, b"plain": {b"f": b"v"}}


def test_hgetdel(harness: Harness, h: Client) -> None:
    harness.capture_all()
    assert h("HGETDEL", "h", "FIELDS", 3, "a", "none", "a") == [b"1", None, None]
    assert harness.events() == [("hdel", b"h")]
    assert h("HGETDEL", "h", "FIELDS", 2, "b", "c") == [b"2", b"3"]
    assert harness.events() == [("hdel", b"h"), ("del", b"h")]
    assert h("HGETDEL", "h", "FIELDS", 1, "a") == [None] and harness.events() == []


def test_hgetex(harness: Harness, h: Client) -> None:
    now = harness.clock.now
    harness.capture_all()
    assert h("HGETEX", "h", "FIELDS", 2, "a", "none") == [b"1", None]
    assert h("HGETEX", "h", "PERSIST", "FIELDS", 1, "a") == [b"1"]
    assert h("HGETEX", "h", "EX", 10, "FIELDS", 1, "none") == [None] and harness.events() == []
    assert h("HGETEX", "h", "PX", 10, "FIELDS", 2, "a", "b") == [b"1", b"2"]
    assert harness.effects() == [[b"HPEXPIREAT", b"h", b"%d" % (now + 10), b"FIELDS", b"2", b"a", b"b"]]
    assert h("HGETEX", "h", "PERSIST", "FIELDS", 2, "a", "c") == [b"1", b"3"]
    assert harness.effects() == [[b"HPERSIST", b"h", b"FIELDS", b"1", b"a"]]
    assert h("HGETEX", "h", "PXAT", now, "FIELDS", 1, "b") == [b"2"]
    assert harness.events() == [("hdel", b"h")] and h("HEXISTS", "h", "b") == 0


def test_hsetex(harness: Harness, h: Client) -> None:
    now = harness.clock.now
    harness.capture_all()
    assert h("HSETEX", "h", "FNX", "EX", 10, "FIELDS", 2, "a", "x", "d", "y") == 0
    assert h("HSETEX", "h", "FXX", "EX", 10, "FIELDS", 2, "a", "x", "d", "y") == 0
    assert h("HSETEX", "none", "FXX", "FIELDS", 1, "a", "x") == 0 and harness.events() == []
    assert h("HSETEX", "h", "FXX", "PX", 10, "FIELDS", 1, "a", "x") == 1 and times(harness) == {b"a": now + 10}
    assert harness.events() == [("hset", b"h"), ("hexpire", b"h")]
    assert h("HSETEX", "h", "EXAT", 1, "FIELDS", 2, "a", "x", "z", "x") == 1
    assert harness.events() == [("hset", b"h"), ("hdel", b"h")] and h("HKEYS", "h") == [b"b", b"c"]
    assert h("HSETEX", "new", "PXAT", 1, "FIELDS", 1, "a", "x") == 1 and h("EXISTS", "new") == 0
    assert harness.events() == [("hset", b"new"), ("hdel", b"new"), ("del", b"new")]


def test_what_a_webhook_is_shown(harness: Harness, h: Client) -> None:
    now = harness.clock.now
    harness.capture_all()
    h("HPEXPIRE", "h", 10, "FIELDS", 2, "a", "b")
    h("HPERSIST", "h", "FIELDS", 1, "a")
    shown = [(change.new, change.old) for change in harness.engine.drain()[1]]
    when = b"%d" % (now + 10)
    assert shown == [(("hash", [b"a", when, b"b", when]), None), (None, ("hash", [b"a", when]))]


def test_a_field_that_expires_breaks_watch(harness: Harness, h: Client) -> None:
    h("HPEXPIRE", "h", 10, "FIELDS", 1, "a")
    h("WATCH", "h")
    harness.advance(11)
    h("MULTI")
    h("PING")
    assert h("EXEC") is NIL_ARRAY


def test_a_stale_entry_of_the_timer_does_no_harm(harness: Harness, h: Client) -> None:
    assert type(harness.engine.expiry) is Expiry
    for when in range(5000, 100, -1):  # the heap is cleaned up meanwhile
        h("HPEXPIRE", "h", when, "FIELDS", 1, "a")
    h("HPEXPIRE", "h", 9000, "FIELDS", 1, "a")
    harness.advance(8000)
    assert h("HEXISTS", "h", "a") == 1
    h("SET", "h", "a string")
    harness.advance(8000)
    assert h("GET", "h") == b"a string" and not harness.engine.databases[0].timed_hashes


FIELDS = st.lists(st.sampled_from("abc"), min_size=1, max_size=3)
KEYS = st.sampled_from(["h", "k"])
WHEN = st.sampled_from([0, 1, 50, 100, 99999])


def _listed(fields: list[str]) -> tuple[Word, ...]:
    return ("FIELDS", len(fields), *fields)


COMMANDS: st.SearchStrategy[tuple[Word, ...]] = st.one_of(
    st.builds(lambda k, f: ("HSET", k, f, 1), KEYS, st.sampled_from("abc")),
    st.builds(lambda k, f: ("HDEL", k, *f), KEYS, FIELDS),
    st.builds(lambda k, f: ("HINCRBYFLOAT", k, f, "1.5"), KEYS, st.sampled_from("abc")),
    st.builds(lambda k, w, c, f: ("HPEXPIRE", k, w, *c, *_listed(f)), KEYS, WHEN,
              st.sampled_from([(), ("NX",), ("XX",), ("GT",), ("LT",)]), FIELDS),
    st.builds(lambda k, f: ("HPERSIST", k, *_listed(f)), KEYS, FIELDS),
    st.builds(lambda k, f: ("HGETDEL", k, *_listed(f)), KEYS, FIELDS),
    st.builds(lambda k, o, f: ("HGETEX", k, *o, *_listed(f)), KEYS,
              st.sampled_from([(), ("PERSIST",), ("PX", 50), ("PX", 0), ("EX", 1)]), FIELDS),
    st.builds(lambda k, c, o, f: ("HSETEX", k, *c, *o, "FIELDS", len(f), *(w for x in f for w in (x, 7))), KEYS,
              st.sampled_from([(), ("FNX",), ("FXX",)]),
              st.sampled_from([(), ("KEEPTTL",), ("PX", 50), ("PX", 0)]), FIELDS),
    st.sampled_from([("RENAME", "h", "k"), ("COPY", "k", "h", "REPLACE"), ("DEL", "h")]),
)  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(st.lists(COMMANDS, max_size=20))
def test_every_change_has_events_and_effects(history: list[tuple[Word, ...]]) -> None:
    replay(history)


@settings(deadline=None, max_examples=150)
@given(st.lists(COMMANDS | st.sampled_from([("wait", 30), ("wait", 70)]), max_size=20))
def test_time_passes_alike_for_who_follows(history: list[tuple[Word, ...]]) -> None:
    """Times included, and with a model: field -> (value, when)."""
    harness, copy = Harness(), Harness()
    copy.engine.loading = copy.client.session.internal = True
    for words in history:
        if words[0] == "wait":
            harness.advance(int(words[1]))
        else:
            harness.client(*words)
        apply(copy, harness.engine.drain()[0])
        assert timed_contents(copy) == timed_contents(harness), words
        now = harness.clock.now
        for value in harness.engine.databases[0].data.values():
            assert type(value) is Hash and value
            assert value.times is None or all(when >= now for when in value.times.when.values())
            assert value.times is None or value.times.when.keys() <= value.keys()


def timed_contents(harness: Harness) -> dict[bytes, Any]:
    return {
        key: (dict(value), dict(value.times.when) if value.times else {})
        for key, value in harness.engine.databases[0].data.items()
    }


def test_fields_without_a_time_to_live_show_no_old_one_whatever_the_others_have(
    harness: Harness, client: Client
) -> None:
    client("HSET", "h", "a", 1, "b", 2)
    harness.capture_all()
    for field in "ab":  # for the second one the hash has a time to live already, that of the other
        client("HPEXPIRE", "h", 1000, "FIELDS", 1, field)
        (change,) = harness.engine.drain()[1]
        assert change.old is None and change.new[1][0] == field.encode()
