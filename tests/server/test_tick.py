"""What clients see when the disk is full for a while, or cannot follow."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
import redis.exceptions
from process import free_port
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ferrite_hooks.app import App
from ferrite_hooks.config import load
from ferrite_hooks.engine.command import COMMANDS
from ferrite_hooks.server import tick
from ferrite_hooks.store.files import DISK, Files


class Disk:
    """A disk that can be full (or fail in another way), or so slow that fsync waits for `go`."""

    def __init__(self) -> None:
        self.full = False
        self.errno = errno.ENOSPC
        self.dying = False  # fsync fails
        self.go = threading.Event()
        self.go.set()
        self.files = replace(DISK, write=self._write, sync=self._sync)

    def _write(self, fd: int, data: bytes | memoryview) -> int:
        if self.full:
            raise OSError(self.errno, os.strerror(self.errno))
        return os.write(fd, data)

    def _sync(self, fd: int) -> None:
        assert self.go.wait(30)
        if self.dying:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.fsync(fd)


@asynccontextmanager
async def running(directory: Path, files: Files = DISK, **settings: object) -> AsyncIterator[App]:
    overrides: dict[str, object] = {
        "server.port": free_port(), "server.metrics_port": free_port(), "server.dir": str(directory),
        **settings,
    }  # fmt: skip
    app = App(load(None, overrides), None, overrides, files)
    await app.start()
    try:
        yield app
    finally:
        app.stop()
        await app.stopped()


@asynccontextmanager
async def clients(app: App, count: int) -> AsyncIterator[list[Any]]:
    made = [redis.asyncio.Redis(port=app.config.server.port) for _ in range(count)]
    try:
        for client in made:
            await client.ping()
        yield made
    finally:
        for client in made:
            await client.aclose()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def http(app: App, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{app.config.server.metrics_port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.parametrize(
    ("fsync", "code"),
    [
        ("always", errno.ENOSPC), ("everysec", errno.ENOSPC), ("no", errno.ENOSPC), ("everysec", errno.EIO),
        ("always", errno.EROFS), ("everysec", errno.EDQUOT),
    ],
)  # fmt: skip
async def test_a_full_disk_heals_and_loses_nothing(tmp_path: Path, fsync: str, code: int) -> None:
    disk = Disk()
    disk.errno, said = code, os.strerror(code)
    async with running(tmp_path, disk.files, **{"journal.fsync": fsync}) as app, clients(app, 3) as (a, b, c):
        await a.set("k", "before")
        await a.set("x", "short", px=60_000)
        disk.full = True
        waiting = asyncio.create_task(b.set("k", "during"))
        await until(lambda: app.engine.write_error)
        for words in (("SET", "k", "refused"), ("WEBHOOK.CREATE", "w", "http://127.0.0.1:9/")):
            with pytest.raises(redis.exceptions.ResponseError, match=rf"MISCONF.*{said}"):
                await a.execute_command(*words)
        assert await a.get("x") == b"short" and await c.ping()  # reads go on
        assert (await a.info("persistence"))["aof_last_write_status"] == "err"
        with pytest.raises(redis.exceptions.ResponseError, match=said):
            await a.save()
        status, body = await asyncio.to_thread(http, app, "/readyz")
        assert status == 503 and said in body
        assert "ferrite_journal_write_error 1.0" in (await asyncio.to_thread(http, app, "/metrics"))[1]
        assert not waiting.done()  # neither confirmed nor denied
        disk.full = False
        assert await waiting is True
        await until(lambda: not app.engine.write_error)
        assert await c.set("after", 1)
        assert (await asyncio.to_thread(http, app, "/readyz"))[0] == 200
    async with running(tmp_path) as app, clients(app, 1) as (a,):
        assert await a.mget("k", "x", "after") == [b"during", b"short", b"1"]


async def test_a_failed_fsync_under_always_is_final(tmp_path: Path) -> None:
    """Whether the kernel still has those bytes is unknown: they are neither confirmed nor denied, and nobody may build
    on them until a restart has read what the disk has."""
    disk = Disk()
    async with running(tmp_path, disk.files, **{"journal.fsync": "always"}) as app, clients(app, 2) as (a, b):
        await a.set("k", "before")
        disk.dying = True
        once = redis.asyncio.Redis(port=app.config.server.port, retry=Retry(NoBackoff(), 0))
        with pytest.raises(redis.exceptions.ConnectionError):
            await asyncio.wait_for(once.execute_command("SET", "k", "unsure"), 20)
        await once.aclose()
        disk.dying = False
        with pytest.raises(redis.exceptions.ResponseError, match=r"MISCONF.*fsync.*check the disk and restart"):
            await b.set("other", "refused")
        assert await b.get("k") == b"unsure" and await b.ping()  # reads go on
        status, body = await asyncio.to_thread(http, app, "/readyz")
        assert status == 503 and "fsync" in body
        assert "ferrite_journal_write_error 1.0" in (await asyncio.to_thread(http, app, "/metrics"))[1]
    async with running(tmp_path) as app, clients(app, 1) as (a,):
        assert await a.get("k") in (b"before", b"unsure") and await a.exists("other") == 0


async def test_replies_of_many_clients_wait_for_one_fsync(tmp_path: Path) -> None:
    disk = Disk()
    async with running(tmp_path, disk.files, **{"journal.fsync": "always"}) as app, clients(app, 30) as all_clients:
        assert app.journal is not None
        before, frames = app.journal.syncs, app.journal.last_frame
        disk.go.clear()
        writes = [asyncio.create_task(client.set(f"k{n}", n)) for n, client in enumerate(all_clients)]
        await until(lambda: len(app.engine.databases[0].data) == 30)
        assert not any(write.done() for write in writes)
        disk.go.set()
        assert await asyncio.gather(*writes) == [True] * 30
        assert app.journal.syncs - before <= 3  # the one under way, and those that came meanwhile
        assert app.journal.last_frame - frames <= 3


async def test_those_who_only_read_in_the_tick_of_the_failure_get_their_reply(tmp_path: Path) -> None:
    disk = Disk()
    async with running(tmp_path, disk.files) as app, clients(app, 2) as (a, _):
        await a.set("k", "v")
        disk.full = True
        connections = list(app.clients.connections.values())
        assert len(connections) == 2
        # Both commands arrive in one tick: the connections are fed by hand, in the loop.
        connections[0].data_received(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nw\r\n")
        connections[1].data_received(b"*2\r\n$3\r\nGET\r\n$1\r\nx\r\n")
        sent = watched(connections)
        await until(lambda: app.engine.write_error)
        assert sent == [(1, b"_\r\n")]
        disk.full = False
        await until(lambda: not app.engine.write_error)
        assert sent == [(1, b"_\r\n"), (0, b"+OK\r\n")]


async def test_chunks_run_in_their_order_when_the_loop_has_been_around(tmp_path: Path) -> None:
    async with running(tmp_path) as app, clients(app, 2):
        connections = list(app.clients.connections.values())
        sent = watched(connections)
        connections[0].data_received(b"SET k v\r\nGET")
        connections[1].data_received(b"GET k\r\n")
        assert b"k" not in app.engine.databases[0].data
        connections[0].data_received(b" k\r\n")  # a second one: what is there already runs first
        assert b"k" in app.engine.databases[0].data
        await until(lambda: len(sent) == 2)
        assert sent == [(0, b"+OK\r\n$1\r\nv\r\n"), (1, b"$1\r\nv\r\n")]


async def test_much_that_arrives_runs_before_the_loop_has_been_around(tmp_path: Path) -> None:
    async with running(tmp_path) as app, clients(app, 2):
        connections = list(app.clients.connections.values())
        connections[0].data_received(b"SET first v\r\n")
        assert not app.engine.databases[0].data
        value = b"x" * tick.MOST_ARRIVED
        connections[1].data_received(b"*3\r\n$3\r\nSET\r\n$6\r\nsecond\r\n$%d\r\n%b\r\n" % (len(value), value))
        assert set(app.engine.databases[0].data) == {b"first", b"second"}


async def test_a_fault_while_reading_costs_one_client_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fault() -> Any:
        raise RuntimeError("what an angel would not do")

    async with running(tmp_path) as app, clients(app, 2):
        connections = list(app.clients.connections.values())
        sent = watched(connections)
        app.tick.clients_limit = 1 << 40  # who comes is weighed
        connections[0].session.transport_info = fault
        connections[0].data_received(b"PING\r\n")
        connections[1].data_received(b"PING\r\n")
        await until(lambda: connections[0].closed)
        assert sent == [(1, b"+PONG\r\n")] and not connections[1].closed
        assert "what an angel would not do" in caplog.text and "internal error" in caplog.text


async def test_a_fault_in_what_has_waited_costs_one_client_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path) as app, clients(app, 2) as (_, other):
        connection = next(iter(app.clients.connections.values()))
        monkeypatch.setattr(COMMANDS[b"echo"], "handler", lambda s, argv: object())  # nobody can encode that
        connection.data_received(b"PING\r\n" * 2000 + b"ECHO x\r\n" + b"SET k v\r\n")
        await until(lambda: connection.closed)
        assert "internal error" in caplog.text and connection not in app.clients.connections.values()
        assert await other.exists("k") == 0


async def test_nothing_is_given_to_who_is_dropped(tmp_path: Path) -> None:
    async with running(tmp_path) as app, _Peer(app) as one, _Peer(app) as other:
        await one.send("BLPOP list 0")
        connection = next(each for each in app.clients.connections.values() if each.session.blocked)
        app.clients.drop(connection, "for a test")
        assert app.engine.blocked_clients == 0
        await other.says("RPUSH list v", b":1\r\n")
        await other.says("LLEN list", b":1\r\n")


def idle(app: App) -> None:
    """Ten seconds pass, of which the timeout allows one, and the server looks for idle clients."""
    app.engine.settings["timeout"] = 1
    for connection in app.clients.connections.values():
        connection.session.last_at -= 10_000
    app.clients.sweep()


async def test_whose_command_has_waited_is_not_idle(tmp_path: Path) -> None:
    async with running(tmp_path) as app, _Peer(app) as one:
        await one.send("BLPOP list 0")
        idle(app)
        async with _Peer(app) as other:
            await other.says("RPUSH list v", b":1\r\n")
            await one.hears(b"*2\r\n$4\r\nlist\r\n$1\r\nv\r\n")
        app.clients.sweep()
        await one.says("PING", b"+PONG\r\n")
        idle(app)
        await one.ended()


async def test_who_reads_slowly_is_not_idle(tmp_path: Path) -> None:
    async with running(tmp_path) as app:
        reader, writer = await asyncio.open_connection("127.0.0.1", app.config.server.port, limit=1000)
        writer.write(b"SET big %b\r\n" % (b"x" * 60_000) + b"GET big\r\n" * 1000)
        await until(lambda: any(c.full for c in app.clients.connections.values()))
        (connection,) = app.clients.connections.values()
        idle(app)
        for _ in range(3):
            unread = connection.transport.get_write_buffer_size()
            while connection.transport.get_write_buffer_size() == unread:
                await reader.read(100_000)
            idle(app)
            assert not connection.closed
        idle(app)
        await until(lambda: connection.closed)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_who_waits_for_the_disk_is_not_idle(tmp_path: Path) -> None:
    async with _while_it_syncs(tmp_path) as (app, disk, one, other):
        idle(app)
        await other.ended()
        disk.go.set()
        await one.hears(b"+OK\r\n")
        app.clients.sweep()
        await one.says("PING", b"+PONG\r\n")


def watched(connections: list[Any]) -> list[tuple[int, bytes]]:
    """What is written to each connection from now on, with its number."""
    sent: list[tuple[int, bytes]] = []
    for number, connection in enumerate(connections):
        connection.transport = _Spy(connection.transport, lambda data, n=number: sent.append((n, data)))
    return sent


class _Spy:
    """A transport whose writes are seen."""

    def __init__(self, transport: Any, saw: Callable[[bytes], object]) -> None:
        self._transport = transport
        self._saw = saw

    def write(self, data: bytes) -> None:
        self._saw(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


async def test_writes_wait_for_a_disk_that_is_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tick, "LAG_MS", 20)
    disk = Disk()
    async with running(tmp_path, disk.files, **{"journal.fsync": "everysec"}) as app, clients(app, 2) as (a, b):
        disk.go.clear()
        assert await a.set("k", 1)  # everysec: at once
        assert app.journal is not None
        await until(lambda: app.journal.fsync_lag_ms > 20)  # type: ignore[union-attr]
        waiting = asyncio.create_task(b.set("k", 2))
        await until(lambda: app.tick.delayed)
        assert not waiting.done()
        disk.go.set()
        assert await waiting
        assert (await a.info("persistence"))["aof_delayed_fsync"] >= 1
        await until(lambda: app.journal.fsync_lag_ms == 0)  # type: ignore[union-attr]
        assert await a.set("k", 3)


async def test_a_snapshot_with_fsync_always_has_what_was_confirmed(tmp_path: Path) -> None:
    async with running(tmp_path, **{"journal.fsync": "always"}) as app, clients(app, 2) as (a, b):
        await a.execute_command("WEBHOOK.CREATE", "w", "http://127.0.0.1:9/", "RETRIES", 50)
        await a.execute_command("WEBHOOK.PAUSE", "w")
        await asyncio.gather(*[client.set(f"k{n}", n) for n in range(50) for client in (a, b)])
        pipe = a.pipeline(transaction=False)
        pipe.set("last", 1).save()
        assert await pipe.execute() == [True, True]
        frame = app.keeper.covered
        assert app.journal is not None and frame == app.journal.durable_frame
    for path in sorted(tmp_path.glob("journal-*.log"))[:-1]:
        path.unlink()
    async with running(tmp_path) as app, clients(app, 1) as (a,):
        assert await a.dbsize() == 51
        info = await a.execute_command("WEBHOOK.INFO", "w")
        assert info[b"pending"] == 101


async def test_a_webhook_is_confirmed_only_when_the_journal_has_it(tmp_path: Path) -> None:
    disk = Disk()
    async with running(tmp_path / "data", disk.files) as app, clients(app, 2) as [one, other]:
        disk.full = True
        made = asyncio.create_task(one.execute_command("WEBHOOK.CREATE", "w", "http://127.0.0.1:9/"))
        await until(lambda: app.engine.write_error)
        for _ in range(3):
            await other.ping()
        assert not made.done()
        disk.full = False
        assert await made == b"OK"


class _Peer:
    """A client that sends lines as they are and reads bytes."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __aenter__(self) -> _Peer:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._app.config.server.port)
        await self.says("PING", b"+PONG\r\n")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def send(self, line: str) -> None:
        """It has run, and the journal has been asked to take it, when this returns."""
        ran = self._app.engine.host.reads
        self._writer.write(line.encode() + b"\r\n")
        await until(lambda: self._app.engine.host.reads > ran)
        await asyncio.sleep(0)  # and its turn of the loop is over

    async def hears(self, wanted: bytes) -> None:
        assert await asyncio.wait_for(self._reader.readexactly(len(wanted)), 20) == wanted

    async def line(self) -> bytes:
        return await asyncio.wait_for(self._reader.readline(), 20)

    async def says(self, line: str, wanted: bytes) -> None:
        await self.send(line)
        await self.hears(wanted)

    async def ended(self) -> None:
        assert await asyncio.wait_for(self._reader.read(), 20) == b""


