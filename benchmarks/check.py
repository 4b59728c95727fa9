"""`make bench-check`: has a command become more expensive? Judged without regard to how fast the machine is.

A whole server is composed as always, only that its clients are objects instead of sockets and its disk takes every
write at once: what is measured is the way of a command from bytes to bytes (parser, run, journal frame, encoder,
tick), as processor time. Beside it, round by round, runs a fixed loop of plain Python; the median of the rounds'
ratios is what has a limit. The limits stand about a quarter above what was measured when they were set: when one is
passed, find out why, or raise it in the commit that has the reason.

    make bench-check ARGS="[--rounds N] [--only WORD] [--propose] [--json FILE]"
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import matching
from benchmarks.arguments import output, positive
from benchmarks.commands import SCRIPT
from benchmarks.servers import build
from benchmarks.webhooks import ALIKE, MATCHLESS, NOWHERE, OTHERS
from ferrite_hooks.app import App
from ferrite_hooks.config import load
from ferrite_hooks.server.connection import Connection
from ferrite_hooks.store.files import DISK

SLACK = 1.25
# Processor time of one command, in turns of the reference loop (see `reference`; each takes about 0.4 µs).
# fmt: off
LIMITS: dict[str, dict[str, float]] = {
    "pure": {
        "GET p1": 10.4, "GET p16": 5.1,
        "SET p1": 14.2, "SET p16": 7.0,
        "INCR p1": 15.8, "INCR p16": 8.5,
        "LPUSH p1": 15.4, "LPUSH p16": 7.9,
        "HSET p1": 17.9, "HSET p16": 9.0,
        "ZADD p1": 12.0, "ZADD p16": 7.2,
        "XADD p1": 28.4, "XADD p16": 18.9,
        "MSET p1": 29.0, "MSET p16": 22.7,
        "LRANGE_100 p1": 26.5, "LRANGE_100 p16": 21.5,
        "EVAL p1": 40.0, "EVAL p16": 35.0,
        "SET p1, 1,000 others": 15.8, "SET p16, 1,000 others": 7.8,
        "SET p1, 1,000 alike": 16.5, "SET p16, 1,000 alike": 8.7,
        "SET p1, matched": 18.6, "SET p16, matched": 10.4,
        "matcher, new key": 6.3, "matcher, known key": 0.8,
    },
    "compiled": {
        "GET p1": 1.95, "GET p16": 0.76,
        "SET p1": 3.0, "SET p16": 1.4,
        "INCR p1": 3.6, "INCR p16": 2.0,
        "LPUSH p1": 4.2, "LPUSH p16": 2.4,
        "HSET p1": 4.0, "HSET p16": 2.3,
        "ZADD p1": 3.1, "ZADD p16": 1.9,
        "XADD p1": 6.1, "XADD p16": 4.6,
        "MSET p1": 6.7, "MSET p16": 5.3,
        "LRANGE_100 p1": 7.8, "LRANGE_100 p16": 6.2,
        "EVAL p1": 14.5, "EVAL p16": 12.6,
        "SET p1, 1,000 others": 3.2, "SET p16, 1,000 others": 1.65,
        "SET p1, 1,000 alike": 3.3, "SET p16, 1,000 alike": 1.6,
        "SET p1, matched": 4.7, "SET p16, matched": 2.9,
        "matcher, new key": 2.6, "matcher, known key": 0.25,
    },
}
# fmt: on

CLIENTS = 16  # whose commands share a loop tick
COMMANDS = 1024  # of one timed stretch: short, so that the reference beside it had the same machine
TURNS = 1024  # of the reference loop between them
ROUNDS = 40

SHAPES: dict[str, tuple[str, ...]] = {  # {n}: another number each time
    "GET": ("GET", "key:{n}"),
    "SET": ("SET", "key:{n}", "xxx"),
    "INCR": ("INCR", "counter:{n}"),
    "LPUSH": ("LPUSH", "list", "xxx"),
    "HSET": ("HSET", "hash", "field:{n}", "xxx"),
    "ZADD": ("ZADD", "zset", "{n}", "member:{n}"),
    "XADD": ("XADD", "stream", "*", "field", "xxx"),
    "MSET": ("MSET", *("key:{n}", "xxx") * 10),
    "LRANGE_100": ("LRANGE", "hundred", "0", "99"),
    "EVAL": ("EVAL", SCRIPT, "1", "key:{n}", "xxx"),
}


# -- a server without sockets --------------------------------------------------------------------------------


class Transport:
    """A client that takes all it is sent."""

    def __init__(self) -> None:
        self.sent = 0
        self.last = b""

    def write(self, data: bytes) -> None:
        self.sent += 1
        self.last = data

    def get_extra_info(self, name: str) -> Any:
        return "/in-memory" if name in ("sockname", "peername") else None

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        """As a socket's; the server closes its clients when it ends."""


