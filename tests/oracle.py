"""Talking to a real redis-server in raw bytes, and running the same history on both servers."""

from __future__ import annotations

import socket
from typing import Any

from fakes import Client, Harness

Word = str | bytes | int | float


def encode(words: tuple[Word, ...]) -> bytes:
    args = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args)


class Wire:
    """A blocking connection that reads whole raw replies."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.buffer = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def __call__(self, *words: Word) -> bytes:
        self.send(encode(words))
        return self.read()

    def read(self) -> bytes:
        """The next reply, byte for byte."""
        line = self._line()
        kind, count = line[:1], line[1:-2]
        if kind in b"$=!":
            return line + (self._exactly(int(count) + 2) if int(count) >= 0 else b"")
        if kind in b"*~>":
            return line + b"".join(self.read() for _ in range(int(count)))
        if kind == b"%":
            return line + b"".join(self.read() for _ in range(2 * int(count)))
        if kind == b"|":
            return line + b"".join(self.read() for _ in range(2 * int(count) + 1))
        return line

    def _line(self) -> bytes:
        while b"\r\n" not in self.buffer:
            self._more()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line + b"\r\n"

    def _exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            self._more()
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def _more(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        self.buffer += data

    def close(self) -> None:
        self.socket.close()


class Oracle(Wire):
    """A connection to redis-server, and whatever was opened beside it."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.companions: list[Wire] = []

    def close(self) -> None:
        super().close()
        for wire in self.companions:
            wire.close()


class Pair:
    """The same commands on redis-server and on ours; `check` fails where a raw reply differs.

    Events are compared by `events()`: keyspace notifications of redis-server against what webhooks would
    capture.
    """

    def __init__(self, oracle: Oracle, harness: Harness, resp: int = 2) -> None:
        self.oracle = oracle
        self.harness = harness
        self.ours: Client = harness.client
        self.oracle("CONFIG", "SET", "notify-keyspace-events", "KEA")
        self.listener = Wire(oracle.socket.getpeername()[1])
        self.oracle.companions.append(self.listener)
        self.listener.send(encode(("PSUBSCRIBE", "__keyevent@*")))
        self.listener.read()
        harness.capture_all()
        if resp == 3:
            self.oracle("HELLO", 3)
            self.ours.session.set_protocol(3)

    def check(self, *words: Word, unordered: bool = False) -> bytes:
        """Runs one command on both and compares. `unordered`: elements of the reply may come in any order."""
        expected = self.oracle(*words)
        actual = self.ours.raw(*words)
        if unordered:
            assert sorted(actual.split(b"\r\n")) == sorted(expected.split(b"\r\n")), words
        else:
            assert actual == expected, f"{words}: redis-server {expected!r}, ours {actual!r}"
        return actual

    def heard(self) -> list[tuple[str, bytes]]:
        """The keyspace notifications that redis-server has sent since the last call."""
        marker = b"end-of-events"
        self.oracle("PUBLISH", b"__keyevent@0__:marker", marker)
        expected: list[tuple[str, bytes]] = []
        while True:
            parts = self.listener.read().split(b"\r\n")
            channel, payload = parts[6], parts[8]
            if payload == marker:
                break
            expected.append((channel.split(b":", 1)[1].decode(), payload))
        return expected

    def events(self) -> list[tuple[str, bytes]]:
        """The events since the last call, which must be the same on both."""
        expected = self.heard()
        actual: list[Any] = [event for event in self.harness.events() if event[1] is not None]
        assert actual == expected, f"redis-server {expected}, ours {actual}"
        return expected

    def close(self) -> None:
        self.listener.close()
