"""Throughput of common commands: ours over redis-server's, at three pipelines, by persistence and size of values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import geometric_mean, median

import redis

from benchmarks.figures import Goal, Row, compared, mean_row, row
from benchmarks.load import KEYS, Run, in_turns, run
from benchmarks.receipts import asking
from benchmarks.servers import Server

SCRIPT = "return redis.call('SET', KEYS[1], ARGV[1])"
COMMANDS: dict[str, list[str]] = {
    "SET": ["SET", "key:__rand_int__", "{value}"],
    "GET": ["GET", "key:__rand_int__"],
    "INCR": ["INCR", "counter:__rand_int__"],
    "LPUSH": ["LPUSH", "list", "{value}"],
    "HSET": ["HSET", "hash", "field:__rand_int__", "{value}"],
    "ZADD": ["ZADD", "zset", "__rand_int__", "member:__rand_int__"],
    "XADD": ["XADD", "stream", "*", "field", "{value}"],
    "MSET": ["MSET", *(word for _ in range(10) for word in ("key:__rand_int__", "{value}"))],
    "LRANGE_100": ["LRANGE", "hundred", "0", "99"],
    "EVAL": ["EVAL", SCRIPT, "1", "key:__rand_int__", "{value}"],
}
PIPELINES = (1, 16, 100)
SIZES = (3, 100, 10_000)  # bytes of a value
PERSISTENCE = {"everysec": "append-only file everysec", "always": "append-only file always", "off": "no persistence"}
GOALS = (0.95, 0.6, 0.7)  # geometric means at the pipelines, with persistence
FLOOR = 0.4  # no command below
TOP_TEN, EVERY_SECONDS = b"ZREVRANGE zset 0 9\r\n", 0.005


def words_of(name: str, size: int = 3) -> list[str]:
    return [word.replace("{value}", "x" * size) for word in COMMANDS[name]]


def prepare(server: Server, name: str, size: int) -> None:
    """An empty server, with what the command reads."""
    with redis.Redis(port=server.port) as client:
        client.flushall()
        if name == "LRANGE_100":
            client.rpush("hundred", *["x" * size] * 100)
    if name == "GET":
        run(server, words_of("SET", size), 16, 4 * keys_of(size), keys=keys_of(size))


def keys_of(size: int) -> int:
    """So many different keys that what is read is there, and that it fits into the memory."""
    return KEYS if size < 1000 else 1000


class Bench:
    """A redis-server and ours, of one kind of persistence; `busy` collects redis-benchmark's own load."""

    def __init__(self, theirs: Server, ours: Server, rounds: int, seconds: float) -> None:
        self.theirs, self.ours, self.rounds, self.seconds = theirs, ours, rounds, seconds
        self.busy: dict[int, list[tuple[float, float]]] = {}  # pipeline -> (share of its core, rate)

    def runs(self, name: str, pipeline: int, size: int) -> list[list[Run]]:
        """Each round's, ours and theirs."""
        words = words_of(name, size)
        found = in_turns((self.ours, self.theirs), words, pipeline, self.rounds, self.seconds, keys_of(size))
        self.busy.setdefault(pipeline, []).extend((r.busy, r.rate) for r in found[1])
        return found

    def row(self, part: str, name: str, size: int, pipelines: Sequence[int], goal: Goal | None) -> Row:
        for server in (self.ours, self.theirs):
            prepare(server, name, size)
        label = name if part != "values" else f"{name}, {size:,} B"
        return runs_row(part, label, {p: self.runs(name, p, size) for p in pipelines}, goal)

    def ranked(self, pipelines: Sequence[int]) -> Row:
        """ZADD to a set of many members of which another client asks for the top ten all the time: of a set that
        nobody asks, we keep no order."""
        for server in (self.ours, self.theirs):
            prepare(server, "ZADD", 3)
            run(server, words_of("ZADD"), 16, 4 * KEYS)
        with asking(self.ours, TOP_TEN, EVERY_SECONDS), asking(self.theirs, TOP_TEN, EVERY_SECONDS):
            found = {p: self.runs("ZADD", p, 3) for p in pipelines}
        note = f"about {KEYS:,} members, {TOP_TEN.decode().strip()} every {EVERY_SECONDS * 1000:.0f} ms"
        return runs_row("commands", "ZADD beside a reader of the top ten", found, note=note)


