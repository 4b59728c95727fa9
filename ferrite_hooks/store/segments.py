"""The journal's directory: which segments there are, reading them in order, cutting, setting aside, removing.

A segment gets its name when its header is durable, and its successor is only made when it is durable
itself. So only the last segment can have an end torn by a crash, and that is cut; whatever else does not
check is damage, and nothing is changed unless the operator allows it (`repair`). Nothing here appends.
"""

import base64
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ferrite_hooks.store.files import Files, copy_file, write_all
from ferrite_hooks.store.frames import (
    SEGMENT_HEADER,
    VERSION,
    Damage,
    Frame,
    NewerFormat,
    SegmentHeader,
    encode_segment_header,
    read_frames,
    read_segment_header,
)

_NAME = re.compile(r"journal-(\d{16})\.log")


class JournalError(Exception):
    """The journal cannot do what was asked; the text is for the operator."""


class JournalDamaged(JournalError):
    """Bytes that no crash explains; nothing has been changed."""

    def __init__(self, file: Path, offset: int, what: str, torn: bool = False) -> None:
        super().__init__(
            f"{file} is damaged at byte {offset}: {what}. Restore it from a backup, or start once with"
            " journal.repair = true: everything before that place is kept, the rest is set aside as .bad"
        )
        self.file = file
        self.offset = offset
        self.what = what
        self.torn = torn  # a crash may have left it so, at the journal's very end: a start cuts it


class JournalTooNew(JournalError):
    """Written by a newer version of this program, in a format that we do not know."""


def segment_paths(directory: Path) -> list[Path]:
    """The journal's files, oldest first. Raises OSError."""
    return sorted(path for path in directory.iterdir() if _NAME.fullmatch(path.name))


class _Segment(NamedTuple):
    first: int
    path: Path


