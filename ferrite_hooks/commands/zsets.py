"""Sorted sets, member by member: adding, removing, asking, popping, picking and scanning.

Ranges are in zset_ranges, unions and intersections in zset_algebra; both use the helpers that stand first here.
Webhooks are shown the pairs that were written (zadd, zincr) or that went (zrem, the pops).
"""

from __future__ import annotations

import random
from itertools import chain
from math import isnan

from ferrite_hooks.commands.common import I64_MAX, block_deadline, double, integer
from ferrite_hooks.commands.scan import scan_cursor, scan_options, scan_page
from ferrite_hooks.engine.blocking import Wait
from ferrite_hooks.engine.command import Argv, command
from ferrite_hooks.engine.keyspace import SNAPSHOT_MAX, snapshot
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import OUT_OF_RANGE, SYNTAX, ReplyError, wrong_arity
from ferrite_hooks.resp.encoder import format_double
from ferrite_hooks.resp.reply import NIL_ARRAY, Reply
from ferrite_hooks.values.encoding import grow_zset
from ferrite_hooks.values.zset import ZSet
from ferrite_hooks.webhooks.model import Written

NAN = "ERR resulting score is not a number (NaN)"
NOT_POSITIVE = "ERR value is out of range, must be positive"
NX_AND_XX = "ERR XX and NX options at the same time are not compatible"
GT_LT_NX = "ERR GT, LT, and/or NX options at the same time are not compatible"
INCR_PAIRS = "ERR INCR option supports a single increment-element pair"
NUMKEYS = "ERR numkeys should be greater than 0"
COUNT_POSITIVE = "ERR count should be greater than 0"
RANDOM_RANGE = f"ERR value is out of range, value must between {-I64_MAX} and {I64_MAX}"

_SAMPLES_MAX = 1 << 22  # members that one ZRANDMEMBER may repeat: bounds a reply that no set bounds
_ADD_OPTIONS = frozenset([b"NX", b"XX", b"GT", b"LT", b"CH", b"INCR"])


# -- helpers for all three files


def scored(s: Session, zset: ZSet, members: list[bytes]) -> Reply:
    """Members with their scores: a flat array in RESP2, an array of pairs in RESP3."""
    scores = zset.scores
    if s.resp == 2:
        return [part for member in members for part in (member, format_double(scores[member]))]
    return [[member, scores[member]] for member in members]


def store(s: Session, key: bytes, zset: ZSet, event: str) -> int:
    """Puts a result under `key`, or deletes the key when the result is empty. Returns its length."""
    db = s.db
    if zset:
        grow_zset(zset, zset.scores, s.engine.settings)
        if not zset.big:
            zset = ZSet({member: score + 0.0 for member, score in zset.items()})  # the compact encoding has no -0
        db.put(key, zset, event, new=snapshot(zset) if db.observed else None)
    else:
        db.drop(key)
    return len(zset)


def remove(s: Session, key: bytes, zset: ZSet, members: list[bytes], event: str) -> None:
    """Removes members that are there, at least one, and commits."""
    old: Written = None
    if s.db.observed:
        if len(members) > SNAPSHOT_MAX:
            old = ("stub", "zset", len(members))
        else:
            old = ("zset", [part for member in members for part in (member, zset.scores[member])])
    for member in members:
        zset.remove(member)
    s.db.commit(key, zset, event, old=old)


# -- adding


def add(s: Session, key: bytes, options: set[bytes], scores: list[float], members: list[bytes]) -> Reply:
    """ZADD, once its arguments are read. Also GEOADD, and with INCR also ZINCRBY. Raises NaN errors."""
    db = s.db
    zset = db.edit(key, ZSet)
    existed = zset is not None
    nx, xx, incr = b"NX" in options, b"XX" in options, b"INCR" in options
    gt, lt = b"GT" in options, b"LT" in options
    if zset is None:
        zset = ZSet()
    current = zset.scores
    written: list[bytes | float | None] = []
    before: list[bytes | float | None] = []
    added = 0
    result = None  # the new score, for INCR
    for member, score in zip(members, scores, strict=True):
        old = current.get(member)
        if old is None:
            if xx:
                continue
            added += 1
        elif nx:
            continue
        else:
            if incr:
                score += old
                if isnan(score):
                    raise ReplyError(NAN)
            if (gt and score <= old) or (lt and score >= old):
                continue
        result = score
        if score != old:
            if not zset.big:
                score += 0.0  # Redis's compact encoding has no -0
            zset.add(member, score)
            written += (member, score)
            before += (member, old)
    if written:
        if added:
            grow_zset(zset, members, s.engine.settings)
        event = "zincr" if incr else "zadd"
        db.commit(key, zset, event, ("zset", written), ("zset", before) if existed else None)
    if incr:
        return result
    return len(written) // 2 if b"CH" in options else added


