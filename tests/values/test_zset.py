"""ZSet against a naive model that sorts a dict every time it is asked."""

from __future__ import annotations

import random
from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st

from ferrite_hooks.values.zset import ZSet

members = st.sampled_from([b"", b"\x00", b"\xff", *(b"m%d" % n for n in range(12))])
scores = st.sampled_from([-inf, -1.5, -0.0, 0.0, 1.0, 1.0000000000000002, 2.0, inf])
positions = st.integers(-3, 20)
flags = st.booleans()

questions = st.one_of(
    st.tuples(st.just("rank"), members, flags),
    st.tuples(st.just("range"), positions, positions, flags),
    st.tuples(st.just("span_by_score"), scores, scores, flags, flags),
)
writes = st.one_of(
    st.tuples(st.just("add"), members, scores),
    st.tuples(st.just("remove"), members),
    st.tuples(st.just("pop"), st.integers(0, 4), flags),
)


class Naive:
    def __init__(self) -> None:
        self.scores: dict[bytes, float] = {}

    def ordered(self, reverse: bool = False) -> list[bytes]:
        return sorted(self.scores, key=lambda m: (self.scores[m], m), reverse=reverse)

    def add(self, member: bytes, score: float) -> bool:
        new = member not in self.scores
        if new or self.scores[member] != score:
            self.scores[member] = score
        return new

    def remove(self, member: bytes) -> bool:
        return self.scores.pop(member, None) is not None

    def pop(self, count: int, highest: bool) -> list[tuple[bytes, float]]:
        return [(m, self.scores.pop(m)) for m in self.ordered(highest)[:count]]

    def rank(self, member: bytes, reverse: bool) -> int | None:
        return self.ordered(reverse).index(member) if member in self.scores else None

    def range(self, start: int, stop: int, reverse: bool) -> list[bytes]:
        return [m for n, m in enumerate(self.ordered(reverse)) if start <= n < stop]

    def span_by_score(self, low: float, high: float, low_open: bool, high_open: bool) -> set[bytes]:
        return {
            m
            for m, s in self.scores.items()
            if (s > low if low_open else s >= low) and (s < high if high_open else s <= high)
        }


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(writes, writes, questions), max_size=60))
def test_answers_as_a_sorted_dict_does(steps: list[tuple]) -> None:
    zset, naive = ZSet(), Naive()
    for step, (name, *args) in enumerate(steps):
        got, expected = getattr(zset, name)(*args), getattr(naive, name)(*args)
        if name == "span_by_score":
            start, stop = got
            assert stop - start == len(expected)
            got = set(zset.range(start, stop))
        assert got == expected, (name, args)
        if step == 20:
            zset.hashed()
        # repr tells -0.0 from 0.0
        assert sorted(map(repr, zset.items())) == sorted(map(repr, naive.scores.items()))
    assert sorted(zset.hashed().scan(0, 1000)[1]) == sorted(naive.scores)
    assert zset.range(0, len(zset)) == naive.ordered()
    assert zset.range(0, len(zset), reverse=True) == naive.ordered(reverse=True)


@settings(max_examples=100, deadline=None)
@given(st.sets(members), flags, st.none() | members, st.none() | members, flags, flags)
def test_spans_by_member(
    present: set[bytes], ascending: bool, low: bytes | None, high: bytes | None, low_open: bool, high_open: bool
) -> None:
    zset = ZSet({member: 7.0 + n * ascending for n, member in enumerate(sorted(present))})
    start, stop = zset.span_by_member(low, high, low_open, high_open)
    assert zset.range(start, stop) == sorted(
        m
        for m in present
        if (low is None or (m > low if low_open else m >= low))
        and (high is None or (m < high if high_open else m <= high))
    )


def test_an_equal_score_keeps_its_sign() -> None:
    zset = ZSet()
    assert zset.add(b"a", 0.0)
    assert not zset.add(b"a", -0.0)
    assert str(zset.score(b"a")) == "0.0"


def test_a_note_that_comes_back_to_the_same_place_changes_the_stored_score_only() -> None:
    zset = ZSet()
    for n in range(10):
        zset.add(b"%d" % n, 0.0)
    assert zset.rank(b"3") == 3
    zset.add(b"3", 1.0)
    zset.add(b"3", -0.0)
    assert zset.rank(b"3") == 3
    assert str(zset.pop(4)[3][1]) == "-0.0"


def test_a_copy_goes_its_own_way() -> None:
    zset = ZSet()
    zset.add(b"a", 1.0)
    twin = zset.copy()
    twin.add(b"b", 2.0)
    zset.remove(b"a")
    assert list(zset) == [] and twin.range(0, 9) == [b"a", b"b"]
    assert b"b" in twin and b"b" not in zset


def filled(length: int) -> ZSet:
    zset = ZSet()
    for n in range(length):
        zset.add(b"%d" % n, float(n))
    return zset


def test_writes_alone_never_build_the_index() -> None:
    zset = filled(1000)
    for n in range(0, 1000, 2):
        zset.remove(b"%d" % n)
    assert zset._order is None


def test_mixed_use_moves_only_what_moved() -> None:
    zset = filled(1000)
    zset.rank(b"1")
    order, rng = zset._order, random.Random(5)
    for _ in range(2000):
        member = b"%d" % rng.randrange(1000)
        zset.add(member, rng.random() * 1000)
        assert len(zset._moved) <= 1
        zset.rank(member)
    assert zset._order is order


def test_a_burst_drops_the_index_and_one_question_rebuilds_it() -> None:
    zset = filled(1000)
    zset.rank(b"1")
    for _ in range(3):
        for n in range(1000):
            zset.add(b"%d" % n, float(-n))
            zset.add(b"%d" % n, float(n + 1))
    assert zset._order is None and not zset._moved
    assert zset.rank(b"999") == 999


def test_queue_use_is_one_step_each() -> None:
    zset = filled(1000)
    zset.rank(b"1")
    order = zset._order
    for n in range(1000, 3000):
        assert zset.pop() == [(b"%d" % (n - 1000), float(n - 1000))]
        zset.add(b"%d" % n, float(n))
        assert len(zset._moved) == 1
    assert zset._order is order
