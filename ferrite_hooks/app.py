"""The composition root: makes every part from the configuration and ties them together; nothing else sees all
of it.

Start: lock and read the journal, restore data and webhooks, listen, deliver. Stop: no new clients, requests
in flight end (bounded), the journal is flushed. A start that cannot succeed raises StartError with one line
for the user.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import secrets
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import ferrite_hooks.commands  # noqa: F401  (declares them)
from ferrite_hooks import log as log_setup
from ferrite_hooks.clock import Clock
from ferrite_hooks.config import KEYS, Config, ConfigError, changed, flat, load
from ferrite_hooks.engine.engine import Engine
from ferrite_hooks.engine.settings import SETTINGS, change, clients_limit, initial
from ferrite_hooks.errors import ReplyError
from ferrite_hooks.keeper import Keeper
from ferrite_hooks.outlet import Outlet
from ferrite_hooks.recovery import Recovery, RecoveryError, open_journal, snapshot_path
from ferrite_hooks.server.clients import Clients
from ferrite_hooks.server.connection import Connection
from ferrite_hooks.server.listener import ListenError, raise_file_limit, spelled
from ferrite_hooks.server.listening import Listeners
from ferrite_hooks.server.tick import NO_LIMIT, Tick
from ferrite_hooks.store.files import DISK, Files
from ferrite_hooks.store.journal import Journal, JournalError
from ferrite_hooks.store.snapshot import SnapshotDamaged
from ferrite_hooks.version import __version__, build
from ferrite_hooks.web.server import Web

log = logging.getLogger("ferrite_hooks")

LOAD_SLICE_SECONDS = 0.02  # of replay between looks at the sockets
LOAD_REPORT_SECONDS = 3.0  # between lines in the log
SWEEP_SECONDS = 1.0
WEB_BYTES = 12 << 20  # that aiohttp and prometheus_client take; data may arrive while they are imported
POSITION_GAP = 1 << 20  # skipped after a crash: events may have left whose record did not survive


# settings that have to do with where the server listens, and what CONFIG SET says when it cannot
_NO_PORT = "Unable to listen on this port. Check server logs."
_NO_TLS = "Unable to update TLS configuration. Check server logs."
_LISTENING = {
    "bind": "Failed to bind to specified addresses.", "port": _NO_PORT, "tls-port": _NO_PORT,
    **dict.fromkeys([name for name in SETTINGS if name.startswith("tls-") and name != "tls-port"], _NO_TLS),
}  # fmt: skip


class StartError(Exception):
    """The server cannot start; the text is one line that says why and what to do."""


class App:
    """One server. `await start()`, then `await stopped()`; `stop()` may be called at any time."""

    def __init__(
        self,
        config: Config,
        config_path: Path | None = None,
        overrides: dict[str, object] | None = None,
        files: Files = DISK,
    ) -> None:
        self.config = config
        self.files = files
        self.config_path = config_path
        self.overrides = overrides or {}
        self.clock = Clock()
        self.engine = Engine(self.clock, config.server.databases)
        self.loop: asyncio.AbstractEventLoop
        self.tick: Tick
        self.clients: Clients
        self.journal: Journal | None = None
        self.keeper: Keeper
        self.outlet: Outlet | None = None
        self.web: Web | None = None
        self.ready = False  # loaded, and the journal takes writes
        self._recovery: Recovery
        self.listeners = Listeners(lambda: Connection(self.clients))
        self._stopping = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0
        self._save_at_end: bool | None = None
        self._saved_dirty = -1  # `engine.dirty` as a shutdown has saved it

    # -- starting --------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listens, loads and delivers. Raises StartError."""
        self.loop = asyncio.get_running_loop()
        self.tick = Tick(self.engine, self.loop)
        self.clients = Clients(self.engine, self.tick)
        self._equip_engine()
        self._provide_files()
        if self.config.webhooks.enabled:
            self.outlet = Outlet(self.config, self.engine, self.tick)
        try:
            if self.outlet is not None:
                self.outlet.check_tls()
            self.listeners.change(self.config.server)
            self.journal = open_journal(self.config, self.files)
        except (ListenError, JournalError, RecoveryError, SnapshotDamaged, ValueError) as error:
            await self._abandon()
            raise StartError(str(error)) from error
        except OSError as error:
            await self._abandon()
            raise StartError(f"{error.filename or 'start'}: {error.strerror or error}") from error
        self._equip_keeper()
        self.engine.loading = True
        self.engine.refresh()
        await self.listeners.serve()
        try:
            self._start_web()
            gc.disable()  # data has no cycles: looking for them again and again would only cost
            await self._load()
        except (JournalError, ListenError, SnapshotDamaged, RecoveryError, ReplyError, OSError) as error:
            await self._abandon()
            raise StartError(str(error)) from error
        finally:
            gc.enable()
        self.ready = True
        self.loop.call_later(SWEEP_SECONDS, self._sweep)
        _freeze()
        gc.set_threshold(50_000, 20, 100)

    def _equip_engine(self) -> None:
        engine, server = self.engine, self.config.server
        engine.settings = initial(flat(self.config))
        for name, value in engine.settings.items():
            change(engine, name, value)
        if server.aclfile:
            try:
                engine.acl.load(server.aclfile)
            except ReplyError as error:
                raise StartError(error.text.removeprefix("ERR ")) from None
        host = engine.host
        host.run_id = secrets.token_hex(20)
        host.port, host.tls_port = server.port, server.tls_port
        host.config_file = str(self.config_path.resolve()) if self.config_path else ""
        host.shutdown = self._shutdown
        host.check_settings = self._check_settings
        host.settings_changed = self._settings_changed
        host.rewrite_config = self._rewrite_config
        engine.timers.arm = self._arm
        self._apply_limits()

    def _provide_files(self) -> None:
        """With fewer files than are wanted, fewer clients are let in."""
        clients = self.config.server.maxclients
        if (possible := self._clients_possible(clients)) < clients:
            self.engine.settings["maxclients"] = possible
            log.warning(
                "maxclients is %d instead of %d: the system allows no more open files (ulimit -n)", possible, clients
            )

    def _clients_possible(self, wanted: int) -> int:
        """How many of so many clients the system allows: they, requests and files of our own need descriptors."""
        ours = self.config.webhooks.delivery.max_connections + 64
        return min(wanted, max(1, raise_file_limit(wanted + ours) - ours))

    def _apply_limits(self) -> None:
        settings = self.engine.settings
        self.clients.query_limit = settings["client-query-buffer-limit"]
        if self.clients.limit != (limit := clients_limit(self.engine)):
            self.clients.limit_memory(limit)
        hard = [limits[0] for limits in self.engine.host.output_limits.values() if limits[0]]
        self.tick.reply_limit = min(hard, default=NO_LIMIT)

    def _equip_keeper(self) -> None:
        engine, path, tell = self.engine, snapshot_path(self.config), self.outlet.replay if self.outlet else _nobody
        self.keeper = Keeper(engine, self.tick, self.outlet, self.journal, path, self.files)
        self._recovery = self.keeper.recovery = Recovery(engine, path, self.journal, tell, self.files)

    async def _load(self) -> None:
        """Snapshot and journal, in slices, so that PING, INFO and readyz answer meanwhile."""
        engine, outlet = self.engine, self.outlet
        started = time.perf_counter()
        keeper, recovery = self.keeper, self._recovery
        await asyncio.to_thread(recovery.open)
        slice_end = time.perf_counter() + LOAD_SLICE_SECONDS
        tell_at = started + LOAD_REPORT_SECONDS
        for _ in recovery.steps():
            if time.perf_counter() > slice_end:
                await asyncio.sleep(0)
                now = time.perf_counter()
                slice_end = now + LOAD_SLICE_SECONDS
                if now > tell_at:
                    tell_at = now + LOAD_REPORT_SECONDS
                    log.info("loading: %.0f %%, about %d s to go", recovery.percentage, recovery.seconds_left)
        for sentence in recovery.report:
            log.warning("%s", sentence)
        if self.journal is not None:
            self.tick.journal = engine.host.journal = self.journal
            self.tick.always = self.config.journal.fsync == "always"
        known = max(outlet.start(self.journal, recovery.first_frame) if outlet is not None else 0, recovery.position)
        told = recovery.frames or recovery.mark is not None
        engine.position = recovery.stopped_at or (known + POSITION_GAP if told else known)
        engine.loading = False
        engine.refresh()
        engine.expiry.rebuild()
        keeper.loaded(recovery)
        keys = sum(len(db.data) for db in engine.databases)
        seconds = time.perf_counter() - started
        origin = f" of {recovery.imported}" if recovery.imported else ""
        log.info(
            "loaded %d keys in %.3f s: %d from the snapshot%s, then %d journal frames",
            keys, seconds, recovery.keys_loaded, origin, recovery.frames,
        )  # fmt: skip

    def _start_web(self) -> None:
        server = self.config.server
        if not server.metrics_port:
            return
        self.web = Web(self.engine, self.health)
        if self.outlet is not None:
            self.web.add(self.outlet.collector)
        try:
            memory = self.engine.memory.measure()
            self.web.start(server.metrics_bind, server.metrics_port, lambda: self._web_serves(memory))
        except OSError as error:
            where = spelled(server.metrics_bind, server.metrics_port)
            why = "the port is in use" if error.errno == errno.EADDRINUSE else error.strerror or error
            raise ListenError(
                f"cannot serve metrics on {where}: {why}; choose another with --metrics-port, 0 = off"
            ) from error

    def _web_serves(self, before: int) -> None:
        """What was imported for it is the server's, not data: `before` are the bytes in use until then."""
        meter = self.engine.memory
        meter.startup += max(0, min(meter.measure() - before, WEB_BYTES))
        _freeze()

    def health(self) -> dict[str, Any]:
        """What /readyz says: `ready` and, when not, why."""
        why = ""
        if self.engine.loading:
            why = f"loading, {self._recovery.percentage:.0f} % done"
        elif not self.ready:
            why = "stopping" if self._stopping.is_set() else "loading"
        elif self.engine.write_error:
            why = self.engine.write_error
        elif self._stopping.is_set():
            why = "stopping"
        return {"ready": not why, "reason": why, "version": __version__}

    def banner(self) -> list[str]:
        """What a user needs to know after a start."""
        server = self.config.server
        lines = [
            f"Ferrite Hooks {__version__} ({build()}), pid {os.getpid()}",
            f"listening on {', '.join(map(str, self.listeners.all)) or 'nothing'}",
        ]
        if self.journal is not None:
            lines.append(f"data in {Path(server.dir).resolve()}, fsync {self.config.journal.fsync}")
        else:
            how = f"snapshots in {Path(server.dir).resolve()}" if self.config.snapshot.save else "data in memory only"
            lines.append(f"{how} (journal.enabled is off)")
        if self.outlet is not None:
            lines.append(self.outlet.banner())
        if self.web is not None:
            where = f"http://{spelled(server.metrics_bind, self.web.port)}"
            lines.append(f"metrics on {where}/metrics, health on {where}/healthz and /readyz")
        return lines

    # -- running ---------------------------------------------------------------------------------------------

    def _arm(self, when: int) -> None:
        if self._timer is None or when < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = when
            self._timer = self.loop.call_later(max(0.0, when / 1000 - time.time()), self._run_timers)

    def _run_timers(self) -> None:
        self._timer = None
        self.clock.tick()
        following = self.engine.timers.run_due()
        if self.engine.unsettled:
            self.engine.settle()
        if following is not None:
            self._arm(following)

    def _sweep(self) -> None:
        self.clock.tick()
        self.clients.sweep()
        host = self.engine.host
        self.engine.stats.sample(self.clock.now, host.input_bytes, host.output_bytes)
        self.keeper.sweep()
        if not self._stopping.is_set():
            self.loop.call_later(SWEEP_SECONDS, self._sweep)

    # -- configuration at run time ---------------------------------------------------------------------------

    def _config_with(self, values: dict[str, Any]) -> Config:
        """The configuration with other values for some settings, which go by CONFIG's names. Raises ConfigError."""
        keys = {SETTINGS[name].name: value for name, value in values.items()}
        return changed(self.config, {name: value for name, value in keys.items() if name in KEYS})

    def _check_settings(self, values: dict[str, Any]) -> None:
        """Raises ReplyError for what cannot be. Sockets are changed here: whether that works nobody knows before."""
        try:
            config = self._config_with(values)
        except ConfigError as error:
            raise ReplyError(f"ERR CONFIG SET failed - {error}") from error
        wanted = values.get("maxclients", 0)
        if wanted and (possible := self._clients_possible(wanted)) < wanted:
            _fail("maxclients", "The operating system is not able to handle the specified number of clients, try with"
                  f" {possible}")  # fmt: skip
        try:
            self._listen(config, values)
        except ListenError as error:
            log.error("%s", error)
            culprit = next(name for name in values if name in _LISTENING)
            _fail(culprit, _LISTENING[culprit])

    def _listen(self, config: Config, values: Iterable[str]) -> None:
        """Listens where the configuration says, if one of the settings has to do with that. Raises ListenError."""
        concerned = _LISTENING.keys() & values
        if concerned:
            self.listeners.change(config.server, certificates=bool(concerned - {"bind", "port"}))
            self.listeners.serve_soon()

    def _settings_changed(self, values: dict[str, Any]) -> None:
        """CONFIG SET or a reloaded file has changed settings; the engine has them already."""
        self.config = self._config_with(values)
        self.engine.host.port, self.engine.host.tls_port = self.config.server.port, self.config.server.tls_port
        self._apply_limits()
        if self.outlet is not None:
            self.outlet.reconfigure(self.config)
        if self.journal is not None and "appendfsync" in values:
            self.journal.change_fsync(values["appendfsync"])
            self.tick.always = values["appendfsync"] == "always"
        if "loglevel" in values:
            logging.getLogger().setLevel(log_setup.LEVELS[values["loglevel"]])

    def reload(self) -> None:
        """SIGHUP: reads the configuration file again and applies what can change while running."""
        if self.config_path is None:
            log.info("no configuration file to read again")
            return
        try:
            fresh = flat(load(self.config_path, self.overrides))
        except ConfigError as error:
            log.error("the configuration was not reloaded:\n%s", error)
            return
        present = flat(self.config)
        names = {key.name: name for name, key in SETTINGS.items()}
        differing = [key for key in KEYS.values() if fresh[key.name] != present[key.name]]
        values = {names[key.name]: fresh[key.name] for key in differing if key.live and key.name in names}
        try:
            self._listen(self._config_with(values), values)
        except ListenError as error:
            log.error("the server goes on listening where it did: %s", error)
            values = {name: value for name, value in values.items() if name not in _LISTENING}
        for name, value in values.items():
            change(self.engine, name, value)
        self._settings_changed(values)
        fixed = [key.name for key in differing if not key.live]
        log.info("configuration reloaded, changed: %s", ", ".join(values) or "nothing")
        if fixed:
            log.warning("these take effect at the next start: %s", ", ".join(fixed))

    def _rewrite_config(self) -> None:
        from ferrite_hooks.config_rewrite import rewrite

        assert self.config_path is not None
        try:
            rewrite(self.config_path, flat(self.config), self.files)
        except OSError as error:
            raise ReplyError(f"ERR Rewriting config file: {error.strerror}") from error

    # -- stopping --------------------------------------------------------------------------------------------

    def _shutdown(self, save: bool | None, force: bool = False) -> None:
        """SHUTDOWN. Raises ReplyError when data would be lost because a snapshot cannot be written, unless it is
        forced."""
        self._save_at_end = save
        if self.ready and self.keeper.saves_at_end(save) and not self.keeper.busy:
            try:
                self.keeper.save()
                self._saved_dirty = self.engine.dirty
            except ReplyError as error:  # it is in the log
                if not force:
                    raise ReplyError("ERR Errors trying to SHUTDOWN. Check logs.") from error
                self._save_at_end = False
        self.stop()

    def _signalled(self) -> None:
        try:
            self._shutdown(None)
        except ReplyError:
            log.critical("the server goes on, for its data would be lost; SHUTDOWN NOSAVE ends it all the same")

    def stop(self) -> None:
        """Asks the server to end; it is over when `stopped()` returns."""
        self._stopping.set()

    async def stopped(self) -> None:
        """Waits for `stop()`, then ends everything in order."""
        await self._stopping.wait()
        log.info("stopping")
        self.ready = False
        self.listeners.close()
        for connection in list(self.clients.connections.values()):
            connection.session.close_after_reply = True
            self.tick.post(connection)
        self.tick.end()
        if self.outlet is not None:
            await self.outlet.stop(self.config.webhooks.delivery.shutdown_ms / 1000)
        if self.web is not None:
            await self.web.stop()
        self.tick.end()
        await self.keeper.stop(False if self._saved_dirty == self.engine.dirty else self._save_at_end)
        if self.journal is not None:
            try:
                if not self.engine.write_error:
                    self.journal.append([], [], [["stopped", self.engine.position]])
                self.journal.close()
            except JournalError as error:
                log.critical("the journal could not be closed properly: %s", error)
        await self._abandon()
        log.info("stopped")

    async def _abandon(self) -> None:
        """Gives back sockets and files, whatever state the start has reached."""
        self.listeners.close()
        if self.web is not None:
            await self.web.stop()
        if self.journal is not None:
            with suppress(JournalError):
                self.journal.close()
        if self._timer is not None:
            self._timer.cancel()

    def handle_signals(self) -> None:
        """A signal during a long load is obeyed when the load is over."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        loop.add_signal_handler(signal.SIGHUP, self.reload)


def _freeze() -> None:
    """What was loaded stays: the collector need not look at it again."""
    gc.collect()
    gc.freeze()


def _fail(name: str, why: str) -> None:
    raise ReplyError(f"ERR CONFIG SET failed (possibly related to argument '{name}') - {why}")


def _nobody(changes: Any, notes: Any, frame: int) -> None:
    """There are no webhooks that the journal could tell of anything."""


async def main(config: Config, config_path: Path | None, overrides: dict[str, object]) -> int:
    """Runs a server until it is told to stop. Returns the process's exit code."""
    app = App(config, config_path, overrides)
    app.handle_signals()
    try:
        await app.start()
    except StartError as error:
        log.error("cannot start: %s", error)
        return 1
    for line in app.banner():
        log.info("%s", line)
    log.info("ready to accept connections")
    await app.stopped()
    return 0
