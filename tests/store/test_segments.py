"""Segments against crashes: every cut, every damaged byte, what a power cut leaves, and what repair keeps."""

import errno
import os
import random
import struct
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from journal_world import SEGMENT_1, SMALL, Disk, opened, opened_and_closed, three, written

from ferrite_hooks.store.frames import SEGMENT_HEADER
from ferrite_hooks.store.journal import JournalDamaged, JournalError, JournalTooNew


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
    journal, got = opened(tmp_path)
    assert got == frames[: len(got)]
    assert len(got) >= durable
    journal.append(*three(1))
    journal.close()
    assert opened_and_closed(tmp_path) == [*got, (len(got) + 1, *three(1))]