def _add_one(s: Session, key: bytes, score: float, member: bytes) -> Reply:
    """`add` of one pair without options: what most callers send, for less."""
    db = s.db
    zset = db.edit(key, ZSet)
    fresh = zset is None
    if zset is None:
        zset = ZSet()
    old = zset.scores.get(member)
    if old == score:
        return 0
    if not zset.big:
        score += 0.0  # as in `add`
    zset.add(member, score)
    if old is None:
        grow_zset(zset, (member,), s.engine.settings)
    if db.observed:
        db.commit(key, zset, "zadd", ("zset", [member, score]), None if fresh else ("zset", [member, old]))
    else:
        db.commit(key, zset, "zadd")
    return 1 if old is None else 0


@command(
    "ZADD key [<NX | XX>] [<GT | LT>] [CH] [INCR] score member [score member ...]",
    "Adds members to a sorted set, or changes their scores.",
    group="sorted-set", since="1.2.0", flags="write denyoom fast", keys="RW update @1", events="zadd zincr",
    complexity="O(log(N)) for each member",
)  # fmt: skip
def zadd(s: Session, argv: Argv) -> Reply:
    if len(argv) == 4 and argv[2].isdigit():
        return _add_one(s, argv[1], double(argv[2]), argv[3])
    at = 2
    options: set[bytes] = set()
    while at < len(argv) and (option := argv[at].upper()) in _ADD_OPTIONS:
        options.add(option)
        at += 1
    pairs = len(argv) - at
    if pairs % 2 or not pairs:
        raise ReplyError(SYNTAX)
    if options:
        if b"NX" in options and b"XX" in options:
            raise ReplyError(NX_AND_XX)
        if len(options & {b"GT", b"LT", b"NX"}) > 1:
            raise ReplyError(GT_LT_NX)
        if b"INCR" in options and pairs > 2:
            raise ReplyError(INCR_PAIRS)
    scores = [double(raw) for raw in argv[at::2]]
    return add(s, argv[1], options, scores, argv[at + 1 :: 2])


@command(
    "ZINCRBY key increment member", "Increases the score of a member, which is added if need be.",
    group="sorted-set", since="1.2.0", flags="write denyoom fast", keys="RW access update @1", events="zincr",
    complexity="O(log(N))",
)  # fmt: skip
def zincrby(s: Session, argv: Argv) -> Reply:
    return add(s, argv[1], {b"INCR"}, [double(argv[2])], [argv[3]])


# -- removing and asking


@command(
    "ZREM key member [member ...]", "Removes members from a sorted set, and the set with its last member.",
    group="sorted-set", since="1.2.0", flags="write fast", keys="RW delete @1", events="zrem del",
    complexity="O(M*log(N)) for M members",
)  # fmt: skip
def zrem(s: Session, argv: Argv) -> Reply:
    zset = s.db.edit(argv[1], ZSet)
    if zset is None:
        return 0
    members = [member for member in dict.fromkeys(argv[2:]) if member in zset]
    if members:
        remove(s, argv[1], zset, members, "zrem")
    return len(members)


@command(
    "ZCARD key", "The number of members.",
    group="sorted-set", since="1.2.0", flags="readonly fast", keys="RO @1", complexity="O(1)",
)  # fmt: skip
def zcard(s: Session, argv: Argv) -> Reply:
    zset = s.db.read(argv[1], ZSet)
    return 0 if zset is None else len(zset)


@command(
    "ZSCORE key member", "The score of a member.",
    group="sorted-set", since="1.2.0", flags="readonly fast", keys="RO access @1", complexity="O(1)",
)  # fmt: skip
def zscore(s: Session, argv: Argv) -> Reply:
    zset = s.db.read(argv[1], ZSet)
    return None if zset is None else zset.scores.get(argv[2])


@command(
    "ZMSCORE key member [member ...]", "The scores of several members.",
    group="sorted-set", since="6.2.0", flags="readonly fast", keys="RO access @1",
    complexity="O(N) for N members",
)  # fmt: skip
def zmscore(s: Session, argv: Argv) -> Reply:
    zset = s.db.read(argv[1], ZSet) or ZSet()
    return [zset.scores.get(member) for member in argv[2:]]


def _rank(s: Session, argv: Argv, reverse: bool) -> Reply:
    if len(argv) > 4:
        raise ReplyError(wrong_arity("zrevrank" if reverse else "zrank"))
    with_score = len(argv) == 4
    if with_score and argv[3].upper() != b"WITHSCORE":
        raise ReplyError(SYNTAX)
    zset = s.db.read(argv[1], ZSet)
    rank = None if zset is None else zset.rank(argv[2], reverse)
    if zset is None or rank is None:
        return NIL_ARRAY if with_score else None
    return [rank, zset.scores[argv[2]]] if with_score else rank


