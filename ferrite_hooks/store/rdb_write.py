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
from ferrite_hooks.store.rdb_stream import write_stream
from ferrite_hooks.store.rdb_text import FIELD_TIMES, length, string
from ferrite_hooks.values.collections import Hash, List, Set
from ferrite_hooks.values.field_times import FieldTimes
from ferrite_hooks.values.raw import Raw
from ferrite_hooks.values.stream import Stream
from ferrite_hooks.values.zset import ZSet
from ferrite_hooks.version import REDIS_VERSION

VERSION = 10
_FIELD_TIMES_VERSION, _FIELD_TIMES_KIND = 12, b"\x18"
_FLUSH = 1 << 20  # bytes gathered for one write
_AUX, _EXPIRE_MS, _SELECT, _EOF = b"\xfa", b"\xfc", b"\xfe", b"\xff"
_RESIZE, _FUNCTION = b"\xfb", b"\xf5"


def _write_strings(out: list[bytes], items: Iterable[bytes]) -> None:
    for item in items:
        out += string(item)


def _write_list(out: list[bytes], value: List) -> None:
    out.append(length(len(value)))
    _write_strings(out, value)


def _write_set(out: list[bytes], value: Set) -> None:
    out.append(length(len(value)))
    _write_strings(out, value)


def _write_hash(out: list[bytes], value: Hash) -> None:
    out.append(length(len(value)))
    for pair in value.items():
        _write_strings(out, pair)


def _write_zset(out: list[bytes], value: ZSet) -> None:
    out.append(length(len(value)))
    pack = struct.Struct("<d").pack
    for member, score in value.items():
        out += (*string(member), pack(score))


def _write_string(out: list[bytes], value: bytes | Raw) -> None:
    out += string(bytes(value))


# Python type -> the RDB type's number and how it is written.
WRITERS: dict[type, tuple[bytes, Callable[[list[bytes], Any], None]]] = {
    bytes: (b"\x00", _write_string),
    Raw: (b"\x00", _write_string),
    List: (b"\x01", _write_list),
    Set: (b"\x02", _write_set),
    Hash: (b"\x04", _write_hash),
    ZSet: (b"\x05", _write_zset),
    Stream: (b"\x13", write_stream),
}


def _write_field_times(out: list[bytes], times: FieldTimes) -> None:
    text: list[bytes] = []
    for field, when in times.when.items():
        text += (*string(field), when.to_bytes(8, "little"))
    out += (_AUX, *string(FIELD_TIMES), *string(b"".join(text)))


def _write_timed_hash(out: list[bytes], value: Hash, times: FieldTimes) -> None:
    """Before each field how much later than the first it expires, plus one; 0 = never."""
    first = times.next()
    out += (first.to_bytes(8, "little"), length(len(value)))
    for field, content in value.items():
        when = times.when.get(field)
        out += (length(0 if when is None else when - first + 1), *string(field), *string(content))


def dump_value(value: Any) -> bytes:
    """The DUMP payload of a value: type, value, version, checksum."""
    kind, write = WRITERS[type(value)]
    version = VERSION
    if type(value) is Hash and value.times:
        version = _FIELD_TIMES_VERSION
        out = [_FIELD_TIMES_KIND]
        _write_timed_hash(out, value, value.times)
    else:
        out = [kind]
        write(out, value)
    out.append(version.to_bytes(2, "little"))
    payload = b"".join(out)
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
    out = [b"REDIS%04d" % VERSION]
    crc = written = gathered = 0

    def flush() -> None:
        nonlocal crc, written, gathered
        block = b"".join(out)
        crc = crc64(block, crc)
        write_all(files, fd, block)
        written += len(block)
        gathered = 0
        out.clear()

    for name, text in {b"redis-ver": REDIS_VERSION.encode(), b"redis-bits": b"64", **aux}.items():
        out += (_AUX, *string(name), *string(text))
    for source in functions:
        out += (_FUNCTION, *string(source))
    for index, values, expires in databases:
        if not values:
            continue
        out += (_SELECT, length(index), _RESIZE, length(len(values)), length(len(expires)))
        for key, value in values.items():
            kind, write = WRITERS[type(value)]
            start = len(out)
            if type(value) is Hash and value.times:
                _write_field_times(out, value.times)
            if (expire_at := expires.get(key)) is not None:
                out += (_EXPIRE_MS, expire_at.to_bytes(8, "little", signed=True))
            out += (kind, *string(key))
            write(out, value)
            gathered += sum(map(len, out[start:]))
            if gathered >= _FLUSH:
                flush()
    out.append(_EOF)
    flush()
    write_all(files, fd, crc.to_bytes(8, "little"))
    return written + 8
