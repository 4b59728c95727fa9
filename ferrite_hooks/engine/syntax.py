"""What a command's syntax line says: its name, its arity and its arguments as COMMAND DOCS shows them.

The line is the one in Redis's documentation: `GETEX key [EX seconds | PERSIST]`. Lower-case words are
arguments, upper-case words are literal tokens, `[…]` is optional, `<a | b>` is a choice, and `[x …]` after x
(or `...`) means that x may be repeated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

_TOKEN = re.compile(r'\.\.\.|[\[\]<>|]|"[^"]*"|[^\s\[\]<>|]+')
_WORD = re.compile(r"[A-Z][A-Z0-9._-]*\Z")

_TYPES = {
    "key": "key", "source": "key", "destination": "key", "newkey": "key", "destkey": "key", "sourcekey": "key",
    "seconds": "integer", "milliseconds": "integer", "count": "integer", "start": "integer", "stop": "integer",
    "offset": "integer", "index": "integer", "numkeys": "integer", "increment": "integer", "decrement": "integer",
    "cursor": "integer", "timeout": "double", "score": "double", "port": "integer", "db": "integer",
    "limit": "integer", "rank": "integer", "maxlen": "integer", "len": "integer",
    "longitude": "double", "latitude": "double", "radius": "double", "width": "double", "height": "double",
    "pattern": "pattern", "unix-time-seconds": "unix-time", "unix-time-milliseconds": "unix-time",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument, choice or group of them."""

    name: str
    type: str  # string integer double key pattern unix-time pure-token oneof block
    token: str = ""  # the literal that introduces it
    optional: bool = False
    multiple: bool = False
    multiple_token: bool = False  # the token is repeated too
    arguments: tuple[Argument, ...] = field(default=())

    @property
    def least(self) -> int:
        """The smallest number of words that it can take."""
        if self.optional:
            return 0
        words = 1 if self.token else 0
        if self.type == "oneof":
            return words + min(argument.least for argument in self.arguments)
        if self.type == "block":
            return words + sum(argument.least for argument in self.arguments)
        return words if self.type == "pure-token" else words + 1

    @property
    def fixed(self) -> bool:
        """True when it always takes the same number of words."""
        if self.optional or self.multiple:
            return False
        if self.type == "oneof" and len({argument.least for argument in self.arguments}) > 1:
            return False
        return all(argument.fixed for argument in self.arguments)


def parse(syntax: str) -> tuple[list[str], tuple[Argument, ...]]:
    """Splits a syntax line into the words of the command's name and its arguments. Raises ValueError."""
    tokens = _TOKEN.findall(syntax)
    words = [tokens[0]]
    while len(words) < min(len(tokens), 2) and _WORD.match(tokens[len(words)]):
        words.append(tokens[len(words)])
    arguments, rest = _sequence(tokens[len(words) :], "")
    if rest:
        raise ValueError(f"unbalanced {rest[0]!r} in {syntax!r}")
    return words, tuple(arguments)


def arity(words: list[str], arguments: tuple[Argument, ...]) -> int:
    """Redis's arity: the number of words if it is fixed, else minus the smallest number."""
    least = len(words) + sum(argument.least for argument in arguments)
    return least if all(argument.fixed for argument in arguments) else -least


def _sequence(tokens: list[str], closing: str) -> tuple[list[Argument], list[str]]:
    found: list[Argument] = []
    while tokens and tokens[0] not in ("]", ">", "|"):
        head, tokens = tokens[0], tokens[1:]
        if head == "[":
            inner, tokens = _choice(tokens, "]")
            previous = found[-len(inner.arguments) :] if inner.type == "block" else found[-1:]
            if inner.multiple and previous and _names(inner) == [argument.name for argument in previous]:
                # `x [x ...]`: not an option but a repetition of what stands before it
                if len(previous) == 1:
                    found[-1] = replace(previous[0], multiple=True, multiple_token=bool(inner.token))
                else:
                    found[-len(previous) :] = [Argument("data", "block", multiple=True, arguments=tuple(previous))]
            else:
                found.append(replace(inner, optional=True))
        elif head == "<":
            inner, tokens = _choice(tokens, ">")
            found.append(inner)
        elif head == "...":
            if len(found) > 1 and found[0].type == "pure-token" and not found[0].optional:
                found = [_join(found)]
            found[-1] = replace(found[-1], multiple=True)
        elif _WORD.match(head) or head.startswith('"') or not head[0].isalnum():
            literal = head.strip('"')
            found.append(Argument(literal.lower() or "empty", "pure-token", token=literal))
        else:
            found.append(Argument(head, _TYPES.get(head, "string")))
            if len(found) > 1 and found[-2].type == "pure-token" and not found[-2].optional:
                value = found.pop()
                found[-1] = replace(value, token=found[-1].token)
    return found, tokens


def _choice(tokens: list[str], closing: str) -> tuple[Argument, list[str]]:
    options: list[Argument] = []
    while True:
        inner, tokens = _sequence(tokens, closing)
        options.append(_join(inner))
        if not tokens:
            raise ValueError(f"missing {closing!r}")
        separator, tokens = tokens[0], tokens[1:]
        if separator == closing:
            break
        if separator != "|":
            raise ValueError(f"{separator!r} where {closing!r} was expected")
    if len(options) == 1:
        return options[0], tokens
    return Argument("-".join(option.name for option in options)[:40], "oneof", arguments=tuple(options)), tokens


def _join(inner: list[Argument]) -> Argument:
    if len(inner) == 1:
        return inner[0]
    repeated = inner[-1].multiple and all(not argument.multiple for argument in inner[:-1])
    if repeated:
        inner = [*inner[:-1], replace(inner[-1], multiple=False)]
    return Argument("-".join(a.name for a in inner)[:40], "block", multiple=repeated, arguments=tuple(inner))


def _names(argument: Argument) -> list[str]:
    return [a.name for a in argument.arguments] if argument.type == "block" else [argument.name]
