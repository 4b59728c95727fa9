"""One real server process for each file of client tests, emptied before each test, and a webhook receiver."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from blocking_receiver import BlockingReceiver
from process import ServerProcess


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("server") / "data", "--log-level", "warning") as started:
        yield started
    assert "Traceback" not in started.log(), started.log()


@pytest.fixture
def server(running: ServerProcess) -> ServerProcess:
    """The running server without data, webhooks and changed settings."""
    with running.client(decode_responses=True, protocol=2) as client:
        client.flushall()
        client.config_set("notify-keyspace-events", "")
        for webhook in client.execute_command("WEBHOOK.LIST"):
            client.execute_command("WEBHOOK.DELETE", dict(zip(webhook[::2], webhook[1::2], strict=True))["name"])
    return running


@pytest.fixture
def receiver() -> Iterator[BlockingReceiver]:
    with BlockingReceiver() as started:
        yield started
