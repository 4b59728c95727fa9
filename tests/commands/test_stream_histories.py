"""Random histories of stream commands: the same on redis-server, the same when replayed, and nothing undeclared."""

from __future__ import annotations

import time
from typing import Any

import hiredis
import pytest
from fakes import Client, Harness
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import Oracle, Pair, Word

from ferrite_hooks.engine.command import COMMANDS

IDS = st.builds("{}-{}".format, st.integers(0, 5), st.integers(0, 1))
NEXT = st.integers(3, 25).map("{}-*".format)
STREAM = st.sampled_from("st")
GROUP = st.sampled_from("gh")
CONSUMER = st.sampled_from("cd")
COUNT = st.integers(0, 8)


def line(*parts: Any) -> st.SearchStrategy[list[Word]]:
    """A command whose parts are words, or strategies for one word or a list of words."""
    drawn = [st.just(part) if isinstance(part, str) else part for part in parts]
    return st.tuples(*drawn).map(
        lambda found: [word for part in found for word in (part if isinstance(part, list) else [part])]
    )


TRIM = st.one_of(
    st.just([]),
    line("MAXLEN", st.sampled_from("=~"), COUNT),
    line("MINID", st.sampled_from("=~"), IDS),
    line("MAXLEN", "~", COUNT, "LIMIT", COUNT),
)
COMMAND = st.one_of(
    line("XADD", STREAM, TRIM, IDS, "a", st.sampled_from(["", "1", "x" * 100])),
    line("XADD", STREAM, TRIM, NEXT, "b", "2"),
    line("XADD", STREAM, NEXT, "b", "2"),
    line("XTRIM", STREAM, TRIM),
    line("XDEL", STREAM, st.lists(IDS, min_size=1, max_size=3)),
    line("XSETID", STREAM, IDS, st.sampled_from([[], ["ENTRIESADDED", 20], ["MAXDELETEDID", "3-1"]])),
    line("XGROUP", "CREATE", STREAM, GROUP, IDS, st.sampled_from([[], ["MKSTREAM"], ["ENTRIESREAD", 2]])),
    line("XGROUP", "SETID", STREAM, GROUP, IDS, st.sampled_from([[], ["ENTRIESREAD", 2]])),
    line("XGROUP", "DESTROY", STREAM, GROUP),
    line("XGROUP", "CREATECONSUMER", STREAM, GROUP, CONSUMER),
    line("XGROUP", "DELCONSUMER", STREAM, GROUP, CONSUMER),
    line("XREADGROUP", "GROUP", GROUP, CONSUMER, "COUNT", COUNT, st.sampled_from([[], ["NOACK"]]),
         "STREAMS", STREAM, st.one_of(st.just(">"), st.just(">"), IDS)),
    line("XREADGROUP", "GROUP", GROUP, CONSUMER, "STREAMS", "s", "t", ">", ">"),
    line("XACK", STREAM, GROUP, st.lists(IDS, min_size=1, max_size=4)),
    line("XCLAIM", STREAM, GROUP, CONSUMER, st.sampled_from([0, 100_000]), st.lists(IDS, min_size=1, max_size=4),
         st.sampled_from([[], ["JUSTID"], ["FORCE"], ["FORCE", "JUSTID", "RETRYCOUNT", 4], ["LASTID", "4-0"]])),
    line("XAUTOCLAIM", STREAM, GROUP, CONSUMER, st.sampled_from([0, 100_000]), IDS, "COUNT", st.integers(1, 3),
         st.sampled_from([[], ["JUSTID"]])),
    line("XRANGE", STREAM, IDS, IDS, "COUNT", COUNT),
    line("XREVRANGE", STREAM, st.sampled_from(["+", "(7-0", "9"]), IDS),
    line("XREAD", "COUNT", COUNT, "STREAMS", "s", "t", IDS, IDS),
    line("XPENDING", STREAM, GROUP),
)  # fmt: skip
FRAME = [
    *(["XADD", "s", f"{n // 2}-{n % 2}", "a", str(n)] for n in range(1, 12)),
    *(["XADD", "t", f"{n}-1", "a", str(n)] for n in range(1, 6)),
    *(line.split() for line in ("XGROUP CREATE s g 0", "XGROUP CREATE s h 2-0", "XGROUP CREATE t g 0")),
    *(f"XREADGROUP GROUP g {name} COUNT 3 STREAMS s t > >".split() for name in "cd"),
    ["XREADGROUP", "GROUP", "h", "d", "COUNT", "2", "STREAMS", "s", ">"],
]
HISTORY = st.lists(COMMAND, min_size=10, max_size=60).map(lambda found: FRAME + found)


