"""What comes out of a measurement: rows that compare two figures taken in the same minutes.

Rounds are interleaved (ours, theirs, theirs, ours, …), so that whatever else the machine does meets both alike; a
row quotes medians, and its ratio is the median of the ratios of single rounds, not the ratio of the medians.
A row may have several cells, one for each pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import geometric_mean, median, quantiles
from typing import TypeVar

K = TypeVar("K")
T = TypeVar("T")


@dataclass(frozen=True)
class Goal:
    """What the ratios should be, or with `absolute` our own figures, cell by cell; None: anything."""

    bounds: tuple[float | None, ...]
    at_most: bool = False
    absolute: bool = False

    def met(self, figures: Sequence[float]) -> bool:
        pairs = [(f, b) for f, b in zip(figures, self.bounds, strict=True) if b is not None]
        return all(figure <= bound if self.at_most else figure >= bound for figure, bound in pairs)

    def __str__(self) -> str:
        bounds = " / ".join("–" if bound is None else f"{bound:g}" for bound in self.bounds)
        return f"{'≤' if self.at_most else '≥'} {bounds}"


@dataclass(frozen=True)
class Row:
    """One line of the table. `ours` and `theirs` are in `unit`; `theirs` is empty where there is nothing beside."""

    part: str  # what --only calls it
    name: str
    unit: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...] = ()
    against: str = "redis-server"
    ratio: tuple[float, ...] = ()
    goal: Goal | None = None
    cells: tuple[str, ...] = ()  # what the several figures are, e.g. pipelines
    note: str = ""
    raw: dict[str, list[float]] = field(default_factory=dict, compare=False)  # every round, for the JSON

    @property
    def met(self) -> bool | None:
        """None: there is no goal, or nothing to judge it by."""
        if self.goal is None:
            return None
        figures = self.ours if self.goal.absolute else self.ratio
        return self.goal.met(figures) if figures else None


def interleaved(rounds: int, sides: dict[K, Callable[[], T]]) -> dict[K, list[T]]:
    """Runs all sides `rounds` times in turns, every second time backwards, so that none is always the first."""
    found: dict[K, list[T]] = {name: [] for name in sides}
    for number in range(rounds):
        names = list(sides) if number % 2 == 0 else list(reversed(sides))
        for name in names:
            found[name].append(sides[name]())
    return found


def compared(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Medians of both, and of the ratios of the rounds."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True) if b]
    return median(ours), median(theirs), median(ratios) if ratios else 0.0


def row(
    part: str, name: str, unit: str, ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]], *,
    goal: Goal | None = None, cells: tuple[str, ...] = (), against: str = "redis-server", note: str = "",
) -> Row:  # fmt: skip
    """A Row from the rounds of each cell."""
    triples = [compared(a, b) for a, b in zip(ours, theirs, strict=True)]
    raw = {}
    for number, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        label = f" {cells[number]}" if cells else ""
        raw[f"ours{label}"], raw[f"theirs{label}"] = list(a), list(b)
    mine, others, ratios = (tuple(t[i] for t in triples) for i in range(3))
    return Row(part, name, unit, mine, others, against, ratios, goal, cells, note, raw)


def mean_row(rows: Sequence[Row], name: str, goal: Goal | None = None, note: str = "") -> Row:
    """The geometric mean of several rows' ratios, cell by cell."""
    first = rows[0]
    means = tuple(geometric_mean(ratios) for ratios in zip(*(r.ratio for r in rows), strict=True))
    return Row(first.part, name, "", (), (), first.against, means, goal, first.cells, note)


def percentile(values: Sequence[float], percent: int) -> float:
    """0.0 where there are too few values to have one."""
    return quantiles(values, n=100)[percent - 1] if len(values) > 1 else 0.0
