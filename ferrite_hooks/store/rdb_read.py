"""Reading RDB: the files that Redis and Valkey save (versions 1 to 12), and the payloads of DUMP.

Every value type is one function in READERS, from a Cursor to a value of ours. Damaged and hostile input ends in
an RdbError: the checksum is looked at before anything else, lengths are believed only as far as bytes follow,
and a collection is never empty and never names a member twice. What we cannot represent (values of modules) is
refused by name rather than dropped.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from math import isnan
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from ferrite_hooks.store import packed
from ferrite_hooks.store.crc64 import crc64
from ferrite_hooks.store.cursor import Cursor, number
from ferrite_hooks.store.packed import RdbError
from ferrite_hooks.store.rdb_stream import read_stream
from ferrite_hooks.values.collections import Hash, List, Set
from ferrite_hooks.values.field_times import FieldTimes
from ferrite_hooks.values.zset import ZSet

MAX_VERSION = 12
FIELD_TIMES = b"ferrite-field-times"  # AUX of our snapshots: which fields of the hash that follows expire, and when
_FOOTER = 10  # of a DUMP payload: version u16, checksum u64
_HEADER = 9  # of a file: "REDIS" and the version
_CHECK_CHUNK = 1 << 20
C = TypeVar("C", Hash, List, Set, ZSet)
# One key of a file: its database, the key, its value (bytes, Hash, List, Set, ZSet or Stream), unix ms or 0 = never.
Entry = tuple[int, bytes, Any, int]


class PayloadError(RdbError):
    """A DUMP payload's version or checksum is wrong: nothing of it was looked at."""


class EmptyError(RdbError):
    """A collection without elements, which old versions could save by mistake."""


# --- the types ---


def _hash(items: list[bytes]) -> Hash:
    value = Hash()
    value.update(zip(items[::2], items[1::2], strict=False))
    return _checked(value, len(items), 2)


def _set(items: list[bytes]) -> Set:
    value = Set()
    value.update(items)
    return _checked(value, len(items), 1)


def _list(items: list[bytes]) -> List:
    return _checked(List(items), len(items), 1)


def _zset(members: list[bytes], scores: list[float]) -> ZSet:
    value = ZSet()
    for member, score in zip(members, scores, strict=False):
        if isnan(score):
            raise RdbError("a score is not a number")
        value.add(member, score)
    return _checked(value, len(members) + len(scores), 2)


def _checked(value: C, items: int, width: int) -> C:
    """`value`, if all items are in it: each whole, and none twice."""
    if not items:
        raise EmptyError("a collection has no elements")
    if len(value) * width != items:
        raise RdbError("a collection names a member twice or lacks a value")
    return value


def _strings(cursor: Cursor, width: int = 1) -> list[bytes]:
    return [cursor.string() for _ in _counted(cursor, width) for _ in range(width)]


def _counted(cursor: Cursor, width: int) -> range:
    """As many steps as the length that follows says, if so many elements can be there at all."""
    count = cursor.length()
    if count * width > cursor.left():
        raise RdbError("a collection claims more elements than there is data")
    return range(count)


def _read_zset(cursor: Cursor, score: Callable[[Cursor], float]) -> ZSet:
    members, scores = [], []
    for _ in _counted(cursor, 2):
        members.append(cursor.string())
        scores.append(score(cursor))
    return _zset(members, scores)


def _packed_zset(items: list[bytes]) -> ZSet:
    return _zset(items[::2], [number(item) for item in items[1::2]])


def _read_timed_hash(cursor: Cursor) -> Hash:
    """Before each field how much later than the first it expires, plus one; 0 = never."""
    first = cursor.time()
    items: list[bytes] = []
    times = []
    for _ in _counted(cursor, 3):
        later = cursor.length()
        items += (cursor.string(), cursor.string())
        if later:
            times.append((items[-2], first + later - 1))
    return _timed(_hash(items), times)


def _read_packed_timed_hash(cursor: Cursor) -> Hash:
    """A listpack of field, value and when it expires; 0 = never."""
    cursor.time()  # of the first
    items = packed.listpack(cursor.string())
    try:
        times = [(field, int(when)) for field, when in zip(items[::3], items[2::3], strict=True) if when != b"0"]
    except ValueError:
        raise RdbError("a field's time to live is no number") from None
    return _timed(_hash([item for i, item in enumerate(items) if i % 3 < 2]), times)


