"""Writing RDB: snapshot files and DUMP payloads in version 10, which Redis 7.0 and everything after it reads.

Collections are written in their plain forms (elements one after the other): the reader chooses its own compact
encoding by its own limits, and strings are not compressed, because both would cost a Python process
far more time than they save space. Only streams have no plain form; they are in `rdb_stream.py`.

Version 10 has no form for fields of a hash that expire. A snapshot has their times in an AUX field before the
hash, which other servers skip, so that these fields live for ever there; a payload has the form of version 12,
which Redis 7.4 reads.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ferrite_hooks.store.crc64 import crc64
from ferrite_hooks.store.files import DISK, Files, write_all
from ferrite_hooks.store.output import Output
from ferrite_hooks.store.rdb_read import FIELD_TIMES
from ferrite_hooks.store.rdb_stream import write_stream
from ferrite_hooks.values.collections import Hash, List, Set
from ferrite_hooks.values.field_times import FieldTimes
from ferrite_hooks.values.raw import Raw
from ferrite_hooks.values.stream import Stream
from ferrite_hooks.values.zset import ZSet
from ferrite_hooks.version import REDIS_VERSION

VERSION = 10
_FIELD_TIMES_VERSION, _FIELD_TIMES_KIND = 12, b"\x18"
_DOUBLE = struct.Struct("<d")
_AUX, _EXPIRE_MS, _SELECT, _EOF = b"\xfa", b"\xfc", b"\xfe", b"\xff"
_RESIZE, _FUNCTION = b"\xfb", b"\xf5"


def _write_members(out: Output, value: List | Set) -> None:
    out.length(len(value))
    for member in value:
        out.string(member)


def _write_hash(out: Output, value: Hash) -> None:
    out.length(len(value))
    for field, content in value.items():
        out.string(field)
        out.string(content)


def _write_zset(out: Output, value: ZSet) -> None:
    out.length(len(value))
    for member, score in value.items():
        out.string(member)
        out.add(_DOUBLE.pack(score))


def _write_string(out: Output, value: bytes | Raw) -> None:
    out.string(bytes(value))


# Python type -> the RDB type's number and how it is written.
WRITERS: dict[type, tuple[bytes, Callable[[Output, Any], None]]] = {
    bytes: (b"\x00", _write_string),
    Raw: (b"\x00", _write_string),
    List: (b"\x01", _write_members),
    Set: (b"\x02", _write_members),
    Hash: (b"\x04", _write_hash),
    ZSet: (b"\x05", _write_zset),
    Stream: (b"\x13", write_stream),
}


def _write_field_times(out: Output, times: FieldTimes) -> None:
    text = Output()
    for field, when in times.when.items():
        text.string(field)
        text.time(when)
    out.add(_AUX)
    out.string(FIELD_TIMES)
    out.string(text.taken())


def _write_timed_hash(out: Output, value: Hash, times: FieldTimes) -> None:
    """Before each field how much later than the first it expires, plus one; 0 = never."""
    first = times.next()
    out.time(first)
    out.length(len(value))
    for field, content in value.items():
        when = times.when.get(field)
        out.length(0 if when is None else when - first + 1)
        out.string(field)
        out.string(content)


def dump_value(value: Any) -> bytes:
    """The DUMP payload of a value: type, value, version, checksum."""
    out = Output()
    kind, write = WRITERS[type(value)]
    version = VERSION
    if type(value) is Hash and value.times:
        version = _FIELD_TIMES_VERSION
        out.add(_FIELD_TIMES_KIND)
        _write_timed_hash(out, value, value.times)
    else:
        out.add(kind)
        write(out, value)
    return sealed(out, version)


def sealed(out: Output, version: int = VERSION) -> bytes:
    """What is there as a payload of DUMP or FUNCTION DUMP: with the version and the checksum behind it."""
    out.add(version.to_bytes(2, "little"))
    payload = out.taken()
    return payload + crc64(payload).to_bytes(8, "little")


Databases = Iterable[tuple[int, Mapping[bytes, Any], Mapping[bytes, int]]]


def write_rdb(path: Path, databases: Databases, aux: Mapping[bytes, bytes], files: Files = DISK) -> int:
    """Writes (index, values, times of expiry in unix ms) of each database to `path`, wholly or not at all.

    `aux` are fields about the file; Redis skips those that it does not know. Returns the file's size. Raises
    OSError; what was at `path` is then still there.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    size = write_new(temporary, databases, aux, files=files)
    try:
        files.rename(temporary, path)
        files.sync_directory(path.parent)
    except BaseException:
        with suppress(OSError):
            files.remove(temporary)
        raise
    return size


def write_new(
    path: Path,
    databases: Databases,
    aux: Mapping[bytes, bytes],
    functions: Iterable[bytes] = (),
    files: Files = DISK,
) -> int:
    """As `write_rdb`, but to a new file that nothing depends on yet; its bytes are durable, its name is not.

    `functions` are the sources of function libraries. Raises OSError, then the file is gone again.
    """
    fd = files.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        size = _write(fd, files, databases, aux, functions)
        files.sync(fd)
    except BaseException:
        with suppress(OSError):
            files.remove(path)
        raise
    finally:
        files.close(fd)
    return size


def _write(
    fd: int, files: Files, databases: Databases, aux: Mapping[bytes, bytes], functions: Iterable[bytes]
) -> int:
    crc = written = 0

    def hand_on(part: bytes) -> None:
        nonlocal crc, written
        crc = crc64(part, crc)
        write_all(files, fd, part)
        written += len(part)

    out = Output(hand_on)
    out.add(b"REDIS%04d" % VERSION)
    for name, text in {b"redis-ver": REDIS_VERSION.encode(), b"redis-bits": b"64", **aux}.items():
        out.add(_AUX)
        out.string(name)
        out.string(text)
    for source in functions:
        out.add(_FUNCTION)
        out.string(source)
    for index, values, expires in databases:
        if values:
            _write_database(out, index, values, expires)
    out.add(_EOF)
    hand_on(out.taken())
    write_all(files, fd, crc.to_bytes(8, "little"))
    return written + 8


def _write_database(out: Output, index: int, values: Mapping[bytes, Any], expires: Mapping[bytes, int]) -> None:
    out.add(_SELECT)
    out.length(index)
    out.add(_RESIZE)
    out.length(len(values))
    out.length(len(expires))
    for key, value in values.items():
        kind, write = WRITERS[type(value)]
        if type(value) is Hash and value.times:
            _write_field_times(out, value.times)
        if (expire_at := expires.get(key)) is not None:
            out.add(_EXPIRE_MS)
            out.time(expire_at)
        out.add(kind)
        out.string(key)
        if type(value) is bytes:  # most of what there is
            out.string(value)
        else:
            write(out, value)
