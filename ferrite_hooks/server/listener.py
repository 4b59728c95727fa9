"""Where clients arrive: TCP, TLS and Unix sockets, each with the same protocol behind it."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import ssl
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ferrite_hooks.config_keys import Server

Factory = Callable[[], Any]  # makes what has the methods of asyncio.Protocol


class ListenError(Exception):
    """An address cannot be listened on; the text is one line for the user."""


def spelled(host: str, port: int) -> str:
    """An address as URLs have it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def open_tcp(host: str, port: int, backlog: int) -> socket.socket:
    """A listening socket. Raises OSError."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listener.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def bind_tcp(address: str, port: int, backlog: int) -> socket.socket | None:
    """A listening socket. None: the address has a leading `-`, as in redis.conf, and is missing on this machine. Raises
    ListenError."""
    host = address.removeprefix("-")
    host = {"*": "0.0.0.0", "::*": "::", "localhost": "127.0.0.1"}.get(host, host)
    try:
        return open_tcp(host, port, backlog)
    except OSError as error:
        if address.startswith("-") and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            return None
        raise ListenError(_explain(f"{host}:{port}", error)) from error


def bind_unix(path: str, mode: int, backlog: int) -> socket.socket:
    """A listening Unix socket; a dead one left by an earlier server is replaced. Raises ListenError."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(path).st_mode):
            probe = socket.socket(socket.AF_UNIX)
            try:
                probe.connect(path)
            except OSError:
                os.unlink(path)
            else:
                raise ListenError(f"cannot listen on {path}: another server does")
            finally:
                probe.close()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        os.chmod(path, mode)
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        raise ListenError(_explain(path, error)) from error
    listener.setblocking(False)
    return listener


def tls_context(server: Server) -> ssl.SSLContext:
    """A server context from the configured PEM files and choices. Raises ListenError naming the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    cert, key, ca = server.tls_cert_file, server.tls_key_file, server.tls_ca_cert_file
    for what, path in (("tls_cert_file", cert), ("tls_key_file", key or cert), ("tls_ca_cert_file", ca)):
        if path and not Path(path).is_file():
            raise ListenError(f"{what}: {path} does not exist")
    try:
        context.load_cert_chain(cert, key or None, server.tls_key_file_pass)
        if ca:
            context.load_verify_locations(ca)
    except (ssl.SSLError, OSError) as error:
        raise ListenError(f"TLS certificate or key cannot be used: {error}") from error
    if server.tls_auth_clients != "no":
        if not ca:
            raise ListenError("tls_auth_clients needs tls_ca_cert_file, the CA to check client certificates with")
        context.verify_mode = ssl.CERT_REQUIRED if server.tls_auth_clients == "yes" else ssl.CERT_OPTIONAL
    allowed = server.tls_protocols.lower().split()
    for version, option in (("tlsv1.2", ssl.OP_NO_TLSv1_2), ("tlsv1.3", ssl.OP_NO_TLSv1_3)):
        if allowed and version not in allowed:
            context.options |= option
    if server.tls_prefer_server_ciphers:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if server.tls_ciphers:
        try:
            context.set_ciphers(server.tls_ciphers)
        except ssl.SSLError as error:
            raise ListenError(f"tls_ciphers: none of {server.tls_ciphers!r} exists here") from error
    return context


def raise_file_limit(wanted: int) -> int:
    """Lets this process open `wanted` files if the system allows; returns how many it may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            return limit
    return soft


async def serve(
    listener: socket.socket, factory: Factory, backlog: int, tls: ssl.SSLContext | None = None
) -> asyncio.Server:
    """Starts accepting on a bound socket. The loop listens once more and has a small backlog of its own in mind, so
    it has to be told ours."""
    loop = asyncio.get_running_loop()
    if listener.family == socket.AF_UNIX:
        return await loop.create_unix_server(factory, sock=listener, backlog=backlog)
    return await loop.create_server(factory, sock=listener, backlog=backlog, ssl=tls)


def _explain(where: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"cannot listen on {where}: the port is in use (another server?); choose another with --port"
    return f"cannot listen on {where}: {error.strerror or error}"
