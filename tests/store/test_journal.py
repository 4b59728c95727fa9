"""The journal: what goes in comes out, who may use the directory, disks that fail, fsync beside the loop."""

import asyncio
import errno
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journal_world import SEGMENT_1, SMALL, Disk, opened, opened_and_closed, three, written

from ferrite_hooks.store.files import DISK
from ferrite_hooks.store.frames import SEGMENT_HEADER
from ferrite_hooks.store.journal import PROMPT_SECONDS, DirectoryLocked, Journal, JournalError

# --- what goes in comes out ---

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.binary()
    | st.floats(allow_nan=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)
appends = st.tuples(
    st.lists(st.lists(st.binary(), max_size=4), max_size=3),
    st.lists(st.lists(plain, max_size=5), max_size=3),
    st.lists(st.lists(plain, max_size=3), max_size=2),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(appends, max_size=12), st.integers(1, 400), st.integers(0, 12))
def test_replay_gives_what_was_appended(
    tmp_path_factory: pytest.TempPathFactory, contents: list[Any], segment_bytes: int, start: int
) -> None:
    directory = tmp_path_factory.mktemp("journal")
    frames = written(directory, contents, segment_bytes=segment_bytes)
    journal, again = opened(directory, segment_bytes=segment_bytes)
    assert again == frames
    assert [tuple(frame) for frame in journal.replay(start)] == [f for f in frames if f[0] >= start]
    journal.append(*three(1))
    assert list(journal.replay())[-1].number == len(frames) + 1 == journal.last_frame
    assert journal.size == sum(p.stat().st_size for p in directory.glob("*.log"))
    journal.close()


