"""Snapshots: what goes in comes out, redis-server opens ours and we open its, and damage is named."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from process import redis_server
from rdb_world import as_read, check, fill

from ferrite_hooks.store.fork import fork
from ferrite_hooks.store.snapshot import Mark, SnapshotDamaged, SnapshotFile, publish, temporary, tidy, write
from ferrite_hooks.values.collections import Hash, List

MARK = Mark("abcdefgh", 42, 4711)
STATE = ([[4711, 1, 0, "set", b"\xff", None]], [["hook", 1, {"name": "n", "secret": "s\udcff"}], ["queue", 1, []]])


def databases() -> list[tuple[int, dict[bytes, Any], dict[bytes, int]]]:
    fields = Hash()
    fields[b"f"] = b"v"
    return [(0, {b"k": b"v", b"h": fields}, {b"k": 4102444800000}), (3, {b"l": List([b"a", b"b"])}, {})]


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    path = tmp_path / "dump.rdb"
    size = write(temporary(path, 1), MARK, databases(), STATE, [b"#!lua name=l\n"])
    assert not path.exists()
    publish(temporary(path, 1), path)
    assert path.stat().st_size == size and path.stat().st_mode & 0o777 == 0o600
    with SnapshotFile(path) as snapshot:
        assert snapshot.mark == MARK
        entries = [(db, key, expire_at) for db, key, _, expire_at in snapshot.entries()]
        changes, notes = snapshot.state()
        assert snapshot.functions == [b"#!lua name=l\n"]
    assert entries == [(0, b"k", 4102444800000), (0, b"h", 0), (3, b"l", 0)]
    assert (list(changes), list(notes)) == STATE
    assert list(tmp_path.iterdir()) == [path]


def test_secrets_are_not_in_plain_sight(tmp_path: Path) -> None:
    write(tmp_path / "dump.rdb", MARK, [], ((), [["hook", 1, {"secret": "whsec_" + "z" * 32}]]))
    assert b"whsec_" not in (tmp_path / "dump.rdb").read_bytes()


def test_redis_opens_ours(tmp_path: Path, server: Any) -> None:
    """Everything that redis-server can have, through our file into another redis-server."""
    fill(server)
    theirs = Path(server.config_get("dir")["dir"]) / "dump.rdb"
    server.save()
    (tmp_path / "ours").mkdir()
    with SnapshotFile(theirs) as read:
        assert read.mark is None and read.writer.startswith("Redis 7.")
        data = {key: value for _, key, value, _ in read.entries()}
    expires = {b"string:1": 4102444800000}
    write(tmp_path / "ours" / "dump.rdb", MARK, [(0, data, expires)], STATE)
    with redis_server(tmp_path / "ours") as other:
        assert sorted(other.keys()) == sorted(server.keys())
        for key in sorted(server.keys()):
            assert as_read(other, key) == as_read(server, key), key
        assert other.pexpiretime("string:1") == 4102444800000


def test_we_open_what_redis_made_of_it(tmp_path: Path, server: Any) -> None:
    fill(server)
    server.save()
    with SnapshotFile(Path(server.config_get("dir")["dir"]) / "dump.rdb") as read:
        for _, key, value, _ in read.entries():
            check(server, key, value)


@pytest.mark.parametrize("where", [0.2, 0.5, 0.9])
def test_damage_is_named_with_its_place(tmp_path: Path, where: float) -> None:
    path = tmp_path / "dump.rdb"
    write(path, MARK, [(0, {b"key:%d" % n: List([b"v"] * 3) for n in range(1000)}, {})], STATE)
    raw = bytearray(path.read_bytes())
    place = int(len(raw) * where)
    raw[place : place + 8] = b"\xff" * 8
    path.write_bytes(raw)
    with pytest.raises(SnapshotDamaged) as refused:
        SnapshotFile(path)
    text = str(refused.value)
    assert str(path) in text and "backup" in text
    at = int(text.split("at byte ")[1].split(",")[0].split(":")[0])
    assert abs(at - place) < 64


@pytest.mark.parametrize("size", [0, 5, 100])
def test_a_cut_file_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "dump.rdb"
    write(path, MARK, databases(), STATE)
    os.truncate(path, size)
    with pytest.raises(SnapshotDamaged, match=r"dump\.rdb"):
        SnapshotFile(path)


@pytest.mark.parametrize("content", [b"", b"nonsense" * 100])
def test_what_is_wrong_is_said_once(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "dump.rdb"
    path.write_bytes(content)
    with pytest.raises(SnapshotDamaged) as damaged:
        SnapshotFile(path)
    assert str(damaged.value).count(str(path)) == 1 and ";" not in str(damaged.value).partition(". ")[0]


def test_leftovers_go(tmp_path: Path) -> None:
    path = tmp_path / "dump.rdb"
    for pid in (1, 22):
        temporary(path, pid).touch()
    path.touch()
    tidy(path)
    assert list(tmp_path.iterdir()) == [path]


# --- the child -------------------------------------------------------------------------------------------------


async def test_a_child_sees_the_memory_of_the_fork(tmp_path: Path) -> None:
    value = [b"before"]
    child = fork(lambda: (tmp_path / "out").write_bytes(value[0]))
    value[0] = b"after"
    assert await child.ended() == ""
    assert (tmp_path / "out").read_bytes() == b"before"


async def test_a_child_tells_why_it_failed(tmp_path: Path) -> None:
    child = fork(lambda: (tmp_path / "missing" / "out").write_bytes(b""))
    assert await child.ended() == "No such file or directory"


async def test_a_child_that_is_killed_is_noticed(tmp_path: Path) -> None:
    child = fork(lambda: time.sleep(60))
    os.kill(child.pid, 9)
    assert await child.ended() == "the saving child was ended by signal 9"


async def test_a_child_goes_with_its_waiter() -> None:
    child = fork(lambda: time.sleep(60))
    waiting = asyncio.create_task(child.ended())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


async def test_a_child_holds_no_descriptor_of_ours(tmp_path: Path) -> None:
    ours = os.open(tmp_path / "held", os.O_RDWR | os.O_CREAT)

    def look() -> None:
        for fd in range(3, 64):
            try:
                os.fstat(fd)
            except OSError:
                continue
            (tmp_path / f"open-{fd}").touch()

    try:
        assert await fork(look).ended() == ""
    finally:
        os.close(ours)
    assert len(list(tmp_path.glob("open-*"))) == 1  # its pipe


def test_an_orphan_stops_writing(tmp_path: Path) -> None:
    """The grandchild writes only when its parent, which made it, is gone."""
    code = f"""
import os, sys, time
from pathlib import Path
from ferrite_hooks.store.files import DISK
from ferrite_hooks.store.fork import while_parent_lives
files = while_parent_lives(DISK)
parent = os.getpid()
if os.fork():
    os._exit(0)
while os.getppid() == parent:
    time.sleep(0.01)
out = Path({str(tmp_path / "said")!r})
fd = os.open(out.with_suffix(".tmp"), os.O_WRONLY | os.O_CREAT)
try:
    files.write(fd, b"data")
    text = "written"
except OSError as error:
    text = str(error)
out.with_suffix(".text").write_text(text)
out.with_suffix(".text").rename(out)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    deadline = time.monotonic() + 10
    while not (tmp_path / "said").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert (tmp_path / "said").read_text() == "the server is gone"
