"""How long a start takes and how much memory it needs, next to redis-server with the same data.

A million strings, loaded from our journal and from our snapshot, and by redis-server from its AOF and its RDB file;
then our start with a million events that wait for a webhook. Each figure is of a process of its own, from its
start to the moment when it no longer says `loading:1`.

    make bench OF=restart ARGS="--keys 1000000 --pending 1000000"
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.arguments import output
from benchmarks.servers import LOAD, SERVER, free_port, pin_here, pinned

BATCH = 1000  # commands in flight
DEAF = "http://127.0.0.1:9/hook"  # nobody listens there, and the webhook is paused


@dataclass(frozen=True, slots=True)
class Start:
    """What one start took. `wall` and `cpu` are seconds, sizes are bytes."""

    wall: float
    cpu: float
    resident: int
    on_disk: int


class Process:
    """A server in a directory that outlives it."""

    def __init__(self, words: list[str], port: int, directory: Path) -> None:
        self.port, self.directory = port, directory
        started = time.monotonic()
        with open(directory.with_suffix(".log"), "ab") as log:
            self._process = subprocess.Popen(pinned(SERVER, words), stdout=log, stderr=log)
        self._socket = self._connected()
        self._replies = self._socket.makefile("rb")
        while b"loading:1" in self("INFO", "persistence"):
            time.sleep(0.01)
        self.start = Start(time.monotonic() - started, self._cpu(), self._resident(), _size(directory))

    @classmethod
    def ours(cls, directory: Path, *options: str) -> Process:
        port = free_port()
        words = [sys.executable, "-m", "ferrite_hooks", "--port", str(port), "--metrics-port", "0",
                 "--dir", str(directory), "--set", "journal.compact_percentage=0", *options]  # fmt: skip
        return cls(words, port, directory)

    @classmethod
    def redis(cls, directory: Path, *options: str) -> Process:
        port = free_port()
        words = ["redis-server", "--port", str(port), "--dir", str(directory), "--save", "",
                 "--auto-aof-rewrite-percentage", "0", *options]  # fmt: skip
        return cls(words, port, directory)

    def _connected(self) -> socket.socket:
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.port), 600)
            except OSError:
                if self._process.poll() is not None:
                    raise RuntimeError(self.directory.with_suffix(".log").read_text()) from None
                time.sleep(0.005)

    def _cpu(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _resident(self) -> int:
        fields = Path(f"/proc/{self._process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def __call__(self, *words: str) -> bytes:
        """One command's reply. Raises RuntimeError for an error."""
        self._socket.sendall(_packed(*words))
        line = self._replies.readline()
        if line[:1] == b"-":
            raise RuntimeError(line.decode())
        return self._replies.read(int(line[1:]) + 2) if line[:1] == b"$" else line

    def fill(self, keys: int, prefix: str = "key") -> None:
        for first in range(0, keys, BATCH):
            count = min(BATCH, keys - first)
            self._socket.sendall(
                b"".join(_packed("SET", f"{prefix}:{n}", f"value of {n:044}") for n in range(first, first + count))
            )
            for _ in range(count):
                if self._replies.readline() != b"+OK\r\n":
                    raise RuntimeError("a SET was refused")

    def end(self) -> None:
        """SIGTERM, so that everything is on the disk."""
        self._socket.close()
        self._process.terminate()
        self._process.wait(600)


def _packed(*words: str) -> bytes:
    return "".join([f"*{len(words)}\r\n", *(f"${len(word)}\r\n{word}\r\n" for word in words)]).encode()


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


@contextmanager
def _directory() -> Iterator[Path]:
    scratch = Path(tempfile.mkdtemp(prefix="restart-"))
    (scratch / "data").mkdir()
    try:
        yield scratch / "data"
    finally:
        shutil.rmtree(scratch)


def _measured(process: Process, expected: int) -> Start:
    found = int(process("DBSIZE")[1:])
    process.end()
    if found != expected:
        raise RuntimeError(f"{found} keys were loaded, not {expected}")
    return process.start


def run(keys: int = 1_000_000, pending: int = 1_000_000) -> dict[str, Start]:
    """The five starts by name; 0 leaves out the keys, or the events. Raises RuntimeError, OSError."""
    found: dict[str, Start] = {}
    if keys:
        with _directory() as directory:
            process = Process.ours(directory)
            process.fill(keys)
            process.end()
            process = Process.ours(directory)
            found["our journal"] = _measured(process, keys)
            process = Process.ours(directory)
            process("SAVE")
            process.end()
            found["our snapshot"] = _measured(Process.ours(directory), keys)
        with _directory() as directory:
            process = Process.redis(directory, "--appendonly", "yes")
            process.fill(keys)
            process.end()
            found["redis-server's AOF"] = _measured(Process.redis(directory, "--appendonly", "yes"), keys)
        with _directory() as directory:
            process = Process.redis(directory)
            process.fill(keys)
            process("SAVE")
            process.end()
            found["redis-server's RDB"] = _measured(Process.redis(directory), keys)
    if pending:
        limit = str(pending + 1000)
        with _directory() as directory:
            process = Process.ours(directory, "--set", f"webhooks.queue.max_pending={limit}")
            process("WEBHOOK.CREATE", "waiting", DEAF, "MAX_PENDING", limit, "PATTERN", "key:*")
            process("WEBHOOK.PAUSE", "waiting")
            for first in range(0, pending, 1000):  # the same thousand keys again and again
                process.fill(min(1000, pending - first))
            process.end()
            process = Process.ours(directory, "--set", f"webhooks.queue.max_pending={limit}")
            found["our pending events"] = _measured(process, min(1000, pending))
    return found


def rendered(found: dict[str, Start]) -> str:
    """A Markdown table."""
    lines = ["| from | seconds | of processor time | MB resident | MB on disk |", "|---|---|---|---|---|"]
    lines += [
        f"| {name} | {start.wall:.1f} | {start.cpu:.1f} | {start.resident / 1e6:.0f} | {start.on_disk / 1e6:.0f} |"
        for name, start in found.items()
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--pending", type=int, default=1_000_000)
    parser.add_argument("--json", metavar="FILE", type=output)
    args = parser.parse_args()
    pin_here(LOAD)
    found = run(args.keys, args.pending)
    print(rendered(found))
    if args.json is not None:
        args.json.write_text(json.dumps({name: asdict(start) for name, start in found.items()}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
