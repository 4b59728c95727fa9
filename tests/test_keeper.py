"""Snapshots and compaction of a whole server: what they answer, and that nothing goes lost by them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from process import ServerProcess, until
from rdb_world import as_read, fill
from receiver import Receiver, Reply

DEAF = "http://127.0.0.1:9/hook"  # nobody listens there
QUIET = ("--log-level", "notice", "--set", "server.enable_debug_command=yes")
LIBRARY = "#!lua name=lib\nredis.register_function('answer', function() return 42 end)"


def facts(client: Any) -> dict[str, Any]:
    return dict(client.info("persistence"))


def saved(client: Any) -> dict[str, Any]:
    """Waits for the background save that is under way."""
    return dict(until(lambda: (f := facts(client))["rdb_bgsave_in_progress"] + f["aof_rewrite_in_progress"] == 0 and f))


def content(client: Any, key: bytes) -> Any:
    """A key as clients see it; of streams what an RDB file of version 10 can say (it has no active-time)."""
    if client.type(key) != b"stream":
        return as_read(client, key)
    groups = client.xinfo_groups(key)
    pending = [client.xpending_range(key, group["name"], "-", "+", 1000) for group in groups]
    return client.xrange(key), groups, [[{**row, "time_since_delivered": 0} for row in rows] for rows in pending]


def segments(server: ServerProcess) -> list[str]:
    return sorted(path.name for path in server.directory.glob("journal-*.log"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data", *QUIET) as running:
        yield running


def test_all_data_webhooks_and_libraries_come_back_from_a_snapshot(server: ServerProcess) -> None:
    with server.client(protocol=2) as client:
        fill(client)
        client.pexpireat("string:1", 4102444800000)
        client.execute_command("SELECT", 5)
        client.set("elsewhere", "v")
        client.execute_command("SELECT", 0)
        client.function_load(LIBRARY)
        client.execute_command("WEBHOOK.CREATE", "w", DEAF, "SECRET", "top-secret", "RETRIES", 50)
        client.set("string:0", "pending")
        before = {key: content(client, key) for key in sorted(client.keys())}
        digest = client.execute_command("DEBUG", "DIGEST")
        assert client.execute_command("BGREWRITEAOF") is True
        told = saved(client)
        assert told["aof_rewrites"] == 1 and told["journal_snapshot_frame"] == told["journal_last_frame"]
        server.kill()
        for name in segments(server)[:-1]:  # the snapshot must not need them
            (server.directory / name).unlink()
        server.start()
        assert {key: content(client, key) for key in sorted(client.keys())} == before
        assert client.execute_command("DEBUG", "DIGEST") == digest
        assert client.pexpiretime("string:1") == 4102444800000
        assert client.fcall("answer", 0) == 42
        info = dict(zip(*[iter(client.execute_command("WEBHOOK.INFO", "w"))] * 2, strict=True))
        assert info[b"pending"] == 1 and info[b"secret"] == b"set"
    assert "top-secret" not in server.log()


def test_replies_and_numbers(server: ServerProcess) -> None:
    with server.client() as client:
        before = client.execute_command("LASTSAVE")
        client.set("k", "v")
        assert facts(client)["rdb_changes_since_last_save"] == 1
        raw = client.connection_pool.get_connection()
        replies = []
        # In one write, so that the first is still under way at the second.
        raw.send_packed_command(raw.pack_commands([
            ("BGSAVE",), ("BGSAVE",), ("SAVE",), ("BGREWRITEAOF",), ("BGSAVE", "BOGUS"),
        ]))  # fmt: skip
        for _ in range(5):
            try:
                replies.append(raw.read_response())
            except redis.ResponseError as error:
                replies.append(str(error))
        assert replies == [
            b"Background saving started", "Background save already in progress", "Background save already in progress",
            b"Background append only file rewriting scheduled", "syntax error",
        ]  # fmt: skip
        until(lambda: facts(client)["aof_rewrites"] == 1)
        raw.send_packed_command(raw.pack_commands([("BGREWRITEAOF",), ("BGREWRITEAOF",), ("BGSAVE",),
                                                   ("BGSAVE", "SCHEDULE")]))  # fmt: skip
        replies.clear()
        for _ in range(4):
            try:
                replies.append(raw.read_response())
            except redis.ResponseError as error:
                replies.append(str(error))
        assert replies[0] == b"Background append only file rewriting started"
        assert replies[1] == "Background append only file rewriting already in progress"
        assert "Use BGSAVE SCHEDULE" in str(replies[2]) and replies[3] == b"Background saving scheduled"
        client.connection_pool.release(raw)
        told = until(lambda: (f := facts(client))["rdb_saves"] == 2 and f)
        assert told["rdb_changes_since_last_save"] == 0 and told["rdb_last_bgsave_status"] == "ok"
        assert told["aof_enabled"] == 1 and told["aof_base_size"] > 0
        assert client.save() is True
        assert client.execute_command("LASTSAVE") >= before
        assert client.info("stats")["total_forks"] == 4
        with client.pipeline() as pipe:
            pipe.set("k", 2).execute_command("DEBUG", "RELOAD").get("k")
            assert "transaction" in str(pipe.execute(raise_on_error=False)[1])


def test_debug_reload_and_loadaof_keep_the_data(server: ServerProcess) -> None:
    with server.client(protocol=2) as client:
        fill(client)
        digest = client.execute_command("DEBUG", "DIGEST")
        client.execute_command("DEBUG", "RELOAD")
        assert client.execute_command("DEBUG", "DIGEST") == digest
        client.set("later", "v")
        digest = client.execute_command("DEBUG", "DIGEST")
        client.execute_command("DEBUG", "LOADAOF")
        assert client.execute_command("DEBUG", "DIGEST") == digest
        client.execute_command("DEBUG", "RELOAD", "NOSAVE")
        assert client.exists("later") == 0  # the snapshot does not have it, and so has the journal not any more
        server.kill()
        server.start()
        assert client.exists("later") == 0


def test_debug_reload_merges_what_was_saved_with_what_is_there(server: ServerProcess) -> None:
    with server.client(protocol=2, decode_responses=True) as client:
        client.mset({"both": "old", "saved": 1})
        client.function_load("#!lua name=one\nredis.register_function('one', function() return 1 end)")
        client.save()
        client.set("both", "new", ex=1000)
        client.set("added", 2)
        client.function_load("#!lua name=two\nredis.register_function('two', function() return 2 end)")
        with pytest.raises(redis.ResponseError, match="Error trying to load the RDB dump"):
            client.execute_command("DEBUG", "RELOAD", "NOSAVE", "NOFLUSH")
        for _ in range(2):
            assert client.execute_command("DEBUG", "RELOAD", "NOSAVE", "NOFLUSH", "MERGE") == "OK"
            assert client.mget("both", "saved", "added") == ["old", "1", "2"] and client.ttl("both") == -1
            assert client.fcall("one", 0) == 1 and client.fcall("two", 0) == 2
        server.kill()
        server.start()
        assert client.mget("both", "saved", "added") == ["old", "1", "2"]
        client.execute_command("DEBUG", "RELOAD", "NOFLUSH", "MERGE")
        assert client.dbsize() == 3


async def test_pending_and_dead_events_survive_compaction(tmp_path: Path) -> None:
    options = (*QUIET, "--set", "webhooks.queue.max_pending=1000")
    async with Receiver() as receiver:
        receiver.default = Reply(500)
        server = ServerProcess(tmp_path / "data", *options)
        await asyncio.to_thread(server.start)
        try:
            with server.client() as client:
                client.execute_command(
                    "WEBHOOK.CREATE", "dies", receiver.url("/dies"), "RETRIES", 0, "PATTERN", "dead:*"
                )
                client.execute_command(
                    "WEBHOOK.CREATE", "waits", receiver.url("/waits"), "RETRY_DELAY", 60000, "RETRIES", 9,
                    "PATTERN", "wait:*",
                )  # fmt: skip
                client.execute_command("WEBHOOK.PAUSE", "waits")
                for n in range(3):
                    client.set(f"dead:{n}", n)
                    client.set(f"wait:{n}", n)
                await asyncio.to_thread(until, lambda: len(client.execute_command("WEBHOOK.DEAD", "dies")) == 3)
                ids = {json.loads(r.body)["key"]: json.loads(r.body)["id"] for r in receiver.requests}
                client.execute_command("BGREWRITEAOF")
                await asyncio.to_thread(saved, client)
                await asyncio.to_thread(server.kill)
                for name in segments(server)[:-1]:
                    (server.directory / name).unlink()
                receiver.default = Reply(200)
                receiver.requests.clear()
                await asyncio.to_thread(server.start)
                assert len(client.execute_command("WEBHOOK.DEAD", "dies")) == 3
                assert client.execute_command("WEBHOOK.REPLAY", "dies", "DEAD") == 3
                client.execute_command("WEBHOOK.RESUME", "waits")
                requests = await receiver.wait(6)
                events = {json.loads(r.body)["key"]: json.loads(r.body) for r in requests}
                assert sorted(events) == sorted([f"dead:{n}" for n in range(3)] + [f"wait:{n}" for n in range(3)])
                assert all(events[key]["id"] == id for key, id in ids.items())
                client.set("wait:new", "v")
                last = json.loads((await receiver.wait(7))[-1].body)
                assert last["metadata"]["sequence"] > max(e["metadata"]["sequence"] for e in events.values())
        finally:
            await asyncio.to_thread(server.stop)


async def test_replay_since_reaches_behind_a_compaction(tmp_path: Path) -> None:
    async with Receiver() as receiver:
        server = ServerProcess(tmp_path / "data", *QUIET)
        await asyncio.to_thread(server.start)
        try:
            with server.client() as client:
                client.execute_command("WEBHOOK.CREATE", "w", receiver.url("/w"), "EVENTS", "SET")
                for n in range(5):
                    client.set("k", n)
                await receiver.wait(5)
                for _ in range(2):
                    client.execute_command("BGREWRITEAOF")
                    await asyncio.to_thread(saved, client)
                assert len(segments(server)) > 1  # kept for this
                assert client.execute_command("WEBHOOK.REPLAY", "w", "SINCE", 0) == 5
                await receiver.wait(10)
                client.config_set("journal.retention_bytes", 0)
                client.set("other", 1)
                client.execute_command("BGREWRITEAOF")
                await asyncio.to_thread(saved, client)
                assert len(segments(server)) == 1
                assert client.execute_command("WEBHOOK.REPLAY", "w", "SINCE", 0) == 0
        finally:
            await asyncio.to_thread(server.stop)


def test_without_webhooks_the_journal_shrinks_by_itself(tmp_path: Path) -> None:
    options = ("--set", "journal.segment_bytes=16384", "--set", "journal.compact_min_bytes=65536",
               "--set", "journal.compact_percentage=10")  # fmt: skip
    with ServerProcess(tmp_path / "data", *QUIET, *options) as server, server.client() as client:
        for round in range(20):
            with client.pipeline(transaction=False) as pipe:
                for n in range(300):
                    pipe.set(f"k{n}", f"{round}" * 40)
                pipe.execute()
        # At rest, not after the first rewrite: that one may come while half of it is still to be written.
        until(lambda: (f := facts(client))["aof_rewrites"] > 0 and f["journal_size"] < 200_000)
        server.kill()
        server.start()
        assert client.dbsize() == 300 and client.get("k299") == b"19" * 40


def test_save_points_work_without_a_journal(tmp_path: Path) -> None:
    options = ("--set", "journal.enabled=no", "--set", "snapshot.save=1 3")
    with ServerProcess(tmp_path / "data", *QUIET, *options) as server, server.client() as client:
        client.mset({"a": 1, "b": 2, "c": 3})
        until(lambda: facts(client)["rdb_saves"])
        server.kill()
        server.start()
        assert client.dbsize() == 3
        client.set("d", 4)
        assert server.stop() == 0  # saves, as there are save points
        server.start()
        assert client.dbsize() == 4
        client.set("e", 5)
        with pytest.raises(redis.ConnectionError):
            client.execute_command("SHUTDOWN", "NOSAVE")
        assert server.process is not None
        server.process.wait(10)
        server.start()
        assert client.dbsize() == 4


@pytest.mark.parametrize("words", [(), ("SAVE",)])
def test_a_shutdown_that_would_lose_data_does_not_happen(tmp_path: Path, words: tuple[str, ...]) -> None:
    options = ("--set", "journal.enabled=false", "--set", "snapshot.save=900 1")
    with ServerProcess(tmp_path / "data", *QUIET, *options) as server, server.client() as client:
        client.set("k", "v")
        obstacle = server.directory / "dump.rdb"
        obstacle.mkdir(parents=True)
        with pytest.raises(redis.ResponseError, match=r"^Errors trying to SHUTDOWN\. Check logs\.$"):
            client.execute_command("SHUTDOWN", *words)
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        until(lambda: "the server goes on" in server.log())
        assert client.get("k") == b"v"
        obstacle.rmdir()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0
        server.start()
        assert client.get("k") == b"v"
        obstacle.unlink()
        obstacle.mkdir()
        with pytest.raises(redis.ConnectionError):
            client.execute_command("SHUTDOWN", *words, "FORCE")
        assert server.process.wait(10) == 0
        obstacle.rmdir()


def test_shutdown_save(server: ServerProcess) -> None:
    with server.client() as client:
        client.set("k", "v")
        with pytest.raises(redis.ConnectionError):
            client.execute_command("SHUTDOWN", "SAVE")
        assert server.process is not None
        assert server.process.wait(10) == 0
        for name in segments(server):
            (server.directory / name).unlink()
        server.start()  # goes on from the snapshot alone
        assert client.get("k") == b"v"
        client.set("k", "w")
        server.kill()
        server.start()
        assert client.get("k") == b"w"


# --- kill -9 ---------------------------------------------------------------------------------------------------


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("command", ["BGSAVE", "BGREWRITEAOF"])
def test_killed_while_saving(tmp_path: Path, command: str) -> None:
    """The server or its child dies at some moment of a save; either way all data is there afterwards."""
    server = ServerProcess(tmp_path / "data", *QUIET)
    with server, server.client() as client:
        client.execute_command("DEBUG", "POPULATE", 60_000, "key", 200)
        assert server.process is not None
        for turn, delay in enumerate((0.0, 0.02, 0.1, 0.25)):
            client.set("turn", turn)
            client.execute_command(command)
            until(lambda: children(server.process.pid) or saved(client))  # type: ignore[union-attr]
            time.sleep(delay)  # not to wait for anything: the moment is meant to vary
            server.kill()
            server.start()
            assert client.get("turn") == b"%d" % turn and client.dbsize() == 60_001
            assert not list(server.directory.glob("*.tmp"))


def test_a_killed_child_is_told_and_harms_nothing(server: ServerProcess) -> None:
    with server.client() as client:
        client.execute_command("DEBUG", "POPULATE", 100_000, "key", 200)
        assert server.process is not None
        client.bgsave()
        child = until(lambda: children(server.process.pid))[0]  # type: ignore[union-attr]
        os.kill(child, signal.SIGKILL)
        told = until(lambda: (f := facts(client))["rdb_last_bgsave_status"] == "err" and f)
        assert told["rdb_bgsave_in_progress"] == 0
        assert not list(server.directory.glob("*.tmp"))
        assert client.bgsave() is True
        assert saved(client)["rdb_last_bgsave_status"] == "ok"


def test_commands_run_while_the_child_saves(server: ServerProcess) -> None:
    with server.client() as client:
        client.execute_command("DEBUG", "POPULATE", 100_000, "key", 100)
        client.bgsave()
        answered = 0
        while facts(client)["rdb_bgsave_in_progress"]:
            client.set("key:0", answered)
            answered += 1
        assert answered > 5


# --- starting from what is there -------------------------------------------------------------------------------


def test_a_dump_of_redis_is_taken_over(tmp_path: Path, redis_port: int) -> None:
    with redis.Redis(port=redis_port, protocol=2) as theirs:
        theirs.flushall()
        fill(theirs)
        theirs.save()
        (tmp_path / "data").mkdir()
        shutil.copy(Path(theirs.config_get("dir")["dir"]) / "dump.rdb", tmp_path / "data" / "dump.rdb")
        with ServerProcess(tmp_path / "data", *QUIET) as server, server.client(protocol=2) as ours:
            assert "snapshot of Redis 7." in server.log()
            for _ in range(2):
                assert sorted(ours.keys()) == sorted(theirs.keys())
                for key in sorted(theirs.keys()):
                    assert content(ours, key) == content(theirs, key)
                ours.set("mine", 1)
                ours.delete("mine")
                server.kill()
                server.start()
            assert (server.directory / "dump.rdb.imported").exists()


def test_a_foreign_dump_beside_a_journal_with_data_is_moved_aside(server: ServerProcess, redis_port: int) -> None:
    with server.client() as client, redis.Redis(port=redis_port) as theirs:
        client.set("mine", 1)
        assert server.stop() == 0
        theirs.flushall()
        theirs.save()
        shutil.copy(Path(theirs.config_get("dir")["dir"]) / "dump.rdb", server.directory / "dump.rdb")
        server.start()
        assert client.get("mine") == b"1"
        assert (server.directory / "dump.rdb.aside1").exists() and "dump.rdb.aside1" in server.log()


def refused(server: ServerProcess) -> str:
    with pytest.raises(AssertionError, match="did not start"):
        server.start()
    return server.log()


def test_a_damaged_snapshot_is_refused(server: ServerProcess) -> None:
    with server.client() as client:
        client.set("k", "v" * 1000)
        client.save()
    server.stop()
    path = server.directory / "dump.rdb"
    raw = bytearray(path.read_bytes())
    raw[-200] ^= 1
    path.write_bytes(raw)
    log = refused(server)
    assert str(path) in log and "checksum is wrong" in log and "backup" in log


def test_a_journal_without_its_snapshot_is_refused(server: ServerProcess) -> None:
    with server.client() as client:
        client.set("k", "v")
        client.save()
        client.set("k", "w")
    server.stop()
    (server.directory / "dump.rdb").unlink()
    assert "restore the snapshot" in refused(server)


def test_a_journal_that_ends_before_the_snapshot_is_refused(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data", *QUIET)
    with server, server.client() as client:
        client.execute_command("WEBHOOK.CREATE", "w", DEAF, "PATTERN", "nothing")  # so that segments are kept
        client.set("k", "v")
        client.save()
    for name in segments(server)[1:]:
        (server.directory / name).unlink()
    with open(server.directory / segments(server)[0], "r+b") as file:
        file.truncate(file.seek(0, os.SEEK_END) - 3)
    assert "the snapshot is of frame" in refused(server)
    server.options = (*QUIET, "--set", "journal.repair=yes")
    with server, server.client() as client:
        assert client.get("k") == b"v"
