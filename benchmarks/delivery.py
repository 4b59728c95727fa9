"""Webhooks under load: how many events arrive per second, and how soon.

Beside us: what people build today (practice.py), and the ceiling, a bare HTTP load generator and a bare round trip
on the same receiver. Stores, senders and workers may use all cores; load and receiver are on one.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median

import redis

from benchmarks.figures import Goal, Row, interleaved, percentile, row
from benchmarks.receipts import ROOM, arrived, paced, probing, stats, webhook
from benchmarks.servers import ANY, CORES, LOAD, SERVER, Server, pin_here, pinned

VALUE = "x" * 64
OURS, KEYSPACE, STREAM = "ferrite-hooks", "notifications + worker", "stream + worker"
WRITES = {
    OURS: ["SET", "key:__rand_int__", VALUE],
    KEYSPACE: ["SET", "key:__rand_int__", VALUE],
    STREAM: ["XADD", "changes", "*", "key", "key:__rand_int__", "value", VALUE],
}
BATCHES = (1, 100)
SLICE_SECONDS = 1.0  # of one side's latencies, before it is the other's turn
SCANT = 100  # events per second: fewer say nothing when divided by
DELIVERING, PAUSED, WITHOUT = "delivering", "the same webhook, paused", "without webhooks"


@dataclass(frozen=True)
class Burst:
    """Writes that all match, sent as fast as they are taken, until the last event has arrived."""

    writes: float  # per second
    events: float  # delivered per second, from the first write to the last arrival
    meanwhile: float  # the same until the last write was taken
    lost: int
    ping_ms: float  # p99 of a PING, meanwhile
    cpu_us: float  # processor time of store, sender and worker per event


def burst(kind: str, store: Server, worker: Server | None, receiver: Server, events: int, pipeline: int) -> Burst:
    stats(receiver, "reset")
    call = ["redis-benchmark", "-p", str(store.port), "-c", "20", "-n", str(events), "-P", str(pipeline),
            "-r", "100000", "--csv", *WRITES[kind]]  # fmt: skip
    parts = [part for part in (store, worker) if part is not None]
    cpu, started = sum(part.cpu_seconds() for part in parts), time.monotonic()
    with probing(store) as pings:
        subprocess.run(pinned(LOAD, call), capture_output=True, check=True, timeout=300)
        written = time.monotonic()
        during = stats(receiver)["events"]
        asked = time.monotonic()  # the receiver may have been busy
        counts = arrived(receiver, events)
    took = max(counts["last_at"] - started, 1e-9)
    cpu = sum(part.cpu_seconds() for part in parts) - cpu
    return Burst(
        events / (written - started), counts["events"] / took, during / (asked - started),
        events - int(counts["events"]), percentile(pings, 99), cpu / max(counts["events"], 1) * 1e6,
    )  # fmt: skip


def words_for(batch: int) -> list[str]:
    words = ["SECRET", "GENERATE", "EVENTS", "SET"]
    if batch > 1:
        words += ["BATCH", "true", "BATCH_SIZE", str(batch), "BATCH_INTERVAL", "20"]
    return words


@contextmanager
def delivering(kind: str, url: str, batch: int) -> Iterator[tuple[Server, Server | None]]:
    """A store, and what delivers its changes to `url`."""
    if kind == OURS:
        with Server.ours("everysec", *ROOM, core=ANY) as ours, webhook(ours, "burst", url, *words_for(batch)):
            yield ours, None
    else:
        with (
            Server.redis("everysec", core=ANY) as store,
            Server.worker("stream" if kind == STREAM else "notifications", store.port, url, batch) as worker,
        ):
            yield store, worker


def throughput(rounds: int, events: dict[int, int], pipeline: int = 16) -> Iterator[Row]:
    """Delivered events per second against both practices and the ceiling; `events` by size of a batch."""
    with Server.receiver() as receiver:
        url = f"http://127.0.0.1:{receiver.port}/count"

        def one(kind: str, batch: int) -> Burst:
            with delivering(kind, url, batch) as (store, worker):
                return burst(kind, store, worker, receiver, events[batch], pipeline)

        found = interleaved(rounds, {(kind, n): partial(one, kind, n) for n in BATCHES for kind in WRITES})
        for batch in BATCHES:
            yield from burst_rows(found, batch)
            top = ceiling(receiver, batch)
            if top:
                rates = [b.events for b in found[OURS, batch]]
                yield row("delivery", f"events delivered, {_way(batch)}", "/s", [rates], [[top] * len(rates)],
                          against=f"{generator()} on the same receiver")  # fmt: skip


def _way(batch: int) -> str:
    return "one per request" if batch == 1 else f"batches of {batch}"


def burst_rows(found: dict[tuple[str, int], list[Burst]], batch: int) -> Iterator[Row]:
    """Ours in `batch`es against both practices; in batches, also against the practices without: so they are built."""
    ours = found[OURS, batch]
    name = f"events delivered, {_way(batch)}"
    yield Row("delivery", name, "µs/event", (median(b.cpu_us for b in ours),), against="", note=_aside(ours))
    for theirs in sorted({1, batch}):
        for kind in (KEYSPACE, STREAM):
            other = found[kind, theirs]
            goal = {(1, 1): Goal((2.0,)), (100, 1): Goal((10.0,))}.get((batch, theirs))
            yield row(
                "delivery", name, "/s", [[b.events for b in ours]], [[b.events for b in other]], goal=goal,
                against=f"{kind}, {_way(theirs)}",
                note=f"theirs: {median(b.cpu_us for b in other):.0f} µs/event, {_aside(other)}",
            )  # fmt: skip
    for theirs in sorted({1, batch}):
        for kind in (KEYSPACE, STREAM):
            yield meanwhile_row(ours, found[kind, theirs], _way(batch), f"{kind}, {_way(theirs)}")
    for kind in (KEYSPACE, STREAM):
        writes = [[b.writes / 1000 for b in found[side, batch]] for side in (OURS, kind)]
        yield row("delivery", f"writes meanwhile, {_way(batch)}", "k/s", writes[:1], writes[1:],
                  against=f"{kind}, {_way(batch)}")  # fmt: skip


def meanwhile_row(ours: list[Burst], other: list[Burst], way: str, against: str) -> Row:
    """What was delivered before the writes ended. Without a ratio where theirs is next to nothing."""
    found = row("delivery", f"events delivered while the writes ran, {way}", "/s", [[b.meanwhile for b in ours]],
                [[b.meanwhile for b in other]], against=against)  # fmt: skip
    return replace(found, ratio=()) if min(b.meanwhile for b in other) < SCANT else found


def _aside(bursts: list[Burst]) -> str:
    return f"{max(b.lost for b in bursts):,} lost, PING p99 {median(b.ping_ms for b in bursts):.1f} ms"


def commands_meanwhile(rounds: int, writes: dict[int, int]) -> Iterator[Row]:
    """SET while every one is being delivered, over SET of a server whose webhook is paused, and of one that has none.
    `writes` by pipeline."""
    with Server.receiver() as receiver:
        url = f"http://127.0.0.1:{receiver.port}/count"

        def one(side: str, batch: int, pipeline: int) -> float:
            with ExitStack() as stack:
                store = stack.enter_context(Server.ours("everysec", *ROOM, core=ANY))
                if side != WITHOUT:
                    stack.enter_context(webhook(store, "burst", url, *words_for(batch)))
                if side == PAUSED:
                    with redis.Redis(port=store.port) as client:
                        client.execute_command("WEBHOOK.PAUSE", "burst")
                return written(store, writes[pipeline], pipeline) / 1000

        for batch in BATCHES:
            rates: dict[str, list[list[float]]] = {side: [] for side in (DELIVERING, PAUSED, WITHOUT)}
            for pipeline in writes:
                for side, found in interleaved(rounds, {s: partial(one, s, batch, pipeline) for s in rates}).items():
                    rates[side].append(found)
            for side, goal in ((PAUSED, Goal((0.5, 0.5))), (WITHOUT, None)):
                yield row(
                    "delivery", f"SET at pipeline 1 / 16 while delivering, {_way(batch)}", "k/s", rates[DELIVERING],
                    rates[side], goal=goal, cells=("pipeline 1", "pipeline 16"), against=side,
                )  # fmt: skip


def written(store: Server, count: int, pipeline: int) -> float:
    """SETs per second, as redis-benchmark has them taken."""
    started = time.monotonic()
    call = ["redis-benchmark", "-p", str(store.port), "-c", "20", "-n", str(count), "-P", str(pipeline), "-r", "100000",
            "--csv", *WRITES[OURS]]  # fmt: skip
    subprocess.run(pinned(LOAD, call), capture_output=True, check=True, timeout=300)
    return count / (time.monotonic() - started)


# -- the ceiling ---------------------------------------------------------------------------------------------


def sample(batch: int) -> str:
    """A body as ours are, by size and form."""
    one = {
        "id": "evt_0123456789abcdef", "timestamp": "2026-01-15T10:30:00.123Z", "event": "SET",
        "key": "key:000000012345", "database": 0, "data": {"value": VALUE, "old_value": VALUE, "ttl": None},
        "metadata": {"client_id": "conn:456", "source_ip": "127.0.0.1", "command": "SET", "notification": "set",
                     "sequence": 812345, "webhook": "burst"},
    }  # fmt: skip
    whole: object = one if batch == 1 else {"batch_id": "batch_0", "events": [one] * batch, "count": batch}
    return json.dumps(whole, separators=(",", ":"))


def generator() -> str:
    """The HTTP load generator that is installed, "" = none."""
    return next((name for name in ("wrk", "ab") if shutil.which(name)), "")


def ceiling(receiver: Server, batch: int, seconds: int = 2) -> float:
    """Events per second that the receiver takes from a bare HTTP load generator with sixteen connections; 0.0 where
    none is installed."""
    url = f"http://127.0.0.1:{receiver.port}/count"
    stats(receiver, "reset")
    with tempfile.TemporaryDirectory(prefix="bench-ceiling-") as directory:
        body, script = Path(directory, "body"), Path(directory, "post.lua")
        body.write_text(sample(batch))
        script.write_text(f'wrk.method = "POST"\nwrk.body = io.open("{body}"):read("*a")\n')
        calls = {
            "wrk": ["wrk", "-t1", "-c16", f"-d{seconds}", "-s", str(script), url],
            "ab": ["ab", "-q", "-k", "-c16", f"-t{seconds}", "-n10000000", "-p", str(body), url],
        }
        if not generator():
            return 0.0
        subprocess.run(pinned(SERVER, calls[generator()]), capture_output=True, check=True, timeout=60)
    counts = stats(receiver)
    return counts["events"] / max(counts["last_at"] - counts["first_at"], 1e-9)


# -- how soon ------------------------------------------------------------------------------------------------


def latency(store: Server, receiver: Server, per_second: int, seconds: float, stream: bool = False) -> list[float]:
    """Milliseconds from sending a write to its event's arrival, at a moderate, even rate."""
    stats(receiver, "reset")
    count = int(per_second * seconds)
    with socket.create_connection(("127.0.0.1", store.port)) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for n in paced(per_second, count):
            head = b"XADD changes * key timed:%d value" if stream else b"SET timed:%d"
            peer.sendall(head % (n % 1000) + b" %d\r\n" % time.monotonic_ns())
            peer.recv(256)
    arrived(receiver, count)
    found: list[float] = stats(receiver)["latencies_ms"]  # type: ignore[assignment]
    return found


