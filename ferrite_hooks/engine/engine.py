"""The state that all commands share, and the two things that must happen after them.

`settle` runs after each outermost command: clients that waited for a changed key are served. `drain` runs
once per loop tick: it hands over the effects and the matched changes of everything that ran, so that they are
journaled in one append before any reply of the tick leaves. The engine does no I/O; what it needs from the
outside (a loop, a journal, webhooks) is set by `app`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ferrite_hooks.clock import Clock
from ferrite_hooks.engine.acl import Acl
from ferrite_hooks.engine.blocking import Wait, serve_ready, unblock
from ferrite_hooks.engine.eviction import Eviction
from ferrite_hooks.engine.expiry import Expiry
from ferrite_hooks.engine.host import Host
from ferrite_hooks.engine.keyspace import Database
from ferrite_hooks.engine.latency import Latency
from ferrite_hooks.engine.lazyfree import Lazyfree
from ferrite_hooks.engine.memory import Meter
from ferrite_hooks.engine.pause import resume
from ferrite_hooks.engine.pubsub import PubSub
from ferrite_hooks.engine.session import Session
from ferrite_hooks.engine.settings import initial
from ferrite_hooks.engine.stats import Stats
from ferrite_hooks.engine.timers import Timers
from ferrite_hooks.engine.transactions import unwatch
from ferrite_hooks.webhooks.match import Matcher
from ferrite_hooks.webhooks.model import Change, Written

if TYPE_CHECKING:
    from ferrite_hooks.engine.access import Access
    from ferrite_hooks.engine.command import Argv, Command
    from ferrite_hooks.engine.monitor import SlowEntry
    from ferrite_hooks.engine.tracking import Tracking


class Engine:
    __slots__ = (
        "access",
        "acl",
        "audit",
        "blocked_clients",
        "busy",
        "changes",
        "clock",
        "command",
        "databases",
        "dirty",
        "drained_db",
        "effects",
        "error_replies",
        "errors",
        "eviction",
        "expired_keys",
        "expiry",
        "extensions",
        "hits",
        "host",
        "interest",
        "lap",
        "last_client_id",
        "latency",
        "lazyfree",
        "loading",
        "memory",
        "misses",
        "monitors",
        "notify_flags",
        "observe_from",
        "on_pending",
        "over_memory",
        "override",
        "paused_all",
        "paused_until",
        "position",
        "postponed",
        "pubsub",
        "ready",
        "refuses",
        "session",
        "sessions",
        "settings",
        "slow_ns",
        "slowlog",
        "slowlog_id",
        "special",
        "started_at",
        "stats",
        "timers",
        "tracking",
        "transaction",
        "uncaused",
        "unsettled",
        "wants_replicas",
        "write_error",
    )  # fmt: skip

    def __init__(self, clock: Clock | None = None, databases: int = 16) -> None:
        self.clock = clock or Clock()
        self.started_at = self.clock.now
        self.timers = Timers(self.clock)
        self.settings: dict[str, Any] = initial()  # by name, see settings.py
        self.dirty = 0  # counts changes; a command that moved it has written
        self.hits = self.misses = self.expired_keys = self.error_replies = 0
        self.errors: dict[str, int] = {}  # error replies by code, for INFO errorstats
        self.loading = False
        self.audit: Any = None  # tests: sees every edit and commit
        self.tracking: Tracking | None = None  # the client-side caching table, while anyone uses it
        self.access: Access | None = None  # when or how often each key was used, while anyone needs it
        self.notify_flags: frozenset[str] = frozenset()
        self.interest: Matcher | None = None  # which webhooks want an event; None = there are none
        self.position = 0  # of the last change handed out
        self.lap = 0.0  # time.perf_counter() when the last command ended
        self.transaction = 0  # id of the running EXEC or script, 0 = none
        self.effects: list[Argv] = []  # what this tick changed, as replayable commands
        self.drained_db = -1  # database that the last effect was for
        self.changes: list[Change] = []  # what this tick's webhooks will be told
        self.override: list[Argv] | None = None  # effects that stand for the running command's own argv
        self.command: Command | None = None  # that is running
        self.uncaused = False  # what happens now is not its doing: a key's time has come
        self.session: Session | None = None
        self.ready: dict[tuple[int, bytes], None] = {}  # changed keys that clients wait for
        self.unsettled = False  # `ready` has something for `settle`
        # asks the loop for a drain in this tick; may be called again
        self.on_pending: Callable[[], None] = lambda: None
        self.blocked_clients = 0
        self.busy = ""  # what other clients are told while a long script runs
        self.special = False  # True: `run` must make all its checks
        self.write_error = ""  # why the journal cannot be written; writes are refused meanwhile
        self.wants_replicas = False  # min-replicas-to-write asks for some, and there never are any
        self.over_memory: Callable[[], bool] | None = None  # set while maxmemory is
        # a full webhook with OVERFLOW reject
        self.refuses: Callable[[Session, Command, Argv], None] | None = None
        self.paused_until = 0
        self.paused_all = False
        self.postponed: dict[Session, tuple[Wait, Argv]] = {}  # what CLIENT PAUSE holds, in order
        self.monitors: dict[Session, None] = {}
        self.slow_ns = self.settings["slowlog-log-slower-than"] * 1000
        self.observe_from: float = self.slow_ns / 1e9  # a command that took so many seconds is shown to `observe`
        self.slowlog: deque[SlowEntry] = deque()  # the latest first
        self.slowlog_id = 0
        self.host = Host()
        self.stats = Stats()
        self.memory = Meter()
        self.latency = Latency(self.clock)
        self.lazyfree = Lazyfree(self.timers)
        self.acl = Acl(self)
        self.pubsub = PubSub()
        self.expiry = Expiry(self)
        self.eviction = Eviction(self)
        self.databases = [Database(self, index) for index in range(databases)]
        self.sessions: dict[int, Session] = {}
        self.last_client_id = 0
        self.extensions: dict[str, Any] = {}  # what command families keep, by family name

    # -- effects and events ----------------------------------------------------------------------------------

    def propagate(self, db: Database, argv: Argv) -> None:
        """Adds an effect for the journal: a command that, replayed, makes the same change."""
        if not self.effects:
            self.on_pending()
        if db.index != self.drained_db:
            self.drained_db = db.index
            self.effects.append([b"SELECT", b"%d" % db.index])
        self.effects.append(argv)

    def effect(self, *argv: bytes) -> None:
        """Called by a handler: the journal gets this instead of its own arguments. Several calls add up."""
        self.effect_of(list(argv))

    def effect_of(self, argv: Argv) -> None:
        """`effect`, for who has a list that nobody else holds."""
        if self.override is None:
            self.override = [argv]
        else:
            self.override.append(argv)

    def capture(
        self, db: Database, key: bytes | None, event: str, new: Written, old: Written, expire_at: int
    ) -> None:
        """Keeps a change for the webhooks that want it."""
        if self.interest is None or self.loading:
            return
        hooks = self.interest.match(db.index, event, key)
        if event == "rename_from" and isinstance(new, tuple):
            hooks = tuple(dict.fromkeys(hooks + self.interest.match(db.index, event, new[1])))
        if not hooks:
            return
        self.position += 1
        command, s = self.command, self.session
        if command is None or s is None or self.uncaused:
            title, client, ip = "", 0, ""
        else:
            title, client, ip = command.title, s.id, s.ip
        self.changes.append(
            Change(
                self.position, self.clock.now, db.index, event, key, new, old, expire_at, title, client, ip,
                self.transaction, hooks,
            )
        )  # fmt: skip
        if len(self.changes) == 1:
            self.on_pending()

    def notify(self, db: Database, key: bytes, event: str) -> None:
        """Publishes the keyspace notifications that `notify-keyspace-events` asks for."""
        self.pubsub.notify(self.notify_flags, db.index, key, event)

    def begin_transaction(self) -> None:
        self.transaction = self.position + 1  # the position of its first change: unique as positions are

    def end_transaction(self) -> None:
        self.transaction = 0

    def settle(self, running: Session | None = None) -> None:
        """After an outermost command (of `running`): serves clients whose keys have changed or whose pause has
        ended, and tells client caches."""
        self.unsettled = False
        if self.postponed and not self.paused_writes():
            resume(self)
        if self.ready:
            serve_ready(self)
        if self.tracking is not None:
            self.tracking.broadcast(running)

    def drain(self) -> tuple[list[Argv], list[Change]]:
        """Once per tick: takes the effects and changes of all that ran."""
        effects, changes = self.effects, self.changes
        self.effects, self.changes = [], []
        self.drained_db = -1
        return effects, changes

    # -- listeners -------------------------------------------------------------------------------------------

    def observe_all(self) -> None:
        for db in self.databases:
            db.observe()

    def set_interest(self, interest: Matcher | None) -> None:
        self.interest = interest
        self.observe_all()

    def refresh(self) -> None:
        """Recomputes `special` and `observe_from`; called after anything that they depend on has changed."""
        curious = self.monitors or self.tracking is not None or self.access is not None
        self.observe_from = 0.0 if curious else min(self.slow_ns, self.latency.threshold_ns) / 1e9
        self.special = bool(
            self.loading
            or self.write_error
            or self.wants_replicas
            or self.over_memory is not None
            or self.refuses is not None
            or self.paused_until
            or self.busy
        )

    def paused_writes(self) -> bool:
        return self.paused_until > self.clock.now

    def kill(self, s: Session) -> None:
        """Closes a connection, which is forgotten at once. The one whose command is running gets its reply."""
        if self.command is not None and s is self.session:
            s.close_after_reply = True
            return
        unblock(s)
        self.forget(s)
        s.close()

    def forget(self, s: Session) -> None:
        """A client has left: nothing may refer to it any more."""
        self.sessions.pop(s.id, None)
        self.leave(s)

    def leave(self, s: Session) -> None:
        """A client is about to leave: it is only listed."""
        unwatch(s)
        self.unlisten(s)

    def unlisten(self, s: Session) -> None:
        """Ends whatever makes the server talk to a client unasked: subscriptions, MONITOR, tracking."""
        self.pubsub.forget(s)
        if s in self.monitors:
            del self.monitors[s]
            self.refresh()
        if self.tracking is not None:
            self.tracking.forget(s)

    def count_error(self, text: str) -> None:
        self.error_replies += 1
        code = text.split(" ", 1)[0]
        if code in self.errors or len(self.errors) < 128:
            self.errors[code] = self.errors.get(code, 0) + 1
