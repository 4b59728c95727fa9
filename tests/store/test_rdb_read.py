"""What redis-server dumps and saves, read by us; and what nobody should have written."""

import random
import struct
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdb_forms import OLD_FORMS, length, payload, raw, strings
from rdb_world import as_read, check, entries_of, fill, fill_streams, plain

from ferrite_hooks.store.crc64 import crc64
from ferrite_hooks.store.packed import RdbError, encode_listpack
from ferrite_hooks.store.rdb_read import EmptyError, PayloadError, RdbFile, load_value


def test_what_redis_dumps_is_what_we_load(server: Any) -> None:
    fill(server)
    keys = server.keys()
    assert len(keys) > 25
    encodings = {server.object("encoding", key) for key in keys}
    assert len(encodings) == 9, encodings
    for key in keys:
        check(server, key, load_value(server.dump(key)))


def test_what_redis_saves_is_what_we_read(server: Any) -> None:
    fill(server)
    server.pexpireat("string:1", 33_000_000_000_000)
    server.execute_command("FUNCTION", "LOAD", "#!lua name=l\nredis.register_function('f', function() end)")
    server.select(9)
    server.set("elsewhere", "9")
    server.select(0)
    server.save()
    path = Path(server.config_get("dir")["dir"]) / "dump.rdb"
    try:
        with RdbFile(path) as rdb:
            assert rdb.aux[b"redis-ver"].startswith(b"7.")
            entries = list(rdb.entries())
            assert [f.partition(b"\n")[0] for f in rdb.functions] == [b"#!lua name=l"]
    finally:
        server.execute_command("FUNCTION", "FLUSH")
    assert (9, b"elsewhere", b"9", 0) in entries
    found = {key: (value, expire_at) for db, key, value, expire_at in entries if db == 0}
    assert found.keys() == set(server.keys())
    for key, (value, expire_at) in found.items():
        check(server, key, value)
        assert expire_at == (33_000_000_000_000 if key == b"string:1" else 0)


@pytest.mark.parametrize("form", OLD_FORMS)
def test_old_forms_as_redis_reads_them(server: Any, form: str) -> None:
    kind, body, known = OLD_FORMS[form]
    value = load_value(payload(kind, body))
    if known:
        server.restore("k", 0, payload(kind, body))
        assert plain(value) == as_read(server, "k")
    else:
        assert plain(value) == ("set", {b"a", b"b", b"5"})


def test_old_streams_get_the_counters_they_lack(server: Any) -> None:
    fill_streams(server)
    dumped = server.dump("stream:groups")
    original = load_value(dumped)
    # Form 3 has one more time for each consumer; form 1 lacks what form 2 added.
    node = bytes(16)[:-1] + b"\1"
    listpack = raw(encode_listpack([2, 0, 1, b"f", 0, 2, 0, 0, b"v", 4, 2, 1, 0, b"w", 4]))
    head = length(1) + raw(node) + listpack + length(2) + length(1) + length(1)
    group = length(1) + strings([b"g"]) + length(0) + length(1)
    pel = length(1) + node + struct.pack("<q", 7) + length(3)
    consumer = length(1) + strings([b"c"]) + struct.pack("<q", 8)
    owned = length(1) + node
    old = payload(15, head + group + pel + consumer + owned)
    server.restore("old", 0, old)
    check(server, b"old", load_value(old))
    newer = length(0) + length(1) + length(0) + length(0) + length(2)
    new = payload(21, head + newer + group + length(1) + pel + consumer + struct.pack("<q", -1) + owned, 11)
    stream = load_value(new)
    assert entries_of(stream) == entries_of(load_value(old)) == [[b"0-1", [b"f", b"v"]], [b"1-1", [b"f", b"w"]]]
    assert stream.groups[b"g"].consumers[b"c"].active_time == -1
    assert stream.groups[b"g"].pending[1].time == 7
    assert original.groups.keys() == {b"one", b"two", b"idle"}


# --- what is refused ---


def test_a_wrong_version_or_checksum_is_told_apart_from_bad_data() -> None:
    good = payload(0, strings([b"hello"]))
    assert load_value(good) == b"hello"
    for bad in (b"", good[:9], good[:-1], good + b"x", b"\1" + good[1:], payload(0, strings([b"x"]), 13)):
        with pytest.raises(PayloadError):
            load_value(bad)
    with pytest.raises(RdbError, match="more behind") as caught:
        load_value(payload(0, strings([b"hello", b"more"])))
    assert not isinstance(caught.value, PayloadError)


