"""Snapshots: all data, and what the webhooks have pending, as they were behind one frame of the journal.

A snapshot is an RDB file that any Redis from 7.0 on opens. What is ours stands in AUX fields, which Redis
skips: the journal's id, the frame that the snapshot is of, the position of the last event, the first frame of the
journal that a start needs beside the snapshot (for pending events that are only there), and the webhooks' notes
(compressed MessagePack; they hold definitions with their secrets, hence mode 0600). A file without these fields was
written by a Redis.

Writing has two steps, so that a forked child can do the first and only the server itself does the second:
`write` makes a temporary file, `publish` gives it its name.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ferrite_hooks.messagepack import pack, unpack
from ferrite_hooks.store.files import DISK, Files
from ferrite_hooks.store.packed import RdbError
from ferrite_hooks.store.rdb_read import Entry, RdbFile
from ferrite_hooks.store.rdb_write import Databases, write_new

_JOURNAL, _FRAME, _POSITION, _STATE = b"ferrite-journal", b"ferrite-frame", b"ferrite-position", b"ferrite-state"
_NEEDS = b"ferrite-needs"

State = tuple[Sequence[Any], Sequence[Any]]  # changes that nobody has accepted yet, and notes


class SnapshotDamaged(Exception):
    """The file cannot be used; the text says which, where it is damaged and what to do."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where in the story a snapshot was taken."""

    journal_id: str
    frame: int  # the last one that it covers
    position: int  # of the last event that was handed out
    needs: int = 0  # the first journal frame that has a pending event which the snapshot has not, 0 = none


def temporary(path: Path, pid: int) -> Path:
    """The file that process `pid` writes before it becomes `path`."""
    return path.with_name(f"{path.name}.{pid}.tmp")


def write(
    target: Path, mark: Mark, databases: Databases, state: State, functions: Iterable[bytes] = (), files: Files = DISK
) -> int:
    """Writes a whole snapshot to a temporary file, durably. Returns its size. Raises OSError."""
    aux = {
        _JOURNAL: mark.journal_id.encode(),
        _FRAME: b"%d" % mark.frame,
        _POSITION: b"%d" % mark.position,
        _NEEDS: b"%d" % mark.needs,
        _STATE: zlib.compress(pack(state), 1),
    }
    return write_new(target, databases, aux, functions, files)


def publish(target: Path, path: Path, files: Files = DISK) -> None:
    """Makes a temporary file the snapshot. Raises OSError."""
    files.rename(target, path)
    files.sync_directory(path.parent)


def tidy(path: Path, files: Files = DISK) -> None:
    """Removes temporary files that crashed savers of `path` have left. Raises OSError."""
    for left in path.parent.glob(f"{path.name}.*.tmp"):
        files.remove(left)


class SnapshotFile:
    """An open snapshot whose checksum is right.

        with SnapshotFile(path) as snapshot:
            for entry in snapshot.entries(): ...

    `mark` is None for a file of a Redis; `writer` says which program has written it.
    """

    def __init__(self, path: Path) -> None:
        """Raises FileNotFoundError, OSError, SnapshotDamaged."""
        self.path = path
        try:
            self._rdb = RdbFile(path)
        except RdbError as error:
            raise _damaged(path, error) from None
        aux = self._rdb.aux
        self.mark: Mark | None = None
        self.writer = "Redis " + aux.get(b"redis-ver", b"of unknown version").decode("utf-8", "replace")
        if b"valkey-ver" in aux:
            self.writer = "Valkey " + aux[b"valkey-ver"].decode("utf-8", "replace")
        if _STATE in aux:
            try:
                self.mark = Mark(
                    aux[_JOURNAL].decode(), int(aux[_FRAME]), int(aux[_POSITION]), int(aux.get(_NEEDS, 0))
                )
            except (KeyError, ValueError) as error:
                self.close()
                raise SnapshotDamaged(f"{path}: its ferrite fields make no sense ({error!r})") from error
            self.writer = "this journal's server"

    def state(self) -> State:
        """What the webhooks had: changes and notes. Raises SnapshotDamaged."""
        raw = self._rdb.aux.get(_STATE)
        if raw is None:
            return (), ()
        try:
            changes, notes = unpack(zlib.decompress(raw))
        except (zlib.error, ValueError, TypeError) as error:
            raise SnapshotDamaged(f"{self.path}: the webhooks' state in it cannot be read ({error})") from error
        return changes, notes

    def entries(self) -> Iterator[Entry]:
        """The keys, those past their time included. Raises SnapshotDamaged."""
        try:
            yield from self._rdb.entries()
        except RdbError as error:
            raise _damaged(self.path, error) from None

    @property
    def bytes_read(self) -> int:
        return self._rdb.position

    @property
    def functions(self) -> list[bytes]:
        """Sources of function libraries; complete when the entries have been read."""
        return self._rdb.functions

    def close(self) -> None:
        self._rdb.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, t: TracebackType | None) -> None:
        self.close()


def _damaged(path: Path, error: RdbError) -> SnapshotDamaged:
    """What is wrong, and at which byte reading goes wrong when the checksum alone does not tell."""
    text = str(error)
    if "at byte" not in text:
        with suppress(OSError):
            try:
                with RdbFile(path, verify=False) as rdb:
                    for _ in rdb.entries():
                        pass
                    if rdb.position + 8 < path.stat().st_size:
                        text += f"; at byte {rdb.position - 1}: an end mark stands before the end"
            except RdbError as place:
                if str(place) != text:
                    text = f"{text}; {str(place).removeprefix(f'{path}: ')}"
    return SnapshotDamaged(
        f"{text}. Restore the file from a backup; `ferrite-hooks check` shows what the directory still has"
    )
