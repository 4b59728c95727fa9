"""Who an fsync under `always` waits for."""

from __future__ import annotations

import pytest

from ferrite_hooks.server.gathering import LONGEST_SECONDS, PAUSE_SECONDS, Gathering

STEP = PAUSE_SECONDS / 2


def test_nobody_is_waited_for_at_first() -> None:
    assert not Gathering().incomplete(1, 100.0)


def test_a_client_alone_is_not_waited_for() -> None:
    group = Gathering()
    group.answered(1, 0.001, 100.0)
    assert not group.incomplete(1, 100.0)


def test_those_who_come_back_one_after_the_other_are_waited_for() -> None:
    group = Gathering()
    group.answered(3, 0.001, 100.0)
    group.answered(2, 0.001, 100.0)
    for came in range(5):
        assert group.incomplete(came, 100 + came * STEP)
    assert not group.incomplete(5, 100 + 4 * STEP)
    assert not group.incomplete(1, 100 + 4 * STEP), "the next group has begun"


def test_nobody_for_a_while_ends_the_wait() -> None:
    group = Gathering()
    group.answered(5, 0.001, 100.0)
    assert group.incomplete(2, 100.0)
    assert group.incomplete(2, 100 + STEP)
    assert not group.incomplete(2, 100 + 2.1 * STEP)


@pytest.mark.parametrize(("pace", "longest"), [(0.0005, 0.0005), (1.0, LONGEST_SECONDS)])
def test_no_wait_is_longer_than_the_fsync_nor_than_the_limit(pace: float, longest: float) -> None:
    group = Gathering()
    group.answered(10_000, pace, 100.0)
    came = 1
    while group.incomplete(came, 100 + came * STEP):
        came += 1
    assert longest <= came * STEP < longest + 2 * STEP
