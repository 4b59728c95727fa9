"""A real server process on loopback, for tests that cross the wire or pull the plug."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path
from random import SystemRandom
from typing import Any

import redis


def free_port() -> int:
    """One below those that the system gives to outgoing connections, and this test process's own: it stays free until
    a server takes it."""
    while True:
        port = next(_ports)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _shares() -> Iterator[int]:
    """Each of the test processes beside each other has ports of its own, and comes back to one after all the others."""
    share = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    shares = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = [*range(outgoing // 2 + share, outgoing, shares)]
    SystemRandom().shuffle(ports)  # not by the tests' own chance, which may have one seed in all of their processes
    return cycle(ports)


_ports = _shares()


def until(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """What `condition` returns once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)
    return found


@contextmanager
def redis_server(directory: Path, file: str = "dump.rdb") -> Iterator[redis.Redis]:
    """What we are compared with; it starts from this file of the directory, if it is there."""
    port = free_port()
    words = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory),
             "--dbfilename", file, "--enable-debug-command", "yes", "--loglevel", "warning"]  # fmt: skip
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    client = redis.Redis(port=port, protocol=2, retry=None)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                client.ping()
                break
            except redis.RedisError:
                assert process.poll() is None and time.monotonic() < deadline, "redis-server does not start"
                time.sleep(0.02)
        yield client
    finally:
        client.close()
        process.terminate()
        process.wait(10)


class ServerProcess:
    """`ferrite-hooks` on free ports; its data stays in `directory` over `kill` and `start`. It starts with what most
    tests need and no more: it has no metrics, and sends webhooks itself unless the options say otherwise."""

    def __init__(
        self, directory: Path, *options: str, program: Sequence[str] = ("-m", "ferrite_hooks"), metrics: bool = False
    ) -> None:
        self.directory = directory
        self.program = program
        self.options = ("--set", "webhooks.delivery.sender_processes=0", *options)
        self.port = free_port()
        self.metrics_port = free_port() if metrics else 0
        self.log_path = directory.with_name(directory.name + ".log")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> ServerProcess:
        words = [sys.executable, *self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--metrics-port",
                 str(self.metrics_port), "--dir", str(self.directory), *self.options]  # fmt: skip
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while True:
            try:
                with redis.Redis(port=self.port, socket_timeout=5) as client:
                    if client.info("persistence")["loading"] == 0:
                        return self
            except redis.exceptions.AuthenticationError:
                return self
            except (redis.ConnectionError, redis.TimeoutError):
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the server did not start:\n{self.log()}")
            time.sleep(0.02)

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def senders(self) -> list[int]:
        """The pids of its sender processes."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children if b"sending" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """SIGTERM. Returns the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGTERM)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the server did not stop:\n{self.log()}") from None

    def client(self, **options: object) -> redis.Redis:
        return redis.Redis(port=self.port, **options)  # type: ignore[arg-type]

    def __enter__(self) -> ServerProcess:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()
