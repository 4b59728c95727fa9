"""FUNCTION and FCALL: libraries of Lua functions that stay, across restarts too.

What changes the libraries is journaled as it was called.
"""

from __future__ import annotations

from time import perf_counter

from ferrite_hooks import glob
from ferrite_hooks.commands.common import help_lines
from ferrite_hooks.commands.scripting import judge, key_count, show
from ferrite_hooks.engine.command import COMMANDS, Argv, command, container
from ferrite_hooks.engine.libraries import Library, Registered, libraries
from ferrite_hooks.engine.scripts import Run, scripts
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import BUSY_SCRIPT, ReplyError, subcommand_syntax, whole
from ferrite_hooks.resp.reply import OK, Reply, Simple

_FCALL = "noscript stale skip_monitor no_mandatory_keys movablekeys"
_ALL = "request_policy:all_shards response_policy:all_succeeded"


def _call(s: Session, argv: Argv, read_only: bool) -> Reply:
    show(s, argv)
    function = libraries(s.engine).functions.get(argv[1].lower())
    if function is None:
        raise ReplyError("ERR Function not found")
    keys = key_count(argv, "ERR Bad number of keys provided")
    judge(s, function.flags, read_only)
    run = Run(s, function.name, argv, False, function.flags, read_only)
    return scripts(s.engine).run(run, function.function, keys, argv[3:])


def _flags_of(s: Session, argv: Argv) -> frozenset[str]:
    """What FCALL will do, as far as its function says."""
    function = libraries(s.engine).functions.get(argv[1].lower())
    flags = COMMANDS[b"fcall"].flags
    return flags if function is None else function.flags.refine(flags)


@command("FCALL function numkeys [key [key ...]] [arg [arg ...]]", "Calls a function.",
         group="scripting", since="7.0.0", flags=_FCALL + " may_replicate", keys="RW access update @2#",
         flags_of=_flags_of)  # fmt: skip
def fcall(s: Session, argv: Argv) -> Reply:
    return _call(s, argv, False)


@command("FCALL_RO function numkeys [key [key ...]] [arg [arg ...]]", "Calls a function that only reads.",
         group="scripting", since="7.0.0", flags="readonly " + _FCALL, keys="RO access @2#")  # fmt: skip
def fcall_ro(s: Session, argv: Argv) -> Reply:
    return _call(s, argv, True)


container("FUNCTION", "Libraries of functions.", group="scripting", since="7.0.0")


@command("FUNCTION LOAD [REPLACE] function-code", "Adds a library.",
         group="scripting", since="7.0.0", flags="write denyoom noscript", events="silent", tips=_ALL)  # fmt: skip
def function_load(s: Session, argv: Argv) -> Reply:
    replace = False
    for option in argv[2:-1]:
        if option.upper() != b"REPLACE":
            raise ReplyError(f"ERR Unknown option given: {whole(option)}")
        replace = True
    library = libraries(s.engine).load(argv[-1], replace)
    s.engine.dirty += 1
    return library.name


@command("FUNCTION DELETE library-name", "Removes a library with its functions.",
         group="scripting", since="7.0.0", flags="write noscript", events="silent", tips=_ALL)  # fmt: skip
def function_delete(s: Session, argv: Argv) -> Reply:
    libraries(s.engine).delete(argv[2])
    s.engine.dirty += 1
    return OK


@command("FUNCTION FLUSH [ASYNC | SYNC]", "Removes all libraries.",
         group="scripting", since="7.0.0", flags="write noscript", events="silent", tips=_ALL)  # fmt: skip
def function_flush(s: Session, argv: Argv) -> Reply:
    if len(argv) > 3:
        raise ReplyError(subcommand_syntax("FUNCTION", argv[1]))
    if len(argv) == 3 and argv[2].upper() not in (b"ASYNC", b"SYNC"):
        raise ReplyError("ERR FUNCTION FLUSH only supports SYNC|ASYNC option")
    libraries(s.engine).clear()
    s.engine.dirty += 1
    return OK


