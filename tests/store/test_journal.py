"""The journal against crashes: every cut, every damaged byte, a disk that fails in each of its ways."""

import asyncio
import errno
import os
import random
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrite_hooks.store.files import DISK, Files
from ferrite_hooks.store.frames import SEGMENT_HEADER
from ferrite_hooks.store.journal import (
    DirectoryLocked,
    Journal,
    JournalDamaged,
    JournalError,
    JournalTooNew,
)

SEGMENT_1 = "journal-0000000000000001.log"


def opened(directory: Path, **options: Any) -> tuple[Journal, list[Any]]:
    """A journal that takes appends, and what it had: (number, commands, changes, notes) of each frame."""
    journal = Journal.open(directory, **{"fsync": "no", **options})
    try:
        return journal, [tuple(frame) for frame in journal.replay()]
    except BaseException:
        journal.close()
        raise


def written(directory: Path, appends: list[Any], **options: Any) -> list[Any]:
    """Fills a new journal. Returns its frames as `opened` gives them."""
    journal, frames = opened(directory, **options)
    for n, content in enumerate(appends, 1):
        assert journal.append(*content) == n
        frames.append((n, *content))
    journal.close()
    return frames


def three(n: int) -> tuple[list[Any], list[Any], list[Any]]:
    return (
        [[b"SET", b"key:%d" % n, b"v" * n]],
        [[n, "set", b"key", None, ["hash", [b"f", 1.5]]]],
        [["ack", n, [1]]],
    )


SMALL = [three(n) for n in range(1, 5)]


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


def opened_and_closed(directory: Path, **options: Any) -> list[Any]:
    journal, frames = opened(directory, **options)
    journal.close()
    return frames


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


# --- crashes and damage ---


def test_every_truncation_gives_the_whole_frames_before_it(tmp_path: Path) -> None:
    frames = written(tmp_path / "whole", SMALL)
    whole = (tmp_path / "whole" / SEGMENT_1).read_bytes()
    ends = ends_of_frames(tmp_path / "ends", SMALL)
    assert ends[-1] == len(whole)
    for size in range(len(whole)):
        directory = tmp_path / str(size)
        directory.mkdir()
        (directory / SEGMENT_1).write_bytes(whole[:size])
        if size < SEGMENT_HEADER:
            with pytest.raises(JournalDamaged) as caught:
                opened(directory)
            assert caught.value.file.name == SEGMENT_1
            continue
        expected = frames[: sum(end <= size for end in ends)]
        journal, got = opened(directory)
        assert got == expected
        assert len(journal.report) == (size not in (SEGMENT_HEADER, *ends))
        assert journal.append([], [], []) == len(expected) + 1
        journal.close()
        assert opened_and_closed(directory) == [*expected, (len(expected) + 1, [], [], [])]


def ends_of_frames(directory: Path, contents: list[Any]) -> list[int]:
    journal, _ = opened(directory)
    ends = [journal.size for content in contents if journal.append(*content)]
    journal.close()
    return ends


def test_every_damaged_byte_is_named_and_repair_keeps_what_is_before_it(tmp_path: Path) -> None:
    frames = written(tmp_path / "whole", SMALL)
    whole = (tmp_path / "whole" / SEGMENT_1).read_bytes()
    ends = ends_of_frames(tmp_path / "ends", SMALL)
    for offset in range(len(whole)):
        directory = tmp_path / str(offset)
        directory.mkdir()
        file = directory / SEGMENT_1
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << offset % 8
        file.write_bytes(damaged)
        if SEGMENT_HEADER > offset >= 8 and int.from_bytes(damaged[8:12], "little") > 1:
            with pytest.raises(JournalTooNew, match="format"):
                opened(directory)
            continue
        with pytest.raises(JournalDamaged) as caught:
            opened(directory)
        begin = max((end for end in (SEGMENT_HEADER, *ends) if end <= offset), default=0)
        assert (caught.value.file, caught.value.offset) == (file, begin)
        assert file.read_bytes() == damaged, "a refusal changes nothing"
        expected = frames[: sum(end <= offset for end in ends)]
        journal, got = opened(directory, repair=True)
        assert got == expected
        assert "was damaged at byte" in journal.report[0]
        assert (directory / SEGMENT_1).with_suffix(".bad").read_bytes() == damaged[begin:]
        journal.append(*three(9))
        journal.close()
        assert opened_and_closed(directory) == [*expected, (len(expected) + 1, *three(9))]


def test_zeros_that_a_power_cut_left_are_cut(tmp_path: Path) -> None:
    contents = [([[b"SET", b"k", b"x" * 900]], [], [])] * 3
    frames = written(tmp_path, contents)
    file = tmp_path / SEGMENT_1
    whole = file.read_bytes()
    for keep, expected in ((2048, 2), (1024, 1), (1536, 1)):
        file.write_bytes(whole[:keep].ljust(len(whole) + 5000, b"\0"))
        journal, got = opened(tmp_path)
        assert got == frames[:expected]
        assert "in the middle of an append" in journal.report[0]
        journal.close()
    file.write_bytes(whole + bytes(100_000))
    assert opened_and_closed(tmp_path) == frames
    assert file.stat().st_size == len(whole)


