"""Stream commands against redis-server: raw replies and events, in both protocols."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from fakes import Client, Harness
from oracle import Oracle, Pair

from ferrite_hooks.values import stream as stream_value


def words(line: str) -> list[str]:
    return ["" if word == "''" else word for word in line.split()]


@pytest.fixture(params=[2, 3])
def both(request: pytest.FixtureRequest, harness: Harness, oracle: Oracle) -> Iterator[Pair]:
    pair = Pair(oracle, harness, request.param)
    harness.clock.now = int(time.time() * 1000)
    yield pair
    oracle("HELLO", 2)
    pair.close()


FILL = """
XADD s 1-1 a 1
XADD s 2-0 a 2 b 2
XADD s 2-1 c 3
XADD s 5 a 4
SET str v
"""

WRITES = (
    FILL
    + """
XADD s 5-* a 5
XADD s 7-* a 6
XADD s 7-18446744073709551615 a 7
XADD s 7-3 a 7
XADD s 0-0 a 7
XADD s 0 a 7
XADD new 0-0 a 7
XADD new 0-* a 7
XADD none NOMKSTREAM 1-1 a b
XADD none NOMKSTREAM * a b
XADD s 9-9 a
XADD s 9-9 a b c
XADD s NOMKSTREAM NOMKSTREAM NOMKSTREAM
XADD s MAXLEN 2
XADD s - a b
XADD s + a b
XADD s x a b
XADD s 1-2-3 a b
XADD str 1-1 a b
XADD s MAXLEN 3 9-1 a b
XADD s MAXLEN = 3 9-2 a b
XADD s MAXLEN ~ 3 9-3 a b
XADD s MAXLEN ~ 3 LIMIT 2 9-4 a b
XADD s MINID 9-1 9-5 a b
XADD s MINID ~ 9-1 LIMIT 0 9-6 a b
XADD s MAXLEN 3 MINID 1 9-7 a b
XADD s MINID 3 MAXLEN 1 9-7 a b
XADD s MAXLEN -1 9-7 a b
XADD s MAXLEN x 9-7 a b
XADD s MINID - 9-7 a b
XADD s LIMIT 1 9-7 a b
XADD s LIMIT 0 9-7 a b
XADD s MAXLEN 3 LIMIT 1 9-7 a b
XADD s MAXLEN ~ 3 LIMIT -1 9-7 a b
XADD s MAXLEN ~ 3 LIMIT x 9-7 a b
XADD s MAXLEN 0 9-8 a b
XADD s 10-0 a b
XADD s 18446744073709551615-18446744073709551615 a b
XADD s * a b
XADD s 19-0 a b
XADD s
XADD
XTRIM s MAXLEN 1
XTRIM s MAXLEN = 1
XTRIM s MAXLEN ~ 0
XTRIM s
XTRIM s MAXLEN
XTRIM s LIMIT 1
XTRIM s NOMKSTREAM 1
XTRIM s MAXLEN 1 x
XTRIM s MAXLEN 1 LIMIT 1
XTRIM s MAXLEN ~ 1 LIMIT 0
XTRIM s MINID ~ 11 LIMIT 1
XTRIM s MINID x
XTRIM s MINID 12
XTRIM none MAXLEN 1
XTRIM none MAXLEN x
XTRIM str MAXLEN 1
XADD d 1-1 a b
XADD d 1-2 a b
XADD d 1-3 a b
XDEL d 1-2 1-2 9-9
XDEL d 1-1 x
XDEL d -
XDEL d 1-1 1-3
XDEL none 1-1
XDEL none x
XDEL str x
XDEL d
XLEN d
XLEN none
XLEN str
XSETID d 1-3
XSETID d 5-0 ENTRIESADDED 9 MAXDELETEDID 2-2
XADD d 6-6 a b
XSETID d 6-5
XSETID d 7 ENTRIESADDED 0
XSETID d 7 ENTRIESADDED -1
XSETID d 7 ENTRIESADDED x
XSETID d 7 ENTRIESADDED
XSETID d 7 MAXDELETEDID 8
XSETID d 7 MAXDELETEDID x
XSETID d 7 NOPE 1
XSETID d x
XSETID none 1
XSETID str 1
XSETID d
"""
)

READS = (
    FILL
    + """
