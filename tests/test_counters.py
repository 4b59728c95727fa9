"""Histograms."""

from __future__ import annotations

import pytest

from ferrite_hooks.counters import Histogram


def test_quantiles() -> None:
    histogram = Histogram((1.0, 2.0, 4.0))
    assert histogram.quantile(0.5) == 0.0
    for value in (0.5, 1.0, 1.5, 3.0):
        histogram.observe(value)
    assert histogram.quantile(0.5) == pytest.approx(1.0)
    assert histogram.quantile(0.99) == pytest.approx(3.92)
    histogram.observe(100)
    assert histogram.quantile(0.99) == 4.0, "the last bound, when all that is known is that it was passed"
    twice = Histogram((1.0, 2.0, 4.0))
    twice.add(histogram)
    twice.add(histogram)
    assert (twice.count, twice.sum) == (10, 212.0)