@pytest.mark.parametrize(
    ("kind", "body", "what"),
    [
        (2, length(2) + strings([b"a", b"a"]), "twice"),
        (4, length(2) + strings([b"a", b"1", b"a", b"2"]), "twice"),
        (5, length(1) + strings([b"a"]) + struct.pack("<d", float("nan")), "not a number"),
        (3, length(1) + strings([b"a"]) + b"\xfd", "not a number"),
        (3, length(1) + strings([b"a"]) + b"\x031_0", "no number"),
        (13, raw(encode_listpack([b"f"])), "ziplist"),
        (16, raw(encode_listpack([b"f", b"v", b"g"])), "lacks a value"),
        (17, raw(encode_listpack([b"m", b"x"])), "no number"),
        (17, raw(encode_listpack([b"m"])), "lacks a value"),
        (18, length(1) + length(3) + strings([b"a"]), "unknown form"),
        (1, b"\x81" + b"\xff" * 8, "more elements than there is data"),
        (0, b"\x81" + b"\xff" * 8, "cut short"),
        (0, b"\xc3" + length(5) + b"\x81" + b"\xff" * 8 + b"abcde", "longer than it can be"),
        (0, b"\xc4", "unknown encoding"),
        (0, b"\x82", "unknown encoding"),
        (1, b"\xc0\1", "should"),
        (7, b"", "module"),
        (22, b"", "release candidate"),
        (99, b"", "not known"),
    ],
)
def test_bad_data_is_named(kind: int, body: bytes, what: str) -> None:
    with pytest.raises(RdbError, match=what):
        load_value(payload(kind, body))


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 14, 18])
def test_empty_collections_are_told_apart(kind: int) -> None:
    with pytest.raises(EmptyError):
        load_value(payload(kind, length(0)))


def payloads(server: Any) -> list[bytes]:
    fill(server)
    dumps = [server.dump(key) for key in server.keys("*")]
    return [d for d in dumps if len(d) < 20_000] + [payload(kind, body) for kind, body, _ in OLD_FORMS.values()]


def limited(act: Callable[[], Any], given: int) -> Any:
    """Runs `act`, which reads so many bytes. Fails when it reserves more than a small multiple of them: an element of
    two bytes becomes an object of some forty; compressed ones are ninety times as long at most, twice for a moment."""
    tracemalloc.start()
    try:
        return act()
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100_000 + 200 * given, f"{given} bytes made it reserve {peak}"


def damaged(rng: random.Random, good: bytes) -> bytes:
    """A few bytes changed, most of them where the lengths are, and sometimes an end cut off."""
    bad = bytearray(good)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(bad)) if rng.random() < 0.5 else rng.randrange(min(len(bad), 30))
        bad[at] = rng.choice((0, 1, 0x3F, 0x40, 0x80, 0x81, 0xC3, 0xFE, 0xFF, rng.randrange(256)))
    return bytes(bad[: len(bad) if rng.random() < 0.7 else rng.randrange(len(bad))])


def test_damaged_payloads_end_in_a_value_or_an_error(server: Any) -> None:
    """With a right checksum, so that the damage gets as far as it can."""
    rng = random.Random(5)
    for good in payloads(server):
        kind, body = good[0], good[1:-10]
        for _ in range(25 if len(good) < 2000 else 6):
            bad = payload(kind, damaged(rng, body))
            with suppress(RdbError):
                limited(partial(load_value, bad), len(bad))


def test_damaged_files_end_in_keys_or_an_error(server: Any, tmp_path: Path) -> None:
    """Without a checksum, for the same reason."""
    fill_streams(server)
    for n in range(20):
        server.rpush(f"list:{n}", *[b"x" * n, n] * 3)
        server.hset(f"hash:{n}", mapping={"f": n, "g": b"y" * n})
        server.pexpireat(f"hash:{n}", 33_000_000_000_000)
    server.save()
    good = (Path(server.config_get("dir")["dir"]) / "dump.rdb").read_bytes()
    rng = random.Random(6)
    errors = 0
    for _ in range(150):
        bad = b"REDIS0010" + damaged(rng, good[9:-8])[:4000] + b"\xff" + bytes(8)
        try:
            limited(partial(read, tmp_path, bad), len(bad))
        except RdbError as error:
            errors += 1
            assert "file.rdb" in str(error)
    assert errors > 40


BIG = b"\x81" + b"\xff" * 8  # a length of 64 bits