def state(ask: Any, key: str) -> list[Any]:
    """All of a stream that does not depend on the time; a node that a trim has left empty is no matter."""
    if not (info := ask("XINFO", "STREAM", key)):
        return []
    assert info[2:6:2] == [b"radix-tree-keys", b"radix-tree-nodes"]
    groups = ask("XINFO", "GROUPS", key)
    found = [info[:2] + info[6:], ask("XRANGE", key, "-", "+"), groups]
    for group in groups:
        name = dict(zip(group[::2], group[1::2], strict=True))[b"name"]
        pending = ask("XPENDING", key, name, "-", "+", 1000)
        found.append([(id, consumer, count) for id, consumer, _, count in pending])
        found.append([consumer[:4] for consumer in ask("XINFO", "CONSUMERS", key, name)])
    return found


@pytest.mark.oracle
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(HISTORY, st.sampled_from([2, 3]))
def test_random_histories_end_as_on_redis(oracle: Oracle, history: list[list[Word]], resp: int) -> None:
    oracle("HELLO", 2)
    oracle("FLUSHALL")
    oracle("CONFIG", "SET", "stream-node-max-entries", 3)
    harness = Harness()
    harness.engine.settings["stream-node-max-entries"] = 3
    harness.clock.now = int(time.time() * 1000)
    pair = Pair(oracle, harness, resp)
    try:
        for command in history:
            if is_newer(pair, command):
                continue
            pair.check(*command)
            pair.events()
    finally:
        pair.close()
        oracle("CONFIG", "SET", "stream-node-max-entries", 100)
        oracle("HELLO", 2)
        harness.client.session.set_protocol(2)
    for key in "st":
        theirs = state(lambda *command: plain(oracle(*command)), key)
        assert state(lambda *command: plain(harness.client.raw(*command)), key) == theirs


def plain(raw: bytes) -> Any:
    reader = hiredis.Reader()
    reader.feed(raw)
    value = reader.gets()
    return [] if isinstance(value, hiredis.ReplyError) else value


def is_newer(pair: Pair, command: list[Any]) -> bool:
    """Whether Redis 7.2, which we follow, is known to do otherwise than the 7.0 we compare with."""
    data = pair.harness.engine.databases[0].data
    if command[0] == "XSETID" and command[1].encode() in data:
        return data[command[1].encode()].max_deleted_id > 0  # checked before the length
    if command[0] == "XREADGROUP":
        keys, group, consumer = [key for key in command[4:] if key in ("s", "t")], command[2], command[3]
    elif command[0] in ("XCLAIM", "XAUTOCLAIM"):
        keys, group, consumer = [command[1]], command[2], command[3]
    else:
        return False
    for key in keys:  # a consumer is created even if there is nothing for it
        stream = data.get(key.encode())
        found = stream.groups.get(group.encode()) if stream is not None else None
        if found is not None and consumer.encode() not in found.consumers:
            if command[0] != "XREADGROUP" or (command[-1] == ">" and stream.top_id <= found.last_id):
                return True
    return False


def shape(client: Client) -> Any:
    """Every stream with everything but when consumers were last seen."""
    found = {}
    for key in "st":
        info = client("XINFO", "STREAM", key, "FULL", "COUNT", 0)
        if isinstance(info, dict):
            for volatile in (b"radix-tree-keys", b"radix-tree-nodes"):
                del info[volatile]
            info[b"entries"] = info[b"entries"].items
            for group in info[b"groups"]:
                for consumer in group[b"consumers"]:
                    del consumer[b"seen-time"], consumer[b"active-time"]
            found[key] = info
    return found


@settings(max_examples=80, deadline=None)
@given(HISTORY)
def test_effects_replayed_make_the_same_streams(history: list[list[Word]]) -> None:
    first, second = Harness(), Harness()
    first.engine.settings["stream-node-max-entries"] = 3
    for command in history:
        first.client(*command)
        first.clock.advance(7)
    second.clock.now = first.clock.now + 10_000
    for effect in first.effects():
        second.client(*effect)
    assert shape(second.client) == shape(first.client)


@settings(max_examples=60, deadline=None)
@given(HISTORY)
def test_only_declared_changes_happen(history: list[list[Word]]) -> None:
    harness = Harness()
    harness.capture_all()
    for command in history:
        before = shape(harness.client)
        harness.client(*command)
        effects, changes = harness.engine.drain()
        declared = find_declaration(command).events
        assert {change.event for change in changes} <= set(declared)
        if shape(harness.client) != before:
            assert effects and (changes or "silent" in declared), command


def find_declaration(command: list[Word]) -> Any:
    made = COMMANDS[str(command[0]).encode()]
    return made.subcommands[str(command[1]).lower().encode()] if made.subcommands else made
