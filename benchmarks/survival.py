"""Does every acknowledged change arrive, once its webhook matched, in order per key, though everything fails?

Clients write counters to their own keys while the receiver fails a part of the requests and the server is killed
with `kill -9` and started again, or one of its sender processes is, and comes back by itself. Then the books are
compared: for every key each acknowledged value must have been delivered, first deliveries in the order of the writes,
and one event must always carry one id.

    make bench OF=survival ARGS="--changes 100000 --keys 1000 --clients 8 --fail-rate 0.2 --kills 10 --sender-kills 10"
    make bench OF=survival ARGS="--rounds 300"

The second form is about the moments: in each of many short rounds the journal changes segments and is compacted while
the server is killed; transactions, and writes that are refused, are in the books as well (see rounds.py).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from process import ServerProcess
from receiver import Receiver

from benchmarks import rounds as rounds_
from benchmarks.books import Books

# the journal is compacted all the time, and its files are small
COMPACTING = (
    "--set", "journal.segment_bytes=65536", "--set", "journal.compact_min_bytes=65536",
    "--set", "journal.compact_percentage=1", "--set", "journal.retention_bytes=200000",
)  # fmt: skip
OPTIONS = ("--set", "webhooks.queue.max_pending=2000000", "--log-level", "warning")


@dataclass
class Ledger:
    """What was written and what arrived."""

    acknowledged: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # key -> highest value confirmed
    tried: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # key -> highest value sent
    arrived: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))  # key -> values as they came
    ids: dict[tuple[str, int], set[str]] = field(default_factory=lambda: defaultdict(set))
    requests: int = 0
    failed: int = 0

    def record(self, body: bytes, failed: bool) -> None:
        """Notes one request; one that was answered with a failure does not count as delivered."""
        self.requests += 1
        if failed:
            self.failed += 1
        payload = json.loads(body)
        for event in payload.get("events", [payload]):
            key, value = event["key"], int(event["data"]["value"])
            self.ids[key, value].add(event["id"])
            if not failed:
                self.arrived[key].append(value)

    def missing(self) -> list[tuple[str, int]]:
        return [
            (key, value)
            for key, highest in self.acknowledged.items()
            for value in sorted(set(range(1, highest + 1)).difference(self.arrived[key]))
        ]

    def check(self) -> list[str]:
        """Every broken promise as a sentence; empty = all kept."""
        wrong = [f"{key}={value} was acknowledged and never delivered" for key, value in self.missing()[:20]]
        for key, values in self.arrived.items():
            seen = 0
            for value in values:
                if value > seen + 1:
                    wrong.append(f"{key}: {value} was delivered before {seen + 1}")
                seen = max(seen, value)
            if seen > self.tried[key]:
                wrong.append(f"{key}: {seen} was delivered but never written")
        wrong += [f"{key}={value} has ids {ids}" for (key, value), ids in self.ids.items() if len(ids) > 1]
        return wrong


async def write(server: ServerProcess, books: Ledger, keys: list[str], changes: int, pipeline: int) -> None:
    """One client: increments its keys, over reconnects, until `changes` were acknowledged."""
    # A client that repeats by itself what got no answer would write a value twice, as two events.
    client = redis.asyncio.Redis(port=server.port, socket_timeout=10, retry=Retry(NoBackoff(), 0))
    done, unsure = 0, set[str]()
    try:
        while done < changes:
            try:
                for key in list(unsure):  # the server was killed between the write and its answer: look what holds
                    held = int(await client.get(key) or 0)
                    books.acknowledged[key] = max(books.acknowledged[key], held)
                    unsure.discard(key)
                chosen = random.sample(keys, min(pipeline, len(keys), changes - done))
                unsure.update(chosen)
                for key in chosen:
                    books.tried[key] = books.acknowledged[key] + 1
                pipe = client.pipeline(transaction=False)
                for key in chosen:
                    pipe.set(key, books.acknowledged[key] + 1)
                await pipe.execute()
                for key in chosen:
                    books.acknowledged[key] += 1
                    unsure.discard(key)
                done += len(chosen)
            except (RedisError, OSError):
                await asyncio.sleep(0.02)
                with suppress(RedisError, OSError):
                    await client.connection_pool.disconnect()
    finally:
        await client.aclose()


async def survive(
    directory: Path, *, changes: int, keys: int, clients: int, fail_rate: float, kills: int, sender_kills: int = 0,
    batch: bool = False, pipeline: int = 4, patience: float = 300, options: tuple[str, ...] = (), seed: int = 1,
) -> Ledger:  # fmt: skip
    """Runs the whole story. Raises TimeoutError when what was acknowledged has not arrived after `patience` seconds."""
    books = Ledger()
    async with Receiver(seed=seed) as receiver:
        receiver.fail_rate = fail_rate
        receiver.on_answer = lambda received, reply: books.record(received.body, reply.status >= 300)
        senders = ("--set", f"webhooks.delivery.sender_processes={2 if sender_kills else -1}")
        server = ServerProcess(directory, *OPTIONS, *senders, *options)
        await asyncio.to_thread(server.start)
        try:
            admin = redis.asyncio.Redis(port=server.port)
            words: list[str] = ["RETRIES", "50", "RETRY_DELAY", "20", "RETRY_BACKOFF", "fixed", "CONCURRENCY", "64",
                                "MAX_PENDING", "2000000", "EVENTS", "SET", "PATTERN", "counter:*"]  # fmt: skip
            if batch:
                words += ["BATCH", "true", "BATCH_INTERVAL", "50"]
            await admin.execute_command("WEBHOOK.CREATE", "survivor", receiver.url("/hook"), *words)
            await admin.aclose()
            names = [f"counter:{n}" for n in range(keys)]
            writers = [
                asyncio.create_task(write(server, books, names[i::clients], changes // clients, pipeline))
                for i in range(clients)
            ]
            victims = ["server"] * kills + ["sender"] * sender_kills
            dice = random.Random(seed)
            dice.shuffle(victims)
            for victim in victims:
                goal = books.requests + dice.randint(changes // (4 * len(victims)), changes // (2 * len(victims)))
                while books.requests < goal and not all(w.done() for w in writers):
                    await asyncio.sleep(0.005)
                if victim == "server":
                    await asyncio.to_thread(server.kill)
                    await asyncio.to_thread(server.start)
                else:
                    await kill_sender(server, dice)
            await asyncio.gather(*writers)
            deadline = time.monotonic() + patience
            while books.missing():
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{len(books.missing())} changes have not arrived:\n{server.log()[-3000:]}")
                await asyncio.sleep(0.2)
        finally:
            if server.process is not None and server.process.poll() is None:
                await asyncio.to_thread(server.stop)
    return books


async def kill_sender(server: ServerProcess, dice: random.Random) -> None:
    """One of the processes that send; there may be none for a moment after the last one was killed."""
    deadline = time.monotonic() + 30
    while not (senders := server.senders()):
        assert time.monotonic() < deadline, server.log()
        await asyncio.sleep(0.01)
    os.kill(dice.choice(senders), signal.SIGKILL)


class Kill:
    """A Fate (see rounds.py): `kill -9`. A saving child that is under way lives on, as it would."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self.while_saving = 0

    def begin(self) -> ServerProcess:
        return self._server.start()

    def end(self) -> None:
        process = self._server.process
        if process is not None and process.poll() is None:
            self.while_saving += bool(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
        self._server.kill()

    def trouble(self, on: bool) -> None:
        """There is none: the disk is a real one."""


def short_lives(directory: Path, rounds: int, fsync: str, seed: int, progress: bool = False) -> tuple[Books, int]:
    """Returns the books, and how many kills met a saving child. Raises as rounds.live does."""
    fate = Kill(ServerProcess(directory, *rounds_.OPTIONS, "--fsync", fsync))
    books = asyncio.run(rounds_.live(fate, rounds=rounds, seconds=(0.05, 0.5), seed=seed, progress=progress))
    return books, fate.while_saving


def _rounds(args: argparse.Namespace) -> int:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="survival-") as scratch:
        books, while_saving = short_lives(Path(scratch) / "data", args.rounds, args.fsync, args.seed, progress=True)
    print(f"{args.rounds} kills in {time.monotonic() - started:.0f} s, {while_saving} of them while a snapshot was"
          f" written, fsync {args.fsync}")  # fmt: skip
    print(books.summary())
    wrong = books.check()
    print("\n".join(wrong[:50]) if wrong else "every promise was kept")
    return 1 if wrong else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=0, help="many short lives instead of a long one with --kills")
    parser.add_argument("--changes", type=int, default=100_000)
    parser.add_argument("--keys", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--fail-rate", type=float, default=0.2)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--sender-kills", type=int, default=0)
    parser.add_argument("--batch", action="store_true")
    parser.add_argument("--compact", action="store_true", help="compact the journal every second")
    parser.add_argument("--fsync", default="everysec")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.rounds:
        return _rounds(args)
    with tempfile.TemporaryDirectory(prefix="survival-") as scratch:
        started = time.monotonic()
        books = asyncio.run(survive(
            Path(scratch) / "data", changes=args.changes, keys=args.keys, clients=args.clients,
            fail_rate=args.fail_rate, kills=args.kills, sender_kills=args.sender_kills, batch=args.batch,
            seed=args.seed, options=("--fsync", args.fsync, *(COMPACTING if args.compact else ())),
        ))  # fmt: skip
        seconds = time.monotonic() - started
    wrong = books.check()
    acknowledged = sum(books.acknowledged.values())
    arrived = sum(map(len, books.arrived.values()))
    print(f"{acknowledged} changes acknowledged, {len(books.acknowledged)} keys, {args.kills} kills, "
          f"{args.sender_kills} of senders, {seconds:.1f} s")  # fmt: skip
    print(f"{books.requests} requests, {books.failed} of them failed on purpose; {arrived} events accepted, "
          f"{arrived - sum(len(set(v)) for v in books.arrived.values())} of them twice")  # fmt: skip
    print("\n".join(wrong) if wrong else "every acknowledged change was delivered, in order per key, with one id")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
