"""cjson as Redis's scripts know it: what is an array, what an error says, how numbers are written.

Values are Lua's, seen through lupa: tables, bytes, int, float, bool, None, and one userdata that stands for null.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from math import isinf, isnan
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ferrite_hooks.engine.lua import Lua, Table

_DEPTH = 1000  # of nested tables, by default
sys.setrecursionlimit(max(sys.getrecursionlimit(), 5 * _DEPTH))  # each takes two frames of Python

_ESCAPES = {bytes([code]): b"\\u%04x" % code for code in [*range(32), 127]} | {
    b"\b": b"\\b", b"\t": b"\\t", b"\n": b"\\n", b"\f": b"\\f", b"\r": b"\\r",
    b'"': b'\\"', b"\\": b"\\\\", b"/": b"\\/",
}  # fmt: skip
_TO_ESCAPE = re.compile(rb'[\x00-\x1f\x7f"\\/]')
_BLANK = re.compile(rb"[ \t\n\r]*")
_PLAIN = re.compile(rb'[^"\\\x00]*')
_NUMBER = re.compile(rb"-?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)")
_LOOSE_NUMBER = re.compile(
    rb"[+-]?(?:0x[0-9a-f]+|inf(?:inity)?|nan|(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)", re.IGNORECASE
)
_INVALID_NUMBER = re.compile(rb"\+|-?0[xX0-9]|-?inf|-?nan", re.IGNORECASE)
_ESCAPED = {
    b'"': b'"', b"\\": b"\\", b"/": b"/", b"b": b"\b", b"t": b"\t", b"n": b"\n", b"f": b"\f", b"r": b"\r",
}  # fmt: skip
_HEX4 = re.compile(rb"[0-9a-fA-F]{4}")
_SINGLE = {
    b"{": "T_OBJ_BEGIN", b"}": "T_OBJ_END", b"[": "T_ARR_BEGIN", b"]": "T_ARR_END", b",": "T_COMMA", b":": "T_COLON",
    b"\0": "T_END", b"": "T_END",
}  # fmt: skip
_WORDS = {b"true": ("T_BOOLEAN", True), b"false": ("T_BOOLEAN", False), b"null": ("T_NULL", None)}


class Json:
    """The settings are those of cjson's functions; they last as long as the interpreter, as in Redis."""

    def __init__(self, lua: Lua) -> None:
        self.lua = lua
        self.sparse_convert, self.sparse_ratio, self.sparse_safe = False, 2, 10
        self.encode_depth = self.decode_depth = _DEPTH
        self.precision = 14
        self.encode_invalid: bool | None = False  # None: as null
        self.decode_invalid = True
        self.keep_buffer = True

    def callables(self) -> dict[str, Callable[..., Any]]:
        return {
            "json_encode": self.encode,
            "json_decode": self.decode,
            "json_sparse": self.set_sparse,
            "json_encode_depth": lambda *args: self._number("encode_depth", args, 1, 2 * _DEPTH),
            "json_decode_depth": lambda *args: self._number("decode_depth", args, 1, 2 * _DEPTH),
            "json_precision": lambda *args: self._number("precision", args, 1, 14),
            "json_encode_invalid": self.set_encode_invalid,
            "json_decode_invalid": lambda *args: self._switch("decode_invalid", args),
            "json_keep_buffer": lambda *args: self._switch("keep_buffer", args),
        }

    # -- settings --------------------------------------------------------------------------------------------

    def _number(self, name: str, args: tuple[Any, ...], low: int, high: int) -> int:
        if args and args[0] is not None:
            if type(args[0]) is not int or not low <= args[0] <= high:
                self.lua.fail(f"bad argument #1 (expected integer between {low} and {high})")
            setattr(self, name, args[0])
        return int(getattr(self, name))

    def _switch(self, name: str, args: tuple[Any, ...]) -> bool:
        if args and args[0] is not None:
            setattr(self, name, args[0] in (True, b"on"))
        return bool(getattr(self, name))

    def set_encode_invalid(self, value: Any = None, *_: Any) -> Any:
        if value is not None:
            self.encode_invalid = None if value == b"null" else value in (True, b"on")
        return b"null" if self.encode_invalid is None else self.encode_invalid

    def set_sparse(self, convert: Any = None, ratio: Any = None, safe: Any = None, *_: Any) -> Any:
        if convert is not None:
            self.sparse_convert = convert in (True, b"on")
        if type(ratio) is int and ratio >= 0:
            self.sparse_ratio = ratio
        if type(safe) is int and safe >= 0:
            self.sparse_safe = safe
        return self.sparse_convert, self.sparse_ratio, self.sparse_safe

    # -- encoding --------------------------------------------------------------------------------------------

    def encode(self, *args: Any) -> bytes:
        if len(args) != 1:
            self.lua.fail("bad argument #1 to 'encode' (expected 1 argument)")
        out: list[bytes] = []
        self._encode(out, args[0], 0)
        text = b"".join(out)
        self.lua.room(len(text))
        return text

    def _encode(self, out: list[bytes], value: Any, depth: int) -> None:
        kind = type(value)
        if kind is bytes:
            out.append(_quote(value))
        elif kind is int or kind is float:
            out.append(self._encode_number(value))
        elif value is True:
            out.append(b"true")
        elif value is False:
            out.append(b"false")
        elif value is None:
            out.append(b"null")
        else:
            lua_kind = self.lua.kind(value)
            if lua_kind == "table":
                depth += 1
                if depth > self.encode_depth:
                    self.lua.fail(f"Cannot serialise, excessive nesting ({depth})")
                self._encode_table(out, value, depth)
            elif lua_kind == "userdata":
                out.append(b"null")  # the only one that scripts have
            else:
                self.lua.fail(f"Cannot serialise {lua_kind or 'function'}: type not supported")

    def _encode_number(self, value: float) -> bytes:
        if type(value) is float and (isinf(value) or isnan(value)):
            if self.encode_invalid is None:
                return b"null"
            if not self.encode_invalid:
                self.lua.fail("Cannot serialise number: must not be NaN or Inf")
            if isnan(value):
                return b"nan"
        return b"%.*g" % (self.precision, value)

    def _encode_table(self, out: list[bytes], table: Table, depth: int) -> None:
        items = dict(table.items())
        if items and all(type(key) is int and key >= 1 for key in items):
            longest = max(items)
            if not (self.sparse_ratio and longest > len(items) * self.sparse_ratio and longest > self.sparse_safe):
                out.append(b"[")
                for i in range(1, longest + 1):
                    if i > 1:
                        out.append(b",")
                    self._encode(out, items.get(i), depth)
                out.append(b"]")
                return
            if not self.sparse_convert:
                self.lua.fail("Cannot serialise table: excessively sparse array")
        out.append(b"{")
        first = True
        for key, value in items.items():
            out.append(b"" if first else b",")
            first = False
            if type(key) is bytes:
                out.append(_quote(key) + b":")
            elif type(key) in (int, float):
                out.append(b'"' + self._encode_number(key) + b'":')
            else:
                name = "boolean" if type(key) is bool else self.lua.kind(key)
                self.lua.fail(f"Cannot serialise {name}: table key must be a number or string")
            self._encode(out, value, depth)
        out.append(b"}")

    # -- decoding --------------------------------------------------------------------------------------------

    def decode(self, *args: Any) -> Any:
        if len(args) != 1:
            self.lua.fail("bad argument #1 to 'decode' (expected 1 argument)")
        text = args[0]
        if type(text) in (int, float):
            text = b"%.14g" % text
        if type(text) is not bytes:
            self.lua.fail(f"bad argument #1 to 'decode' (string expected, got {self.lua.kind(text) or 'boolean'})")
        self.lua.room(20 * len(text))
        if len(text) >= 2 and 0 in text[:2]:
            self.lua.fail("JSON parser does not support UTF-16 or UTF-32")
        reader = _Reader(self, text)
        try:
            value = reader.value(reader.token())
            token = reader.token()
            if token != "T_END":
                reader.wrong("the end", token)
        except _Invalid as error:
            self.lua.fail(error.args[0])
        return value


