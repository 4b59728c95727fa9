"""Throughput of common commands by redis-benchmark: ours over redis-server's, both with their append-only file."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from statistics import geometric_mean, median

from benchmarks.servers import LOAD, Server, pinned

COMMANDS = {
    "SET": ["SET", "key:__rand_int__", "{value}"],
    "GET": ["GET", "key:__rand_int__"],
    "INCR": ["INCR", "counter:__rand_int__"],
    "LPUSH": ["LPUSH", "list", "{value}"],
    "HSET": ["HSET", "hash", "field:__rand_int__", "{value}"],
    "ZADD": ["ZADD", "zset", "__rand_int__", "member:__rand_int__"],
}
PIPELINES = (1, 16, 100)
REQUESTS = {1: 40_000, 16: 160_000, 100: 200_000}


@dataclass(frozen=True)
class Run:
    """One redis-benchmark run."""

    rate: float  # requests per second
    cpu_us: float  # the server's processor time per request


def run(server: Server, name: str, pipeline: int, requests: int, value: str = "xxx", clients: int = 50) -> Run:
    words = [word.replace("{value}", value) for word in COMMANDS[name]]
    call = ["redis-benchmark", "-p", str(server.port), "-c", str(clients), "-n", str(requests), "-P", str(pipeline),
            "-r", "100000", "--csv", *words]  # fmt: skip
    before = server.cpu_seconds()
    printed = subprocess.run(pinned(LOAD, call), capture_output=True, text=True, check=True, timeout=300).stdout
    cpu_us = (server.cpu_seconds() - before) / requests * 1e6
    return Run(float(printed.strip().splitlines()[-1].rsplit('","', 7)[1]), cpu_us)


@dataclass(frozen=True)
class Figure:
    """Medians over the rounds of one command at one pipeline."""

    theirs: float  # requests per second
    ours: float
    ratio: float  # of the rates of one round
    theirs_cpu_us: float
    ours_cpu_us: float


Table = dict[str, dict[int, Figure]]  # command -> pipeline


def measure(
    rounds: int = 3,
    scale: float = 1.0,
    names: tuple[str, ...] = tuple(COMMANDS),
    pipelines: tuple[int, ...] = PIPELINES,
) -> Table:
    """Interleaved rounds, so that what else the machine does meets both alike."""
    table: Table = {name: {} for name in names}
    with Server.redis() as theirs, Server.ours() as ours:
        for name in names:
            for pipeline in pipelines:
                requests = int(REQUESTS[pipeline] * scale)
                pairs = [
                    (run(theirs, name, pipeline, requests), run(ours, name, pipeline, requests)) for _ in range(rounds)
                ]
                table[name][pipeline] = Figure(
                    median(a.rate for a, _ in pairs),
                    median(b.rate for _, b in pairs),
                    median(b.rate / a.rate for a, b in pairs),
                    median(a.cpu_us for a, _ in pairs),
                    median(b.cpu_us for _, b in pairs),
                )
    return table


def rendered(table: Table) -> str:
    """A Markdown table of ratios, geometric means last."""
    pipelines = list(next(iter(table.values())))
    heads = ["command", *(f"pipeline {p}" for p in pipelines)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, row in table.items():
        cells = [f"{f.ratio:.2f} ({f.ours / 1000:.0f} k/s, {f.ours_cpu_us:.1f} µs)" for f in row.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    means = [geometric_mean(row[p].ratio for row in table.values()) for p in pipelines]
    lines.append("| geometric mean | " + " | ".join(f"{mean:.2f}" for mean in means) + " |")
    return "\n".join(lines)
