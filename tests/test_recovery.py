"""Loading: what clients, INFO, readyz and the log are told of it while it goes on."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from fakes import Harness
from process import free_port

from ferrite_hooks import app as app_module
from ferrite_hooks.app import App
from ferrite_hooks.config import load
from ferrite_hooks.recovery import Recovery
from ferrite_hooks.store.journal import Journal
from ferrite_hooks.store.snapshot import Mark, write

FRAMES = 30_000


def filled(directory: Path, frames: int = FRAMES, **options: Any) -> str:
    """A journal of that many SETs. Returns its id."""
    journal = Journal.open(directory, fsync="no", **options)
    list(journal.replay())
    for n in range(frames):
        journal.append([[b"SET", b"k%d" % n, b"v" * 50]], [], [])
    journal.close()
    return journal.journal_id


def progress(harness: Harness, directory: Path) -> tuple[Recovery, list[float]]:
    journal = Journal.open(directory, fsync="no")
    recovery = Recovery(harness.engine, directory / "dump.rdb", journal, lambda changes, notes: None)
    recovery.open()
    try:
        return recovery, [recovery.percentage for _ in recovery.steps()]
    finally:
        journal.close()


@pytest.mark.parametrize("segment_bytes", [1 << 30, 100_000])
def test_the_percentage_follows_the_journal(harness: Harness, tmp_path: Path, segment_bytes: int) -> None:
    filled(tmp_path, 10_000, segment_bytes=segment_bytes)
    recovery, seen = progress(harness, tmp_path)
    assert seen == sorted(seen) and seen[0] < 5 and 40 < seen[5000] < 60 and seen[-1] > 99
    assert recovery.percentage == 100 and recovery.seconds_left == 0
    assert recovery.total_bytes == sum(path.stat().st_size for path in tmp_path.glob("journal-*"))


def test_the_percentage_counts_the_snapshot_as_well(harness: Harness, tmp_path: Path) -> None:
    id = filled(tmp_path, 3000)
    values = {b"s%d" % n: b"v" * 50 for n in range(3000)}
    size = write(tmp_path / "dump.rdb", Mark(id, 1500, 0), [(0, values, {})], ((), ()))
    recovery, seen = progress(harness, tmp_path)
    assert recovery.total_bytes == size + sum(path.stat().st_size for path in tmp_path.glob("journal-*"))
    assert seen == sorted(seen) and seen[0] < 5 and recovery.percentage > 99.9  # the checksum is no entry
    assert len(harness.engine.databases[0].data) == 4500


async def test_what_is_told_of_a_long_load(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path / "data")
    monkeypatch.setattr(app_module, "LOAD_SLICE_SECONDS", 0.0)
    monkeypatch.setattr(app_module, "LOAD_REPORT_SECONDS", 0.01)
    caplog.set_level(logging.INFO)
    port, web = free_port(), free_port()
    app = App(load(None, {"server.port": port, "server.metrics_port": web, "server.dir": str(tmp_path / "data")}))
    starting = asyncio.create_task(app.start())
    try:
        while not (app.engine.loading and app.keeper.recovery and app.keeper.recovery.frames):
            await asyncio.sleep(0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET k1\r\nPING\r\nINFO persistence\r\n")
        assert (await reader.readline()).startswith(b"-LOADING ")
        assert (await reader.readline()).startswith(b"-LOADING ")
        text = (await reader.readexactly(int((await reader.readline())[1:]))).decode()
        facts = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        assert facts["loading"] == "1" and int(facts["loading_start_time"]) > 1_700_000_000
        total, done = int(facts["loading_total_bytes"]), int(facts["loading_loaded_bytes"])
        assert 0 < done < total == sum(path.stat().st_size for path in (tmp_path / "data").glob("journal-*"))
        assert facts["loading_loaded_perc"] == f"{done / total * 100:.2f}" and "loading_eta_seconds" in facts
        async with ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{web}/readyz") as response:
                assert response.status == 503
                reason = (await response.json())["reason"]
            assert reason.startswith("loading, ") and reason.endswith(" % done")
            async with session.get(f"http://127.0.0.1:{web}/healthz") as response:
                assert response.status == 200
            assert not starting.done(), "the load was over too early to tell anything"
            await starting
            async with session.get(f"http://127.0.0.1:{web}/readyz") as response:
                assert response.status == 200
        writer.write(b"GET k1\r\nINFO persistence\r\n")
        await reader.readline()  # the end of the INFO before
        assert await reader.readexactly(57) == b"$50\r\n" + b"v" * 50 + b"\r\n"
        text = (await reader.readexactly(int((await reader.readline())[1:]))).decode()
        assert "loading:0" in text and "loading_total_bytes" not in text
        assert any(record.message.startswith("loading: ") and "to go" in record.message for record in caplog.records)
        writer.close()
    finally:
        await starting
        app.stop()
        await app.stopped()