def _quote(text: bytes) -> bytes:
    return b'"' + _TO_ESCAPE.sub(lambda match: _ESCAPES[match[0]], text) + b'"'


class _Invalid(Exception):
    pass


class _Reader:
    """One text being read. `token` returns a token's kind and leaves what it says in `said`."""

    def __init__(self, json: Json, text: bytes) -> None:
        self.json = json
        self.text = text
        self.at = self.start = 0
        self.depth = 0
        self.said: Any = None

    def wrong(self, expected: str, token: str) -> None:
        raise _Invalid(f"Expected {expected} but found {token} at character {self.start + 1}")

    def _bad(self, what: str) -> str:
        self.start = self.at
        return what

    def token(self) -> str:
        text = self.text
        match = _BLANK.match(text, self.at)
        assert match is not None
        self.at = self.start = match.end()
        head = text[self.at : self.at + 1]
        single = _SINGLE.get(head)
        if single is not None:
            self.at += single != "T_END"
            return single
        if head == b'"':
            return self._string()
        if head.isdigit() or head == b"-":
            if not self.json.decode_invalid and _INVALID_NUMBER.match(text, self.at):
                return self._bad("invalid number")
            return self._number()
        for word, (kind, value) in _WORDS.items():
            if text.startswith(word, self.at):
                self.at += len(word)
                self.said = value
                return kind
        if head in (b"+", b"i", b"I", b"n", b"N") and self.json.decode_invalid:
            if _INVALID_NUMBER.match(text, self.at):
                return self._number()
        return self._bad("invalid token")

    def _number(self) -> str:
        match = _LOOSE_NUMBER.match(self.text, self.at)
        if match is None:
            return self._bad("invalid number")
        self.at = match.end()
        digits = match[0]
        if b"x" in digits.lower():
            self.said = float(int(digits, 16))
        else:
            self.said = float(digits)
        return "T_NUMBER"

    def _string(self) -> str:
        text = self.text
        self.at += 1
        parts = []
        while True:
            match = _PLAIN.match(text, self.at)
            assert match is not None
            parts.append(match[0])
            self.at = match.end()
            head = text[self.at : self.at + 1]
            if head == b'"':
                self.at += 1
                self.said = b"".join(parts)
                return "T_STRING"
            if head != b"\\":
                return self._bad("unexpected end of string")
            code = text[self.at + 1 : self.at + 2]
            if code == b"u":
                point, size = _unicode(text, self.at)
                if not size:
                    return self._bad("invalid unicode escape code")
                parts.append(chr(point).encode("utf-8", "surrogatepass"))
                self.at += size
            elif code in _ESCAPED:
                parts.append(_ESCAPED[code])
                self.at += 2
            else:
                return self._bad("invalid escape code")

    def value(self, token: str) -> Any:
        if token == "T_OBJ_BEGIN":
            return self._object()
        if token == "T_ARR_BEGIN":
            return self._array()
        if token == "T_NULL":
            return self.json.lua.null
        if token not in ("T_STRING", "T_NUMBER", "T_BOOLEAN"):
            self.wrong("value", token)
        return self.said

    def _descend(self) -> None:
        self.depth += 1
        if self.depth > self.json.decode_depth:
            raise _Invalid(f"Found too many nested data structures ({self.depth}) at character {self.at}")

    def _object(self) -> Any:
        self._descend()
        found: dict[bytes, Any] = {}
        token = self.token()
        while token != "T_OBJ_END":
            if token != "T_STRING":
                self.wrong("object key string", token)
            key = self.said
            token = self.token()
            if token != "T_COLON":
                self.wrong("colon", token)
            found[key] = self.value(self.token())
            token = self.token()
            if token == "T_OBJ_END":
                break
            if token != "T_COMMA":
                self.wrong("comma or object end", token)
            token = self.token()
            if token == "T_OBJ_END":
                self.wrong("object key string", token)
        self.depth -= 1
        return self.json.lua.table(found)

    def _array(self) -> Any:
        self._descend()
        found: list[Any] = []
        token = self.token()
        while token != "T_ARR_END":
            found.append(self.value(token))
            token = self.token()
            if token == "T_ARR_END":
                break
            if token != "T_COMMA":
                self.wrong("comma or array end", token)
            token = self.token()
            if token == "T_ARR_END":
                self.wrong("value", token)
        self.depth -= 1
        return self.json.lua.table(found)


def _unicode(text: bytes, at: int) -> tuple[int, int]:
    r"""The code point of the \uXXXX (or pair of them) at `at`, and its length; (0, 0) if it is invalid."""
    match = _HEX4.match(text, at + 2)
    if match is None:
        return 0, 0
    point = int(match[0], 16)
    if point & 0xF800 != 0xD800:
        return point, 6
    low = _HEX4.match(text, at + 8)
    if point & 0x400 or text[at + 6 : at + 8] != b"\\u" or low is None or int(low[0], 16) & 0xFC00 != 0xDC00:
        return 0, 0
    return ((point & 0x3FF) << 10 | int(low[0], 16) & 0x3FF) + 0x10000, 12
