"""Sorted sets against redis-server: replies in both protocols, events, final state; then what only we have."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest
from fakes import Client, Harness
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import Oracle, Pair

from ferrite_hooks.values.collections import Set
from ferrite_hooks.values.zset import ZSet


@pytest.fixture(params=[2, 3])
def both(request: pytest.FixtureRequest, harness: Harness, oracle: Oracle) -> Iterator[Pair]:
    pair = Pair(oracle, harness, request.param)
    yield pair
    pair.close()
    if request.param == 3:
        oracle("HELLO", 2)


def script(both: Pair, text: str) -> None:
    """Checks each line of `text` as a command; '' stands for an empty word."""
    for line in text.strip().splitlines():
        both.check(*("" if word == "''" else word for word in line.split()))


def place_set(both: Pair, key: str, *members: str) -> None:
    """A plain set on both servers, without an event on either."""
    value = Set()
    value.update(member.encode() for member in members)
    both.harness.engine.databases[0].place(key.encode(), value)
    both.oracle("CONFIG", "SET", "notify-keyspace-events", "")
    both.oracle("SADD", key, *members)
    both.oracle("CONFIG", "SET", "notify-keyspace-events", "KEA")


# -- random histories

keys = st.sampled_from(["a", "b", "c", "string"])
members = st.sampled_from(["m1", "m2", "m3", "m4", "10", ""])
# no score whose sums depend on the order of addition
scores = st.sampled_from(["0", "-0", "1", "2", "3", "-1.5", "1e3", "0x10", "inf", "-inf", ".5", "1e-300"])
bad_scores = st.sampled_from(["nan", "x", "", " 1", "1e999"])
bounds = st.one_of(scores, scores.map(lambda s: "(" + s), st.sampled_from(["-inf", "+inf", "", "(", "x", "1e999"]))
lex_bounds = st.sampled_from(["-", "+", "[m1", "(m2", "[m3", "[", "(", "[10", "m1", "", "(m4"])
ranks = st.sampled_from(["0", "1", "2", "-1", "-2", "-9", "9", "x"])
counts = st.sampled_from(["0", "1", "2", "-1", "9", "x"])

Words = st.SearchStrategy[tuple[str, ...]]


def words(*parts: str | Words | st.SearchStrategy[str]) -> Words:
    """One command or part of one: constants, strategies of words, strategies of tuples of words."""
    strategies = [st.just(part) if isinstance(part, str) else part for part in parts]
    return st.tuples(*strategies).map(
        lambda found: tuple(chain.from_iterable((x,) if isinstance(x, str) else x for x in found))
    )


def some(part: Words, least: int = 0, most: int = 3) -> Words:
    return st.lists(part, min_size=least, max_size=most).map(lambda found: tuple(chain.from_iterable(found)))


def maybe(*parts: str | Words | st.SearchStrategy[str]) -> Words:
    return st.just(()) | words(*parts)


def one(text: str) -> st.SearchStrategy[str]:
    return st.sampled_from(text.split())


limit = maybe("LIMIT", counts, counts)
sources = st.lists(keys | st.just("set"), min_size=1, max_size=3).map(lambda found: (str(len(found)), *found))
combined = words(
    sources,
    maybe("WEIGHTS", some(words(scores | bad_scores), 1)),
    maybe("AGGREGATE", one("SUM min Max avg")),
)
ranges = st.one_of(
    words(ranks, ranks, maybe(one("REV rev BYSCORE")), limit),
    words(bounds, bounds, one("BYSCORE byscore"), maybe("REV"), limit),
)
commands = st.one_of(
    words("ZADD", keys, some(words(one("NX XX GT LT CH INCR ch")), 0, 2), some(words(scores, members), 1)),
    words("ZADD", keys, some(words(scores, members), 1, 6)),
    words("ZADD", keys, scores | bad_scores, members),
    words("ZINCRBY", keys, scores | bad_scores, members),
    words("ZREM", keys, some(words(members), 1)),
    words(one("ZSCORE ZRANK ZREVRANK"), keys, members),
    words("ZMSCORE", keys, some(words(members), 1)),
    words("ZCARD", keys),
    words(one("ZPOPMIN ZPOPMAX"), keys, maybe(counts)),
    words("ZMPOP", sources, one("MIN max"), maybe("COUNT", counts)),
    words("ZRANGE", keys, ranges, maybe("WITHSCORES")),
    words("ZRANGESTORE", keys, keys, ranges),
    words("ZREVRANGE", keys, ranks, ranks, maybe("WITHSCORES")),
    words(one("ZRANGEBYSCORE ZREVRANGEBYSCORE"), keys, bounds, bounds, maybe("WITHSCORES"), limit),
    words("ZCOUNT", keys, bounds, bounds),
    words("ZREMRANGEBYSCORE", keys, bounds, bounds),
    words("ZREMRANGEBYRANK", keys, ranks, ranks),
    words(one("ZUNION ZINTER"), combined, maybe("WITHSCORES")),
    words(one("ZUNIONSTORE ZINTERSTORE"), keys, combined),
    words("ZDIFF", sources, maybe("WITHSCORES")),
    words("ZDIFFSTORE", keys, sources),
    words("ZINTERCARD", sources, maybe("LIMIT", counts)),
    words("ZSCAN", keys, one("0 x"), maybe("MATCH", one("m* * ?1")), maybe("COUNT", counts)),
)
lex_commands = st.one_of(
    words("ZADD", one("a b"), some(words(st.just("1"), members), 1, 6)),
    words(one("ZRANGEBYLEX ZREVRANGEBYLEX"), one("a b"), lex_bounds, lex_bounds, limit),
    words("ZRANGE", one("a b"), lex_bounds, lex_bounds, one("BYLEX bylex"), maybe("REV"), limit),
    words("ZRANGESTORE", "b", one("a b"), lex_bounds, lex_bounds, "BYLEX", maybe("REV"), limit),
    words(one("ZLEXCOUNT ZREMRANGEBYLEX"), one("a b"), lex_bounds, lex_bounds),
)


def replay(both: Pair, history: list[tuple[str, ...]]) -> None:
    """Runs a history on both servers from nothing and compares replies, events and what is left."""
    both.oracle("FLUSHALL")
    both.oracle("PUBLISH", "__keyevent@0__:marker", "begin")
    while b"begin" not in both.listener.read():  # what a failed history has left
        pass
    resp = both.ours.session.resp
    both.harness = Harness()
    both.harness.capture_all()
    both.ours = both.harness.client
    both.ours.session.set_protocol(resp)
    place_set(both, "set", "m1", "m2", "x")
    both.check("SET", "string", "v")
    for command in history:
        both.check(*command)
    for key in ("a", "b", "c", "string", "set"):
        both.check("ZRANGE", key, 0, -1, "WITHSCORES")
        value = both.harness.engine.databases[0].data.get(key.encode())
        if type(value) is ZSet:  # the index, which may have been built long ago, agrees with the dict
            assert value.range(0, 99) == sorted(value, key=lambda m, v=value: (v.scores[m], m))
    both.events()


budget = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.mark.oracle
@budget
@given(history=st.lists(commands, max_size=30))
def test_random_histories(both: Pair, history: list[tuple[str, ...]]) -> None:
    replay(both, history)


@pytest.mark.oracle
@budget
@given(history=st.lists(lex_commands, max_size=20))
def test_random_histories_by_member(both: Pair, history: list[tuple[str, ...]]) -> None:
    replay(both, history)


# -- single histories


def test_words_and_errors(both: Pair) -> None:
    script(
        both,
        """
        ZADD
        ZADD z 1
        ZADD z 1 a 2
        ZADD z NX XX 1 a
        ZADD z NX GT 1 a
        ZADD z GT LT 1 a
        ZADD z INCR 1 a 2 b
        ZADD z INCR
        ZADD z NX CH 1 a
        ZADD z 1 a x b
        ZADD z XX INCR 1 a
        ZADD z INCR 1 a
        ZADD z NX INCR 1 a
        ZADD z GT INCR -1 a
        ZADD z inf i
        ZINCRBY z -inf i
        ZINCRBY z 0.1 a
        ZINCRBY z nan a
        ZINCRBY z 1
        ZMPOP 0 z MIN
        ZMPOP x z MIN
        ZMPOP 1 z
        ZMPOP 1 z MID
        ZMPOP 1 z MIN COUNT
        ZMPOP 1 z MIN COUNT 0
        ZMPOP 1 z MIN COUNT x
        ZMPOP 1 z MIN COUNT 1 COUNT 1
        ZMPOP 9223372036854775807 z MIN
        ZMPOP 2 none none MIN
        BZMPOP 0 0 z MIN
        BZMPOP -1 1 z MIN
        BZMPOP x 1 z MIN
        BZPOPMIN z -1
        BZPOPMIN z x
        BZPOPMIN z
        ZPOPMIN z -1
        ZPOPMIN z x
        ZPOPMIN z 1 2
        ZPOPMAX none
        ZPOPMAX z 0
        ZRANGE z 0
        ZRANGE z 0 x
        ZRANGE z 0 -1 LIMIT 0 1
        ZRANGE z 0 -1 LIMIT 0
        ZRANGE z - + BYLEX WITHSCORES
        ZRANGE z 0 1 BYSCORE BYLEX
        ZRANGE z 0 1 REV REV
        ZRANGESTORE d z 0 1 WITHSCORES
        ZRANGEBYLEX z a b
        ZRANGEBYLEX z [a -
        ZRANGEBYLEX z + [a
        ZLEXCOUNT z - x
        ZCOUNT z x 1
        ZCOUNT z 1 nan
        ZREVRANGE z 0 -1 BYSCORE
        ZUNION 0 z
        ZUNION x z
        ZUNION 2 z
        ZUNION 1 z WEIGHTS
        ZUNION 1 z WEIGHTS x
        ZUNION 1 z AGGREGATE avg
        ZUNION 1 z LIMIT 1
        ZUNIONSTORE d 0 z
        ZUNIONSTORE d 1 z WITHSCORES
        ZDIFF 1 z WEIGHTS 1
        ZDIFF 0 z
        ZINTERCARD 1 z LIMIT x
        ZINTERCARD 1 z LIMIT -1
        ZINTERCARD 1 z WITHSCORES
        ZRANDMEMBER z x
        ZRANDMEMBER z 1 2
        ZRANDMEMBER z -9223372036854775808
        ZRANDMEMBER z -9223372036854775807 WITHSCORES
        ZRANDMEMBER none
        ZRANDMEMBER none 1
        ZRANDMEMBER z 0
        ZRANDMEMBER z 9
        ZRANDMEMBER z 9 WITHSCORES
        ZSCAN z -
        ZSCAN z 18446744073709551616
        ZSCAN z 0 COUNT 0
        ZSCAN z 0 TYPE zset
        ZSCAN none 0 BAD
        ZRANK z
        ZSCORE z none
        ZMSCORE none a b
        """,
    )
    assert dict.fromkeys(event for event, _ in both.events()) == {"zadd": None, "zincr": None}


@pytest.mark.parametrize("command", [
    "ZADD s 1 a", "ZINCRBY s 1 a", "ZREM s a", "ZCARD s", "ZSCORE s a", "ZMSCORE s a", "ZRANK s a", "ZPOPMIN s",
    "BZPOPMIN s 0", "ZMPOP 2 none s MIN", "BZMPOP 0 1 s MAX", "ZRANDMEMBER s", "ZRANDMEMBER s 1", "ZSCAN s 0",
    "ZRANGE s 0 1", "ZCOUNT s 0 1", "ZREMRANGEBYRANK s 0 1", "ZRANGESTORE z s 0 1", "ZUNION 2 z s",
    "ZUNIONSTORE z 1 s BAD", "ZINTERCARD 1 s",
])  # fmt: skip
def test_another_type(both: Pair, command: str) -> None:
    both.check("SET", "s", "v")
    both.check("ZADD", "z", 1, "a")
    script(both, command)
    both.check("ZRANGE", "z", 0, -1)
    assert [event for event, _ in both.events()] == ["set", "zadd"]


def test_a_store_replaces_whatever_stood_there(both: Pair) -> None:
    script(
        both,
        """
        ZADD z 1 a 2 b
        SET d v EX 100
        ZRANGESTORE d z 0 0
        ZUNIONSTORE d 1 z
        ZINTERSTORE d 1 none
        ZDIFFSTORE d 2 z z
        SET d v
        ZRANGESTORE d none 0 -1
        ZRANGE z 0 -1
        """.replace(" EX 100", ""),
    )
    assert both.events() == [
        ("zadd", b"z"), ("set", b"d"), ("zrangestore", b"d"), ("zunionstore", b"d"), ("del", b"d"),
        ("set", b"d"), ("del", b"d"),
    ]  # fmt: skip


def test_ranges_of_members_need_only_the_same_order(both: Pair) -> None:
    script(
        both,
        """
        ZADD z 1 a 2 b 3 c 4 d
        ZRANGE z [b [c BYLEX
        ZRANGESTORE d z [b [c BYLEX
        ZREVRANGEBYLEX z (d - LIMIT 1 9
        ZLEXCOUNT z (a +
        ZREMRANGEBYLEX z [b (c
        """,
    )


def test_plain_sets_take_part_with_score_one(both: Pair) -> None:
    place_set(both, "s", "a", "b")
    script(
        both,
        """
        ZADD z 2 a 5 c
        ZUNION 2 z s WEIGHTS 1 10 WITHSCORES
        ZINTER 2 s z WITHSCORES
        ZDIFF 2 z s WITHSCORES
        ZINTERCARD 2 s z
        ZINTERCARD 1 s LIMIT 1
        ZUNION 3 z s z AGGREGATE MAX WITHSCORES
        """,
    )


def test_a_large_set_is_scanned_page_by_page(both: Pair) -> None:
    pairs = [part for n in range(1000) for part in (n / 8, f"member:{n}")]
    both.check("ZADD", "z", *pairs)
    both.check("ZRANGE", "z", 100, 120, "WITHSCORES")
    both.check("ZREVRANGEBYSCORE", "z", "(100", "-inf", "LIMIT", 5, 3)
    cursor, seen, pages = b"0", [], 0
    while True:
        cursor, page = both.ours("ZSCAN", "z", cursor, "COUNT", 50, "MATCH", "*[05]")
        seen += page[::2]
        pages += 1
        if cursor == b"0":
            break
    assert sorted(seen) == sorted(b"member:%d" % n for n in range(0, 1000, 5))
    assert pages > 5


def test_negative_zero_is_kept_by_large_sets_only(both: Pair) -> None:
    both.check("ZADD", "small", "-0", "a")
    both.check("ZSCORE", "small", "a")
    both.check("ZADD", "large", *chain.from_iterable((n + 1, n) for n in range(200)))
    both.check("ZADD", "large", "-0", "a")
    both.check("ZSCORE", "large", "a")
    both.check("ZUNIONSTORE", "d", 1, "small", "WEIGHTS", -1)
    both.check("ZRANGE", "d", 0, -1, "WITHSCORES")


# -- what Redis 7.0 does not have, and what a test must not leave to chance


def test_ranks_with_score(client: Client) -> None:
    client("ZADD", "z", 1, "a", 2.5, "b")
    assert client.raw("ZRANK", "z", "b", "withscore") == b"*2\r\n:1\r\n$3\r\n2.5\r\n"
    assert client("ZREVRANK", "z", "b", "WITHSCORE") == [0, 2.5]
    assert client.raw("ZRANK", "z", "c", "WITHSCORE") == client.raw("ZRANK", "n", "c", "WITHSCORE") == b"*-1\r\n"
    assert client.raw("ZRANK", "z", "b", "SCORES") == b"-ERR syntax error\r\n"
    assert client.raw("ZRANK", "z", "b", "c", "d") == b"-ERR wrong number of arguments for 'zrank' command\r\n"


@pytest.mark.parametrize("size", [5, 500])
@pytest.mark.parametrize("count", [1, 3, 4, 100, 499])
def test_random_members(client: Client, size: int, count: int) -> None:
    expected = {b"%d" % n: float(n) for n in range(size)}
    client("ZADD", "z", *chain.from_iterable((n, n) for n in range(size)))
    assert client("ZRANDMEMBER", "z") in expected
    different = client("ZRANDMEMBER", "z", count)
    assert len(set(different)) == len(different) == min(count, size) and set(different) <= set(expected)
    repeated = client("ZRANDMEMBER", "z", -3 * count, "WITHSCORES")
    assert len(repeated) == 6 * count
    assert all(expected[m] == float(score) for m, score in zip(repeated[::2], repeated[1::2], strict=True))
    client.session.set_protocol(3)
    ((member, score),) = client("ZRANDMEMBER", "z", 1, "WITHSCORES")
    assert expected[member] == score


def test_a_sample_is_bounded(client: Client) -> None:
    client("ZADD", "z", 1, "a")
    assert client.raw("ZRANDMEMBER", "z", -(10**15)) == b"-ERR value is out of range\r\n"


# -- waiting


def test_blocking_pops_find_a_member_at_once(both: Pair) -> None:
    script(
        both,
        """
        ZADD z 1 a 2 b 3 c 4 d 5 e
        BZPOPMIN none z 0
        BZPOPMAX z 0
        BZMPOP 0 2 none z MIN COUNT 2
        BZMPOP 0 1 z MAX
        """,
    )
    assert [event for event, _ in both.events()] == ["zadd", "zpopmin", "zpopmax", "zpopmin", "zpopmax", "del"]


def test_clients_that_wait_are_served_in_order(harness: Harness, client: Client) -> None:
    first, second, third = harness.connect(), harness.connect(), harness.connect()
    first("BZPOPMAX", "a", "z", 0)
    second("BZMPOP", 0, 2, "a", "z", "MIN", "COUNT", 9)
    third("BZPOPMIN", "z", 0)
    harness.effects()
    harness.capture_all()
    client("ZADD", "z", 1, "m", 2, "n", 3, "o")
    assert first.sent() == b"*3\r\n$1\r\nz\r\n$1\r\no\r\n$1\r\n3\r\n"
    assert second.sent() == b"*2\r\n$1\r\nz\r\n*2\r\n*2\r\n$1\r\nm\r\n$1\r\n1\r\n*2\r\n$1\r\nn\r\n$1\r\n2\r\n"
    assert third.session.blocked
    effects, changes = harness.engine.drain()
    assert effects[2:] == [[b"ZPOPMAX", b"z"], [b"ZPOPMIN", b"z", b"2"]]
    assert [(c.event, c.client) for c in changes] == [
        ("zadd", client.session.id),
        ("zpopmax", first.session.id),
        ("zpopmin", second.session.id),
        ("del", second.session.id),
    ]


@pytest.mark.parametrize("command", ["BZPOPMIN z 0.5", "BZMPOP 0.5 1 z MIN"])
def test_waiting_has_an_end(harness: Harness, client: Client, command: str) -> None:
    client(*command.split())
    harness.advance(499)
    assert client.session.blocked
    harness.advance(1)
    assert client.sent() == b"*-1\r\n" and not client.session.blocked


def test_a_value_of_another_type_is_waited_out(harness: Harness, client: Client) -> None:
    waiting = harness.connect()
    waiting("BZPOPMIN", "k", 0)
    client("SET", "k", "v")
    assert waiting.session.blocked
    client("ZRANGESTORE", "k", "none", 0, -1)
    client("ZADD", "k", 1, "a")
    assert waiting.sent() == b"*3\r\n$1\r\nk\r\n$1\r\na\r\n$1\r\n1\r\n"


# -- what is journalled and what webhooks see


@pytest.mark.parametrize(("command", "effect"), [
    ("ZADD z NX INCR 1 new", "ZADD z NX INCR 1 new"),
    ("ZINCRBY z 1 a", "ZINCRBY z 1 a"),
    ("ZADD z 1 a", ""),
    ("ZADD z XX 1 new", ""),
    ("ZADD none XX 1 new", ""),
    ("ZADD z LT 5 a", ""),
    ("ZINCRBY z 0 a", ""),
    ("ZREM z none", ""),
    ("ZPOPMIN z 0", ""),
    ("ZMPOP 2 none z MAX COUNT 9", "ZPOPMAX z 3"),
    ("BZMPOP 0 1 z MIN", "ZPOPMIN z 1"),
    ("BZPOPMIN z 0", "ZPOPMIN z"),
    ("ZREMRANGEBYSCORE z 7 8", ""),
    ("ZREMRANGEBYSCORE z 1 2", "ZREMRANGEBYSCORE z 1 2"),
    ("ZUNIONSTORE d 1 none", ""),
    ("ZUNIONSTORE d 1 z", "ZUNIONSTORE d 1 z"),
    ("ZRANGE z 0 -1", ""),
])  # fmt: skip
def test_effects(harness: Harness, client: Client, command: str, effect: str) -> None:
    client("ZADD", "z", 1, "a", 2, "b", 3, "c")
    harness.effects()
    client(*command.split())
    assert harness.effects() == ([effect.encode().split()] if effect else [])


def shown(harness: Harness, *command: Any) -> list[tuple[Any, ...]]:
    harness.capture_all()
    harness.engine.drain()
    harness.client(*command)
    return [(change.event, change.new, change.old) for change in harness.engine.drain()[1]]


def test_what_webhooks_see(harness: Harness) -> None:
    assert shown(harness, "ZADD", "z", 1, "a", 2, "b") == [("zadd", ("zset", [b"a", 1.0, b"b", 2.0]), None)]
    assert shown(harness, "ZADD", "z", 1, "a", 3, "b", 4, "c") == [
        ("zadd", ("zset", [b"b", 3.0, b"c", 4.0]), ("zset", [b"b", 2.0, b"c", None]))
    ]
    assert shown(harness, "ZINCRBY", "z", 1, "a") == [("zincr", ("zset", [b"a", 2.0]), ("zset", [b"a", 1.0]))]
    assert shown(harness, "ZREM", "z", "a", "a", "x") == [("zrem", None, ("zset", [b"a", 2.0]))]
    assert shown(harness, "ZUNIONSTORE", "d", 1, "z") == [("zunionstore", ("zset", [b"b", 3.0, b"c", 4.0]), None)]
    assert shown(harness, "ZPOPMAX", "z") == [("zpopmax", None, ("zset", [b"c", 4.0]))]
    assert shown(harness, "ZREMRANGEBYRANK", "z", 0, -1) == [
        ("zremrangebyrank", None, ("zset", [b"b", 3.0])), ("del", None, None),
    ]  # fmt: skip
    assert shown(harness, "ZRANGESTORE", "d", "none", 0, 1) == [("del", None, ("zset", [b"b", 3.0, b"c", 4.0]))]


def test_a_large_removal_is_told_by_its_size(harness: Harness) -> None:
    harness.client("ZADD", "z", *chain.from_iterable((n, n) for n in range(1000)))
    (removed, gone) = shown(harness, "ZREMRANGEBYRANK", "z", 0, -1)
    assert removed == ("zremrangebyrank", None, ("stub", "zset", 1000)) and gone[0] == "del"


# -- cost


def test_writing_and_asking_for_members_needs_no_order(harness: Harness, client: Client) -> None:
    client("ZADD", "z", *chain.from_iterable((n, n) for n in range(300)))
    for n in range(300):
        client("ZINCRBY", "z", 1, n)
        client("ZSCORE", "z", n)
        client("ZADD", "z", "GT", "CH", n + 5, n)
        client("ZREM", "z", n - 1)
    client("ZSCAN", "z", 0)
    client("ZRANDMEMBER", "z")
    value = harness.engine.databases[0].data[b"z"]
    assert len(value) == 1 and value._order is None


def test_an_intersection_costs_its_smallest_set(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    class Counting(dict[bytes, float]):
        def get(self, member: bytes, default: Any = None) -> Any:
            nonlocal asked
            asked += 1
            return super().get(member, default)

    db = client.session.db
    db.place(b"large", ZSet(Counting({b"%d" % n: 1.0 for n in range(10_000)})))
    db.place(b"small", ZSet(Counting({b"1": 1.0, b"2": 1.0})))
    assert client("ZINTER", 3, "large", "small", "large") == [b"1", b"2"]
    assert asked == 4
