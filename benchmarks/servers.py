"""Starting redis-server and ourselves side by side, pinned to one core, with the load on another."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pinned(core: int, words: Sequence[str]) -> list[str]:
    """`words` on one core, where the machine has several."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2 or shutil.which("taskset") is None:
        return list(words)
    return ["taskset", "-c", str(cores[core % len(cores)]), *words]


class Server:
    """A server process on loopback; `with Server.redis() as server: server.port`."""

    def __init__(self, name: str, words: list[str], port: int, directory: str) -> None:
        self.name, self.port, self.directory = name, port, directory
        self.log = open(Path(directory) / "server.log", "wb")  # noqa: SIM115  (closed in stop)
        self.process = subprocess.Popen(pinned(0, words), stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 15
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(Path(directory, "server.log").read_text()) from None
                time.sleep(0.05)

    @classmethod
    def redis(cls, fsync: str = "everysec") -> Server:
        directory, port = tempfile.mkdtemp(prefix="bench-redis-"), free_port()
        words = ["redis-server", "--port", str(port), "--dir", directory, "--save", "", "--appendonly", "yes",
                 "--appendfsync", fsync]  # fmt: skip
        return cls("redis-server", words, port, directory)

    @classmethod
    def ours(cls, fsync: str = "everysec", *options: str) -> Server:
        directory, port = tempfile.mkdtemp(prefix="bench-ferrite-"), free_port()
        words = [sys.executable, "-m", "ferrite_hooks", "--port", str(port), "--metrics-port", "0",
                 "--dir", directory, "--fsync", fsync, *options]  # fmt: skip
        return cls("ferrite-hooks", words, port, directory)

    def resident_bytes(self) -> int:
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
