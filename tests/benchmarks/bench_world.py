"""A run's figures, made up."""

from __future__ import annotations

from benchmarks import report
from benchmarks.figures import Goal, Row, row


def figures() -> report.Figures:
    rows = (
        row("commands", "SET", "k/s", [[120.4], [1234.0]], [[150.0], [2000.0]], goal=Goal((0.4, 0.7)),
            cells=("pipeline 1", "pipeline 16")),
        row("delivery", "events delivered, one per request", "/s", [[11_000.0]], [[5000.0]], goal=Goal((2.0,)),
            against="stream + worker, one per request", note="nothing lost"),
        row("matcher", "one key", "µs", [[0.1]], [[90.0]], goal=Goal((0.2,), at_most=True, absolute=True)),
        Row("memory", "memory per pending event", "B", (480.0,), against=""),
    )  # fmt: skip
    return report.Figures({"processor": "A & B", "python": "3.11.7"}, "one core", 90.0, True, rows)
