"""Fixtures that all tests share: an engine without sockets, and a real redis-server to compare with."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1]))  # for the benchmarks; last, or it would hide the compiled build

from fakes import Client, Harness
from oracle import Oracle

from ferrite_hooks.version import build


def pytest_sessionstart() -> None:
    """`make test` says which build it means; testing the other one in its stead would go unnoticed."""
    if (meant := os.environ.get("FERRITE_HOOKS_BUILD", build())) != build():
        raise pytest.UsageError(f"these would be tests of the {build()} build, not of the {meant} one")


@pytest.fixture
def harness() -> Harness:
    return Harness()


@pytest.fixture
def client(harness: Harness) -> Client:
    return harness.client


@pytest.fixture(scope="session")
def redis_port() -> Iterator[int]:
    """The port of a redis-server that lives as long as this test process."""
    if shutil.which("redis-server") is None:
        pytest.fail("redis-server is not installed; `make test` installs it")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    directory = tempfile.mkdtemp(prefix="oracle-")
    process = subprocess.Popen(
        ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no", "--dir", directory,
         "--enable-debug-command", "yes", "--loglevel", "warning"],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def redis_parameters(redis_port: int) -> dict[bytes, bytes]:
    """What CONFIG GET says of the fresh redis-server."""
    wire = Oracle(redis_port)
    try:
        return parameters(wire)
    finally:
        wire.close()


def parameters(wire: Oracle) -> dict[bytes, bytes]:
    words = wire("CONFIG", "GET", "*").split(b"\r\n")[2::2]
    return dict(zip(words[::2], words[1::2], strict=True))


@pytest.fixture
def oracle(redis_port: int, redis_parameters: dict[bytes, bytes]) -> Iterator[Oracle]:
    """A clean redis-server connection: `oracle("SET", "k", "v")` returns the raw reply bytes."""
    connection = Oracle(redis_port)
    connection("FLUSHALL")
    for name, value in parameters(connection).items():
        if value != redis_parameters[name]:  # an earlier test has changed it
            connection("CONFIG", "SET", name, redis_parameters[name])
    yield connection
    connection.close()
