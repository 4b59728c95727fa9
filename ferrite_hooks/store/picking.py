"""Reading single frames of a journal that is being written, without reading what lies between them.

A frame is found by its segment's first number and the heads from there on. Places that were passed are remembered,
one in a quarter of a megabyte, so that the next look into the same segment begins near its goal. What is read was
appended whole before anybody asked for it, and segments only grow: no lock is needed beside the writer. One Picker
is for one thread at a time; it holds no file open between two calls.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from ferrite_hooks.store.frames import SEGMENT_HEADER, Damage, Picked, pick_frames, skip_to
from ferrite_hooks.store.segments import JournalDamaged, JournalError, Segments

PLACE_BYTES = 1 << 18  # between remembered places
_STRIDE = 256  # frames that are passed before it is looked whether a place is worth remembering


class Picker:
    """Reads chosen frames of `segments`."""

    def __init__(self, segments: Segments) -> None:
        self._segments = segments
        self._places: dict[Path, tuple[list[int], list[int]]] = {}  # frame numbers and their offsets, ascending

    def pick(self, numbers: Sequence[int]) -> Iterator[Picked]:
        """What the frames with these ascending numbers have. Raises JournalError when one is gone, JournalDamaged."""
        segments = self._segments.listed()
        firsts = [first for first, _ in segments]
        self._places = {path: self._places[path] for _, path in segments if path in self._places}
        at = 0
        while at < len(numbers):
            index = bisect_right(firsts, numbers[at]) - 1
            if index < 0:
                raise JournalError(f"frame {numbers[at]} is gone: the journal begins with frame {firsts[0]}")
            first, path = segments[index]
            beyond = firsts[index + 1] if index + 1 < len(firsts) else numbers[-1] + 1
            end = at
            while end < len(numbers) and numbers[end] < beyond:
                end += 1
            try:
                with open(path, "rb") as file:
                    yield from self._read(file, path, first, numbers[at:end])
            except Damage as damage:
                raise JournalDamaged(path, damage.offset, damage.what) from damage
            except OSError as error:
                raise JournalError(f"cannot read {path}: {error.strerror or error}") from error
            at = end

    def _read(self, file: BinaryIO, path: Path, first: int, numbers: Sequence[int]) -> Iterator[Picked]:
        known, offsets = self._places.setdefault(path, ([first], [SEGMENT_HEADER]))
        number = -1  # of the frame at the file's position
        for run, last in _runs(numbers):
            place = bisect_right(known, run) - 1
            if number < known[place]:
                number = known[place]
                file.seek(offsets[place])
            while number < run:
                step = min(run, number + _STRIDE)
                skip_to(file, number, step)
                number = step
                if number > known[-1] and file.tell() >= offsets[-1] + PLACE_BYTES:
                    known.append(number)
                    offsets.append(file.tell())
            for frame in pick_frames(file, run, last):
                number = frame.number + 1
                yield frame
            if number <= last:
                raise Damage(file.tell(), f"it ends before frame {number}")


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last of each series without gaps."""
    first = last = numbers[0]
    for number in numbers[1:]:
        if number > last + 1:
            yield first, last
            first = number
        last = number
    yield first, last
