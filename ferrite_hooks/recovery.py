"""The way back after a restart: the snapshot first, then the journal's frames behind it.

The snapshot is trusted when it names this journal. One of another origin (a dump.rdb of a Redis, say) is taken
over when the journal has no data of its own, and otherwise moved aside: the journal wins. Whatever does not fit
together ends in a RecoveryError that says what is missing. Reading happens in small steps, so that a server
can answer PING meanwhile.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ferrite_hooks.config import Config
from ferrite_hooks.engine.command import find
from ferrite_hooks.engine.engine import Engine
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import ReplyError
from ferrite_hooks.store.files import DISK, Files
from ferrite_hooks.store.journal import Journal
from ferrite_hooks.store.segments import segment_paths
from ferrite_hooks.store.snapshot import Mark, SnapshotFile, tidy
from ferrite_hooks.values.encoding import settle

log = logging.getLogger("ferrite_hooks")

_KEYS_PER_STEP = 64

Told = Callable[[Any, Any, int], object]  # changes and notes, for the webhooks, and their frame (0: the snapshot)


class RecoveryError(Exception):
    """What is on the disk does not make a whole; the text says why and what to do."""


def snapshot_path(config: Config) -> Path:
    return Path(config.server.dir) / config.snapshot.file


def open_journal(config: Config, files: Files = DISK) -> Journal | None:
    """Locks the directory and opens its journal, unless it is switched off. A directory that has a snapshot of ours
    but no journal files goes on from the snapshot. Raises JournalError, RecoveryError, SnapshotDamaged, OSError."""
    settings, directory = config.journal, Path(config.server.dir)
    if not settings.enabled:
        return None
    mark = None
    if snapshot_path(config).exists() and not segment_paths(directory):
        with SnapshotFile(snapshot_path(config)) as snapshot:
            mark = snapshot.mark
        if mark is not None and mark.needs and not settings.repair:
            raise RecoveryError(_events_missing(snapshot_path(config), mark, mark.frame))
    journal = Journal.open(
        directory,
        fsync=settings.fsync,  # type: ignore[arg-type]  # the configuration has checked it
        segment_bytes=settings.segment_bytes,
        files=files,
        repair=settings.repair,
        journal_id=mark.journal_id if mark is not None else "",
        first=mark.frame + 1 if mark is not None else 1,
    )
    tidy(snapshot_path(config), files)
    return journal


class Recovery:
    """One reading. `steps` does the work; the attributes say what was found so far."""

    def __init__(
        self, engine: Engine, path: Path, journal: Journal | None, told: Told, files: Files = DISK
    ) -> None:
        self.engine = engine
        self.files = files
        self.path = path
        self.journal = journal
        self.mark: Mark | None = None  # of the snapshot that was loaded
        self.imported = ""  # the program whose snapshot was taken over
        self.frames = 0
        self.keys_loaded = 0
        self.position = 0  # of the last event that the snapshot knows of
        self.stopped_at = 0  # the position that the last run has ended with, 0 = it was killed
        self.started_at = time.time()
        self.total_bytes = 1
        self.first_frame = 0  # pending events before it are lost, and journal.repair says to go on
        self.report: list[str] = []
        self._told = told
        self._snapshot: SnapshotFile | None = None
        self._replayed: list[bytes] = []  # the first data command that the journal had

    @property
    def loaded_bytes(self) -> int:
        snapshot = self._snapshot.bytes_read if self._snapshot is not None else 0
        return min(snapshot + (self.journal.bytes_read if self.journal is not None else 0), self.total_bytes)

    @property
    def percentage(self) -> float:
        return self.loaded_bytes / self.total_bytes * 100

    @property
    def seconds_left(self) -> int:
        """By the pace so far."""
        done = self.loaded_bytes
        return int((time.time() - self.started_at) * (self.total_bytes - done) / done) if done else 1

    def open(self) -> None:
        """Looks for the snapshot and checks all of it: may take seconds, may run in a thread. Raises OSError,
        SnapshotDamaged."""
        try:
            self._snapshot = SnapshotFile(self.path)
        except FileNotFoundError:
            return

    def steps(self) -> Iterator[None]:
        """Loads everything, a little at each step. Raises RecoveryError, JournalError, SnapshotDamaged, OSError."""
        snapshot, journal = self._snapshot, self.journal
        start, outer = 1, self.engine.command
        try:
            if snapshot is not None and (journal is None or _belongs(snapshot, journal)):
                self.mark = snapshot.mark
                start = snapshot.mark.frame + 1 if snapshot.mark is not None else 1
                self._measure(start)
                yield from self._load(snapshot)
            else:
                self._measure(start)
            if journal is None:
                return
            self._check_whole(journal, start)
            yield from self._replay(journal, start)
            if self.mark is not None and 0 < self.mark.needs < journal.first_frame:
                self.first_frame = journal.first_frame
            if snapshot is not None and self.mark is None:
                yield from self._take_over(snapshot)
        finally:
            self.engine.command = outer
            if snapshot is not None:
                snapshot.close()

    def _measure(self, start: int) -> None:
        """How much there is to read. Raises OSError."""
        journal = self.journal.bytes_from(start) if self.journal is not None else 0
        snapshot = self.path.stat().st_size if self._snapshot is not None else 0
        self.total_bytes = max(1, journal + snapshot)

    def _check_whole(self, journal: Journal, start: int) -> None:
        if journal.first_frame > start:
            have = "there is none" if self._snapshot is None else f"{self.path.name} is not of this journal"
            if self.mark is not None:
                have = f"{self.path.name} ends with frame {start - 1}"
            raise RecoveryError(
                f"the journal in {self.path.parent} begins with frame {journal.first_frame} and needs the snapshot of"
                f" what was before, but {have}: restore the snapshot (snapshot.file names it) or the whole directory"
                " from a backup"
            )
        mark = self.mark
        if mark is not None and 0 < mark.needs < journal.first_frame and not journal.repairs:
            raise RecoveryError(_events_missing(self.path, mark, journal.first_frame - 1))

    def _load(self, snapshot: SnapshotFile) -> Iterator[None]:
        engine = self.engine
        databases, settings = engine.databases, engine.settings
        for index, key, value, expire_at in snapshot.entries():
            if index >= len(databases):
                raise RecoveryError(
                    f"{snapshot.path} has keys in database {index}, but server.databases is {len(databases)}:"
                    " start with more"
                )
            if type(value) is not bytes:
                settle(value, settings)
            db = databases[index]
            db.expires.pop(key, None)  # of a key that is there, when data are merged
            db.place(key, value, expire_at)
            self.keys_loaded += 1
            if self.keys_loaded % _KEYS_PER_STEP == 0:
                yield
        loader = self._loader()
        for source in snapshot.functions:
            self._run(loader, [b"FUNCTION", b"LOAD", b"REPLACE", source], snapshot.path)
        self._told(*snapshot.state(), 0)
        if snapshot.mark is not None:
            self.position = snapshot.mark.position

    def _replay(self, journal: Journal, start: int) -> Iterator[None]:
        loader = self._loader()
        for frame in journal.replay(start):
            loader.db = self.engine.databases[0]
            for argv in frame.commands:
                self._run(loader, argv, frame.number)
            if frame.commands and not self._replayed:
                self._replayed = frame.commands[0]
            self.stopped_at = 0
            notes = frame.notes
            if notes and notes[-1][0] == "stopped":
                self.stopped_at = notes.pop()[1]
            if notes or frame.changes:
                self._told(frame.changes, notes, frame.number)
            self.frames += 1
            yield
        self.report += journal.report

    def _take_over(self, snapshot: SnapshotFile) -> Iterator[None]:
        """A snapshot of another origin lies in the directory."""
        if self._replayed:
            aside = _unused(self.path)
            self.files.rename(self.path, aside)
            self.files.sync_directory(self.path.parent)
            self.report.append(
                f"{self.path.name} was not written for this journal (by {snapshot.writer}), and the journal has data:"
                f" the file is {aside.name} now"
            )
            return
        yield from self._load(snapshot)
        self.imported = snapshot.writer

    def _loader(self) -> Session:
        loader = Session(self.engine)
        loader.internal = True
        return loader

    def _run(self, loader: Session, argv: list[bytes], where: int | Path) -> None:
        """Without the statistics and the slow log, which are of clients' commands."""
        engine = self.engine
        try:
            if argv[0] == b"SELECT":
                loader.db = engine.databases[int(argv[1])]
            else:
                engine.command = command = find(argv)
                engine.session = loader
                command.handler(loader, argv)
                engine.override = None
        except (ReplyError, IndexError, ValueError) as error:
            name = argv[0].decode(errors="replace")
            place = f"frame {where}" if isinstance(where, int) else where
            raise RecoveryError(f"{place}: {name} cannot be replayed: {error}") from error


def _events_missing(path: Path, mark: Mark, last: int) -> str:
    return (
        f"pending events of {path} stand in frames {mark.needs} to {last} of the journal, and the files with these"
        " frames are missing: restore the journal's files from a backup, or start once with journal.repair = true to go"
        " on without these events"
    )


def _belongs(snapshot: SnapshotFile, journal: Journal) -> bool:
    return snapshot.mark is not None and snapshot.mark.journal_id == journal.journal_id


def _unused(path: Path) -> Path:
    """A name beside `path` for what must not be lost."""
    number = 1
    while (aside := path.with_name(f"{path.name}.aside{number}")).exists():
        number += 1
    return aside
