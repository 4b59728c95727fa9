"""The journal: the one durable truth, an append-only directory of segment files.

One append holds what one loop tick did (write commands in their effect form, the changes that webhooks
matched, acknowledgements) in one frame: after a crash all of it is there or nothing is. The loop pays for one
write(); fsync happens in a worker thread, one at a time, and covers all that was written before it began
(group commit). Where those who have written wait for it and it takes less than a millisecond, the loop waits, too.

A failed write is undone and tried again at the next append, so a full disk heals by itself. A failed fsync
does not: the kernel may have dropped the pages and call the next fsync a success. From then on the
journal refuses until a restart reads what the disk really has.
"""

import asyncio
import fcntl
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Self

from ferrite_hooks.store.files import DISK, Files, make_directories, write_all
from ferrite_hooks.store.frames import SEGMENT_HEADER, SYNCED, Frame, encode_frame
from ferrite_hooks.store.picking import Picker
from ferrite_hooks.store.segments import JournalDamaged, JournalError, JournalTooNew, Segments

__all__ = ["DirectoryLocked", "Frame", "Journal", "JournalDamaged", "JournalError", "JournalTooNew"]

log = logging.getLogger(__name__)

Fsync = Literal["always", "everysec", "no"]
_ONE_WRITE = 1 << 17  # bytes: copying more costs more than a second write
PROMPT_SECONDS = 1e-3  # under `always`: an fsync that lately took less is waited for in the loop
_NOT_READY = "the journal takes appends only between its first whole replay and its close"


class DirectoryLocked(JournalError):
    """Another process works in the directory; `pid` is 0 when it did not say which."""

    def __init__(self, directory: Path, pid: int) -> None:
        who = f"process {pid}" if pid else "another process"
        super().__init__(f"{directory} is in use by {who}: stop it or choose another directory")
        self.pid = pid


