"""Many short lives of one server: under load by several clients, with a receiver that fails some requests, while the
journal changes segments all the time and is compacted, the server ends in the middle of it and is started again.

After each start every key is read and compared with what clients were told, see books.py; at the end everything
that stands must have been delivered. How the server ends is a Fate: `kill -9`, or a power cut.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import redis.asyncio
from redis.asyncio.connection import Connection
from redis.exceptions import RedisError, ResponseError

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from process import ServerProcess
from receiver import Receiver

from benchmarks.books import ACKNOWLEDGED, REFUSED, Books

OPTIONS = (
    "--log-level", "warning", "--set", "webhooks.queue.max_pending=100000", "--set", "journal.segment_bytes=8192",
    "--set", "journal.compact_min_bytes=32768", "--set", "journal.compact_percentage=1",
    "--set", "journal.retention_bytes=65536",
)  # fmt: skip
WEBHOOK = (
    "RETRIES", 100, "RETRY_DELAY", 20, "RETRY_BACKOFF", "fixed", "CONCURRENCY", 32, "MAX_PENDING", 100_000,
    "EVENTS", "SET", "PATTERN", "counter:*",
)  # fmt: skip


class Fate(Protocol):
    """How a life ends. Both methods may block; they run in a thread."""

    def begin(self) -> ServerProcess:
        """The next life, started."""

    def end(self) -> None:
        """Ends it, unless it has ended itself."""

    def trouble(self, on: bool) -> None:
        """Whatever else may go wrong for a moment: a full disk."""


async def client(server: ServerProcess, books: Books, keys: list[str], rng: random.Random) -> None:
    """Writes to its own keys, in pipelines, transactions and broken transactions, until the server ends."""
    connection = Connection(port=server.port, socket_timeout=30)
    with suppress(RedisError, OSError, asyncio.IncompleteReadError):
        await connection.connect()
        while True:
            kind = rng.choices(("pipeline", "transaction", "broken"), (7, 2, 1))[0]
            group = 0 if kind == "pipeline" else len(books.attempts) + 1
            attempts = [books.attempt(key, group) for key in rng.sample(keys, rng.randint(1, len(keys)))]
            commands: list[tuple[str | int, ...]] = [("SET", each.key, each.number) for each in attempts]
            if kind != "pipeline":
                commands = [("MULTI",), *commands, *([("NOSUCH",)] if kind == "broken" else []), ("EXEC",)]
            await connection.send_packed_command(connection.pack_commands(commands))
            for n in range(len(commands)):
                try:
                    await connection.read_response()
                    state = ACKNOWLEDGED
                except ResponseError:
                    state = REFUSED
                last = n == len(commands) - 1
                for attempt in attempts[n : n + 1] if kind == "pipeline" else attempts if last else []:
                    attempt.state, attempt.at = state, time.monotonic()
            await asyncio.sleep(0.002 if state == ACKNOWLEDGED else 0.01)  # the events have to be delivered, too
    await connection.disconnect()


async def saver(server: ServerProcess, fate: Fate, rng: random.Random, pause: float) -> None:
    """Asks for snapshots and compaction, and makes trouble, until the server ends; up to `pause` seconds apart."""
    async with redis.asyncio.Redis(port=server.port) as admin:
        while True:
            await asyncio.sleep(rng.random() * pause)
            with suppress(ResponseError):  # one is under way
                await admin.execute_command(rng.choice(("BGSAVE", "BGREWRITEAOF")))
            if rng.random() < 0.2:
                fate.trouble(True)
                await asyncio.sleep(rng.random() * 0.1)
                fate.trouble(False)


async def found(server: ServerProcess, keys: list[str]) -> dict[str, int]:
    async with redis.asyncio.Redis(port=server.port) as reader:
        return {key: int(value or 0) for key, value in zip(keys, await reader.mget(keys), strict=True)}


async def live(
    fate: Fate, *, rounds: int, seconds: tuple[float, float], clients: int = 4, keys: int = 24, seed: int = 1,
    may_lose: float = 0.0, save_pause: float = 0.15, fail_rate: float = 0.2, patience: float = 120,
    progress: bool = False,
) -> Books:  # fmt: skip
    """The whole story; a round takes a random time between `seconds`. Raises TimeoutError when not everything has
    arrived `patience` seconds after the last start, AssertionError when the server does not start."""
    rng = random.Random(seed)
    books = Books(may_lose)
    names = [f"counter:{n}" for n in range(keys)]
    async with Receiver(seed=seed) as receiver:
        receiver.fail_rate = fail_rate
        receiver.on_answer = lambda received, reply: books.record(received.body, reply.status >= 300)
        server = await asyncio.to_thread(fate.begin)
        try:
            async with redis.asyncio.Redis(port=server.port) as admin:
                await admin.execute_command("WEBHOOK.CREATE", "survivor", receiver.url("/hook"), *WEBHOOK)
                await admin.execute_command("SAVE")  # the definition is to survive under every policy
            books.restarted(0, await found(server, names))
            for number in range(rounds):
                tasks = [
                    asyncio.create_task(client(server, books, names[n::clients], random.Random(rng.random())))
                    for n in range(clients)
                ]
                saving = asyncio.create_task(saver(server, fate, random.Random(rng.random()), save_pause))
                await asyncio.wait(tasks, timeout=rng.uniform(*seconds))  # all end when the server ends itself
                died = time.monotonic()
                await asyncio.to_thread(fate.end)
                saving.cancel()
                with suppress(RedisError, OSError, asyncio.CancelledError):
                    await saving
                await asyncio.gather(*tasks)
                fate.trouble(False)
                while True:
                    async with asyncio.timeout(10):
                        while receiver.clients:
                            await asyncio.sleep(0.001)
                    books.crashed()
                    receiver.requests.clear()
                    server = await asyncio.to_thread(fate.begin)
                    try:
                        books.restarted(died, await found(server, names))
                        break
                    except (RedisError, OSError):  # it was a short life
                        await asyncio.to_thread(fate.end)
                if progress and (number + 1) % max(1, rounds // 10) == 0:
                    print(f"round {number + 1}: {len(books.attempts)} writes tried, {books.missing()} events to come,"
                          f" {len(books.wrong)} promises broken", flush=True)  # fmt: skip
            deadline = time.monotonic() + patience
            while books.missing():
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{books.missing()} events have not arrived:\n{server.log()[-3000:]}")
                await asyncio.sleep(0.05)
        finally:
            await asyncio.to_thread(fate.end)
    return books
