"""Who is connected: admission, limits and leave-taking.

What Redis checks when a client arrives (maxclients, protected mode) and while it stays (idle time, buffer
limits).
"""

from __future__ import annotations

import ipaddress
import logging
import select
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from ferrite_hooks.engine.blocking import unblock
from ferrite_hooks.engine.client_info import kind_of, memory
from ferrite_hooks.engine.engine import Engine
from ferrite_hooks.engine.session import Session
from ferrite_hooks.resp.parser import Parser
from ferrite_hooks.server.listener import spelled

if TYPE_CHECKING:
    from ferrite_hooks.server.connection import Connection
    from ferrite_hooks.server.tick import Tick

log = logging.getLogger("ferrite_hooks.server")

_PROTECTED = (
    b"-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the "
    b"default user. Only connections from this machine are accepted. Set a password (requirepass, or --requirepass), "
    b"or turn protected mode off if the network is trusted.\r\n"
)


class Clients:
    """All connections of a server."""

    def __init__(self, engine: Engine, tick: Tick) -> None:
        self.engine = engine
        self.tick = tick
        self.connections: dict[int, Connection] = {}  # by client id
        self.query_limit = 1 << 30
        self.limit = 0  # maxmemory-clients in bytes, 0 = none
        self._sizes: dict[int, int] = {}  # client id -> what it took when it was last weighed, while there is a limit
        self._total = 0  # of these
        self._soft_since: dict[int, int] = {}  # client id -> unix ms since when it is over its soft limit
        engine.host.shrink_clients = self._evict

    def welcome(self, connection: Connection) -> None:
        engine, transport = self.engine, connection.transport
        here, there = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        local = not isinstance(here, tuple)  # a Unix socket: both ends go by its path, as in Redis
        session = Session(engine, _address(here if local else there), _address(here))
        if local:
            session.ip = ""
        elif engine.settings["tcp-keepalive"]:
            _keep_alive(transport.get_extra_info("socket"), engine.settings["tcp-keepalive"])
        session.wake = lambda: self.tick.woken(connection)
        session.close = lambda: self.kill(connection)
        session.fileno = lambda: transport.get_extra_info("socket").fileno()
        session.transport_info = lambda: {
            "qbuf": connection.reading or connection.parser.buffered,
            "argv-mem": sum(len(arg) for argv in connection.waiting for arg in argv) if connection.waiting else 0,
            "obuf": 0 if connection.closed else transport.get_write_buffer_size(),
        }
        connection.session = session
        connection.parser = Parser(engine.settings["proto-max-bulk-len"])
        connection.parser.authenticated = session.authenticated
        refusal = self._refusal(session)
        engine.host.connections_received += 1
        if refusal:
            engine.host.rejected_connections += 1
            session.close_after_reply = True
            transport.write(refusal)
            transport.close()
            return
        engine.sessions[session.id] = session
        self.connections[session.id] = connection

    def _refusal(self, session: Session) -> bytes:
        if len(self.connections) >= self.engine.settings["maxclients"]:
            return b"-ERR max number of clients reached\r\n"
        default = self.engine.acl.default
        if self.engine.settings["protected-mode"] and default.enabled and default.nopass and session.ip:
            address = ipaddress.ip_address(session.ip.partition("%")[0])
            mapped = getattr(address, "ipv4_mapped", None)
            if not (mapped or address).is_loopback:
                return _PROTECTED
        return b""

    def farewell(self, connection: Connection) -> None:
        session = connection.session
        self.connections.pop(session.id, None)
        self._soft_since.pop(session.id, None)
        self._total -= self._sizes.pop(session.id, 0)
        self.tick.forget(connection)
        unblock(session)
        self.engine.forget(session)
        session.detach()

    def leave(self, connection: Connection) -> None:
        """Closes after what has been said is sent, without a reply to a command that waits."""
        connection.session.close_after_reply = True
        unblock(connection.session)
        self.tick.woken(connection)

    def vanish(self, connection: Connection) -> None:
        """It is closed when the peer has read what was sent: what follows must not find it any more, but for operators
        who look for a peer that does not read."""
        session = connection.session
        session.close_after_reply = True
        unblock(session)
        if connection.full:
            self.engine.leave(session)
        else:
            self.engine.forget(session)

    def kill(self, connection: Connection) -> None:
        """Closes after what has been said is sent, or at once if the peer does not read it."""
        if connection.full:
            self.drop(connection, "killed, and it does not read")
        else:
            self.leave(connection)

    def drop(self, connection: Connection, why: str) -> None:
        """Closes at once, unsaid what there was to say."""
        session = connection.session
        log.warning("closing client id=%d addr=%s: %s", session.id, session.addr, why)
        session.close_after_reply = True  # it runs nothing more
        connection.transport.abort()
        connection.parser = Parser()  # what it has sent need not stay until the loop has closed it: memory may be short
        connection.waiting.clear()
        self._total -= self._sizes.pop(session.id, 0)
        unblock(session)  # nothing must be given to it any more
        self.engine.forget(session)

    def over_output_limit(self, connection: Connection, more: int) -> bool:
        """Redis's client-output-buffer-limit, with `more` bytes that are about to be written."""
        session = connection.session
        hard, soft, seconds = self.engine.host.output_limits[kind_of(session)]
        size = connection.transport.get_write_buffer_size() + more
        if hard and size >= hard:
            return True
        if not soft or size < soft:
            self._soft_since.pop(session.id, None)
            return False
        since = self._soft_since.setdefault(session.id, self.engine.clock.now)
        return self.engine.clock.now - since > seconds * 1000

    def sweep(self) -> None:
        """Once a second: closes idle clients, those that stay over their output limit, and those that have left while a
        command waits and what they sent behind it is not read."""
        idle_ms = self.engine.settings["timeout"] * 1000
        oldest = self.engine.clock.now - idle_ms
        for connection in list(self.connections.values()):
            s = connection.session
            if connection.full:
                if self.over_output_limit(connection, 0):
                    self.drop(connection, "output buffer limit")
                    continue
                before, connection.unread = connection.unread, connection.transport.get_write_buffer_size()
                if connection.unread != before:
                    s.last_at = self.engine.clock.now  # it reads, if slowly
            if connection.paused and s.blocked is not None and _hung_up(s.fileno()):
                self.leave(connection)
                continue
            awaited = s.blocked or connection.owed or s.subscribed or s in self.engine.monitors
            if idle_ms and s.last_at < oldest and not awaited:
                self.drop(connection, "idle timeout")

    # -- maxmemory-clients: what all clients take is summed up as it changes, while there is a limit -----------------

    def limit_memory(self, limit: int) -> None:
        """From now on all clients together may take `limit` bytes, 0 = any number."""
        self.limit = self.tick.clients_limit = limit
        self._evict()

    def weigh(self, connection: Connection, arriving: int) -> None:
        """Counts a client anew, with `arriving` bytes of commands that it is about to run, and drops the largest when
        all together take too much."""
        session = connection.session
        if not (session.close_after_reply or session.no_evict):
            size = memory(session) + arriving
            self._total += size - self._sizes.get(session.id, 0)
            self._sizes[session.id] = size
            if self._total >= self.limit:
                self._evict(session.id, arriving)

    def _evict(self, running: int = 0, arriving: int = 0) -> int:
        """Returns the bytes that will be free. Clients that CLIENT NO-EVICT protects do not count: what they take must
        not cost the others theirs."""
        self._sizes.clear()
        for connection in self.connections.values() if self.limit else ():
            s = connection.session
            if not (s.close_after_reply or s.no_evict):  # counted anew: many may have read their replies since
                self._sizes[s.id] = memory(s) + (arriving if s.id == running else 0)
        self._total = before = sum(self._sizes.values())
        for client in sorted(self._sizes, key=self._sizes.__getitem__, reverse=True):
            if self._total < self.limit:
                break
            self.engine.stats.evicted_clients += 1
            self.drop(self.connections[client], "maxmemory-clients")
        return before - self._total


def _keep_alive(sock: socket.socket, seconds: int) -> None:
    """The kernel asks a silent peer after so long, and gives it up after three questions, half as long again."""
    with suppress(OSError):  # the peer has left already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        between = max(1, seconds // 6)
        for name, value in (("TCP_KEEPIDLE", seconds), ("TCP_KEEPINTVL", between), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _hung_up(fd: int) -> bool:
    """Whether the peer has ended its side or is gone, whatever of it has not been read."""
    ended = getattr(select, "POLLRDHUP", 0)
    poll = select.poll()
    poll.register(fd, ended)
    return any(events & (ended | select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))


def _address(name: object) -> str:
    if isinstance(name, tuple):
        return spelled(name[0], name[1])
    return f"{name.decode(errors='replace') if isinstance(name, bytes) else name}:0"
