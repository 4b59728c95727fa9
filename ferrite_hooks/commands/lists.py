"""Lists: sequences of elements with two quick ends.

A webhook is shown the elements that a command added, beside the length that the list had, or the elements that
it removed, outermost first. The commands that wait for elements are in `blocking_lists` and end in the same
`pop` and `move`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import compress, count, islice

from ferrite_hooks.commands.common import I64_MAX, integer, natural, negatable
from ferrite_hooks.engine.command import Argv, command
from ferrite_hooks.engine.keyspace import SNAPSHOT_MAX, stub
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import INDEX_OUT_OF_RANGE, NO_SUCH_KEY, SYNTAX, ReplyError, wrong_arity
from ferrite_hooks.resp.reply import NIL_ARRAY, OK, Reply
from ferrite_hooks.values.collections import List
from ferrite_hooks.webhooks.model import Written

RANK_ZERO = (
    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... "
    "or use negative to start from the end of the list"
)


# -- what several commands do


def push(s: Session, key: bytes, value: List | None, elements: list[bytes], left: bool) -> int:
    """Adds elements one after another at one end of `value`, which is what `key` holds. Returns its length."""
    db = s.db
    old = stub(value) if db.observed else None
    if value is None:
        value = List()
    if left:
        value.extendleft(elements)
    else:
        value.extend(elements)
    db.commit(key, value, "lpush" if left else "rpush", ("list", elements) if db.observed else None, old)
    return len(value)


def pop(s: Session, key: bytes, value: List, most: int, left: bool) -> list[bytes]:
    """Takes up to `most` elements off one end of `value`, which is what `key` holds."""
    if most == 1:  # mostly
        gone = [value.popleft() if left else value.pop()]
    else:
        gone = value.cut(min(most, len(value)), left)
    s.db.commit(key, value, "lpop" if left else "rpop", old=("list", gone))
    return gone


def move(s: Session, source: bytes, destination: bytes, from_left: bool, to_left: bool) -> bytes | None:
    """LMOVE. Returns the element, or None when there is no source list."""
    db = s.db
    value = db.edit(source, List)
    if value is None:
        return None
    target = db.edit(destination, List)
    element = value.popleft() if from_left else value.pop()
    push(s, destination, target, [element], to_left)
    db.commit(source, value, "lpop" if from_left else "rpop", old=("list", [element]))
    s.engine.dirty -= 1  # one change, as Redis counts
    return element


def is_left(word: bytes) -> bool:
    """Reads LEFT or RIGHT."""
    side = word.upper()
    if side not in (b"LEFT", b"RIGHT"):
        raise ReplyError(SYNTAX)
    return side == b"LEFT"


def mpop_arguments(argv: Argv, at: int) -> tuple[list[bytes], bool, int]:
    """Reads `numkeys key [key ...] LEFT|RIGHT [COUNT count]` from `argv[at:]`: keys, whether left, count."""
    error = "ERR numkeys should be greater than 0"
    numkeys = integer(argv[at], error)
    if numkeys < 1:
        raise ReplyError(error)
    where = at + 1 + numkeys
    if where >= len(argv):
        raise ReplyError(SYNTAX)
    left, most = is_left(argv[where]), 1
    if len(argv) > where + 1:
        if len(argv) < where + 3 or argv[where + 1].upper() != b"COUNT":
            raise ReplyError(SYNTAX)
        error = "ERR count should be greater than 0"
        most = integer(argv[where + 2], error)
        if most < 1:
            raise ReplyError(error)
        if len(argv) > where + 3:
            raise ReplyError(SYNTAX)
    return argv[at + 1 : where], left, most


def mpop(s: Session, key: bytes, value: List, left: bool, most: int) -> Reply:
    """What LMPOP and BLMPOP answer once they have found their list."""
    gone = pop(s, key, value, most, left)
    s.engine.effect(b"LPOP" if left else b"RPOP", key, b"%d" % len(gone))
    return [key, gone]


def _bounds(size: int, start: int, stop: int) -> tuple[int, int]:
    """Redis's inclusive indexes, negative ones from the end, as a half-open range within the list."""
    if start < 0:
        start = max(start + size, 0)
    stop = min(stop + size if stop < 0 else stop, size - 1) + 1
    return (start, stop) if start < stop else (0, 0)


# -- adding


@command(
    "LPUSH key element [element ...]", "Adds elements at the left end of a list.",
    group="list", since="1.0.0", flags="write denyoom fast", keys="RW insert @1", events="lpush",
    complexity="O(1) for each element.",
)  # fmt: skip
def lpush(s: Session, argv: Argv) -> Reply:
    return push(s, argv[1], s.db.edit(argv[1], List), argv[2:], True)


@command(
    "RPUSH key element [element ...]", "Adds elements at the right end of a list.",
    group="list", since="1.0.0", flags="write denyoom fast", keys="RW insert @1", events="rpush",
    complexity="O(1) for each element.",
)  # fmt: skip
def rpush(s: Session, argv: Argv) -> Reply:
    return push(s, argv[1], s.db.edit(argv[1], List), argv[2:], False)


