"""Medians, ratios, goals and the order of rounds."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from bench_world import figures

from benchmarks import report
from benchmarks.figures import Goal, Row, compared, interleaved, mean_row, percentile, row


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    # a slow minute meets both sides: the ratio of medians would be 1.5
    assert compared([10, 30, 5], [20, 10, 10]) == (10, 10, 0.5)


def test_rounds_are_interleaved_and_change_ends() -> None:
    seen: list[str] = []
    sides = {name: lambda name=name: seen.append(name) or len(seen) for name in ("ours", "theirs")}
    found = interleaved(3, sides)
    assert seen == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert found == {"ours": [1, 4, 5], "theirs": [2, 3, 6]}


@pytest.mark.parametrize(
    ("goal", "ratios", "met"),
    [
        (Goal((0.95, 0.6)), (0.96, 0.6), True),
        (Goal((0.95, 0.6)), (0.96, 0.59), False),
        (Goal((2.5,), at_most=True), (2.4,), True),
        (Goal((None, 2.0), at_most=True), (9.0, 1.9), True),
        (Goal((None, 2.0), at_most=True), (1.0, 2.1), False),
    ],
)
def test_goals(goal: Goal, ratios: tuple[float, ...], met: bool) -> None:
    assert goal.met(ratios) is met


def test_a_row_keeps_every_round() -> None:
    made = row("commands", "SET", "k/s", [[1, 2, 3], [8, 8, 8]], [[2, 2, 2], [4, 8, 16]], cells=("p1", "p16"))
    assert made.ours == (2, 8) and made.theirs == (2, 8) and made.ratio == (1, 1)
    assert made.raw == {"ours p1": [1, 2, 3], "theirs p1": [2, 2, 2], "ours p16": [8, 8, 8], "theirs p16": [4, 8, 16]}
    assert made.met is None


def test_the_geometric_mean_of_double_and_half_is_one() -> None:
    rows = [Row("commands", "a", "", (), (), ratio=(2.0, 0.5)), Row("commands", "b", "", (), (), ratio=(0.5, 0.5))]
    mean = mean_row(rows, "mean", Goal((0.9, 0.9)))
    assert mean.ratio == pytest.approx((1.0, 0.5)) and mean.met is False


def test_percentile() -> None:
    assert percentile(list(range(1, 101)), 50) == pytest.approx(50.5)
    assert percentile([1.0], 99) == 0.0


# -- what is shown of it -------------------------------------------------------------------------------------


def test_the_table_has_goals_units_and_who_is_beside() -> None:
    lines = report.table(figures().rows).splitlines()
    assert "| SET | 120 / 1,234 | 150 / 2,000 | 0.80 / 0.62 | ≥ 0.4 / 0.7 ✗ |" in lines
    delivered = "| events delivered, one per request<br>nothing lost | 11,000 /s"
    assert f"{delivered} | 5,000 /s (stream + worker, one per request) | 2.20 | ≥ 2 ✓ |" in lines
    assert '| **Resident memory** (`make bench ARGS="--only memory"`) | | | | |' in lines
    assert "| memory per pending event | 480 B |  |  |  |" in lines
    assert {line.count("|") for line in lines} == {6}


@pytest.mark.parametrize(("part", "shown"), [("commands", "| 120 |"), ("delivery", "| 120 k/s |")])
def test_a_unit_is_left_out_where_the_parts_title_tells_it(part: str, shown: str) -> None:
    assert shown in report.table([Row(part, "SET", "k/s", (120.0,), against="")])
    assert all("k/s" in report.PARTS[part] or "The same" in report.PARTS[part] for part in report.THOUSANDS)


def test_a_quick_run_is_not_judged() -> None:
    quick = figures()
    page = report.page(quick)
    assert quick.quick and "| ≥ 2 |" in page and "≤ 0.2 µs |" in page
    assert not {"✓", "✗"} & set(page)
    assert {"✓", "✗"} < set(report.page(replace(quick, quick=False)))


def test_json_and_back() -> None:
    before = figures()
    assert report.restored(json.loads(json.dumps(report.plain(before)))) == before


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0"), (0.456, "0.46"), (9.999, "10.0"), (12.34, "12.3"), (99.96, "100"), (1e6, "1,000,000")],
)
def test_three_digits(value: float, shown: str) -> None:
    assert report.number(value) == shown


def test_every_part_has_a_title() -> None:
    from benchmarks.__main__ import Scale, parts

    assert list(parts(Scale(True, 1, 0.1))) == list(report.PARTS)


def test_the_page_replaces_what_stood_between_the_marks() -> None:
    before = f"intro\n{report.BEGIN}\nold\n{report.END}\noutro\n"
    after = report.filled(before, "new")
    assert after == f"intro\n{report.BEGIN}\n\nnew\n\n{report.END}\noutro\n"
    assert report.filled(after, "new") == after
    with pytest.raises(ValueError, match="measured"):
        report.filled("nothing to fill in", "new")