class Journal:
    """Made by `Journal.open`. Everything but fsync happens in the calling (the loop's) thread.

    Counters for INFO: `size` (bytes in all segments), `appended_bytes`, `appends`, `syncs`, `segment_count`,
    `held_bytes`.
    """

    def __init__(self, segments: Segments, fsync: Fsync, segment_bytes: int, lock_fd: int, repair: bool) -> None:
        self.fsync: Fsync = fsync  # see change_fsync
        self.segment_bytes = segment_bytes
        self.failed = ""  # why the last append or fsync failed, "" when all is well
        self.broken = False  # an fsync failed: nothing is taken any more
        self.last_frame = 0  # written; 0 = none yet
        self.durable_frame = 0  # known to survive a power cut
        self.pace = 4 * PROMPT_SECONDS  # seconds that an fsync takes under `always`, the latest counting most
        self.last_fsync = 0.0  # time.monotonic() of the last one that succeeded, 0 = none
        self.held_bytes = 0  # in files before the snapshot that a start needs, as told by the keeper
        self.size = self.appended_bytes = self.appends = self.syncs = 0
        self._segments = segments
        self._files = segments.files
        self._repair = repair
        self._lock_fd = lock_fd
        self._fd = -1  # of the last segment; -1: not replayed yet, or closed
        self._size = 0  # of the last segment
        self._end_at = segment_bytes  # the size at which it ends
        self._torn = False  # half a frame stands at its end and could not be taken back
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker: ThreadPoolExecutor | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._inflight: Future[None] | None = None
        self._said_durable = 0  # the last frame that a frame has said to be durable
        self._sync_frame = 0  # the last frame that the fsync under way, or the last one, covers
        self._sync_began = 0.0
        self._dirty_since = 0.0  # monotonic seconds of the oldest write that is not durable, 0 = none
        self._waiters: deque[tuple[int, Callable[[str], object]]] = deque()

    # --- opening and reading ---

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        fsync: Fsync = "everysec",
        segment_bytes: int = 64 << 20,
        files: Files = DISK,
        repair: bool = False,
        journal_id: str = "",
        first: int = 1,
    ) -> Self:
        """Locks the directory (made when missing) and looks at its segments; `replay` has to follow.

        Where there are none, the journal begins with frame `first`, under `journal_id` ("" makes a new one):
        what a snapshot that has lost its journal says. Called inside a running event loop, fsync happens
        beside it; elsewhere (tools, tests) in the call itself. Raises DirectoryLocked, JournalError.
        """
        lock_fd = -1
        try:
            make_directories(files, directory)
            lock_fd = _lock(directory)
            segments = Segments(directory, files)
            journal = cls(segments, fsync, segment_bytes, lock_fd, repair)
            if len(segments):
                journal.size = segments.bytes_on_disk()
                segments.identify()
            else:
                segments.journal_id = journal_id
                journal._begin(first)
        except OSError as e:
            if lock_fd >= 0:
                os.close(lock_fd)
            raise JournalError(f"cannot use {directory} for the journal: {e.strerror or e}") from e
        with suppress(RuntimeError):
            journal._loop = asyncio.get_running_loop()
        return journal

    @property
    def repairs(self) -> bool:
        """Whether it was opened to go on without what is lost."""
        return self._repair

    @property
    def journal_id(self) -> str:
        """Eight letters, made with the directory; "" until the first replay when the first header is damaged."""
        return self._segments.journal_id

    @property
    def report(self) -> list[str]:
        """What replaying found odd and mended, in sentences."""
        return self._segments.report

    @property
    def first_frame(self) -> int:
        """The oldest frame that is still there (or the next one, when there is none)."""
        return self._segments.first_frame

    @property
    def segment_count(self) -> int:
        return len(self._segments)

    def replay(self, start: int = 0) -> Iterator[Frame]:
        """Every frame from number `start` on, in order. Segments that only hold earlier ones are not looked at.

        The first replay, once read to its end, makes appending possible; it cuts a torn end, and sets damage
        aside if `repair` was given (see `report`). Later ones read up to what is the last frame now.
        Raises JournalDamaged, JournalTooNew, JournalError; the last also when the journal ends before `start`.
        """
        if self._lock_fd < 0:
            raise JournalError(_NOT_READY)
        if self._fd >= 0:
            yield from self._segments.read(start, self.last_frame)
            return
        yield from self._segments.read(start, None, self._repair)
        following = self._segments.end
        if following < start and not self._repair:
            raise JournalError(
                f"{self._segments.directory}: the journal ends with frame {following - 1}, the snapshot is of frame"
                f" {start - 1}. Restore the missing journal files, or start once with journal.repair = true to go on"
                " from the snapshot"
            )
        try:
            if following < start:
                self._segments.set_all_aside()
                following = start
            self._begin(following)
        except OSError as e:
            raise JournalError(f"cannot append to {self._segments.directory}: {e}") from e

    def picker(self) -> Picker:
        """Reads chosen frames, in one thread at a time beside this one."""
        return Picker(self._segments)

    def _begin(self, frame: int) -> None:
        """Opens the last segment for appending; the next frame is number `frame`. Raises OSError."""
        if len(self._segments):
            fd = self._files.open(self._segments.last_path, os.O_WRONLY | os.O_APPEND)
            self._files.sync(fd)  # what replay has shown is about to be acted upon: it has to stay
        else:
            fd = self._segments.create(frame)
        self._fd = fd
        self._size = os.fstat(fd).st_size
        self.size = self._segments.bytes_on_disk()
        self.last_frame = self.durable_frame = frame - 1

    # --- appending ---

    def append(self, commands: Any, changes: Any, notes: Any) -> int:
        """Writes one frame, all of it or nothing. Returns its number.

        The three are sequences of plain values (see Frame). Raises JournalError; `failed` then says why, too.
        """
        if self._fd < 0 or self.broken or self._torn:
            self._refuse_or_mend()
        number = self.last_frame + 1
        if self.durable_frame > self._said_durable:
            notes = [*notes, [SYNCED, self.durable_frame]]
        try:
            head, payload = encode_frame(number, commands, changes, notes)
        except ValueError as e:
            raise JournalError(f"the journal cannot keep this append: {e}") from e
        size = len(head) + len(payload)
        try:
            if size < _ONE_WRITE:
                write_all(self._files, self._fd, head + payload)
            else:
                write_all(self._files, self._fd, head)
                write_all(self._files, self._fd, payload)
        except OSError as e:
            raise self._take_back(e) from e
        self.failed = ""
        self._said_durable = self.durable_frame
        self.last_frame = number
        self.appends += 1
        self._size += size
        self.size += size
        self.appended_bytes += size
        if not self._dirty_since:
            self._dirty_since = time.monotonic()
        if self.fsync == "everysec" and self._timer is None and self._loop is not None:
            self._timer = self._loop.call_later(1.0, self._on_timer)
        if self._size >= self._end_at:
            self._start_sync()  # the segment ends when it is durable, see _sync_done
        return number

    def _refuse_or_mend(self) -> None:
        if self._fd < 0:
            raise JournalError(_NOT_READY)
        if self.broken:
            raise JournalError(self.failed)
        try:
            self._files.truncate(self._fd, self._size)
        except OSError as e:
            raise self._take_back(e) from e
        self._torn = False

    def _take_back(self, error: OSError) -> JournalError:
        """Removes what a failed write left behind."""
        self.failed = f"cannot write to {self._segments.last_path}: {error.strerror or error}"
        try:
            self._files.truncate(self._fd, self._size)
            self._torn = False
        except OSError:
            self._torn = True
        return JournalError(self.failed)

    # --- durability ---

    def when_durable(self, frame: int, callback: Callable[[str], object]) -> None:
        """Calls `callback("")` once the frame is as durable as the policy promises, or with what went wrong.

        Under `everysec` and `no` that is at once; under `always` this begins an fsync, where none is under way.
        Callbacks run in the loop, in the order they were given.
        """
        if self.fsync == "always":
            self.when_synced(frame, callback)
        else:
            callback("")

    def when_synced(self, frame: int, callback: Callable[[str], object]) -> None:
        """As `when_durable` under `always`, whatever the policy is."""
        if frame <= self.durable_frame and not self._waiters:
            callback("")
        elif self.broken:
            callback(self.failed)
        else:
            self._waiters.append((frame, callback))
            self._start_sync()

    def change_fsync(self, policy: Fsync) -> None:
        """From now on another policy holds, also for what `no` has left to the system."""
        before, self.fsync = self.fsync, policy
        if before == "no" != policy and self.durable_frame < self.last_frame:
            self._dirty_since = time.monotonic()
            self._start_sync()

    @property
    def fsync_lag_ms(self) -> int:
        """For how long the oldest write that is not durable has been waiting, 0 when there is none, or nobody waits."""
        if self.fsync == "no" or not self._dirty_since:
            return 0
        return int((time.monotonic() - self._dirty_since) * 1000)

    def sync(self) -> None:
        """Makes all that was appended durable before it returns. Raises JournalError."""
        self._finish_sync()
        while self.durable_frame < self.last_frame and not self.broken:
            self._sync_here()
            self._finish_sync()  # callbacks may have appended
        if self.broken:
            raise JournalError(self.failed)

    def _on_timer(self) -> None:
        self._timer = None
        self._start_sync()

    def _start_sync(self) -> None:
        """Begins an fsync of all that is written so far, unless one is under way: its end begins the next."""
        if self._inflight is not None or self.broken:
            return
        if self._loop is None or (self.fsync == "always" and self.pace < PROMPT_SECONDS):
            self._sync_here()
            return
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="journal-fsync")
        self._inflight = self._worker.submit(self._sync, self._fd)
        self._inflight.add_done_callback(self._call_loop)

    def _sync(self, fd: int) -> None:
        """In any thread. Raises OSError."""
        self._sync_frame = self.last_frame
        self._sync_began = began = time.monotonic()
        self._files.sync(fd)
        if self.fsync == "always":
            self.pace += (time.monotonic() - began - self.pace) / 16

    def _call_loop(self, future: Future[None]) -> None:
        """In the worker's thread."""
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._sync_arrived, future)

    def _sync_arrived(self, future: Future[None]) -> None:
        if future is self._inflight:  # else sync() or close() has waited for it
            self._finish_sync()

    def _finish_sync(self) -> None:
        """Waits for the fsync in the worker, if one is under way."""
        if self._inflight is not None:
            future, self._inflight = self._inflight, None
            error = future.exception()
            self._sync_done(error)

    def _sync_here(self) -> None:
        try:
            self._sync(self._fd)
        except OSError as e:
            self._sync_done(e)
        else:
            self._sync_done(None)

    def _sync_done(self, error: BaseException | None) -> None:
        """An fsync of all frames up to `_sync_frame` has ended."""
        if error is not None:
            self.broken = True
            self.failed = (
                f"fsync of {self._segments.last_path} failed ({error}): the disk may have lost writes."
                " Nothing more is accepted; check the disk and restart"
            )
            log.error(self.failed)
        else:
            self.syncs += 1
            self.last_fsync = time.monotonic()
            self.durable_frame = max(self.durable_frame, self._sync_frame)
            self._dirty_since = self._sync_began if self.durable_frame < self.last_frame else 0.0
        self._call_waiters()
        if self.broken:
            return
        if self._size >= self._end_at:
            self._end_segment()
        if self.durable_frame < self.last_frame:
            if self._waiters or self.fsync == "always":
                self._start_sync()
            elif self.fsync == "everysec" and self._timer is None and self._loop is not None:
                self._timer = self._loop.call_later(1.0, self._on_timer)

    def _call_waiters(self) -> None:
        while self._waiters and (self.broken or self._waiters[0][0] <= self.durable_frame):
            _, callback = self._waiters.popleft()
            try:
                callback(self.failed if self.broken else "")
            except Exception:
                log.exception("a callback of the journal failed")

    # --- segments ---

    def rotate(self) -> None:
        """Ends the segment, so that `drop_before` can remove it one day. Raises JournalError."""
        if self._fd < 0:
            raise JournalError(_NOT_READY)
        self._end_at = self._size + self.segment_bytes  # so that sync() does not end it as well
        self.sync()
        if self._size == SEGMENT_HEADER:
            return
        try:
            fd = self._segments.create(self.last_frame + 1)
        except OSError as e:
            raise JournalError(f"cannot begin a new segment in {self._segments.directory}: {e}") from e
        self._files.close(self._fd)
        self._fd = fd
        self._size = SEGMENT_HEADER
        self._end_at = self.segment_bytes
        self.size += SEGMENT_HEADER

    def _end_segment(self) -> None:
        """The segment has its size and is durable but for the last moment's writes."""
        try:
            self.rotate()
        except JournalError as e:
            if not self.broken:
                log.warning("%s; the segment goes on growing", e)
                self._end_at = self._size + self.segment_bytes // 4

    @property
    def bytes_read(self) -> int:
        """How many bytes of its segments the first replay has read so far."""
        return self._segments.bytes_read

    def bytes_from(self, frame: int) -> int:
        """The size of the segments that hold frame `frame` and later ones. Raises OSError."""
        return self._segments.bytes_from(frame)

    def prune(self, frame: int, since: float, most: int) -> int:
        """Removes what `drop_before` may, but leaves of it the newest segments that were written to after `since`
        (unix seconds), up to `most` bytes in all. Returns how many went. Raises JournalError.
        """
        try:
            return self.drop_before(self._segments.first_to_keep(frame, since, most))
        except OSError as e:
            raise JournalError(f"cannot look at segments of {self._segments.directory}: {e}") from e

    def drop_before(self, frame: int) -> int:
        """Removes the segments that hold only frames below `frame`, never the last one. Returns how many.

        Raises JournalError.
        """
        try:
            count, size = self._segments.drop_before(frame)
        except OSError as e:
            raise JournalError(f"cannot remove segments of {self._segments.directory}: {e}") from e
        self.size -= size
        return count

    def close(self) -> None:
        """Makes everything durable, then gives the directory free. Raises JournalError when fsync failed."""
        if self._lock_fd < 0:
            return
        try:
            if self._fd >= 0 and not self.broken:
                self._end_at = self._size + self.segment_bytes
                self.sync()
        finally:
            if self._timer is not None:
                self._timer.cancel()
            if self._worker is not None:
                self._worker.shutdown()
            if self._fd >= 0:
                self._files.close(self._fd)
            os.close(self._lock_fd)
            self._fd = self._lock_fd = -1


def _lock(directory: Path) -> int:
    """Takes the directory's LOCK file. Returns its descriptor. Raises DirectoryLocked, OSError."""
    fd = os.open(directory / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.read(fd, 20)
        os.close(fd)
        raise DirectoryLocked(directory, int(pid) if pid.isdigit() else 0) from None
    except OSError:
        os.close(fd)
        raise
    os.ftruncate(fd, 0)
    os.pwrite(fd, b"%d" % os.getpid(), 0)
    return fd
