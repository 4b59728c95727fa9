"""Bursts of events as rows: what stands beside what, and what is left out."""

from __future__ import annotations

import pytest

from benchmarks import report
from benchmarks.delivery import BATCHES, KEYSPACE, OURS, STREAM, WRITES, Burst, burst_rows
from benchmarks.figures import Row


def burst(meanwhile: float) -> Burst:
    return Burst(writes=150_000, events=6000, meanwhile=meanwhile, lost=0, ping_ms=1.0, cpu_us=150)


def rows(batch: int, **meanwhile: float) -> list[Row]:
    """Those about what was delivered while the writes ran; `meanwhile` by what delivers, 1000 if it is not there."""
    rates = {OURS: meanwhile.get("ours", 1000), KEYSPACE: meanwhile.get("keyspace", 1000), STREAM: 1000}
    found = {(kind, n): [burst(rates[kind])] for kind in WRITES for n in BATCHES}
    return [row for row in burst_rows(found, batch) if row.name.startswith("events delivered while the writes ran")]


@pytest.mark.parametrize(("batch", "others"), [(1, 2), (100, 4)])
def test_what_was_delivered_meanwhile_stands_beside_each_practice(batch: int, others: int) -> None:
    found = rows(batch, ours=3000)
    assert [row.ratio for row in found] == [(3.0,)] * others
    assert len({row.against for row in found}) == others
    assert all(row.goal is None for row in found)


def test_next_to_nothing_is_not_divided_by() -> None:
    nothing, something = rows(1, keyspace=0)
    assert nothing.ratio == () and something.ratio == (1.0,)
    assert "| 1,000 /s | 0 /s (notifications + worker, one per request) |  |  |" in report.table([nothing])


def test_the_chart_has_whole_bursts_only() -> None:
    figures = report.Figures({}, "", 1.0, False, tuple(rows(1)))
    assert "while the writes ran" not in report.svg(figures)