def round_trips(receiver: Server, per_second: int, seconds: float) -> list[float]:
    """Milliseconds of plain POSTs over one connection, at the same rate, from the core where servers are."""
    body = sample(1).encode()
    request = b"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    times = []
    pin_here(SERVER)
    try:
        with socket.create_connection(("127.0.0.1", receiver.port)) as peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in paced(per_second, int(per_second * seconds)):
                started = time.perf_counter()
                peer.sendall(request)
                peer.recv(256)
                times.append((time.perf_counter() - started) * 1000)
    finally:
        pin_here(LOAD)
    return times


def latencies(rounds: int, per_second: int, seconds: float) -> Iterator[Row]:
    """p50 and p99 from a write to its event at the receiver, of all samples of many short rounds together: what is
    looked for happens once in a hundred times, and whatever else the machine does comes and goes in seconds."""
    plain = "plain HTTP round trip"
    for batch in BATCHES:
        with ExitStack() as stack:
            receiver = stack.enter_context(Server.receiver())
            url = f"http://127.0.0.1:{receiver.port}/timed"
            stores = {kind: stack.enter_context(delivering(kind, url, batch))[0] for kind in WRITES}
            sides: dict[str, Callable[[], list[float]]] = {
                kind: partial(latency, store, receiver, per_second, SLICE_SECONDS, kind == STREAM)
                for kind, store in stores.items()
            }
            if batch == 1:
                sides[plain] = partial(round_trips, receiver, per_second, SLICE_SECONDS)
            found = {
                side: list(chain.from_iterable(slices))
                for side, slices in interleaved(int(rounds * seconds / SLICE_SECONDS), sides).items()
            }
        for against in [side for side in sides if side != OURS]:
            mine, others = ([[percentile(found[side], percent)] for percent in (50, 99)] for side in (OURS, against))
            goal = Goal((None, 2.0), at_most=True) if against == plain else None
            yield row("latency", f"SET to receipt, {_way(batch)}", "ms", mine, others, goal=goal,
                      cells=("p50", "p99"), against=against, note=f"{per_second} writes/s")  # fmt: skip


def cores() -> str:
    """Where things run, for the text under the table."""
    if len(CORES) < 2 or shutil.which("taskset") is None:
        return f"everything on {os.cpu_count()} core(s), not pinned"
    every = ", ".join(map(str, CORES))
    return (f"both servers on core {CORES[SERVER]}, load and receiver on core {CORES[LOAD]}; in delivery and latency "
            f"servers and workers on any of {every}")  # fmt: skip
