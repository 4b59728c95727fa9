"""Segments against crashes: every cut, every damaged byte, what a power cut leaves, and what repair keeps."""

import errno
import os
import random
import shutil
import struct
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from journal_world import SEGMENT_1, SMALL, opened, opened_and_closed, three, written
from power import PowerDisk

from ferrite_hooks.store.frames import SEGMENT_HEADER
from ferrite_hooks.store.journal import Journal, JournalDamaged, JournalError, JournalTooNew


def ends_of_frames(directory: Path, contents: list[Any]) -> list[int]:
    journal, _ = opened(directory)
    ends = [journal.size for content in contents if journal.append(*content)]
    journal.close()
    return ends


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


def test_any_truncation_or_damage_of_several_segments_gives_a_prefix_or_a_named_error(tmp_path: Path) -> None:
    """Larger frames, so that sectors come into it; what is read must always be what was written."""
    rng = random.Random(4)
    contents = [([[b"SET", b"k%d" % n, rng.randbytes(rng.choice((5, 700))) + bytes(300)]], [], []) for n in range(9)]
    frames = written(tmp_path / "whole", contents, segment_bytes=2000)
    paths = sorted((tmp_path / "whole").glob("*.log"))
    assert len(paths) > 2
    whole = {path.name: path.read_bytes() for path in paths}
    last = paths[-1].name
    cases: list[tuple[str, bytes, str]] = []
    for name, raw in whole.items():
        cases += [(name, raw[:size], f"{name} cut at {size}") for size in range(0, len(raw), 29)]
        for at in range(0, len(raw), 11):
            damaged = bytearray(raw)
            damaged[at] = rng.choice([byte for byte in (0, 0xFF, raw[at] ^ 1, rng.randrange(256)) if byte != raw[at]])
            cases.append((name, bytes(damaged), f"{name} damaged at {at}"))
    refused = 0
    directory = tmp_path / "case"
    for name, raw, what in cases:
        directory.mkdir()
        for other, content in whole.items():
            (directory / other).write_bytes(raw if other == name else content)
        try:
            got = opened_and_closed(directory)
            assert got == frames[: len(got)], what
            assert name == last or len(got) == len(frames), f"{what}: an end was cut that no crash has torn"
        except JournalError as error:
            refused += 1
            assert name in str(error) or name != last, f"{what}: {error}"
        shutil.rmtree(directory)
    assert len(cases) > refused > len(cases) / 2


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
    tracemalloc.start()
    try:
        journal, got = opened(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert got == []
    assert "its last 17 bytes were cut" in journal.report[0]
    journal.close()


# --- power cuts ---


def zeroed(file: Path, start: int, length: int) -> None:
    with open(file, "r+b") as target:
        target.seek(start)
        target.write(bytes(length))


def large(n: int) -> tuple[list[Any], list[Any], list[Any]]:
    return ([[b"SET", b"k", b"%d" % n * 900]], [], [])


@pytest.mark.parametrize(("start", "whole"), [(1024, 1), (2048, 2), (4608, 4)])
def test_a_page_that_was_lost_before_one_that_was_kept_ends_the_journal(tmp_path: Path, start: int, whole: int) -> None:
    frames = written(tmp_path, [large(n) for n in range(1, 10)])
    zeroed(tmp_path / SEGMENT_1, start, 512)
    journal, got = opened(tmp_path)
    assert got == frames[:whole] and "in the middle of an append" in journal.report[0]
    journal.append(*large(0))
    journal.close()
    assert len(opened_and_closed(tmp_path)) == whole + 1


def test_a_page_that_was_known_to_be_durable_is_damage(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    for n in range(1, 4):
        journal.append(*large(n))
    journal.sync()
    for n in range(4, 8):
        journal.append(*large(n))
    journal.close()
    file = tmp_path / SEGMENT_1
    whole = file.read_bytes()
    for start, damaged in ((1024, True), (1536, True), (3584, False)):
        zeroed(file, start, 512)
        if damaged:
            with pytest.raises(JournalDamaged, match="frame 2"):
                opened(tmp_path)
        else:
            assert len(opened_and_closed(tmp_path)) == 3
        file.write_bytes(whole)


def test_a_zero_sector_in_an_earlier_segment_is_damage(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    for n in range(1, 4):
        journal.append(*large(n))
    journal.rotate()
    journal.append(*large(4))
    journal.close()
    zeroed(tmp_path / SEGMENT_1, 1024, 512)
    with pytest.raises(JournalDamaged, match="frame 2"):
        opened(tmp_path)


@pytest.mark.parametrize("seed", range(60))
def test_a_power_cut_loses_nothing_that_was_durable(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    frames: list[Any] = []
    durable = snapshot = 0
    for life in range(4):
        root = tmp_path / str(life)
        root.mkdir(exist_ok=True)
        disk = PowerDisk(root, tmp_path / f"notes {life}")
        journal = Journal.open(root / "data", fsync="no", files=disk.files, segment_bytes=20_000)
        try:
            got = [tuple(frame) for frame in journal.replay(snapshot + 1)]
            assert len(got) + snapshot >= durable
            assert got == frames[snapshot : snapshot + len(got)]
            del frames[snapshot + len(got) :]
            for n in range(rng.randint(1, 40)):
                content = ([[b"SET", b"k%d" % n, rng.randbytes(rng.randint(0, 3000))]], [], [])
                frames.append((journal.append(*content), *content))
                if rng.random() < 0.2:
                    rng.choice((journal.sync, journal.rotate))()
                if rng.random() < 0.05:
                    snapshot = journal.durable_frame  # as if there were one: what is before it may go
                    journal.drop_before(snapshot + 1)
            durable = journal.durable_frame
            disk.leave(tmp_path / str(life + 1), rng)
        finally:
            journal.close()
            disk.close()


@pytest.mark.parametrize("seed", range(10))
def test_a_power_cut_while_damage_is_set_aside(tmp_path: Path, seed: int) -> None:
    """Whatever moment it hits, a second repair has everything: in the journal or in .bad files."""
    rng = random.Random(seed)
    root = tmp_path / "disk"
    frames = written(root / "data", [three(n) for n in range(12)], segment_bytes=200)
    paths = sorted((root / "data").glob("*.log"))
    raw = bytearray(paths[1].read_bytes())
    raw[-1] ^= 1
    paths[1].write_bytes(raw)
    disk = PowerDisk(root, tmp_path / "notes")
    total = sum(path.stat().st_size for path in paths)
    steps = rng.randint(1, 12)

    def counted(act: Any) -> Any:
        def call(*args: Any) -> Any:
            nonlocal steps
            steps -= 1
            if steps < 0:
                raise OSError(errno.EIO, "the power is gone")
            return act(*args)

        return call

    names = ("open", "write", "truncate", "sync", "sync_directory", "rename")
    files = replace(disk.files, **{name: counted(getattr(disk.files, name)) for name in names})
    with suppress(JournalError):
        opened_and_closed(root / "data", repair=True, files=files)
    disk.leave(tmp_path / "left", rng)
    disk.close()
    journal, got = opened(tmp_path / "left" / "data", repair=True)
    assert got == frames[: len(got)] and got
    journal.close()
    kept = [path for path in (tmp_path / "left" / "data").iterdir() if path.name.startswith("journal-")]
    assert sum(path.stat().st_size for path in kept) >= total
