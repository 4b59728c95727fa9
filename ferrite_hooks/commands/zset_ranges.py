"""Sorted sets, range by range: by rank, by score and by member, read, counted, stored and removed.

The two words that bound a range are parsed into a Span, a function from a sorted set to positions. What follows
is the same for the three kinds, so ZRANGE with all its options and its six older spellings are one function.
"""

from __future__ import annotations

from collections.abc import Callable

from ferrite_hooks.commands.common import integer, strtod
from ferrite_hooks.commands.zsets import remove, scored, store
from ferrite_hooks.engine.command import Argv, command
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import SYNTAX, ReplyError
from ferrite_hooks.resp.reply import Reply
from ferrite_hooks.values.zset import ZSet

NOT_A_SCORE = "ERR min or max is not a float"
NOT_A_MEMBER = "ERR min or max not valid string range item"
LIMIT_WITH_RANK = "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX"
SCORES_WITH_LEX = "ERR syntax error, WITHSCORES not supported in combination with BYLEX"

Span = Callable[[ZSet], tuple[int, int]]  # positions start <= p < stop


def _by_rank(first: bytes, last: bytes) -> Span:
    """Positions from the end where the reading starts; negative ones from the other."""
    start, stop = integer(first), integer(last)

    def span(zset: ZSet) -> tuple[int, int]:
        length = len(zset)
        return (start + length if start < 0 else start), (stop + length if stop < 0 else stop) + 1

    return span


def _by_score(low: bytes, high: bytes) -> Span:
    (low_score, low_open), (high_score, high_open) = _score_bound(low), _score_bound(high)
    return lambda zset: zset.span_by_score(low_score, high_score, low_open, high_open)


def _score_bound(raw: bytes) -> tuple[float, bool]:
    """The score, and whether it is excluded. As lax as Redis: nothing at all is 0, a NUL ends the number."""
    if len(raw) < 19 and raw.isdigit():  # what there is most of
        return float(raw), False
    is_open = raw[:1] == b"("
    number = raw[is_open:].partition(b"\0")[0]
    score = strtod(number.lstrip(b" \t\n\v\f\r")) if number else 0.0
    if score is None:
        raise ReplyError(NOT_A_SCORE)
    return score, is_open


def _by_lex(low: bytes, high: bytes) -> Span:
    (low_member, low_open), (high_member, high_open) = _lex_bound(low), _lex_bound(high)
    if low == b"+" or high == b"-":
        return lambda zset: (0, 0)
    return lambda zset: zset.span_by_member(low_member, high_member, low_open, high_open)


def _lex_bound(raw: bytes) -> tuple[bytes | None, bool]:
    """The member, or None for an end of the set, and whether it is excluded."""
    if raw in (b"-", b"+"):
        return None, False
    if raw[:1] not in (b"(", b"["):
        raise ReplyError(NOT_A_MEMBER)
    return raw[1:], raw[:1] == b"("


_SPANS: dict[str, Callable[[bytes, bytes], Span]] = {"rank": _by_rank, "score": _by_score, "lex": _by_lex}


class Query:
    """A range as it was asked for."""

    __slots__ = ("by_rank", "limit", "offset", "reverse", "span", "with_scores")

    def __init__(self, span: Span, by_rank: bool, reverse: bool, offset: int, limit: int, with_scores: bool) -> None:
        self.span = span
        self.by_rank = by_rank
        self.reverse = reverse
        self.offset = offset
        self.limit = limit  # negative = none
        self.with_scores = with_scores

    def members(self, zset: ZSet) -> list[bytes]:
        start, stop = self.span(zset)
        if not self.by_rank:
            if self.reverse:
                start, stop = len(zset) - stop, len(zset) - start
            if self.offset < 0:
                return []
            start += self.offset
            if self.limit >= 0:
                stop = min(stop, start + self.limit)
        return zset.range(start, stop, self.reverse)


def _query(argv: Argv, at: int, by: str = "", reverse: bool | None = None, storing: bool = False) -> Query:
    """Reads `min max [options]` from `argv[at:]`. An empty `by` and a None `reverse` are for the options to say."""
    offset, limit, with_scores = 0, -1, False
    word = at + 2
    while word < len(argv):
        option = argv[word].upper()
        if option == b"WITHSCORES" and not storing:
            with_scores = True
        elif option == b"LIMIT" and word + 2 < len(argv):
            offset, limit = integer(argv[word + 1]), integer(argv[word + 2])
            word += 2
        elif option == b"REV" and reverse is None:
            reverse = True
        elif option in (b"BYLEX", b"BYSCORE") and not by:
            by = "lex" if option == b"BYLEX" else "score"
        else:
            raise ReplyError(SYNTAX)
        word += 1
    by, reverse = by or "rank", bool(reverse)
    if limit != -1 and by == "rank":
        raise ReplyError(LIMIT_WITH_RANK)
    if with_scores and by == "lex":
        raise ReplyError(SCORES_WITH_LEX)
    low, high = argv[at], argv[at + 1]
    if reverse and by != "rank":
        low, high = high, low
    return Query(_SPANS[by](low, high), by == "rank", reverse, offset, limit, with_scores)


# -- reading


def _range(s: Session, argv: Argv, by: str = "", reverse: bool | None = None) -> Reply:
    query = _query(argv, 2, by, reverse)
    zset = s.db.read(argv[1], ZSet)
    if zset is None:
        return []
    members = query.members(zset)
    return scored(s, zset, members) if query.with_scores else members


