"""Webhooks as a running server has them: the delivery library tied to the engine, the tick, the network and
the disk.

    engine --changes--> tick --journal, then--> manager.accept --> Postman.post --> outcome --> notes --> tick
    --> journal

Made before the journal is read (`replay` restores it frame by frame), started after.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferrite_hooks.config import Config
from ferrite_hooks.config_keys import Webhooks as WebhooksConfig
from ferrite_hooks.engine.engine import Engine
from ferrite_hooks.engine.webhooks import attach, seams
from ferrite_hooks.server.tick import Tick
from ferrite_hooks.store.journal import Journal
from ferrite_hooks.webhooks.courier import Terms
from ferrite_hooks.webhooks.desk import Settings
from ferrite_hooks.webhooks.dial import load_tls
from ferrite_hooks.webhooks.guard import Rules, check_url
from ferrite_hooks.webhooks.history import History
from ferrite_hooks.webhooks.manager import Manager
from ferrite_hooks.webhooks.model import Backoff, Overflow, Tls, Webhook
from ferrite_hooks.webhooks.options import Limits
from ferrite_hooks.webhooks.payload import event_id
from ferrite_hooks.webhooks.postman import Postman, processes_for

if TYPE_CHECKING:
    from ferrite_hooks.metrics import WebhookCollector

# kept over a restart even when [webhooks.queue] persistence is off
_LASTING = {"hook", "serial", "counters"}
OWN_EVENTS_PER_TURN = 64  # where the loop sends itself
EVENTS_PER_TURN = 512  # where it only hands over


class Outlet:
    """What leaves the server. `manager` is what the WEBHOOK commands work with."""

    def __init__(self, config: Config, engine: Engine, tick: Tick) -> None:
        self._engine = engine
        self._tick = tick
        self._config = config.webhooks
        self._postman = Postman(
            tick.loop, _terms(config.webhooks, ""), processes_for(config.webhooks.delivery.sender_processes),
            config.webhooks.delivery.sender_nice, (config.server.loglevel, config.server.logformat),
        )  # fmt: skip
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="journal-reader")  # of spilled events
        self.journal: Journal | None = None
        self.history: History | None = None
        if config.journal.enabled:
            self._history_path: Path | None = Path(config.server.dir) / "history.sqlite"
        else:
            self._history_path = None
        self._seams = seams(engine, post=self._postman.post, notes=tick.note, soon=tick.loop.call_soon)
        self.manager = Manager(
            self._seams,
            _settings(config.webhooks),
            self._limits(config),
            defaults=_defaults(config.webhooks),
        )

    # -- start and stop --------------------------------------------------------------------------------------

    def check_tls(self) -> None:
        """Raises ValueError or OSError for certificate files that cannot be used."""
        load_tls(_tls(self._config))

    def replay(self, changes: Iterable[Sequence[Any]], notes: Iterable[list[Any]], frame: int) -> None:
        """One frame of the journal, or the snapshot's as frame 0."""
        if self._config.queue.persistence:
            self.manager.replay(changes, notes, frame)
        else:
            self.manager.replay((), [note for note in notes if note[0] in _LASTING])

    def start(self, journal: Journal | None, first_frame: int = 0) -> int:
        """Begins to deliver. Returns the highest position that the journal has told of. Pending events before
        `first_frame` are lost."""
        self.journal = journal
        if journal is not None:
            self._seams.journal_id = journal.journal_id
            self.manager.frames = journal.replay
            self._seams.pick = journal.picker().pick
            self._seams.aside = self._aside
        if self._history_path is not None:
            queue = self._config.queue
            self.history = History(
                self._history_path,
                lambda: self._engine.clock.now,
                self._engine.timers.at,
                partial(event_id, self._seams.journal_id),
                max_rows=queue.history_rows,
                max_age_ms=queue.history_ms,
            )
            self.manager.history = self.history
            self._seams.attempt = self.history.add
        self._postman.change(_terms(self._config, self._seams.journal_id))
        self._tick.accept = self.manager.accept
        position = self.manager.start(first_frame)
        attach(self._engine, self.manager)
        listen = self.manager.on_change

        def changed() -> None:
            listen()
            self._prepare()

        self.manager.on_change = changed
        self._prepare()
        return position

    def _prepare(self) -> None:
        if len(self.manager.registry):
            self._postman.prepare()

    async def stop(self, grace_seconds: float) -> None:
        """Sends nothing new and waits for requests in flight; their outcomes reach the journal."""
        await self._postman.close(grace_seconds)
        await asyncio.sleep(0)
        self.manager.desk.flush()
        self._reader.shutdown(wait=False, cancel_futures=True)
        if self.history is not None:
            history, self.history = self.history, None
            self.manager.history = None
            await asyncio.to_thread(history.close)

    def reconfigure(self, config: Config) -> None:
        """CONFIG SET or SIGHUP has changed [webhooks]."""
        self._config = config.webhooks
        self.manager.desk.settings = _settings(self._config)
        self.manager.limits = self._limits(config)
        self.manager.defaults = _defaults(self._config)
        self.manager.review()
        if self.history is not None:
            self.history.max_rows = self._config.queue.history_rows
            self.history.max_age_ms = self._config.queue.history_ms
        self._postman.change(_terms(self._config, self._seams.journal_id))

    def collector(self) -> WebhookCollector:
        """The webhooks' metrics."""
        from ferrite_hooks.metrics import WebhookCollector  # only what serves metrics waits for its import

        return WebhookCollector(
            self.manager.samples,
            lambda: self.history.lost if self.history is not None else 0,
            lambda: (len(self._postman.ready), self._postman.restarts),
        )

    def banner(self) -> str:
        total, pending = len(self.manager.registry), self.manager.desk.pending
        return f"webhooks: {total}, pending events: {pending}"

    # -- seams -----------------------------------------------------------------------------------------------

    def _aside(self, job: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Runs a job, which raises nothing, in a thread; one at a time."""
        loop = self._tick.loop

        def run() -> None:
            result = job()
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(done, result)

        with suppress(RuntimeError):  # the server is stopping
            self._reader.submit(run)

    def _limits(self, config: Config) -> Limits:
        rules = _rules(config.webhooks)
        return Limits(
            databases=config.server.databases,
            max_batch_size=config.webhooks.max_batch_size,
            max_pending=config.webhooks.queue.max_pending,
            check_url=lambda url: check_url(url, rules),
            check_tls=load_tls,
        )


def _settings(config: WebhooksConfig) -> Settings:
    return Settings(
        max_webhooks=config.max_webhooks,
        max_user_webhooks=config.max_user_webhooks,
        max_pending=config.queue.max_pending,
        max_user_pending=config.queue.max_user_pending,
        memory_events=config.queue.memory_events,
        max_connections=config.delivery.max_connections,
        max_dead=config.queue.max_dead,
        events_per_turn=EVENTS_PER_TURN if processes_for(config.delivery.sender_processes) else OWN_EVENTS_PER_TURN,
        disable_after_ms=config.delivery.disable_after_ms,
        backoff_multiplier=config.delivery.backoff_multiplier,
        jitter=config.delivery.jitter,
        circuit_failures=config.delivery.circuit_failures,
        max_value_bytes=config.max_value_bytes,
    )


def _terms(config: WebhooksConfig, journal_id: str) -> Terms:
    delivery = config.delivery
    return Terms(
        journal_id=journal_id,
        rules=_rules(config),
        tls=_tls(config),
        max_connections=delivery.max_connections,
        max_response_bytes=delivery.max_response_bytes,
        max_value_bytes=config.max_value_bytes,
        grace_ms=delivery.shutdown_ms,
    )


def _tls(config: WebhooksConfig) -> Tls:
    security = config.security
    return Tls(security.verify_ssl, security.ca_file, security.client_cert_file, security.client_key_file)


def _rules(config: WebhooksConfig) -> Rules:
    security = config.security
    networks = tuple(ip_network(cidr) for cidr in security.allowed_networks)
    return Rules(security.allowed_hosts, security.block_private_networks, networks)


def _defaults(config: WebhooksConfig) -> Webhook:
    delivery, queue = config.delivery, config.queue
    return Webhook(
        serial=0,
        name="",
        url="",
        max_retries=delivery.max_retries,
        retry_delay_ms=delivery.retry_delay_ms,
        backoff=Backoff(delivery.backoff),
        max_retry_delay_ms=delivery.max_retry_delay_ms,
        timeout_ms=delivery.timeout_ms,
        batch_size=config.max_batch_size,
        batch_interval_ms=config.batch_interval_ms,
        concurrency=delivery.concurrency,
        max_pending=queue.max_pending,
        overflow=Overflow(queue.overflow),
    )
