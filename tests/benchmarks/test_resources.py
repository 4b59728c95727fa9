"""Memory of pending events, at a small scale: that they are where the row says."""

from __future__ import annotations

import pytest

from benchmarks.resources import LEAST, per_pending


def test_in_memory_they_need_more_than_in_the_journal_alone() -> None:
    memory, journal = per_pending(10_000, "in memory", 20_000), per_pending(10_000, "in the journal alone", LEAST)
    assert "in memory, 10,000" in memory.name and "in the journal alone, 10,000" in journal.name
    assert memory.ours > journal.ours


def test_a_row_about_events_that_are_elsewhere_is_refused() -> None:
    with pytest.raises(RuntimeError, match="in the journal alone"):
        per_pending(10_000, "in memory", 5000)
