"""The few system calls that make data durable, as one value.

Everything that `store/` writes goes through a Files, so that tests can put a full disk, a short write, a
failing fsync or a power cut at any point: they replace single functions of DISK, nothing else is mocked.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_COPY_BLOCK = 1 << 20


def _open(path: Path, flags: int) -> int:
    """Opens with mode 0600 whatever the umask; the descriptor is not inherited. Raises OSError."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _sync_directory(path: Path) -> None:
    """Makes created, renamed and removed names in `path` survive a power cut. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _make_directory(path: Path) -> None:
    os.mkdir(path, 0o700)


_sync_file: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


@dataclass(frozen=True, slots=True)
class Files:
    """Each function raises OSError as its namesake in `os` does."""

    open: Callable[[Path, int], int] = _open
    write: Callable[[int, bytes | memoryview], int] = os.write
    truncate: Callable[[int, int], None] = os.ftruncate
    sync: Callable[[int], None] = _sync_file
    sync_directory: Callable[[Path], None] = _sync_directory
    rename: Callable[[Path, Path], None] = os.replace
    link: Callable[[Path, Path], None] = os.link
    remove: Callable[[Path], None] = os.unlink
    make_directory: Callable[[Path], None] = _make_directory
    close: Callable[[int], None] = os.close


DISK = Files()


def write_all(files: Files, fd: int, data: bytes) -> None:
    """Writes all of `data`, going on after a short write. Raises OSError; what was written then stays."""
    written = files.write(fd, data)
    if written == len(data):
        return
    rest = memoryview(data)[written:]
    while rest:
        written = files.write(fd, rest)
        if written <= 0:
            raise OSError("the disk took no more bytes")
        rest = rest[written:]


def make_directories(files: Files, path: Path) -> None:
    """Makes `path` and what is missing above it, so that all of it survives a power cut. Raises OSError."""
    if path.is_dir():
        return
    make_directories(files, path.parent)
    files.make_directory(path)
    files.sync_directory(path.parent)


def replace_file(files: Files, path: Path, data: bytes, mode: int = 0o600) -> None:
    """Gives `path` new content, at once and durably; it may hold passwords, which nobody else can read at any moment
    unless `mode` allows it. Raises OSError, then the old content is still there."""
    temporary = path.with_name(f"{path.name}.tmp")
    with suppress(FileNotFoundError):
        files.remove(temporary)  # of a process that was killed
    fd = files.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        write_all(files, fd, data)
        os.fchmod(fd, mode)
        files.sync(fd)
        files.rename(temporary, path)
    except BaseException:
        with suppress(OSError):
            files.remove(temporary)
        raise
    finally:
        files.close(fd)
    files.sync_directory(path.parent)


def copy_file(files: Files, source: Path, target: Path, start: int = 0) -> None:
    """Copies the bytes from `start` on to a new file; they are durable then, its name is not. Raises OSError."""
    fd = files.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        with open(source, "rb") as reading:
            reading.seek(start)
            while block := reading.read(_COPY_BLOCK):
                write_all(files, fd, block)
        files.sync(fd)
    finally:
        files.close(fd)
