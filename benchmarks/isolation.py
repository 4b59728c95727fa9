"""Do sick receivers cost the healthy ones anything? The same load twice: with the sick webhooks, and without them.

500 webhooks; 50 are dead (a third refuse connections, a third never answer, a third answer 500) and 20 slow (half
answer after three seconds, half a byte a second). Each gets writes of its own keys, the sick ones as many as all
the others together, while redis-benchmark writes as fast as it can. The latency is that from a write to its
event's arrival at a healthy receiver. Everything is on loopback.

    make bench OF=isolation ARGS="[--quick] [--idle]"
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import redis

from benchmarks.figures import percentile
from benchmarks.receipts import arrived, probing, stats
from benchmarks.servers import LOAD, Server, free_port, pin_here, pinned

WEBHOOKS, DEAD, SLOW = 500, 50, 20
WARM_UP_SECONDS = 6.0  # longer than a timeout: what hangs has had its chance to do harm


class Sick:
    """Endpoints that hang, fail or dawdle, on one port, in a thread of their own: what they do is their path."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.refusing = free_port()
        self.port = 0
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        started.wait()

    def _run(self, started: threading.Event) -> None:
        self.server = self.loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1000))
        self.port = self.server.sockets[0].getsockname()[1]
        started.set()
        self.loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1]
            if path == b"/fails":
                writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            elif path == b"/waits":
                await asyncio.sleep(3)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            else:  # /hangs, /drips
                for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n":
                    await asyncio.sleep(1)
                    if path == b"/drips":
                        writer.write(bytes([byte]))
                        await writer.drain()
                await asyncio.sleep(600)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def url(self, n: int) -> str:
        """The endpoint of sick webhook number `n`: the first DEAD are dead, the others slow."""
        if n < DEAD:
            kind = ("refuses", "hangs", "fails")[n % 3]
        else:
            kind = ("waits", "drips")[n % 2]
        port = self.refusing if kind == "refuses" else self.port
        return f"http://127.0.0.1:{port}/{kind}"

    def close(self) -> None:
        def end() -> None:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.call_later(0.1, self.loop.stop)

        self.loop.call_soon_threadsafe(end)
        self._thread.join(10)
        self.loop.close()


@dataclass(frozen=True)
class Isolation:
    """Milliseconds; `late` counts events of healthy webhooks that did not arrive within the run."""

    p50: float
    p99: float
    ping_p50: float
    ping_p99: float
    events: int
    late: int
    writes: float  # per second, of the load that no webhook wants


@contextmanager
def full_load(server: Server, wanted: bool) -> Iterator[list[float]]:
    """redis-benchmark, over and over until the end. Gives the rates of its runs."""
    rates: list[float] = []
    over = threading.Event()

    def load() -> None:
        count = 100_000
        call = ["redis-benchmark", "-p", str(server.port), "-c", "20", "-n", str(count), "-P", "16", "-r", "100000",
                "-q", "SET", "load:__rand_int__", "x" * 64]  # fmt: skip
        while not over.is_set():
            started = time.monotonic()
            subprocess.run(pinned(LOAD, call), capture_output=True, check=True, timeout=120)
            rates.append(count / (time.monotonic() - started))

    thread = threading.Thread(target=load)
    if wanted:
        thread.start()
    try:
        yield rates
    finally:
        over.set()
        if wanted:
            thread.join()


def measure(sick: Sick | None, seconds: float, per_second: int, loaded: bool) -> Isolation:
    """One run: `per_second` writes for the healthy webhooks, as many again for the sick, if there are any."""
    healthy = [f"healthy{n}" for n in range(WEBHOOKS - DEAD - SLOW)]
    with Server.receiver() as receiver, Server.ours("everysec") as ours, redis.Redis(port=ours.port) as client:
        pipe = client.pipeline(transaction=False)
        for name in healthy:
            url = f"http://127.0.0.1:{receiver.port}/timed"
            pipe.execute_command("WEBHOOK.CREATE", name, url, "PATTERN", f"{name}:*", "EVENTS", "SET", "SECRET", "s")
        for n in range(DEAD + SLOW if sick is not None else 0):
            assert sick is not None
            pipe.execute_command("WEBHOOK.CREATE", f"sick{n}", sick.url(n), "PATTERN", f"sick{n}:*", "EVENTS", "SET")
        pipe.execute()
        names = itertools.cycle(healthy)
        bad = itertools.cycle([f"sick{n}" for n in range(DEAD + SLOW)])

        def write(seconds: float) -> int:
            count, start = int(per_second * seconds), time.perf_counter()
            for n in range(count):
                pause = start + n / per_second - time.perf_counter()
                if pause > 0:
                    time.sleep(pause)
                writes = client.pipeline(transaction=False)
                writes.set(f"{next(names)}:{n % 7}", time.monotonic_ns())
                writes.set(f"{next(bad)}:{n}", n)
                writes.execute()
            return count

        with full_load(ours, loaded) as rates:
            warmed = write(WARM_UP_SECONDS)
            arrived(receiver, warmed, 5)
            stats(receiver, "reset")
            rates.clear()
            with probing(ours) as pings:
                count = write(seconds)
        found = arrived(receiver, count, 20)
        latencies: list[float] = found["latencies_ms"]  # type: ignore[assignment]
        return Isolation(
            percentile(latencies, 50), percentile(latencies, 99), percentile(pings, 50), percentile(pings, 99),
            len(latencies), count - len(latencies), sum(rates) / len(rates) if rates else 0.0,
        )  # fmt: skip


def compare(seconds: float, per_second: int, loaded: bool) -> dict[str, Isolation]:
    """Without the sick webhooks, and with them."""
    sick = Sick()
    try:
        return {
            "430 healthy webhooks": measure(None, seconds, per_second, loaded),
            "the same beside 50 dead and 20 slow": measure(sick, seconds, per_second, loaded),
        }
    finally:
        sick.close()


def rendered(found: dict[str, Isolation]) -> str:
    lines = ["| | to the receiver p50 | p99 | PING p50 | p99 | other SETs/s | events | late |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    lines += [
        f"| {name} | {i.p50:.1f} ms | {i.p99:.1f} ms | {i.ping_p50:.2f} ms | {i.ping_p99:.2f} ms | {i.writes:,.0f} "
        f"| {i.events} | {i.late} |"
        for name, i in found.items()
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.isolation", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="five seconds a run instead of twenty")
    parser.add_argument("--idle", action="store_true", help="without redis-benchmark's load")
    parser.add_argument("--per-second", type=int, default=300, help="writes for the healthy webhooks (300)")
    args = parser.parse_args()
    pin_here(LOAD)
    found = compare(5.0 if args.quick else 20.0, args.per_second, not args.idle)
    print(rendered(found))
    return 1 if any(run.late for run in found.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