@asynccontextmanager
async def _while_it_syncs(directory: Path) -> AsyncIterator[tuple[App, Disk, _Peer, _Peer]]:
    """Under `always`: the fsync of the first peer's SET a 1 lasts until `go`."""
    disk = Disk()
    async with (
        running(directory, disk.files, **{"journal.fsync": "always"}) as app, _Peer(app) as one, _Peer(app) as other
    ):  # fmt: skip
        disk.go.clear()
        await one.send("SET a 1")
        yield app, disk, one, other


async def test_replies_keep_their_order_when_the_policy_changes(tmp_path: Path) -> None:
    disk = Disk()
    async with running(tmp_path, disk.files, **{"journal.fsync": "always"}) as app, _Peer(app) as peer:
        accepted: list[int] = []
        accept = app.tick.accept

        def accepting(changes: list[Any], frame: int) -> None:
            accepted.append(frame)
            accept(changes, frame)

        await peer.says("WEBHOOK.CREATE w http://127.0.0.1:9/ EVENTS @string", b"+OK\r\n")
        await peer.says("WEBHOOK.PAUSE w", b"+OK\r\n")
        app.tick.accept = accepting
        disk.go.clear()
        await peer.send("SET a 1")
        await peer.send("CONFIG SET appendfsync everysec")
        await peer.send("INCRBY a 40")
        await peer.send("GET a")
        assert not accepted
        disk.go.set()
        await peer.hears(b"+OK\r\n+OK\r\n:41\r\n$2\r\n41\r\n")
        assert len(accepted) == 2 and accepted == sorted(accepted)


