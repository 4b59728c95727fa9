"""What a connection gets when it arrives."""

from __future__ import annotations

import socket

from ferrite_hooks.server.clients import _keep_alive


def test_keepalive_is_set_on_the_socket() -> None:
    with socket.socket() as sock:
        _keep_alive(sock, 300)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        if hasattr(socket, "TCP_KEEPIDLE"):
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 300
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 50
    _keep_alive(sock, 300)  # a peer that has left already is no error
