"""The index against a plain set, under any order of additions, removals, draws and scans."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from ferrite_hooks.values.index import Index

STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "add", "discard", "random", "scan"]), st.integers(0, 60)), max_size=120
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.sets(st.integers(0, 60)), STEPS)
def test_it_holds_what_the_set_holds(start: set[int], steps: list[tuple[str, int]]) -> None:
    members = {b"%d" % i for i in start}
    index = Index(members)
    for step, i in steps:
        member = b"%d" % i
        if step == "add" and member not in members:
            members.add(member)
            index.add(member)
        elif step == "discard" and member in members:
            members.remove(member)
            index.discard(member)
        elif step == "random" and members:
            assert index.random() in members
        elif step == "scan":
            assert index.scan(0, 1000) == (0, index.scan(0, 1000)[1])
            assert sorted(index.scan(0, 1000)[1]) == sorted(members)


def scan_all(index: Index, count: int) -> list[bytes]:
    cursor, found = index.scan(0, count)
    while cursor:
        cursor, page = index.scan(cursor, count)
        found += page
    return found


def test_scan_in_pages() -> None:
    members = {b"%d" % i for i in range(5000)}
    index = Index(members)
    assert sorted(scan_all(index, 10)) == sorted(members)
    cursor, page = index.scan(0, 10)
    assert cursor and 10 <= len(page) < 200
    assert index.scan(1 << 60, 10)[0] == 0  # beyond the end of hash space


def test_a_cursor_survives_growth_and_shrinking() -> None:
    for growing in (True, False):
        stay = {b"s%d" % i for i in range(300)}
        passing = [b"p%d" % i for i in range(20_000)]
        members = set(stay) if growing else stay | set(passing)
        index = Index(members)
        cursor, found = index.scan(0, 20)
        for i, member in enumerate(passing):
            if growing:
                members.add(member)
                index.add(member)
            else:
                members.remove(member)
                index.discard(member)
            if i % 1000 == 0 and cursor:
                cursor, page = index.scan(cursor, 20)
                found += page
        while cursor:
            cursor, page = index.scan(cursor, 20)
            found += page
        assert stay <= set(found)


def test_draws_are_fair_after_removals_and_returns() -> None:
    members = {b"%d" % i for i in range(100)}
    index = Index(members)
    index.random()
    for i in range(0, 100, 3):
        members.remove(b"%d" % i)
        index.discard(b"%d" % i)
    for i in range(0, 100, 6):
        members.add(b"%d" % i)
        index.add(b"%d" % i)
    counts = Counter(index.random() for _ in range(100 * len(members)))
    assert set(counts) == members
    chi_squared = sum((count - 100) ** 2 / 100 for count in counts.values())
    assert abs(chi_squared - len(members)) < 8 * (2 * len(members)) ** 0.5  # eight standard deviations


def test_drawing_until_nothing_is_left() -> None:
    members = {b"%d" % i for i in range(1000)}
    index = Index(members)
    while members:
        member = index.random()
        members.remove(member)
        index.discard(member)
    assert scan_all(index, 10) == []
