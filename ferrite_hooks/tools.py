"""`ferrite-hooks check` and `ferrite-hooks backup`: looking after a data directory.

Both work while a server runs in it: `check` only reads, `backup` links or copies. Only `check --fix` changes
something, and takes the directory's lock for it.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from ferrite_hooks.store.files import DISK, Files, copy_file, make_directories
from ferrite_hooks.store.journal import Journal, JournalDamaged, JournalError
from ferrite_hooks.store.segments import Segments, segment_paths
from ferrite_hooks.store.snapshot import Mark, SnapshotDamaged, SnapshotFile

_LAST = 1 << 62  # a frame that no journal reaches
_ATTEMPTS = 20
_HISTORY = "history.sqlite"
_NO_START = "no start is possible, except once with journal.repair = true, without these events"

Say = Callable[[str], object]


class BackupError(Exception):
    """There is no backup; the text says why."""


def _plain(error: Exception) -> str:
    """Without Python's "[Errno 2]"."""
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)


# --- check -----------------------------------------------------------------------------------------------------


def check(directory: Path, snapshot: str = "dump.rdb", fix: bool = False, say: Say = print) -> bool:
    """Reads everything and says what is there. Returns whether a server can start from it without loss.

    With `fix` the journal is cut at its first damage; what followed is set aside in .bad files. Raises OSError,
    JournalError (a server is running and `fix` was asked for).
    """
    os.scandir(directory).close()  # says whether there is a directory that can be read
    mark, good = _check_snapshot(directory / snapshot, say)
    if not segment_paths(directory):
        if mark is not None and mark.needs:
            say(f"journal: no files, but pending events stand in its frames {mark.needs} to {mark.frame}: {_NO_START}")
            return False
        say("journal: no files" if mark is None else "journal: no files; a start goes on from the snapshot")
        return good
    start = mark.frame + 1 if mark is not None else 1
    segments = Segments(directory, DISK, looking=True)
    segments.identify()
    if mark is not None and mark.journal_id != segments.journal_id:
        say(f"{snapshot} belongs to journal {mark.journal_id}, the files to {segments.journal_id or 'an unknown one'}")
        mark, start, good = None, 1, False
    needs = mark.needs if mark is not None and mark.needs else start
    if segments.first_frame > start:
        say(f"journal: frames {start} to {segments.first_frame - 1} are missing: no start is possible")
        good = False
    elif segments.first_frame > needs:
        lost = f"frames {needs} to {segments.first_frame - 1}"
        say(f"journal: {lost}, with pending events of the snapshot, are missing: {_NO_START}")
        good = False
    if needs > 1:
        _check_frames(segments, 0, needs - 1, "only WEBHOOK.REPLAY reads it, a start does not", say)
    if needs < start and _check_frames(segments, needs, start - 1, "pending events of the snapshot are there", say):
        good = False
    damage = _check_frames(segments, start, _LAST, "a start needs it", say)
    if damage is None or damage.torn:
        return good
    if not fix:
        say("`ferrite-hooks check --fix` cuts the journal there")
        return False
    _fix(directory, start, say)
    return good


