"""What do pending events cost that nobody takes: memory while they come in, time and memory of a start?

A paused webhook matches every write; the server is then killed with `kill -9` and started from its journal, and
again from a snapshot. At the end the queue is let go to a receiver in batches of 100, and the books are compared.

    make bench OF=backlog ARGS="--events 1000000"
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from process import ServerProcess
from receiver import Received, Receiver, Reply

OPTIONS = (
    "--set", "webhooks.queue.max_pending=100000000", "--set", "journal.compact_percentage=0", "--log-level", "warning",
)  # fmt: skip
KEYS, PIPELINE = 20_000, 500


def memory(server: ServerProcess) -> str:
    """Resident memory now and at most so far."""
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    facts = dict(line.split(":", 1) for line in status.splitlines())
    return ", ".join(f"{int(facts[name].split()[0]) // 1024} MB {what}" for name, what in (
        ("VmRSS", "resident"), ("VmHWM", "at most")))  # fmt: skip


def pending(client: Any) -> int:
    told = client.execute_command("WEBHOOK.INFO", "w")
    return int(told[b"pending"])


def write(client: Any, events: int) -> None:
    for start in range(0, events, PIPELINE):
        with client.pipeline(transaction=False) as pipe:
            for n in range(start, min(start + PIPELINE, events)):
                pipe.set(f"key:{n % KEYS}", f"{n}:{'x' * 50}")
            pipe.execute()


def started(server: ServerProcess, events: int, how: str) -> None:
    server.kill()
    begun = time.perf_counter()
    server.start()
    seconds = time.perf_counter() - begun
    with server.client() as client:
        assert pending(client) == events
    print(f"started from {how} in {seconds:.2f} s: {memory(server)}")


async def drained(server: ServerProcess, events: int) -> list[str]:
    """Lets everything go. Returns each broken promise as a sentence."""
    arrived: dict[str, list[int]] = defaultdict(list)

    def arrive(request: Received, reply: Reply) -> None:
        for event in json.loads(request.body)["events"]:
            arrived[event["key"]].append(int(event["data"]["value"].partition(":")[0]))

    async with Receiver() as receiver:
        receiver.on_answer = arrive
        with server.client() as client:
            client.execute_command(
                "WEBHOOK.UPDATE", "w", "URL", receiver.url("/w"), "BATCH", "true", "BATCH_SIZE", 100,
                "BATCH_INTERVAL", 10,
            )  # fmt: skip
            begun = time.perf_counter()
            client.execute_command("WEBHOOK.RESUME", "w")
            while await asyncio.to_thread(pending, client):
                await asyncio.sleep(0.1)
    seconds = time.perf_counter() - begun
    print(f"all delivered in {seconds:.1f} s, {events / seconds:,.0f} events/s: {memory(server)}")
    wrong = [f"{key}: out of order" for key, values in arrived.items() if values != sorted(values)]
    if (count := len({n for values in arrived.values() for n in values})) != events:
        wrong.append(f"{events - count} events were not delivered")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backlog", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--memory-events", type=int, default=100_000, help="webhooks.queue.memory_events")
    parser.add_argument("--no-delivery", action="store_true", help="leave the events where they are")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="backlog-") as scratch:
        room = ("--set", f"webhooks.queue.memory_events={args.memory_events}")
        with ServerProcess(Path(scratch) / "data", *OPTIONS, *room) as server:
            print(f"empty: {memory(server)}")
            with server.client() as client:
                client.execute_command("WEBHOOK.CREATE", "w", "http://127.0.0.1:9/", "MAX_PENDING", 100_000_000)
                client.execute_command("WEBHOOK.PAUSE", "w")
                write(client, args.events)
                assert pending(client) == args.events
            print(f"{args.events:,} events pending, {KEYS:,} keys: {memory(server)}")
            started(server, args.events, "the journal")
            with server.client() as client:
                client.save()
            started(server, args.events, "a snapshot")
            wrong = [] if args.no_delivery else asyncio.run(drained(server, args.events))
    for sentence in wrong[:20]:
        print(sentence)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
