"""What we dump and save, read by redis-server."""

import errno
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdb_forms import length, strings
from rdb_world import as_read, check, fill

from ferrite_hooks.store.files import DISK
from ferrite_hooks.store.rdb_read import RdbFile, load_value
from ferrite_hooks.store.rdb_write import dump_value, write_rdb
from ferrite_hooks.values.stream import Stream


def test_what_we_dump_is_what_redis_restores(server: Any) -> None:
    fill(server)
    for key in server.keys("*"):
        value = load_value(server.dump(key))
        server.restore(b"copy of " + key, 0, dump_value(value))
        check(server, b"copy of " + key, value)
        assert as_read(server, b"copy of " + key) == as_read(server, key)


def test_what_we_save_is_what_redis_loads(server: Any) -> None:
    fill(server)
    keys = server.keys()
    before = {key: as_read(server, key) for key in keys}
    values = {key: load_value(server.dump(key)) for key in keys}
    expires = {b"string:1": 33_000_000_000_000, b"list:small": 34_000_000_000_000}
    path = Path(server.config_get("dir")["dir"]) / "dump.rdb"
    size = write_rdb(path, [(0, values, expires), (1, {}, {}), (9, {b"k": b"v"}, {})], {b"ferrite-frame": b"17"})
    assert size == path.stat().st_size
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    server.flushall()
    server.execute_command("DEBUG", "RELOAD", "NOSAVE")
    assert {key: as_read(server, key) for key in server.keys("*")} == before
    assert server.execute_command("PEXPIRETIME", "list:small") == 34_000_000_000_000
    server.select(9)
    assert server.get("k") == b"v"
    with RdbFile(path) as rdb:
        assert rdb.aux[b"ferrite-frame"] == b"17"
        again = {(db, key): (value, expire_at) for db, key, value, expire_at in rdb.entries()}
    assert len(again) == len(keys) + 1
    assert again[0, b"string:1"][1] == 33_000_000_000_000
    for key, value in values.items():
        if isinstance(value, Stream):
            assert dump_value(again[0, key][0]) == dump_value(value)
        else:
            assert again[0, key][0] == value or again[0, key][0].scores == value.scores


@settings(deadline=None)
@given(st.integers(-(2**33), 2**33) | st.sampled_from([b"", b"-", b"-0", b"00", b"+1", b"1 ", "²".encode()]))
def test_strings_there_and_back(given: int | bytes) -> None:
    text = b"%d" % given if isinstance(given, int) else given
    assert load_value(dump_value(text)) == text
    assert len(strings([text])) <= len(text) + 1


@pytest.mark.parametrize("value", [0, 63, 64, 16383, 16384, 2**32 - 1, 2**32, 2**64 - 1])
def test_lengths_are_as_short_as_can_be(value: int) -> None:
    assert len(length(value)) == next(
        size for size, most in ((1, 63), (2, 16383), (5, 2**32 - 1), (9, 2**64)) if value <= most
    )


@pytest.mark.parametrize("step", ["write", "sync", "rename"])
def test_a_failed_save_leaves_what_was_there(tmp_path: Path, step: str) -> None:
    def fail(*_: object) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "dump.rdb"
    write_rdb(path, [(0, {b"k": b"old"}, {})], {})
    with pytest.raises(OSError, match="No space left"):
        write_rdb(path, [(0, {b"k": b"new"}, {})], {}, replace(DISK, **{step: fail}))
    assert [p.name for p in tmp_path.iterdir()] == ["dump.rdb"]
    with RdbFile(path) as rdb:
        assert next(rdb.entries()) == (0, b"k", b"old", 0)


def test_a_large_file_is_written_in_parts(tmp_path: Path) -> None:
    sizes: list[int] = []

    def write(fd: int, data: bytes | memoryview) -> int:
        sizes.append(len(data))
        return DISK.write(fd, data)

    values = {b"%d" % n: bytes(10_000) for n in range(400)}
    size = write_rdb(tmp_path / "x", [(0, values, {})], {}, replace(DISK, write=write))
    assert len(sizes) > 3 and sum(sizes) == size
    with RdbFile(tmp_path / "x") as rdb:
        assert {key: value for _, key, value, _ in rdb.entries()} == values