class Turns:
    """An event loop for the tick: what is to be called soon is called when the turn is taken."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], object]] = []

    def call_soon(self, callback: Callable[[], object], *args: Any) -> None:
        self.soon.append(callback)

    def take(self) -> None:
        soon = self.soon
        while soon:
            soon.pop()()


class Harness:
    """A started App with CLIENTS connections."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.turns = Turns()
        app.tick.loop = self.turns  # type: ignore[assignment]
        self.connections = []
        for _ in range(CLIENTS):
            connection = Connection(app.clients)
            connection.connection_made(Transport())  # type: ignore[arg-type]
            self.connections.append(connection)

    def ask(self, *words: str | bytes) -> bytes:
        """One command by itself: its reply's bytes. Raises ValueError for an error."""
        connection = self.connections[0]
        connection.data_received(encoded(words))
        self.turns.take()
        reply: bytes = connection.transport.last  # type: ignore[attr-defined]
        if reply.startswith(b"-"):
            raise ValueError(reply.decode())
        return reply

    def stretch(self, chunks: list[bytes]) -> None:
        """Each chunk goes to the next client; when all have had one, the tick ends."""
        take, connections, soon = self.turns.take, self.connections, self.turns.soon
        for start in range(0, len(chunks), CLIENTS):
            for connection, chunk in zip(connections, chunks[start : start + CLIENTS], strict=False):
                connection.data_received(chunk)
            if soon:
                take()


