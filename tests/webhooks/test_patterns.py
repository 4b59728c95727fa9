"""The index of globs against the globs one by one, while they come and go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ferrite_hooks import glob
from ferrite_hooks.webhooks.patterns import Patterns

PIECES = [b"u", b"user:", b"*", b"?", b"[ab]", b":items", b"1", b"\\*", b"\\1"]
GLOBS = st.lists(st.sampled_from(PIECES), max_size=5).map(b"".join)
KEYS = st.lists(st.sampled_from([b"u", b"user:", b":items", b"1", b"a", b"*"]), max_size=5).map(b"".join)
SERIALS = st.integers(1, 5)


STEPS = st.lists(st.tuples(SERIALS, st.lists(GLOBS, max_size=3)), max_size=12)


def wanted(pattern: bytes, key: bytes) -> bool:
    return set(pattern) == set(b"*") or glob.matches(pattern, key)  # stars alone are every key, the empty one, too


@given(STEPS, st.lists(KEYS, min_size=1, max_size=5), st.sets(SERIALS))
def test_finds_what_the_globs_match(steps: list[tuple[int, list[bytes]]], keys: list[bytes], among: set[int]) -> None:
    patterns, there = Patterns(), dict[int, list[bytes]]()
    for serial, globs in [*steps, *((serial, []) for serial in range(1, 6))]:
        patterns.remove(serial, there.pop(serial, []))
        if globs:
            patterns.add(serial, globs)
            there[serial] = globs
        for key in keys:
            expected = {s for s, own in there.items() if s in among and any(wanted(p, key) for p in own)}
            assert patterns.find(key, among, ()) == tuple(sorted(expected))
            assert patterns.find(key, among, (3, 9)) == tuple(sorted(expected | {3, 9}))
    for name in ("_by_text", "_by_prefix", "_literal", "_sizes", "_heads", "_steps", "_tails"):
        assert not getattr(patterns, name), "nothing is left of what has gone"
    assert not any(patterns.first) and patterns.quick


def test_a_literal_may_be_written_in_many_ways() -> None:
    patterns = Patterns()
    patterns.add(1, [b"ab"])
    patterns.add(2, [b"a\\b", b"ab"])
    patterns.add(3, [b"[a]b"])
    assert patterns.find(b"ab", {1, 2, 3}, ()) == (1, 2, 3)
    patterns.remove(2, [b"a\\b", b"ab"])
    assert patterns.find(b"ab", {1, 2, 3}, ()) == (1, 3)


def test_quick_while_there_is_little_to_look_at() -> None:
    patterns = Patterns()
    patterns.add(1, [b"tenant%d:*" % n for n in range(1000)])
    assert patterns.quick
    patterns.add(2, [b"*%d?" % n for n in range(10)])
    assert not patterns.quick
    patterns.remove(2, [b"*%d?" % n for n in range(10)])
    assert patterns.quick
