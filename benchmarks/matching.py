"""How long it takes to know which of 1,000 webhooks want a key: of a key seen before, and of a new one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from fnmatch import translate

from benchmarks.figures import Goal, Row, interleaved, row
from ferrite_hooks.webhooks.match import Matcher
from ferrite_hooks.webhooks.model import Webhook

WEBHOOKS = 1000
KEYS = 2000  # asked about at a time
GOAL = Goal((0.2, 5.0), at_most=True, absolute=True)  # µs
_KINDS = ("tenant{n}:*", "app:{n}:user:*", "order:{n}", "cache:{n}:*:html", "*:invoice:{n}", "t{n}:[a-f]*:x?",
          "queue:{n}:??:*", "tenant{n}:cart:*:items", "user:*:session{n}", "s{n}*")  # fmt: skip
_FIRST = ("tenant40:cart:", "app:71:user:", "cache:33:", "user:", "nobody:", "queue:66:ab:")


def mixed_globs(count: int) -> list[bytes]:
    """Patterns as people write them: mostly a literal prefix, some with a suffix, a few that begin with a star."""
    return [_KINDS[n % len(_KINDS)].replace("{n}", str(n)).encode() for n in range(count)]


def keys(generation: int) -> list[bytes]:
    """Some of which match some globs; each generation has others."""
    return [f"{_FIRST[n % len(_FIRST)]}{generation}-{n}:items".encode() for n in range(KEYS)]


def mixed_matcher() -> Matcher:
    matcher = Matcher()
    matcher.set(
        Webhook(serial=n, name=f"w{n}", url="http://127.0.0.1:9/", patterns=(pattern,), events=("SET",))
        for n, pattern in enumerate(mixed_globs(WEBHOOKS), 1)
    )
    return matcher


def asking(matcher: Matcher) -> Callable[[Sequence[bytes]], None]:
    """Asks once for each key."""
    match = matcher.match

    def ask(names: Sequence[bytes]) -> None:
        for name in names:
            match(0, "set", name)

    return ask


def matching(rounds: int) -> Iterator[Row]:
    """Beside it what is written first: a regular expression for each webhook, tried one after the other."""
    ask = asking(mixed_matcher())
    regexes = [re.compile(translate(glob.decode()).encode()).match for glob in mixed_globs(WEBHOOKS)]
    known, fresh = keys(0), [keys(generation) for generation in range(1, rounds + 1)]
    some = known[::20]  # each takes long enough
    ask(known)

    def try_each() -> None:
        for name in some:
            for match in regexes:
                match(name)

    found = interleaved(rounds, {
        "known": lambda: _microseconds(lambda: ask(known), KEYS),
        "new": lambda: _microseconds(lambda: ask(fresh.pop()), KEYS),
        "regexes": lambda: _microseconds(try_each, len(some)),
    })  # fmt: skip
    yield row(
        "matcher", f"which of {WEBHOOKS:,} webhooks of mixed globs want a key, seen before / new", "µs",
        [found["known"], found["new"]], [found["regexes"]] * 2, goal=GOAL, cells=("seen before", "new"),
        against="a regular expression for each",
    )  # fmt: skip


def _microseconds(work: Callable[[], None], count: int) -> float:
    """Processor time of one of `count`."""
    started = time.process_time()
    work()
    return (time.process_time() - started) / count * 1e6
