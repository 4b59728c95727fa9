"""The processes of a measurement: redis-server, ourselves, and what helps to measure them.

What is measured runs on one core, whatever loads it or receives from it on another, so that neither takes the
other's time. On a machine with one core the figures still compare, for both sides have it alike.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

SERVER, LOAD = 0, 1  # which core
CORES = sorted(os.sched_getaffinity(0))  # before `pin_here` narrows it


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pinned(core: int, words: Sequence[str]) -> list[str]:
    """`words` on one core, where the machine has several."""
    if len(CORES) < 2 or shutil.which("taskset") is None:
        return list(words)
    return ["taskset", "-c", str(CORES[core % len(CORES)]), *words]


def pin_here(core: int) -> None:
    """This process on one core."""
    if len(CORES) > 1:
        os.sched_setaffinity(0, {CORES[core % len(CORES)]})


class Server:
    """A process that listens on loopback; `with Server.redis() as server: server.port`. One without a port is
    there as soon as it was started."""

    def __init__(self, name: str, words: list[str], port: int, directory: str, core: int = SERVER) -> None:
        self.name, self.port, self.directory = name, port, directory
        self.log = open(Path(directory) / "server.log", "wb")  # noqa: SIM115  (closed in stop)
        self.process = subprocess.Popen(pinned(core, words), stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 15
        while port:
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.process.kill()
                    raise RuntimeError(Path(directory, "server.log").read_text()) from None
                time.sleep(0.05)

    @classmethod
    def redis(cls, fsync: str = "everysec", *options: str) -> Server:
        directory, port = tempfile.mkdtemp(prefix="bench-redis-"), free_port()
        words = ["redis-server", "--port", str(port), "--dir", directory, "--save", "", "--appendonly", "yes",
                 "--appendfsync", fsync, *options]  # fmt: skip
        return cls("redis-server", words, port, directory)

    @classmethod
    def ours(cls, fsync: str = "everysec", *options: str) -> Server:
        directory, port = tempfile.mkdtemp(prefix="bench-ferrite-"), free_port()
        words = [sys.executable, "-m", "ferrite_hooks", "--port", str(port), "--metrics-port", "0",
                 "--dir", directory, "--fsync", fsync, *options]  # fmt: skip
        return cls("ferrite-hooks", words, port, directory)

    @classmethod
    def receiver(cls) -> Server:
        """Where webhooks arrive; see receiver.py."""
        port = free_port()
        words = [sys.executable, "-m", "benchmarks.receiver", str(port)]
        return cls("receiver", words, port, tempfile.mkdtemp(prefix="bench-receiver-"), LOAD)

    @classmethod
    def practice(cls, redis_port: int, url: str, batch: int) -> Server:
        """The worker beside a Redis; see practice.py."""
        words = [sys.executable, "-m", "benchmarks.practice", str(redis_port), url, str(batch)]
        return cls("worker", words, 0, tempfile.mkdtemp(prefix="bench-worker-"))

    def resident_bytes(self) -> int:
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self) -> float:
        """Processor time so far, user and system: steadier than the clock when the machine has other work, too."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

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


def machine() -> dict[str, str]:
    """What the figures were measured on, and with which versions."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    printed = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout
    redis = next((word[2:] for word in printed.split() if word.startswith("v=")), "?")
    return {
        "processor": model,
        "cores": str(len(CORES)),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "redis-server": redis,
        **{name: version(name) for name in ("ferrite-hooks", "uvloop", "hiredis", "aiohttp") if _installed(name)},
    }


def build() -> str:
    """Which build of the package this Python imports: "compiled" (mypyc) or "pure"."""
    path = importlib.util.find_spec("ferrite_hooks.engine.run")
    return "pure" if path is None or str(path.origin).endswith(".py") else "compiled"


def _installed(name: str) -> bool:
    try:
        version(name)
    except ImportError:
        return False
    return True
