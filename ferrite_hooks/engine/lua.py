"""A Lua 5.1 interpreter that nobody can get out of: scripts see the tables of lua_prelude.py and nothing else.

Lua is lupa's. Three things are bounded. What a script can reach: Python callables are C functions to it, every
exception becomes a Lua error, attributes of Python objects are refused altogether. Memory: lupa's allocator
fails beyond MEMORY, which a script sees as "not enough memory"; Python code that Lua calls must not meet that
failure (a long jump would cross it), so it is refused a little earlier. Time: a hook calls `tick` every 100,000
instructions, and what `tick` returns ends the script.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from lupa import lua51

from ferrite_hooks.engine import lua_prelude, lua_replies
from ferrite_hooks.errors import ReplyError
from ferrite_hooks.resp.reply import OK, Encoded, Simple

MEMORY = 512 << 20
_RESERVE = 16 << 20  # of MEMORY, for what Python gives to Lua
_CAREFUL = ("call", "pcall")  # ask for room themselves
_MOST_ARGUMENTS: Final = 200  # passed on Lua's stack; more are passed in tables


class LuaFault(Exception):
    """Raised by a Python callable to raise an error in the script: a table `{err = text}` as `redis.call` raises
    it, or a plain string. `counted`: the error is in the statistics already."""

    def __init__(self, text: bytes, plain: bool = False, counted: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.plain = plain
        self.counted = counted


class Failed(Exception):
    """A script ended with an error: its text, whether it was counted already, and where ("@user_script:1")."""

    def __init__(self, text: bytes, counted: bool = False, place: bytes = b"") -> None:
        super().__init__(text)
        self.text = text
        self.counted = counted
        self.place = place


Table = Any  # lupa's table
Function = Any  # lupa's function
Value = bytes | int | float | bool | None | Simple | Encoded


def _refuse(*_: Any) -> NoReturn:
    raise AttributeError("not accessible")


class Lua:
    """One interpreter. `host` maps the names that lua_prelude.py knows to Python callables and constants."""

    def __init__(self, host: Mapping[str, Any], libraries: Callable[[Lua], Mapping[str, Any]]) -> None:
        runtime = self._runtime = lua51.LuaRuntime(
            encoding=None,
            register_eval=False,
            register_builtins=False,
            unpack_returned_tuples=True,
            attribute_handlers=(_refuse, _refuse),
            max_memory=MEMORY,
        )
        self.failure: BaseException | None = None  # an exception that no script may swallow
        self._is = lua51.lua_type
        self._memory: Callable[[], int] = runtime.get_memory_used
        self._full: int = MEMORY - _RESERVE
        self.table: Callable[..., Table] = runtime.table_from
        compiler = runtime.eval(b"function(text) return assert(loadstring(text, '=prelude')) end")
        prelude, replies = compiler(lua_prelude.SOURCE), compiler(lua_replies.SOURCE)
        given: dict[bytes, Any] = {
            name.encode(): value if name in _CAREFUL else self._guard(value) for name, value in host.items()
        }
        given |= {name.encode(): self._guard(value) for name, value in libraries(self).items()}
        given |= {b"explain": self._explain, b"OK": OK}
        (
            self._compile_script, self._compile_library, self._eval, self._call, self._eval_tables,
            self._call_tables, self._load_library, self._watch, self._where, self.null,
        ) = prelude(runtime.globals()[b"python"], self.table(given), replies)  # fmt: skip
        runtime.gccollect()

    # -- for Python callables --------------------------------------------------------------------------------

    def kind(self, value: Any) -> str | None:
        """"table", "function", "userdata" or "thread" for a Lua object, None for a plain value."""
        return self._is(value)  # type: ignore[no-any-return]

    def fail(self, text: str) -> NoReturn:
        """Ends the running callable with a Lua error that begins with the script's position."""
        raise LuaFault(self._where() + text.encode("utf-8", "surrogateescape"), plain=True)

    def room(self, size: int) -> None:
        """Refuses, in Lua's words, to bring `size` more bytes into the interpreter when they would not fit."""
        if self._memory() + size > self._full:
            raise LuaFault(b"not enough memory", plain=True)

    def _guard(self, value: Any) -> Any:
        """A callable that cannot run where Lua has no memory left for its result."""
        if not callable(value):
            return value
        memory, limit = self._memory, self._full

        def guarded(*args: Any) -> Any:
            if memory() > limit:
                raise LuaFault(b"not enough memory", plain=True)
            return value(*args)

        return guarded

    def _explain(self, error: Any) -> Any:
        if isinstance(error, LuaFault):
            return error.text, not error.plain, error.counted
        if isinstance(error, BaseException):
            self.failure = self.failure or error
            return b"ERR internal error", True, True
        return None

    # -- running ---------------------------------------------------------------------------------------------

    def compile_script(self, source: bytes) -> Function:
        """Raises Failed with the compiler's words."""
        return self._compiled(self._compile_script, source, b"@user_script")

    def compile_library(self, source: bytes) -> Function:
        """Raises Failed with the compiler's words."""
        return self._compiled(self._compile_library, source, b"@user_function")

    def _compiled(self, compiler: Function, source: bytes, name: bytes) -> Function:
        self._make_room(3 * len(source))
        function = compiler(source, name)
        if type(function) is tuple:
            raise Failed(function[1])
        return function

    def load_library(self, function: Function) -> None:
        """Runs a library's body, which registers its functions. Raises Failed."""
        text = self._load_library(function)
        self._reraise()
        if text is not None:
            raise Failed(text)

    def eval(self, function: Function, resp: int, keys: int, words: list[bytes]) -> Value:
        """Runs a script with KEYS, the first `keys` words, and ARGV, the others. `resp`: the protocol that its value is
        encoded in. Raises Failed."""
        return self._run(self._eval, self._eval_tables, function, resp, keys, words)

    def call(self, function: Function, resp: int, keys: int, words: list[bytes]) -> Value:
        """Calls a registered function with its keys and arguments, as `eval`. Raises Failed."""
        return self._run(self._call, self._call_tables, function, resp, keys, words)

    def _run(
        self, run: Function, run_tables: Function, function: Function, resp: int, keys: int, words: list[bytes]
    ) -> Value:
        count = len(words)
        size = 64 * count
        for word in words:
            size += len(word)
        self._make_room(size)
        try:
            if count <= _MOST_ARGUMENTS:
                result = run(function, resp, keys, *words)
            else:
                result = run_tables(function, resp, self.table(words[:keys]), self.table(words[keys:]))
        except lua51.LuaError as error:  # outside of the protected call: only when it has no memory for its own
            raise Failed(b"not enough memory") from error
        if self.failure is not None:
            self._reraise()
        if type(result) is not tuple:
            return result  # type: ignore[no-any-return]
        if result[1] == 1:
            return Encoded(result[0])
        if result[1] == 3:
            raise Failed(result[0][:100])
        raise Failed(result[0], result[2], result[3] if len(result) > 3 and result[3] else b"")

    def _reraise(self) -> None:
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure

    def _make_room(self, size: int) -> None:
        if self._memory() + size > self._full:
            self._runtime.gccollect()
            if self._memory() + size > self._full:
                raise ReplyError("OOM Lua has not enough memory for this script and its arguments")

    def watch(self) -> None:
        """After a script was ended: the hook counts again."""
        self._watch()

    def used(self) -> int:
        """Bytes that the interpreter takes."""
        return int(self._memory())

    def collect(self) -> None:
        self._runtime.gccollect()