async def test_replies_keep_their_order_when_the_disk_is_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tick, "LAG_MS", 20)
    disk = Disk()
    async with running(tmp_path, disk.files, **{"journal.fsync": "everysec"}) as app, _Peer(app) as peer:
        assert app.journal is not None
        disk.go.clear()
        await peer.says("SET a 1", b"+OK\r\n")
        await until(lambda: app.journal.fsync_lag_ms > 20)  # type: ignore[union-attr]
        await peer.send("SET a 2")
        monkeypatch.setattr(tick, "LAG_MS", 60_000)  # it is not behind any more, but the write still waits
        await peer.send("INCRBY a 40")
        await peer.send("ECHO last")
        disk.go.set()
        await peer.hears(b"+OK\r\n:42\r\n$4\r\nlast\r\n")


async def test_replies_keep_their_order_when_the_disk_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tick, "MOST_KEPT", 0)
    async with _while_it_syncs(tmp_path) as (app, disk, one, other):
        disk.full = True
        await other.send("SET b 2")
        await until(lambda: app.engine.write_error)
        await one.send("GET a")
        disk.go.set()
        await one.hears(b"+OK\r\n$1\r\n1\r\n")
        disk.full = False
        await other.hears(b"+OK\r\n")


async def test_a_disk_that_fills_up_is_noticed_when_the_fsync_under_way_has_ended(tmp_path: Path) -> None:
    async with _while_it_syncs(tmp_path) as (app, disk, one, other):
        disk.full = True
        await other.send("SET b 2")
        await one.send("GET a")
        await one.send("SET a 3")
        assert not app.engine.write_error
        disk.go.set()
        await one.hears(b"+OK\r\n")
        await until(lambda: app.engine.write_error)
        disk.full = False
        await one.hears(b"$1\r\n1\r\n+OK\r\n")
        await other.hears(b"+OK\r\n")


