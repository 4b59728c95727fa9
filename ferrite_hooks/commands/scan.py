"""SCAN, and what HSCAN, SSCAN and ZSCAN share with it: cursors, options, pages.

A cursor is a point in the hash space of a `values.index.Index`. Small collections need none: they are
returned whole with cursor 0, as Redis does with its compact encodings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from ferrite_hooks import glob
from ferrite_hooks.commands.common import integer
from ferrite_hooks.engine.command import Argv, command
from ferrite_hooks.engine.keyspace import TYPE_NAMES
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import SYNTAX, ReplyError
from ferrite_hooks.resp.reply import Reply
from ferrite_hooks.values.index import Index

_CURSOR: Final = re.compile(rb"[+-]?([0-9]+)\Z")


class ScanOptions:
    """`[MATCH pattern] [COUNT count] [TYPE type]`."""

    __slots__ = ("count", "match", "type")

    def __init__(self, match: glob.Predicate | None = None, count: int = 10, type: str = "") -> None:
        self.match = match
        self.count = count
        self.type = type  # lower case, "" = any


_PLAIN: Final = ScanOptions()


def scan_cursor(raw: bytes) -> int:
    """A cursor that a client gives back: what C's strtoul takes, without blanks. Raises ReplyError."""
    if not raw or raw == b"0":
        return 0
    match = _CURSOR.match(raw)
    if match is None or int(match[1]) >= 2**64:
        raise ReplyError("ERR invalid cursor")
    return int(raw) % 2**64


def scan_options(argv: Argv, at: int, allow_type: bool = False) -> ScanOptions:
    """Reads the options from `argv[at:]`, which they must fill; of a repeated one the last counts."""
    if at == len(argv):
        return _PLAIN
    match: glob.Predicate | None = None
    count, kind = 10, ""
    for i in range(at, len(argv), 2):
        option = argv[i].upper()
        if i + 1 == len(argv):
            raise ReplyError(SYNTAX)
        if option == b"COUNT":
            count = integer(argv[i + 1])
            if count < 1:
                raise ReplyError(SYNTAX)
        elif option == b"MATCH":
            match = None if argv[i + 1] == b"*" else glob.compile(argv[i + 1])
        elif option == b"TYPE" and allow_type:
            kind = argv[i + 1].lower().decode("latin-1")
        else:
            raise ReplyError(SYNTAX)
    return ScanOptions(match, count, kind)


def scan_page(
    members: Iterable[bytes], index: Index | None, cursor: int, options: ScanOptions
) -> tuple[int, list[bytes]]:
    """(next cursor, members that match) of one call: a page of `index`, or all members when it is None."""
    if index is None:
        cursor, found = 0, list(members)
    else:
        cursor, found = index.scan(cursor, options.count)
    if options.match is not None:
        found = list(filter(options.match, found))
    return cursor, found


@command(
    "SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]",
    "A page of the keys of a database, and the cursor of the next one.",
    group="generic", since="2.8.0", flags="readonly", tips="nondeterministic_output request_policy:special",
    complexity="O(1) for a call, O(N) for a whole iteration, N being the number of keys.",
)  # fmt: skip
def scan(s: Session, argv: Argv) -> Reply:
    cursor = scan_cursor(argv[1])
    options = scan_options(argv, 2, allow_type=True)
    db = s.db
    cursor, found = scan_page((), db.index_keys(), cursor, options)
    if options.type or db.expires or db.timed_hashes:  # not all that are there may be shown
        found = [key for key in found if (value := db.find(key)) is not None and _is(value, options.type)]
    return [b"%d" % cursor, found]


def _is(value: object, kind: str) -> bool:
    return not kind or TYPE_NAMES[type(value)] == kind
