"""The matcher's index against the plain definition of what a webhook wants, and what an answer costs."""

from __future__ import annotations

import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferrite_hooks import glob
from ferrite_hooks.webhooks.events import selects
from ferrite_hooks.webhooks.match import CACHED_ANSWERS, CACHED_SCOPES, Matcher
from ferrite_hooks.webhooks.model import Webhook

PATTERN_LISTS = st.lists(
    st.lists(st.sampled_from([b"u", b"user:", b"*", b"?", b"[ab]", b":items", b"1", b"\\*"]), max_size=4)
    .map(b"".join),
    max_size=3,
)  # fmt: skip
KEYS = st.lists(st.sampled_from([b"u", b"user:", b":items", b"1", b"a", b"*"]), min_size=1, max_size=4).map(b"".join)


def hook(serial: int, **settings: object) -> Webhook:
    return Webhook(**{"serial": serial, "name": f"w{serial}", "url": "http://x/", **settings})  # type: ignore[arg-type]


@given(st.lists(PATTERN_LISTS, max_size=6), KEYS)
def test_index_agrees_with_the_globs(pattern_lists: list[list[bytes]], key: bytes) -> None:
    hooks = [hook(i, patterns=tuple(p)) for i, p in enumerate(pattern_lists, 1)]
    matcher = Matcher()
    matcher.set(hooks)
    expected = tuple(
        w.serial for w in hooks if not w.patterns or any(glob.matches(p, key) for p in w.patterns)
    )
    assert matcher.match(0, "set", key) == expected
    assert matcher.match(0, "set", key) == expected, "the remembered answer is the same"


EVENTS = st.sampled_from([("*",), ("SET",), ("DEL", "HSET"), ("user.created",), ("webhook.*",)])
OWNERS = ("ann", "bob", "root")
HOOKS = st.builds(
    hook, st.integers(1, 4), events=EVENTS, patterns=PATTERN_LISTS.map(tuple), enabled=st.booleans(),
    databases=st.sampled_from([(), (0,), (1, 2)]), owner=st.sampled_from(OWNERS), paused=st.booleans(),
)  # fmt: skip
# makes or changes a webhook, deletes one, or says of an owner with what all keys begin that he may read
PERMISSIONS = st.tuples(st.sampled_from(OWNERS), st.sampled_from([b"", b"u"]))
STEPS = st.lists(HOOKS | st.integers(1, 4) | PERMISSIONS, max_size=12)


@given(STEPS, st.lists(KEYS, min_size=1, max_size=3))
def test_step_by_step_is_the_same_as_all_at_once(
    steps: list[Webhook | int | tuple[str, bytes]], keys: list[bytes]
) -> None:
    readable = {"ann": b"u", "bob": b"", "root": b""}

    def may_read(owner: str, key: bytes) -> bool:
        return key.startswith(readable[owner])

    def new_matcher() -> Matcher:
        return Matcher(may_read, lambda owner: not readable[owner])

    def wants(webhook: Webhook, db: int, event: str, key: bytes | None) -> bool:
        if not selects(webhook.events, event) or (webhook.databases and db not in webhook.databases):
            return False
        if key is None:
            return event == "flushdb" or not webhook.patterns or any(set(p) == set(b"*") for p in webhook.patterns)
        among = not webhook.patterns or any(glob.matches(p, key) for p in webhook.patterns)
        return among and may_read(webhook.owner, key)

    matcher, present = new_matcher(), dict[int, Webhook]()
    for step in steps:
        if isinstance(step, int):
            matcher.discard(step)
            present.pop(step, None)
        elif isinstance(step, tuple):
            readable[step[0]] = step[1]
            matcher.acl_changed({step[0]})
        else:
            matcher.put(step)
            present[step.serial] = step
        fresh = new_matcher()
        fresh.set(present.values())
        enabled = [w for _, w in sorted(present.items()) if w.enabled]
        assert matcher.listening is fresh.listening is bool(enabled)
        for db in (0, 1):
            for event in ("set", "hset", "del", "flushdb", "user.created", "webhook.created"):
                for key in (*keys, None):  # asked after every step, so that answers are remembered over the next
                    expected = tuple(w.serial for w in enabled if wants(w, db, event, key))
                    assert matcher.match(db, event, key) == fresh.match(db, event, key) == expected
    for serial in list(present):
        matcher.discard(serial)
    assert not matcher.listening
    assert matcher.match(0, "set", keys[0]) == ()


def test_one_more_webhook_costs_the_same_among_many() -> None:
    def cost(count: int) -> float:
        matcher = Matcher()
        hooks = [hook(n, patterns=(b"tenant%d:*:item" % n,)) for n in range(1, count + 200)]
        matcher.set(hooks[:count])
        matcher.match(0, "set", b"tenant1:a:item")

        def come_and_go() -> None:
            for made in hooks[count:]:
                matcher.put(made)
                assert matcher.match(0, "set", b"tenant%d:a:item" % made.serial) == (made.serial,)
            for made in hooks[count:]:
                matcher.discard(made.serial)
                assert matcher.match(0, "set", b"tenant%d:a:item" % made.serial) == ()

        return timeit.timeit(come_and_go, number=1)

    assert min(cost(5000) for _ in range(3)) < 5 * min(cost(100) for _ in range(3))


