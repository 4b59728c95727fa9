"""Pending events beyond the window, in a real process: killed, compacted, with files that are missing."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from process import ServerProcess, until
from receiver import Received, Receiver, Reply

from ferrite_hooks.tools import backup, check

OPTIONS = (
    "--log-level", "warning", "--set", "webhooks.queue.memory_events=1000", "--set",
    "webhooks.queue.max_pending=2000000", "--set", "journal.segment_bytes=262144", "--set", "journal.retention_bytes=0",
    "--set", "journal.compact_percentage=0",
)  # fmt: skip


def facts(client: Any, name: str = "w") -> dict[str, Any]:
    told = client.execute_command("WEBHOOK.INFO", name)
    return {name.decode(): value.decode() if isinstance(value, bytes) else value for name, value in told.items()}


def compact(client: Any) -> None:
    done = client.info("persistence")["aof_rewrites"]
    client.execute_command("BGREWRITEAOF")
    until(lambda: client.info("persistence")["aof_rewrites"] > done)


def write(client: Any, first: int, last: int, keys: int = 100) -> None:
    """Values `first` to `last`, of keys in turn."""
    for start in range(first, last + 1, 500):
        with client.pipeline(transaction=False) as pipe:
            for n in range(start, min(start + 500, last + 1)):
                pipe.set(f"k{n % keys}", n)
            pipe.execute()


class Books:
    """What a receiver was told."""

    def __init__(self, receiver: Receiver) -> None:
        self.arrived: dict[str, list[int]] = defaultdict(list)  # key -> values as they came first
        self.seen: set[int] = set()
        self.ids: dict[int, set[str]] = defaultdict(set)
        self.requests = 0
        receiver.on_answer = self.arrive

    def arrive(self, request: Received, reply: Reply) -> None:
        self.requests += 1
        body = json.loads(request.body)
        for event in body.get("events", [body]):
            value = int(event["data"]["value"])
            self.ids[value].add(event["id"])
            if value not in self.seen and 200 <= reply.status < 300:
                self.seen.add(value)
                self.arrived[event["key"]].append(value)


@pytest.mark.timeout(180)
async def test_killed_with_fifty_thousand_pending(tmp_path: Path) -> None:
    total = 50_000
    async with Receiver() as receiver:
        books = Books(receiver)
        server = ServerProcess(tmp_path / "data", *OPTIONS)
        await asyncio.to_thread(server.start)

        async def requests(count: int) -> None:
            deadline = time.monotonic() + 30
            while books.requests < count:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.005)

        def fill() -> None:
            with server.client() as client:
                client.execute_command(
                    "WEBHOOK.CREATE", "w", receiver.url("/w"), "MAX_PENDING", 2_000_000, "BATCH", "true",
                    "BATCH_SIZE", 100, "BATCH_INTERVAL", 20, "RETRY_DELAY", 10, "RETRIES", 100,
                )  # fmt: skip
                client.execute_command("WEBHOOK.PAUSE", "w")
                write(client, 1, 20_000)
                compact(client)
                write(client, 20_001, total)
                told = facts(client)
                assert told["pending"] == total and told["pending_on_disk"] >= total - 1500
                client.execute_command("WEBHOOK.RESUME", "w")

        receiver.script("/w", *[Reply(500), Reply(200)] * 20)
        try:
            await asyncio.to_thread(fill)
            for kills in (60, 150):  # the first while events come from behind the snapshot
                await requests(kills)
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
            with server.client() as client:
                await asyncio.to_thread(until, lambda: not facts(client)["pending"], 60)
                told = facts(client)
                assert told["deliveries"] == total and told["dead"] == 0 and told["pending_on_disk"] == 0
        finally:
            await asyncio.to_thread(server.stop)
    assert books.seen == set(range(1, total + 1))
    assert all(len(ids) == 1 for ids in books.ids.values())
    assert all(values == sorted(values) for values in books.arrived.values())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data", *OPTIONS) as server:
        yield server


def files(server: ServerProcess) -> list[Path]:
    return sorted(server.directory.glob("journal-*.log"))


def fill(server: ServerProcess, count: int = 8000) -> None:
    """Pending events, most of them in files that the snapshot covers."""
    with server.client() as client:
        client.execute_command("WEBHOOK.CREATE", "w", "http://127.0.0.1:9/", "MAX_PENDING", 2_000_000)
        client.execute_command("WEBHOOK.PAUSE", "w")
        write(client, 1, count)
        compact(client)


def test_files_with_pending_events_stay_as_long_as_they_are_needed(server: ServerProcess) -> None:
    fill(server)
    held = files(server)
    assert len(held) > 2
    with server.client() as client:
        told = client.info("persistence")
        sizes = sum(path.stat().st_size for path in held[:-1])
        assert told["journal_held_bytes"] == sizes and told["journal_size"] >= sizes
        compact(client)
        assert set(held[:-1]) <= set(files(server))
        server.kill()
        server.start()
    with server.client() as client:
        assert facts(client)["pending"] == 8000
        assert client.execute_command("WEBHOOK.PURGE", "w") == 8000
        compact(client)
        until(lambda: len(files(server)) <= 2)
        assert client.info("persistence")["journal_held_bytes"] == 0


def test_files_that_are_no_longer_needed_go_by_themselves(server: ServerProcess) -> None:
    fill(server)
    server.stop()
    server.options = (
        *OPTIONS, "--set", "journal.compact_percentage=100000", "--set", "journal.compact_min_bytes=100000",
    )  # fmt: skip
    server.start()
    with server.client() as client:
        until(lambda: client.info("persistence")["journal_held_bytes"] > 100_000)
        client.execute_command("WEBHOOK.PURGE", "w")
    server.stop()
    server.start()  # it is looked for then, and once in a minute
    with server.client() as client:
        until(lambda: client.info("persistence")["journal_held_bytes"] == 0)
        until(lambda: len(files(server)) <= 2)


def refused(server: ServerProcess) -> str:
    with pytest.raises(AssertionError, match="did not start"):
        server.start()
    return server.log()


def said(directory: Path) -> tuple[bool, str]:
    lines: list[str] = []
    return check(directory, say=lines.append), "\n".join(lines)


@pytest.mark.parametrize("everything", [False, True])
def test_missing_files_are_named_and_can_be_given_up(server: ServerProcess, everything: bool) -> None:
    fill(server)
    server.stop()
    good, text = said(server.directory)
    assert good and "8000 pending events" in text and "pending events of the snapshot are there" in text
    kept = files(server)
    for path in kept if everything else kept[:1]:
        path.unlink()
    good, text = said(server.directory)
    assert not good and "no start is possible, except once with journal.repair = true" in text
    before = files(server)
    log = refused(server)
    assert "pending events of" in log and "are missing: restore the journal's files" in log and "Traceback" not in log
    assert files(server) == before, "nothing was made that would be in the way of the missing ones"
    server.options = (*server.options, "--set", "journal.repair=yes")
    server.start()
    with server.client() as client:
        left = facts(client)["pending"]
        assert 0 < left < 8000 and "pending events are lost" in server.log()
        assert client.dbsize() == 100


def test_damage_where_only_pending_events_are(server: ServerProcess) -> None:
    fill(server)
    server.stop()
    path = files(server)[1]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    good, text = said(server.directory)
    assert not good and f"DAMAGED {path}" in text
    server.start()
    with server.client() as client:
        client.execute_command("WEBHOOK.UPDATE", "w", "MAX_PENDING", 10)  # reads and drops all, the oldest first
        told = until(lambda: (f := facts(client))["read_error"] and f)
        assert f"{path.name} is damaged at byte" in told["read_error"] and told["pending"] > 10
        assert "cannot be read back" in server.log()
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        until(lambda: facts(client)["pending"] <= 10)
        assert not facts(client)["read_error"]


def test_a_backup_has_what_is_pending(server: ServerProcess, tmp_path: Path) -> None:
    fill(server)
    with server.client() as client:
        write(client, 8001, 9000)
    backup(server.directory, tmp_path / "copy")
    good, text = said(tmp_path / "copy")
    assert good and "8000 pending events" in text
    with ServerProcess(tmp_path / "copy", *OPTIONS) as other, other.client() as client:
        assert facts(client)["pending"] == 9000
        client.execute_command("WEBHOOK.UPDATE", "w", "MAX_PENDING", 10)  # reads and drops all, the oldest first
        until(lambda: facts(client)["pending"] == 10)
        assert facts(client)["read_error"] == ""
