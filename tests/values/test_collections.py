"""Hash, list and set values: what they add to dict, deque and set."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrite_hooks.values.collections import SMALL, Hash, List, Set, index_of, random_member, random_members


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([b"a", b"b"]), max_size=40), st.data())
def test_list_ranges_and_removals(elements: list[bytes], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(elements)))
    stop = data.draw(st.integers(start, len(elements)))
    assert List(elements).span(start, stop) == elements[start:stop]
    kept = List(elements)
    kept.keep(start, stop)
    assert list(kept) == elements[start:stop]
    count = data.draw(st.integers(0, elements.count(b"a")))
    for left in (True, False):
        dropped = List(elements)
        dropped.drop(b"a", count, left)
        expected = elements[:] if left else elements[::-1]
        for _ in range(count):
            expected.remove(b"a")
        assert list(dropped) == (expected if left else expected[::-1])
        cut = List(elements)
        gone = cut.cut(start, left)
        assert gone == (elements if left else elements[::-1])[:start] and len(cut) == len(elements) - start


def test_span_far_from_both_ends() -> None:
    elements = [b"%d" % i for i in range(5000)]
    value = List(elements)
    for start, stop in [(2500, 2503), (4000, 4900), (100, 4999), (4990, 5000), (2500, 2500), (0, 5000)]:
        assert value.span(start, stop) == elements[start:stop]


@pytest.mark.parametrize("value", [Hash([(b"a", b"1")]), List([b"a"]), Set([b"a"])])
def test_a_copy_is_equal_and_independent(value: Hash | List | Set) -> None:
    value.big = True
    if not isinstance(value, List):
        index_of(value)
    twin = value.copy()
    assert type(twin) is type(value) and twin == value and twin.big
    twin.clear()
    assert len(value) == 1
    assert isinstance(twin, List) or twin.index is None


@pytest.mark.parametrize("size", [1, 5, SMALL, SMALL + 1, 3000])
def test_random_members(size: int) -> None:
    members = {b"%d" % i for i in range(size)}
    for value in (Set(members), Hash((member, b"") for member in members)):
        assert random_member(value) in members
        for count in (0, 1, size // 5, size // 2, size, size + 1):
            picked = random_members(value, count)
            assert len(picked) == len(set(picked)) == min(count, size) and members.issuperset(picked)
