"""The SVG: well formed, to scale, and readable in both schemes."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest
from bench_world import figures

from benchmarks import chart, report
from benchmarks.figures import mean_row, row

SVG = "{http://www.w3.org/2000/svg}"


def rectangles(document: str) -> dict[str, ElementTree.Element]:
    """Bars by what their tool tip says."""
    found = ElementTree.fromstring(document).iter(f"{SVG}rect")
    return {each.findtext(f"{SVG}title") or "": each for each in found}


def test_columns_are_to_scale_and_stand_on_one_line() -> None:
    bars = rectangles(chart.drawn([("SET", (1.0, 0.5)), ("A<B&C", (0.25, 1.0))], ("one", "two"), [], "caption"))
    whole, half, quarter = bars["SET, one: 1.00"], bars["SET, two: 0.50"], bars["A<B&C, one: 0.25"]
    heights = [float(bar.get("height", "")) for bar in (whole, half, quarter)]
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.2) == pytest.approx(4 * heights[2], abs=0.4)
    floors = {round(float(bar.get("y", "")) + float(bar.get("height", ""))) for bar in (whole, half, quarter)}
    assert len(floors) == 1


def test_nothing_leaves_the_picture() -> None:
    document = chart.drawn([("SET", (5.2, 0.5))] * 11, ("one", "two"), [("x" * 30, 1e6, True), ("y", 0.0, False)], "c")
    root = ElementTree.fromstring(document)
    _, _, width, height = map(float, root.get("viewBox", "").split())
    for bar in root.iter(f"{SVG}rect"):
        x, y, w, h = (float(bar.get(name, "")) for name in ("x", "y", "width", "height"))
        assert x >= 0 and x + w <= width and y >= 0 and y + h <= height and w >= 0 and h >= 0
    for text in root.iter(f"{SVG}text"):
        assert 0 < float(text.get("y", "")) < height


def test_it_follows_the_readers_scheme() -> None:
    document = report.svg(figures())
    assert "prefers-color-scheme: dark" in document and "background" not in document
    assert "A &amp; B" in document


def test_the_runs_figures_are_in_it() -> None:
    bars = rectangles(report.svg(figures()))
    assert "SET, pipeline 16: 0.62" in bars
    assert float(bars["Ferrite Hooks, one per request: 11,000"].get("width", "")) == pytest.approx(
        2.2 * float(bars["stream + worker, one per request: 5,000"].get("width", "")), abs=0.3
    )


def test_only_the_ten_commands_and_their_mean_are_columns() -> None:
    beside = row("commands", "ZADD beside a reader of the top ten", "k/s", [[1.0]], [[1.0]], cells=("pipeline 1",))
    run = replace(figures(), rows=(*figures().rows, beside, mean_row([beside], "geometric mean, everysec")))
    document = report.svg(run)
    assert "beside a reader" not in document and "geo. mean" in document


def test_a_run_of_one_part_is_a_chart_too() -> None:
    ElementTree.fromstring(report.svg(report.Figures({}, "", 1.0, True, ())))


@pytest.mark.parametrize(("value", "top"), [(1, 1), (1.01, 1.2), (1.3, 1.5), (7, 8), (0.03, 0.03), (430, 500), (0, 1)])
def test_nice_top(value: float, top: float) -> None:
    assert chart.nice_top(value) == pytest.approx(top)
