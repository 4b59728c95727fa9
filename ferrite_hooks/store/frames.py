"""The journal's bytes: segment header and frames, and how a torn end differs from damage.

    segment  = "FERRITEJ" · version u32 · journal id (8 letters) · first frame number u64 · crc32 of these
    frame    = payload length u32 · head check u32 · crc32 of the payload · payload (MessagePack)

All little-endian. The head check covers the length and the frame's number, so that a wrong length is known as
such before it is believed: an intact head whose payload is missing was cut off by a crash, a head that does
not check is damage.

A power cut can also leave zeros where data should be: from a sector boundary to the end of the file, or, for
pages reach the disk in any order, in sectors before others that were kept. Both count as cut off, unless
the bytes are known to have been on the disk: frames have a note of how far the journal was durable when they were
written, and if one behind the zeros says that they were, then this is damage as well. Reading never allocates
more than the file still holds.
"""

import mmap
import os
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from msgspec import Raw
from zlib_ng.zlib_ng import crc32  # zlib's, in a tenth of its time

from ferrite_hooks.messagepack import pack, unpack, unpacker

MAGIC = b"FERRITEJ"
VERSION = 1
SECTOR = 512
MAX_PAYLOAD = 0xFFFF_FFFF
SYNCED = "synced"  # the note ["synced", n], the last of a frame: frames up to number n were durable before it

_SEGMENT = struct.Struct("<8sI8sQI")
_FRAME = struct.Struct("<III")
_HEAD_CHECK = struct.Struct("<QI")
SEGMENT_HEADER = _SEGMENT.size
FRAME_HEADER = _FRAME.size


class Frame(NamedTuple):
    """One append. What went in as tuples comes back as lists; bytes and str stay what they were."""

    number: int
    commands: list[list[bytes]]
    changes: list[list[Any]]
    notes: list[list[Any]]


class Picked(NamedTuple):
    """The changes of one frame, still packed: a list."""

    number: int
    changes: bytes


class SegmentHeader(NamedTuple):
    journal_id: str
    first: int  # number of the segment's first frame


class Damage(Exception):
    """What is wrong at `offset`; `torn` when a crash explains it and the bytes from there on can go."""

    def __init__(self, offset: int, what: str, torn: bool = False) -> None:
        super().__init__(what)
        self.offset = offset
        self.what = what
        self.torn = torn


class NewerFormat(Exception):
    """The segment's format version is beyond ours; `version` is what it says."""

    def __init__(self, version: int) -> None:
        super().__init__(version)
        self.version = version


_split = unpacker(tuple[Raw, Raw, Raw])


def encode_frame(number: int, commands: Any, changes: Any, notes: Any) -> tuple[bytes, bytes]:
    """One frame's head and payload. Raises ValueError beyond 4 GiB or 64-bit integers, TypeError for no plain value."""
    try:
        payload = pack((commands, changes, notes))
    except OverflowError as e:
        raise ValueError(str(e)) from e
    length = len(payload)
    if length > MAX_PAYLOAD:
        raise ValueError(f"a frame of {length} bytes is too large")
    return _FRAME.pack(length, crc32(_HEAD_CHECK.pack(number, length)), crc32(payload)), payload


def encode_segment_header(header: SegmentHeader) -> bytes:
    body = _SEGMENT.pack(MAGIC, VERSION, header.journal_id.encode(), header.first, 0)[:-4]
    return body + crc32(body).to_bytes(4, "little")


def read_segment_header(file: BinaryIO) -> SegmentHeader:
    """Reads from the file's start. Raises Damage, NewerFormat."""
    raw = file.read(SEGMENT_HEADER)
    if raw[:8] != MAGIC:
        raise Damage(0, "it does not begin as a journal segment does")
    if len(raw) < SEGMENT_HEADER:
        raise Damage(len(raw), "its header is cut short")
    _, version, journal_id, first, check = _SEGMENT.unpack(raw)
    if version > VERSION:
        raise NewerFormat(version)
    if crc32(raw[:-4]) != check:
        raise Damage(0, "its header's checksum is wrong")
    return SegmentHeader(journal_id.decode(), first)


def read_frames(file: BinaryIO, number: int, until: int | None = None) -> Iterator[Frame]:
    """Frames from the current position on; `number` is the first one's.

    Stops after frame `until` when it is given, else at the end of the file. Raises Damage.
    """
    for found in _payloads(file, number, until):
        yield _decode(*found)