@command("FUNCTION DUMP", "All libraries as a payload for FUNCTION RESTORE.",
         group="scripting", since="7.0.0", flags="noscript")  # fmt: skip
def function_dump(s: Session, argv: Argv) -> Reply:
    return libraries(s.engine).dump()


@command("FUNCTION RESTORE serialized-value [FLUSH | APPEND | REPLACE]", "Adds the libraries of a FUNCTION DUMP.",
         group="scripting", since="7.0.0", flags="write denyoom noscript", events="silent", tips=_ALL)  # fmt: skip
def function_restore(s: Session, argv: Argv) -> Reply:
    if len(argv) > 4:
        raise ReplyError(subcommand_syntax("FUNCTION", argv[1]))
    policy = argv[3].lower() if len(argv) == 4 else b"append"
    if policy not in (b"flush", b"append", b"replace"):
        raise ReplyError("ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.")
    libraries(s.engine).restore(argv[2], policy.decode())
    s.engine.dirty += 1
    return OK


@command("FUNCTION LIST [LIBRARYNAME library-name-pattern] [WITHCODE]", "The libraries and their functions.",
         group="scripting", since="7.0.0", flags="noscript", tips="nondeterministic_output_order")  # fmt: skip
def function_list(s: Session, argv: Argv) -> Reply:
    pattern: bytes | None = None
    with_code = False
    at = 2
    while at < len(argv):
        option = argv[at].upper()
        if option == b"WITHCODE" and not with_code:
            with_code = True
        elif option == b"LIBRARYNAME" and pattern is None:
            at += 1
            if at == len(argv):
                raise ReplyError("ERR library name argument was not given")
            pattern = argv[at]
        else:
            raise ReplyError(f"ERR Unknown argument {whole(argv[at])}")
        at += 1
    found = libraries(s.engine).by_name.values()
    matches = glob.compile(pattern, nocase=True) if pattern is not None else None
    return [_library(library, with_code) for library in found if matches is None or matches(library.name)]


def _library(library: Library, with_code: bool) -> Reply:
    shown = {
        "library_name": library.name,
        "engine": "LUA",
        "functions": [_function(function) for function in library.functions.values()],
    }
    if with_code:
        shown["library_code"] = library.source
    return shown


def _function(function: Registered) -> Reply:
    return {
        "name": function.name,
        "description": function.description,
        "flags": {Simple(name.encode()) for name in function.flags.names()},
    }


@command("FUNCTION STATS", "The function that runs, and what the engine holds.",
         group="scripting", since="7.0.0", flags="noscript allow_busy",
         tips="nondeterministic_output request_policy:all_shards response_policy:special")  # fmt: skip
def function_stats(s: Session, argv: Argv) -> Reply:
    run, held = scripts(s.engine).running, libraries(s.engine)
    if run is not None and run.evaluates:
        raise ReplyError(BUSY_SCRIPT)
    running = run and {
        "name": run.name,
        "command": run.argv,
        "duration_ms": int((perf_counter() - run.started) * 1000),
    }
    counts = {"libraries_count": len(held.by_name), "functions_count": len(held.functions)}
    return {"running_script": running, "engines": {"LUA": counts}}


@command("FUNCTION KILL", "Ends the function that runs, unless it has written already.",
         group="scripting", since="7.0.0", flags="noscript allow_busy",
         tips="request_policy:all_shards response_policy:one_succeeded")  # fmt: skip
def function_kill(s: Session, argv: Argv) -> Reply:
    scripts(s.engine).kill(evaluates=False)
    return OK


@command("FUNCTION HELP", "The subcommands of FUNCTION.", group="scripting", since="7.0.0", flags="loading stale")
def function_help(s: Session, argv: Argv) -> Reply:
    return help_lines("FUNCTION")
