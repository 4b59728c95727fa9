"""A secret that was put in comes out nowhere: every command that reads is run, and every file that people look at."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from process import ServerProcess
from receiver import Receiver, Reply
from redis.backoff import NoBackoff
from redis.retry import Retry

PASSWORD = "s3cret-requirepass"
SECRETS = {
    "requirepass": PASSWORD,
    "acl": "s3cret-acl-password",
    "wrong": "s3cret-wrong-password",
    "hello": "s3cret-hello-password",
    "secret": "s3cret-signing",
    "updated": "s3cret-signing-updated",
    "rotated": "s3cret-signing-rotated",
    "whsec": "whsec_czNjcmV0LXN0YW5kYXJkLXdlYmhvb2tzLXNlY3JldA==",
    "whsk": "whsk_" + "nWGxne/9WmC6hEr0kuwsxERJxXN7MmkZcDusAxyuf2A=",
    "bearer": "s3cret-bearer",
    "basic": "s3cret-basic",
    "header": "s3cret-header",
    "refused": "s3cret-of-a-refused-command",
}
ENCODED_BASIC = "dXNlcjpzM2NyZXQtYmFzaWM="  # base64 of user:s3cret-basic

# Left out: what ends, blocks or changes the connection or the server, and AUTH, which the test itself uses.
NOT_RUN = {
    "shutdown", "quit", "auth", "hello", "monitor", "subscribe", "psubscribe", "ssubscribe", "sync", "psync", "reset",
    "failover", "replicaof", "slaveof", "debug", "acl|deluser", "acl|setuser", "acl|load", "flushall", "flushdb",
    "client|kill", "client|pause", "client|reply", "client|no-evict", "config|set", "multi", "exec", "discard",
    "webhook.delete", "config|resetstat", "slowlog|reset", "wait", "waitaof", "swapdb", "script|kill", "function|kill",
    "client|setname", "config|rewrite", "webhook.purge", "webhook.update", "webhook.rotate", "migrate", "asking",
    "readonly", "readwrite", "client|tracking", "client|caching", "script|debug", "webhook.create", "save", "bgsave",
    "bgrewriteaof", "client|unblock", "unsubscribe", "punsubscribe", "sunsubscribe",
}  # fmt: skip
ARGUMENTS: list[list[str]] = [
    [], ["*"], ["w0"], ["default"], ["ann"], ["100"], ["w0", "*"], ["all"], ["w0", "COUNT", "100"], ["requirepas*"],
    ["webhooks.*", "server.*"], ["GET", "100"], ["everything"],
]  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ServerProcess]:
    config = tmp_path / "ferrite.toml"
    config.write_text(f'[server]\nrequirepass = "{PASSWORD}"\nloglevel = "debug"\n')
    config.chmod(0o600)
    server = ServerProcess(tmp_path / "data", "--config", str(config), metrics=True)
    with server:
        yield server


def leaks(text: str | bytes) -> set[str]:
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    values = {**SECRETS, "encoded": ENCODED_BASIC}
    return {name for name, value in values.items() if value.encode() in raw}


def everything_that_can_be_read(client: redis.Redis) -> Iterator[tuple[list[str], str]]:
    """Every command with arguments that might make it talk, and what it said."""
    client.response_callbacks.clear()
    commands = [name.decode().lower() for name in client.execute_command("COMMAND", "LIST")]
    blocking = {name.decode() for name in client.execute_command("COMMAND LIST", "FILTERBY", "ACLCAT", "blocking")}
    for name in sorted(set(commands) - NOT_RUN - (blocking - {"webhook.deliveries", "webhook.test"})):
        for arguments in ARGUMENTS:
            words = [*name.split("|"), *arguments]
            try:
                reply: Any = client.execute_command(*words)
            except redis.ResponseError as error:
                reply = str(error)
            except redis.TimeoutError:
                raise AssertionError(f"{words} does not answer") from None
            yield words, repr(reply)


@pytest.mark.slow
async def test_a_secret_put_in_never_comes_out(site: ServerProcess) -> None:
    async with Receiver() as receiver:
        await asyncio.to_thread(put_in_and_look, site, receiver)
    site.stop()
    assert not leaks(site.log()), "in the log"
    for path in site.directory.iterdir():
        assert path.stat().st_mode & 0o077 == 0, f"{path.name} can be read by others"
        if path.name.startswith("history"):
            assert not leaks(path.read_bytes()), path.name
    assert any(path.name.startswith("history") for path in site.directory.iterdir())
    site.start()
    site.stop()
    assert not leaks(site.log()), "in the log of a restart"


def put_in_and_look(site: ServerProcess, receiver: Receiver) -> None:
    echoed = " ".join([SECRETS["header"], SECRETS["whsk"], ENCODED_BASIC]).encode()
    receiver.default = Reply(500, body=echoed)  # an endpoint that gives back whatever it was sent
    admin = redis.Redis(port=site.port, password=PASSWORD)
    watcher = redis.Redis(port=site.port, password=PASSWORD, socket_timeout=1)
    admin.config_set("slowlog-log-slower-than", 0)
    admin.config_set("slowlog-max-len", 10_000)
    with watcher.monitor() as monitor:
        url = receiver.url("/hook")
        words = ["HEADER", "X-Key", SECRETS["header"], "RETRIES", "0"]
        create = ["WEBHOOK.CREATE", "w0", url, *words]
        admin.execute_command(*create, "SECRET", SECRETS["secret"], "AUTH", "bearer", SECRETS["bearer"])
        admin.execute_command("WEBHOOK.UPDATE", "w0", "SECRET", SECRETS["updated"])
        admin.execute_command("WEBHOOK.UPDATE", "w0", "AUTH", "basic", "user:" + SECRETS["basic"])
        for name in ("rotated", "whsec", "whsk"):
            admin.execute_command("WEBHOOK.ROTATE", "w0", "SECRET", SECRETS[name])
        for refused in (
            ["WEBHOOK.CREATE", "w1", url, "SECRET", "whsec_!" + SECRETS["refused"]],
            ["WEBHOOK.CREATE", "w1", url, "AUTH", SECRETS["refused"], "x"],
            ["WEBHOOK.CREATE", "w1", url, "HEADER", "X-Key", SECRETS["refused"] + "\r\n"],
            ["WEBHOOK.UPDATE", "w0", "SECRET", SECRETS["refused"] + "\n"],
            ["WEBHOOK.ROTATE", "w0", SECRETS["refused"], "x"],
            ["AUTH", SECRETS["wrong"]], ["AUTH", "ann", SECRETS["wrong"]],
            ["HELLO", "3", "AUTH", "ann", SECRETS["hello"]],
            ["CONFIG", "SET", "requirepass", SECRETS["refused"], "port", "x"],
        ):  # fmt: skip
            with pytest.raises(redis.RedisError) as error:
                admin.execute_command(*refused)
            assert not leaks(str(error.value)), refused[0]
        admin.execute_command("ACL", "SETUSER", "ann", "on", ">" + SECRETS["acl"], "~*", "+@all")
        pipe = admin.pipeline()  # MULTI shows its commands, too
        pipe.execute_command("WEBHOOK.UPDATE", "w0", "SECRET", SECRETS["whsk"])
        pipe.config_set("requirepass", PASSWORD)
        pipe.execute()
        admin.set("k", "v")
        told = admin.execute_command("WEBHOOK.TEST", "w0")
        assert not leaks(repr(told))
        while not admin.execute_command("WEBHOOK.DEAD", "w0"):
            pass
        with redis.Redis(port=site.port, password=PASSWORD, socket_timeout=10, retry=Retry(NoBackoff(), 0)) as reader:
            for said, reply in everything_that_can_be_read(reader):
                assert not leaks(reply), said
        rows = repr(admin.execute_command("WEBHOOK.DELIVERIES", "w0"))
        assert "(hidden)" in rows and not leaks(rows)
        watched = []
        try:
            while True:
                watched.append(monitor.connection.read_response())
        except redis.TimeoutError:
            pass
        assert len(watched) > 500 and not leaks(repr(watched)), "in MONITOR"
    assert "WEBHOOK.CREATE" in repr(admin.slowlog_get(10_000))
    assert admin.config_get("requirepass") == {"requirepass": PASSWORD}, "asked for by its name it is shown"
    for path in ("/metrics", "/readyz", "/healthz"):
        with urllib.request.urlopen(f"http://127.0.0.1:{site.metrics_port}{path}", timeout=10) as response:
            assert not leaks(response.read()), path
    process = site.process
    assert process is not None
    for name in ("cmdline", "environ"):
        assert not leaks(Path(f"/proc/{process.pid}/{name}").read_bytes()), "for ps to see"
    admin.close()
    watcher.close()


@pytest.mark.parametrize(("key", "text"), [("client_key_file", "s3cret-key"), ("ca_file", "s3cret-ca")])
def test_the_contents_of_tls_files_are_not_in_errors(tmp_path: Path, key: str, text: str) -> None:
    file = tmp_path / "file.pem"
    file.write_text(f"-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
    words = [sys.executable, "-m", "ferrite_hooks", "--port", "0", "--metrics-port", "0",
             "--dir", str(tmp_path / "data"), "--set", f"server.unixsocket={tmp_path / 's'}",
             "--set", f"webhooks.security.{key}={file}"]  # fmt: skip
    if key == "client_key_file":
        words += ["--set", f"webhooks.security.client_cert_file={file}"]
    ended = subprocess.run(words, capture_output=True, timeout=30, env={**os.environ, "PYTHONWARNINGS": ""})
    assert ended.returncode != 0
    assert b"cannot start" in ended.stderr and text.encode() not in ended.stderr + ended.stdout
