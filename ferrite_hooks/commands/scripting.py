"""EVAL and its kin, and the script cache. What a script may do is decided in engine/scripts.py."""

from __future__ import annotations

from ferrite_hooks.commands.common import help_lines, integer
from ferrite_hooks.engine.command import COMMANDS, Argv, command, container
from ferrite_hooks.engine.monitor import feed
from ferrite_hooks.engine.scripts import Run, Script, Scripts, scripts
from ferrite_hooks.engine.session import Session
from ferrite_hooks.engine.shebang import Flags, of_script
from ferrite_hooks.errors import MISCONF, NOREPLICAS, NOSCRIPT, OOM, ReplyError
from ferrite_hooks.resp.reply import OK, Reply

_FLAGS = "noscript stale skip_monitor no_mandatory_keys movablekeys"
_READ_ONLY = "readonly " + _FLAGS
_MAY_WRITE = _FLAGS + " may_replicate"
_KEYS, _KEYS_READ = "RW access update @2#", "RO access @2#"


def key_count(argv: Argv, bad: str | None = None) -> int:
    """How many keys there are in `… numkeys [key …] [arg …]`, numkeys being the third word."""
    count = integer(argv[2], bad) if bad else integer(argv[2])
    if count > len(argv) - 3:
        raise ReplyError("ERR Number of keys can't be greater than number of args")
    if count < 0:
        raise ReplyError("ERR Number of keys can't be negative")
    return count


def judge(s: Session, flags: Flags, read_only: bool) -> None:
    """Refuses a script that declares what may not be done now."""
    engine = s.engine
    if not flags.declared or s.internal:
        return
    if not flags.no_writes:
        if read_only:
            raise ReplyError("ERR Can not execute a script with write flag using *_ro command.")
        if engine.write_error:
            raise ReplyError(MISCONF % engine.write_error)
        if engine.wants_replicas:
            raise ReplyError(NOREPLICAS)
        if not flags.allow_oom and engine.over_memory is not None and engine.over_memory():
            raise ReplyError(OOM)


def _evaluate(s: Session, argv: Argv, cache: Scripts, script: Script, keys: int, read_only: bool) -> Reply:
    judge(s, script.flags, read_only)
    run = Run(s, script.sha, argv, True, script.flags, read_only)
    return cache.run(run, script.function, keys, argv[3:], script.brief)


def _flags_of(s: Session, argv: Argv) -> frozenset[str]:
    """What EVAL or EVALSHA will do, as far as its script says."""
    found = scripts(s.engine).by_source.get(argv[1]) or scripts(s.engine).find(argv[1])
    flags = COMMANDS[argv[0].lower()].flags
    if found is not None:
        return found.flags.refine(flags)
    try:
        return of_script(argv[1])[0].refine(flags)
    except ReplyError:
        return flags


def show(s: Session, argv: Argv) -> None:
    """To monitors a script comes before its commands."""
    if s.engine.monitors and s.last_command is not None:
        feed(s.engine, s, s.last_command, argv)


def _eval(s: Session, argv: Argv, read_only: bool) -> Reply:
    show(s, argv)
    keys = key_count(argv)
    cache = scripts(s.engine)
    return _evaluate(s, argv, cache, cache.load(argv[1], keep=False), keys, read_only)


def _evalsha(s: Session, argv: Argv, read_only: bool) -> Reply:
    show(s, argv)
    if len(argv[1]) != 40:
        raise ReplyError(NOSCRIPT)
    keys = key_count(argv)
    cache = scripts(s.engine)
    script = cache.find(argv[1])
    if script is None:
        raise ReplyError(NOSCRIPT)
    return _evaluate(s, argv, cache, script, keys, read_only)


@command("EVAL script numkeys [key [key ...]] [arg [arg ...]]", "Runs a Lua script.",
         group="scripting", since="2.6.0", flags=_MAY_WRITE, keys=_KEYS, flags_of=_flags_of)  # fmt: skip