class Segments:
    """What the directory holds."""

    def __init__(self, directory: Path, files: Files, looking: bool = False) -> None:
        """`looking`: another process may be at work here, nothing is touched. Raises OSError."""
        self.directory = directory
        self.files = files
        self.journal_id = ""  # "" until a header was read or made
        self.end = 0  # the frame after the last one that was read
        self._bytes_read = 0  # of segments read to their end
        self._reading: BinaryIO | None = None
        self.report: list[str] = []
        if not looking:
            for path in directory.glob("journal-*.tmp"):
                files.remove(path)  # never became part of the journal
        paths = segment_paths(directory)
        self._list = [_Segment(int(path.name[8:24]), path) for path in paths]

    def __len__(self) -> int:
        return len(self._list)

    @property
    def first_frame(self) -> int:
        return self._list[0].first

    @property
    def last_path(self) -> Path:
        return self._list[-1].path

    def listed(self) -> list[tuple[int, Path]]:
        """Each file with the number of its first frame, oldest first. From any thread."""
        return [(segment.first, segment.path) for segment in tuple(self._list)]

    @property
    def bytes_read(self) -> int:
        """How far the first reading, which goes to the end, has come."""
        file = self._reading
        return self._bytes_read + (file.tell() if file is not None and not file.closed else 0)

    def bytes_on_disk(self) -> int:
        return sum(segment.path.stat().st_size for segment in self._list)

    def bytes_from(self, frame: int) -> int:
        """Bytes of the segments that are not wholly below `frame`. Raises OSError."""
        below = sum(following.first <= frame for following in self._list[1:])
        return sum(segment.path.stat().st_size for segment in self._list[below:])

    def first_to_keep(self, frame: int, since: float, most: int) -> int:
        """What to drop before, so that of the segments wholly below `frame` the newest remain that were written to
        after `since` (unix seconds) and have no more than `most` bytes together. Raises OSError."""
        keep, room = frame, most
        below = [(segment, following) for segment, following in pairwise(self._list) if following.first <= frame]
        for segment, _ in reversed(below):
            status = segment.path.stat()
            room -= status.st_size
            if room < 0 or status.st_mtime < since:
                break
            keep = segment.first
        return keep

    def identify(self) -> None:
        """Learns the journal's id from the first segment, if its header is good."""
        with suppress(Damage, NewerFormat, OSError), open(self._list[0].path, "rb") as file:
            self.journal_id = read_segment_header(file).journal_id

    def read(self, start: int, until: int | None, repair: bool = False) -> Iterator[Frame]:
        """Frames `start` to `until`. Without `until`: to the end, and then it cuts a torn end and may repair.

        Raises JournalDamaged, JournalTooNew, JournalError.
        """
        segments = tuple(self._list)
        number = self.end = segments[0].first
        for segment, following in zip_longest(segments, segments[1:]):
            if following and following.first <= start:
                number = self.end = following.first
                continue
            if until is not None and until < number:
                return
            try:
                with open(segment.path, "rb") as file:
                    self._check_header(file, segment, number)
                    self._reading = file if until is None else None
                    for frame in read_frames(file, number, until):
                        number = self.end = frame.number + 1
                        if frame.number >= start:
                            yield frame
                    if until is None:
                        self._bytes_read += file.tell()
                        self._reading = None
            except Damage as e:
                torn = e.torn and following is None
                if until is not None or not (torn or repair):
                    raise JournalDamaged(segment.path, e.offset, e.what, torn) from e
                self._mend(segment, e, torn)
                return
            except NewerFormat as e:
                raise JournalTooNew(
                    f"{segment.path} has format {e.version}, this version reads up to {VERSION}:"
                    " start the newer version that wrote it"
                ) from e
            except FileNotFoundError as e:
                if segment in self._list or following is None:
                    raise JournalError(f"cannot read {segment.path}: {e}") from e
                number = self.end = following.first  # dropped since this reading began
            except OSError as e:
                raise JournalError(f"cannot read {segment.path}: {e}") from e

    def _check_header(self, file: BinaryIO, segment: _Segment, number: int) -> None:
        header = read_segment_header(file)
        if header.first != segment.first:
            raise Damage(0, f"its header says that it begins with frame {header.first}")
        if header.first != number:
            raise Damage(0, f"frames {number} to {header.first - 1} should stand before it")
        if self.journal_id not in ("", header.journal_id):
            raise Damage(0, "it belongs to another journal")
        self.journal_id = header.journal_id

    # --- mending ---

    def _mend(self, segment: _Segment, damage: Damage, torn: bool) -> None:
        name = segment.path.name
        try:
            if torn:
                lost = segment.path.stat().st_size - damage.offset
                self._cut(segment.path, damage.offset)
                self.report.append(
                    f"{name} ended in the middle of an append ({damage.what}): its last {lost} bytes were cut"
                )
                return
            count = self._set_aside(segment, damage.offset)
        except OSError as e:
            raise JournalError(f"cannot repair {segment.path}: {e}") from e
        self.report.append(
            f"{name} was damaged at byte {damage.offset} ({damage.what}):"
            f" it and what followed were set aside in {count} .bad file{'s'[: count != 1]}"
        )

    def _set_aside(self, segment: _Segment, offset: int) -> int:
        """Moves the bytes from `offset` on and all later segments to .bad files. Returns how many."""
        first = self._list.index(segment)
        if offset >= SEGMENT_HEADER:  # frames before the damage are whole: they stay
            copy_file(self.files, segment.path, _bad_name(segment.path), offset)
            self.files.sync_directory(self.directory)  # before the only other copy goes
            self._cut(segment.path, offset)
            first += 1
        later = self._list[first:]
        for lost in later:
            self.files.rename(lost.path, _bad_name(lost.path))
        self.files.sync_directory(self.directory)
        del self._list[first:]
        return len(later) + (offset >= SEGMENT_HEADER)

    def set_all_aside(self) -> None:
        """Makes room for a journal that begins elsewhere. Raises OSError."""
        for segment in self._list:
            self.files.rename(segment.path, _bad_name(segment.path))
        self.files.sync_directory(self.directory)
        self.report.append(f"the journal ended before the snapshot: its {len(self._list)} files are .bad files now")
        self._list.clear()

    def _cut(self, path: Path, size: int) -> None:
        if os.stat(path).st_nlink > 1:  # it is a backup's, too, whose copy stays as it is
            own = path.with_suffix(".tmp")
            copy_file(self.files, path, own)
            self.files.rename(own, path)
            self.files.sync_directory(self.directory)
        fd = self.files.open(path, os.O_WRONLY)
        try:
            self.files.truncate(fd, size)
            self.files.sync(fd)
        finally:
            self.files.close(fd)

    # --- making and removing ---

    def create(self, first: int) -> int:
        """Makes the segment that begins with frame `first`, durably, and the journal's id when it has none.

        Returns a descriptor to append with. Raises OSError, then nothing has changed.
        """
        self.journal_id = self.journal_id or base64.b32encode(os.urandom(5)).decode().lower()
        path = self.directory / f"journal-{first:016}.log"
        temporary = path.with_suffix(".tmp")
        fd = self.files.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        try:
            write_all(self.files, fd, encode_segment_header(SegmentHeader(self.journal_id, first)))
            self.files.sync(fd)
            self.files.rename(temporary, path)
            self.files.sync_directory(self.directory)
        except BaseException:
            self.files.close(fd)
            for made in (temporary, path):
                with suppress(OSError):
                    self.files.remove(made)
            raise
        self._list.append(_Segment(first, path))
        return fd

    def drop_before(self, frame: int) -> tuple[int, int]:
        """Removes segments that hold only frames below `frame`, oldest first, never the last one.

        Returns how many and how many bytes. Raises OSError.
        """
        count = size = 0
        while len(self._list) > 1 and self._list[1].first <= frame:
            size += self._list[0].path.stat().st_size
            self.files.remove(self._list[0].path)
            del self._list[0]
            count += 1
        if count:
            self.files.sync_directory(self.directory)
        return count, size


def _bad_name(path: Path) -> Path:
    """A name for what is set aside that no earlier repair has used."""
    candidate = path.with_suffix(".bad")
    n = 1
    while candidate.exists():
        n += 1
        candidate = path.with_suffix(f".bad{n}")
    return candidate
