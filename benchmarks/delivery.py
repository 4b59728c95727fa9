"""Webhooks under load: how many events arrive per second, how soon, and what it costs the commands.

The comparison is today's practice (practice.py): redis-server with keyspace notifications and a worker, both on
the core that our one process has. Load and receiver are on the other.
"""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median, quantiles

import redis

from benchmarks.commands import run
from benchmarks.servers import LOAD, Server, pinned

ROOM = ("--set", "webhooks.queue.max_pending=5000000")
VALUE = "x" * 64
STALLED_SECONDS = 3.0  # nothing has arrived for so long: nothing more will


def stats(receiver: Server, what: str = "stats") -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{receiver.port}/{what}", timeout=10) as response:
        answer: dict[str, float] = json.load(response)
        return answer


def arrived(receiver: Server, events: int, timeout: float = 120) -> dict[str, float]:
    """The receiver's counts once `events` have arrived, or as they are when no more come."""
    deadline = time.monotonic() + timeout
    seen, seen_at = 0.0, time.monotonic()
    while True:
        counts = stats(receiver)
        if counts["events"] > seen:
            seen, seen_at = counts["events"], time.monotonic()
        if counts["events"] >= events or time.monotonic() > min(deadline, seen_at + STALLED_SECONDS):
            return counts
        time.sleep(0.05)


@contextmanager
def webhook(server: Server, name: str, url: str, *words: str) -> Iterator[None]:
    with redis.Redis(port=server.port) as client:
        client.execute_command("WEBHOOK.CREATE", name, url, "MAX_PENDING", "5000000", *words)
        yield
        client.execute_command("WEBHOOK.DELETE", name)


@contextmanager
def probing(server: Server) -> Iterator[list[float]]:
    """Meanwhile a client sends PING every few milliseconds: the round trips, in ms."""
    times: list[float] = []
    over = threading.Event()

    def probe() -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as peer:
            while not over.wait(0.003):
                started = time.perf_counter()
                peer.sendall(b"PING\r\n")
                peer.recv(64)
                times.append((time.perf_counter() - started) * 1000)

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield times
    finally:
        over.set()
        thread.join()


# -- events per second ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Throughput:
    """One burst of SETs that all match, sent as fast as they are taken, until the last event has arrived."""

    writes: float  # SETs per second
    events: float  # delivered per second, from the first write to the last arrival
    meanwhile: float  # the same while the SETs were running
    lost: int
    ping_ms: float  # p99 of a PING, meanwhile


def burst(server: Server, receiver: Server, events: int) -> Throughput:
    stats(receiver, "reset")
    started = time.monotonic()
    with probing(server) as pings:
        call = ["redis-benchmark", "-p", str(server.port), "-c", "20", "-n", str(events), "-P", "16", "-r", "100000",
                "--csv", "SET", "key:__rand_int__", VALUE]  # fmt: skip
        subprocess.run(pinned(LOAD, call), capture_output=True, check=True, timeout=300)
        written = time.monotonic()
        during = stats(receiver)["events"]
        counts = arrived(receiver, events)
    took = max(counts["last_at"] - started, 1e-9)
    return Throughput(
        events / (written - started), counts["events"] / took, during / (written - started),
        events - int(counts["events"]), percentile(pings, 99),
    )  # fmt: skip


def percentile(values: list[float], percent: int) -> float:
    return quantiles(values, n=100)[percent - 1] if len(values) > 1 else 0.0


def throughput(rounds: int, events: int, batch: int) -> dict[str, Throughput]:
    """Medians of interleaved rounds, ours and today's practice."""
    found: dict[str, list[Throughput]] = {"ferrite-hooks": [], "today's practice": []}
    words = ["SECRET", "GENERATE", "EVENTS", "SET"]
    if batch > 1:
        words += ["BATCH", "true", "BATCH_SIZE", str(batch), "BATCH_INTERVAL", "20"]
    with Server.receiver() as receiver, Server.ours("everysec", *ROOM) as ours, Server.redis() as theirs:
        url = f"http://127.0.0.1:{receiver.port}/count"
        for _ in range(rounds):
            with webhook(ours, "burst", url, *words):
                found["ferrite-hooks"].append(burst(ours, receiver, events))
            with Server.practice(theirs.port, url, batch), redis.Redis(port=theirs.port) as client:
                while not client.pubsub_numpat():
                    time.sleep(0.02)
                found["today's practice"].append(burst(theirs, receiver, events))
    return {
        name: Throughput(
            median(r.writes for r in runs), median(r.events for r in runs), median(r.meanwhile for r in runs),
            max(r.lost for r in runs), median(r.ping_ms for r in runs),
        )
        for name, runs in found.items()
    }  # fmt: skip


