"""Where webhooks arrive in a measurement: an HTTP/1.1 responder that does as little as one can, and counts.

    POST /count   answers 200; counts requests and the events in them
    POST /timed   the same; the event's value is time.monotonic_ns() of its write: notes how long it took
    GET /stats    JSON: requests, events, first_at and last_at (time.monotonic() of arrivals), last_id (of the
                  last event), latencies_ms
    GET /reset    all counts to nothing

    python -m benchmarks.receiver PORT
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from typing import cast

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_COUNT = re.compile(rb'"count":(\d+)\}\Z')
_VALUE = re.compile(rb'"value":"(\d+)"')
_ID = re.compile(rb'"id":"([^"]*)"')
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Counts:
    """What has arrived."""

    def __init__(self) -> None:
        self.requests = self.events = 0
        self.first_at = self.last_at = 0.0
        self.latencies_ms: list[float] = []
        self.last_body = b""

    def note(self, path: bytes, body: bytes) -> None:
        now = time.monotonic()
        self.requests += 1
        found = _COUNT.search(body[-24:])
        self.events += int(found[1]) if found else 1
        self.first_at = self.first_at or now
        self.last_at = now
        self.last_body = body
        if path == b"/timed":
            written = [int(value) for value in _VALUE.findall(body)]
            self.latencies_ms += [(now - at / 1e9) * 1000 for at in written]


    def told(self) -> dict[str, object]:
        """For GET /stats."""
        ids = _ID.findall(self.last_body)
        counts = {name: value for name, value in vars(self).items() if name != "last_body"}
        return counts | {"last_id": ids[-1].decode() if ids else ""}


class Responder(asyncio.Protocol):
    """One connection: whole requests in, answers out."""

    counts = Counts()

    def __init__(self) -> None:
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self.buffer, 0, end)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self.buffer) < whole:
                return
            method, path, _ = self.buffer.split(b" ", 2)
            body, self.buffer = self.buffer[end + 4 : whole], self.buffer[whole:]
            if method == b"POST":
                Responder.counts.note(path, body)
                self.transport.write(_OK)
            else:
                self.answer(path)

    def answer(self, path: bytes) -> None:
        body = json.dumps(Responder.counts.told()).encode()
        if path == b"/reset":
            Responder.counts = Counts()
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Responder, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(int(sys.argv[1])))