def _check_snapshot(path: Path, say: Say) -> tuple[Mark | None, bool]:
    try:
        with SnapshotFile(path) as file:
            keys = sum(1 for _ in file.entries())
            mark, notes = file.mark, file.state()[1]
            if mark is None:
                say(f"{path.name}, written by {file.writer}: {_count(keys, 'key')}")
            else:
                webhooks = sum(note[0] == "hook" for note in notes)
                pending = sum(len(note[2]) for note in notes if note[0] == "queue")
                pending += sum(len(note[2]) // 8 for note in notes if note[0] == "spilled")
                say(
                    f"{path.name}, frame {mark.frame} of journal {mark.journal_id}: {_count(keys, 'key')},"
                    f" {_count(webhooks, 'webhook')}, {_count(pending, 'pending event')}"
                )
            return mark, True
    except FileNotFoundError:
        say(f"{path.name}: there is none")
        return None, True
    except SnapshotDamaged as damage:
        say(f"DAMAGED {damage}")
        return None, False


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _check_frames(segments: Segments, start: int, until: int, use: str, say: Say) -> JournalDamaged | None:
    """Reads a part of the journal. Returns the damage that ended it."""
    frames = commands = changes = 0
    damage = None
    try:
        for frame in segments.read(start, until):
            frames += 1
            commands += len(frame.commands)
            changes += len(frame.changes)
    except JournalDamaged as found:
        damage = found
    what = f"{_count(frames, 'frame')}, {_count(commands, 'command')}, {_count(changes, 'event')}"
    say(f"journal {segments.journal_id} from frame {max(start, segments.first_frame)} on: {what} ({use})")
    if damage is None:
        return None
    lost, later = _after(segments.directory, damage)
    if damage.torn:
        say(f"{damage.file.name} ends in the middle of an append at byte {damage.offset}: a start cuts {lost} bytes")
    else:
        say(
            f"DAMAGED {damage.file} at byte {damage.offset}: {damage.what}. Behind it are {lost} bytes"
            f" and {_count(later, 'more file')}"
        )
    return damage


def _after(directory: Path, damage: JournalDamaged) -> tuple[int, int]:
    later = [path for path in segment_paths(directory) if path.name > damage.file.name]
    size = sum(path.stat().st_size for path in [damage.file, *later])
    return size - damage.offset, len(later)


def _fix(directory: Path, start: int, say: Say) -> None:
    journal = Journal.open(directory, repair=True)
    try:
        last = start - 1
        for frame in journal.replay(start):
            last = frame.number
        for sentence in journal.report:
            say(f"FIXED {sentence}")
        say(f"the journal ends with frame {last} now; what came after it is lost")
    finally:
        journal.close()


def add_check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Reads a data directory and says what is there, and where it is damaged."
    parser.add_argument("dir", metavar="DIR", type=Path)
    parser.add_argument("--snapshot", metavar="NAME", default="dump.rdb", help="name of the snapshot in it (dump.rdb)")
    parser.add_argument("--fix", action="store_true", help="cut the journal at its damage and keep what is before")


def run_check(args: argparse.Namespace) -> int:
    """Returns 0 if all is well or was fixed, 1 for damage, 2 when the directory cannot be read."""
    try:
        return 0 if check(args.dir, args.snapshot, args.fix) else 1
    except (OSError, JournalError) as error:
        print(f"ferrite-hooks check: {_plain(error)}", file=sys.stderr)
        return 2


# --- backup ----------------------------------------------------------------------------------------------------


def backup(directory: Path, target: Path, snapshot: str = "dump.rdb", files: Files = DISK) -> list[Path]:
    """Puts a copy of a data directory that a server can start from into `target`, which must be new or empty.
    Returns the files. Files that never change any more are hard links where that is possible.

    Raises BackupError, OSError.
    """
    os.scandir(directory).close()  # before anything is made
    make_directories(files, target)
    if any(target.iterdir()):
        raise BackupError(f"{target} is not empty: choose another directory")
    for _ in range(_ATTEMPTS):
        made = _copied(directory, target, snapshot, files)
        if made is not None:
            break
        for path in target.iterdir():
            files.remove(path)
    else:
        raise BackupError(f"{directory} changes too quickly: each attempt met a new snapshot")
    if not made:
        raise BackupError(f"{directory} has neither a snapshot nor a journal")
    if (directory / _HISTORY).exists():
        made.append(_copy_history(directory / _HISTORY, target / _HISTORY))
    files.sync_directory(target)
    return made


def _copied(directory: Path, target: Path, snapshot: str, files: Files) -> list[Path] | None:
    """Snapshot first, then the journal. None when a new snapshot has come meanwhile: journal files may be gone then,
    which the first one still needs."""
    source = directory / snapshot
    before = _identity(source)
    made = []
    try:
        if before is not None:
            made.append(_link(files, source, target / snapshot))
        paths = segment_paths(directory)
        made += [_link(files, path, target / path.name) for path in paths[:-1]]
        made += [_copy(files, path, target / path.name) for path in paths[-1:]]  # it grows: a link would, too
    except FileNotFoundError:
        return None
    return made if _identity(source) == before else None


def _identity(path: Path) -> tuple[int, int] | None:
    with suppress(FileNotFoundError):
        status = path.stat()
        return status.st_ino, status.st_mtime_ns
    return None


def _link(files: Files, source: Path, target: Path) -> Path:
    try:
        files.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without links
        return _copy(files, source, target)
    return target


def _copy(files: Files, source: Path, target: Path) -> Path:
    copy_file(files, source, target)
    return target


def _copy_history(source: Path, target: Path) -> Path:
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT, 0o600))
    with closing(sqlite3.connect(source, timeout=10)) as reading, closing(sqlite3.connect(target)) as writing:
        reading.backup(writing)
    return target


def add_backup_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Copies a data directory, while a server runs in it or not."
    parser.add_argument("dir", metavar="DIR", type=Path)
    parser.add_argument("target", metavar="TARGET", type=Path, help="a new directory")
    parser.add_argument("--snapshot", metavar="NAME", default="dump.rdb", help="name of the snapshot in it (dump.rdb)")


def run_backup(args: argparse.Namespace) -> int:
    """Returns 0 when there is a backup and it is whole, else 1."""
    try:
        made = backup(args.dir, args.target, args.snapshot)
    except (BackupError, OSError, sqlite3.Error) as error:
        print(f"ferrite-hooks backup: {_plain(error)}", file=sys.stderr)
        return 1
    size = sum(path.stat().st_size for path in made)
    print(f"{len(made)} files, {size} bytes in {args.target}:")
    return 0 if check(args.target, args.snapshot) else 1
