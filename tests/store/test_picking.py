"""Single frames, read while the journal grows: the right ones, whatever lies between them; what is wrong is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journal_world import SEGMENT_1, opened, three, written

from ferrite_hooks.messagepack import unpack
from ferrite_hooks.store import picking
from ferrite_hooks.store.frames import FRAME_HEADER, SEGMENT_HEADER
from ferrite_hooks.store.journal import JournalDamaged, JournalError


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A journal of 2,000 frames in many files, still open."""
    journal, _ = opened(tmp_path_factory.mktemp("many"), segment_bytes=8192)
    for n in range(1, 2001):
        journal.append(*three(n % 50))
        if n % 100 == 0:
            journal.sync()
    yield journal
    journal.close()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sets(st.integers(1, 2000), min_size=1, max_size=30), min_size=1, max_size=4))
def test_any_frames_in_any_order_of_asking(many: Any, asked: list[set[int]]) -> None:
    assert many.segment_count > 10
    picker = many.picker()
    for numbers in asked:
        frames = list(picker.pick(sorted(numbers)))
        assert [frame.number for frame in frames] == sorted(numbers)
        assert all(unpack(frame.changes) == three(frame.number % 50)[1] for frame in frames)


def test_frames_that_come_after_the_first_look(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    picker = journal.picker()
    for n in range(1, 5):
        journal.append(*three(n))
        assert [frame.number for frame in picker.pick([1, n] if n > 1 else [1])][-1] == n
    journal.rotate()
    journal.append(*three(5))
    assert [frame.number for frame in picker.pick([2, 4, 5])] == [2, 4, 5]
    journal.drop_before(5)
    with pytest.raises(JournalError, match=r"frame 2 is gone: the journal begins with frame 5"):
        list(picker.pick([2]))
    assert [frame.number for frame in picker.pick([5])] == [5]
    journal.close()


def test_a_second_look_begins_near_its_goal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picking, "PLACE_BYTES", 1000)
    journal, _ = opened(tmp_path)
    for _ in range(3000):
        journal.append(*three(1))
    passed: list[int] = []
    skip_to = picking.skip_to
    monkeypatch.setattr(picking, "skip_to", lambda file, a, b: (passed.append(b - a), skip_to(file, a, b))[1])
    picker = journal.picker()
    list(picker.pick([2900]))
    assert sum(passed) == 2899
    passed.clear()
    list(picker.pick([2900, 2950]))
    assert sum(passed) <= 256 + 50
    journal.close()


def test_damage_and_what_is_missing(tmp_path: Path) -> None:
    written(tmp_path, [three(n) for n in range(1, 10)])
    path = tmp_path / SEGMENT_1
    data = bytearray(path.read_bytes())
    journal, _ = opened(tmp_path)
    with pytest.raises(JournalDamaged, match="it ends before frame"):
        list(journal.picker().pick([3, 12]))
    place = SEGMENT_HEADER + FRAME_HEADER + 5
    for offset, readable in ((place, 2), (SEGMENT_HEADER + 1, None)):
        damaged = data.copy()
        damaged[offset] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(JournalDamaged) as found:
            list(journal.picker().pick([1]))
        assert found.value.file == path and found.value.offset == SEGMENT_HEADER
        if readable:  # what is not asked for is not looked at
            assert [frame.number for frame in journal.picker().pick([readable])] == [readable]
    path.unlink()
    with pytest.raises(JournalError, match="cannot read"):
        list(journal.picker().pick([1]))
    path.write_bytes(data)
    journal.close()
