"""SORT and SORT_RO: the elements of a list, set or sorted set, ordered by themselves or by other keys.

`BY weight_*` and `GET object_*->field` put each element in the place of the asterisk; `#` is the element
itself. A BY without an asterisk means: leave the order alone.
"""

from __future__ import annotations

from ferrite_hooks.commands.common import integer, strtod
from ferrite_hooks.engine.command import Argv, command
from ferrite_hooks.engine.keyspace import Database, Value
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import SYNTAX, WRONGTYPE, ReplyError
from ferrite_hooks.resp.reply import Reply
from ferrite_hooks.values.collections import Hash, List, Set
from ferrite_hooks.values.raw import Raw
from ferrite_hooks.values.zset import ZSet

_BLANKS = b" \t\n\v\f\r"


class _Options:
    __slots__ = ("alpha", "by", "count", "descending", "get", "offset", "store")

    def __init__(self, s: Session, argv: Argv, may_store: bool) -> None:
        self.by: bytes | None = None
        self.get: list[bytes] = []
        self.store: bytes | None = None
        self.alpha = self.descending = False
        self.offset, self.count = 0, -1
        i = 2
        while i < len(argv):
            word, left = argv[i].upper(), len(argv) - i - 1
            if word == b"ASC" or word == b"DESC":
                self.descending = word == b"DESC"
            elif word == b"ALPHA":
                self.alpha = True
            elif word == b"LIMIT" and left >= 2:
                self.offset, self.count = integer(argv[i + 1]), integer(argv[i + 2])
                i += 2
            elif word == b"STORE" and left >= 1 and may_store:
                i += 1
                self.store = argv[i]
            elif word == b"BY" and left >= 1:
                i += 1
                self.by = argv[i]
                if b"*" in self.by:
                    _require_all_keys(s, argv, "BY")
            elif word == b"GET" and left >= 1:
                i += 1
                self.get.append(argv[i])
                _require_all_keys(s, argv, "GET")
            else:
                raise ReplyError(SYNTAX)
            i += 1


def _require_all_keys(s: Session, argv: Argv, option: str) -> None:
    """Patterns reach keys that no ACL rule can know beforehand."""
    command = s.engine.command
    assert command is not None  # the SORT that is running
    if not s.user.may_read_every_key(command, argv):
        raise ReplyError(f"ERR {option} option of SORT denied due to insufficient ACL permissions.")


def _look_up(db: Database, pattern: bytes, element: bytes) -> bytes | None:
    """The string, or the hash field, that a pattern means for an element."""
    if pattern == b"#":
        return element
    prefix, asterisk, rest = pattern.partition(b"*")
    if not asterisk:
        return None
    name, arrow, field = rest.partition(b"->")
    if not (arrow and field):
        name, field = rest, b""
    value: Value = db.find(prefix + element + name)
    if field:
        return value.get(field) if type(value) is Hash else None
    return value if type(value) is bytes else bytes(value) if type(value) is Raw else None


def _number(raw: bytes) -> float:
    number = strtod(raw.lstrip(_BLANKS)) if raw else 0.0
    if number is None:
        raise ReplyError("ERR One or more scores can't be converted into double")
    return number


def _elements(s: Session, value: Value, options: _Options) -> list[bytes]:
    """All elements in their final order."""
    db, by, alpha = s.db, options.by, options.alpha
    if by is not None and b"*" not in by:
        if type(value) is Set and (options.store is not None or s.internal):
            by, alpha = None, True  # a set has no order, but what is stored must be the same everywhere
        else:
            ordered = value.range(0, len(value)) if type(value) is ZSet else list(value)
            return ordered[::-1] if options.descending and type(value) is not Set else ordered
    if by is None:
        if alpha:
            return sorted(value, reverse=options.descending)
        weighed = [(_number(element), element) for element in value]
    elif alpha:
        found = [(_look_up(db, by, element), element) for element in value]
        # nothing comes before everything; equal weights leave the order alone
        found.sort(key=lambda pair: (pair[0] is not None, pair[0] or b""), reverse=options.descending)
        return [element for _, element in found]
    else:
        weighed = [(_number(_look_up(db, by, element) or b""), element) for element in value]
    weighed.sort(reverse=options.descending)
    return [element for _, element in weighed]


def _sort(s: Session, argv: Argv, may_store: bool) -> Reply:
    db = s.db
    options = _Options(s, argv, may_store)
    value = db.find(argv[1])
    if value is None:
        s.engine.misses += 1
        value = List()
    else:
        s.engine.hits += 1
        if type(value) not in (List, Set, ZSet):
            raise ReplyError(WRONGTYPE)
    found = _elements(s, value, options)
    start = max(options.offset, 0)
    found = found[start : start + options.count] if options.count >= 0 else found[start:]
    if options.get:
        shown: list[bytes | None] = [_look_up(db, pattern, element) for element in found for pattern in options.get]
    else:
        shown = list(found)
    if options.store is None:
        return shown
    stored = [element if element is not None else b"" for element in shown]
    if stored:
        db.put(options.store, List(stored), "sortstore", new=("list", stored) if db.observed else None)
    else:
        db.drop(options.store)
    return len(stored)


def _sort_keys(argv: Argv) -> list[int]:
    """The sorted key and the last STORE; BY and GET reach keys that cannot be told from the arguments."""
    store = 0
    i = 2
    while i < len(argv):
        word = argv[i].upper()
        if word == b"STORE" and i + 1 < len(argv):
            store = i + 1
        i += 3 if word == b"LIMIT" else 2 if word in (b"BY", b"GET", b"STORE") else 1
    return [1, store] if store else [1]


_SYNTAX = "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA]"


@command(
    f"SORT {_SYNTAX} [STORE destination]", "The sorted elements of a list, set or sorted set, or the list they make.",
    group="generic", since="1.0.0", flags="write denyoom movablekeys dangerous", acl="-keyspace set sortedset list",
    keys="RO access @1; RO access ?; OW update ?", getkeys=_sort_keys, events="sortstore del",
    complexity="O(N*log(N)) for N elements",
)  # fmt: skip
def sort(s: Session, argv: Argv) -> Reply:
    return _sort(s, argv, may_store=True)


@command(
    f"SORT_RO {_SYNTAX}", "The sorted elements of a list, set or sorted set.",
    group="generic", since="7.0.0", flags="readonly movablekeys dangerous", acl="-keyspace set sortedset list",
    keys="RO access @1; RO access ?", getkeys=lambda argv: [1], complexity="O(N*log(N)) for N elements",
)  # fmt: skip
def sort_ro(s: Session, argv: Argv) -> Reply:
    return _sort(s, argv, may_store=False)
