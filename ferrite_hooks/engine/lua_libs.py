"""The libraries `bit`, `struct` and `cmsgpack` of Redis's scripts, for the tables that lua_prelude.py makes.

Arguments and results are Lua's values as lupa gives them. `number` and `text` read an argument as Lua's C
functions do (a numeral is a number, a number is a text) and end in Lua's own error.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from math import isinf, isnan
from typing import TYPE_CHECKING, Any

from ferrite_hooks.engine.lua_json import Json

if TYPE_CHECKING:
    from ferrite_hooks.engine.lua import Lua

Callables = dict[str, Callable[..., Any]]


def libraries(lua: Lua) -> Callables:
    """All callables, by the names that lua_prelude.py uses."""
    return _bit(lua) | Struct(lua).callables() | MessagePack(lua).callables() | Json(lua).callables()


def _type_name(lua: Lua, args: tuple[Any, ...], at: int) -> str:
    if at >= len(args):
        return "no value"
    value = args[at]
    plain = {bool: "boolean", bytes: "string", int: "number", float: "number", type(None): "nil"}
    return plain.get(type(value)) or lua.kind(value) or "function"


def number(lua: Lua, name: str, args: tuple[Any, ...], at: int) -> float:
    """The argument at index `at` as a number. Ends in Lua's error."""
    value = args[at] if at < len(args) else None
    if type(value) is int or type(value) is float:
        return value
    if type(value) is bytes:
        try:
            return float(int(value, 16)) if value[:2].lower() == b"0x" else float(value)
        except ValueError:
            pass
    lua.fail(f"bad argument #{at + 1} to '{name}' (number expected, got {_type_name(lua, args, at)})")


def text(lua: Lua, name: str, args: tuple[Any, ...], at: int) -> bytes:
    """The argument at index `at` as a string. Ends in Lua's error."""
    value = args[at] if at < len(args) else None
    if type(value) is bytes:
        return value
    if type(value) is int or type(value) is float:
        return b"%.14g" % value
    lua.fail(f"bad argument #{at + 1} to '{name}' (string expected, got {_type_name(lua, args, at)})")


