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
from ferrite_hooks.engine.run import call
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import ReplyError
from ferrite_hooks.store.files import DISK, Files
from ferrite_hooks.store.journal import Journal
from ferrite_hooks.store.segments import segment_paths
from ferrite_hooks.store.snapshot import Mark, SnapshotFile, tidy
from ferrite_hooks.values.encoding import settle

log = logging.getLogger("ferrite_hooks")

_KEYS_PER_STEP = 64

Told = Callable[[Any, Any], object]  # changes and notes, for the webhooks


class RecoveryError(Exception):
    """What is on the disk does not make a whole; the text says why and what to do."""


def snapshot_path(config: Config) -> Path:
    return Path(config.server.dir) / config.snapshot.file


def open_journal(config: Config, files: Files = DISK) -> Journal | None:
    """Locks the directory and opens its journal, unless it is switched off. A directory that has a snapshot of
    ours but no journal files goes on from the snapshot. Raises JournalError, SnapshotDamaged, OSError."""
    settings, directory = config.journal, Path(config.server.dir)
    if not settings.enabled:
        return None
    mark = None
    if snapshot_path(config).exists() and not segment_paths(directory):
        with SnapshotFile(snapshot_path(config)) as snapshot:
            mark = snapshot.mark
    journal = Journal.open(
        directory,
        fsync=settings.fsync,  # type: ignore[arg-type]  # the configuration has checked it
        segment_bytes=settings.segment_bytes,
        files=files,
        repair=settings.repair,
        journal_id=mark.journal_id if mark is not None else "",
        first=mark.frame + 1 if mark is not None else 1,
    )
    tidy(snapshot_path(config))
    return journal


class Recovery:
    """One reading. `steps` does the work; the attributes say what was found so far."""

    def __init__(self, engine: Engine, path: Path, journal: Journal | None, told: Told) -> None:
        self.engine = engine
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
        self.report: list[str] = []
        self._told = told
        self._snapshot: SnapshotFile | None = None
        self._replayed: list[bytes] = []  # the first data command that the journal had

    @property
    def loaded_bytes(self) -> int:
        snapshot = self._snapshot.bytes_read if self._snapshot is not None else 0
        return min(snapshot + (self.journal.bytes_read if self.journal is not None else 0), self.total_bytes)

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
        start = 1
        try:
            if snapshot is not None and (journal is None or _belongs(snapshot, journal)):
                self.mark = snapshot.mark
                start = snapshot.mark.frame + 1 if snapshot.mark is not None else 1
                self.total_bytes = self.path.stat().st_size
                if journal is not None:
                    self.total_bytes += journal.bytes_from(start)
                yield from self._load(snapshot)
            if journal is None:
                return
            self._check_whole(journal, start)
            yield from self._replay(journal, start)
            if snapshot is not None and self.mark is None:
                yield from self._take_over(snapshot)
        finally:
            if snapshot is not None:
                snapshot.close()

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

    def _load(self, snapshot: SnapshotFile) -> Iterator[None]:
        engine = self.engine
        databases, settings = engine.databases, engine.settings
        for entry in snapshot.entries():
            if entry.db >= len(databases):
                raise RecoveryError(
                    f"{snapshot.path} has keys in database {entry.db}, but server.databases is {len(databases)}:"
                    " start with more"
                )
            settle(entry.value, settings)
            databases[entry.db].expires.pop(entry.key, None)  # of a key that is there, when data are merged
            databases[entry.db].place(entry.key, entry.value, entry.expire_at)
            self.keys_loaded += 1
            if self.keys_loaded % _KEYS_PER_STEP == 0:
                yield
        loader = self._loader()
        for source in snapshot.functions:
            self._run(loader, [b"FUNCTION", b"LOAD", b"REPLACE", source], f"{snapshot.path}")
        self._told(*snapshot.state())
        if snapshot.mark is not None:
            self.position = snapshot.mark.position

    def _replay(self, journal: Journal, start: int) -> Iterator[None]:
        loader = self._loader()
        for frame in journal.replay(start):
            loader.db = self.engine.databases[0]
            for argv in frame.commands:
                self._run(loader, argv, f"frame {frame.number}")
            if frame.commands and not self._replayed:
                self._replayed = frame.commands[0]
            notes = [note for note in frame.notes if note[0] != "stopped"]
            self.stopped_at = next((note[1] for note in frame.notes if note[0] == "stopped"), 0)
            self._told(frame.changes, notes)
            self.frames += 1
            yield
        self.report += journal.report

    def _take_over(self, snapshot: SnapshotFile) -> Iterator[None]:
        """A snapshot of another origin lies in the directory."""
        if self._replayed:
            aside = _unused(self.path)
            self.path.rename(aside)
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

    def _run(self, loader: Session, argv: list[bytes], where: str) -> None:
        try:
            if argv[0] == b"SELECT":
                loader.db = self.engine.databases[int(argv[1])]
            else:
                call(loader, find(argv), argv)
        except (ReplyError, IndexError, ValueError) as error:
            name = argv[0].decode(errors="replace")
            raise RecoveryError(f"{where}: {name} cannot be replayed: {error}") from error


def _belongs(snapshot: SnapshotFile, journal: Journal) -> bool:
    return snapshot.mark is not None and snapshot.mark.journal_id == journal.journal_id


def _unused(path: Path) -> Path:
    """A name beside `path` for what must not be lost."""
    number = 1
    while (aside := path.with_name(f"{path.name}.aside{number}")).exists():
        number += 1
    return aside