def test_damage_followed_by_zeros_is_still_damage(tmp_path: Path) -> None:
    written(tmp_path, [([[b"SET", b"k", b"x" * 900]], [], [])] * 3)
    file = tmp_path / SEGMENT_1
    for offset in (SEGMENT_HEADER, 1000, 2000):  # a head, two payloads
        damaged = bytearray(file.read_bytes() + bytes(4096))
        damaged[offset] ^= 1
        other = tmp_path / str(offset)
        other.mkdir()
        (other / SEGMENT_1).write_bytes(damaged)
        with pytest.raises(JournalDamaged):
            opened(other)


def test_an_earlier_segment_may_not_be_torn_missing_or_foreign(tmp_path: Path) -> None:
    written(tmp_path, [three(n) for n in range(12)], segment_bytes=200)
    paths = sorted(tmp_path.glob("*.log"))
    assert len(paths) > 3
    middle = paths[1].read_bytes()
    paths[1].write_bytes(middle[:-1])
    with pytest.raises(JournalDamaged, match="cut short"):
        opened(tmp_path)
    paths[1].unlink()
    with pytest.raises(JournalDamaged, match="should stand before it"):
        opened(tmp_path)
    paths[1].write_bytes(paths[2].read_bytes())
    with pytest.raises(JournalDamaged, match="begins with frame"):
        opened(tmp_path)
    written(tmp_path / "other", [three(n) for n in range(12)], segment_bytes=200)
    paths[1].write_bytes((tmp_path / "other" / paths[1].name).read_bytes())
    with pytest.raises(JournalDamaged, match="another journal"):
        opened(tmp_path)
    paths[1].write_bytes(middle)
    assert len(opened_and_closed(tmp_path)) == 12


def test_repair_sets_later_segments_aside_and_never_overwrites_what_was(tmp_path: Path) -> None:
    frames = written(tmp_path, [three(n) for n in range(12)], segment_bytes=200)
    paths = sorted(tmp_path.glob("*.log"))
    for _ in range(2):
        with open(paths[1], "r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\xff")
        journal, got = opened(tmp_path, repair=True)
        assert got == frames[: len(got)]
        for n in range(len(got), 12):
            journal.append(*three(n))
        journal.close()
        frames = opened_and_closed(tmp_path)
    names = {p.name for p in tmp_path.glob("*.bad*")}
    assert {paths[1].with_suffix(".bad").name, paths[1].with_suffix(".bad2").name} <= names


def test_a_length_beyond_the_file_reserves_nothing(tmp_path: Path) -> None:
    """Through the front door: a frame head that checks and promises 4 GiB."""
    written(tmp_path, [])
    length = 0xFFFF_FFF0
    head = struct.pack("<III", length, crc32(struct.pack("<QI", 1, length)), 0)
    with open(tmp_path / SEGMENT_1, "ab") as file:
        file.write(head + b"short")
    journal, got = opened(tmp_path)
    assert got == []
    assert "its last 17 bytes were cut" in journal.report[0]
    journal.close()


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


class Disk:
    """DISK, whose functions can be told to fail, and which knows what a power cut would leave."""

    def __init__(self) -> None:
        self.fail: dict[str, Exception] = {}
        self.room = 1 << 60
        self.durable: dict[int, int] = {}  # inode -> bytes that are safe
        self.files = replace(DISK, **{name: self._wrapped(name) for name in Files.__dataclass_fields__})

    def _wrapped(self, name: str) -> Callable[..., Any]:
        real = getattr(DISK, name)

        def call(*args: Any) -> Any:
            if name in self.fail:
                raise self.fail[name]
            if name == "write":
                return self._write(*args)
            result = real(*args)
            if name == "sync":
                status = os.fstat(args[0])
                self.durable[status.st_ino] = status.st_size
            return result

        return call

    def _write(self, fd: int, data: bytes) -> int:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = DISK.write(fd, bytes(data[: self.room]))
        self.room -= count
        return count

    def power_cut(self, directory: Path, rng: random.Random) -> None:
        """What was not synced is lost in part: cut anywhere, or zeros from a sector on."""
        for path in directory.glob("*.log"):
            status = path.stat()
            keep = rng.randint(self.durable[status.st_ino], status.st_size)
            os.truncate(path, keep)
            if rng.random() < 0.5:
                sector = max(self.durable[status.st_ino], keep // 512 * 512)
                os.truncate(path, sector)
                os.truncate(path, status.st_size)


@pytest.mark.parametrize("seed", range(30))
def test_a_power_cut_loses_nothing_that_was_durable(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    disk = Disk()
    journal, frames = opened(tmp_path, files=disk.files, segment_bytes=2000)
    for n in range(rng.randint(1, 40)):
        content = ([[b"SET", b"k%d" % n, rng.randbytes(rng.randint(0, 300))]], [], [])
        frames.append((journal.append(*content), *content))
        if rng.random() < 0.2:
            rng.choice((journal.sync, journal.rotate))()
    durable = journal.durable_frame
    disk.fail["sync"] = OSError(errno.EIO, "gone")  # the process dies here: close may not make it durable
    with pytest.raises(JournalError) if durable < journal.last_frame else nullcontext():
        journal.close()
    disk.power_cut(tmp_path, rng)
    journal, got = opened(tmp_path, files=DISK)
    assert got == frames[: len(got)]
    assert len(got) >= durable
    journal.append(*three(1))
    journal.close()
    assert opened_and_closed(tmp_path) == [*got, (len(got) + 1, *three(1))]


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
    journal.append(*three(1))
    disk.fail["sync"] = OSError(errno.EIO, "Input/output error")
    journal.append(*three(2))
    disk.fail.clear()
    told: list[str] = []
    journal.when_durable(2, told.append)
    assert "Input/output error" in told[0]
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