def pick_frames(file: BinaryIO, number: int, until: int) -> Iterator[Picked]:
    """As `read_frames`, for who wants the changes only."""
    for at, payload, offset in _payloads(file, number, until):
        try:
            _, changes, _ = _split(payload)
        except ValueError as e:
            raise _unreadable(at, offset, e) from e
        yield Picked(at, bytes(changes))


def _payloads(file: BinaryIO, number: int, until: int | None) -> Iterator[tuple[int, bytes, int]]:
    """Numbers, payloads and offsets."""
    size = os.fstat(file.fileno()).st_size
    offset = file.tell()
    while (until is None or number <= until) and offset < size:
        head = file.read(FRAME_HEADER)
        if len(head) < FRAME_HEADER:
            raise Damage(offset, "a frame's head is cut short", torn=True)
        length, head_check, payload_check = _FRAME.unpack(head)
        if crc32(_HEAD_CHECK.pack(number, length)) != head_check:
            torn = _lost_to_a_power_cut(file, number, offset, offset + FRAME_HEADER, size)
            raise Damage(offset, f"the head of frame {number} does not check", torn)
        end = offset + FRAME_HEADER + length
        if end > size:
            raise Damage(offset, f"frame {number} is cut short", torn=True)
        payload = file.read(length)
        if crc32(payload) != payload_check:
            torn = _lost_to_a_power_cut(file, number, offset, end, size)
            raise Damage(offset, f"the checksum of frame {number} is wrong", torn)
        yield number, payload, offset
        number += 1
        offset = end


def skip_to(file: BinaryIO, number: int, wanted: int) -> None:
    """Goes from frame `number` at the current position to frame `wanted` behind it, by the heads alone.

    Raises Damage, also when the file ends before.
    """
    offset = file.tell()
    while number < wanted:
        head = file.read(FRAME_HEADER)
        if len(head) < FRAME_HEADER:
            raise Damage(offset, f"it ends before frame {wanted}")
        length, head_check, _ = _FRAME.unpack(head)
        if crc32(_HEAD_CHECK.pack(number, length)) != head_check:
            raise Damage(offset, f"the head of frame {number} does not check")
        file.seek(length, os.SEEK_CUR)
        offset += FRAME_HEADER + length
        number += 1


def _decode(number: int, payload: bytes, offset: int) -> Frame:
    try:
        commands, changes, notes = unpack(payload)
    except (ValueError, TypeError) as e:
        raise _unreadable(number, offset, e) from e
    if notes and notes[-1][:1] == [SYNCED]:
        del notes[-1]
    return Frame(number, commands, changes, notes)


def _unreadable(number: int, offset: int, error: Exception) -> Damage:
    return Damage(offset, f"frame {number} has the right checksum but cannot be read ({error})")


def _lost_to_a_power_cut(file: BinaryIO, number: int, start: int, end: int, size: int) -> bool:
    """Whether zeros stand in frame `number` (from `start` to `end`) as a power cut leaves them, and nothing behind
    them knows better."""
    with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as data:
        if not _zeros_to_the_end(data, start, end) and not _has_zero_sector(data, start, end):
            return False
        return not _was_durable(data, number, start)


def _zeros_to_the_end(data: mmap.mmap, start: int, end: int) -> bool:
    """From a sector boundary (or `start` itself) below `end` on."""
    position = len(data)
    while position > start:
        chunk_start = max(start, position - 65536)
        used = len(data[chunk_start:position].rstrip(b"\0"))
        if used:
            position = chunk_start + used
            break
        position = chunk_start
    if position == start:
        return True
    return -(-position // SECTOR) * SECTOR < end


def _has_zero_sector(data: mmap.mmap, start: int, end: int) -> bool:
    """Whether a sector of the file is zero, of the first one what begins at `start`."""
    while start < end:
        stop = min((start // SECTOR + 1) * SECTOR, len(data))
        if not any(data[start:stop]):
            return True
        start = stop
    return False


def _was_durable(data: mmap.mmap, number: int, start: int) -> bool:
    """Whether a note behind `start` says that frame `number` was on the disk."""
    most = number + (len(data) - start) // FRAME_HEADER  # more frames than that cannot follow
    at = start
    while (at := data.find(_SYNCED_NOTE, at)) >= 0:
        at += len(_SYNCED_NOTE)
        width = _INTEGER_WIDTH.get(data[at : at + 1], 0)
        if number <= int.from_bytes(data[at + (width > 0) : at + max(width + 1, 1)], "big") < most:
            return True
    return False


_SYNCED_NOTE = pack([SYNCED, 0])[:-1]
_INTEGER_WIDTH = {b"\xcc": 1, b"\xcd": 2, b"\xce": 4, b"\xcf": 8}  # of MessagePack; smaller ones stand for themselves