@command(
    "ZRANGE key start stop [<BYSCORE | BYLEX>] [REV] [LIMIT offset count] [WITHSCORES]",
    "The members within a range of ranks, scores or members.",
    group="sorted-set", since="1.2.0", flags="readonly", keys="RO access @1",
    complexity="O(log(N)+M) for M members returned",
)  # fmt: skip
def zrange(s: Session, argv: Argv) -> Reply:
    return _range(s, argv)


@command(
    "ZREVRANGE key start stop [WITHSCORES]", "The members within a range of ranks, from the highest score down.",
    group="sorted-set", since="1.2.0", flags="readonly", keys="RO access @1",
    complexity="O(log(N)+M) for M members returned",
)  # fmt: skip
def zrevrange(s: Session, argv: Argv) -> Reply:
    return _range(s, argv, "rank", True)


@command(
    "ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]", "The members within a range of scores.",
    group="sorted-set", since="1.0.5", flags="readonly", keys="RO access @1",
    complexity="O(log(N)+M) for M members returned",
)  # fmt: skip
def zrangebyscore(s: Session, argv: Argv) -> Reply:
    return _range(s, argv, "score", False)


@command(
    "ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]",
    "The members within a range of scores, from the highest down.",
    group="sorted-set", since="2.2.0", flags="readonly", keys="RO access @1",
    complexity="O(log(N)+M) for M members returned",
)  # fmt: skip
def zrevrangebyscore(s: Session, argv: Argv) -> Reply:
    return _range(s, argv, "score", True)


@command(
    "ZRANGEBYLEX key min max [LIMIT offset count]", "The members within a range of members, if all scores are equal.",
    group="sorted-set", since="2.8.9", flags="readonly", keys="RO access @1",
    complexity="O(log(N)+M) for M members returned",
)  # fmt: skip
def zrangebylex(s: Session, argv: Argv) -> Reply:
    return _range(s, argv, "lex", False)


@command(
    "ZREVRANGEBYLEX key max min [LIMIT offset count]",
    "The members within a range of members, from the last down, if all scores are equal.",
    group="sorted-set", since="2.8.9", flags="readonly", keys="RO access @1",
    complexity="O(log(N)+M) for M members returned",
)  # fmt: skip
def zrevrangebylex(s: Session, argv: Argv) -> Reply:
    return _range(s, argv, "lex", True)


# -- counting


def _count(s: Session, argv: Argv, by: str) -> Reply:
    span = _SPANS[by](argv[2], argv[3])
    zset = s.db.read(argv[1], ZSet)
    if zset is None:
        return 0
    start, stop = span(zset)
    return stop - start


@command(
    "ZCOUNT key min max", "How many members have a score within a range.",
    group="sorted-set", since="2.0.0", flags="readonly fast", keys="RO access @1", complexity="O(log(N))",
)  # fmt: skip
def zcount(s: Session, argv: Argv) -> Reply:
    return _count(s, argv, "score")


@command(
    "ZLEXCOUNT key min max", "How many members are within a range of members, if all scores are equal.",
    group="sorted-set", since="2.8.9", flags="readonly fast", keys="RO access @1", complexity="O(log(N))",
)  # fmt: skip
def zlexcount(s: Session, argv: Argv) -> Reply:
    return _count(s, argv, "lex")


# -- storing and removing


@command(
    "ZRANGESTORE dst src min max [<BYSCORE | BYLEX>] [REV] [LIMIT offset count]",
    "Stores what ZRANGE would return as a sorted set.",
    group="sorted-set", since="6.2.0", flags="write denyoom", keys="OW update @1; RO access @2",
    events="zrangestore del", complexity="O(log(N)+M) for M members stored",
)  # fmt: skip
def zrangestore(s: Session, argv: Argv) -> Reply:
    query = _query(argv, 3, storing=True)
    source = s.db.read(argv[2], ZSet)
    result = {} if source is None else {member: source.scores[member] for member in query.members(source)}
    return store(s, argv[1], ZSet(result), "zrangestore")


def _remove_range(s: Session, argv: Argv, by: str) -> Reply:
    span = _SPANS[by](argv[2], argv[3])
    zset = s.db.edit(argv[1], ZSet)
    if zset is None:
        return 0
    members = zset.range(*span(zset))
    if members:
        remove(s, argv[1], zset, members, "zremrangeby" + by)
    return len(members)


@command(
    "ZREMRANGEBYRANK key start stop", "Removes the members within a range of ranks.",
    group="sorted-set", since="2.0.0", flags="write", keys="RW delete @1", events="zremrangebyrank del",
    complexity="O(log(N)+M) for M members removed",
)  # fmt: skip
def zremrangebyrank(s: Session, argv: Argv) -> Reply:
    return _remove_range(s, argv, "rank")


@command(
    "ZREMRANGEBYSCORE key min max", "Removes the members within a range of scores.",
    group="sorted-set", since="1.2.0", flags="write", keys="RW delete @1", events="zremrangebyscore del",
    complexity="O(log(N)+M) for M members removed",
)  # fmt: skip
def zremrangebyscore(s: Session, argv: Argv) -> Reply:
    return _remove_range(s, argv, "score")


@command(
    "ZREMRANGEBYLEX key min max", "Removes the members within a range of members, if all scores are equal.",
    group="sorted-set", since="2.8.9", flags="write", keys="RW delete @1", events="zremrangebylex del",
    complexity="O(log(N)+M) for M members removed",
)  # fmt: skip
def zremrangebylex(s: Session, argv: Argv) -> Reply:
    return _remove_range(s, argv, "lex")
