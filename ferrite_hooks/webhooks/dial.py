"""Opens connections to receivers: the name, the guard's word on every address, TCP, TLS.

What fails says how far it got and why, in words that hold neither URLs nor headers nor paths.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, cast

from aiohappyeyeballs import start_connection

from ferrite_hooks.webhooks.guard import Rules, socket_factory
from ferrite_hooks.webhooks.model import Stage, Tls

if TYPE_CHECKING:
    from ferrite_hooks.webhooks.http1 import Connection

RESOLVER_THREADS = 128  # started as needed; each may be held by one name whose servers do not answer
RESOLVED_SECONDS = 10.0  # that an answer of the resolver is used
RESOLVED_NAMES = 4096
NEXT_ADDRESS_SECONDS = 0.25  # after which a host's next address is tried, too (RFC 8305)

_Addresses = list[tuple[Any, ...]]  # as getaddrinfo gives them


class Failed(Exception):
    """There is no connection: `stage` says how far it got, the text why."""

    def __init__(self, stage: Stage, text: str) -> None:
        super().__init__(text)
        self.stage = stage


class Peer:
    """Where connections go that can stand for each other, and those at rest."""

    __slots__ = ("context", "host", "idle", "port")

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        self.host = host
        self.port = port
        self.context = context  # None: no TLS
        self.idle: list[Connection] = []  # the last one rests for the shortest time


class Dialer:
    """For inside a running event loop."""

    def __init__(self, rules: Rules) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = socket_factory(rules)
        # Threads of its own: names that take half a minute to fail must not hold up whatever else runs on the loop's
        # few default ones.
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, "resolve")
        self._resolved: dict[tuple[str, int], tuple[float, asyncio.Future[_Addresses]]] = {}

    async def connect(self, connection: Connection) -> None:
        """Connects it to its peer. Raises Failed."""
        peer = connection.peer
        try:
            addresses = await self._addresses(peer.host, peer.port)
        except (OSError, UnicodeError) as error:
            raise Failed(Stage.RESOLVE, f"cannot resolve the host: {reason(error)}") from None
        try:
            sock = await start_connection(
                addresses, happy_eyeballs_delay=NEXT_ADDRESS_SECONDS, interleave=1, loop=self._loop,
                socket_factory=self._socket,
            )  # fmt: skip
        except OSError as error:
            raise Failed(Stage.CONNECT, f"cannot connect: {reason(error)}") from None
        name = peer.host.rstrip(".") if peer.context is not None else None
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.create_connection(
                lambda: cast(Any, connection), sock=sock, ssl=peer.context, server_hostname=name
            )
        except BaseException as error:
            connection.close()
            sock.close()
            if not isinstance(error, OSError | ValueError):
                raise
            if isinstance(error, ssl.SSLCertVerificationError):
                raise Failed(Stage.TLS, f"certificate not trusted: {reason(error)}") from None
            if peer.context is not None:
                raise Failed(Stage.TLS, f"TLS handshake failed: {reason(error)}") from None
            raise Failed(Stage.CONNECT, f"cannot connect: {reason(error)}") from None

    async def _addresses(self, host: str, port: int) -> _Addresses:
        """Of a host, by the system's resolver; one look-up at a time, for all who ask. Raises OSError, UnicodeError."""
        try:
            v6 = ip_address(host).version == 6
        except ValueError:
            pass
        else:
            address = (host, port, 0, 0) if v6 else (host, port)
            return [(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_STREAM, 0, "", address)]
        now = self._loop.time()
        since, answer = self._resolved.get((host, port), (0.0, None))
        if answer is None or now - since > RESOLVED_SECONDS:
            answer = self._loop.run_in_executor(self._threads, _look_up, host, port)
            answer.add_done_callback(_retrieved)
            if len(self._resolved) >= RESOLVED_NAMES:
                self._resolved.clear()
            self._resolved[host, port] = now, answer
        try:
            return await asyncio.shield(answer)
        except (OSError, UnicodeError):
            self._resolved.pop((host, port), None)
            raise

    def close(self) -> None:
        """Resolves no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int) -> _Addresses:
    return list(socket.getaddrinfo(host, port, socket.AF_UNSPEC, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG))


def _retrieved(answer: asyncio.Future[_Addresses]) -> None:
    """Nobody may be waiting any more; then an error is nobody's."""
    if not answer.cancelled():
        answer.exception()


def load_tls(tls: Tls) -> ssl.SSLContext:
    """The context for these settings. Raises OSError (ssl.SSLError) for files that cannot be read or used:
    call it at start, so that a wrong path is an error there."""
    context = ssl.create_default_context()
    if tls.ca_file:
        context.load_verify_locations(tls.ca_file)
    if tls.cert_file:
        # An encrypted key is an error rather than a prompt on the terminal.
        context.load_cert_chain(tls.cert_file, tls.key_file or None, password=lambda: b"")
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Contexts:
    """TLS settings, loaded; again when a file has changed (certificates are renewed)."""

    def __init__(self) -> None:
        self._loaded: dict[tuple[Any, ...], ssl.SSLContext] = {}

    def context(self, tls: Tls) -> ssl.SSLContext:
        """Raises Failed for files that cannot be loaded."""
        try:
            key = (tls, *(os.stat(file).st_mtime_ns for file in tls[1:] if file))
            context = self._loaded.get(key)
            if context is None:
                for old in [old for old in self._loaded if old[0] == tls]:
                    del self._loaded[old]
                context = self._loaded[key] = load_tls(tls)
            return context
        except OSError as error:
            raise Failed(Stage.TLS, f"cannot load the TLS files: {reason(error)}") from None


def reason(error: BaseException) -> str:
    """The system's words for an error; never its arguments, where paths and addresses are."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return (error.reason or "protocol error").lower().replace("_", " ")
    if isinstance(error, OSError) and error.errno is not None:
        # The guard's own words, and the resolver's, are only in strerror.
        named = isinstance(error, socket.gaierror | PermissionError)
        return str(error.strerror) if named else os.strerror(error.errno)
    return type(error).__name__
