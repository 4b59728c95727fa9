"""redis-benchmark as the load: one run of it, and runs of about equal length whatever the speed.

It is one thread on one core, and so has a ceiling of its own: where it uses nearly all of its core, a server that
answers faster could not be told from this one. `busy` says how near a run was to that.
"""

from __future__ import annotations

import csv
import io
import resource
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.figures import interleaved
from benchmarks.servers import LOAD, Server, pinned

KEYS = 100_000  # __rand_int__ is below


@dataclass(frozen=True)
class Run:
    """One redis-benchmark run."""

    rate: float  # requests per second
    p50_ms: float
    p99_ms: float
    cpu_us: float  # the server's processor time per request, its other processes included
    busy: float  # redis-benchmark's own processor time by the time that passed


def parsed(printed: str) -> tuple[float, float, float]:
    """Rate, p50 and p99 (ms) from the output of `redis-benchmark --csv`. Raises ValueError."""
    rows = list(csv.DictReader(io.StringIO(printed)))
    if not rows or "rps" not in rows[-1]:
        raise ValueError(f"redis-benchmark said: {printed[:200]!r}")
    last = rows[-1]
    return float(last["rps"]), float(last["p50_latency_ms"]), float(last["p99_latency_ms"])


def run(server: Server, words: Sequence[str], pipeline: int, requests: int, clients: int = 50, keys: int = KEYS) -> Run:
    """Sends `words`, in which __rand_int__ is another number each time, `requests` times.

    Raises RuntimeError when the server answered with an error."""
    call = ["redis-benchmark", "-p", str(server.port), "-c", str(clients), "-n", str(requests), "-P", str(pipeline),
            "-r", str(keys), "--csv", *words]  # fmt: skip
    cpu, own, started = server.cpu_seconds(), _children_seconds(), time.monotonic()
    done = subprocess.run(pinned(LOAD, call), capture_output=True, text=True, timeout=300)
    took = time.monotonic() - started
    if done.returncode or "Error from server" in done.stdout + done.stderr:
        raise RuntimeError(f"{server.name}: {(done.stderr or done.stdout)[:300]}")
    rate, p50, p99 = parsed(done.stdout)
    busy = (_children_seconds() - own) / took
    return Run(rate, p50, p99, (server.cpu_seconds() - cpu) / requests * 1e6, busy)


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def sized(server: Server, words: Sequence[str], pipeline: int, seconds: float, keys: int = KEYS) -> int:
    """How many requests take about `seconds`, found by a short run that also warms the server up."""
    few = 50 * max(pipeline, 40)
    rate = run(server, words, pipeline, few, keys=keys).rate
    return max(few, int(rate * seconds))


def in_turns(
    servers: Sequence[Server], words: Sequence[str], pipeline: int, rounds: int, seconds: float, keys: int = KEYS
) -> list[list[Run]]:
    """Rounds of about `seconds` against servers that take turns: the runs of each server."""
    counts = [sized(server, words, pipeline, seconds, keys) for server in servers]
    sides = {
        server: partial(run, server, words, pipeline, count, keys=keys)
        for server, count in zip(servers, counts, strict=True)
    }
    return list(interleaved(rounds, sides).values())
