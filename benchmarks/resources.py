"""What a server needs (memory, time to load) and what it still does when its receivers are sick."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import redis

from benchmarks.figures import Goal, Row, interleaved, percentile, row
from benchmarks.isolation import Sick
from benchmarks.receipts import ROOM, paced, probing
from benchmarks.servers import Server

VALUE = b"x" * 64
LEAST = 1000  # that webhooks.queue.memory_events may be


def pour(
    server: Server, count: int, line: bytes = b"SET key:%d abc\r\n", distinct: int = 0, first: int = 0
) -> None:
    """Sends `line` with `first`, `first` + 1, … (modulo `distinct`) and waits for every reply. Raises RuntimeError for
    an error."""
    with socket.create_connection(("127.0.0.1", server.port)) as peer:
        for start in range(first, first + count, 1000):
            numbers = range(start, min(first + count, start + 1000))
            peer.sendall(b"".join(line % (n % distinct if distinct else n) for n in numbers))
            missing = len(numbers)
            while missing:
                data = peer.recv(65536)
                if not data or b"-" in data:
                    raise RuntimeError(f"{server.name}: {data[:200]!r}")
                missing -= data.count(b"\r\n")


def per_key(keys: int) -> Row:
    """Bytes of resident memory per key of a dozen bytes with a value of three, both without persistence."""
    found: dict[str, float] = {}
    for make in (Server.redis, Server.ours):
        with make("off") as server:
            pour(server, 1000)
            before = server.resident_bytes()
            pour(server, keys)
            found[server.name] = (server.resident_bytes() - before) / keys
    return row("memory", f"memory per key, {keys:,} small ones", "B", [[found["ferrite-hooks"]]],
               [[found["redis-server"]]], goal=Goal((2.5,), at_most=True))  # fmt: skip


def per_pending(events: int, where: str, in_memory: int) -> Row:
    """Bytes per event that waits for its webhook, when `in_memory` of all may be there and all others are in the
    journal alone. Raises RuntimeError when events are not `where` the row says."""
    options = (*ROOM, "--set", f"webhooks.queue.memory_events={in_memory}", "--set", "journal.compact_percentage=0")
    with Server.ours("everysec", *options) as ours, redis.Redis(port=ours.port, protocol=3) as client:
        line = b"SET key:%d " + VALUE + b"\r\n"
        client.execute_command("WEBHOOK.CREATE", "all", "http://127.0.0.1:9/", "MAX_PENDING", "5000000")
        client.execute_command("WEBHOOK.PAUSE", "all")
        pour(ours, 2 * LEAST, line, distinct=LEAST)  # keys are written over from now on: the data does not grow
        before, on_disk = ours.resident_bytes(), _on_disk(client)
        pour(ours, events, line, distinct=LEAST)
        size, on_disk = (ours.resident_bytes() - before) / events, _on_disk(client) - on_disk
    if on_disk != (events if in_memory == LEAST else 0):
        raise RuntimeError(f"{on_disk:,} of {events:,} pending events are in the journal alone")
    return Row("memory", f"memory per pending event {where}, {events:,} of {len(VALUE)} bytes", "B", (size,),
               against="")  # fmt: skip


def _on_disk(client: Any) -> int:
    """How many events of the webhook are in the journal alone."""
    return int(client.execute_command("WEBHOOK.INFO", "all")[b"pending_on_disk"])


def memory(keys: int, events: int) -> Iterator[Row]:
    """Of the events in the journal alone five times as many: each takes so little."""
    yield per_key(keys)
    yield per_pending(events, "in memory", 5 * events)
    yield per_pending(5 * events, "in the journal alone", LEAST)


# -- sick receivers ------------------------------------------------------------------------------------------


def failing(rounds: int, seconds: float, per_second: int = 200, webhooks: int = 100) -> Iterator[Row]:
    """PING and SET while 100 webhooks fail (refused, hanging, 500), each of them with new events all the time, over the
    same writes without webhooks."""
    sick = Sick()
    try:
        with ExitStack() as stack:
            servers = {"sick": stack.enter_context(Server.ours("everysec", *ROOM)),
                       "without": stack.enter_context(Server.ours("everysec", *ROOM))}  # fmt: skip
            with redis.Redis(port=servers["sick"].port) as client:
                for n in range(webhooks):
                    # the dead of `Sick` are the first; a long patience keeps circuits and retries at work
                    client.execute_command("WEBHOOK.CREATE", f"sick{n}", sick.url(n % 50), "PATTERN", f"sick{n}:*",
                                           "EVENTS", "SET", "RETRIES", "50", "RETRY_DELAY", "100")  # fmt: skip

            def one(kind: str, line: bytes) -> list[float]:
                with redis.Redis(port=servers[kind].port) as writer, probing(servers[kind], line) as times:
                    for n in paced(per_second, int(per_second * seconds)):
                        writer.set(f"sick{n % webhooks}:{n}", n)
                return times

            for name, line in (("PING", b"PING\r\n"), ("SET", b"SET probe:1 abc\r\n")):
                one("sick", line)  # what hangs has begun to hang
                found = interleaved(rounds, {kind: partial(one, kind, line) for kind in servers})
                mine, others = (
                    [[percentile(times, percent) for times in found[kind]] for percent in (50, 99)]
                    for kind in ("sick", "without")
                )
                yield row("failing", f"{name} while {webhooks} webhooks fail", "ms", mine, others, cells=("p50", "p99"),
                          against="the same without webhooks", note=f"{per_second} matched writes/s")  # fmt: skip
    finally:
        sick.close()


# -- loading -------------------------------------------------------------------------------------------------

FROM = {"our journal": "redis-server's AOF", "our snapshot": "redis-server's RDB", "our pending events": ""}


def loading(keys: int, events: int) -> Iterator[Row]:
    """Seconds from the start of a process until it has loaded, as restart.py measures it."""
    try:
        from benchmarks.restart import run
    except ImportError:  # it came later than this
        return
    found = run(keys, events)
    for ours, theirs in FROM.items():
        if ours in found:
            name, wall = f"start from {ours}, {keys if theirs else events:,}", found[ours].wall
            if theirs:
                yield row("load", name, "s", [[wall]], [[found[theirs].wall]], against=theirs)
            else:
                yield Row("load", name, "s", (wall,), against="")