@command(
    "LPUSHX key element [element ...]", "Adds elements at the left end of a list that exists.",
    group="list", since="2.2.0", flags="write denyoom fast", keys="RW insert @1", events="lpush",
    complexity="O(1) for each element.",
)  # fmt: skip
def lpushx(s: Session, argv: Argv) -> Reply:
    value = s.db.edit(argv[1], List)
    return 0 if value is None else push(s, argv[1], value, argv[2:], True)


@command(
    "RPUSHX key element [element ...]", "Adds elements at the right end of a list that exists.",
    group="list", since="2.2.0", flags="write denyoom fast", keys="RW insert @1", events="rpush",
    complexity="O(1) for each element.",
)  # fmt: skip
def rpushx(s: Session, argv: Argv) -> Reply:
    value = s.db.edit(argv[1], List)
    return 0 if value is None else push(s, argv[1], value, argv[2:], False)


@command(
    "LINSERT key <BEFORE | AFTER> pivot element", "Adds an element before or after another one.",
    group="list", since="2.2.0", flags="write denyoom", keys="RW insert @1", events="linsert",
    complexity="O(N), N being the number of elements up to the pivot.",
)  # fmt: skip
def linsert(s: Session, argv: Argv) -> Reply:
    side = argv[2].upper()
    if side not in (b"BEFORE", b"AFTER"):
        raise ReplyError(SYNTAX)
    db, key = s.db, argv[1]
    value = db.edit(key, List)
    if value is None:
        return 0
    try:
        position = value.index(argv[3])
    except ValueError:
        return -1
    old = stub(value) if db.observed else None
    value.insert(position + (side == b"AFTER"), argv[4])
    db.commit(key, value, "linsert", ("list", argv[4:]), old)
    return len(value)


@command(
    "LSET key index element", "Replaces the element at an index.",
    group="list", since="1.0.0", flags="write denyoom", keys="RW update @1", events="lset",
    complexity="O(N), N being the distance to the nearer end.",
)  # fmt: skip
def lset(s: Session, argv: Argv) -> Reply:
    db, key = s.db, argv[1]
    value = db.edit(key, List)
    if value is None:
        raise ReplyError(NO_SUCH_KEY)
    index = integer(argv[2])
    if not -len(value) <= index < len(value):
        raise ReplyError(INDEX_OUT_OF_RANGE)
    if 0 <= s.engine.settings["list-max-listpack-size"] <= len(value):
        value.big = True  # Redis makes room for one more element first
    before, value[index] = value[index], argv[3]
    db.commit(key, value, "lset", ("list", argv[3:]), ("list", [before]))
    return OK


# -- reading


@command(
    "LLEN key", "The length of a list.",
    group="list", since="1.0.0", flags="readonly fast", keys="RO @1", complexity="O(1)",
)  # fmt: skip
def llen(s: Session, argv: Argv) -> Reply:
    value = s.db.read(argv[1], List)
    return 0 if value is None else len(value)


@command(
    "LINDEX key index", "The element at an index; negative ones count from the right.",
    group="list", since="1.0.0", flags="readonly", keys="RO access @1",
    complexity="O(N), N being the distance to the nearer end.",
)  # fmt: skip
def lindex(s: Session, argv: Argv) -> Reply:
    value = s.db.read(argv[1], List)
    if value is None:
        return None
    index = integer(argv[2])
    return value[index] if -len(value) <= index < len(value) else None


@command(
    "LRANGE key start stop", "The elements from one index to another, both included.",
    group="list", since="1.0.0", flags="readonly", keys="RO access @1",
    complexity="O(S+N), S being the distance to the nearer end and N the number of elements returned.",
)  # fmt: skip
def lrange(s: Session, argv: Argv) -> Reply:
    start, stop = integer(argv[2]), integer(argv[3])
    value = s.db.read(argv[1], List)
    if value is None:
        return []
    start, stop = _bounds(len(value), start, stop)
    return value.span(start, stop)


@command(
    "LPOS key element [RANK rank] [COUNT num-matches] [MAXLEN len]", "The indexes at which an element stands.",
    group="list", since="6.0.6", flags="readonly", keys="RO access @1",
    complexity="O(N), N being the number of elements compared.",
)  # fmt: skip
def lpos(s: Session, argv: Argv) -> Reply:
    rank, matches, most = 1, -1, 0
    for i in range(3, len(argv), 2):
        option = argv[i].upper()
        if option not in (b"RANK", b"COUNT", b"MAXLEN") or i + 1 == len(argv):
            raise ReplyError(SYNTAX)
        if option == b"RANK":
            rank = negatable(argv[i + 1])
            if rank == 0:
                raise ReplyError(RANK_ZERO)
        elif option == b"COUNT":
            matches = natural(argv[i + 1], "ERR COUNT can't be negative")
        else:
            most = natural(argv[i + 1], "ERR MAXLEN can't be negative")
    value = s.db.read(argv[1], List)
    if value is None:
        return None if matches < 0 else []
    found = _positions(value if rank > 0 else reversed(value), argv[2], min(most or len(value), len(value)))
    skip = min(abs(rank) - 1, len(value))
    found = islice(found, skip, min(skip + (abs(matches) or len(value)), I64_MAX))
    indexes = list(found) if rank > 0 else [len(value) - 1 - index for index in found]
    if matches < 0:
        return indexes[0] if indexes else None
    return indexes