def eval_(s: Session, argv: Argv) -> Reply:
    return _eval(s, argv, False)


@command("EVAL_RO script numkeys [key [key ...]] [arg [arg ...]]", "Runs a Lua script that only reads.",
         group="scripting", since="7.0.0", flags=_READ_ONLY, keys=_KEYS_READ)  # fmt: skip
def eval_ro(s: Session, argv: Argv) -> Reply:
    return _eval(s, argv, True)


@command("EVALSHA sha1 numkeys [key [key ...]] [arg [arg ...]]", "Runs a script of the cache by its SHA1 digest.",
         group="scripting", since="2.6.0", flags=_MAY_WRITE, keys=_KEYS, flags_of=_flags_of)  # fmt: skip
def evalsha(s: Session, argv: Argv) -> Reply:
    return _evalsha(s, argv, False)


@command("EVALSHA_RO sha1 numkeys [key [key ...]] [arg [arg ...]]",
         "Runs a script of the cache that only reads, by its SHA1 digest.",
         group="scripting", since="7.0.0", flags=_READ_ONLY, keys=_KEYS_READ)  # fmt: skip
def evalsha_ro(s: Session, argv: Argv) -> Reply:
    return _evalsha(s, argv, True)


container("SCRIPT", "The script cache and the running script.", group="scripting", since="2.6.0")


@command("SCRIPT LOAD script", "Compiles a script and keeps it; answers with its SHA1 digest.",
         group="scripting", since="2.6.0", flags="noscript stale",
         tips="request_policy:all_nodes response_policy:all_succeeded")  # fmt: skip
def script_load(s: Session, argv: Argv) -> Reply:
    return scripts(s.engine).load(argv[2], keep=True).sha


@command("SCRIPT EXISTS sha1 [sha1 ...]", "Whether scripts are in the cache.",
         group="scripting", since="2.6.0", flags="noscript",
         tips="request_policy:all_shards response_policy:agg_logical_and")  # fmt: skip
def script_exists(s: Session, argv: Argv) -> Reply:
    found = scripts(s.engine)
    return [int(found.find(sha) is not None) for sha in argv[2:]]


@command("SCRIPT FLUSH [ASYNC | SYNC]", "Empties the cache.",
         group="scripting", since="2.6.0", flags="noscript",
         tips="request_policy:all_nodes response_policy:all_succeeded")  # fmt: skip
def script_flush(s: Session, argv: Argv) -> Reply:
    if len(argv) > 3 or (len(argv) == 3 and argv[2].upper() not in (b"ASYNC", b"SYNC")):
        raise ReplyError("ERR SCRIPT FLUSH only support SYNC|ASYNC option")
    scripts(s.engine).flush()
    return OK


@command("SCRIPT KILL", "Ends the running script, unless it has written already.",
         group="scripting", since="2.6.0", flags="noscript allow_busy",
         tips="request_policy:all_shards response_policy:one_succeeded")  # fmt: skip
def script_kill(s: Session, argv: Argv) -> Reply:
    scripts(s.engine).kill(evaluates=True)
    return OK


@command("SCRIPT DEBUG <YES | SYNC | NO>", "Whether EVAL starts the Lua debugger, which this server does not have.",
         group="scripting", since="3.2.0", flags="noscript")  # fmt: skip
def script_debug(s: Session, argv: Argv) -> Reply:
    if argv[2].upper() == b"NO":
        return OK
    if argv[2].upper() in (b"YES", b"SYNC"):
        raise ReplyError("ERR The Lua debugger is not supported; SCRIPT DEBUG takes only NO")
    raise ReplyError("ERR Use SCRIPT DEBUG YES/SYNC/NO")


@command("SCRIPT HELP", "The subcommands of SCRIPT.", group="scripting", since="5.0.0", flags="loading stale")
def script_help(s: Session, argv: Argv) -> Reply:
    return help_lines("SCRIPT")
