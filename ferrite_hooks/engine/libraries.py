"""Libraries of functions: FUNCTION LOAD's text, compiled, and the functions that it registered.

A set of libraries is changed as a whole: a load or restore that fails leaves everything as it was. Names of
functions are unique over all libraries, whatever their case.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ferrite_hooks.engine.lua import Failed, Function, LuaFault
from ferrite_hooks.engine.scripts import scripts, shown
from ferrite_hooks.engine.shebang import Flags, of_library
from ferrite_hooks.errors import ReplyError, whole
from ferrite_hooks.store.crc64 import crc64
from ferrite_hooks.store.cursor import Cursor
from ferrite_hooks.store.output import Output
from ferrite_hooks.store.packed import RdbError
from ferrite_hooks.store.rdb_read import MAX_VERSION
from ferrite_hooks.store.rdb_write import sealed

if TYPE_CHECKING:
    from ferrite_hooks.engine.engine import Engine

_NAME = re.compile(rb"[A-Za-z0-9_]+\Z")
_BAD_NAME = (
    "ERR Library names can only contain letters, numbers, or underscores(_) and must be at least one character long"
)
_BAD_PAYLOAD = "ERR DUMP payload version or checksum are wrong"
_FUNCTION, _FUNCTION_PRE_GA = 245, 246  # RDB opcodes
_FOOTER = struct.Struct("<HQ")  # of a payload: RDB version, checksum of everything before it


class Registered:
    """A function that a library has registered."""

    __slots__ = ("description", "flags", "function", "name")

    def __init__(self, name: bytes, description: bytes | None, flags: Flags, function: Function) -> None:
        self.name = name
        self.description = description
        self.flags = flags
        self.function = function


class Library:
    __slots__ = ("functions", "name", "source")

    def __init__(self, name: bytes, source: bytes) -> None:
        self.name = name
        self.source = source
        self.functions: dict[bytes, Registered] = {}


class Libraries:
    """All libraries of an engine."""

    __slots__ = ("_engine", "by_name", "functions")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.by_name: dict[bytes, Library] = {}
        self.functions: dict[bytes, Registered] = {}  # by name in lower case

    def load(self, source: bytes, replace: bool) -> Library:
        """Adds a library, or puts it in the place of its namesake. Raises ReplyError."""
        library = self._compile(source, None if replace else self.by_name)
        self._set([other for other in self.by_name.values() if other.name != library.name] + [library])
        return library

    def restore(self, payload: bytes, policy: str) -> None:
        """Adds the libraries of a FUNCTION DUMP. `policy`: append, replace or flush. Raises ReplyError."""
        new: dict[bytes, Library] = {}
        for source in read_payload(payload):
            library = self._compile(source, new)
            new[library.name] = library
        present = {} if policy == "flush" else self.by_name
        if policy != "replace":
            for name in new:
                if name in present:
                    raise ReplyError(f"ERR Library {whole(name)} already exists")
        self._set([library for library in present.values() if library.name not in new] + list(new.values()))

    def delete(self, name: bytes) -> None:
        if name not in self.by_name:
            raise ReplyError("ERR Library not found")
        self._set(library for library in self.by_name.values() if library.name != name)

    def clear(self) -> None:
        self._set(())

    def dump(self) -> bytes:
        """A payload for RESTORE, here or in Redis 7."""
        out = Output()
        for source in self.sources():
            out.add(bytes([_FUNCTION]))
            out.string(source)
        return sealed(out)

    def sources(self) -> list[bytes]:
        """The texts of all libraries, for a snapshot."""
        return [library.source for library in self.by_name.values()]

    def _set(self, libraries: Iterable[Library]) -> None:
        """Makes these the libraries. Raises ReplyError, and changes nothing, when two have a function of one name."""
        by_name: dict[bytes, Library] = {}
        functions: dict[bytes, Registered] = {}
        for library in libraries:
            by_name[library.name] = library
            for name, function in library.functions.items():
                if name.lower() in functions:
                    raise ReplyError(f"ERR Function {whole(name)} already exists")
                functions[name.lower()] = function
        self.by_name, self.functions = by_name, functions

    def _compile(self, source: bytes, taken: dict[bytes, Library] | None) -> Library:
        engine, name, body = of_library(source)
        if not _NAME.match(name):
            raise ReplyError(_BAD_NAME)
        if engine.lower() != b"lua":
            raise ReplyError(f"ERR Engine '{whole(engine)}' not found")
        if taken is not None and name in taken:
            raise ReplyError(f"ERR Library '{whole(name)}' already exists")
        library = Library(name, source)

        def register(name: bytes, description: bytes | None, flags: list[str], function: Function) -> None:
            if not _NAME.match(name):
                raise LuaFault(_BAD_NAME.encode())
            if name in library.functions:
                raise LuaFault(b"ERR Function already exists in the library")
            library.functions[name] = Registered(name, description, Flags.of(flags), function)

        scripting = scripts(self._engine)
        try:
            function = scripting.lua.compile_library(body)
        except Failed as error:
            raise ReplyError("ERR Error compiling function: " + shown(error.text)) from None
        try:
            scripting.load_library(function, register)
        except Failed as error:
            raise ReplyError("ERR Error registering functions: " + shown(error.text)) from None
        if not library.functions:
            raise ReplyError("ERR No functions registered")
        return library


def read_payload(payload: bytes) -> list[bytes]:
    """The libraries' texts in a FUNCTION DUMP. Raises ReplyError."""
    end = len(payload) - _FOOTER.size
    if end < 0:
        raise ReplyError(_BAD_PAYLOAD)
    version, check = _FOOTER.unpack(payload[end:])
    if version > MAX_VERSION or check != crc64(memoryview(payload)[:-8]):
        raise ReplyError(_BAD_PAYLOAD)
    cursor, found = Cursor(payload, 0, end), []
    try:
        while cursor.position < end:
            kind = cursor.byte()
            if kind == _FUNCTION_PRE_GA:
                raise ReplyError("ERR Pre-GA function format not supported")
            if kind != _FUNCTION:
                raise ReplyError("ERR given type is not a function")
            found.append(cursor.string())
    except RdbError:
        raise ReplyError("ERR Failed loading library data") from None
    return found


def libraries(engine: Engine) -> Libraries:
    """The engine's libraries of functions."""
    found = engine.extensions.get("libraries")
    if found is None:
        found = engine.extensions["libraries"] = Libraries(engine)
    return found
