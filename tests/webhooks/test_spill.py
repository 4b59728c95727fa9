"""The compact index against a dict: whatever is added, removed and read, in any order."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferrite_hooks.webhooks.spill import Spill, Tried

STEPS = st.lists(st.one_of(
    st.tuples(st.just("add"), st.integers(1, 9), st.integers(0, 3)),
    st.tuples(st.just("late"), st.integers(0, 40), st.integers(0, 3)),
    st.tuples(st.sampled_from(["remove", "frame"]), st.integers(0, 40), st.just(0)),
    st.tuples(st.just("between"), st.integers(0, 40), st.integers(0, 10)),
    st.tuples(st.just("ahead"), st.integers(1, 4), st.just(0)),
    st.tuples(st.sampled_from(["rewind", "keep", "clear"]), st.just(0), st.just(0)),
), max_size=60)  # fmt: skip


@given(STEPS)
def test_against_a_dict(steps: list[tuple[str, int, int]]) -> None:
    spill, model, passed, frame = Spill(), dict[int, int](), 0, 1
    for step, a, b in steps:
        if step == "add":
            frame += b
            position = max(model, default=0) + a
            assert spill.add(position, frame, position)
            passed = passed if model else 0
            model[position] = frame
        elif step == "late" and a:
            fresh = a not in model
            was_empty = not model
            if fresh:
                model[a] = frame
            assert spill.add(a, frame, a) is fresh
            if fresh:
                passed = 0 if was_empty else passed if a > max(model.keys() - {a}) else min(passed, a - 1)
        elif step == "remove":
            assert spill.remove(a) == model.pop(a, 0)
        elif step == "between":
            gone = {position for position in model if a <= position <= a + b and position != a + 1}
            assert spill.remove_between(a, a + b, {a + 1}) == len(gone)
            model = {position: f for position, f in model.items() if position not in gone}
        elif step == "frame":
            gone = {position for position, f in model.items() if f < a}
            assert spill.remove_before(a) == len(gone)
            model = {position: f for position, f in model.items() if position not in gone}
        elif step == "ahead":
            found = spill.ahead(a)
            left = [position for position in sorted(model) if position > passed]
            assert list(found) == left[: len(found)] and len(found) >= min(a, len(left)) and len(found) <= 4 * a
            assert found == {position: model[position] for position in found}
            if found:
                passed = max(found)
                spill.passed(passed)
        elif step == "rewind":
            passed = 0
            spill.rewind()
        elif step == "keep":
            packed = spill.packed()
            again = Spill()
            again.unpack(*packed, spill.since)
            spill, passed = again, 0
        elif step == "clear":
            spill.clear()
            model.clear()
        if not model:
            passed = 0
        assert len(spill) == spill.size == len(model) and list(spill) == sorted(model)
        assert spill.first == min(model, default=0) and spill.last >= max(model, default=0)
        assert spill.lowest_frame == min(model.values(), default=0)
        assert all((position in spill) == (position in model) for position in range(45))


def test_a_million_events_take_sixteen_bytes_each_and_costs_do_not_grow() -> None:
    spill = Spill()
    for position in range(1, 1_000_001):
        spill.add(position, position // 3 + 1, 0)
    size = sys.getsizeof(spill._positions) + sys.getsizeof(spill._frames)
    assert size < 1_000_000 * 16 * 1.2
    for position in range(1, 999_001):
        assert spill.remove(position)
    assert sys.getsizeof(spill._positions) < 100_000, "what is gone takes no room"
    assert next(iter(spill)) == 999_001 and spill.lowest_frame == 333_001


@pytest.mark.parametrize("late", [[5, 6, 7], [12, 5, 6, 7, 20], [30, 31], [31, 30]])
def test_several_at_once_may_come_in_any_order(late: list[int]) -> None:
    spill = Spill()
    for position in (1, 9, 10):
        spill.add(position, 1, 0)
    spill.add_all(late, 2)
    assert list(spill) == sorted([1, 9, 10, *late]) and all(position in spill for position in late)
    again = Spill()
    again.unpack(*spill.packed(), spill.since)
    assert list(again) == list(spill)
    assert [again.remove(position) for position in late] == [2] * len(late)


def test_what_was_one_request_is_read_together() -> None:
    spill = Spill()
    for position in range(1, 30):
        spill.add(position, position, 0)
    spill.tried[3] = Tried([3, 4, 5, 6], 1, 1, 0)
    assert list(spill.ahead(2)) == [1, 2]
    assert list(spill.ahead(3)) == [1, 2, 3, 4, 5, 6]
    spill.remove(3)
    assert not spill.tried


@pytest.mark.parametrize("positions, frames", [
    ([2, 1], [1, 1]), ([1], [1, 2]), ([1], [0]), ([1, 1], [1, 1]),
])  # fmt: skip
def test_nonsense_is_refused(positions: list[int], frames: list[int]) -> None:
    def packed(numbers: list[int]) -> bytes:
        return b"".join(n.to_bytes(8, "little") for n in numbers)

    with pytest.raises(ValueError):
        Spill().unpack(packed(positions), packed(frames), 0)
    with pytest.raises(ValueError):
        Spill().unpack(b"123", b"123", 0)
