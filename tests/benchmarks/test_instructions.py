"""Counting instructions: what is read of valgrind's file."""

from __future__ import annotations

import pytest

from benchmarks.instructions import totals


def test_totals_are_the_sum_at_the_files_end() -> None:
    assert totals("# callgrind format\nevents: Ir\nfn=(1) main\n12 345\nsummary: 0\ntotals: 79564589\n") == 79_564_589


def test_a_file_without_totals_is_refused() -> None:
    with pytest.raises(ValueError, match="counted nothing"):
        totals("# callgrind format\nevents: Ir\n")