def _wrapped(value: int, bits: int) -> int:
    """`value` as a signed integer of so many bits."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


# -- bit -----------------------------------------------------------------------------------------------------


def _bit(lua: Lua) -> Callables:
    def operand(name: str, args: tuple[Any, ...], at: int) -> int:
        value = number(lua, name, args, at)
        if isnan(value) or isinf(value):
            return 0
        return round(value) & 0xFFFFFFFF

    def signed(value: int) -> int:
        return _wrapped(value, 32)

    def fold(name: str, combine: Callable[[int, int], int]) -> Callable[..., int]:
        def run(*args: Any) -> int:
            value = operand(name, args, 0)
            for at in range(1, len(args)):
                value = combine(value, operand(name, args, at))
            return signed(value)

        return run

    def shift(name: str, act: Callable[[int, int], int]) -> Callable[..., int]:
        return lambda *args: signed(act(operand(name, args, 0), operand(name, args, 1) & 31))

    def tohex(*args: Any) -> bytes:
        value = operand("tohex", args, 0)
        digits = _wrapped(operand("tohex", args, 1), 32) if len(args) > 1 else 8
        count = min(abs(digits), 8)
        shown = b"%08x" % value
        return (shown.upper() if digits < 0 else shown)[8 - count :]

    return {
        "bit_tobit": lambda *args: signed(operand("tobit", args, 0)),
        "bit_bnot": lambda *args: signed(~operand("bnot", args, 0)),
        "bit_band": fold("band", lambda a, b: a & b),
        "bit_bor": fold("bor", lambda a, b: a | b),
        "bit_bxor": fold("bxor", lambda a, b: a ^ b),
        "bit_lshift": shift("lshift", lambda a, n: a << n),
        "bit_rshift": shift("rshift", lambda a, n: a >> n),
        "bit_arshift": shift("arshift", lambda a, n: _wrapped(a, 32) >> n),
        "bit_rol": shift("rol", lambda a, n: a << n | a >> (32 - n)),
        "bit_ror": shift("ror", lambda a, n: a >> n | a << (32 - n)),
        "bit_bswap": lambda *args: signed(int.from_bytes(operand("bswap", args, 0).to_bytes(4, "little"), "big")),
        "bit_tohex": tohex,
    }


# -- struct --------------------------------------------------------------------------------------------------

_MAX_INTEGER = 32  # bytes
_INT_MAX = 2**31 - 1
_SIZES = {"b": 1, "h": 2, "l": 8, "t": 8, "f": 4, "d": 8, "x": 1}


class _Format:
    """A format string being read: yields (option, size, padding before it), keeps byte order and alignment."""

    def __init__(self, lua: Lua, name: str, source: bytes) -> None:
        self.lua = lua
        self.name = name
        self.source = source.partition(b"\0")[0].decode("latin-1")
        self.at = 0
        self.order = "little"
        self.align = 1

    def count(self, default: int) -> int:
        start = self.at
        while self.at < len(self.source) and self.source[self.at] in "0123456789":
            self.at += 1
            if int(self.source[start : self.at]) > _INT_MAX:
                self.lua.fail("integral size overflow")
        return int(self.source[start : self.at]) if self.at > start else default

    def next(self, position: int) -> tuple[str, int, int] | None:
        """The option after this one, at `position` in the data. Control options are obeyed, not returned."""
        while self.at < len(self.source):
            option = self.source[self.at]
            self.at += 1
            size = self._size(option)
            if option in "bBhHlLTiIxfdcs":
                return option, size, self._padding(position, option, size)
            self._control(option)
        return None

    def _size(self, option: str) -> int:
        if option == "c":
            return self.count(1)
        if option in "iI":
            size = self.count(4)
            if size > _MAX_INTEGER:
                self.lua.fail(f"integral size {size} is larger than limit of {_MAX_INTEGER}")
            return size
        return _SIZES.get(option.lower(), 0) if option not in "tFDX" else 0

    def _padding(self, position: int, option: str, size: int) -> int:
        if size == 0 or option == "c":
            return 0
        size = min(size, self.align)
        return (size - (position & (size - 1))) & (size - 1)

    def _control(self, option: str) -> None:
        if option == ">":
            self.order = "big"
        elif option == "<":
            self.order = "little"
        elif option == "!":
            align = self.count(8)
            if align < 1 or align & (align - 1):
                self.lua.fail(f"alignment {align} is not a power of 2")
            self.align = align
        elif option != " ":
            self.lua.fail(f"bad argument #1 to '{self.name}' (invalid format option '{option}')")


class Struct:
    def __init__(self, lua: Lua) -> None:
        self.lua = lua

    def callables(self) -> Callables:
        return {"struct_pack": self.pack, "struct_unpack": self.unpack, "struct_size": self.size}

    def pack(self, *args: Any) -> bytes:
        lua = self.lua
        form = _Format(lua, "pack", text(lua, "pack", args, 0))
        args = (*args, None)
        out = bytearray()
        at, total = 1, 0
        while (option := form.next(total)) is not None:
            kind, size, padding = option
            lua.room(len(out) + size + padding)
            out += bytes(padding)
            if kind == "x":
                out.append(0)
            elif kind in "fd":
                out += _float_bytes(number(lua, "pack", args, at), kind, form.order)
                at += 1
            elif kind in "cs":
                value = text(lua, "pack", args, at)
                at += 1
                size = size or len(value)
                if len(value) < size:
                    lua.fail(f"bad argument #{at + 1} to 'pack' (string too short)")
                out += value[:size]
                if kind == "s":
                    out.append(0)
                    size += 1
            else:
                bits = as_long(number(lua, "pack", args, at)) & 0xFFFF_FFFF_FFFF_FFFF
                at += 1
                whole = bits.to_bytes(max(size, 8), "little")[:size]  # beyond 8 bytes: zeros, as a C long shifts
                out += whole if form.order == "little" else whole[::-1]
            total += padding + size
        return bytes(out)

    def unpack(self, *args: Any) -> tuple[Any, ...]:
        lua = self.lua
        form = _Format(lua, "unpack", text(lua, "unpack", args, 0))
        data = text(lua, "unpack", args, 1)
        position = int(number(lua, "unpack", args, 2)) if len(args) > 2 and args[2] is not None else 1
        if position <= 0:
            lua.fail("bad argument #3 to 'unpack' (offset must be 1 or greater)")
        position -= 1
        found: list[Any] = []
        while (option := form.next(position)) is not None:
            kind, size, padding = option
            position += padding
            self._check(size, position, data)
            if kind == "s":
                end = data.find(b"\0", position)
                if end < 0:
                    lua.fail("unfinished string in data")
                found.append(data[position:end])
                size = end - position + 1
            elif kind == "c":
                if size == 0:
                    if not found or type(found[-1]) not in (int, float):
                        lua.fail("format 'c0' needs a previous size")
                    size = as_long(found.pop()) & 0xFFFF_FFFF_FFFF_FFFF
                    self._check(size, position, data)
                found.append(data[position : position + size])
            elif kind in "fd":
                found.append(_float(data[position : position + size], kind, form.order))
            elif kind != "x":
                raw = int.from_bytes(data[position : position + size], form.order) & 0xFFFF_FFFF_FFFF_FFFF  # type: ignore[arg-type]
                if kind.islower() and size:
                    raw = _wrapped(raw, min(size, 8) * 8)
                found.append(float(raw))
            position += size
            if len(found) > 7000:
                lua.fail("stack overflow (too many results)")
        return *found, position + 1

    def _check(self, size: int, position: int, data: bytes) -> None:
        if position + size > len(data):
            self.lua.fail("bad argument #2 to 'unpack' (data string too short)")

    def size(self, *args: Any) -> int:
        lua = self.lua
        form = _Format(lua, "size", text(lua, "size", args, 0))
        position = 0
        while (option := form.next(position)) is not None:
            kind, size, padding = option
            if kind == "s":
                lua.fail("bad argument #1 to 'size' (option 's' has no fixed size)")
            if kind == "c" and size == 0:
                lua.fail("bad argument #1 to 'size' (option 'c0' has no fixed size)")
            position += padding + size
        return position


def as_long(value: float) -> int:
    """A C cast of a double to a 64-bit integer: what does not fit becomes the smallest one."""
    if isnan(value) or isinf(value) or not -(2**63) <= value < 2**64:
        return -(2**63)
    return int(value)


def _float_bytes(value: float, kind: str, order: str) -> bytes:
    try:
        return struct.pack((">" if order == "big" else "<") + kind, value)
    except OverflowError:  # too large for a float
        return struct.pack((">" if order == "big" else "<") + kind, float("inf") if value > 0 else float("-inf"))


def _float(data: bytes, kind: str, order: str) -> float:
    return float(struct.unpack((">" if order == "big" else "<") + kind, data)[0])


# -- cmsgpack ------------------------------------------------------------------------------------------------

_MAX_NESTING = 16  # deeper tables are packed as nil
_FIXED = {0xC0: None, 0xC2: False, 0xC3: True}
_NUMBERS = {
    0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
    0xCA: ">f", 0xCB: ">d",
}  # fmt: skip
_TEXTS = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_ARRAYS = {0xDC: 2, 0xDD: 4}
_MAPS = {0xDE: 2, 0xDF: 4}


class _Short(Exception):
    """The input ends too early (True) or is no MessagePack that cmsgpack knows (False)."""


class MessagePack:
    def __init__(self, lua: Lua) -> None:
        self.lua = lua

    def callables(self) -> Callables:
        return {
            "msgpack_pack": self.pack,
            "msgpack_unpack": lambda *args: self._unpack("unpack", args, 0, 0),
            "msgpack_unpack_one": self.unpack_one,
            "msgpack_unpack_limit": self.unpack_limit,
        }

    def pack(self, *args: Any) -> bytes:
        if not args:
            self.lua.fail("bad argument #0 to 'pack' (MessagePack pack needs input.)")
        out: list[bytes] = []
        for value in args:
            self._pack(out, value, 0)
        packed = b"".join(out)
        self.lua.room(len(packed))
        return packed

    def _pack(self, out: list[bytes], value: Any, level: int) -> None:
        kind = type(value)
        if kind is bytes:
            size = len(value)
            if size < 32:
                head = bytes([0xA0 | size])
            else:
                head = b"\xd9%c" % size if size < 256 else _sized(0xDA, size)
            out += (head, value)
        elif kind is bool:
            out.append(b"\xc3" if value else b"\xc2")
        elif kind is int:
            out.append(_packed_integer(value))
        elif kind is float:
            out.append(_packed_double(value))
        elif value is not None and self.lua.kind(value) == "table" and level < _MAX_NESTING:
            items = dict(value.items())
            if all(type(key) is int and 0 < key <= _INT_MAX for key in items) and max(items, default=0) == len(items):
                out.append(bytes([0x90 | len(items)]) if len(items) < 16 else _sized(0xDC, len(items)))
                for at in range(1, len(items) + 1):
                    self._pack(out, items[at], level + 1)
            else:
                out.append(bytes([0x80 | len(items)]) if len(items) < 16 else _sized(0xDE, len(items)))
                for key, item in items.items():
                    self._pack(out, key, level + 1)
                    self._pack(out, item, level + 1)
        else:
            out.append(b"\xc0")

    def unpack_one(self, *args: Any) -> tuple[Any, ...]:
        offset = int(number(self.lua, "unpack_one", args, 1)) if len(args) > 1 and args[1] is not None else 0
        return self._unpack("unpack_one", args, 1, offset)

    def unpack_limit(self, *args: Any) -> tuple[Any, ...]:
        limit = int(number(self.lua, "unpack_limit", args, 1))
        offset = int(number(self.lua, "unpack_limit", args, 2)) if len(args) > 2 and args[2] is not None else 0
        return self._unpack("unpack_limit", args, limit, offset)

    def _unpack(self, name: str, args: tuple[Any, ...], limit: int, offset: int) -> tuple[Any, ...]:
        lua = self.lua
        data = text(lua, name, args, 0)
        if offset < 0 or limit < 0:
            lua.fail(f"Invalid request to unpack with offset of {offset} and limit of {len(data)}.")
        if offset > len(data):
            lua.fail(f"Start offset {offset} greater than input length {len(data)}.")
        lua.room(40 * (len(data) - offset))
        everything = not limit and not offset
        found: list[Any] = []
        at = offset
        try:
            while at < len(data) and (everything or len(found) < limit):
                value, at = self._read(data, at)
                found.append(value)
                if len(found) > 7000:
                    lua.fail("stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)")
        except _Short as error:
            lua.fail("Missing bytes in input." if error.args[0] else "Bad data format in input.")
        except RecursionError:
            lua.fail("Bad data format in input.")
        if everything:
            return tuple(found)
        return (-1 if at == len(data) else at, *found)

    def _read(self, data: bytes, at: int) -> tuple[Any, int]:
        code = _part(data, at, 1)[0]
        at += 1
        if code < 0x80:
            return code, at
        if code >= 0xE0:
            return code - 256, at
        if code < 0x90:
            return self._read_map(data, at, code & 15)
        if code < 0xA0:
            return self._read_array(data, at, code & 15)
        if code < 0xC0:
            return _part(data, at, code & 31), at + (code & 31)
        if code in _FIXED:
            return _FIXED[code], at
        if code in _NUMBERS:
            form = _NUMBERS[code]
            size = struct.calcsize(form)
            return float(struct.unpack(form, _part(data, at, size))[0]), at + size
        width = _TEXTS.get(code) or _ARRAYS.get(code) or _MAPS.get(code)
        if width is None:
            raise _Short(False)
        size = int.from_bytes(_part(data, at, width), "big")
        at += width
        if code in _TEXTS:
            return _part(data, at, size), at + size
        return self._read_array(data, at, size) if code in _ARRAYS else self._read_map(data, at, size)

    def _read_array(self, data: bytes, at: int, size: int) -> tuple[Any, int]:
        found: dict[int, Any] = {}
        for index in range(1, size + 1):
            value, at = self._read(data, at)
            if value is not None:
                found[index] = value
        return self.lua.table(list(found.values()) if len(found) == size else found), at

    def _read_map(self, data: bytes, at: int, size: int) -> tuple[Any, int]:
        table = self.lua.table({})
        for _ in range(size):
            key, at = self._read(data, at)
            value, at = self._read(data, at)
            if key is None or key != key:
                self.lua.fail("table index is nil" if key is None else "table index is NaN")
            table[key] = value
        return table, at


def _part(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise _Short(True)
    return data[at : at + size]


def _sized(code: int, size: int) -> bytes:
    """The head with a 16-bit size, or the next code with a 32-bit one."""
    return struct.pack(">BH", code, size) if size < 65536 else struct.pack(">BI", code + 1, size)


def _packed_integer(value: int) -> bytes:
    if value >= 0:
        for most, form, head in ((127, "", 0), (0xFF, ">BB", 0xCC), (0xFFFF, ">BH", 0xCD), (0xFFFFFFFF, ">BI", 0xCE)):
            if value <= most:
                return struct.pack(form, head, value) if form else bytes([value])
        return struct.pack(">BQ", 0xCF, value)
    if value >= -32:
        return struct.pack(">b", value)
    for least, form, head in ((-128, ">Bb", 0xD0), (-(2**15), ">Bh", 0xD1), (-(2**31), ">Bi", 0xD2)):
        if value >= least:
            return struct.pack(form, head, value)
    return struct.pack(">Bq", 0xD3, value)


def _packed_double(value: float) -> bytes:
    """In four bytes when they hold it exactly."""
    try:
        short = struct.pack(">Bf", 0xCA, value)
    except OverflowError:
        return struct.pack(">Bd", 0xCB, value)
    return short if struct.unpack(">f", short[1:])[0] == value else struct.pack(">Bd", 0xCB, value)
