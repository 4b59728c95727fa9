"""Asking the receiver what has arrived, and other things that more than one measurement does to its servers."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import redis

from benchmarks.servers import Server

ROOM = ("--set", "webhooks.queue.max_pending=5000000", "--set", "webhooks.max_webhooks=20000")
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


def started(server: Server) -> None:
    """Waits until all processes of a server have started."""
    used, deadline = -1.0, time.monotonic() + 15
    while (now := server.cpu_seconds()) - used > 0.01 and time.monotonic() < deadline:
        used = now
        time.sleep(0.2)


@contextmanager
def webhook(server: Server, name: str, url: str, *words: str) -> Iterator[None]:
    """One that exists meanwhile; those who send are there from the beginning."""
    with redis.Redis(port=server.port) as client:
        client.execute_command("WEBHOOK.CREATE", name, url, "MAX_PENDING", "5000000", *words)
        started(server)
        try:
            yield
        finally:
            client.execute_command("WEBHOOK.DELETE", name)


@contextmanager
def probing(server: Server, line: bytes = b"PING\r\n", every: float = 0.003) -> Iterator[list[float]]:
    """Meanwhile a client sends `line` every few milliseconds: the round trips, in ms."""
    times: list[float] = []
    over = threading.Event()

    def probe() -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not over.wait(every):
                started = time.perf_counter()
                peer.sendall(line)
                peer.recv(64)
                times.append((time.perf_counter() - started) * 1000)

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield times
    finally:
        over.set()
        thread.join()


@contextmanager
def asking(server: Server, line: bytes, every: float) -> Iterator[None]:
    """Meanwhile a client sends `line` at an even rate, whether the last answer is there or not: a slow server is asked
    as often as a quick one."""
    over = threading.Event()

    def ask() -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as peer:
            while not over.wait(every):
                peer.sendall(line)
                with suppress(BlockingIOError):
                    peer.recv(1 << 20, socket.MSG_DONTWAIT)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def paced(per_second: float, count: int) -> Iterator[int]:
    """0, 1, 2, … at an even rate; one that comes late does not delay the others."""
    start = time.perf_counter()
    for n in range(count):
        pause = start + n / per_second - time.perf_counter()
        if pause > 0:
            time.sleep(pause)
        yield n