def encoded(words: tuple[str | bytes, ...]) -> bytes:
    parts = [word if isinstance(word, bytes) else word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def chunks_of(shape: tuple[str, ...], pipeline: int, seed: int = 1) -> list[bytes]:
    """COMMANDS commands, `pipeline` to a chunk; the numbers are as redis-benchmark writes them."""
    numbers = random.Random(seed)
    commands = []
    for _ in range(COMMANDS):
        number = f"{numbers.randrange(100_000):012d}"
        commands.append(encoded(tuple(word.replace("{n}", number) for word in shape)))
    return [b"".join(commands[i : i + pipeline]) for i in range(0, COMMANDS, pipeline)]


# -- timing --------------------------------------------------------------------------------------------------


class Thing:
    """Has a counter, for the reference loop."""

    def __init__(self) -> None:
        self.count = 0

    def touch(self, data: dict[bytes, list[bytes]], words: list[bytes]) -> int:
        data[words[1]] = words
        self.count += 1
        return len(words)


_LINES = [b"word %d of some length" % n for n in range(256)]


def reference(turns: int = TURNS) -> int:
    """What the limits are measured in: calls, attributes, dict and bytes work such as any Python program does."""
    thing, data, total = Thing(), dict[bytes, list[bytes]](), 0
    touch = thing.touch
    for n in range(turns):
        words = _LINES[n & 255].split(b" ")
        total += touch(data, words)
        total += len(b"".join(words))
        if data.get(words[1]) is not words:
            raise AssertionError
    return total


def timed(work: Callable[[], object]) -> float:
    """Processor seconds of this thread."""
    started = time.thread_time()
    work()
    return time.thread_time() - started


@dataclass(frozen=True)
class Result:
    """One case."""

    name: str
    us: float  # of one command, on this machine, in the cheapest round
    ratio: float  # turns of the reference loop, median of the rounds
    limit: float | None  # None: nothing is known of such a build yet

    @property
    def over(self) -> bool:
        return self.limit is not None and self.ratio > self.limit


@dataclass(frozen=True)
class Case:
    """Something to time; `prepare` runs before each round, outside of the time."""

    name: str
    work: Callable[[], object]
    operations: int  # of one `work`
    prepare: Callable[[], object] = lambda: None


def measured(cases: list[Case], rounds: int, limits: dict[str, float]) -> list[Result]:
    """Case and reference in turns, so that a slow second of the machine meets both."""
    results = []
    for case in cases:
        case.prepare()
        case.work()  # warm
        costs, ratios = [], []
        before = timed(reference)
        for _ in range(rounds):
            case.prepare()
            cost, after = timed(case.work), timed(reference)
            costs.append(cost / case.operations)
            ratios.append(costs[-1] / ((before + after) / 2 / TURNS))
            before = after
        results.append(Result(case.name, min(costs) * 1e6, median(ratios), limits.get(case.name)))
    return results


# -- cases ---------------------------------------------------------------------------------------------------


def command_cases(harness: Harness) -> list[Case]:
    harness.ask("RPUSH", "hundred", *["xxx"] * 100)
    cases = []
    for name, shape in SHAPES.items():
        for pipeline in (1, 16):
            chunks = chunks_of(shape, pipeline)
            cases.append(Case(f"{name} p{pipeline}", partial(harness.stretch, chunks), COMMANDS))
    return cases


def webhook_cases(harness: Harness) -> list[Case]:
    """SET that 1,000 webhooks don't want, whose patterns begin like its keys or otherwise; and SET that one wants
    (paused: capturing is measured, not delivering)."""
    sets = {
        "1,000 others": {f"other{n}": ("PATTERN", pattern) for n, pattern in enumerate(MATCHLESS[OTHERS])},
        "1,000 alike": {f"alike{n}": ("PATTERN", pattern) for n, pattern in enumerate(MATCHLESS[ALIKE])},
        "matched": {"all": ("MAX_PENDING", "100000")},
    }
    there: list[str] = []

    def prepare(kind: str) -> None:
        wanted = sets[kind]
        if there != list(wanted):
            if there:
                harness.ask("WEBHOOK.DELETE", *there)
            for name, options in wanted.items():
                harness.ask("WEBHOOK.CREATE", name, NOWHERE, "EVENTS", "SET", *options)
            there[:] = wanted
        if kind == "matched":
            harness.ask("WEBHOOK.PAUSE", "all")
            harness.ask("WEBHOOK.PURGE", "all", "PENDING")

    cases = []
    for kind in sets:
        for pipeline in (1, 16):
            chunks = chunks_of(SHAPES["SET"], pipeline)
            work = partial(harness.stretch, chunks)
            cases.append(Case(f"SET p{pipeline}, {kind}", work, COMMANDS, partial(prepare, kind)))
    return cases


def matcher_cases(rounds: int) -> list[Case]:
    """One call of Matcher.match among 1,000 webhooks of mixed globs, for keys seen before and for new ones."""
    ask = matching.asking(matching.mixed_matcher())
    known = matching.keys(0)
    fresh = [matching.keys(generation) for generation in range(1, rounds + 3)]
    return [
        Case("matcher, new key", lambda: ask(fresh.pop()), len(known)),
        Case("matcher, known key", lambda: ask(known), len(known)),
    ]


# -- the whole -----------------------------------------------------------------------------------------------


async def check(rounds: int = ROUNDS, only: str = "") -> list[Result]:
    """Runs the cases whose names have `only` in them."""
    limits = LIMITS[build()]

    def chosen(cases: list[Case]) -> list[Case]:
        return [case for case in cases if only in case.name]

    results = []
    files = replace(DISK, write=lambda fd, data: len(data), sync=lambda fd: None)
    with tempfile.TemporaryDirectory(prefix="bench-check-") as directory:
        overrides: dict[str, object] = {
            "server.dir": directory, "server.port": 0, "server.metrics_port": 0,
            "server.unixsocket": str(Path(directory, "s")), "journal.fsync": "no", "snapshot.save": "",
            "webhooks.max_webhooks": 2000, "webhooks.queue.max_pending": 100_000,
        }  # fmt: skip
        app = App(load(None, overrides), None, overrides, files)
        await app.start()
        loop = app.tick.loop
        try:
            harness = Harness(app)
            for cases in (command_cases(harness), webhook_cases(harness)):
                results += measured(chosen(cases), rounds, limits)
        finally:
            app.tick.loop = loop
            app.stop()
            await app.stopped()
    results += measured(chosen(matcher_cases(rounds)), rounds, limits)
    return results


def rendered(results: list[Result]) -> str:
    lines = [f"{'':24} {'µs':>8} {'ratio':>8} {'limit':>8}"]
    for r in results:
        limit = "-" if r.limit is None else f"{r.limit:.2f}"
        lines.append(f"{r.name:24} {r.us:8.2f} {r.ratio:8.2f} {limit:>8}{'  OVER' if r.over else ''}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.check", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--rounds", metavar="N", type=positive, default=ROUNDS, help=f"stretches of each case ({ROUNDS})"
    )
    parser.add_argument("--only", default="", metavar="WORD", help="cases with this in their name")
    parser.add_argument("--propose", action="store_true", help=f"print limits of {SLACK} times what was measured")
    parser.add_argument("--json", metavar="FILE", type=output, help="write the results there, too")
    args = parser.parse_args()
    started = time.monotonic()
    results = asyncio.run(check(args.rounds, args.only))
    if not results:
        parser.error(f"--only {args.only}: no case has this in its name")
    print(rendered(results))
    over = [r.name for r in results if r.over]
    print(f"\n{build()} build, Python {sys.version.split()[0]}, {time.monotonic() - started:.0f} s; "
          f"{'over their limit: ' + ', '.join(over) if over else 'all within their limits'}")  # fmt: skip
    if args.propose:
        print("".join(f'\n"{r.name}": {r.ratio * SLACK:.2f},' for r in results))
    if args.json is not None:
        args.json.write_text(json.dumps({r.name: {"us": r.us, "ratio": r.ratio} for r in results}, indent=1) + "\n")
    return 1 if over else 0


if __name__ == "__main__":
    raise SystemExit(main())
