"""SCAN: its errors against redis-server, its promise by itself."""

from __future__ import annotations

import pytest
from fakes import Client
from histories import play


def sweep(client: Client, *options: str | int) -> list[bytes]:
    found: list[bytes] = []
    cursor = b"0"
    while True:
        cursor, page = client("SCAN", cursor, *options)
        found += page
        if cursor == b"0":
            return found


@pytest.mark.parametrize(
    "words",
    [
        ("SCAN", "x"), ("SCAN", "-"), ("SCAN", " 0"), ("SCAN", "18446744073709551616"), ("SCAN", "0", "COUNT", "0"),
        ("SCAN", "0", "COUNT", "x"), ("SCAN", "0", "COUNT"), ("SCAN", "0", "BOGUS", "1"), ("SCAN", "0", "MATCH"),
        ("SCAN", "0", "MATCH", "nope*"), ("SCAN", "0", "TYPE", "hash"), ("SCAN", "0", "TYPE", "STRING"),
        ("SCAN", "0", "TYPE", "bogus"), ("SCAN", "0", "COUNT", "5", "COUNT", "7"), ("SCAN",), ("SCAN", ""),
        ("SCAN", "+0"),
    ],
)  # fmt: skip
def test_errors_and_options(redis_port: int, words: tuple[str, ...]) -> None:
    play(redis_port, [("SET", "k", "v"), words])


@pytest.mark.parametrize("count", [1, 10, 1000])
def test_everything_is_found_once(client: Client, count: int) -> None:
    names = {b"key:%d" % n for n in range(500)}
    for name in names:
        client("SET", name, "v")
    found = sweep(client, "COUNT", count)
    assert len(found) == len(names) and set(found) == names


def test_what_stays_is_found_while_the_rest_comes_and_goes(client: Client) -> None:
    for n in range(100):
        client("SET", f"stays:{n}", "v")
    found: set[bytes] = set()
    cursor, step = b"0", 0
    while True:
        cursor, page = client("SCAN", cursor, "COUNT", 5)
        found |= set(page)
        if cursor == b"0":
            break
        for n in range(100):
            client(*(("SET", f"goes:{step}:{n}", "v") if step % 2 == 0 else ("DEL", f"goes:{step - 1}:{n}")))
        step = min(step + 1, 9)  # stop growing, or the end would run away
    assert {b"stays:%d" % n for n in range(100)} <= found


def test_options(client: Client) -> None:
    for n in range(50):
        client("SET", f"s:{n}", "v")
        client("RPUSH", f"l:{n}", "v")
    assert len(sweep(client, "MATCH", "l:1*")) == 11
    assert len(sweep(client, "TYPE", "list")) == 50
    assert len(sweep(client, "TYPE", "String", "MATCH", "*:2?", "COUNT", 3)) == 10


def test_overdue_keys_are_not_found(client: Client) -> None:
    clock = client.session.engine.clock
    client("SET", "k", "v", "PX", 5)
    client("SET", "stays", "v")
    clock.now += 6
    assert sweep(client) == [b"stays"]
