r"""Redis's glob patterns over bytes, compiled to regular expressions.

`*` any run, `?` one byte, `[abc]` `[a-z]` `[^a]` classes, `\x` the byte x. The corner cases are Redis's: an
unclosed class ends with the pattern, a range may be written backwards and compares signed bytes, an escaped
byte in a class keeps its case, and the empty string matches the empty pattern only (commands that treat `*`
as "everything" do so before they ask). Every token but `*` takes exactly one byte, so after a `*` the first
place where the next run of tokens fits is always good enough: each such run becomes an atomic group, and the
worst pattern costs len(pattern) x len(string) instead of exponential time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

Predicate = Callable[[bytes], object]

_STAR = None
_ANY = frozenset(range(256))
_MOST_STARS = 1000  # Redis gives up beyond it: such a pattern matches nothing; one at the end is not counted
_Token = frozenset[int] | None  # the bytes that one position may hold, or _STAR


@lru_cache(maxsize=4096)
def compile(pattern: bytes, nocase: bool = False) -> Predicate:
    """Returns a function of one bytes argument that is truthy where the whole of it matches `pattern`."""
    tokens = _tokens(pattern, nocase)
    runs: list[list[frozenset[int]]] = [[]]
    for token in tokens:
        if token is _STAR:
            runs.append([])
        else:
            runs[-1].append(token)
    if len(runs) - 1 - (tokens[-1:] == [_STAR]) > _MOST_STARS:
        return lambda string: False
    sources = [b"".join(map(_one_byte, run)) for run in runs]
    if len(runs) == 1:
        source = sources[0]
    else:
        middle = b"".join(b"(?>.*?" + run + b")" for run in sources[1:-1] if run)
        source = sources[0] + middle + b".*" + sources[-1]
        if not sources[0]:
            source = b"(?=.)" + source  # the empty string does not match "*"
    return re.compile(source, re.DOTALL).fullmatch


def matches(pattern: bytes, string: bytes, nocase: bool = False) -> bool:
    """True if the whole of `string` matches `pattern`."""
    return bool(compile(pattern, nocase)(string))


def affixes(pattern: bytes) -> tuple[bytes, bytes, bool | None]:
    """The literal ends of a pattern: (prefix, suffix, how much they say).

    True: the pattern is the literal `prefix`. None: it is exactly prefix + `*` + suffix. False: what lies
    between the two has to be matched with compile().
    """
    tokens = _tokens(pattern, False)
    prefix = _literal(tokens)
    if len(prefix) == len(tokens):
        return prefix, b"", True
    suffix = _literal(tokens[: len(prefix) - 1 if prefix else None : -1])[::-1]
    between = tokens[len(prefix) : len(tokens) - len(suffix)]
    return prefix, suffix, None if all(token is _STAR for token in between) else False


def _literal(tokens: list[_Token]) -> bytes:
    found = bytearray()
    for token in tokens:
        if token is _STAR or len(token) != 1:
            break
        found += bytes(token)
    return bytes(found)


def _tokens(pattern: bytes, nocase: bool) -> list[_Token]:
    tokens: list[_Token] = []
    i, n = 0, len(pattern)
    while i < n:
        c = pattern[i]
        i += 1
        if c == 0x2A:  # *
            if not tokens or tokens[-1] is not _STAR:
                tokens.append(_STAR)
        elif c == 0x3F:  # ?
            tokens.append(_ANY)
        elif c == 0x5B:  # [
            members, i = _class(pattern, i, nocase)
            tokens.append(members)
        else:
            if c == 0x5C and i < n:  # backslash
                c = pattern[i]
                i += 1
            tokens.append(_cases(c) if nocase else frozenset((c,)))
    return tokens


def _class(pattern: bytes, i: int, nocase: bool) -> tuple[frozenset[int], int]:
    """Reads a class from the byte after its `[`. Returns its members and where the pattern goes on."""
    n = len(pattern)
    negated = i < n and pattern[i] == 0x5E  # ^
    i += negated
    members: set[int] = set()
    while i < n and pattern[i] != 0x5D:  # ]
        c = pattern[i]
        if c == 0x5C and i + 1 < n:  # backslash
            members.add(pattern[i + 1])
            i += 2
        elif i + 2 < n and pattern[i + 1] == 0x2D:  # -
            members |= _range(c, pattern[i + 2], nocase)
            i += 3
        else:
            members |= _cases(c) if nocase else {c}
            i += 1
    return (_ANY - members if negated else frozenset(members)), min(i + 1, n)


def _range(start: int, end: int, nocase: bool) -> set[int]:
    low, high = sorted((_signed(start), _signed(end)))
    if nocase:
        low, high = _signed(_lower(low & 255)), _signed(_lower(high & 255))
        return {c for c in range(256) if low <= _signed(_lower(c)) <= high}
    return {c for c in range(256) if low <= _signed(c) <= high}


def _signed(c: int) -> int:
    return c - 256 if c > 127 else c


def _lower(c: int) -> int:
    return c + 32 if 65 <= c <= 90 else c


def _cases(c: int) -> frozenset[int]:
    """Both cases of an ASCII letter, any other byte alone."""
    return frozenset((c, c ^ 32)) if 65 <= c & ~32 <= 90 else frozenset((c,))


def _one_byte(members: frozenset[int]) -> bytes:
    """The regular expression of one position."""
    if len(members) == 256:
        return b"."
    if len(members) == 1:
        return re.escape(bytes(members))
    if not members:
        return b"(?!)"
    return b"[" + b"".join(b"\\x%02x" % c for c in sorted(members)) + b"]"
