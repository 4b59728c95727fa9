"""The regression guard itself: that it runs real commands, judges by the ratio, and has a limit for each case."""

from __future__ import annotations

import pytest

from benchmarks import check
from benchmarks.check import LIMITS, Case, Result, chunks_of, encoded, measured, rendered
from ferrite_hooks.resp.parser import Parser


async def test_every_case_runs_and_has_a_limit() -> None:
    results = await check.check(rounds=1)
    assert [r.name for r in results] == list(LIMITS["pure"])
    assert all(r.us > 0 and r.ratio > 0 and r.limit for r in results)


def test_chunks_hold_whole_commands() -> None:
    chunks = chunks_of(check.SHAPES["SET"], 16)
    parser = Parser(1 << 20)
    commands = [parser.feed(chunk) for chunk in chunks]
    assert {len(chunk) for chunk in commands} == {16}
    assert sum(map(len, commands)) == check.COMMANDS
    first = commands[0][0]
    assert bytes(first[0]) == b"SET" and first[1].startswith(b"key:0000") and first[2] == b"xxx"


def test_encoded_counts_bytes_not_characters() -> None:
    assert encoded(("SET", "ä", b"\xff")) == b"*3\r\n$3\r\nSET\r\n$2\r\n\xc3\xa4\r\n$1\r\n\xff\r\n"


@pytest.mark.parametrize(("ratio", "limit", "over"), [(2.0, 2.5, False), (2.6, 2.5, True), (9.0, None, False)])
def test_over_its_limit(ratio: float, limit: float | None, over: bool) -> None:
    result = Result("GET p1", 3.0, ratio, limit)
    assert result.over is over
    assert ("OVER" in rendered([result])) is over


def test_a_case_that_became_dearer_has_a_higher_ratio() -> None:
    cases = [Case("once", check.reference, check.TURNS), Case("twice", double, check.TURNS)]
    once, twice = measured(cases, 9, {"once": 1.5, "twice": 1.5})
    assert 0.6 < once.ratio < 1.5
    assert twice.over
    assert 1.4 < twice.ratio / once.ratio < 2.8


def double() -> None:
    check.reference()
    check.reference()


def test_preparation_happens_before_every_round() -> None:
    prepared: list[int] = []
    measured([Case("x", lambda: None, 1, lambda: prepared.append(1))], 3, {})
    assert len(prepared) == 4  # the first is to warm up
