"""`ferrite-hooks check` and `ferrite-hooks backup`."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from power import PowerDisk
from process import ServerProcess

from ferrite_hooks.store.journal import DirectoryLocked, Journal
from ferrite_hooks.store.snapshot import Mark, write
from ferrite_hooks.tools import BackupError, backup, check


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ferrite_hooks", *words], capture_output=True, text=True, timeout=60, check=False
    )


def made(directory: Path, snapshot: bool = True) -> list[Path]:
    """A directory with frames 1 to 9 in three segments, and a snapshot of frame 3. Returns the segments."""
    journal = Journal.open(directory, fsync="no")
    list(journal.replay())
    for n in range(1, 10):
        journal.append([[b"SET", b"k", b"%d" % n]], [], [])
        if n % 3 == 0 and n < 9:
            journal.rotate()
    if snapshot:
        state = ((), [["hook", 1, {}], ["queue", 1, [[[], 0]]]])
        write(directory / "dump.rdb", Mark(journal.journal_id, 3, 0), [(0, {b"k": b"3"}, {})], state)
    journal.close()
    return sorted(directory.glob("journal-*.log"))


def said(directory: Path, fix: bool = False) -> tuple[bool, str]:
    lines: list[str] = []
    return check(directory, fix=fix, say=lines.append), "\n".join(lines)


def spoil(path: Path, offset: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 0xFF
    path.write_bytes(raw)


def frames(directory: Path) -> list[int]:
    journal = Journal.open(directory, fsync="no")
    try:
        return [frame.number for frame in journal.replay(4)]
    finally:
        journal.close()


def test_what_is_there(tmp_path: Path) -> None:
    made(tmp_path)
    good, text = said(tmp_path)
    assert good
    assert "dump.rdb, frame 3 of journal" in text and ": 1 key, 1 webhook, 1 pending event" in text
    assert "from frame 1 on: 3 frames, 3 commands, 0 events (only WEBHOOK.REPLAY" in text
    assert "from frame 4 on: 6 frames, 6 commands, 0 events (a start needs it)" in text


def test_damage_is_shown_and_fixed(tmp_path: Path) -> None:
    segments = made(tmp_path)
    size = segments[1].stat().st_size
    spoil(segments[1], size - 2)  # in frame 6
    before = {path: path.read_bytes() for path in segments}
    good, text = said(tmp_path)
    assert not good and f"DAMAGED {segments[1]} at byte" in text and "1 more file" in text
    assert {path: path.read_bytes() for path in segments} == before
    good, text = said(tmp_path, fix=True)
    assert good and "FIXED" in text and "ends with frame 5 now" in text
    assert frames(tmp_path) == [4, 5]
    assert len(list(tmp_path.glob("*.bad"))) == 2
    assert said(tmp_path)[0]


def test_a_file_that_a_backup_shares_is_fixed_here_alone(tmp_path: Path) -> None:
    segments = made(tmp_path)
    spoil(segments[1], segments[1].stat().st_size - 2)
    shared = tmp_path / "backup"
    os.link(segments[1], shared)
    before = shared.read_bytes()
    assert said(tmp_path, fix=True)[0] and frames(tmp_path) == [4, 5]
    assert shared.read_bytes() == before and segments[1].stat().st_size < len(before)


def test_damage_in_what_a_start_does_not_need(tmp_path: Path) -> None:
    segments = made(tmp_path)
    spoil(segments[0], segments[0].stat().st_size - 2)
    good, text = said(tmp_path, fix=True)
    assert good and f"DAMAGED {segments[0]}" in text and "FIXED" not in text
    assert frames(tmp_path) == [4, 5, 6, 7, 8, 9]


def test_a_torn_end_is_no_damage(tmp_path: Path) -> None:
    segments = made(tmp_path)
    os.truncate(segments[2], segments[2].stat().st_size - 1)
    good, text = said(tmp_path)
    assert good and "in the middle of an append" in text
    assert segments[2].exists() and frames(tmp_path) == [4, 5, 6, 7, 8]


def test_what_is_missing(tmp_path: Path) -> None:
    segments = made(tmp_path)
    segments[0].unlink()
    assert said(tmp_path)[0]  # the snapshot covers it
    (tmp_path / "dump.rdb").rename(tmp_path / "elsewhere.rdb")
    good, text = said(tmp_path)
    assert not good and "frames 1 to 3 are missing" in text
    assert check(tmp_path, "elsewhere.rdb", say=lambda line: None)


def test_a_damaged_snapshot_is_shown(tmp_path: Path) -> None:
    made(tmp_path)
    spoil(tmp_path / "dump.rdb", 100)
    good, text = said(tmp_path)
    assert not good and f"DAMAGED {tmp_path / 'dump.rdb'}" in text


def test_nothing_is_mended_under_a_running_server(tmp_path: Path) -> None:
    segments = made(tmp_path)
    journal = Journal.open(tmp_path, fsync="no")
    try:
        assert said(tmp_path)[0]
        spoil(segments[1], segments[1].stat().st_size - 2)
        with pytest.raises(DirectoryLocked):
            said(tmp_path, fix=True)
    finally:
        journal.close()


def test_the_command_line(tmp_path: Path) -> None:
    segments = made(tmp_path / "data")
    assert run("check", str(tmp_path / "data")).returncode == 0
    done = run("backup", str(tmp_path / "data"), str(tmp_path / "copy"))
    assert done.returncode == 0 and "4 files" in done.stdout
    spoil(segments[1], segments[1].stat().st_size - 2)
    assert run("check", str(tmp_path / "data")).returncode == 1
    assert run("check", "--fix", str(tmp_path / "data")).returncode == 0
    missing = run("check", str(tmp_path / "missing"))
    assert missing.returncode == 2 and "No such file" in missing.stderr


def test_a_backup_needs_an_empty_target_and_a_source(tmp_path: Path) -> None:
    made(tmp_path / "data")
    with pytest.raises(BackupError, match="not empty"):
        backup(tmp_path / "data", tmp_path / "data")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BackupError, match="neither"):
        backup(tmp_path / "empty", tmp_path / "copy")


@pytest.mark.parametrize("tool", ["check", "backup"])
def test_a_directory_that_is_not_there(tmp_path: Path, tool: str) -> None:
    missing, target = tmp_path / "missing", tmp_path / "target"
    found = run(tool, str(missing), *[str(target)] * (tool == "backup"))
    assert (found.returncode, found.stdout) == (2 if tool == "check" else 1, "")
    assert found.stderr == f"ferrite-hooks {tool}: {missing}: No such file or directory\n"
    assert not target.exists()


def test_a_backup_does_not_grow_with_its_source(tmp_path: Path) -> None:
    segments = made(tmp_path / "data")
    backup(tmp_path / "data", tmp_path / "copy")
    size = (tmp_path / "copy" / segments[-1].name).stat().st_size
    with open(segments[-1], "ab") as file:
        file.write(b"more")
    assert (tmp_path / "copy" / segments[-1].name).stat().st_size == size
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "copy").iterdir())


def test_backups_of_a_busy_server_are_whole(tmp_path: Path) -> None:
    """While clients write and the journal is compacted again and again: each backup starts, and has all that was
    confirmed before it was begun."""
    options = ("--log-level", "notice", "--set", "journal.segment_bytes=8192", "--set", "journal.retention_bytes=0")
    with ServerProcess(tmp_path / "data", *options) as server, server.client() as client:
        client.execute_command("WEBHOOK.CREATE", "w", "http://127.0.0.1:9/", "RETRIES", 100)
        stop, confirmed = threading.Event(), [0]

        def write() -> None:
            with server.client() as mine:
                while not stop.is_set():
                    mine.set("counter", confirmed[0] + 1)
                    confirmed[0] += 1

        def compact() -> None:
            with server.client() as mine:
                while not stop.is_set():
                    mine.save()

        threads = [threading.Thread(target=write), threading.Thread(target=compact)]
        for thread in threads:
            thread.start()
        try:
            known = []
            for n in range(5):
                known.append(confirmed[0])
                backup(tmp_path / "data", tmp_path / f"copy{n}")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    for n, least in enumerate(known):
        good, text = said(tmp_path / f"copy{n}")
        assert good, text
        with ServerProcess(tmp_path / f"copy{n}", *options) as copy, copy.client() as client:
            assert int(client.get("counter") or 0) >= least
            assert client.execute_command("WEBHOOK.LIST")[0][b"name"] == b"w"


def test_a_backup_survives_a_power_cut_as_soon_as_it_is_done(tmp_path: Path) -> None:
    disk_root = tmp_path / "disk"
    made(disk_root / "data")
    disk = PowerDisk(disk_root, tmp_path / "notes")
    copied = backup(disk_root / "data", disk_root / "a" / "new" / "place", files=disk.files)
    for seed in range(10):
        disk.leave(tmp_path / str(seed), random.Random(seed))
        target = tmp_path / str(seed) / "a" / "new" / "place"
        assert sorted(path.name for path in target.iterdir()) == sorted(path.name for path in copied)
        assert said(target)[0]
    disk.close()


def test_pages_that_a_power_cut_took_are_told_as_a_torn_end(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, fsync="no")
    list(journal.replay())
    for n in range(6):
        journal.append([[b"SET", b"k", b"%d" % n * 900]], [], [])
    journal.close()
    [path] = tmp_path.glob("journal-*.log")
    raw = bytearray(path.read_bytes())
    raw[2048:2560] = bytes(512)
    path.write_bytes(raw)
    good, text = said(tmp_path)
    assert good and "ends in the middle of an append" in text and "2 frames" in text
    assert path.read_bytes() == raw
