"""Bodies: the documented shape, and a fixed point of JavaScript's parse and stringify whatever the data is."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from ferrite_hooks.webhooks.model import Change, Format, Webhook, Written
from ferrite_hooks.webhooks.payload import (
    MAX_SAFE,
    batch_id,
    canonical_json,
    content_type,
    delivery_id,
    event_id,
    number,
    render_batch,
    render_event,
    timestamp,
)

AT = 1_768_473_000_123  # 2026-01-15T10:30:00.123Z
HOOK = Webhook(7, "orders", "http://127.0.0.1/")
JOURNAL = "k3v9q2xa"
SECRET = "mysecretkey"


def change(
    event: str = "set", key: bytes | None = b"user:123", new: Written = b"Alice", **more: Any
) -> Change:
    facts: dict[str, Any] = {
        "position": 8123, "at": AT, "db": 0, "event": event, "key": key, "new": new, "old": None,
        "expire_at": 0, "command": event.upper(), "client": 456, "ip": "192.168.1.100", "transaction": 0,
        "hooks": (7,),
    }  # fmt: skip
    return Change(**(facts | more))


def body(of: Change, hook: Webhook = HOOK, **options: Any) -> dict[str, Any]:
    parsed = orjson.loads(render_event(hook, of, JOURNAL, **options))
    assert isinstance(parsed, dict)
    return parsed


# --- the shape ----------------------------------------------------------------------------------------------


def test_the_seeds_event_key_for_key() -> None:
    written = change(old=b"Bob", expire_at=AT + 3_600_000)
    assert render_event(HOOK, written, JOURNAL).decode() == (
        '{"id":"evt_k3v9q2xa000000000007xv","timestamp":"2026-01-15T10:30:00.123Z","event":"SET",'
        '"key":"user:123","database":0,"data":{"value":"Alice","old_value":"Bob","ttl":3600},'
        '"metadata":{"client_id":"conn:456","source_ip":"192.168.1.100","command":"SET",'
        '"notification":"set","sequence":8123,"webhook":"orders"}}'
    )


def test_the_event_is_the_wide_name_and_the_metadata_the_exact_ones() -> None:
    event = body(change("incrby", new=b"8"))
    assert event["event"] == "SET"
    assert (event["metadata"]["command"], event["metadata"]["notification"]) == ("INCRBY", "incrby")


@pytest.mark.parametrize(
    ("new", "value"),
    [
        (None, None),
        (b"", ""),
        (("hash", [b"name", b"A", b"age", None]), {"name": "A", "age": None}),
        (("list", [b"a", b"a", b"b"]), ["a", "a", "b"]),
        (("set", [b"a"]), ["a"]),
        (("zset", [b"m", 1.0, b"n", 2.5, b"o", None]), {"m": 1, "n": 2.5, "o": None}),
        (("zset", [b"m", math.inf, b"n", -math.inf]), {"m": "inf", "n": "-inf"}),
        (("stream", [b"1-1", b"f", b"v"]), {"id": "1-1", "fields": {"f": "v"}}),
        (("stream", [b"1", *b"f 1 g x f 2".split()]), {"id": "1", "fields": {"f": ["1", "2"], "g": "x"}}),
        (("stub", "list", 7), {"type": "list", "length": 7}),
        (("json", b'{"a": [1, 2.0]}'), {"a": [1, 2]}),
    ],
)  # fmt: skip
def test_the_shape_of_what_was_written(new: Written, value: Any) -> None:
    assert body(change(new=new))["data"]["value"] == value
    assert body(change(new=None, old=new))["data"]["old_value"] == value


def test_a_rename_gives_the_new_key() -> None:
    data = body(change("rename_from", b"a", ("key", b"b"), old=b"v"))["data"]
    assert data == {"value": None, "old_value": "v", "ttl": None, "new_key": "b"}


def test_nobody_caused_it_and_no_key() -> None:
    event = body(change("flushdb", None, None, command="", client=0, ip=""))
    assert event["event"] == "FLUSH" and event["key"] is None
    assert [event["metadata"][name] for name in ("client_id", "source_ip", "command")] == [None] * 3


def test_transaction_coalescing_and_resource_are_in_the_metadata_when_there_are_any() -> None:
    event = body(change(transaction=5, resource="r-1"), coalesced=3)
    assert event["metadata"] | {"transaction": 5, "coalesced": 3, "resource_id": "r-1"} == event["metadata"]


def test_without_old_value_the_key_is_absent() -> None:
    assert body(change(old=b"Bob"), replace(HOOK, old_value=False))["data"] == {"value": "Alice", "ttl": None}


@pytest.mark.parametrize(("ms", "seconds"), [(3_600_000, 3600), (1, 0), (500, 1), (1499, 1), (-5, 0)])
def test_ttl_is_in_seconds_and_rounds_as_redis_does(ms: int, seconds: int) -> None:
    assert body(change(expire_at=AT + ms))["data"]["ttl"] == seconds


# --- what is not text ---------------------------------------------------------------------------------------


def test_one_binary_string_makes_all_of_data_base64() -> None:
    data = body(change("hset", new=("hash", [b"a", b"\xff", b"b", b"text"]), old=b"old"))["data"]
    assert data["encoding"] == "base64"
    assert data["value"] == {"YQ==": "/w==", "Yg==": "dGV4dA=="}
    assert base64.b64decode(data["old_value"]) == b"old"


def test_a_binary_key_is_base64_and_the_data_stays_text() -> None:
    event = body(change(key=b"\x80k"))
    assert (event["key"], event["key_encoding"]) == ("gGs=", "base64")
    assert event["data"] == {"value": "Alice", "old_value": None, "ttl": None}


def test_values_over_the_limit_are_left_out_and_measured() -> None:
    written = change("rpush", new=("list", [b"12345", b"67890"]), old=b"x" * 11)
    assert body(written, max_value_bytes=9)["data"] == {
        "value": None, "truncated": True, "size": 10,
        "old_value": None, "old_truncated": True, "old_size": 11, "ttl": None,
    }  # fmt: skip
    assert body(written, max_value_bytes=10)["data"]["value"] == ["12345", "67890"]
    assert body(change(new=b"x" * 65536))["data"]["value"] == "x" * 65536
    assert body(change(new=b"x" * 65537))["data"] == {
        "value": None, "truncated": True, "size": 65537, "old_value": None, "ttl": None
    }  # fmt: skip


def test_a_key_over_the_limit_is_left_out() -> None:
    event = body(change(key=b"k" * 65537))
    assert (event["key"], event["key_encoding"]) == (None, "omitted")


# --- ids ----------------------------------------------------------------------------------------------------


def test_event_ids_sort_as_positions_and_differ_between_journals() -> None:
    positions = [0, 1, 31, 32, 1023, 1024, 10**9, 2**53 - 1, 2**63 - 1]
    ids = [event_id(JOURNAL, position) for position in positions]
    assert ids == sorted(ids) and len(set(ids)) == len(ids) and len({len(i) for i in ids}) == 1
    assert event_id("aaaaaaaa", 1) != event_id("bbbbbbbb", 1)


def test_delivery_and_batch_ids_name_their_events_and_their_webhook() -> None:
    assert delivery_id(JOURNAL, 1, [5]) == delivery_id(JOURNAL, 1, [5])
    groups = [(1, [5]), (2, [5]), (1, [5, 6]), (1, [5, 7])]
    assert len({make(JOURNAL, *group) for make in (delivery_id, batch_id) for group in groups}) == 8


@pytest.mark.parametrize("ms", [0, 999, AT, 1_772_323_199_999])
def test_timestamps_are_what_javascript_writes(ms: int, node: Node) -> None:
    assert node("new Date(x).toISOString()", ms) == timestamp(ms)


# --- JavaScript agrees --------------------------------------------------------------------------------------


class Node:
    """A node process that evaluates expressions of `x`, a JSON value given a line at a time."""

    def __init__(self) -> None:
        code = (
            "const crypto=require('crypto');"
            "require('readline').createInterface({input:process.stdin}).on('line',l=>{"
            "const [f,x]=JSON.parse(l);process.stdout.write(JSON.stringify(eval(f))+'\\n')})"
        )
        self._process = subprocess.Popen(["node", "-e", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, expression: str, x: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([expression, x]).encode() + b"\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    process = Node()
    yield process
    process.close()


# What Ferrite's documented receiver does with a body: parse it, stringify it, compare the HMAC of that.
VERIFY = (
    "(()=>{const again=JSON.stringify(JSON.parse(x.body));"
    "const mac='sha256='+crypto.createHmac('sha256',x.secret).update(again).digest('hex');"
    "return [again===x.body, mac.length===x.signature.length"
    " && crypto.timingSafeEqual(Buffer.from(x.signature),Buffer.from(mac))]})()"
)


def assert_javascript_agrees(node: Node, raw: bytes) -> None:
    signature = "sha256=" + hmac.new(SECRET.encode(), raw, hashlib.sha256).hexdigest()
    verdict = node(VERIFY, {"body": raw.decode(), "secret": SECRET, "signature": signature})
    assert verdict == [True, True], raw


words = st.one_of(
    st.binary(max_size=12),
    st.text(max_size=12).map(lambda t: t.encode("utf-8", "replace")),
    st.integers(-2, 2**33).map(lambda n: b"%d" % n),
    st.sampled_from([
        b"__proto__", b"constructor", b"toString", b"0", b"-0", b"01", b"4294967294", b"4294967295",
        "\u2028\u2029\x7f\x00\b\f\"\\/😀".encode(), b"\xed\xa0\x80", "٣".encode(),
    ]),
)  # fmt: skip


def flat(pairs: list[tuple[Any, Any]]) -> list[Any]:
    return [item for pair in pairs for item in pair]


scores = st.floats(allow_nan=False) | st.integers(-(2**60), 2**60).map(float) | st.none()
plain: st.SearchStrategy[Any] = (
    st.none()
    | words
    | st.lists(words, max_size=5).map(lambda es: ("list", es))
    | st.lists(st.tuples(words, words | st.none()), max_size=5).map(lambda ps: ("hash", flat(ps)))
    | st.lists(st.tuples(words, scores), max_size=5).map(lambda ps: ("zset", flat(ps)))
    | st.lists(st.tuples(words, words), max_size=5).map(lambda ps: ("stream", [b"1-1", *flat(ps)]))
    | words.map(lambda k: ("key", k))
)
names = st.text(max_size=5) | st.integers(0, 2**33).map(str) | st.just("__proto__")
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(names, inner, max_size=5),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(plain, plain, words | st.none(), st.text(max_size=8))
def test_javascript_leaves_a_change_as_it_is(
    node: Node, new: Any, old: Any, key: bytes | None, name: str
) -> None:
    written = change("hset", key, new, old=old, expire_at=AT + 5)
    for format in Format:
        hook = replace(HOOK, name=name, format=format)
        assert_javascript_agrees(node, render_event(hook, written, JOURNAL))
    assert_javascript_agrees(node, render_batch(hook, [(written, 0), (written, 2)], JOURNAL, "batch_x", AT))


@settings(max_examples=150, deadline=None)
@given(anything)
def test_javascript_leaves_an_applications_json_as_it_is(node: Node, value: Any) -> None:
    raw = json.dumps(value).encode()  # with \u escapes, lone surrogates among them
    emitted = change("user.created", None, ("json", raw), resource="r-1")
    for format in Format:
        assert_javascript_agrees(node, render_event(replace(HOOK, format=format), emitted, JOURNAL))
    once = canonical_json(raw)
    assert canonical_json(once) == once


@settings(max_examples=300, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_spelled_as_javascript_spells_them(node: Node, value: float) -> None:
    spelled = json.loads(node("JSON.stringify(x)", value))
    if abs(value) <= MAX_SAFE or abs(value) >= 1e21:
        assert number(value) == node("JSON.stringify(x)", value).encode()
    else:
        assert number(value) == b'"%d"' % int(value)
    assert float(spelled) == value


@pytest.mark.parametrize(
    ("value", "spelled"),
    [
        (-0.0, b"0"), (1.0, b"1"), (1e21, b"1e+21"), (1.5e-7, b"1.5e-7"), (1e-6, b"0.000001"),
        (-1.25e-5, b"-0.0000125"), (2**53 - 1, b"9007199254740991"), (2**53, b'"9007199254740992"'),
        (-(2.0**60), b'"-1152921504606846976"'), (10**30, b'"1000000000000000000000000000000"'),
        (math.inf, b'"inf"'), (-math.inf, b'"-inf"'), (math.nan, b'"nan"'), (5e-324, b"5e-324"),
    ],
)  # fmt: skip
def test_numbers_on_the_edges(value: float, spelled: bytes) -> None:
    assert number(value) == spelled


def test_keys_that_look_like_indexes_come_first_and_ascend() -> None:
    pairs: list[bytes | float | None] = []
    for field in (b"b", b"10", b"a", b"9", b"01", b"4294967295", b"4294967294", b"-1"):
        pairs += [field, b"v"]
    raw = render_event(HOOK, change("hset", new=("hash", pairs)), JOURNAL)
    fields = list(orjson.loads(raw)["data"]["value"])
    assert fields == ["9", "10", "4294967294", "b", "a", "01", "4294967295", "-1"]


# --- application data ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b"NaN", b"-Infinity", b"1e999", b"\xff", b"{'a':1}", b"[" * 129 + b"]" * 129,
        b"[" * 100_000, b"9" * 5000, b"01", b"\xef\xbb\xbf1",
    ],
)  # fmt: skip
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):
        canonical_json(raw)


def test_application_json_keeps_exact_what_javascript_cannot_hold() -> None:
    raw = b' {"id" : 12345678901234567890, "b":1.0, "9":null, "b":2, "s":"\\u00e9\\ud800"} '
    assert canonical_json(raw) == b'{"9":null,"id":"12345678901234567890","b":2,"s":"\xc3\xa9\\ud800"}'
    assert canonical_json(b"-1" + b"0" * 998) == b'"-1' + b"0" * 998 + b'"'
    assert canonical_json(b"[" * 128 + b"]" * 128)


# --- formats ------------------------------------------------------------------------------------------------


def test_standard_is_ferriskeys_payload() -> None:
    hook = replace(HOOK, format=Format.STANDARD)
    emitted = change("user.created", None, ("json", b'{"username":"alice"}'), resource="0191-aa")
    assert list(body(emitted, hook).items()) == [
        ("event", "user.created"), ("timestamp", "2026-01-15T10:30:00.123Z"),
        ("resource_id", "0191-aa"), ("data", {"username": "alice"}),
    ]  # fmt: skip
    assert body(structs.replace(emitted, new=None), hook)["data"] is None
    deleted = body(change("del", new=None, old=b"Bob"), hook)
    assert deleted["resource_id"] == "user:123" and deleted["data"]["old_value"] == "Bob"
    assert body(change(key=b"\xff"), hook)["resource_id_encoding"] == "base64"
    large = body(structs.replace(emitted, new=("json", b'"' + b"x" * 70_000 + b'"')), hook)
    assert (large["data"], large["truncated"], large["size"]) == (None, True, 70_002)


def test_an_application_event_in_ferrites_own_format() -> None:
    emitted = change("user.created", b"user:1", ("json", b"[1]"), resource="r", command="WEBHOOK.EMIT")
    event = body(emitted)
    assert event["event"] == "user.created" and event["data"] == {"value": [1], "ttl": None}
    assert event["metadata"]["resource_id"] == "r" and event["metadata"]["command"] == "WEBHOOK.EMIT"


def test_cloudevents_have_what_the_specification_requires() -> None:
    hook = replace(HOOK, format=Format.CLOUDEVENTS)
    event = body(change(transaction=9), hook, coalesced=1)
    assert event["specversion"] == "1.0" and event["type"] == "ferrite.set" and event["subject"] == "user:123"
    assert event["source"] == "/ferrite-hooks/k3v9q2xa/0" and event["time"] == "2026-01-15T10:30:00.123Z"
    assert event["data"]["value"] == "Alice"
    for name, value in event.items():  # attribute names; attributes are strings, booleans or 32-bit integers
        assert name.isalnum() and name == name.lower()
        assert name == "data" or isinstance(value, str) or (isinstance(value, int) and abs(value) < 2**31)
    assert "subject" not in body(change(key=b""), hook)
    assert body(change("user.created", None, ("json", b"1")), hook)["type"] == "user.created"


def test_batches_in_the_three_formats() -> None:
    pairs = [(change(position=5), 0), (change("del", new=None, position=6), 4)]
    ids = [event_id(JOURNAL, 5), event_id(JOURNAL, 6)]
    for format in (Format.FERRITE, Format.STANDARD):
        batch = orjson.loads(render_batch(replace(HOOK, format=format), pairs, JOURNAL, "batch_1", AT))
        assert list(batch) == ["batch_id", "timestamp", "events", "count"]
        assert batch["batch_id"] == "batch_1" and batch["count"] == 2
        assert [event["id"] for event in batch["events"]] == ids
        assert [event["event"] for event in batch["events"]] == ["SET", "DEL"]
    hook = replace(HOOK, format=Format.CLOUDEVENTS)
    events = orjson.loads(render_batch(hook, pairs, JOURNAL, "batch_1", AT))
    assert [event["id"] for event in events] == ids


def test_content_types() -> None:
    assert content_type(Format.FERRITE, False) == content_type(Format.STANDARD, True) == "application/json"
    assert content_type(Format.CLOUDEVENTS, False) == "application/cloudevents+json"
    assert content_type(Format.CLOUDEVENTS, True) == "application/cloudevents-batch+json"
