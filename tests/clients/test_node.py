"""node's clients against the running server, and the Ferrite document's own receiver on real deliveries.

The clients are npm packages, which `make test` installs into .venv/node (or wherever NODE_CLIENTS says).
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from process import ServerProcess

HERE = Path(__file__).parent
PACKAGES = Path(os.environ.get("NODE_CLIENTS") or HERE.parent.parent / ".venv" / "node")

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


def run(script: str, server: ServerProcess) -> None:
    """Runs a file of node's own tests."""
    if not (PACKAGES / "node_modules").is_dir():
        pytest.skip(f"no npm packages in {PACKAGES}: `make test` installs them where npm and its registry are")
    done = subprocess.run(
        ["node", str(HERE / script)], capture_output=True, text=True, timeout=40,
        env={**os.environ, "NODE_CLIENTS": str(PACKAGES), "SERVER_PORT": str(server.port)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_node_redis(server: ServerProcess) -> None:
    run("node_redis.mjs", server)


def test_ioredis(server: ServerProcess) -> None:
    run("ioredis.mjs", server)


def test_bullmq(server: ServerProcess) -> None:
    run("bullmq.mjs", server)


# --- the document's receiver --------------------------------------------------------------------------------


class Verifier:
    """receiver.mjs with its secret, a line read for each request."""

    def __init__(self, secret: str) -> None:
        self._process = subprocess.Popen(
            ["node", str(HERE / "receiver.mjs")], env={**os.environ, "SECRET": secret}, stdout=subprocess.PIPE
        )
        self.url = f"http://127.0.0.1:{int(self._line())}/webhook"

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the receiver has ended"
        return line

    def next(self) -> dict[str, Any]:
        received: dict[str, Any] = json.loads(self._line())
        return received

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture
def verifier() -> Iterator[Verifier]:
    made = Verifier("mysecretkey")
    yield made
    made.close()


WRITES: list[tuple[list[Any], Any]] = [  # a command, and the `value` of its event
    (["SET", "k:ascii", "Alice"], "Alice"),
    (["SET", "k:ünïcode", "Grüße, 世界 🚀 \u2028 \u0000 \x7f"], "Grüße, 世界 🚀 \u2028 \u0000 \x7f"),
    (["SET", "k:quotes", 'a "b" \\ / \t \r\n'], 'a "b" \\ / \t \r\n'),
    (["SET", "k:json", '{"b": 1, "a": [1.0, 1e21, -0.0, {"2": 1, "1": 2}]}'],
     '{"b": 1, "a": [1.0, 1e21, -0.0, {"2": 1, "1": 2}]}'),
    (["SET", "k:bytes", b"\xff\x00\x80"], base64.b64encode(b"\xff\x00\x80").decode()),
    (["SET", b"k:\xff", "binary key"], "binary key"),
    (["INCRBYFLOAT", "k:float", "3.0e-7"], "0.0000003"),
    (["INCRBY", "k:int", 9007199254740993], "9007199254740993"),
    (["HSET", "k:hash", "10", "ten", "9", "nine", "b", "x", "a", "y", "01", "z", "4294967295", "big"],
     {"9": "nine", "10": "ten", "b": "x", "a": "y", "01": "z", "4294967295": "big"}),
    (["HSET", "k:proto", "__proto__", "1", "constructor", "2"], {"__proto__": "1", "constructor": "2"}),
    (["RPUSH", "k:list", "1", "2.50", "ü"], ["1", "2.50", "ü"]),
    (["ZADD", "k:zset", "1e-7", "tiny", "1e21", "huge", "0.1", "float", "-0", "zero", "inf", "7", "100", "int"],
     None),
    (["XADD", "k:stream", "7-1", "f", "v", "2", "w"], {"id": "7-1", "fields": {"2": "w", "f": "v"}}),
]  # fmt: skip


def write_all(server: ServerProcess) -> None:
    with server.client() as client:
        for words, _ in WRITES:
            client.execute_command(*words)
        client.execute_command(
            "WEBHOOK.EMIT", "user.created", "DATA", '{"z":{"10":1,"9":[1.50,1e300,"\\u00e9\\ud83d\\ude80"]},"a":null}'
        )


def test_every_delivery_verifies_in_node(server: ServerProcess, verifier: Verifier) -> None:
    with server.client() as client:
        client.execute_command("WEBHOOK.CREATE", "w", verifier.url, "SECRET", "mysecretkey", "EVENTS", "*", "user.*")
    write_all(server)
    received = [verifier.next() for _ in range(len(WRITES) + 1)]
    assert [r["raw"] for r in received if not r["verified"]] == []
    payloads = {r["payload"]["key"]: r["payload"] for r in received if r["payload"]["key"]}
    for words, value in WRITES:
        key = words[1] if isinstance(words[1], str) else base64.b64encode(words[1]).decode()
        if value is not None:
            assert payloads[key]["data"]["value"] == value
    assert payloads["k:bytes"]["data"]["encoding"] == "base64"


def test_batches_verify_in_node(server: ServerProcess, verifier: Verifier) -> None:
    with server.client() as client:
        client.execute_command(
            "WEBHOOK.CREATE", "w", verifier.url, "SECRET", "mysecretkey", "EVENTS", "*", "user.*",
            "BATCH", "true", "BATCH_SIZE", str(len(WRITES) + 1),
        )  # fmt: skip
    write_all(server)
    events: list[Any] = []
    while len(events) <= len(WRITES):
        received = verifier.next()
        assert received["verified"], received["raw"]
        assert received["payload"]["count"] == len(received["payload"]["events"])
        events += received["payload"]["events"]
    sequence = [event["metadata"]["sequence"] for event in events]
    assert sequence == sorted(sequence)


@pytest.mark.parametrize("secret", ["otherkey", "mysecretke", "Mysecretkey"])
def test_a_wrong_secret_is_refused(server: ServerProcess, verifier: Verifier, secret: str) -> None:
    with server.client(decode_responses=True) as client:
        client.execute_command("WEBHOOK.CREATE", "w", verifier.url, "SECRET", secret, "RETRIES", "0")
        client.set("k", "v")
        assert verifier.next()["verified"] is False
        assert client.execute_command("WEBHOOK.TEST", "w")["http_status"] == 401