def _positions(elements: Iterable[bytes], element: bytes, most: int) -> Iterable[int]:
    return compress(count(), map(element.__eq__, islice(elements, most)))


# -- removing


def _pop_command(s: Session, argv: Argv, left: bool) -> Reply:
    if len(argv) > 3:
        raise ReplyError(wrong_arity("lpop" if left else "rpop"))
    most = natural(argv[2]) if len(argv) == 3 else -1
    value = s.db.edit(argv[1], List)
    if value is None:
        return None if most < 0 else NIL_ARRAY
    if most < 0:
        return pop(s, argv[1], value, 1, left)[0]
    return pop(s, argv[1], value, most, left) if most else []


@command(
    "LPOP key [count]", "Removes and returns elements from the left end of a list.",
    group="list", since="1.0.0", flags="write fast", keys="RW access delete @1", events="lpop del",
    complexity="O(N), N being the number of elements returned.",
)  # fmt: skip
def lpop(s: Session, argv: Argv) -> Reply:
    return _pop_command(s, argv, True)


@command(
    "RPOP key [count]", "Removes and returns elements from the right end of a list.",
    group="list", since="1.0.0", flags="write fast", keys="RW access delete @1", events="rpop del",
    complexity="O(N), N being the number of elements returned.",
)  # fmt: skip
def rpop(s: Session, argv: Argv) -> Reply:
    return _pop_command(s, argv, False)


@command(
    "LMPOP numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
    "Removes and returns elements from one end of the first list that is not empty.",
    group="list", since="7.0.0", flags="write movablekeys", keys="RW access delete @1#", events="lpop rpop del",
    complexity="O(N+M), N being the number of keys and M the number of elements returned.",
)  # fmt: skip
def lmpop(s: Session, argv: Argv) -> Reply:
    keys, left, most = mpop_arguments(argv, 1)
    for key in keys:
        value = s.db.edit(key, List)
        if value is not None:
            return mpop(s, key, value, left, most)
    return NIL_ARRAY


@command(
    "LREM key count element", "Removes elements that equal one: all, or some from the left or (negative) the right.",
    group="list", since="1.0.0", flags="write", keys="RW delete @1", events="lrem del",
    complexity="O(N), N being the length of the list.",
)  # fmt: skip
def lrem(s: Session, argv: Argv) -> Reply:
    most = integer(argv[2])
    db, key, element = s.db, argv[1], argv[3]
    value = db.edit(key, List)
    removed = 0 if value is None else value.count(element)
    if value is None or not removed:
        return 0
    old = stub(value) if db.observed else None
    removed = min(abs(most) or removed, removed)
    value.drop(element, removed, most >= 0)
    db.commit(key, value, "lrem", old=("list", [element] * removed) if removed <= SNAPSHOT_MAX else old)
    return removed


@command(
    "LTRIM key start stop", "Removes all elements but those from one index to another, both included.",
    group="list", since="1.0.0", flags="write", keys="RW delete @1", events="ltrim del",
    complexity="O(N), N being the number of elements removed.",
)  # fmt: skip
def ltrim(s: Session, argv: Argv) -> Reply:
    start, stop = integer(argv[2]), integer(argv[3])
    db, key = s.db, argv[1]
    value = db.edit(key, List)
    if value is None:
        return OK
    size = len(value)
    start, stop = _bounds(size, start, stop)
    removed = size - (stop - start)
    if not removed:
        if s.engine.notify_flags:
            s.engine.notify(db, key, "ltrim")  # Redis notifies here too, but nothing was written
        return OK
    old: Written = None
    if db.observed:
        small = removed <= SNAPSHOT_MAX
        old = ("list", value.span(0, start) + value.span(stop, size)) if small else stub(value)
    value.keep(start, stop)
    db.commit(key, value, "ltrim", old=old)
    return OK


# -- moving


@command(
    "LMOVE source destination <LEFT | RIGHT> <LEFT | RIGHT>",
    "Moves an element from an end of one list to an end of another.",
    group="list", since="6.2.0", flags="write denyoom", keys="RW access delete @1; RW insert @2",
    events="lpush rpush lpop rpop del", complexity="O(1)",
)  # fmt: skip
def lmove(s: Session, argv: Argv) -> Reply:
    from_left, to_left = is_left(argv[3]), is_left(argv[4])
    return move(s, argv[1], argv[2], from_left, to_left)


@command(
    "RPOPLPUSH source destination", "Moves an element from the right end of one list to the left end of another.",
    group="list", since="1.2.0", flags="write denyoom", keys="RW access delete @1; RW insert @2",
    events="lpush rpop del", complexity="O(1)",
)  # fmt: skip
def rpoplpush(s: Session, argv: Argv) -> Reply:
    return move(s, argv[1], argv[2], False, True)
