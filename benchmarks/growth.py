"""Does cost grow as it should? Throughput and p99 of SET by the number of clients, webhooks, keys and pending events.

Nothing may grow much: the last column is the processor time of a command by that of one with a tenth as
many. Processor time is what grows; and because a busy machine is slower at times, it is counted in turns of a fixed
loop (check.py's) that runs on the same core before and after. The journal is not compacted meanwhile: that has its
own bound.

    make bench OF=growth ARGS="[--full] [--only clients webhooks keys pending] [--json FILE]"
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import redis

from benchmarks.arguments import output
from benchmarks.check import TURNS, reference, timed
from benchmarks.load import Run, run, sized
from benchmarks.receipts import ROOM
from benchmarks.resources import VALUE, pour
from benchmarks.servers import LOAD, SERVER, Server, end_on_sigterm, machine, pin_here, warn_if_pure
from benchmarks.webhooks import NOWHERE

SET = ["SET", "key:__rand_int__", "xxx"]
GET = ["GET", "key:__rand_int__"]
PIPELINE = 16
WORSE = 1.5  # processor time of a command may grow by so much with ten times as many …
WORSE_CLIENTS = 1.8  # … but sockets are the kernel's work: redis-server, measured beside us, grows as well
BESIDE = "clients of redis-server"


@dataclass(frozen=True)
class Point:
    """One size of one thing."""

    what: str
    size: int
    rate: float  # requests per second
    p99_ms: float  # of a request, which waits for its whole pipeline and for the other clients
    cpu_us: float  # processor time of the server per request
    turns: float  # the same in turns of the reference loop


def factors(points: Sequence[Point]) -> list[float | None]:
    """Processor time by that of the point before of the same thing; None for the first."""
    before: dict[str, Point] = {}
    found: list[float | None] = []
    for point in points:
        last = before.get(point.what)
        found.append(point.turns / last.turns if last is not None and last.turns else None)
        before[point.what] = point
    return found


def too_much(point: Point, factor: float | None) -> bool:
    if factor is None or point.what == BESIDE:
        return False
    return factor > (WORSE_CLIENTS if point.what == "clients" else WORSE)


def rendered(points: Sequence[Point]) -> str:
    lines = ["| | size | requests/s | p99 | processor time | by a tenth |", "|---|---|---|---|---|---|"]
    for point, factor in zip(points, factors(points), strict=True):
        grown = "" if factor is None else f"{factor:.2f}{' ✗' if too_much(point, factor) else ''}"
        lines.append(f"| {point.what} | {point.size:,} | {point.rate:,.0f} | {point.p99_ms:.2f} ms | "
                     f"{point.cpu_us:.2f} µs | {grown} |")  # fmt: skip
    return "\n".join(lines)


def measured(
    what: str, size: int, server: Server, words: Sequence[str], *, rounds: int, seconds: float, keys: int = 100_000,
    clients: int = 50, pipeline: int = PIPELINE,
) -> Point:  # fmt: skip
    count = max(sized(server, words, pipeline, seconds, keys), 20 * clients * pipeline, 10_000)
    runs, costs, turns = [], [], []
    before = turn_us()
    connecting = run(server, words, pipeline, clients * pipeline, clients, keys)  # and one pipeline each
    for _ in range(rounds):
        runs.append(run(server, words, pipeline, count, clients, keys))
        costs.append(more_cost(connecting, clients * pipeline, runs[-1], count))
        after = turn_us()
        turns.append(costs[-1] / ((before + after) / 2))
        before = after
    return Point(what, size, median(r.rate for r in runs), median(r.p99_ms for r in runs), min(costs), median(turns))


def more_cost(few: Run, fewer: int, many: Run, more: int) -> float:
    """µs of processor time of a request, that of making the connections taken off: both runs had it alike."""
    return (many.cpu_us * more - few.cpu_us * fewer) / (more - fewer)


def turn_us() -> float:
    """What a turn of the reference loop takes on the server's core now."""
    pin_here(SERVER)
    try:
        return median(timed(reference) for _ in range(9)) / TURNS * 1e6
    finally:
        pin_here(LOAD)


# -- what grows ----------------------------------------------------------------------------------------------


def ours(*options: str) -> Server:
    return Server.ours("everysec", "--set", "journal.compact_percentage=0", *options)


def clients(full: bool, rounds: int, seconds: float) -> Iterator[Point]:
    """10 to 10,000 connections that all talk, as far as descriptors allow."""
    allowed = raise_file_limit(10_500)
    makers: dict[str, Callable[[], Server]] = {
        "clients": lambda: ours("--set", "server.maxclients=11000", "--set", "webhooks.delivery.max_connections=64"),
        BESIDE: lambda: Server.redis("everysec", "--maxclients", "11000"),
    }
    for what, make in makers.items():
        with make() as server:
            for count in (10, 100, 1000, 10_000):
                if count + 200 > allowed:
                    print(f"{count:,} clients need more open files than {allowed:,} (ulimit -n)", file=sys.stderr)
                    continue
                yield measured(what, count, server, SET, rounds=rounds, seconds=seconds, clients=count, pipeline=1)


