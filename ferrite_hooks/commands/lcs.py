"""LCS: the longest common subsequence of two strings.

The usual table of lengths is kept as one big integer a row, a bit a column: the bit is 0 where the length
grows by one from the column before (Crochemore et al. 2001; Hyyrö 2004). A row then costs a few operations on
whole integers, and walking back through the table needs no more than those bits.
"""

from __future__ import annotations

from ferrite_hooks.commands.common import integer
from ferrite_hooks.engine.command import Argv, command
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import SYNTAX, ReplyError
from ferrite_hooks.resp.reply import Reply

Match = tuple[int, int, int]  # where it starts in the one and in the other, how long it is


def _rows(a: bytes, b: bytes, every: bool) -> list[int]:
    """The row behind each byte of `a` (or only the last row); bit j belongs to byte j of `b`."""
    full = (1 << len(b)) - 1
    where: dict[int, int] = {}
    for byte in set(a):
        marks = b.translate(bytes(49 if value == byte else 48 for value in range(256)))[::-1]
        where[byte] = int(marks, 2) if marks else 0
    row, rows = full, [full]
    for byte in a:
        hits = where[byte]
        taken = row & hits
        row = ((row + taken) | (row - taken)) & full
        if every:
            rows.append(row)
    return rows if every else [row]


def length(a: bytes, b: bytes) -> int:
    """The length of the longest common subsequence."""
    if len(a) > len(b):
        a, b = b, a
    return len(b) - _rows(a, b, every=False)[0].bit_count()


def matches(a: bytes, b: bytes) -> list[Match]:
    """The runs of one longest common subsequence, the last run first: the one that Redis picks."""
    rows = _rows(a, b, every=True)
    found: list[Match] = []
    i, j = len(a), len(b)
    run = 0
    while i and j:
        if a[i - 1] == b[j - 1]:
            i, j, run = i - 1, j - 1, run + 1
            continue
        if run:
            found.append((i, j, run))
            run = 0
        if rows[i] >> (j - 1) & 1:
            j -= 1  # the length does not grow in this column
        else:
            i -= 1
    if run:
        found.append((i, j, run))
    return found


@command(
    "LCS key1 key2 [LEN] [IDX] [MINMATCHLEN len] [WITHMATCHLEN]", "The longest common subsequence of two strings.",
    group="string", since="7.0.0", flags="readonly", keys="RO access @1:2",
    complexity="O(N*M/64) for strings of N and M bytes",
)  # fmt: skip
def lcs(s: Session, argv: Argv) -> Reply:
    values = []
    for key in argv[1:3]:
        try:
            values.append(s.db.read(key, bytes) or b"")
        except ReplyError:
            raise ReplyError("ERR The specified keys must contain string values")
    only_length = ranges = lengths = False
    least = 0
    i = 3
    while i < len(argv):
        word = argv[i].upper()
        if word == b"LEN":
            only_length = True
        elif word == b"IDX":
            ranges = True
        elif word == b"WITHMATCHLEN":
            lengths = True
        elif word == b"MINMATCHLEN" and i + 1 < len(argv):
            i += 1
            least = integer(argv[i])
        else:
            raise ReplyError(SYNTAX)
        i += 1
    if only_length and ranges:
        raise ReplyError("ERR If you want both the length and indexes, please just use IDX.")
    a, b = values
    if 4 * (len(a) + 1) * (len(b) + 1) > s.engine.settings["proto-max-bulk-len"]:
        raise ReplyError("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")
    if only_length:
        return length(a, b)
    found = matches(a, b)
    if not ranges:
        return b"".join(a[at : at + size] for at, _, size in reversed(found))
    shown: list[Reply] = []
    for at, other, size in found:
        if size >= least:
            pair: list[Reply] = [[at, at + size - 1], [other, other + size - 1]]
            shown.append([*pair, size] if lengths else pair)
    return {b"matches": shown, b"len": sum(size for _, _, size in found)}
