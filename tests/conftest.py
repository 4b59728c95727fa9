"""Fixtures that all tests share: an engine without sockets, and a real redis-server to compare with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1]))  # for the benchmarks; last, or it would hide the compiled build

from fakes import Client, Harness
from oracle import Oracle
from process import redis_server

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
    with tempfile.TemporaryDirectory(prefix="oracle-") as directory, redis_server(Path(directory)) as client:
        client.close()  # nobody counts it
        yield client.connection_pool.connection_kwargs["port"]


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


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA, a server certificate for localhost and a client certificate."""
    where = tmp_path_factory.mktemp("tls")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=where, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2",
            "-subj", "/CN=test CA")  # fmt: skip
    for name in ("server", "client"):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr",
                "-subj", f"/CN={name}")  # fmt: skip
        (where / "ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", f"{name}.pem", "-days", "2", "-extfile", "ext")  # fmt: skip
    return where