XRANGE s - +
XRANGE s 2 2
XRANGE s (1-1 (5
XRANGE s (1-1 (5-0
XRANGE s (2 +
XRANGE s 2-1 2-0
XRANGE s + -
XRANGE s (- +
XRANGE s ( +
XRANGE s (18446744073709551615-18446744073709551615 +
XRANGE s (18446744073709551615 +
XRANGE s - (0-0
XRANGE s - (0
XRANGE s - + COUNT 2
XRANGE s - + COUNT 0
XRANGE s - + COUNT -5
XRANGE s - + COUNT 1 COUNT 2
XRANGE s - + COUNT
XRANGE s - + COUNT x
XRANGE s - + NOPE 1
XRANGE s x +
XRANGE s - x
XRANGE none - +
XRANGE none - + COUNT 0
XRANGE str - +
XREVRANGE s + -
XREVRANGE s + - COUNT 2
XREVRANGE s (5 (1-1
XREVRANGE s 2 2
XREVRANGE s - +
XREVRANGE s + - COUNT 0
XREVRANGE none + -
XREAD STREAMS s 0
XREAD STREAMS s s 0 2
XREAD COUNT 1 STREAMS s none 0 0
XREAD COUNT 0 STREAMS s 2
XREAD COUNT -1 STREAMS s 2
XREAD COUNT x STREAMS s 2
XREAD STREAMS s 5
XREAD STREAMS s $
XREAD STREAMS none $
XREAD STREAMS s >
XREAD STREAMS s -
XREAD STREAMS s
XREAD COUNT 1
XREAD COUNT 1 BLOCK 1
XREAD BLOCK x STREAMS s 0
XREAD BLOCK -1 STREAMS s 0
XREAD BLOCK 1.5 STREAMS s 0
XREAD BLOCK 10 STREAMS s 0
XREAD NOACK STREAMS s 0
XREAD GROUP g c STREAMS s 0
XREAD NOPE STREAMS s 0
XREAD STREAMS str 0
XREAD STREAMS s str 0 0
XREAD streams s 0
"""
)

GROUPS = (
    FILL
    + """
XGROUP CREATE s g 0
XGROUP CREATE s g 0
XGROUP CREATE s h $
XGROUP CREATE s i 2-0 ENTRIESREAD 2
XGROUP CREATE s j -
XGROUP CREATE s j x
XGROUP CREATE s j 0 ENTRIESREAD -2
XGROUP CREATE s j 0 ENTRIESREAD x
XGROUP CREATE s j 0 ENTRIESREAD
XGROUP CREATE s j 0 NOPE
XGROUP CREATE s j 0 MKSTREAM MKSTREAM MKSTREAM MKSTREAM
XGROUP CREATE none g 0
XGROUP CREATE none g x
XGROUP CREATE made g $ MKSTREAM
XGROUP CREATE made x 0 MKSTREAM ENTRIESREAD 5
XGROUP CREATE str g 0
XGROUP CREATE str g 0 MKSTREAM
XGROUP CREATE s
XGROUP NOPE s g
XGROUP
XGROUP CREATECONSUMER s g c
XGROUP CREATECONSUMER s g c
XGROUP CREATECONSUMER s nope c
XGROUP CREATECONSUMER none g c
XGROUP CREATECONSUMER str g c
XGROUP CREATECONSUMER s g
XREADGROUP GROUP g c COUNT 2 STREAMS s >
XREADGROUP GROUP g c STREAMS s 0
XREADGROUP GROUP g c COUNT 1 STREAMS s 0
XREADGROUP GROUP g d STREAMS s 0
XREADGROUP GROUP g d NOACK COUNT 1 STREAMS s >
XREADGROUP GROUP g d STREAMS s >
XREADGROUP GROUP g d STREAMS s >
XREADGROUP GROUP g e STREAMS s s > 0
XREADGROUP GROUP g c STREAMS s $
XREADGROUP GROUP g c STREAMS s -
XREADGROUP GROUP g c STREAMS s 18446744073709551615-18446744073709551615
XREADGROUP GROUP g c STREAMS s none > >
XREADGROUP GROUP nope c STREAMS s >
XREADGROUP GROUP g c STREAMS str >
XREADGROUP GROUP g c STREAMS none x
XREADGROUP GROUP g c STREAMS s
XREADGROUP GROUP g c COUNT 1 NOACK
XREADGROUP COUNT 1 NOACK STREAMS s 0
XREADGROUP GROUP g c BLOCK x STREAMS s 0
XREADGROUP GROUP g c BLOCK 10 STREAMS s 0
XREADGROUP GROUP g c NOPE STREAMS s 0
XREADGROUP GROUP g
XPENDING s g
XPENDING s h
XPENDING s nope
XPENDING none g
XPENDING str g
XPENDING s g - + 0
XPENDING s g - + -1
XPENDING s g - + 10 nobody
XPENDING s g IDLE 100000 - + 10
XPENDING s g IDLE 100000 - + 10 c
XPENDING s g IDLE x - + 10
XPENDING s g IDLE 0 - +
XPENDING s g - +
XPENDING s g x + 10
XPENDING s g - x 10
XPENDING s g - + x
XPENDING s g (18446744073709551615-18446744073709551615 + 10
XPENDING s g - (0 10
XPENDING s g - + 10 c d e f
XACK s g 1-1 1-1 9-9
XACK s g x
XACK s g 2-0 x
XACK s nope x
XACK none g x
XACK str g x
XACK s g
XDEL s 2-0
XREADGROUP GROUP g c STREAMS s 0
XCLAIM s g d 0 2-0 2-1 5-0 JUSTID
XCLAIM s g c 0 2-1 9-9
XCLAIM s g c 100000 2-1 5-0
XCLAIM s g c 0 1-1
XCLAIM s g c 0 1-1 FORCE
XCLAIM s g c 0 1-1 FORCE RETRYCOUNT 7 TIME 1000
XCLAIM s g c 0 1-1 IDLE 5000 JUSTID
XCLAIM s g c -5 1-1
XCLAIM s g c x 1-1
XCLAIM s g c 0 -
XCLAIM s g c 0 1-1 NOPE
XCLAIM s g c 0 1-1 IDLE
XCLAIM s g c 0 1-1 IDLE x
XCLAIM s g c 0 1-1 TIME x
XCLAIM s g c 0 1-1 RETRYCOUNT x
XCLAIM s g c 0 1-1 LASTID x
XCLAIM s h c 0 1-1 LASTID 7-0 JUSTID FORCE
XCLAIM s nope c x 1-1
XCLAIM none g c 0 1-1
XCLAIM str g c 0 1-1
XCLAIM s g c 0
XAUTOCLAIM s g c 0 0
XAUTOCLAIM s g d 0 - COUNT 1
XAUTOCLAIM s g d 0 (1-1 COUNT 1 JUSTID
XAUTOCLAIM s g d 100000 0
XDEL s 2-1
XAUTOCLAIM s g fresh 0 0 COUNT 1
XAUTOCLAIM s g fresh 0 0 JUSTID
XAUTOCLAIM s g c x 0
XAUTOCLAIM s g c -1 x
XAUTOCLAIM s g c 0 (18446744073709551615-18446744073709551615
XAUTOCLAIM s g c 0 0 COUNT 0
XAUTOCLAIM s g c 0 0 COUNT x
XAUTOCLAIM s g c 0 0 COUNT
XAUTOCLAIM s g c 0 0 COUNT 9223372036854775807
XAUTOCLAIM s g c 0 0 NOPE
XAUTOCLAIM s nope c 0 0
XAUTOCLAIM none g c 0 0
XAUTOCLAIM str g c 0 0
XAUTOCLAIM s g c 0
XINFO GROUPS s
XGROUP SETID s g 0
XGROUP SETID s g $
XGROUP SETID s g -
XGROUP SETID s g +
XGROUP SETID s g 2-1 ENTRIESREAD 3
XGROUP SETID s g 2-1 ENTRIESREAD 3 ENTRIESREAD 4
XGROUP SETID s g 2-1 MKSTREAM
XGROUP SETID s g x
XGROUP SETID s nope 0
XGROUP SETID none g 0
XGROUP SETID str g 0
XINFO GROUPS s
XREADGROUP GROUP g c STREAMS s >
XREADGROUP GROUP g d STREAMS s 0
XGROUP DELCONSUMER s g c
XGROUP DELCONSUMER s g c
XGROUP DELCONSUMER s nope c
XGROUP DELCONSUMER none g c
XGROUP DESTROY s g
XGROUP DESTROY s g
XGROUP DESTROY none g
XGROUP DESTROY str g
XGROUP DESTROY s
XGROUP HELP x
"""
)

INFO = (
    FILL
    + """
XINFO STREAM s
XINFO STREAM s FULL
XINFO STREAM s full count 1
XINFO STREAM s FULL COUNT 0
XINFO STREAM s FULL COUNT -1
XINFO STREAM s FULL COUNT x
XINFO STREAM s FULL COUNT
XINFO STREAM s FULL NOPE 1
XINFO STREAM s NOPE
XINFO STREAM s FULL COUNT 1 2
XINFO STREAM none
XINFO STREAM none NOPE
XINFO STREAM str
XINFO STREAM
XINFO GROUPS s
XGROUP CREATE s g 0
XGROUP CREATE s g2 2-0
XINFO GROUPS s
XINFO CONSUMERS s g
XINFO STREAM s FULL
XREADGROUP GROUP g c COUNT 1 STREAMS s >
XINFO GROUPS s
XDEL s 2-0
XREADGROUP GROUP g c COUNT 1 STREAMS s >
XINFO GROUPS s
XREADGROUP GROUP g c STREAMS s >
XINFO GROUPS s
XTRIM s MAXLEN 0
XINFO GROUPS s
XINFO STREAM s
XINFO CONSUMERS s nope
XINFO CONSUMERS none g
XINFO CONSUMERS str g
XINFO CONSUMERS s
XINFO GROUPS none
XINFO GROUPS str
XINFO GROUPS s x
XINFO NOPE s
XINFO
XINFO HELP x
"""
)


@pytest.mark.oracle
@pytest.mark.parametrize("script", [WRITES, READS, GROUPS, INFO], ids=["writes", "reads", "groups", "info"])
def test_replies_and_events_are_those_of_redis(both: Pair, script: str) -> None:
    for name in ("stream-node-max-entries", "stream-node-max-bytes"):
        both.oracle("CONFIG", "SET", name, both.harness.engine.settings[name])
    both.harness.engine.databases[0].put(b"str", b"v", "set")
    both.harness.events()
    for line in filter(None, script.splitlines()):
        both.check(*words(line))
        both.events()


def test_what_redis_7_2_says_differently(harness: Harness, client: Client) -> None:
    harness.capture_all()
    for line in ("XADD s 7-18446744073709551615 a 1", "XGROUP CREATE s g 0", "XADD d 1-3 a b", "XDEL d 1-3"):
        client(*words(line))
    harness.events()
    for line, error in (
        ("XADD s 7-* a 1", "ERR The ID specified in XADD is equal or smaller than the target stream top item"),
        ("XSETID d 1-2", "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id"),
        ("XREAD STREAMS s d 0", "ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be "
         "specified."),
        ("XREADGROUP GROUP g c STREAMS s d 0", "ERR Unbalanced 'xreadgroup' list of streams: for each stream key "
         "an ID or '>' must be specified."),
        ("XREAD BLOCK 9223372036854775807 STREAMS s 0", "ERR timeout is out of range"),
    ):  # fmt: skip
        assert client(*words(line)).text == error
    client("XCLAIM", "s", "g", "early", 0, "1-1")  # the consumer exists even if it gets nothing
    assert harness.events() == [("xgroup-createconsumer", b"s")]
    harness.clock.advance(50)
    (consumer,) = client("XINFO", "CONSUMERS", "s", "g")
    assert consumer == {b"name": b"early", b"pending": 0, b"idle": 50, b"inactive": -1}
    client("XREADGROUP", "GROUP", "g", "early", "STREAMS", "s", ">")
    harness.clock.advance(20)
    client("XREADGROUP", "GROUP", "g", "early", "STREAMS", "s", ">")
    (consumer,) = client("XINFO", "CONSUMERS", "s", "g")
    assert consumer == {b"name": b"early", b"pending": 1, b"idle": 0, b"inactive": 20}
    (group,) = client("XINFO", "STREAM", "s", "FULL")[b"groups"]
    now = harness.clock.now
    id = b"7-18446744073709551615"
    assert group == {
        b"name": b"g", b"last-delivered-id": id, b"entries-read": 1, b"lag": 0, b"pel-count": 1,
        b"pending": [[id, b"early", now - 20, 1]],
        b"consumers": [{b"name": b"early", b"seen-time": now, b"active-time": now - 20, b"pel-count": 1,
                        b"pending": [[id, now - 20, 1]]}],
    }  # fmt: skip


def test_generated_ids_follow_the_clock_and_never_go_back(harness: Harness, client: Client) -> None:
    now = harness.clock.now
    assert client("XADD", "s", "*", "a", "b") == b"%d-0" % now
    assert client("XADD", "s", "NOMKSTREAM", "*", "a", "b") == b"%d-1" % now
    harness.clock.now -= 1000
    assert client("XADD", "s", "*", "a", "b") == b"%d-2" % now
    harness.clock.now += 2000
    assert client("XADD", "s", "*", "a", "b") == b"%d-0" % (now + 1000)


def test_pending_entries_show_how_long_they_wait(harness: Harness, client: Client) -> None:
    client("XADD", "s", "1-1", "a", "b")
    client("XADD", "s", "1-2", "a", "b")
    client("XGROUP", "CREATE", "s", "g", 0)
    client("XREADGROUP", "GROUP", "g", "c", "COUNT", 1, "STREAMS", "s", ">")
    harness.clock.advance(70)
    client("XREADGROUP", "GROUP", "g", "d", "COUNT", 1, "STREAMS", "s", ">")
    both = [[b"1-1", b"c", 70, 1], [b"1-2", b"d", 0, 1]]
    assert client("XPENDING", "s", "g", "-", "+", 10) == both
    assert client("XPENDING", "s", "g", "IDLE", 70, "-", "+", 10) == both[:1]
    assert client("XPENDING", "s", "g", "IDLE", 71, "-", "+", 10) == []
    assert client("XPENDING", "s", "g", "-", "+", 10, "d") == both[1:]
    assert client("XPENDING", "s", "g", "(1-1", "+", 10) == both[1:]
    assert client("XAUTOCLAIM", "s", "g", "d", 71, 0) == [b"0-0", [], []]
    assert client("XAUTOCLAIM", "s", "g", "d", 70, 0, "JUSTID") == [b"0-0", [b"1-1"], []]
    assert client("XCLAIM", "s", "g", "c", 0, "1-1", "IDLE", 500) == [[b"1-1", [b"a", b"b"]]]
    assert client("XPENDING", "s", "g", "-", "+", 1) == [[b"1-1", b"c", 500, 2]]


def test_changes_show_the_entries(harness: Harness, client: Client) -> None:
    harness.capture_all()
    client("XADD", "s", "MAXLEN", 1, "1-1", "a", "b")
    client("XADD", "s", "MAXLEN", 1, "1-2", "c", "d")
    client("XADD", "s", "1-3", "e", "f")
    client("XDEL", "s", "1-3", "1-2")
    client("XADD", "s", "1-4", "g", "h")
    client("XDEL", "s", "1-4")
    _, changes = harness.engine.drain()
    assert [(change.event, change.new, change.old) for change in changes] == [
        ("xadd", ("stream", [b"1-1", b"a", b"b"]), None),
        ("xadd", ("stream", [b"1-2", b"c", b"d"]), ("stub", "stream", 1)),
        ("xtrim", None, None),
        ("xadd", ("stream", [b"1-3", b"e", b"f"]), ("stub", "stream", 1)),
        ("xdel", None, ("stub", "stream", 2)),
        ("xadd", ("stream", [b"1-4", b"g", b"h"]), ("stub", "stream", 0)),
        ("xdel", None, ("stream", [b"1-4", b"g", b"h"])),
    ]


def test_an_entry_larger_than_any_node_is_refused(
    harness: Harness, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_value, "MAX_NODE_BYTES", 1000)
    client("XADD", "s", "1-1", "f", "v" * 999)
    assert client("XADD", "s", "1-2", "f", "v" * 1000).text == "ERR Elements are too large to be stored"
    assert client("XLEN", "s") == 1


def test_help_names_every_subcommand(client: Client) -> None:
    for container, count in (("XGROUP", 6), ("XINFO", 4)):
        lines = [text.text.decode() for text in client(container, "HELP")]
        assert lines[0] == f"{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
        assert len(lines) == 1 + 2 * count and lines[-2] == "HELP"
