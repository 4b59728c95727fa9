"""A forked child that does plain file work on a frozen picture of this process's memory.

Only the calling thread lives on in the child, so the work may not log, lock or wait for another thread. The
child closes every inherited descriptor but its standard ones: the directory's lock, listening sockets and
clients must not outlive a killed server in it. It notices that its parent has died when it next writes. How it
went arrives through a pipe whose end also tells of a child that was killed.

Python warns of fork in a process with threads because of what libraries may do in the child; ours calls none.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NoReturn

from ferrite_hooks.store.files import Files

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_DONE = b"done"
_MAX_FD = os.sysconf("SC_OPEN_MAX")


class Child:
    """The parent's end of it."""

    def __init__(self, pid: int, pipe: int) -> None:
        self.pid = pid
        self._pipe = pipe
        self._said = b""

    async def ended(self) -> str:
        """Waits for the child without stopping the loop. Returns "" or why its work has failed."""
        loop = asyncio.get_running_loop()
        over = loop.create_future()

        def readable() -> None:
            data = os.read(self._pipe, 4096)
            self._said += data
            if not data:
                loop.remove_reader(self._pipe)
                if not over.done():
                    over.set_result(None)

        loop.add_reader(self._pipe, readable)
        try:
            await over
        except asyncio.CancelledError:
            loop.remove_reader(self._pipe)
            os.kill(self.pid, signal.SIGKILL)
            self._reap()
            raise
        status = self._reap()
        if self._said == _DONE:
            return ""
        return self._said.decode("utf-8", "replace") or f"the saving child was ended by signal {-status}"

    def _reap(self) -> int:
        os.close(self._pipe)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def fork(work: Callable[[], object]) -> Child:
    """Runs `work` in a child. Raises OSError when there can be none."""
    reading, writing = os.pipe()
    parent = os.getpid()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # none may reach the child with our handlers
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            _child(work, writing, mask)
    except OSError:
        os.close(reading)
        raise
    finally:
        if os.getpid() == parent:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(writing)
    return Child(pid, reading)


def _child(work: Callable[[], object], pipe: int, mask: Iterable[int]) -> NoReturn:
    try:
        gc.disable()  # it would touch, and so copy, every object
        signal.set_wakeup_fd(-1)  # it is the parent's
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.closerange(3, pipe)
        os.closerange(pipe + 1, _MAX_FD)
        work()
        os.write(pipe, _DONE)
    except BaseException as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else repr(error)
        os.write(pipe, reason.encode("utf-8", "replace")[:1000])
    finally:
        os._exit(0)


def while_parent_lives(files: Files) -> Files:
    """`files` for a child made next: a write fails once the process that calls this is gone."""
    parent = os.getpid()

    def write(fd: int, data: bytes | memoryview) -> int:
        if os.getppid() != parent:
            raise OSError("the server is gone")
        return files.write(fd, data)

    return replace(files, write=write)