@command(
    "ZRANK key member [WITHSCORE]", "The position of a member, counted from the lowest score.",
    group="sorted-set", since="2.0.0", flags="readonly fast", keys="RO access @1", complexity="O(log(N))",
)  # fmt: skip
def zrank(s: Session, argv: Argv) -> Reply:
    return _rank(s, argv, reverse=False)


@command(
    "ZREVRANK key member [WITHSCORE]", "The position of a member, counted from the highest score.",
    group="sorted-set", since="2.0.0", flags="readonly fast", keys="RO access @1", complexity="O(log(N))",
)  # fmt: skip
def zrevrank(s: Session, argv: Argv) -> Reply:
    return _rank(s, argv, reverse=True)


# -- popping


def _pop(s: Session, key: bytes, zset: ZSet, count: int, highest: bool) -> list[tuple[bytes, float]]:
    popped = zset.pop(count, highest)
    old: Written = ("zset", list(chain.from_iterable(popped))) if s.db.observed else None
    s.db.commit(key, zset, "zpopmax" if highest else "zpopmin", old=old)
    return popped


def _pop_one_key(s: Session, argv: Argv, highest: bool) -> Reply:
    if len(argv) > 3:
        raise ReplyError(SYNTAX)
    count = integer(argv[2], NOT_POSITIVE) if len(argv) == 3 else 1
    if count < 0:
        raise ReplyError(NOT_POSITIVE)
    zset = s.db.edit(argv[1], ZSet)
    if zset is None or count == 0:
        return []
    popped = _pop(s, argv[1], zset, count, highest)
    if len(argv) == 3 and s.resp == 3:
        return popped
    return list(chain.from_iterable(popped))


@command(
    "ZPOPMIN key [count]", "Removes the members with the lowest scores and returns them.",
    group="sorted-set", since="5.0.0", flags="write fast", keys="RW access delete @1", events="zpopmin del",
    complexity="O(M*log(N)) for M members",
)  # fmt: skip
def zpopmin(s: Session, argv: Argv) -> Reply:
    return _pop_one_key(s, argv, highest=False)


@command(
    "ZPOPMAX key [count]", "Removes the members with the highest scores and returns them.",
    group="sorted-set", since="5.0.0", flags="write fast", keys="RW access delete @1", events="zpopmax del",
    complexity="O(M*log(N)) for M members",
)  # fmt: skip
def zpopmax(s: Session, argv: Argv) -> Reply:
    return _pop_one_key(s, argv, highest=True)


def _pop_first_key(s: Session, keys: Argv, count: int, highest: bool, with_count: bool) -> Reply | None:
    """Pops from the first key that has a sorted set; None if there is none. The effect is the plain pop."""
    for key in keys:
        zset = s.db.edit(key, ZSet)
        if zset is not None:
            popped = _pop(s, key, zset, count, highest)
            effect = [b"ZPOPMAX" if highest else b"ZPOPMIN", key]
            if with_count:
                s.engine.effect(*effect, b"%d" % len(popped))
                return [key, popped]
            s.engine.effect(*effect)
            return [key, *popped[0]]
    return None


def _blocking_pop(s: Session, argv: Argv, highest: bool) -> Reply:
    deadline = block_deadline(s.engine, argv[-1])
    reply = _pop_first_key(s, argv[1:-1], 1, highest, with_count=False)
    return Wait(tuple(argv[1:-1]), deadline, kind=ZSet) if reply is None else reply


@command(
    "BZPOPMIN key [key ...] timeout", "ZPOPMIN from the first sorted set that is not empty, or waits for one.",
    group="sorted-set", since="5.0.0", flags="write fast blocking", keys="RW access delete @1:-2",
    events="zpopmin del", complexity="O(log(N))",
)  # fmt: skip
def bzpopmin(s: Session, argv: Argv) -> Reply:
    return _blocking_pop(s, argv, highest=False)


@command(
    "BZPOPMAX key [key ...] timeout", "ZPOPMAX from the first sorted set that is not empty, or waits for one.",
    group="sorted-set", since="5.0.0", flags="write fast blocking", keys="RW access delete @1:-2",
    events="zpopmax del", complexity="O(log(N))",
)  # fmt: skip
def bzpopmax(s: Session, argv: Argv) -> Reply:
    return _blocking_pop(s, argv, highest=True)