async def test_what_came_during_an_fsync_that_failed_is_not_confirmed(tmp_path: Path) -> None:
    disk = Disk()
    async with (
        running(tmp_path, disk.files, **{"journal.fsync": "always"}) as app,
        _Peer(app) as one, _Peer(app) as other, _Peer(app) as reader,
    ):  # fmt: skip
        await reader.says("SET b 0", b"+OK\r\n")
        disk.go.clear()
        disk.dying = True
        await one.send("SET a 1")
        await other.send("SET b 2")
        await reader.send("GET a")
        disk.go.set()
        for peer in (one, other):
            await peer.ended()
        await reader.hears(b"$1\r\n1\r\n")
        async with _Peer(app) as later:
            await later.says("PING", b"+PONG\r\n")
            await later.send("SET c 3")
            assert (await later.line()).startswith(b"-MISCONF")


async def test_who_wants_no_replies_is_disconnected_too_when_an_fsync_fails(tmp_path: Path) -> None:
    async with _while_it_syncs(tmp_path) as (_, disk, one, other):
        await other.send("CLIENT REPLY OFF")
        await other.send("SET b 2")
        await other.send("QUIT")
        disk.dying = True
        disk.go.set()
        await one.ended()
        await other.ended()


async def test_a_failed_fsync_under_everysec_refuses_what_follows(tmp_path: Path) -> None:
    disk = Disk()
    async with running(tmp_path, disk.files, **{"journal.fsync": "everysec"}) as app, _Peer(app) as one:
        disk.dying = True
        await one.says("SET a 1", b"+OK\r\n")
        await until(lambda: app.journal is not None and app.journal.broken)
        await one.send("SET a 2")
        await one.ended()
        async with _Peer(app) as later:
            await later.says("GET a", b"$1\r\n2\r\n")
            await later.send("SET a 3")
            assert (await later.line()).startswith(b"-MISCONF")


