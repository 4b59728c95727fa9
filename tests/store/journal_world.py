"""Journals for the tests: filled, read again, and on a disk that fails."""

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ferrite_hooks.store.files import DISK, Files
from ferrite_hooks.store.journal import Journal

SEGMENT_1 = "journal-0000000000000001.log"


def opened(directory: Path, **options: Any) -> tuple[Journal, list[Any]]:
    """A journal that takes appends, and what it had: (number, commands, changes, notes) of each frame."""
    journal = Journal.open(directory, **{"fsync": "no", **options})
    try:
        return journal, [tuple(frame) for frame in journal.replay()]
    except BaseException:
        journal.close()
        raise


def written(directory: Path, appends: list[Any], **options: Any) -> list[Any]:
    """Fills a new journal. Returns its frames as `opened` gives them."""
    journal, frames = opened(directory, **options)
    for n, content in enumerate(appends, 1):
        assert journal.append(*content) == n
        frames.append((n, *content))
    journal.close()
    return frames


def three(n: int) -> tuple[list[Any], list[Any], list[Any]]:
    return (
        [[b"SET", b"key:%d" % n, b"v" * n]],
        [[n, "set", b"key", None, ["hash", [b"f", 1.5]]]],
        [["ack", n, [1]]],
    )


SMALL = [three(n) for n in range(1, 5)]


def opened_and_closed(directory: Path, **options: Any) -> list[Any]:
    journal, frames = opened(directory, **options)
    journal.close()
    return frames


class Disk:
    """DISK, whose functions can be told to fail; tests/power.py has the one whose power can be cut."""

    def __init__(self) -> None:
        self.fail: dict[str, Exception] = {}
        self.room = 1 << 60
        self.files = replace(DISK, **{name: self._wrapped(name) for name in Files.__dataclass_fields__})

    def _wrapped(self, name: str) -> Callable[..., Any]:
        real = getattr(DISK, name)

        def call(*args: Any) -> Any:
            if name in self.fail:
                raise self.fail[name]
            if name == "write":
                return self._write(*args)
            return real(*args)

        return call

    def _write(self, fd: int, data: bytes) -> int:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = DISK.write(fd, bytes(data[: self.room]))
        self.room -= count
        return count
