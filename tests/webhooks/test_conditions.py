"""WHEN clauses on every shape that a change can have."""

from __future__ import annotations

import pytest

from ferrite_hooks.webhooks.conditions import check_condition, conditions_hold
from ferrite_hooks.webhooks.model import Change, Webhook, Written

JSON = b'{"status":"paid","total":12.5,"items":[{"sku":"a"}],"vip":true,"note":null}'


def change(new: Written = None, old: Written = None, event: str = "set", key: bytes | None = b"k:1") -> Change:
    return Change(7, 1000, 2, event, key, new, old, 61_000, "SET", 4, "10.0.0.1", 0, (1,), "res")


def holds(condition: str, subject: Change) -> bool:
    path, op, *value = condition.split(" ", 2)
    webhook = Webhook(1, "w", "http://x/", when=(check_condition(path, op, value[0]),))
    return conditions_hold(webhook, subject)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("data.value.status = paid", True),
        ("data.value.status != paid", False),
        ("data.value.total > 12", True),
        ("data.value.total <= 12.5", True),
        ("data.value.total < 9", False),  # numbers, not text
        ("data.value.items.0.sku = a", True),
        ("data.value.items.1.sku = a", False),
        ("data.value.items.1.sku != a", True),
        ("data.value.vip = true", True),
        ("data.value.note exists false", True),
        ("data.value.status exists true", True),
        ("data.value.status in open, paid", True),
        ("data.value.status prefix pa", True),
        ("data.value.status glob p*d", True),
        ("data.value.status glob d*", False),
        ("data.value.status > a", True),
        ("data.old_value exists false", True),
        ("data.ttl = 60", True),
        ("event = SET", True),
        ("metadata.command = SET", True),
        ("key prefix k:", True),
        ("database = 2", True),
        ("client_id = conn:4", True),
        ("source_ip glob 10.*", True),
        ("resource_id = res", True),
    ],
)
def test_strings_are_looked_into_as_json(condition: str, expected: bool) -> None:
    assert holds(condition, change(JSON)) is expected


@pytest.mark.parametrize(
    ("new", "condition"),
    [
        (("hash", [b"f", b"v", b"g", b'{"x":1}']), "data.value.g.x = 1"),
        (("hash", [b"f", None]), "data.value.f exists false"),
        (("zset", [b"m", 3.0, b"n", 1.5]), "data.value.m = 3"),
        (("zset", [b"m", 3.0, b"n", 1.5]), "data.value.n < 2"),
        (("list", [b"a", b"b"]), "data.value.1 = b"),
        (("stream", [b"1-1", b"f", b"v"]), "data.value.fields.f = v"),
        (("stream", [b"1-1", b"f", b"v"]), "data.value.id = 1-1"),
        (("json", b'{"user":{"age":30}}'), "data.value.user.age >= 30"),
        (("key", b"new:1"), "data.new_key prefix new:"),
        (("stub", "hash", 70), "data.value.length > 64"),
        (b"\xff\xfe", "data.value != x"),
        (b"007", "data.value = 7"),
    ],
)
def test_every_shape(new: Written, condition: str) -> None:
    assert holds(condition, change(new))


def test_all_clauses_must_hold() -> None:
    clauses = (check_condition("key", "=", "k:1"), check_condition("data.value", "=", "no"))
    assert not conditions_hold(Webhook(1, "w", "u", when=clauses), change(b"yes"))
    assert conditions_hold(Webhook(1, "w", "u", when=clauses[:1]), change(b"yes"))


@pytest.mark.parametrize("value", [None, b"", b"{", b"[1", b"\xff", ("list", []), ("json", b"3")])
def test_a_path_that_leads_nowhere(value: Written) -> None:
    assert not holds("data.value.a.b = 1", change(value))
    assert not holds("data.value.a.b < 1", change(value))
    assert not holds("data.value.a.b glob *", change(value))
    assert holds("data.value.a.b != 1", change(value))
    assert holds("data.value.a.b exists false", change(value))
