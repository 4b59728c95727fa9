"""CONFIG: reading and changing parameters of the running server."""

from __future__ import annotations

from typing import Any

from ferrite_hooks import glob
from ferrite_hooks.commands.common import help_lines
from ferrite_hooks.config import fits, parse
from ferrite_hooks.config_keys import Key
from ferrite_hooks.engine.command import Argv, all_commands, command, container
from ferrite_hooks.engine.session import Session
from ferrite_hooks.engine.settings import ALIASES, HIDDEN, SETTINGS, change
from ferrite_hooks.errors import ReplyError, printable
from ferrite_hooks.resp.reply import OK, Reply

container("CONFIG", "Parameters of the running server.", group="server", since="2.0.0")

_FLAGS = "admin noscript loading stale"


@command("CONFIG GET parameter [parameter ...]", "Parameters whose names match glob patterns.",
         group="server", since="2.0.0", flags=_FLAGS)  # fmt: skip
def config_get(s: Session, argv: Argv) -> Reply:
    """Redis shows `requirepass` in clear; here it has to be asked for by its name, so that tools that collect
    `CONFIG GET *` do not spread it."""
    found: dict[str, str] = {}
    for pattern in argv[2:]:
        matches = glob.compile(pattern, nocase=True)
        for name in [*SETTINGS, *ALIASES]:
            if matches(name.encode()) and (name not in HIDDEN or name.encode() == pattern.lower()):
                real = ALIASES.get(name, name)
                if not SETTINGS[real].secret or pattern.lower() == name.encode():
                    found[name] = show(SETTINGS[real], s.engine.settings[real])
                else:
                    found.setdefault(name, "(hidden)" if s.engine.settings[real] else "")
    return found


@command("CONFIG SET parameter value [parameter value ...]", "Changes parameters: all of them or none.",
         group="server", since="2.0.0", flags=_FLAGS + " secret")  # fmt: skip
def config_set(s: Session, argv: Argv) -> Reply:
    if len(argv) % 2:
        raise ReplyError("ERR wrong number of arguments for 'config|set' command")
    values: dict[str, Any] = {}
    for raw_name, raw_value in zip(argv[2::2], argv[3::2], strict=True):
        written = printable(raw_name)
        name = ALIASES.get(written.lower(), written.lower())
        key = SETTINGS.get(name)
        if key is None:
            raise ReplyError(f"ERR Unknown option or number of arguments for CONFIG SET - '{written}'")
        if name in values:
            _fail(written, "duplicate parameter")
        value = _read(key, written, raw_value.decode("utf-8", "surrogateescape"))
        if not key.live and value != s.engine.settings[name]:
            _fail(written, "can't set immutable config")
        values[name] = value
    s.engine.host.check_settings(values)
    for name, value in values.items():
        change(s.engine, name, value)
    s.engine.host.settings_changed({name: s.engine.settings[name] for name in values})
    return OK


def _fail(name: str, why: str) -> None:
    raise ReplyError(f"ERR CONFIG SET failed (possibly related to argument '{name}') - {why}")


def _read(key: Key, name: str, text: str) -> Any:
    """The value that `text` means, in Redis's words when it means none."""
    try:
        value = parse(key, text)
    except ValueError as error:
        if isinstance(key.default, bool):
            _fail(name, "argument must be 'yes' or 'no'")
        elif key.unit == "bytes":
            _fail(name, "argument must be a memory value")
        elif isinstance(key.default, int):
            _fail(name, "argument couldn't be parsed into an integer")
        _fail(name, str(error))
    if key.choices:
        value = str(value).lower()
        if value not in key.choices:
            _fail(name, f"argument(s) must be one of the following: {', '.join(key.choices)}")
    wrong = fits(key, value)
    if wrong and isinstance(value, int):
        high = int(key.high) if key.high is not None else 2**63 - 1
        _fail(name, f"argument must be between {int(key.low or 0)} and {high} inclusive")
    elif wrong:
        _fail(name, wrong)
    return value


def show(key: Key, value: Any) -> str:
    """A value as CONFIG GET prints it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(value)
    return str(value)


@command("CONFIG RESETSTAT", "Sets the statistics of INFO back to zero.",
         group="server", since="2.0.0", flags=_FLAGS)  # fmt: skip
def config_resetstat(s: Session, argv: Argv) -> Reply:
    engine = s.engine
    engine.hits = engine.misses = engine.expired_keys = engine.error_replies = engine.eviction.evicted = 0
    engine.stats.expired_fields = engine.stats.evicted_clients = engine.lazyfree.freed = 0
    engine.errors.clear()
    host = engine.host
    host.connections_received = host.rejected_connections = host.input_bytes = host.output_bytes = 0
    host.reads = host.writes = 0
    for made in all_commands():
        made.reset_statistics()
    return OK


@command("CONFIG REWRITE", "Writes the running parameters to the configuration file, comments kept.",
         group="server", since="2.8.0", flags=_FLAGS)  # fmt: skip
def config_rewrite(s: Session, argv: Argv) -> Reply:
    if not s.engine.host.config_file:
        raise ReplyError("ERR The server is running without a config file")
    s.engine.host.rewrite_config()
    return OK


@command("CONFIG HELP", "The subcommands of CONFIG.", group="server", since="5.0.0", flags="loading stale")
def config_help(s: Session, argv: Argv) -> Reply:
    return help_lines("CONFIG")
