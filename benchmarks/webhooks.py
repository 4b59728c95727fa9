"""What webhooks cost the commands: SET with webhooks over SET without, on servers of the same kind side by side.

Capturing and delivering are told apart: a paused webhook matches every write and sends nothing. The servers are on
one core, and what they deliver goes out from that core, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import redis

from benchmarks.commands import words_of
from benchmarks.delivery import words_for
from benchmarks.figures import Goal, Row, interleaved, row
from benchmarks.load import run, sized
from benchmarks.receipts import ROOM
from benchmarks.servers import Server

NOWHERE = "http://127.0.0.1:9/"
PIPELINES = (1, 16)
NONE, OTHERS, PAUSED, SINGLE, BATCHED = (
    "no webhooks", "1,000 that don't match", "1 that matches every write, paused",
    "1 that matches every write, delivered", "1 that matches every write, in batches",
)  # fmt: skip
GOALS = {OTHERS: Goal((0.97, 0.97)), PAUSED: Goal((0.5, 0.5))}


def create(server: Server, kind: str, url: str) -> None:
    with redis.Redis(port=server.port) as client:
        if kind == OTHERS:
            for n in range(1000):
                client.execute_command(
                    "WEBHOOK.CREATE", f"other{n}", NOWHERE, "PATTERN", f"other:{n}:*", "EVENTS", "SET"
                )
        elif kind != NONE:
            words = words_for(100 if kind == BATCHED else 1)
            client.execute_command("WEBHOOK.CREATE", "all", url, "MAX_PENDING", "5000000", *words)
            if kind == PAUSED:
                client.execute_command("WEBHOOK.PAUSE", "all")


def quiet(server: Server, kind: str) -> None:
    """Nothing goes on until the next round."""
    if kind not in (NONE, OTHERS):
        with redis.Redis(port=server.port) as client:
            client.execute_command("WEBHOOK.PURGE", "all", "PENDING")


def cost(rounds: int, seconds: float) -> Iterator[Row]:
    with ExitStack() as stack:
        receiver = stack.enter_context(Server.receiver())
        servers = {}
        for kind in (NONE, OTHERS, PAUSED, SINGLE, BATCHED):
            servers[kind] = stack.enter_context(Server.ours("everysec", *ROOM))
            create(servers[kind], kind, f"http://127.0.0.1:{receiver.port}/count")
        words = words_of("SET")
        rates: dict[str, list[list[float]]] = {kind: [] for kind in servers}
        for pipeline in PIPELINES:
            count = sized(servers[NONE], words, pipeline, seconds)

            def one(kind: str, pipeline: int = pipeline, count: int = count) -> float:
                rate = run(servers[kind], words, pipeline, count).rate
                quiet(servers[kind], kind)
                return rate / 1000

            sides: dict[str, Callable[[], float]] = {kind: partial(one, kind) for kind in servers}
            for kind, found in interleaved(rounds, sides).items():
                rates[kind].append(found)
        for kind in (OTHERS, PAUSED, SINGLE, BATCHED):
            yield row(
                "webhooks", f"SET with {kind}", "k/s", rates[kind], rates[NONE], goal=GOALS.get(kind),
                cells=tuple(f"pipeline {p}" for p in PIPELINES), against="the same without webhooks",
            )  # fmt: skip