def webhooks(full: bool, rounds: int, seconds: float) -> Iterator[Point]:
    """1 to 10,000 webhooks on keys of their own that don't match, and the same with one more that does."""
    for matching in (False, True):
        what = "webhooks, one of them matches" if matching else "webhooks, none matches"
        with ours(*ROOM) as server, redis.Redis(port=server.port, socket_timeout=120) as client:
            made = 0
            if matching:
                client.execute_command("WEBHOOK.CREATE", "all", NOWHERE, "EVENTS", "SET", "MAX_PENDING", "5000000")
                client.execute_command("WEBHOOK.PAUSE", "all")
                made = 1
            for count in (1, 10, 100, 1000, 10_000):
                while made < count:
                    pipe = client.pipeline(transaction=False)
                    for n in range(made, min(count, made + 100)):
                        pipe.execute_command("WEBHOOK.CREATE", f"hook{n}", NOWHERE, "PATTERN", f"tenant{n}:*:item")
                    made += len(pipe.execute())
                if matching:
                    client.execute_command("WEBHOOK.PURGE", "all", "PENDING")
                yield measured(what, count, server, SET, rounds=rounds, seconds=seconds)


def keys(full: bool, rounds: int, seconds: float) -> Iterator[Point]:
    """SET and GET among 1 k to 1 M keys that are there (with --full 5 M)."""
    with ours() as server:
        there = 0
        for count in (1000, 10_000, 100_000, 1_000_000, *((5_000_000,) if full else ())):
            pour(server, count - there, b"SET key:%012d abc\r\n", first=there)
            there = count
            yield measured("keys, SET", count, server, SET, rounds=rounds, seconds=seconds, keys=count)
            yield measured("keys, GET", count, server, GET, rounds=rounds, seconds=seconds, keys=count)


def pending(full: bool, rounds: int, seconds: float) -> Iterator[Point]:
    """SET that matches a paused webhook for which 1 to 1 M events wait already."""
    with ours(*ROOM) as server, redis.Redis(port=server.port, socket_timeout=120) as client:
        client.execute_command("WEBHOOK.CREATE", "all", NOWHERE, "EVENTS", "SET", "MAX_PENDING", "5000000")
        client.execute_command("WEBHOOK.PAUSE", "all")
        for count in (1, 1000, 100_000, 1_000_000):
            missing = count - _pending(client)
            pour(server, max(0, missing), b"SET key:%012d " + VALUE + b"\r\n", distinct=100_000)
            yield measured("pending", count, server, SET, rounds=rounds, seconds=min(seconds, 0.3 + count / 1e6))


def _pending(client: Any) -> int:
    answer = client.execute_command("WEBHOOK.STATS", "all")
    fields = answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))
    return int(fields[b"pending_deliveries"])


THINGS = {"clients": clients, "webhooks": webhooks, "keys": keys, "pending": pending}


def raise_file_limit(wanted: int) -> int:
    """Gives what is allowed now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        soft = min(wanted, hard) if hard != resource.RLIM_INFINITY else wanted
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--full", action="store_true", help="longer runs, and 5 M keys")
    parser.add_argument("--only", nargs="+", metavar="THING", choices=list(THINGS), default=list(THINGS),
                        help=f"only these of {', '.join(THINGS)}")  # fmt: skip
    parser.add_argument("--json", metavar="FILE", type=output, help="write the points there, too")
    args = parser.parse_args()
    end_on_sigterm()
    warn_if_pure("growth")
    pin_here(LOAD)
    started = time.monotonic()
    points: list[Point] = []
    for name in args.only:
        for found in THINGS[name](args.full, 5 if args.full else 3, 2.0 if args.full else 0.5):
            points.append(found)
            print(f"{time.monotonic() - started:5.0f} s  {found.what} {found.size:,}: {found.cpu_us:.2f} µs",
                  file=sys.stderr)  # fmt: skip
    print(rendered(points))
    print(f"\n`make bench OF=growth`, {time.monotonic() - started:.0f} s: "
          + ", ".join(f"{name} {value}" for name, value in machine().items()))  # fmt: skip
    if args.json is not None:
        args.json.write_text(json.dumps([asdict(p) for p in points], indent=1) + "\n")
    return 1 if any(map(too_much, points, factors(points))) else 0


if __name__ == "__main__":
    raise SystemExit(main())
