"""tests/receiver.py for tests that are not asyncio's: the receiver runs in a thread of its own.

with BlockingReceiver() as receiver:
    receiver.script("/hook", Reply(500))
    ... POST to receiver.url("/hook") ...
    requests = receiver.wait(2, path="/hook")
"""

from __future__ import annotations

import asyncio
import threading

from receiver import Received, Receiver, Reply


class BlockingReceiver:
    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="receiver")
        self._receiver = Receiver()

    def url(self, path: str = "/") -> str:
        return self._receiver.url(path)

    def script(self, path: str, *replies: Reply) -> None:
        self._loop.call_soon_threadsafe(self._receiver.script, path, *replies)

    def wait(self, count: int, *, path: str | None = None, timeout: float = 10) -> list[Received]:
        """Waits for at least `count` requests (to `path`) and returns all there are; raises TimeoutError."""
        waiting = self._receiver.wait(count, path=path, timeout=timeout)
        return asyncio.run_coroutine_threadsafe(waiting, self._loop).result(timeout + 5)

    def __enter__(self) -> BlockingReceiver:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._receiver.accept(), self._loop).result(10)
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            asyncio.run_coroutine_threadsafe(self._receiver.refuse(), self._loop).result(10)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()
        assert not self._receiver.errors, self._receiver.errors
