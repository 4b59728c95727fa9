"""A disk that knows what a power cut would leave of it, for `store.files`.

The files are real; beside them, in a directory of its own, the disk keeps what fsync has promised:

    live/<inode>     a link to each file, so that one which was removed or replaced can come back
    synced/<inode>   what the file had when its last finished fsync began
    trace            names made, moved and removed, and directories synced, in their order; one JSON list a line

All of it is in files, so that a server process and its saving child share one disk, and whoever has killed them
can ask what is left. `leave` builds that: a file has what was synced and any part of the rest, by page; names that
were not synced are there up to some moment, as a file system with a journal leaves them.

In a server it can also stop everything at one chosen operation (`die`), and be full while the file `full` exists.
"""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ferrite_hooks.store.files import DISK, Files

PAGE = 4096


class PowerDisk:
    """The disk that holds `root`, with its notes in `notes`."""

    def __init__(self, root: Path, notes: Path, slow: float = 0.0) -> None:
        """`slow`: an fsync takes up to so many seconds."""
        self.root, self.notes, self.slow = root, notes, slow
        self._live, self._synced = notes / "live", notes / "synced"
        self.full = notes / "full"
        self._die_at: tuple[str, int] | None = None
        self._seen = 0
        new = not notes.exists()
        for path in (notes, self._live, self._synced):
            path.mkdir(exist_ok=True)
        self._trace = os.open(notes / "trace", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.files = Files(
            open=self._open,
            write=self._write,
            truncate=self._counted("truncate", DISK.truncate),
            sync=self._counted("sync", self._sync),
            sync_directory=self._counted("sync_directory", lambda path: self._note("synced", path)),
            rename=self._counted("rename", self._rename),
            link=self._counted("link", self._link),
            remove=self._counted("remove", self._remove),
            make_directory=self._counted("make_directory", self._make_directory),
        )
        if new and root.exists():
            self._adopt(root)

    def close(self) -> None:
        os.close(self._trace)

    def die(self, operation: str, at: int) -> None:
        """Kills the server (and the child that does it) in the middle of the `at`-th operation of a kind."""
        self._die_at = (operation, at)

    # --- while it runs ---

    def _adopt(self, directory: Path) -> None:
        """What is there was there before: it is all durable."""
        for path in sorted(directory.iterdir()):
            if path.is_dir():
                self._note("directory", path)
                self._adopt(path)
            else:
                inode = self._known(path)
                (self._synced / str(inode)).write_bytes(path.read_bytes())
                self._note("name", path, inode)
        self._note("synced", directory)

    def _note(self, kind: str, *what: Path | int) -> None:
        words = [os.path.relpath(word, self.root) if isinstance(word, Path) else word for word in what]
        os.write(self._trace, json.dumps([kind, *words]).encode() + b"\n")

    def _known(self, path: Path) -> int:
        inode = path.stat().st_ino
        with suppress(FileExistsError):
            os.link(path, self._live / str(inode))
        return inode

    def _counted(self, name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            self._maybe_die(name, "before")
            act(*args)
            self._maybe_die(name, "after")

        return call

    def _maybe_die(self, name: str, when: str) -> bool:
        if self._die_at is None or self._die_at[0] != f"{name}:{when}":
            return False
        self._seen += 1
        if self._seen < self._die_at[1]:
            return False
        if name == "write" and when == "within":
            return True
        _end_everything()
        return True

    def _open(self, path: Path, flags: int) -> int:
        new = not path.exists()
        fd = DISK.open(path, flags)
        if new:
            self._note("name", path, self._known(path))
        return fd

    def _write(self, fd: int, data: bytes | memoryview) -> int:
        if self.full.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._maybe_die("write", "within"):
            DISK.write(fd, data[: random.randrange(len(data) + 1)])
            _end_everything()
        return DISK.write(fd, data)

    def _sync(self, fd: int) -> None:
        inode = os.fstat(fd).st_ino
        image = (self._live / str(inode)).read_bytes()
        if self.slow:
            time.sleep(random.random() * self.slow)
        temporary = self._synced / f"{inode}.{os.getpid()}"
        temporary.write_bytes(image)
        temporary.rename(self._synced / str(inode))

    def _rename(self, source: Path, target: Path) -> None:
        DISK.rename(source, target)
        self._note("moved", source, target)

    def _link(self, source: Path, target: Path) -> None:
        DISK.link(source, target)
        self._note("name", target, target.stat().st_ino)

    def _remove(self, path: Path) -> None:
        DISK.remove(path)
        self._note("gone", path)

    def _make_directory(self, path: Path) -> None:
        DISK.make_directory(path)
        self._note("directory", path)

    # --- afterwards ---

    def leave(self, target: Path, rng: random.Random) -> None:
        """Builds in `target` what `root` would have after a power cut now. Nobody may use the disk any more."""
        names = self._names(rng)
        target.mkdir(parents=True)
        for name, inode in sorted(names.items()):
            path = target / name
            if not path.parent.is_dir():
                continue  # its directory did not survive
            if inode is None:
                path.mkdir()
            else:
                path.write_bytes(self._content(inode, rng))
                path.chmod(0o600)

    def _names(self, rng: random.Random) -> dict[str, int | None]:
        """Path -> inode, None for a directory: all that was synced, and of the rest what came before some moment."""
        lines = (self.notes / "trace").read_bytes().split(b"\n")[:-1]  # the last one may be cut
        operations = [json.loads(line) for line in lines]
        moment = rng.randint(0, len(operations)) if rng.random() < 0.7 else len(operations)
        safe: dict[str, int] = {}  # directory -> the operation that has last synced it
        for number, (kind, path, *_) in enumerate(operations):
            if kind == "synced":
                safe[path] = number
        names: dict[str, int | None] = {}
        for number, (kind, path, *more) in enumerate(operations):
            if kind == "synced" or number > max(moment, safe.get(os.path.dirname(path) or ".", -1)):
                continue
            if kind == "name":
                names[path] = more[0]
            elif kind == "directory":
                names[path] = None
            elif kind == "gone":
                names.pop(path, None)
            elif path in names:
                names[more[0]] = names.pop(path)
        return names

    def _content(self, inode: int, rng: random.Random) -> bytes:
        live, path = (self._live / str(inode)).read_bytes(), self._synced / str(inode)
        synced = path.read_bytes() if path.exists() else b""
        if not live.startswith(synced):
            return rng.choice((live, synced))
        kind = rng.choice(("nothing", "cut", "pages", "pages", "all"))
        if kind in ("nothing", "all"):
            return synced if kind == "nothing" else live
        size = rng.choice((len(live), rng.randint(len(synced), len(live))))
        if kind == "cut":
            return live[:size]
        # The file has its size, but only some of the pages: the others are as they were, or zeros.
        image = bytearray(synced.ljust(size, b"\0"))
        for start in range(len(synced) // PAGE * PAGE, size, PAGE):
            if rng.random() < 0.5:
                image[start : start + PAGE] = live[start : min(start + PAGE, size)]
        return bytes(image)


def _end_everything() -> None:
    """The server and its saving child, whichever of them this is: they are one process group."""
    os.killpg(0, signal.SIGKILL)