def _timed(value: Hash, times: list[tuple[bytes, int]]) -> Hash:
    """`value`, whose fields expire at those unix ms."""
    if any(field not in value or not 0 < when < 1 << 48 for field, when in times):
        raise RdbError("a field's time to live makes no sense")
    value.times = FieldTimes(times)
    return value


def _a_hash(value: Any) -> Hash:
    if type(value) is not Hash:
        raise RdbError("fields expire in what is no hash")
    return value


def _field_times(text: bytes) -> list[tuple[bytes, int]]:
    """What our snapshots have before a hash."""
    cursor, times = Cursor(text, 0, len(text)), []
    while cursor.position < cursor.end:
        times.append((cursor.string(), cursor.time()))
    return times


def _read_quicklist(cursor: Cursor) -> List:
    """Nodes of ziplists."""
    return _list([item for _ in _counted(cursor, 1) for item in packed.ziplist(cursor.string())])


def _read_quicklist_2(cursor: Cursor) -> List:
    """Nodes that are a listpack, or one element too large for one."""
    items: list[bytes] = []
    for _ in _counted(cursor, 2):
        kind = cursor.length()
        if kind not in (1, 2):
            raise RdbError("a list's node has an unknown form")
        node = cursor.string()
        items += packed.listpack(node) if kind == 2 else [node]
    return _list(items)


def _refused(what: str) -> Callable[[Cursor], Any]:
    def refuse(cursor: Cursor) -> Any:
        raise RdbError(what)

    return refuse


_MODULE = _refused("a value belongs to a module; modules are not supported")
_UNRELEASED = _refused("a hash has fields that expire in the form of a release candidate of Redis 7.4")

_STRING = 0
READERS: dict[int, Callable[[Cursor], Any]] = {
    _STRING: Cursor.string,
    1: lambda c: _list(_strings(c)),
    2: lambda c: _set(_strings(c)),
    3: lambda c: _read_zset(c, Cursor.short_double),
    4: lambda c: _hash(_strings(c, 2)),
    5: lambda c: _read_zset(c, Cursor.double),
    6: _MODULE,
    7: _MODULE,
    9: lambda c: _hash(packed.zipmap(c.string())),
    10: lambda c: _list(packed.ziplist(c.string())),
    11: lambda c: _set(packed.intset(c.string())),
    12: lambda c: _packed_zset(packed.ziplist(c.string())),
    13: lambda c: _hash(packed.ziplist(c.string())),
    14: _read_quicklist,
    15: lambda c: read_stream(c, 1),
    16: lambda c: _hash(packed.listpack(c.string())),
    17: lambda c: _packed_zset(packed.listpack(c.string())),
    18: _read_quicklist_2,
    19: lambda c: read_stream(c, 2),
    20: lambda c: _set(packed.listpack(c.string())),
    21: lambda c: read_stream(c, 3),
    22: _UNRELEASED,
    23: _UNRELEASED,
    24: _read_timed_hash,
    25: _read_packed_timed_hash,
}


def _read_value(kind: int, cursor: Cursor) -> Any:
    reader = READERS.get(kind)
    if reader is None:
        raise RdbError(f"value type {kind} is not known")
    return reader(cursor)


def load_value(payload: bytes) -> Any:
    """The value of a DUMP payload. Raises PayloadError (version, checksum), RdbError (the rest)."""
    end = len(payload) - _FOOTER
    if end < 1:
        raise PayloadError("the payload is too short")
    version, check = struct.unpack("<HQ", payload[end:])
    if version > MAX_VERSION or check != crc64(memoryview(payload)[:-8]):
        raise PayloadError("the payload's version or checksum is wrong")
    cursor = Cursor(payload, 1, end)
    value = _read_value(payload[0], cursor)
    if cursor.position != end:
        raise RdbError("there is more behind the value")
    return value


# --- files ---


