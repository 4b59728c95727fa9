"""Scripts as commands see them: the cache, the one that runs, and what its `redis.call` may do.

A script runs in the calling client's session, whose database, protocol and the like are put back afterwards, and
its commands go through `call` like a client's: each journals its own effect, so a script is never replayed.
The clock stands still meanwhile.

A script that runs longer than busy-reply-threshold is suspended: it has a C stack of its own (a greenlet), and
the hook that counts its instructions goes back to the loop from time to time. Other clients are then told BUSY,
SCRIPT KILL works, and what the script has changed so far is kept from the journal until it ends, so that a
crash leaves nothing half done. Inside MULTI the stack below belongs to EXEC and cannot be left. A short script that
has nothing to loop with needs no stack of its own; should it find a way to last, it is treated as inside MULTI.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from hashlib import sha1
from time import perf_counter
from typing import TYPE_CHECKING, Any

from greenlet import greenlet

from ferrite_hooks.engine.acl_rules import ALLOWED, CHANNEL, COMMAND, KEY
from ferrite_hooks.engine.blocking import Wait, resolve
from ferrite_hooks.engine.command import COMMANDS, Argv, Command
from ferrite_hooks.engine.lua import Failed, Function, Lua, LuaFault, Value
from ferrite_hooks.engine.lua_libs import as_long, libraries
from ferrite_hooks.engine.lua_values import error_table, to_argv, to_lua
from ferrite_hooks.engine.run import call
from ferrite_hooks.engine.shebang import Flags, of_script
from ferrite_hooks.errors import (
    BUSY_FUNCTION,
    BUSY_SCRIPT,
    INTERNAL,
    MISCONF,
    NOREPLICAS,
    NOTBUSY,
    OOM,
    UNKILLABLE,
    ReplyError,
)
from ferrite_hooks.resp.reply import Reply
from ferrite_hooks.version import REDIS_VERSION

if TYPE_CHECKING:
    from ferrite_hooks.engine.engine import Engine
    from ferrite_hooks.engine.session import Session

log = logging.getLogger("ferrite_hooks.scripts")

EVALUATED_MAX = 500  # scripts that EVAL has brought; those of SCRIPT LOAD stay until SCRIPT FLUSH
_ALONE = 4  # thresholds that a script inside MULTI, which cannot be suspended, may take before it is ended
_BRIEF = 4096  # bytes of a script that ends soon, unless it has one of these words
_LASTING = re.compile(rb"\b(?:while|for|repeat|function|load|loadstring)\b")
_LOAD_SECONDS = 0.5  # for the body of a library
_QUICK = 1 << 20  # bytes of an interpreter whose garbage is collected in a millisecond or two
_LEVELS = (logging.DEBUG, logging.DEBUG, logging.INFO, logging.WARNING)
_KILLED = b"ERR Script killed by user with SCRIPT KILL..."
_TOO_LONG = b"ERR Script ended: it has taken too long, and cannot be interrupted here (as inside MULTI)"
_MAJOR, _MINOR, _PATCH = (int(part) for part in REDIS_VERSION.split("."))

# what a refused command is called inside a script, by the reason that the ACL gives
_DENIED = {
    COMMAND: "ERR The user executing the script can't run this command or subcommand",
    KEY: "ERR The user executing the script can't access at least one of the keys mentioned in the command arguments",
    CHANNEL: "ERR The user executing the script can't publish to the channel mentioned in the command",
}


class Script:
    """A compiled script of the cache."""

    __slots__ = ("brief", "flags", "function", "kept", "sha", "source")

    def __init__(self, sha: bytes, source: bytes, flags: Flags, function: Function, kept: bool) -> None:
        self.sha = sha
        self.source = source
        self.flags = flags
        self.function = function
        self.kept = kept  # by SCRIPT LOAD
        self.brief = len(source) < _BRIEF and _LASTING.search(source) is None


class Run:
    """One script or function while it runs."""

    __slots__ = (
        "allow_oom", "argv", "changes_mark", "done", "drained_db", "effects_mark", "ended", "error", "evaluates",
        "killed", "name", "oom", "outer", "read_only", "real_now", "repl", "reply", "session", "slow", "started",
        "thread", "wrote",
    )  # fmt: skip

    def __init__(self, s: Session, name: bytes, argv: Argv, evaluates: bool, flags: Flags, read_only: bool) -> None:
        engine = s.engine
        self.session = s
        self.name = name
        self.argv = argv
        self.evaluates = evaluates  # EVAL, not FCALL
        self.read_only = read_only or flags.no_writes
        self.allow_oom = flags.allow_oom
        self.oom = engine.over_memory is not None and engine.over_memory()
        self.outer = s.db, s.resp, s.deny_blocking, s.internal  # of the client, while its script has its session
        self.started = engine.lap  # when the command before has ended
        self.real_now = engine.clock.now  # the script's own time stands still
        self.repl = 3  # redis.set_repl
        self.slow = False
        self.wrote = False
        self.killed = False
        self.ended: bytes | None = None  # why it may not go on
        self.thread: greenlet | None = None
        # from where on the tick's effects and changes are its own, and the database of the last one before
        self.effects_mark, self.changes_mark = len(engine.effects), len(engine.changes)
        self.drained_db = engine.drained_db
        self.done = False
        self.reply: Reply = None
        self.error: Exception | None = None

    def outcome(self) -> Reply:
        """The reply, once it is done; raises what ended it."""
        if self.error is not None:
            raise self.error
        return self.reply


class Scripts:
    """All of an engine's scripting; the interpreter is made when it is first needed."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.running: Run | None = None
        self.register: Callable[..., Any] | None = None  # set while a library's body runs
        self.cache: dict[bytes, Script] = {}  # by sha; the least recently used first
        self.by_source: dict[bytes, Script] = {}
        self.evaluated = 0
        self.all_commands = False  # DEBUG SET-DISABLE-DENY-SCRIPTS
        self._deadline = 0.0
        self._idle: greenlet | None = None  # has done its script and waits for another
        self.lua = Lua(self._host(), libraries)

    def _host(self) -> dict[str, Any]:
        return {
            "call": self._call, "pcall": self._pcall, "sha1hex": self._sha1hex, "setresp": self._setresp,
            "set_repl": self._set_repl, "acl_check_cmd": self._acl_check_cmd, "log": self._log, "tick": self._tick,
            "script_resp": self._script_resp, "register": self._register,
            "REDIS_VERSION": REDIS_VERSION.encode(), "REDIS_VERSION_NUM": _MAJOR << 16 | _MINOR << 8 | _PATCH,
        }  # fmt: skip

    def used(self) -> int:
        """Bytes that scripts take, without the garbage while it is quick to collect."""
        if self.running is None and self.lua.used() < _QUICK:
            self.lua.collect()
        return self.lua.used()

    # -- the cache -------------------------------------------------------------------------------------------

    def find(self, sha: bytes) -> Script | None:
        return self.cache.get(sha.lower())

    def load(self, source: bytes, keep: bool) -> Script:
        """The compiled script, from the cache if it is there. Raises ReplyError when it does not compile."""
        script = self.by_source.get(source)
        if script is None:
            flags, body = of_script(source)
            sha = sha1(source, usedforsecurity=False).hexdigest().encode()
            try:
                function = self.lua.compile_script(body)
            except Failed as error:
                raise ReplyError("ERR Error compiling script (new function): " + shown(error.text)) from None
            script = self.by_source[source] = self.cache[sha] = Script(sha, source, flags, function, keep)
            if not keep:
                self.evaluated += 1
                self._evict()
        elif keep and not script.kept:
            script.kept = True
            self.evaluated -= 1
        return script

    def _evict(self) -> None:
        if self.evaluated > EVALUATED_MAX:
            oldest = next(script for script in self.cache.values() if not script.kept)
            del self.cache[oldest.sha], self.by_source[oldest.source]
            self.evaluated -= 1

    def flush(self) -> None:
        self.cache.clear()
        self.by_source.clear()
        self.evaluated = 0
        self.lua.collect()

    # -- running ---------------------------------------------------------------------------------------------

    def run(self, run: Run, function: Function, keys: int, words: list[bytes], brief: bool = False) -> Reply:
        """Runs a script or function for its client. Returns its reply, or a Wait if it was suspended."""
        s = run.session
        if brief or s.deny_blocking or s.internal:
            return self._perform(run, function, keys, words)
        thread = run.thread = self._idle or greenlet(self._work)
        self._idle = None
        thread.switch(run, function, keys, words)
        return run.outcome() if run.done else self._suspended(run)

    def _suspended(self, run: Run) -> Wait:
        """A script has gone back to the loop: its client waits, the others are told."""
        wait, engine = Wait(), self.engine
        engine.busy = BUSY_SCRIPT if run.evaluates else BUSY_FUNCTION
        engine.refresh()
        engine.timers.after(1, lambda: self._resume(run, wait))
        return wait

    def _work(self, run: Run, function: Function, keys: int, words: list[bytes]) -> None:
        """What a greenlet does: one script after the other, for it costs less to go on with one than to make one."""
        while True:
            try:
                run.reply = self._perform(run, function, keys, words)
            except Exception as error:
                run.error = error
            run.done = True
            thread = self._idle = run.thread
            assert thread is not None and thread.parent is not None
            run, function, keys, words = thread.parent.switch()

    def _perform(self, run: Run, function: Function, keys: int, words: list[bytes]) -> Reply:
        """The whole life of a script."""
        s, engine = run.session, self.engine
        joined = engine.transaction  # of the EXEC around it
        if not joined:
            engine.begin_transaction()
        resp = s.resp
        s.resp, s.deny_blocking, s.internal = 2, True, True
        self.running = run
        try:
            if run.evaluates:
                return _reply(self.lua.eval(function, resp, keys, words), s.resp)
            return _reply(self.lua.call(function, resp, keys, words), s.resp)
        except Failed as error:
            return _failure(run, error)
        finally:
            self.running = None
            s.db, s.resp, s.deny_blocking, s.internal = run.outer
            if not joined:
                engine.end_transaction()
            if run.ended:
                self.lua.watch()

    def _pause(self, run: Run) -> None:
        """Goes back to the loop, everything being as if the script had not begun; returns when it may go on."""
        s, engine, clock = run.session, self.engine, self.engine.clock
        mine = s.db, s.resp, s.deny_blocking, s.internal
        s.db, s.resp, s.deny_blocking, s.internal = run.outer
        transaction = engine.transaction
        engine.end_transaction()
        effects, engine.effects[run.effects_mark :] = engine.effects[run.effects_mark :], []
        changes, engine.changes[run.changes_mark :] = engine.changes[run.changes_mark :], []
        if effects and effects[0][0] != b"SELECT":
            effects.insert(0, [b"SELECT", b"%d" % run.drained_db])
        drained, engine.drained_db = engine.drained_db, -1
        now, clock.now = clock.now, run.real_now
        clock.tick()

        assert run.thread is not None and run.thread.parent is not None
        run.thread.parent.switch()

        run.real_now, clock.now = clock.now, now
        run.effects_mark, run.changes_mark, run.drained_db = len(engine.effects), len(engine.changes), engine.drained_db
        engine.effects += effects
        engine.changes += changes
        if effects:
            engine.drained_db = drained
        engine.transaction = transaction
        s.db, s.resp, s.deny_blocking, s.internal = mine

    def _resume(self, run: Run, wait: Wait) -> None:
        """The loop's turn is over: lets a suspended script go on, to its end or its next pause."""
        engine = self.engine
        assert run.thread is not None
        run.thread.switch()
        if not run.done:
            engine.timers.after(1, lambda: self._resume(run, wait))
            return
        try:
            reply = run.outcome()
        except ReplyError as error:
            engine.count_error(error.text)
            reply = error
        except Exception:
            log.exception("script %s failed", run.name.decode("utf-8", "replace"))
            reply = ReplyError(INTERNAL)
        engine.clock.now = run.real_now
        engine.clock.tick()
        engine.busy = ""
        engine.refresh()
        if engine.effects or engine.changes:
            engine.on_pending()
        resolve(run.session, wait, reply)

    def kill(self, evaluates: bool) -> None:
        """SCRIPT KILL and FUNCTION KILL. Raises ReplyError when there is nothing to kill, or it may not be."""
        run = self.running
        if run is None:
            raise ReplyError(NOTBUSY)
        if run.wrote:
            raise ReplyError(UNKILLABLE)
        if run.evaluates != evaluates:
            raise ReplyError(BUSY_SCRIPT if run.evaluates else BUSY_FUNCTION)
        run.killed = True

    def load_library(self, function: Function, register: Callable[..., None]) -> None:
        """Runs a library's body; `register` is called for each of its functions. Raises Failed."""
        self.register = register
        self._deadline = 0.0 if self.engine.loading else perf_counter() + _LOAD_SECONDS
        try:
            self.lua.load_library(function)
        finally:
            self.register = None
            self._deadline = 0.0
            self.lua.watch()

    # -- what Lua calls --------------------------------------------------------------------------------------

    def _tick(self) -> bytes | None:
        """Called between instructions, now and then. Returns why the script must end, or None."""
        run = self.running
        if run is None:
            return b"ERR FUNCTION LOAD timeout" if self._deadline and perf_counter() > self._deadline else None
        if not run.ended:
            threshold = self.engine.settings["busy-reply-threshold"] / 1000
            elapsed = perf_counter() - run.started
            if not threshold or elapsed < threshold:
                return None
            if not run.slow:
                run.slow = True
                name = run.name.decode("utf-8", "replace")
                log.warning("slow script: %s still runs after %d ms", name, elapsed * 1000)
            if run.thread is not None:
                self._pause(run)
                run.ended = _KILLED if run.killed else None
            elif elapsed > _ALONE * threshold and not run.wrote:
                run.ended = _TOO_LONG
        return run.ended

    def _call(self, *words: Any) -> Any:
        return self._command(words)

    def _pcall(self, *words: Any) -> Any:
        try:
            return self._command(words)
        except LuaFault as fault:
            if fault.plain:
                raise
            return self.lua.table(error_table(fault.text) if fault.counted else {b"err": fault.text})

    def _command(self, words: tuple[Any, ...]) -> Any:
        """Runs a command for the script. Raises LuaFault with its error."""
        self.lua.room(0)
        run = self._of_script()
        s = run.session
        try:
            reply = self._invoke(run, s, to_argv(words))
        except ReplyError as error:
            self.engine.count_error(error.text)
            raise LuaFault(error.text.encode("utf-8", "surrogateescape"), counted=True) from None
        if type(reply) is ReplyError:
            raise LuaFault(reply.text.encode("utf-8", "surrogateescape"), counted=True)
        return to_lua(self.lua, s.resp, reply)

    def _invoke(self, run: Run, s: Session, argv: Argv) -> Reply:
        """The checks of a script's command in Redis's order, and the command. Raises ReplyError."""
        engine = self.engine
        command = _find(argv)
        if command is None:
            raise ReplyError("ERR Unknown Redis command called from script")
        if not command.min_words <= len(argv) <= command.max_words:
            command.rejected += 1
            raise ReplyError("ERR Wrong number of args calling Redis command from script")
        if command.noscript and not (self.all_commands and command.group in ("server", "connection")):
            _reject(command, "ERR This Redis command is not allowed from script")
        if not s.user.unrestricted:
            self._authorize(s, command, argv)
        if run.read_only and (command.writes or "may_replicate" in command.flags):
            _reject(command, "ERR Write commands are not allowed from read-only scripts.")
        if not run.wrote and command.writes:
            if engine.write_error:
                _reject(command, MISCONF % engine.write_error)
            if engine.wants_replicas:
                _reject(command, NOREPLICAS)
            if engine.refuses is not None:
                engine.refuses(s, command, argv)
        if not run.wrote and run.oom and command.denies_oom and not run.allow_oom:
            _reject(command, OOM)
        run.wrote = run.wrote or command.writes
        mark, drained = len(engine.effects), engine.drained_db
        reply = call(s, command, argv)
        if not run.repl & 1 and len(engine.effects) > mark:  # redis.set_repl: not into the journal
            del engine.effects[mark:]
            engine.drained_db = drained
        return reply.empty if type(reply) is Wait else reply

    def _authorize(self, s: Session, command: Command, argv: Argv) -> None:
        try:
            self.engine.acl.check(s, command, argv, "lua")
        except ReplyError:
            raise ReplyError(_DENIED[s.user.judge(command, argv)[0]]) from None

    def _of_script(self) -> Run:
        if self.running is None:
            raise LuaFault(b"ERR this can only be called inside a script")
        return self.running

    def _acl_check_cmd(self, *words: Any) -> bool:
        s, argv = self._of_script().session, to_argv(words)
        command = _find(argv)
        if command is None:
            raise LuaFault(b"ERR Invalid command passed to redis.acl_check_cmd()")
        return s.user.unrestricted or s.user.judge(command, argv)[0] == ALLOWED

    def _sha1hex(self, *args: Any) -> bytes:
        if len(args) != 1:
            raise LuaFault(b"ERR wrong number of arguments")
        data = args[0]
        if type(data) is int or type(data) is float:
            data = b"%.14g" % data
        return sha1(data if type(data) is bytes else b"", usedforsecurity=False).hexdigest().encode()

    def _setresp(self, *args: Any) -> None:
        if len(args) != 1:
            raise LuaFault(b"ERR redis.setresp() requires one argument.")
        if args[0] not in (2, 3, b"2", b"3"):
            raise LuaFault(b"ERR RESP version must be 2 or 3.")
        self._of_script().session.resp = int(args[0])

    def _script_resp(self) -> int:
        return self._of_script().session.resp

    def _set_repl(self, *args: Any) -> None:
        if len(args) != 1:
            raise LuaFault(b"ERR redis.set_repl() requires two arguments.")
        if type(args[0]) is not int or not 0 <= args[0] <= 3:
            raise LuaFault(b"ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.")
        self._of_script().repl = args[0]

    def _log(self, *args: Any) -> None:
        if len(args) < 2:
            raise LuaFault(b"ERR redis.log() requires two arguments or more.")
        level, *parts = args
        if type(level) not in (int, float):
            raise LuaFault(b"ERR First argument must be a number (log level).")
        if not 0 <= level <= 3:
            raise LuaFault(b"ERR Invalid debug level.")
        told = [b"%.14g" % part if type(part) in (int, float) else part for part in parts]
        message = b" ".join(part for part in told if type(part) is bytes)
        log.log(_LEVELS[int(level)], "%s", message.decode("utf-8", "replace"))

    def _register(self, name: bytes, description: Any, flags: bytes, function: Function) -> None:
        if self.register is None:
            raise LuaFault(b"ERR redis.register_function can only be called on FUNCTION LOAD command")
        self.register(name, description or None, flags.decode().split(), function)


