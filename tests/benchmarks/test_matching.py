"""The matcher among a thousand webhooks: what it is asked, and what is shown of it."""

from __future__ import annotations

from benchmarks import matching, report


def test_globs_are_mixed() -> None:
    globs = matching.mixed_globs(1000)
    assert len(set(globs)) == 1000
    for wanted in (lambda g: g.startswith(b"*"), lambda g: b"[" in g, lambda g: b"*" not in g):
        assert any(map(wanted, globs))


def test_some_keys_match_and_generations_differ() -> None:
    matcher, first, second = matching.mixed_matcher(), matching.keys(0), matching.keys(1)
    found = [matcher.match(0, "set", key) for key in first]
    assert any(found) and not all(found)
    assert not set(first) & set(second)


def test_its_goal_is_of_microseconds_not_of_a_ratio() -> None:
    (row,) = matching.matching(1)
    assert row.ours[0] < row.theirs[0] and row.met is matching.GOAL.met(row.ours)
    assert "≤ 0.2 / 5 µs" in report.table([row])