class RdbFile:
    """An open RDB file whose checksum is right.

        with RdbFile(path) as rdb:
            for entry in rdb.entries(): ...

    `aux` (what the writer tells about itself), `functions` (libraries' sources) and `skipped` (empty keys) fill as
    the entries are read; `aux` fields at the file's head, ours among them, are there at once.
    """

    def __init__(self, path: Path, verify: bool = True) -> None:
        """`verify=False` leaves the checksum out, to find out where a damaged file goes wrong. Raises OSError,
        RdbError."""
        self.path = path
        self.aux: dict[bytes, bytes] = {}
        self.functions: list[bytes] = []
        self.skipped = 0
        self._file = open(path, "rb")  # noqa: SIM115  # until close()
        try:
            size = os.fstat(self._file.fileno()).st_size
            if not size:
                raise RdbError("it is empty")
            self.version = self._check(size, verify)
            self._file.seek(_HEADER)
            end = size - (8 if self.version >= 5 and verify else 0)
            self._cursor = cursor = Cursor(b"", _HEADER, end, self._file)
            while cursor.peek() == _AUX:
                cursor.byte()
                self._read_aux()
        except (RdbError, OSError) as e:
            self._file.close()
            raise RdbError(f"{path}: {e}") from e

    def _check(self, size: int, verify: bool) -> int:
        """Looks at the header and the checksum. Returns the version."""
        head = self._file.read(_HEADER)
        if head[:5] != b"REDIS" or not head[5:].isdigit():
            raise RdbError("it is no RDB file")
        version = int(head[5:])
        if not 1 <= version <= MAX_VERSION:
            raise RdbError(f"its version is {version}, this server reads up to {MAX_VERSION}")
        if version >= 5 and verify:
            end = size - 8
            stored = os.pread(self._file.fileno(), 8, max(end, 0))
            check, crc = int.from_bytes(stored, "little"), 0
            if check:  # 0: saved with rdbchecksum no
                crc = crc64(head)
                for start in range(_HEADER, end, _CHECK_CHUNK):
                    crc = crc64(self._file.read(min(_CHECK_CHUNK, end - start)), crc)
            if end <= _HEADER or len(stored) < 8 or check != crc:
                raise RdbError("its checksum is wrong: it is cut short or damaged")
        return version

    def entries(self) -> Iterator[Entry]:
        """The keys in the file's order, those past their time included. Raises RdbError."""
        cursor = self._cursor
        db = expire_at = 0
        key = times = b""
        try:
            while (opcode := cursor.byte()) != _EOF:
                reader = READERS.get(opcode)
                if reader is not None:
                    key = cursor.string()
                    try:
                        value = cursor.string() if opcode == _STRING else reader(cursor)
                        if times:
                            value = _timed(_a_hash(value), _field_times(times))
                        yield db, key, value, expire_at
                    except EmptyError:
                        self.skipped += 1
                    expire_at = 0
                    key = times = b""
                elif opcode == _SELECT:
                    db = cursor.length()
                elif opcode == _EXPIRE_MS:
                    expire_at = max(1, cursor.time())
                elif opcode == _EXPIRE_SECONDS:
                    expire_at = max(1, int.from_bytes(cursor.take(4), "little") * 1000)
                elif opcode == _AUX:
                    self._read_aux()
                    times = self.aux.pop(FIELD_TIMES, times)
                elif opcode == _FUNCTION:
                    self.functions.append(cursor.string())
                elif opcode in _SKIPPED:
                    _SKIPPED[opcode](cursor)
                else:
                    raise RdbError(f"it has an unknown part (type {opcode})")
        except RdbError as e:
            where = f", key {key[:100]!r}" if key else ""
            raise RdbError(f"{self.path}: at byte {cursor.position}{where}: {e}") from e

    @property
    def position(self) -> int:
        """How many bytes were read."""
        return self._cursor.position

    def _read_aux(self) -> None:
        name = self._cursor.string()
        self.aux[name] = self._cursor.string()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, t: TracebackType | None) -> None:
        self.close()


_FUNCTION, _AUX, _EXPIRE_MS, _EXPIRE_SECONDS, _SELECT, _EOF = 245, 250, 252, 253, 254, 255


def _skip_module_aux(cursor: Cursor) -> None:
    """What a module keeps beside the keys: parts that say what they are, up to an end mark."""
    cursor.length()  # module id
    while (opcode := cursor.length()) != 0:
        if opcode in (1, 2):
            cursor.length()
        elif opcode == 3:
            cursor.take(4)
        elif opcode == 4:
            cursor.take(8)
        elif opcode == 5:
            cursor.string()
        else:
            raise RdbError("a module's data has an unknown part")


# Hints for Redis's own memory layout and eviction; module data without keys; the pre-release form of functions.
_SKIPPED: dict[int, Callable[[Cursor], object]] = {
    244: lambda c: (c.length(), c.length(), c.length()),  # sizes of a cluster slot
    247: _skip_module_aux,
    248: Cursor.length,  # idle time
    249: Cursor.byte,  # access frequency
    251: lambda c: (c.length(), c.length()),  # sizes of a database
}
