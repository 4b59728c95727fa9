"""Throughput of common commands by redis-benchmark: ours over redis-server's, both with their append-only file."""

from __future__ import annotations

import subprocess
from statistics import geometric_mean, median

from benchmarks.servers import Server, pinned

COMMANDS = {
    "SET": ["SET", "key:__rand_int__", "{value}"],
    "GET": ["GET", "key:__rand_int__"],
    "INCR": ["INCR", "counter:__rand_int__"],
    "LPUSH": ["LPUSH", "list", "{value}"],
    "HSET": ["HSET", "hash", "field:__rand_int__", "{value}"],
    "ZADD": ["ZADD", "zset", "__rand_int__", "member:__rand_int__"],
}
PIPELINES = (1, 16, 100)
REQUESTS = {1: 60_000, 16: 240_000, 100: 300_000}
Table = dict[str, dict[int, tuple[float, float, float]]]  # command -> pipeline -> (theirs/s, ours/s, ratio)


def rate(server: Server, name: str, pipeline: int, value: str) -> float:
    """Requests per second of one redis-benchmark run."""
    words = [word.replace("{value}", value) for word in COMMANDS[name]]
    call = ["redis-benchmark", "-p", str(server.port), "-c", "50", "-n", str(REQUESTS[pipeline]), "-P", str(pipeline),
            "-r", "100000", "--csv", *words]  # fmt: skip
    printed = subprocess.run(pinned(1, call), capture_output=True, text=True, check=True, timeout=300).stdout
    return float(printed.strip().splitlines()[-1].rsplit('","', 7)[1])


def measure(rounds: int = 3, value: str = "xxx") -> Table:
    """Interleaved rounds on fresh servers; medians."""
    table: Table = {}
    with Server.redis() as theirs, Server.ours() as ours:
        for name in COMMANDS:
            table[name] = {}
            for pipeline in PIPELINES:
                pairs = [
                    (rate(theirs, name, pipeline, value), rate(ours, name, pipeline, value)) for _ in range(rounds)
                ]
                ratio = median(b / a for a, b in pairs)
                table[name][pipeline] = (median(a for a, _ in pairs), median(b for _, b in pairs), ratio)
    return table


def rendered(table: Table) -> str:
    """A Markdown table of ratios, geometric means last."""
    lines = ["| command | pipeline 1 | 16 | 100 |", "|---|---|---|---|"]
    for name, row in table.items():
        lines.append(f"| {name} | " + " | ".join(f"{row[p][2]:.2f}" for p in PIPELINES) + " |")
    means = [geometric_mean(row[p][2] for row in table.values()) for p in PIPELINES]
    lines.append("| geometric mean | " + " | ".join(f"{mean:.2f}" for mean in means) + " |")
    return "\n".join(lines)
