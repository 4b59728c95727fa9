"""The order of a sorted set against a list that is sorted each time, across many chunks."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right, insort
from math import inf

import pytest

from ferrite_hooks.values.order import FULL, SCANT, Order

Pair = tuple[float, bytes]


class Model:
    """An Order and the same as a sorted list of pairs."""

    def __init__(self, count: int, seed: int, levels: int) -> None:
        self.random = random.Random(seed)
        self.levels = levels
        members = {b"%d" % self.random.randrange(10 * count) for _ in range(count)}
        scores = {member: self.score() for member in members}
        self.order = Order(scores)
        self.pairs = sorted((score, member) for member, score in scores.items())

    def score(self) -> float:
        return self.random.choice((-inf, inf, float(self.random.randrange(self.levels))))

    def add(self, score: float | None = None) -> None:
        member = b"new%d" % self.random.randrange(1 << 40)
        score = self.score() if score is None else score
        self.order.add(member, score)
        insort(self.pairs, (score, member))

    def remove(self, at: int) -> None:
        score, member = self.pairs.pop(at)
        self.order.remove(member, score)

    def check(self) -> None:
        order, pairs = self.order, self.pairs
        members, scores = [pair[1] for pair in pairs], [pair[0] for pair in pairs]
        if pairs:
            assert order.slice(0, len(pairs)) == members
            for _ in range(20):
                start = self.random.randrange(len(pairs))
                stop = self.random.randrange(start, len(pairs)) + 1
                assert order.slice(start, stop) == members[start:stop]
                assert order.rank(members[start], scores[start]) == start
        for score in (-inf, -1.0, 0.0, 0.5, float(self.random.randrange(self.levels)), inf):
            assert order.below_score(score, False) == bisect_left(scores, score)
            assert order.below_score(score, True) == bisect_right(scores, score)
        sizes = [len(chunk) for chunk in order.parts()[0]]
        assert sizes == [len(chunk) for chunk in order.parts()[1]]
        assert len(sizes) < 2 or min(sizes[:-1]) >= SCANT, "only the last one may begin with fewer"
        assert not sizes or (min(sizes) > 0 and max(sizes) <= FULL)


@pytest.mark.parametrize("levels", [1, 3, 1_000_000])  # all scores equal, many of each, hardly any twice
@pytest.mark.parametrize("count", [0, 1, FULL // 2, 5 * FULL + 3])
def test_answers_as_a_sorted_list_does(count: int, levels: int) -> None:
    model = Model(count, count + levels, levels)
    model.check()
    for more in (0.9, 0.1, 0.5):  # grows, shrinks, stays
        for step in range(4000):
            if not model.pairs or model.random.random() < more:
                model.add()
            else:
                model.remove(model.random.randrange(len(model.pairs)))
            if step % 400 == 0:
                model.check()
    model.check()


@pytest.mark.parametrize("highest", [False, True])
def test_popped_to_the_last_one_and_filled_again(highest: bool) -> None:
    model = Model(3 * FULL, 7, 100)
    while model.pairs:
        assert model.order.pop(highest) == model.pairs.pop(-1 if highest else 0)[1]
        if len(model.pairs) % 300 == 0:
            model.check()
    assert model.order.below_score(inf, True) == 0
    model.add()
    model.check()


def test_many_at_one_place_are_split() -> None:
    model = Model(4 * FULL, 3, 10)
    for _ in range(3 * FULL):
        model.add(5.0)
    model.check()


def test_a_chunk_that_is_scant_joins_a_full_one() -> None:
    model = Model(0, 1, 1_000_000)
    for n in range(3 * FULL):
        model.add(float(n))
    model.check()
    while len(model.pairs) > 2 * FULL:
        model.remove(0)
    model.check()


def test_by_member_where_all_scores_are_equal() -> None:
    members = sorted(b"%d" % n for n in range(0, 6 * FULL, 2))
    order = Order(dict.fromkeys(members, 7.0))
    for member in (b"", members[0], members[FULL], b"1001", members[-1], b"\xff"):
        assert order.below_member(member, False) == bisect_left(members, member)
        assert order.below_member(member, True) == bisect_right(members, member)
