"""What the server knows of one client, and the way back to it.

Slots only: there are thousands of these and every command touches one. The connection that owns a session
sets `wake`; replies and pushes are encoded into `out`, and `wake` asks that they be sent at the end of this
loop tick.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ferrite_hooks.resp.encoder import encode2, encode3
from ferrite_hooks.resp.reply import Reply, Several

if TYPE_CHECKING:
    from ferrite_hooks.engine.acl_rules import User
    from ferrite_hooks.engine.blocking import Wait
    from ferrite_hooks.engine.command import Argv, Command
    from ferrite_hooks.engine.engine import Engine
    from ferrite_hooks.engine.keyspace import Database
    from ferrite_hooks.engine.tracking import Options


def _no_file() -> int:
    return -1


def _nothing() -> None:
    return None


class Session:
    """One client. `special` is True when the ordinary path of `run` does not hold for it (see `refresh`)."""

    __slots__ = (
        "addr", "authenticated", "blocked", "blocked_call", "channels", "close", "close_after_reply", "created_at",
        "db", "deny_blocking", "encode", "engine", "fileno", "id", "internal", "ip", "laddr", "last_at",
        "last_command", "late", "lib_name", "lib_ver", "name", "no_evict", "no_touch", "out", "patterns", "queue",
        "queue_broken", "queue_bytes", "reply_mode", "resp", "shard_channels", "special", "tracking", "transport_info",
        "user", "usual", "usual_name", "wake", "watch_broken", "watching",
    )  # fmt: skip

    def __init__(self, engine: Engine, addr: str = "", laddr: str = "") -> None:
        self.engine = engine
        engine.last_client_id += 1
        self.id = engine.last_client_id
        self.addr = addr  # "ip:port", or the path of a unix socket
        self.ip = addr.rsplit(":", 1)[0].strip("[]")  # "": a Unix socket, see Clients.welcome
        self.laddr = laddr
        self.created_at = self.last_at = engine.clock.now
        self.db: Database = engine.databases[0]
        self.resp = 2
        self.encode = encode2
        self.out: list[bytes] = []
        self.late: list[Reply] = []  # pushes that follow the reply of the command that is running
        self.detach()
        self.close_after_reply = False
        self.internal = False  # not a client: journal replay, scripts
        self.user: User = engine.acl.default
        self.authenticated = engine.acl.default.nopass and engine.acl.default.enabled
        self.name = b""
        self.lib_name = b""
        self.lib_ver = b""
        self.no_evict = self.no_touch = False
        self.last_command: Command | None = None
        self.usual: Command | None = None  # what it has called last by its mere name, for most clients do it again
        self.usual_name = b""  # as it writes it
        self.queue: list[tuple[Command, Argv]] | None = None  # commands since MULTI
        self.queue_broken = False
        self.queue_bytes = 0  # of their arguments
        self.watching: set[tuple[Database, bytes]] = set()
        self.watch_broken = False
        self.deny_blocking = False  # inside EXEC or a script: Wait becomes its empty reply
        self.blocked: Wait | None = None
        self.blocked_call: tuple[Command, Argv] | None = None
        self.channels: dict[bytes, None] = {}
        self.patterns: dict[bytes, None] = {}
        self.shard_channels: dict[bytes, None] = {}
        self.reply_mode = "on"  # CLIENT REPLY: on, off, skip (the next one)
        self.tracking: Options | None = None  # CLIENT TRACKING
        self.special = False
        self.refresh()

    def detach(self) -> None:
        """No connection any more, or not yet: it sets these, and its buffers are freed when they let go of it."""
        self.wake: Callable[[], None] = _nothing
        self.close: Callable[[], None] = _nothing
        self.fileno: Callable[[], int] = _no_file
        self.transport_info: Callable[[], dict[str, int]] = dict  # sizes of buffers

    def refresh(self) -> None:
        """Recomputes `special`; called after anything that it depends on has changed."""
        self.special = (
            not self.authenticated
            or not self.user.unrestricted
            or self.queue is not None
            or self.reply_mode != "on"
            or (self.resp == 2 and self.subscribed)
        )

    @property
    def subscribed(self) -> bool:
        return bool(self.channels or self.patterns or self.shard_channels)

    def login(self, user: User) -> None:
        """From now on the client is `user`."""
        self.user = user
        self.authenticated = True
        self.refresh()

    def set_protocol(self, resp: int) -> None:
        self.resp = resp
        self.encode = encode3 if resp == 3 else encode2
        self.refresh()

    def send(self, value: Reply) -> None:
        """Sends a reply outside the usual return path: a blocked command that was served."""
        if self.late:
            value = self.with_late(value)
        if self.reply_mode == "on":
            self.encode(self.out, value)
        else:
            self.unanswered()
        self.wake()

    def unanswered(self) -> None:
        """A reply was left out, as CLIENT REPLY asked."""
        if self.reply_mode == "skip":
            self.reply_mode = "on"
            self.refresh()

    def push(self, message: Reply) -> None:
        """Sends an out-of-band message, whatever CLIENT REPLY says. To the client whose own command is running
        it goes after that command's reply."""
        engine = self.engine
        if engine.command is not None and engine.session is self:
            self.late.append(message)
            engine.unsettled = True
        else:
            self.encode(self.out, message)
            self.wake()

    def with_late(self, reply: Reply) -> Reply:
        """The reply with what was pushed while its command ran."""
        late, self.late = self.late, []
        if self.reply_mode == "on":
            return Several([reply, *late])
        for message in late:
            self.encode(self.out, message)
        return reply
