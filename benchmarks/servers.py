"""The processes of a measurement: redis-server, ourselves, and what helps to measure them.

What is measured runs on one core, whatever loads it or receives from it on another, so that neither takes the
other's time; where deliveries are measured, what delivers may use all cores (`core=ANY`), on either side. On a machine
with one core the figures still compare, for both sides have it alike.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from importlib.metadata import version
from pathlib import Path

SERVER, LOAD, ANY = 0, 1, -1  # which core
COMPILED = Path(__file__).parents[1] / ".venv/compiled"  # where the Makefile puts the compiled build
CORES = sorted(os.sched_getaffinity(0))  # before `pin_here` narrows it
_PACKAGES = ("ferrite-hooks", "uvloop", "hiredis", "httptools", "aiohttp", "redis")  # whose versions are told


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pinned(core: int, words: Sequence[str]) -> list[str]:
    """`words` on one core, where the machine has several."""
    if core == ANY and len(CORES) > 1 and shutil.which("taskset") is not None:
        return ["taskset", "-c", ",".join(map(str, CORES)), *words]
    if len(CORES) < 2 or shutil.which("taskset") is None:
        return list(words)
    return ["taskset", "-c", str(CORES[core % len(CORES)]), *words]


def pin_here(core: int) -> None:
    """This process, from now on, on one core."""
    if len(CORES) > 1:
        os.sched_setaffinity(0, {CORES[core % len(CORES)]})


def end_on_sigterm() -> None:
    """SIGTERM ends this process as Ctrl-C does, so that what it has started is stopped."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


class Server:
    """A process that listens on loopback; `with Server.redis() as server: server.port`. One without a port is
    there as soon as it was started."""

    def __init__(self, name: str, words: list[str], port: int, directory: str, core: int = SERVER) -> None:
        self.name, self.port, self.directory = name, port, directory
        self.log = open(Path(directory) / "server.log", "wb")  # noqa: SIM115  (closed in stop)
        self.process = subprocess.Popen(pinned(core, words), stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 60
        while port:
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.process.kill()
                    raise RuntimeError(self.output()) from None
                time.sleep(0.05)

    @classmethod
    def redis(cls, fsync: str = "everysec", *options: str, core: int = SERVER, under: Sequence[str] = ()) -> Server:
        """`fsync`: always, everysec, no, or off for one without an append-only file; `under`: a program to run it."""
        directory, port = tempfile.mkdtemp(prefix="bench-redis-"), free_port()
        keeps = ["--appendonly", "no"] if fsync == "off" else ["--appendonly", "yes", "--appendfsync", fsync]
        words = [*under, "redis-server", "--port", str(port), "--dir", directory, "--save", "", *keeps, *options]
        return cls("redis-server", words, port, directory, core).loaded()

    @classmethod
    def ours(cls, fsync: str = "everysec", *options: str, core: int = SERVER, under: Sequence[str] = ()) -> Server:
        """`fsync` and `under` as for `redis`."""
        directory, port = tempfile.mkdtemp(prefix="bench-ferrite-"), free_port()
        keeps = ["--set", "journal.enabled=false"] if fsync == "off" else ["--fsync", fsync]
        words = [*under, sys.executable, "-m", "ferrite_hooks", "--port", str(port), "--metrics-port", "0",
                 "--dir", directory, "--set", "snapshot.save=", *keeps, *options]  # fmt: skip
        return cls("ferrite-hooks", words, port, directory, core).loaded()

    @classmethod
    def receiver(cls) -> Server:
        """Where webhooks arrive; see receiver.py."""
        port = free_port()
        words = [sys.executable, "-m", "benchmarks.receiver", str(port)]
        return cls("receiver", words, port, tempfile.mkdtemp(prefix="bench-receiver-"), LOAD)

    @classmethod
    def worker(cls, kind: str, redis_port: int, url: str, batch: int) -> Server:
        """Beside a redis-server; see practice.py. Ready when it has said so."""
        words = [sys.executable, "-u", "-m", "benchmarks.practice", kind, str(redis_port), url, str(batch)]
        started = cls("worker", words, 0, tempfile.mkdtemp(prefix="bench-worker-"), ANY)
        deadline = time.monotonic() + 15
        while "ready" not in started.output():
            if started.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(started.output())
            time.sleep(0.02)
        return started

    def loaded(self) -> Server:
        """Waits until it takes commands: it listens before that."""
        with socket.create_connection(("127.0.0.1", self.port), 15) as peer:
            while True:
                peer.sendall(b"EXISTS x\r\n")
                if peer.recv(256).startswith(b":"):
                    return self
                time.sleep(0.01)

    def output(self) -> str:
        return Path(self.directory, "server.log").read_text()

    def resident_bytes(self) -> int:
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self) -> float:
        """Processor time so far, user and system, with that of its processes: steadier than the clock when the
        machine has other work, too."""
        return sum(map(_cpu_seconds, family(self.process.pid)))

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


def family(pid: int) -> list[int]:
    """A process and all that it has started, as far as they still run."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            with suppress(OSError):
                found += map(int, task.read_text().split())
    return found


def _cpu_seconds(pid: int) -> float:
    """To the nanosecond: Linux's clock of another process's processor time, threads that have ended included."""
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:  # it has ended
        return 0.0


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
        "build": build(),
        "redis-server": redis,
        **{"redis-py" if name == "redis" else name: version(name) for name in _PACKAGES if _installed(name)},
        **({"wrk": _wrk_version()} if shutil.which("wrk") else {}),
    }


def _wrk_version() -> str:
    """It tells with its usage, and then fails."""
    words = subprocess.run(["wrk", "--version"], capture_output=True, text=True).stdout.split()
    return words[1] if len(words) > 1 else "?"


def build() -> str:
    """Which build of the package this Python imports: "compiled" (mypyc) or "pure"."""
    path = importlib.util.find_spec("ferrite_hooks.engine.run")
    return "pure" if path is None or str(path.origin).endswith(".py") else "compiled"


def warn_if_pure(of: str = "") -> None:
    """One line on stderr when this Python imports the pure build though a compiled one is there, with how to measure
    that; `of`: the module in here that was started."""
    if build() == "pure" and COMPILED.is_dir():
        again = f"make bench{of and ' OF='}{of} ARGS=…"
        print(f"this measures the pure build; the compiled one is measured by {again}", file=sys.stderr)


def _installed(name: str) -> bool:
    try:
        version(name)
    except ImportError:
        return False
    return True