def _pop_arguments(argv: Argv, at: int) -> tuple[Argv, bool, int]:
    """Reads `numkeys key [key ...] <MIN | MAX> [COUNT count]` from `argv[at:]`: keys, highest, count."""
    numkeys = integer(argv[at], NUMKEYS)
    if numkeys < 1:
        raise ReplyError(NUMKEYS)
    where = at + 1 + numkeys
    if where >= len(argv) or argv[where].upper() not in (b"MIN", b"MAX"):
        raise ReplyError(SYNTAX)
    count = 1
    rest = argv[where + 1 :]
    if rest:
        if rest[0].upper() != b"COUNT" or len(rest) == 1:
            raise ReplyError(SYNTAX)
        count = integer(rest[1], COUNT_POSITIVE)
        if count < 1:
            raise ReplyError(COUNT_POSITIVE)
        if len(rest) > 2:
            raise ReplyError(SYNTAX)
    return argv[at + 1 : where], argv[where].upper() == b"MAX", count


@command(
    "ZMPOP numkeys key [key ...] <MIN | MAX> [COUNT count]",
    "Removes the outermost members of the first sorted set that is not empty and returns them.",
    group="sorted-set", since="7.0.0", flags="write movablekeys", keys="RW access delete @1#",
    events="zpopmin zpopmax del", complexity="O(K)+O(M*log(N)) for K keys and M members",
)  # fmt: skip
def zmpop(s: Session, argv: Argv) -> Reply:
    keys, highest, count = _pop_arguments(argv, 1)
    reply = _pop_first_key(s, keys, count, highest, with_count=True)
    return NIL_ARRAY if reply is None else reply


@command(
    "BZMPOP timeout numkeys key [key ...] <MIN | MAX> [COUNT count]",
    "ZMPOP, or waits until one of the sorted sets has a member.",
    group="sorted-set", since="7.0.0", flags="write blocking movablekeys", keys="RW access delete @2#",
    events="zpopmin zpopmax del", complexity="O(K)+O(M*log(N)) for K keys and M members",
)  # fmt: skip
def bzmpop(s: Session, argv: Argv) -> Reply:
    keys, highest, count = _pop_arguments(argv, 2)
    deadline = block_deadline(s.engine, argv[1])
    reply = _pop_first_key(s, keys, count, highest, with_count=True)
    return Wait(tuple(keys), deadline, kind=ZSet) if reply is None else reply


# -- picking and scanning


@command(
    "ZRANDMEMBER key [count [WITHSCORES]]",
    "Random members: different ones for a positive count, possibly the same again for a negative one.",
    group="sorted-set", since="6.2.0", flags="readonly", keys="RO access @1", tips="nondeterministic_output",
    complexity="O(N) for N members returned",
)  # fmt: skip
def zrandmember(s: Session, argv: Argv) -> Reply:
    if len(argv) == 2:
        zset = s.db.read(argv[1], ZSet)
        return None if zset is None else zset.hashed().random()
    count = integer(argv[2])
    if count < -I64_MAX:
        raise ReplyError(RANDOM_RANGE)
    if len(argv) > 4 or (len(argv) == 4 and argv[3].upper() != b"WITHSCORES"):
        raise ReplyError(SYNTAX)
    if count < -_SAMPLES_MAX or (len(argv) == 4 and count > I64_MAX // 2):
        raise ReplyError(OUT_OF_RANGE)
    zset = s.db.read(argv[1], ZSet)
    if zset is None or count == 0:
        return []
    members = _sample(zset, count)
    return scored(s, zset, members) if len(argv) == 4 else members


def _sample(zset: ZSet, count: int) -> list[bytes]:
    if count < 0:
        index = zset.hashed()
        return [index.random() for _ in range(-count)]
    if count >= len(zset):
        return zset.range(0, len(zset), reverse=True)
    if count * 3 > len(zset):
        return random.sample(list(zset), count)
    index = zset.hashed()
    picked: dict[bytes, None] = {}
    while len(picked) < count:
        picked[index.random()] = None
    return list(picked)


@command(
    "ZSCAN key cursor [MATCH pattern] [COUNT count]", "Iterates over the members and scores.",
    group="sorted-set", since="2.8.0", flags="readonly", keys="RO access @1", tips="nondeterministic_output",
    complexity="O(1) for every call",
)  # fmt: skip
def zscan(s: Session, argv: Argv) -> Reply:
    cursor = scan_cursor(argv[2])
    zset = s.db.read(argv[1], ZSet)
    if zset is None:
        return [b"0", []]
    options = scan_options(argv, 3)
    if zset.big:
        cursor, members = scan_page((), zset.hashed(), cursor, options)
    else:
        cursor, members = scan_page(zset.range(0, len(zset)), None, cursor, options)
    return [b"%d" % cursor, [part for m in members for part in (m, format_double(zset.scores[m]))]]
