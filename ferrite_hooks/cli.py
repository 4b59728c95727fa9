"""The command line: `ferrite-hooks` runs the server, its subcommands are small tools for receivers and for
data directories.

Every server flag is a key of the configuration and overrides it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from ferrite_hooks.config import Config, ConfigError, load
from ferrite_hooks.version import REDIS_VERSION, __version__, build

# flag, configuration key, placeholder, help
_FLAGS = (
    ("--port", "server.port", "N", "TCP port (6379), 0 = none"),
    ("--dir", "server.dir", "DIR", "where data, webhooks and events are kept (./ferrite-data)"),
    ("--metrics-port", "server.metrics_port", "N", "port of /metrics, /healthz and /readyz (9122), 0 = off"),
    ("--requirepass", "server.requirepass", "P", "password of the default user; a shell's history keeps it,\n"
     "so prefer the configuration file or $FERRITE_HOOKS_REQUIREPASS"),
    ("--log-level", "server.loglevel", "L", "debug, verbose, notice or warning"),
    ("--log-format", "server.logformat", "F", "text or json"),
    ("--unixsocket", "server.unixsocket", "PATH", "listen on a Unix socket as well"),
    ("--tls-port", "server.tls_port", "N", "TLS port"),
    ("--tls-cert-file", "server.tls_cert_file", "PEM", "certificate chain"),
    ("--tls-key-file", "server.tls_key_file", "PEM", "private key"),
    ("--tls-ca-cert-file", "server.tls_ca_cert_file", "PEM", "CA that client certificates are checked with"),
    ("--tls-auth-clients", "server.tls_auth_clients", "W", "yes, no or optional"),
    ("--fsync", "journal.fsync", "W", "always, everysec or no"),
)  # fmt: skip

# subcommand -> the module that has it, which a server does without, and its functions: arguments, and what it does
_TOOLS = {
    "listen": ("listen", "add_arguments", "run"),
    "verify": ("listen", "add_verify_arguments", "run_verify"),
    "check": ("tools", "add_check_arguments", "run_check"),
    "backup": ("tools", "add_backup_arguments", "run_backup"),
}


_PASSWORD = "FERRITE_HOOKS_REQUIREPASS"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ferrite-hooks",
        allow_abbrev=False,
        description="A Redis-protocol server whose data changes are delivered as webhooks.",
        epilog="Tools: `ferrite-hooks listen` receives and checks webhooks, `verify` checks one body,\n"
        "`check` looks for damage in a data directory, `backup` copies one.",
        formatter_class=argparse.RawTextHelpFormatter,
    )
    version = f"ferrite-hooks {__version__} (Redis {REDIS_VERSION}, {build()})"
    parser.add_argument("--version", action="version", version=version)
    parser.add_argument("--config", metavar="FILE", type=Path, help="configuration file (see config.example.toml)")
    parser.add_argument("--check-config", action="store_true", help="check the configuration and exit")
    parser.add_argument("--bind", metavar="ADDR", nargs="+", help="addresses to listen on (loopback)")
    for flag, key, placeholder, text in _FLAGS:
        parser.add_argument(flag, metavar=placeholder, dest=key, help=text)
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="any other configuration key, by its full name"
    )
    return parser


def _overrides(args: argparse.Namespace) -> dict[str, object]:
    """Configuration keys that flags have set. Raises ConfigError."""
    given: dict[str, object] = {
        key: getattr(args, key) for _, key, _, _ in _FLAGS if getattr(args, key) is not None
    }
    if args.bind:
        given["server.bind"] = [address for word in args.bind for address in word.replace(",", " ").split()]
    for assignment in args.set:
        key, separator, value = assignment.partition("=")
        if not separator:
            raise ConfigError([f"--set {assignment}: expected KEY=VALUE"])
        given[key.strip()] = value
    return given


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line. Returns the exit code: 0 all is well, 1 cannot start, 2 wrong usage or configuration."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in _TOOLS:
        return _tool(words[0], words[1:])
    args = _parser().parse_args(words)
    if argv is None and not args.check_config:
        _hide_password(words, args)
    try:
        overrides = _overrides(args)
        config = load(args.config, overrides)
    except ConfigError as error:
        for line in error.errors:
            print(f"ferrite-hooks: {line}", file=sys.stderr)
        return 2
    if args.check_config:
        print("the configuration is good")
        return 0
    return serve(config, args.config, overrides)


def _tool(name: str, words: list[str]) -> int:
    module, add_arguments, run = _TOOLS[name]
    tool = import_module(f"ferrite_hooks.{module}")
    parser = argparse.ArgumentParser(prog=f"ferrite-hooks {name}")
    getattr(tool, add_arguments)(parser)
    code: int = getattr(tool, run)(parser.parse_args(words))
    return code


def _hide_password(words: list[str], args: argparse.Namespace) -> None:
    """`--requirepass` would stand in `ps` as long as the server runs: the same process starts again without it and
    finds the password in its environment, which only its own user can read."""
    given = getattr(args, "server.requirepass")
    if given is None:
        setattr(args, "server.requirepass", os.environ.pop(_PASSWORD, None))
        return
    kept = [word for word in words if not word.startswith("--requirepass=")]
    while "--requirepass" in kept:
        at = kept.index("--requirepass")
        del kept[at : at + 2]  # the flag and its value
    environment = {**os.environ, _PASSWORD: given}
    os.execve(sys.executable, [sys.executable, "-m", "ferrite_hooks", *kept], environment)


def serve(config: Config, path: Path | None, overrides: dict[str, object]) -> int:
    """Runs the server in this process."""
    from ferrite_hooks import app, log  # loads every command: not needed by the tools

    log.set_up(config.server.loglevel, config.server.logformat)
    os.umask(0o077)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(app.main(config, path, overrides))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not on this platform: asyncio's own loop does the same, slower
        return None
    return uvloop.new_event_loop