def runs_row(part: str, name: str, runs: dict[int, list[list[Run]]], goal: Goal | None = None, note: str = "") -> Row:
    """Rates from the runs of both sides by pipeline; processor times are kept among the raw figures."""
    ours, theirs = ([[r.rate / 1000 for r in sides[n]] for sides in runs.values()] for n in range(2))
    made = row(part, name, "k/s", ours, theirs, goal=goal, cells=_cells(tuple(runs)), note=note)
    for cell, sides in zip(made.cells, runs.values(), strict=True):
        for side, found in zip(("ours", "theirs"), sides, strict=True):
            made.raw[f"{side} cpu_us {cell}"] = [r.cpu_us for r in found]
    return made


def processor_ratios(rows: Sequence[Row]) -> tuple[float, ...]:
    """Geometric means of our processor time per request by theirs, cell by cell: steadier than rates."""
    return tuple(
        geometric_mean(compared(r.raw[f"ours cpu_us {cell}"], r.raw[f"theirs cpu_us {cell}"])[2] for r in rows)
        for cell in rows[0].cells
    )


def _cells(pipelines: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"pipeline {p}" for p in pipelines)


def commands(
    fsync: str,
    rounds: int,
    seconds: float,
    names: Sequence[str] = tuple(COMMANDS),
    pipelines: tuple[int, ...] = PIPELINES,
) -> Iterator[Row]:
    """A row per command, their mean, and how busy redis-benchmark was. Beside ZADD's, which is not asked for an order,
    one that is."""
    part = {"everysec": "commands", "always": "always", "off": "bare"}[fsync]
    with Server.redis(fsync) as theirs, Server.ours(fsync) as ours:
        bench = Bench(theirs, ours, rounds, seconds)
        floor = Goal((FLOOR,) * len(pipelines)) if fsync != "off" else None
        rows = []
        for name in names:
            rows.append(bench.row(part, name, 3, pipelines, floor))
            yield rows[-1]
            if (name, fsync) == ("ZADD", "everysec"):
                yield bench.ranked(pipelines)
    goal = Goal(GOALS) if fsync != "off" and pipelines == PIPELINES else None
    ratios = " / ".join(f"{ratio:.2f}" for ratio in processor_ratios(rows))
    note = f"processor time per request: {ratios} of redis-server's"
    yield mean_row(rows, f"geometric mean, {PERSISTENCE[fsync]}", goal, note)
    if fsync == "everysec":
        yield ceiling_row(part, bench.busy)


def ceiling_row(part: str, busy: dict[int, list[tuple[float, float]]]) -> Row:
    """What redis-benchmark could send at most: the rate it had, by the share of its core that this took."""
    pipelines = tuple(busy)
    rates = tuple(median(rate / min(share, 1.0) for share, rate in busy[p]) / 1000 for p in pipelines)
    shares = " / ".join(f"{median(share for share, _ in busy[p]):.0%}" for p in pipelines)
    return Row(part, "redis-benchmark's own ceiling", "k/s", rates, cells=_cells(pipelines), against="",
               note=f"it used {shares} of its core against redis-server")  # fmt: skip


def values(rounds: int, seconds: float, sizes: tuple[int, ...] = SIZES) -> Iterator[Row]:
    with Server.redis() as theirs, Server.ours() as ours:
        bench = Bench(theirs, ours, rounds, seconds)
        for size in sizes:
            for name in ("SET", "GET"):
                yield bench.row("values", name, size, PIPELINES, None)