def test_a_change_that_concerns_no_key_forgets_nothing() -> None:
    asked = []

    def may_read(owner: str, key: bytes) -> bool:
        asked.append(key)
        return True

    matcher = Matcher(may_read)
    matcher.set([hook(1, events=("SET",))])
    assert matcher.match(0, "set", b"k") == (1,)
    matcher.put(hook(1, events=("SET",), paused=True, url="http://y/"))
    matcher.put(hook(2, events=("DEL",)))
    matcher.discard(2)
    matcher.acl_changed({"nobody"})
    assert matcher.match(0, "set", b"k") == (1,)
    assert asked == [b"k"]


def test_events_databases_and_status() -> None:
    matcher = Matcher()
    matcher.set([
        hook(1, events=("SET",), databases=(0, 2)),
        hook(2, events=("DEL", "@hash")),
        hook(3, enabled=False),
        hook(4, paused=True),
    ])  # fmt: skip
    assert matcher.match(0, "incrby", b"k") == (1, 4)
    assert matcher.match(1, "incrby", b"k") == (4,)
    assert matcher.match(0, "hset", b"k") == (2, 4)
    matcher.set([])
    assert matcher.match(0, "incrby", b"k") == ()
    assert not matcher.listening


def test_without_a_key() -> None:
    matcher = Matcher()
    matcher.set([hook(1), hook(2, patterns=(b"user:*",)), hook(3, patterns=(b"*",))])
    assert matcher.match(0, "flushdb", None) == (1, 2, 3), "a flush concerns every key"
    assert matcher.match(0, "user.created", None) == (1, 3)


def test_owner_sees_only_what_the_acl_lets_it_read() -> None:
    readable = {"ann": b"ann:", "bob": b"bob:"}
    matcher = Matcher(lambda owner, key: key.startswith(readable[owner]))
    matcher.set([hook(1, owner="ann"), hook(2, owner="bob")])
    assert matcher.match(0, "set", b"ann:1") == (1,)
    readable["bob"] = b"a"
    assert matcher.match(0, "set", b"ann:1") == (1,)
    matcher.acl_changed({"bob"})
    assert matcher.match(0, "set", b"ann:1") == (1, 2)


def test_owner_who_reads_every_key_is_not_asked_about_each() -> None:
    def may_read(owner: str, key: bytes) -> bool:
        assert owner == "ann"
        return key.startswith(b"ann:")

    matcher = Matcher(may_read, lambda owner: owner == "root")
    matcher.set([hook(1, owner="root")])
    assert matcher.match(0, "set", b"bob:1") == (1,)
    matcher.set([hook(1, owner="root", events=("DEL",)), hook(2, owner="ann")])
    assert matcher.match(0, "set", b"bob:1") == ()
    assert matcher.match(0, "set", b"ann:1") == (2,)


def test_memory_is_bounded() -> None:
    matcher = Matcher(lambda owner, key: True)  # asked for each key, so worth remembering
    matcher.set([hook(1)])

    def remembered() -> list[bytes]:
        return [key for scopes in matcher._scopes.values() for scope in scopes.values() for key in scope.answers]

    for i in range(CACHED_ANSWERS // 2 + 10):
        matcher.match(0, "set", b"%d" % i)
        matcher.match(i % 2, "del", b"%d" % i)
        if i == 1000:
            matcher.put(hook(2, events=("DEL",)))  # some are forgotten
    assert 0 < len(remembered()) <= CACHED_ANSWERS
    assert matcher._remembered == len(remembered())
    matcher.match(0, "set", b"x" * 10_000)
    assert max(map(len, remembered())) < 10_000
    for i in range(CACHED_SCOPES + 10):
        matcher.match(0, f"a.b{i}", b"k")
    assert sum(map(len, matcher._scopes.values())) <= CACHED_SCOPES
    assert matcher._remembered == len(remembered())


@pytest.mark.parametrize("cached", [True, False])
def test_cost_with_a_thousand_webhooks(cached: bool) -> None:
    shapes = [b"user%d:*", b"order:*:item%d", b"*:tail%d", b"exact:%d", b"a%d?c*", b"deep:%d:*:x*"]
    matcher = Matcher()
    matcher.set([hook(i, patterns=(shapes[i % len(shapes)] % i,)) for i in range(1000)])
    keys = [b"user6:%d" % i for i in range(2000)]
    matcher.match(0, "set", b"warm")

    def run() -> None:
        for key in keys:
            matcher.match(0, "set", key)

    def forget() -> None:
        matcher.discard(1000)
        matcher.put(hook(1000, patterns=(b"nobody",)))

    if cached:
        run()
        per_call = min(timeit.repeat(run, number=1, repeat=5)) / len(keys)
        assert per_call < 2e-6
    else:
        per_call = min(timeit.repeat(run, forget, number=1, repeat=5)) / len(keys)
        assert per_call < 40e-6
    assert matcher.match(0, "set", b"user6:1") == (6,)