async def test_reads_leave_nothing_behind_while_the_disk_is_full(tmp_path: Path) -> None:
    disk = Disk()
    async with running(tmp_path, disk.files) as app, _Peer(app) as one, _Peer(app) as other:
        disk.full = True
        await one.send("SET a 1")
        await until(lambda: app.engine.write_error)
        held = len(app.tick._held)
        for _ in range(10):
            await other.says("GET a", b"$1\r\n1\r\n")
        assert len(app.tick._held) == held
        disk.full = False
        await one.hears(b"+OK\r\n")


async def test_many_bytes_do_not_wait_for_the_fsync_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tick, "MOST_READ", 1000)
    async with _while_it_syncs(tmp_path) as (app, disk, one, two):
        assert app.journal is not None
        frame = app.journal.last_frame
        await two.send("SET b small")
        assert app.journal.last_frame == frame
        await two.send("SET b " + "x" * 1000)
        assert app.journal.last_frame == frame + 1
        disk.go.set()
        await one.hears(b"+OK\r\n")
        await two.hears(b"+OK\r\n+OK\r\n")


async def test_a_connection_is_not_closed_before_its_last_reply(tmp_path: Path) -> None:
    disk = Disk()
    async with running(tmp_path, disk.files, **{"journal.fsync": "always"}) as app, _Peer(app) as peer:
        disk.go.clear()
        await peer.send("SET a 1")
        await peer.send("QUIT")
        disk.go.set()
        await peer.hears(b"+OK\r\n+OK\r\n")
        await peer.ended()