def _find(argv: Argv) -> Command | None:
    command = COMMANDS.get(argv[0]) or COMMANDS.get(argv[0].lower())
    if command is not None and command.subcommands and len(argv) > 1:
        return command.subcommands.get(argv[1].lower())
    return command


def _reject(command: Command, error: str) -> None:
    command.rejected += 1
    raise ReplyError(error)


def _reply(value: Value, resp: int) -> Reply:
    """What a script returned, as the reply of its command; `resp` is the script's protocol."""
    kind = type(value)
    if kind is bool:
        return value if resp == 3 else (1 if value else None)
    if kind is float:
        return as_long(value)  # type: ignore[arg-type]
    return value


def _failure(run: Run, error: Failed) -> Reply:
    """The error reply of a script. It is raised unless it was counted when its command failed."""
    text = shown(error.text)
    if error.place:
        text += f" script: {shown(run.name)}, on {shown(error.place)}."
    if not error.counted:
        raise ReplyError(text)
    command = run.session.engine.command
    if command is not None:  # of EVAL, unless its client has been waiting since
        command.failed += 1
    return ReplyError(text)


def shown(raw: bytes) -> str:
    """Bytes from Lua in an error reply, on one line."""
    return raw.strip(b"\r\n").decode("utf-8", "surrogateescape").replace("\r", " ").replace("\n", " ")


def scripts(engine: Engine) -> Scripts:
    """The engine's scripting."""
    found = engine.extensions.get("scripting")
    if found is None:
        found = engine.extensions["scripting"] = Scripts(engine)
    return found
