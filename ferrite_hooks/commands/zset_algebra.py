"""Sorted sets, several at a time: unions, intersections and differences, returned, stored or counted.

Plain sets take part as sorted sets whose scores are all 1. Each operation is a function from weighted sources
to a dict of scores; parsing, replying and storing are shared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isnan

from ferrite_hooks.commands.common import double, integer
from ferrite_hooks.commands.zsets import scored, store
from ferrite_hooks.engine.command import Argv, command
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import SYNTAX, WRONGTYPE, ReplyError
from ferrite_hooks.resp.reply import Reply
from ferrite_hooks.values.collections import Set
from ferrite_hooks.values.zset import ZSet

NO_KEYS = "ERR at least 1 input key is needed for '%s' command"
WEIGHT_NOT_FLOAT = "ERR weight value is not a float"
LIMIT_NEGATIVE = "ERR LIMIT can't be negative"

Source = Mapping[bytes, float]  # member -> score
Weighted = list[tuple[Source, float]]
Aggregate = Callable[[float, float], float]
Scores = dict[bytes, float]


def _sum(total: float, score: float) -> float:
    total += score
    return 0.0 if isnan(total) else total  # inf - inf


def _lower(total: float, score: float) -> float:
    return score if score < total else total


def _higher(total: float, score: float) -> float:
    return score if score > total else total


_AGGREGATES: dict[bytes, Aggregate] = {b"SUM": _sum, b"MIN": _lower, b"MAX": _higher}


def _first_score(score: float, weight: float) -> float:
    score *= weight
    return 0.0 if isnan(score) else score  # inf * 0


def _union(sources: Weighted, aggregate: Aggregate) -> Scores:
    result: Scores = {}
    for source, weight in sorted(sources, key=_size):
        for member, score in source.items():
            score = _first_score(score, weight)
            result[member] = aggregate(result[member], score) if member in result else score
    return result


def _inter(sources: Weighted, aggregate: Aggregate) -> Scores:
    (smallest, weight), *others = sorted(sources, key=_size)
    result: Scores = {}
    for member, score in smallest.items():
        total = _first_score(score, weight)
        for other, other_weight in others:
            found = other.get(member)
            if found is None:
                break
            total = aggregate(total, found * other_weight)
        else:
            result[member] = total
    return result


def _diff(sources: Weighted, aggregate: Aggregate) -> Scores:
    (first, _), *others = sources
    return {member: score for member, score in first.items() if not any(member in other for other, _ in others)}


def _size(source: tuple[Source, float]) -> int:
    return len(source[0])


def _sources(s: Session, argv: Argv, at: int, name: str) -> tuple[list[Source], int]:
    """Reads `numkeys key [key ...]` from `argv[at:]` and the values behind it. Returns them and where the options
    begin. Raises WRONGTYPE."""
    numkeys = integer(argv[at])
    if numkeys < 1:
        raise ReplyError(NO_KEYS % name)
    options = at + 1 + numkeys
    if options > len(argv):
        raise ReplyError(SYNTAX)
    sources: list[Source] = []
    for key in argv[at + 1 : options]:
        value = s.db.find(key)
        if value is None:
            s.engine.misses += 1
            sources.append({})
            continue
        s.engine.hits += 1
        if type(value) is ZSet:
            sources.append(value.scores)
        elif type(value) is Set:
            sources.append(dict.fromkeys(value, 1.0))
        else:
            raise ReplyError(WRONGTYPE)
    return sources, options


def _weighted(argv: Argv, at: int, sources: list[Source], allowed: set[bytes]) -> tuple[Weighted, Aggregate, bool]:
    """Reads `[WEIGHTS weight ...] [AGGREGATE …] [WITHSCORES]`, those of them that are allowed, from
    `argv[at:]`."""
    weights, with_scores = [1.0] * len(sources), False
    aggregate: Aggregate = _sum
    while at < len(argv):
        option, left = argv[at].upper(), len(argv) - at
        if option not in allowed:
            raise ReplyError(SYNTAX)
        if option == b"WEIGHTS" and left > len(sources):
            weights = [double(raw, WEIGHT_NOT_FLOAT) for raw in argv[at + 1 : at + 1 + len(sources)]]
            at += 1 + len(sources)
        elif option == b"AGGREGATE" and left > 1 and argv[at + 1].upper() in _AGGREGATES:
            aggregate = _AGGREGATES[argv[at + 1].upper()]
            at += 2
        elif option == b"WITHSCORES":
            with_scores = True
            at += 1
        else:
            raise ReplyError(SYNTAX)
    return list(zip(sources, weights, strict=True)), aggregate, with_scores


Operation = Callable[[Weighted, Aggregate], Scores]
_COMBINED = {b"WEIGHTS", b"AGGREGATE"}


def _return(s: Session, argv: Argv, name: str, operation: Operation, allowed: set[bytes]) -> Reply:
    sources, at = _sources(s, argv, 1, name)
    weighted, aggregate, with_scores = _weighted(argv, at, sources, allowed | {b"WITHSCORES"})
    result = ZSet(operation(weighted, aggregate))
    members = result.range(0, len(result))
    return scored(s, result, members) if with_scores else members


def _store(s: Session, argv: Argv, name: str, operation: Operation, allowed: set[bytes]) -> Reply:
    sources, at = _sources(s, argv, 2, name)
    weighted, aggregate, _ = _weighted(argv, at, sources, allowed)
    return store(s, argv[1], ZSet(operation(weighted, aggregate)), name)


@command(
    "ZUNION numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]",
    "The members of any of several sorted sets.",
    group="sorted-set", since="6.2.0", flags="readonly movablekeys", keys="RO access @1#",
    complexity="O(N)+O(M*log(M)) for N members given and M returned",
)  # fmt: skip
def zunion(s: Session, argv: Argv) -> Reply:
    return _return(s, argv, "zunion", _union, _COMBINED)


@command(
    "ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]",
    "Stores the members of any of several sorted sets as one.",
    group="sorted-set", since="2.0.0", flags="write denyoom movablekeys", keys="OW update @1; RO access @2#",
    events="zunionstore del", complexity="O(N)+O(M*log(M)) for N members given and M stored",
)  # fmt: skip
def zunionstore(s: Session, argv: Argv) -> Reply:
    return _store(s, argv, "zunionstore", _union, _COMBINED)


@command(
    "ZINTER numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]",
    "The members of all of several sorted sets.",
    group="sorted-set", since="6.2.0", flags="readonly movablekeys", keys="RO access @1#",
    complexity="O(N*K)+O(M*log(M)) for K sets, the smallest of N members, and M returned",
)  # fmt: skip
def zinter(s: Session, argv: Argv) -> Reply:
    return _return(s, argv, "zinter", _inter, _COMBINED)


@command(
    "ZINTERSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]",
    "Stores the members of all of several sorted sets as one.",
    group="sorted-set", since="2.0.0", flags="write denyoom movablekeys", keys="OW update @1; RO access @2#",
    events="zinterstore del", complexity="O(N*K)+O(M*log(M)) for K sets, the smallest of N members, and M stored",
)  # fmt: skip
def zinterstore(s: Session, argv: Argv) -> Reply:
    return _store(s, argv, "zinterstore", _inter, _COMBINED)


@command(
    "ZINTERCARD numkeys key [key ...] [LIMIT limit]", "How many members all of several sorted sets have in common.",
    group="sorted-set", since="7.0.0", flags="readonly movablekeys", keys="RO access @1#",
    complexity="O(N*K) for K sets, the smallest of N members",
)  # fmt: skip
def zintercard(s: Session, argv: Argv) -> Reply:
    sources, at = _sources(s, argv, 1, "zintercard")
    limit = 0
    while at < len(argv):
        if argv[at].upper() != b"LIMIT" or at + 1 == len(argv):
            raise ReplyError(SYNTAX)
        limit = integer(argv[at + 1], LIMIT_NEGATIVE)
        if limit < 0:
            raise ReplyError(LIMIT_NEGATIVE)
        at += 2
    smallest, *others = sorted(sources, key=len)
    count = 0
    for member in smallest:
        if all(member in other for other in others):
            count += 1
            if count == limit:
                break
    return count


@command(
    "ZDIFF numkeys key [key ...] [WITHSCORES]", "The members of the first sorted set that no other one has.",
    group="sorted-set", since="6.2.0", flags="readonly movablekeys", keys="RO access @1#",
    complexity="O(N*K)+O(M*log(M)) for K sets, the first of N members, and M returned",
)  # fmt: skip
def zdiff(s: Session, argv: Argv) -> Reply:
    return _return(s, argv, "zdiff", _diff, set())


@command(
    "ZDIFFSTORE destination numkeys key [key ...]",
    "Stores the members of the first sorted set that no other one has.",
    group="sorted-set", since="6.2.0", flags="write denyoom movablekeys", keys="OW update @1; RO access @2#",
    events="zdiffstore del", complexity="O(N*K)+O(M*log(M)) for K sets, the first of N members, and M stored",
)  # fmt: skip
def zdiffstore(s: Session, argv: Argv) -> Reply:
    return _store(s, argv, "zdiffstore", _diff, set())
