"""What webhooks cost the commands: SET with webhooks over SET without, on servers of the same kind side by side.

Capturing and delivering are told apart: a paused webhook matches every write and sends nothing. The servers are on
one core, and what they deliver goes out from that core, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import redis

from benchmarks.commands import words_of
from benchmarks.delivery import words_for
from benchmarks.figures import Goal, Row, interleaved, row
from benchmarks.load import run, sized
from benchmarks.matching import mixed_globs
from benchmarks.receipts import ROOM
from benchmarks.servers import Server

NOWHERE = "http://127.0.0.1:9/"
PIPELINES = (1, 16)
KINDS = NONE, OTHERS, ALIKE, MIXED, PAUSED, SINGLE, BATCHED = (
    "no webhooks", "1,000 that don't match", "1,000 that don't match and begin like the keys",
    "1,000 that don't match, mixed globs", "1 that matches every write, paused",
    "1 that matches every write, delivered", "1 that matches every write, in batches",
)  # fmt: skip
MATCHLESS = {
    OTHERS: [f"other:{n}:*" for n in range(1000)],
    ALIKE: [f"key:{n}:*" for n in range(1000)],  # the keys: key:000000012345
    MIXED: [glob.decode() for glob in mixed_globs(1000)],
}
GOALS = {OTHERS: Goal((0.97, 0.97)), PAUSED: Goal((0.5, 0.5))}


@contextmanager
def webhooks(server: Server, kind: str, url: str) -> Iterator[None]:
    """Those of `kind`, there meanwhile."""
    made: list[tuple[str, ...]] = []
    if kind in MATCHLESS:
        made = [
            (f"other{n}", NOWHERE, "PATTERN", pattern, "EVENTS", "SET") for n, pattern in enumerate(MATCHLESS[kind])
        ]
    elif kind != NONE:
        made = [("all", url, "MAX_PENDING", "5000000", *words_for(100 if kind == BATCHED else 1))]
    with redis.Redis(port=server.port, socket_timeout=300) as client:  # under valgrind a thousand take long
        pipe = client.pipeline(transaction=False)
        for words in made:
            pipe.execute_command("WEBHOOK.CREATE", *words)
        if kind == PAUSED:
            pipe.execute_command("WEBHOOK.PAUSE", "all")
        pipe.execute()
        try:
            yield
        finally:
            for words in made:
                pipe.execute_command("WEBHOOK.DELETE", words[0])
            pipe.execute()


def cost(rounds: int, seconds: float) -> Iterator[Row]:
    """One server has none of the webhooks, and those that don't match for as long as its turn lasts: two processes of
    the same kind differ by more than these cost, which takes three times the rounds to see."""
    with ExitStack() as stack:
        url = f"http://127.0.0.1:{stack.enter_context(Server.receiver()).port}/count"
        servers = {
            kind: stack.enter_context(Server.ours("everysec", *ROOM)) for kind in (NONE, PAUSED, SINGLE, BATCHED)
        }
        servers |= dict.fromkeys(MATCHLESS, servers[NONE])
        words = words_of("SET")
        ours, theirs = ({kind: list[list[float]]() for kind in KINDS[1:]} for _ in range(2))
        for pipeline in PIPELINES:
            count = sized(servers[NONE], words, pipeline, seconds)

            def one(kind: str, pipeline: int = pipeline, count: int = count) -> float:
                with webhooks(servers[kind], kind, url):
                    run(servers[kind], words, pipeline, count // 4)  # while its senders learn of a thousand webhooks
                    return run(servers[kind], words, pipeline, count).rate / 1000

            for turns, kinds in ((3 * rounds, (OTHERS,)), (rounds, KINDS[2:])):
                found = interleaved(turns, {kind: partial(one, kind) for kind in (NONE, *kinds)})
                for kind in kinds:
                    ours[kind].append(found[kind])
                    theirs[kind].append(found[NONE])
        for kind in KINDS[1:]:
            yield row(
                "webhooks", f"SET with {kind}", "k/s", ours[kind], theirs[kind], goal=GOALS.get(kind),
                cells=tuple(f"pipeline {p}" for p in PIPELINES), against="the same without webhooks",
            )  # fmt: skip