@pytest.mark.parametrize(
    "body",
    [
        BIG,
        length(1) + BIG,
        b"\x80\xff\xff\xff\xf0",
        length(1) + b"\xc3" + length(3) + BIG,
        b"\xc3" + BIG + BIG,
        length(0) * 3 + BIG,
        length(0) * 8 + BIG,
        length(0) * 8 + length(1) + strings([b"g"]) + length(0) * 3 + BIG,
        length(0) * 8 + length(1) + strings([b"g"]) + length(0) * 4 + BIG,
        length(2) + length(2) + BIG,
    ],
)
def test_lengths_that_promise_too_much_reserve_nothing(tmp_path: Path, body: bytes) -> None:
    for kind in range(26):
        bad = payload(kind, body)
        with suppress(RdbError):
            limited(partial(load_value, bad), len(bad))
    for opcode in range(26, 256):
        bad = rdb(bytes([opcode]) + body, check=0)
        with suppress(RdbError):
            limited(partial(read, tmp_path, bad), len(bad))


def test_what_compresses_well_is_not_forty_times_as_large_as_well(server: Any) -> None:
    """Small integers in a compressed listpack: the worst that two bytes can become."""
    server.rpush("l", *[7] * 8000)
    dump = server.dump("l")
    assert len(dump) < 1000
    assert len(limited(partial(load_value, dump), 16_000 // 90 * 2)) == 8000


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 25), st.binary(max_size=80))
def test_arbitrary_payloads_end_in_a_value_or_an_error(kind: int, body: bytes) -> None:
    try:
        load_value(payload(kind, body))
    except RdbError:
        pass


# --- files ---


def rdb(*parts: bytes, version: int = 10, check: int | None = None) -> bytes:
    data = b"REDIS%04d" % version + b"".join(parts)
    return data + struct.pack("<Q", crc64(data) if check is None else check) if version >= 5 else data


KEY = b"\0" + strings([b"k", b"v"])


def read(tmp_path: Path, data: bytes) -> tuple[RdbFile, list[Any]]:
    path = tmp_path / "file.rdb"
    path.write_bytes(data)
    with RdbFile(path) as file:
        return file, list(file.entries())


def test_everything_beside_the_keys_is_read_or_skipped(tmp_path: Path) -> None:
    module = b"\xf7" + length(5) + length(2) + length(1) + length(1) + length(9) + length(3) + bytes(4)
    module += length(4) + bytes(8) + length(5) + strings([b"text"]) + length(0)
    file, entries = read(
        tmp_path,
        rdb(
            b"\xfa" + strings([b"ferrite-frame", b"17"]), module, b"\xfe\x03", b"\xfb\x05\x01",
            b"\xf4" + length(1) * 3, b"\xfd" + struct.pack("<I", 9), b"\xf8\x05", KEY, b"\xf9\x05", KEY,
            b"\xfc" + struct.pack("<q", -5), KEY, b"\x02" + strings([b"empty"]) + length(0),
            b"\xfa" + strings([b"late", b"1"]), b"\xff",
        ),
    )  # fmt: skip
    assert entries == [(3, b"k", b"v", 9000), (3, b"k", b"v", 0), (3, b"k", b"v", 1)]
    assert file.aux == {b"ferrite-frame": b"17", b"late": b"1"}
    assert file.skipped == 1


def test_aux_fields_at_the_head_are_there_at_once(tmp_path: Path) -> None:
    path = tmp_path / "file.rdb"
    path.write_bytes(rdb(b"\xfa" + strings([b"ferrite-frame", b"17"]), KEY, b"\xff"))
    with RdbFile(path) as file:
        assert file.aux == {b"ferrite-frame": b"17"}


def test_versions_and_checksums(tmp_path: Path) -> None:
    for version in (1, 4, 5, 12):
        assert read(tmp_path, rdb(KEY, b"\xff", version=version))[1] == [(0, b"k", b"v", 0)]
    assert read(tmp_path, rdb(KEY, b"\xff", check=0))[1] == [(0, b"k", b"v", 0)]
    for data, what in [
        (rdb(KEY, b"\xff", version=13), "reads up to 12"),
        (rdb(KEY, b"\xff", check=1), "checksum is wrong"),
        (b"", "is empty"),
        (b"REDIS", "no RDB file"),
        (b"PNG.." * 10, "no RDB file"),
        (rdb(KEY, b"\xff")[:-1], "checksum is wrong"),
        (b"REDIS0010\xff", "checksum is wrong"),
        (b"REDIS0003", "file.rdb: "),
        (b"REDIS0003\xfe", "cut short"),
        (rdb(KEY), "cut short"),
        (rdb(b"\xf0"), "unknown part"),
        (rdb(b"\x07" + strings([b"mine"])), "key b'mine': a value belongs to a module"),
    ]:
        with pytest.raises(RdbError, match=what):
            read(tmp_path, data)


def test_every_cut_of_a_file_is_an_error(tmp_path: Path) -> None:
    whole = rdb(b"\xfa" + strings([b"a", b"b"]), KEY, b"\xff", version=4)
    for size in range(len(whole)):
        with pytest.raises(RdbError):
            read(tmp_path, whole[:size])
