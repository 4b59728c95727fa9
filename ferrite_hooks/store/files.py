"""The few system calls that make data durable, as one value.

Everything that `store/` writes goes through a Files, so that tests can put a full disk, a short write, a
failing fsync or a power cut at any point: they replace single functions of DISK, nothing else is mocked.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


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
    remove: Callable[[Path], None] = os.unlink
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