def test_bytes_and_str_stay_apart_and_tuples_become_lists(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    journal.append(((b"SET", b"k"),), [(1, "k", b"k", ("hash", [b"f", None]), "\ud800")], ())
    [frame] = journal.replay()
    assert frame == (1, [[b"SET", b"k"]], [[1, "k", b"k", ["hash", [b"f", None]], "\ud800"]], [])
    journal.close()


@pytest.mark.parametrize("value", [2**64, object()])
def test_a_value_that_cannot_be_kept_writes_nothing(tmp_path: Path, value: object) -> None:
    journal, _ = opened(tmp_path)
    with pytest.raises((JournalError, TypeError)):
        journal.append([], [[value]], [])
    journal.append(*three(1))
    journal.close()
    assert opened_and_closed(tmp_path) == [(1, *three(1))]


def test_the_journal_id_is_made_once(tmp_path: Path) -> None:
    first, _ = opened(tmp_path / "a", segment_bytes=100)
    for n in range(9):
        first.append(*three(n))
    first.close()
    again, _ = opened(tmp_path / "a")
    other, _ = opened(tmp_path / "b")
    assert again.journal_id == first.journal_id != other.journal_id
    assert len(first.journal_id) == 8 and set(first.journal_id) <= set("abcdefghijklmnopqrstuvwxyz234567")
    again.close()
    other.close()


# --- the directory ---


def test_a_second_process_is_refused_with_the_first_ones_pid(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from ferrite_hooks.store.journal import Journal\n"
    code += "j = Journal.open(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read(); j.close()"
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline() == b"open\n"
        with pytest.raises(DirectoryLocked, match=f"in use by process {other.pid}") as caught:
            Journal.open(tmp_path)
        assert caught.value.pid == other.pid
    journal, _ = opened(tmp_path)
    journal.close()


def test_only_the_owner_can_read(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        written(tmp_path / "a" / "b", SMALL, segment_bytes=100)
    finally:
        os.umask(old)
    directory = tmp_path / "a" / "b"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in directory.iterdir()} == {0o600}


def test_a_place_that_is_no_directory_is_a_plain_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot use"):
        Journal.open(tmp_path / "file")


def test_segments_end_at_their_size_and_go_when_dropped(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path, segment_bytes=300)
    for n in range(1, 13):
        journal.append(*three(n))
    firsts = sorted(int(p.name[8:24]) for p in tmp_path.glob("*.log"))
    assert journal.segment_count == len(firsts) > 2
    assert journal.drop_before(firsts[1] - 1) == 0
    assert journal.drop_before(firsts[2]) == 2
    assert journal.first_frame == firsts[2]
    assert [f.number for f in journal.replay()] == list(range(firsts[2], 13))
    journal.rotate()
    journal.rotate()  # an empty segment is not ended again
    count = journal.segment_count
    assert journal.drop_before(10**9) == count - 1
    assert list(journal.replay()) == []
    assert journal.size == SEGMENT_HEADER
    journal.append(*three(13))
    journal.close()
    assert opened_and_closed(tmp_path) == [(13, *three(13))]


def test_the_first_replay_may_start_later_and_still_reads_all(tmp_path: Path) -> None:
    frames = written(tmp_path, [three(n) for n in range(12)], segment_bytes=200)
    journal = Journal.open(tmp_path)
    assert [tuple(frame) for frame in journal.replay(7)] == frames[6:]
    assert journal.append(*three(1)) == 13
    journal.close()


def test_nothing_is_appended_before_replay_or_after_close(tmp_path: Path) -> None:
    written(tmp_path, SMALL)
    journal = Journal.open(tmp_path)
    for action in (lambda: journal.append(*three(1)), journal.rotate):
        with pytest.raises(JournalError, match="between its first whole replay and its close"):
            action()
    assert next(iter(journal.replay())).number == 1
    with pytest.raises(JournalError):
        journal.append(*three(1))
    journal.close()
    journal.close()
    with pytest.raises(JournalError):
        list(journal.replay())


# --- a disk that fails ---


@pytest.mark.parametrize("room", [0, 1, 11, 12, 13, 40])
def test_a_full_disk_is_reported_and_heals(tmp_path: Path, room: int) -> None:
    disk = Disk()
    journal, _ = opened(tmp_path, files=disk.files)
    journal.append(*three(1))
    disk.room = room
    for _ in range(2):
        with pytest.raises(JournalError, match="No space left on device"):
            journal.append(*three(2))
        assert "No space left" in journal.failed
        disk.room = room
    disk.room = 1 << 30
    assert journal.append(*three(3)) == 2
    assert journal.failed == ""
    journal.close()
    assert opened_and_closed(tmp_path) == [(1, *three(1)), (2, *three(3))]


@pytest.mark.parametrize("room", [1, 12, 100_000, 1 << 30])
def test_a_large_frame_is_whole_or_not_there(tmp_path: Path, room: int) -> None:
    large = ([[b"SET", b"k", os.urandom(1 << 20)]], [], [])
    disk = Disk()
    journal, _ = opened(tmp_path, files=disk.files)
    journal.append(*three(1))
    disk.room = room
    with pytest.raises(JournalError) if room < 1 << 20 else nullcontext():
        journal.append(*large)
    disk.room = 1 << 30
    number = journal.append(*large)
    assert journal.size == sum(path.stat().st_size for path in tmp_path.glob("*.log"))
    journal.close()
    assert opened_and_closed(tmp_path) == [(1, *three(1)), *((n, *large) for n in range(2, number + 1))]


def test_half_a_frame_that_cannot_be_taken_back_is_before_the_next_append(tmp_path: Path) -> None:
    disk = Disk()
    journal, _ = opened(tmp_path, files=disk.files)
    disk.room = 20
    disk.fail["truncate"] = OSError(errno.EIO, "Input/output error")
    with pytest.raises(JournalError, match="No space left"):
        journal.append(*three(1))
    disk.room = 1 << 30
    with pytest.raises(JournalError, match="Input/output error"):
        journal.append(*three(1))
    disk.fail.clear()
    journal.append(*three(2))
    journal.close()
    assert opened_and_closed(tmp_path) == [(1, *three(2))]


def test_short_writes_are_continued(tmp_path: Path) -> None:
    files = replace(DISK, write=lambda fd, data: os.write(fd, bytes(data[:7])))
    frames = written(tmp_path, SMALL, files=files)
    assert opened_and_closed(tmp_path) == frames


def test_a_disk_that_takes_no_bytes_does_not_hang(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    journal._files = replace(DISK, write=lambda fd, data: 0)
    with pytest.raises(JournalError, match="took no more bytes"):
        journal.append(*three(1))
    journal.close()


@pytest.mark.parametrize("step", ["open", "write", "sync", "rename", "sync_directory"])
def test_a_segment_that_cannot_be_made_leaves_the_old_one_in_use(tmp_path: Path, step: str) -> None:
    disk = Disk()
    journal, _ = opened(tmp_path, files=disk.files)
    journal.append(*three(1))
    journal.sync()
    disk.fail[step] = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(JournalError, match="cannot begin a new segment"):
        journal.rotate()
    disk.fail.clear()
    assert [p.name for p in tmp_path.glob("journal-*")] == [SEGMENT_1]
    journal.append(*three(2))
    journal.rotate()
    journal.append(*three(3))
    journal.close()
    assert [f[0] for f in opened_and_closed(tmp_path)] == [1, 2, 3]


def test_an_automatic_end_that_fails_is_logged_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = Disk()
    journal, _ = opened(tmp_path, files=disk.files, segment_bytes=400)
    disk.fail["rename"] = OSError(errno.EACCES, "Permission denied")
    while not caplog.records:
        journal.append(*three(5))
    assert "the segment goes on growing" in caplog.text
    disk.fail.clear()
    while journal.segment_count == 1:
        journal.append(*three(5))
    last = journal.last_frame
    journal.close()
    assert len(opened_and_closed(tmp_path)) == last


def test_a_failed_fsync_is_final(tmp_path: Path) -> None:
    disk = Disk()
    journal, _ = opened(tmp_path, files=disk.files, fsync="always")
    told: list[str] = []
    journal.when_durable(journal.append(*three(1)), told.append)
    disk.fail["sync"] = OSError(errno.EIO, "Input/output error")
    journal.when_durable(journal.append(*three(2)), told.append)
    disk.fail.clear()
    assert told[0] == "" and "Input/output error" in told[1]
    with pytest.raises(JournalError, match="check the disk and restart"):
        journal.append(*three(3))
    assert journal.durable_frame == 1
    journal.close()
    assert len(opened_and_closed(tmp_path)) == 2


# --- fsync beside the loop ---


class Gate:
    """An fsync that waits until it is let through, in the worker's thread."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.let = threading.Semaphore(0)
        self.error: OSError | None = None
        self.files = replace(DISK, sync=self.sync)
        self.loop_thread = threading.get_ident()

    def sync(self, fd: int) -> None:
        if threading.get_ident() != self.loop_thread:
            self.entered.release()
            assert self.let.acquire(timeout=30)
            if self.error:
                raise self.error
        DISK.sync(fd)

    async def wait_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=30)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    for _ in range(100):
        gate.let.release()


async def test_always_commits_groups_and_keeps_the_order(tmp_path: Path, gate: Gate) -> None:
    journal, _ = opened(tmp_path, fsync="always", files=gate.files)
    order: list[int] = []
    done = asyncio.Event()
    journal.when_durable(journal.append(*three(1)), lambda error: order.append(1))
    await gate.wait_entered()
    for n in range(2, 8):
        frame = journal.append(*three(n))
        journal.when_durable(frame, lambda error, n=n: (order.append(n), done.set() if n == 7 else None))
    assert order == [] and journal.durable_frame == 0
    assert journal.fsync_lag_ms >= 0
    gate.let.release()
    await gate.wait_entered()
    assert order == [1]
    gate.let.release()
    await asyncio.wait_for(done.wait(), 30)
    assert order == [1, 2, 3, 4, 5, 6, 7]
    assert (journal.syncs, journal.durable_frame, journal.fsync_lag_ms) == (2, 7, 0)
    journal.when_durable(7, lambda error: order.append(8))
    assert order[-1] == 8, "what is durable already calls back at once"
    journal.close()


async def test_a_prompt_disk_is_waited_for_and_a_slow_one_is_not(tmp_path: Path) -> None:
    threads: list[int] = []
    seconds = 0.0

    def sync(fd: int) -> None:
        threads.append(threading.get_ident())
        if seconds:
            time.sleep(seconds)

    journal, _ = opened(tmp_path, fsync="always", files=replace(DISK, sync=sync))
    loop_thread = threading.get_ident()

    async def synced_by() -> int:
        done = asyncio.Event()
        journal.when_durable(journal.append(*three(1)), lambda error: done.set())
        await asyncio.wait_for(done.wait(), 30)
        return threads[-1]

    async with asyncio.timeout(60):
        assert await synced_by() != loop_thread, "nothing is known of the disk"
        while await synced_by() != loop_thread:
            pass
    told: list[str] = []
    journal.when_durable(journal.append(*three(1)), told.append)
    assert told == [""]
    seconds = 16 * PROMPT_SECONDS
    async with asyncio.timeout(60):
        while await synced_by() == loop_thread:
            pass
    seconds = 0.0
    journal.close()


async def test_a_callback_that_raises_does_not_stop_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal, _ = opened(tmp_path, fsync="always")
    done = asyncio.Event()
    frame = journal.append(*three(1))
    journal.when_durable(frame, lambda error: 1 // 0)
    journal.when_durable(frame, lambda error: done.set())
    await asyncio.wait_for(done.wait(), 30)
    assert "a callback of the journal failed" in caplog.text
    journal.close()


async def test_a_failed_fsync_tells_all_who_wait(tmp_path: Path, gate: Gate) -> None:
    journal, _ = opened(tmp_path, fsync="always", files=gate.files)
    told: list[str] = []
    done = asyncio.Event()
    journal.when_durable(journal.append(*three(1)), told.append)
    journal.when_durable(journal.append(*three(2)), lambda error: (told.append(error), done.set()))
    gate.error = OSError(errno.EIO, "Input/output error")
    gate.let.release()
    await asyncio.wait_for(done.wait(), 30)
    assert len(told) == 2 and all("Input/output error" in error for error in told)
    with pytest.raises(JournalError):
        journal.append(*three(3))
    journal.close()


async def test_everysec_promises_at_once_and_syncs_later(tmp_path: Path, gate: Gate) -> None:
    journal, _ = opened(tmp_path, fsync="everysec", files=gate.files)
    told: list[str] = []
    journal.when_durable(journal.append(*three(1)), told.append)
    assert told == [""] and journal.durable_frame == 0
    assert journal._timer is not None
    journal._timer.cancel()
    journal._on_timer()  # a second later
    await gate.wait_entered()
    journal.append(*three(2))  # while fsync runs: the next second's
    gate.let.release()
    while journal.syncs == 0:
        await asyncio.sleep(0)
    assert journal.durable_frame == 1 and journal._timer is not None and journal.last_fsync > 0
    journal.close()
    assert journal.durable_frame == 2
    assert len(opened_and_closed(tmp_path)) == 2


async def test_what_no_has_left_is_synced_when_the_policy_changes(tmp_path: Path, gate: Gate) -> None:
    journal, _ = opened(tmp_path, fsync="no", files=gate.files)
    journal.append(*three(1))
    assert journal.fsync_lag_ms == 0, "nobody waits"
    journal._dirty_since -= 60
    journal.change_fsync("everysec")
    assert journal.fsync_lag_ms < 10_000, "it counts from now"
    await gate.wait_entered()
    gate.let.release()
    while not journal.syncs:
        await asyncio.sleep(0)
    assert journal.durable_frame == 1
    journal.close()


async def test_close_waits_for_the_fsync_under_way(tmp_path: Path, gate: Gate) -> None:
    journal, _ = opened(tmp_path, fsync="always", files=gate.files)
    told: list[str] = []
    journal.when_durable(journal.append(*three(1)), told.append)
    await gate.wait_entered()
    journal.when_durable(journal.append(*three(2)), told.append)
    gate.let.release(2)  # the one under way, and the next that its end begins
    journal.close()
    assert told == ["", ""]
    assert len(opened_and_closed(tmp_path)) == 2


async def test_a_segment_ends_beside_the_loop(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path, fsync="no", segment_bytes=1000)
    async with asyncio.timeout(60):
        while journal.segment_count < 4:
            journal.append(*three(9))
            await asyncio.sleep(0)
    last = journal.last_frame
    journal.close()
    assert [f[0] for f in opened_and_closed(tmp_path)] == list(range(1, last + 1))


# --- behind a snapshot -----------------------------------------------------------------------------------------


def test_reading_begins_behind_the_snapshot(tmp_path: Path) -> None:
    """Segments below are not even opened: they may be damaged."""
    written(tmp_path, SMALL, segment_bytes=4096)
    journal, _ = opened(tmp_path)
    journal.rotate()
    journal.append(*three(5))
    journal.close()
    (tmp_path / SEGMENT_1).write_bytes(b"spoilt")
    journal = Journal.open(tmp_path, fsync="no")
    assert [frame.number for frame in journal.replay(5)] == [5]
    assert journal.append(*three(6)) == 6
    journal.close()


def test_a_journal_that_ends_before_the_snapshot(tmp_path: Path) -> None:
    written(tmp_path, SMALL)
    journal = Journal.open(tmp_path, fsync="no")
    with pytest.raises(JournalError, match="ends with frame 4, the snapshot is of frame 6"):
        list(journal.replay(7))
    journal.close()
    journal = Journal.open(tmp_path, fsync="no", repair=True)
    id = journal.journal_id
    assert list(journal.replay(7)) == [] and journal.append(*three(7)) == 7
    journal.close()
    assert journal.journal_id == id and len(list(tmp_path.glob("*.bad"))) == 1
    journal = Journal.open(tmp_path, fsync="no")
    assert [frame.number for frame in journal.replay(7)] == [7]
    journal.close()


def test_a_directory_that_lost_its_journal_goes_on(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, fsync="no", journal_id="abcdefgh", first=43)
    assert list(journal.replay(43)) == [] and journal.append(*three(1)) == 43
    journal.close()
    journal = Journal.open(tmp_path, fsync="no", journal_id="ignored!", first=1)
    assert journal.journal_id == "abcdefgh" and [frame.number for frame in journal.replay()] == [43]
    journal.close()


def test_pruning_keeps_what_is_young_and_small_enough(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    for n in range(1, 6):
        journal.append(*three(n))
        journal.rotate()
    paths = sorted(tmp_path.glob("*.log"))
    for n, path in enumerate(paths):
        os.utime(path, (1000 + n, 1000 + n))
    size = paths[3].stat().st_size + paths[4].stat().st_size
    assert journal.prune(4, 0, 1 << 30) == 0  # all may stay
    assert journal.prune(4, 1001, 1 << 30) == 1  # the first is too old; from frame 4 on nothing may go
    assert journal.first_frame == 2
    assert journal.bytes_from(4) == size + paths[5].stat().st_size
    assert journal.prune(6, 0, size) == 2  # two fit
    assert journal.first_frame == 4
    assert journal.prune(6, 0, -1) == 2
    assert [frame.number for frame in journal.replay()] == [] and journal.size == journal.bytes_from(0)
    journal.close()


def test_reading_goes_on_where_segments_were_dropped_meanwhile(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    for n in range(1, 6):
        journal.append(*three(n))
        journal.rotate()
    reading = journal.replay()
    assert next(reading).number == 1
    journal.drop_before(5)
    assert [frame.number for frame in reading] == [5]
    journal.close()


async def test_when_synced_does_not_wait_for_the_policy(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    done = asyncio.Event()
    journal.when_synced(journal.append(*three(1)), lambda error: done.set() if not error else None)
    await asyncio.wait_for(done.wait(), 10)
    assert journal.durable_frame == 1
    journal.close()
