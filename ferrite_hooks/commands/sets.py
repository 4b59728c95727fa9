"""Sets: members without order, and their intersection, union and difference.

A webhook is shown the members that a command really added, beside the size that the set had, or the members
that it removed. Replies are copies: a reply may be encoded after the set has changed (EXEC).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from ferrite_hooks.commands.common import integer, natural, negatable, random_sample
from ferrite_hooks.commands.scan import scan_cursor, scan_options, scan_page
from ferrite_hooks.engine.command import Argv, command
from ferrite_hooks.engine.keyspace import snapshot, stub
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import SYNTAX, ReplyError
from ferrite_hooks.resp.reply import Reply
from ferrite_hooks.values.collections import Set, index_of, random_member, random_members
from ferrite_hooks.values.encoding import grow_set, is_compact, settle

_EFFECT_MAX = 1024  # members in one replicated SREM


def _add(s: Session, key: bytes, value: Set | None, members: Iterable[bytes]) -> int:
    """Adds members to `value`, which is what `key` holds, and commits. Returns how many were new."""
    db = s.db
    old = stub(value) if db.observed else None
    if value is None:
        value = Set()
    added = [member for member in members if member not in value]
    if not added:
        return 0
    if len(added) > 1:
        added = list(dict.fromkeys(added))
    value.update(added)
    if value.index is not None:
        for member in added:
            value.index.add(member)
    if value.big < 2:
        grow_set(value, added, s.engine.settings)
    db.commit(key, value, "sadd", ("set", added), old)
    return len(added)


def _remove(s: Session, key: bytes, value: Set, gone: list[bytes], event: str) -> None:
    """Takes members that are there out of `value`, which is what `key` holds, and commits."""
    value.difference_update(gone)
    if value.index is not None:
        if len(gone) > len(value):
            value.index = None  # cheaper to make again, if ever
        else:
            for member in gone:
                value.index.discard(member)
    s.db.commit(key, value, event, old=("set", gone))


# -- members


@command(
    "SADD key member [member ...]", "Adds members to a set.",
    group="set", since="1.0.0", flags="write denyoom fast", keys="RW insert @1", events="sadd",
    complexity="O(1) for each member.",
)  # fmt: skip
def sadd(s: Session, argv: Argv) -> Reply:
    return _add(s, argv[1], s.db.edit(argv[1], Set), argv[2:])


@command(
    "SREM key member [member ...]", "Removes members from a set, and the set with its last member.",
    group="set", since="1.0.0", flags="write fast", keys="RW delete @1", events="srem del",
    complexity="O(1) for each member.",
)  # fmt: skip
def srem(s: Session, argv: Argv) -> Reply:
    value = s.db.edit(argv[1], Set)
    if value is None:
        return 0
    gone = [member for member in dict.fromkeys(argv[2:]) if member in value]
    if gone:
        _remove(s, argv[1], value, gone, "srem")
    return len(gone)


@command(
    "SMOVE source destination member", "Moves a member from one set to another.",
    group="set", since="1.0.0", flags="write fast", keys="RW access delete @1; RW insert @2",
    events="srem sadd del", complexity="O(1)",
)  # fmt: skip
def smove(s: Session, argv: Argv) -> Reply:
    source, destination, member = argv[1:]
    value = s.db.edit(source, Set)
    if value is None:
        return 0
    target = s.db.edit(destination, Set)
    if member not in value:
        return 0
    if target is not value:
        _remove(s, source, value, [member], "srem")
        _add(s, destination, target, [member])
    return 1


@command(
    "SPOP key [count]", "Removes and returns random members.",
    group="set", since="1.0.0", flags="write fast", keys="RW access delete @1", events="spop del",
    tips="nondeterministic_output", complexity="O(N), N being the number of members returned.",
)  # fmt: skip
def spop(s: Session, argv: Argv) -> Reply:
    engine, key = s.engine, argv[1]
    if len(argv) > 3:
        raise ReplyError(SYNTAX)
    if len(argv) == 2:
        value = s.db.edit(key, Set)
        if value is None:
            return None
        member = random_member(value)
        _remove(s, key, value, [member], "spop")
        engine.effect(b"SREM", key, member)
        return member
    count = natural(argv[2])
    value = s.db.edit(key, Set)
    if value is None or not count:
        return set()
    gone = random_members(value, count)
    _remove(s, key, value, gone, "spop")
    if value:
        for i in range(0, len(gone), _EFFECT_MAX):
            engine.effect(b"SREM", key, *gone[i : i + _EFFECT_MAX])
    else:
        engine.effect(b"DEL", key)
    return set(gone)


@command(
    "SISMEMBER key member", "Whether a set has a member.",
    group="set", since="1.0.0", flags="readonly fast", keys="RO @1", complexity="O(1)",
)  # fmt: skip
def sismember(s: Session, argv: Argv) -> Reply:
    value = s.db.read(argv[1], Set)
    return 0 if value is None else int(argv[2] in value)


@command(
    "SMISMEMBER key member [member ...]", "Which of several members a set has.",
    group="set", since="6.2.0", flags="readonly fast", keys="RO access @1", complexity="O(1) for each member.",
)  # fmt: skip
def smismember(s: Session, argv: Argv) -> Reply:
    value = s.db.read(argv[1], Set)
    return [0] * (len(argv) - 2) if value is None else [1 if member in value else 0 for member in argv[2:]]


@command(
    "SCARD key", "How many members a set has.",
    group="set", since="1.0.0", flags="readonly fast", keys="RO @1", complexity="O(1)",
)  # fmt: skip
def scard(s: Session, argv: Argv) -> Reply:
    value = s.db.read(argv[1], Set)
    return 0 if value is None else len(value)


@command(
    "SMEMBERS key", "All members of a set.",
    group="set", since="1.0.0", flags="readonly", keys="RO access @1", tips="nondeterministic_output_order",
    complexity="O(N), N being the number of members.",
)  # fmt: skip
def smembers(s: Session, argv: Argv) -> Reply:
    value = s.db.read(argv[1], Set)
    return set() if value is None else set(value)


@command(
    "SRANDMEMBER key [count]", "Random members: different ones, or with a negative count any.",
    group="set", since="1.0.0", flags="readonly", keys="RO access @1", tips="nondeterministic_output",
    complexity="O(N), N being the number of members returned.",
)  # fmt: skip
def srandmember(s: Session, argv: Argv) -> Reply:
    if len(argv) > 3:
        raise ReplyError(SYNTAX)
    count = negatable(argv[2]) if len(argv) == 3 else None
    value = s.db.read(argv[1], Set)
    if count is None:
        return None if value is None else random_member(value)
    return [] if value is None else random_sample(value, count)


@command(
    "SSCAN key cursor [MATCH pattern] [COUNT count]", "A page of a set, and the cursor of the next one.",
    group="set", since="2.8.0", flags="readonly", keys="RO access @1", tips="nondeterministic_output",
    complexity="O(1) for a call, O(N) for a whole iteration, N being the number of members.",
)  # fmt: skip
def sscan(s: Session, argv: Argv) -> Reply:
    cursor = scan_cursor(argv[2])
    value = s.db.read(argv[1], Set)
    if value is None:
        return [b"0", []]
    options = scan_options(argv, 3)
    cursor, found = scan_page(value, None if is_compact(value) else index_of(value), cursor, options)
    return [b"%d" % cursor, found]


# -- several sets


def _intersection(s: Session, keys: list[bytes]) -> set[bytes]:
    sets = sorted(_read_all(s, keys), key=len)
    return sets[0].intersection(*sets[1:]) if len(sets) > 1 else set(sets[0])


def _union(s: Session, keys: list[bytes]) -> set[bytes]:
    return set().union(*_read_all(s, keys))


def _difference(s: Session, keys: list[bytes]) -> set[bytes]:
    first, *others = _read_all(s, keys)
    return set(first).difference(*others)


def _read_all(s: Session, keys: list[bytes]) -> list[set[bytes]]:
    """The sets of several keys, an empty one for a key that is not there."""
    return [value if value is not None else set() for value in [s.db.read(key, Set) for key in keys]]


def _store(s: Session, destination: bytes, members: set[bytes], event: str) -> int:
    """Puts a set at `destination`, whatever it held, or deletes that when the set is empty."""
    if not members:
        s.db.drop(destination)
        return 0
    value = Set(members)
    settle(value, s.engine.settings)
    s.db.put(destination, value, event, new=snapshot(value) if s.db.observed else None)
    return len(value)


@command(
    "SINTER key [key ...]", "The members that several sets have in common.",
    group="set", since="1.0.0", flags="readonly", keys="RO access @1:-1", tips="nondeterministic_output_order",
    complexity="O(N*M), N being the size of the smallest set and M the number of sets.",
)  # fmt: skip
def sinter(s: Session, argv: Argv) -> Reply:
    return _intersection(s, argv[1:])


@command(
    "SINTERCARD numkeys key [key ...] [LIMIT limit]", "How many members several sets have in common.",
    group="set", since="7.0.0", flags="readonly movablekeys", keys="RO access @1#",
    complexity="O(N*M), N being the size of the smallest set and M the number of sets.",
)  # fmt: skip
def sintercard(s: Session, argv: Argv) -> Reply:
    error = "ERR numkeys should be greater than 0"
    numkeys = integer(argv[1], error)
    if numkeys < 1:
        raise ReplyError(error)
    if numkeys > len(argv) - 2:
        raise ReplyError("ERR Number of keys can't be greater than number of args")
    limit = 0
    for i in range(2 + numkeys, len(argv), 2):
        if argv[i].upper() != b"LIMIT" or i + 1 == len(argv):
            raise ReplyError(SYNTAX)
        limit = natural(argv[i + 1], "ERR LIMIT can't be negative")
    if not limit:
        return len(_intersection(s, argv[2 : 2 + numkeys]))
    smallest, *others = sorted(_read_all(s, argv[2 : 2 + numkeys]), key=len)
    common = (1 for member in smallest if all(member in other for other in others))
    return sum(islice(common, min(limit, len(smallest))))


@command(
    "SINTERSTORE destination key [key ...]", "Stores the members that several sets have in common.",
    group="set", since="1.0.0", flags="write denyoom", keys="RW update @1; RO access @2:-1", events="sinterstore del",
    complexity="O(N*M), N being the size of the smallest set and M the number of sets.",
)  # fmt: skip
def sinterstore(s: Session, argv: Argv) -> Reply:
    return _store(s, argv[1], _intersection(s, argv[2:]), "sinterstore")


@command(
    "SUNION key [key ...]", "The members of any of several sets.",
    group="set", since="1.0.0", flags="readonly", keys="RO access @1:-1", tips="nondeterministic_output_order",
    complexity="O(N), N being the number of members of all sets.",
)  # fmt: skip
def sunion(s: Session, argv: Argv) -> Reply:
    return _union(s, argv[1:])


@command(
    "SUNIONSTORE destination key [key ...]", "Stores the members of any of several sets.",
    group="set", since="1.0.0", flags="write denyoom", keys="OW update @1; RO access @2:-1", events="sunionstore del",
    complexity="O(N), N being the number of members of all sets.",
)  # fmt: skip
def sunionstore(s: Session, argv: Argv) -> Reply:
    return _store(s, argv[1], _union(s, argv[2:]), "sunionstore")


@command(
    "SDIFF key [key ...]", "The members of the first set that no other has.",
    group="set", since="1.0.0", flags="readonly", keys="RO access @1:-1", tips="nondeterministic_output_order",
    complexity="O(N), N being the number of members of all sets.",
)  # fmt: skip
def sdiff(s: Session, argv: Argv) -> Reply:
    return _difference(s, argv[1:])


@command(
    "SDIFFSTORE destination key [key ...]", "Stores the members of the first set that no other has.",
    group="set", since="1.0.0", flags="write denyoom", keys="OW update @1; RO access @2:-1", events="sdiffstore del",
    complexity="O(N), N being the number of members of all sets.",
)  # fmt: skip
def sdiffstore(s: Session, argv: Argv) -> Reply:
    return _store(s, argv[1], _difference(s, argv[2:]), "sdiffstore")