def rendered_throughput(tables: dict[str, dict[str, Throughput]]) -> str:
    lines = [
        "| | events/s | while writing | SETs/s meanwhile | PING p99 | lost |",
        "|---|---|---|---|---|---|",
    ]
    for kind, table in tables.items():
        for name, t in table.items():
            lines.append(f"| {name}, {kind} | {t.events:,.0f} | {t.meanwhile:,.0f} | {t.writes:,.0f} "
                         f"| {t.ping_ms:.1f} ms | {t.lost} |")  # fmt: skip
    return "\n".join(lines)


# -- how soon ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Latency:
    """Milliseconds from sending SET to its event's arrival, and to its reply."""

    p50: float
    p99: float
    reply_p50: float
    reply_p99: float


def latency(server: Server, receiver: Server, per_second: int, seconds: float) -> Latency:
    """At a moderate, even rate."""
    stats(receiver, "reset")
    count = int(per_second * seconds)
    replies = []
    with redis.Redis(port=server.port) as client:
        start = time.perf_counter()
        for n in range(count):
            pause = start + n / per_second - time.perf_counter()
            if pause > 0:
                time.sleep(pause)
            sent = time.monotonic_ns()
            client.set(f"timed:{n % 1000}", sent)
            replies.append((time.monotonic_ns() - sent) / 1e6)
    arrived(receiver, count)
    found: list[float] = stats(receiver)["latencies_ms"]  # type: ignore[assignment]
    return Latency(percentile(found, 50), percentile(found, 99), percentile(replies, 50), percentile(replies, 99))


def latencies(per_second: int, seconds: float) -> dict[str, Latency]:
    with Server.receiver() as receiver:
        url = f"http://127.0.0.1:{receiver.port}/timed"
        with Server.ours("everysec", *ROOM) as ours, webhook(ours, "timed", url, "SECRET", "GENERATE", "EVENTS", "SET"):
            measured = latency(ours, receiver, per_second, seconds)
        with Server.redis() as theirs, Server.practice(theirs.port, url, 1), redis.Redis(port=theirs.port) as client:
            while not client.pubsub_numpat():
                time.sleep(0.02)
            return {"ferrite-hooks": measured, "today's practice": latency(theirs, receiver, per_second, seconds)}


def rendered_latencies(found: dict[str, Latency]) -> str:
    lines = ["| | to the receiver p50 | p99 | reply p50 | p99 |", "|---|---|---|---|---|"]
    lines += [f"| {name} | {t.p50:.2f} ms | {t.p99:.2f} ms | {t.reply_p50:.2f} ms | {t.reply_p99:.2f} ms |"
              for name, t in found.items()]  # fmt: skip
    return "\n".join(lines)


# -- what webhooks cost the commands -------------------------------------------------------------------------


def cost(rounds: int, requests: int, pipeline: int = 16) -> dict[str, tuple[float, float]]:
    """SET's rate as (ratio to redis-server's in the same round, µs of processor time): without webhooks, with 1,000
    that don't match, and with one that matches every write, paused, so that only capturing is measured."""
    found: dict[str, list[tuple[float, float]]] = {"none": [], "1,000, none matches": [], "1, matches every write": []}
    nowhere = "http://127.0.0.1:9/"
    with Server.redis() as theirs, Server.ours("everysec", *ROOM) as ours, redis.Redis(port=ours.port) as client:

        def round_of(kind: str) -> None:
            reference = run(theirs, "SET", pipeline, requests)
            measured = run(ours, "SET", pipeline, requests)
            found[kind].append((measured.rate / reference.rate, measured.cpu_us))

        for _ in range(rounds):
            round_of("none")
            names = [f"other{n}" for n in range(1000)]
            for n, name in enumerate(names):
                client.execute_command("WEBHOOK.CREATE", name, nowhere, "PATTERN", f"other:{n}:*", "EVENTS", "SET")
            round_of("1,000, none matches")
            client.execute_command("WEBHOOK.DELETE", *names)
            with webhook(ours, "all", nowhere, "EVENTS", "SET"):
                client.execute_command("WEBHOOK.PAUSE", "all")
                round_of("1, matches every write")
    return {
        kind: (median(ratio for ratio, _ in pairs), median(cpu for _, cpu in pairs)) for kind, pairs in found.items()
    }


def rendered_cost(found: dict[str, tuple[float, float]]) -> str:
    lines = ["| webhooks | SET, of redis-server's rate | processor time |", "|---|---|---|"]
    lines += [f"| {kind} | {ratio:.2f} | {cpu:.1f} µs |" for kind, (ratio, cpu) in found.items()]
    return "\n".join(lines)
