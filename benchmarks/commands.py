"""Throughput of common commands: ours over redis-server's, at three pipelines, by persistence and size of values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

import redis

from benchmarks.figures import Goal, Row, mean_row, row
from benchmarks.load import KEYS, in_turns, run
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

    def rates(self, name: str, pipeline: int, size: int) -> tuple[list[float], list[float]]:
        """Requests per second of each round, ours and theirs."""
        words = words_of(name, size)
        servers = (self.ours, self.theirs)
        ours, theirs = in_turns(servers, words, pipeline, self.rounds, self.seconds, keys_of(size))
        self.busy.setdefault(pipeline, []).extend((r.busy, r.rate) for r in theirs)
        return [r.rate for r in ours], [r.rate for r in theirs]

    def row(self, part: str, name: str, size: int, pipelines: Sequence[int], goal: Goal | None) -> Row:
        for server in (self.ours, self.theirs):
            prepare(server, name, size)
        ours, theirs = zip(*(self.rates(name, pipeline, size) for pipeline in pipelines), strict=True)
        label = name if part != "values" else f"{name}, {size:,} B"
        return row(part, label, "k/s", [_thousands(r) for r in ours], [_thousands(r) for r in theirs],
                   goal=goal, cells=_cells(pipelines))  # fmt: skip


def _thousands(rates: Sequence[float]) -> list[float]:
    return [rate / 1000 for rate in rates]


def _cells(pipelines: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"pipeline {p}" for p in pipelines)


def commands(
    fsync: str,
    rounds: int,
    seconds: float,
    names: Sequence[str] = tuple(COMMANDS),
    pipelines: tuple[int, ...] = PIPELINES,
) -> Iterator[Row]:
    """A row per command, their mean, and how busy redis-benchmark was."""
    part = {"everysec": "commands", "always": "always", "off": "bare"}[fsync]
    with Server.redis(fsync) as theirs, Server.ours(fsync) as ours:
        bench = Bench(theirs, ours, rounds, seconds)
        floor = Goal((FLOOR,) * len(pipelines)) if fsync != "off" else None
        rows = []
        for name in names:
            rows.append(bench.row(part, name, 3, pipelines, floor))
            yield rows[-1]
    goal = Goal(GOALS) if fsync != "off" and pipelines == PIPELINES else None
    yield mean_row(rows, f"geometric mean, {PERSISTENCE[fsync]}", goal)
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
