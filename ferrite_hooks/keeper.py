"""Saving: when a snapshot is taken, how, and what of the journal goes then.

    bring the journal up to the memory -> end its segment -> fork -> the child writes a temporary file
    -> it gets its name -> segments that it covers go, unless pending events stand in them that are nowhere else, or
       WEBHOOK.REPLAY SINCE may still want them

SAVE does the same without the child. BGSAVE and BGREWRITEAOF differ only in their replies and their counters:
any finished snapshot compacts the journal. There is one saver at a time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ferrite_hooks.engine.engine import Engine
from ferrite_hooks.engine.libraries import libraries
from ferrite_hooks.errors import ReplyError
from ferrite_hooks.outlet import Outlet
from ferrite_hooks.recovery import Recovery
from ferrite_hooks.server.tick import Tick
from ferrite_hooks.store import snapshot
from ferrite_hooks.store.files import DISK, Files, make_directories
from ferrite_hooks.store.fork import fork, while_parent_lives
from ferrite_hooks.store.journal import Journal, JournalError
from ferrite_hooks.store.snapshot import Mark, SnapshotDamaged, State

log = logging.getLogger("ferrite_hooks")

PRUNE_SECONDS = 60
RETRY_SECONDS = 30  # after a save that has failed, before the next automatic one
SAVING = "ERR Background save already in progress"
REWRITING = "ERR Background append only file rewriting already in progress"
OTHER_CHILD = (
    "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to schedule a"
    " BGSAVE whenever possible."
)


@dataclass(slots=True)
class Tally:
    """What INFO says of one kind of background saving."""

    done: int = 0
    failures: int = 0  # in a row
    last_seconds: int = -1
    status: str = "ok"


class Keeper:
    """Of one server. `sweep` is to be called every second."""

    def __init__(
        self,
        engine: Engine,
        tick: Tick,
        outlet: Outlet | None,
        journal: Journal | None,
        path: Path,
        files: Files = DISK,
    ) -> None:
        self.engine = engine
        self.tick = tick
        self.outlet = outlet
        self.journal = journal
        self.path = path
        self.files = files
        self.recovery: Recovery | None = None  # while and after loading
        self.covered = 0  # the frame that the snapshot on the disk is of
        self.needs = 0  # the first frame before it that a start from it needs, too, 0 = none
        self.saves, self.rewrites = Tally(), Tally()
        self._task: asyncio.Task[None] | None = None
        self._compacting = False
        self._scheduled: list[bool] = []  # what to begin when the present one has ended: compacting or not
        self._began = 0.0
        self._not_before = 0.0  # monotonic: the next automatic save
        self._pruned_at = 0.0
        self._saved_dirty = 0  # engine.dirty at the last save
        self._uncovered = 0  # journal bytes behind the snapshot when the server started
        self._appended = 0  # journal.appended_bytes at the last save
        self._base_size = 0  # of the snapshot
        self._releasable = False  # old files could go if there were a new snapshot
        host = engine.host
        host.last_save = int(time.time())
        host.save = self.save
        host.background_save = self.background_save
        host.compact = self.compact
        host.persistence = lambda: list(self.info())
        host.reload = self.reload
        host.reload_journal = self.reload_journal

    def loaded(self, recovery: Recovery) -> None:
        """The start is over. A snapshot that was taken over becomes ours at once. Raises ReplyError when it cannot."""
        self._saved_dirty = self.engine.dirty
        if recovery.mark is not None:
            self.covered, self.needs = recovery.mark.frame, recovery.mark.needs
        with suppress(OSError):
            self._base_size = self.path.stat().st_size
        if self.journal is not None:
            self._uncovered = self.journal.bytes_from(self.covered + 1)
            if recovery.imported:
                kept = self.path.with_name(f"{self.path.name}.imported")
                with suppress(FileExistsError):
                    self.files.link(self.path, kept)
                self.save()

    # -- asked for -------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Writes a snapshot now; everything waits for it. Raises ReplyError."""
        if self._task is not None:
            raise ReplyError(SAVING)
        self._began = time.monotonic()
        target = snapshot.temporary(self.path, os.getpid())
        try:
            mark = self._mark()
            self._write(target, mark, self.files)
            snapshot.publish(target, self.path, self.files)
        except (JournalError, OSError) as error:
            self._failed(self.saves, error)
            raise ReplyError(f"ERR the snapshot could not be written: {_reason(error)}") from error
        self._saved(mark, self.engine.dirty)
        self.saves.done += 1

    def background_save(self, schedule: bool) -> str:
        """BGSAVE. Returns what to reply. Raises ReplyError."""
        if self._task is not None:
            if not self._compacting:
                raise ReplyError(SAVING)
            if not schedule:
                raise ReplyError(OTHER_CHILD)
            self._schedule(False)
            return "Background saving scheduled"
        self._begin(compacting=False)
        return "Background saving started"

    def compact(self) -> str:
        """BGREWRITEAOF. Returns what to reply. Raises ReplyError."""
        if self._task is not None:
            if self._compacting:
                raise ReplyError(REWRITING)
            self._schedule(True)
            return "Background append only file rewriting scheduled"
        self._begin(compacting=True)
        return "Background append only file rewriting started"

    def reload(self, save: bool, flush: bool, merge: bool) -> None:
        """DEBUG RELOAD: what the snapshot has becomes the data, or is added to it. Raises ReplyError."""
        if save:
            self.save()
        engine = self.engine
        if not (flush or merge) and (any(db.data for db in engine.databases) or libraries(engine).by_name):
            raise ReplyError("ERR Error trying to load the RDB dump: there are data that it would be mixed with")
        self._reload(None, flush)
        if not save or not flush:
            self.save()  # the journal does not know how the data came about

    def reload_journal(self) -> None:
        """DEBUG LOADAOF: reads snapshot and journal again. Raises ReplyError."""
        try:
            self._mark()
        except (JournalError, OSError) as error:
            raise ReplyError(f"ERR {_reason(error)}") from error
        self._reload(self.journal)

    def _reload(self, journal: Journal | None, flush: bool = True) -> None:
        """Webhooks stay as they are: only data is read."""
        engine = self.engine
        recovery = Recovery(engine, self.path, journal, lambda changes, notes, frame: None)
        engine.loading = True
        try:
            recovery.open()
            if flush:
                for db in engine.databases:
                    db.clear()
                libraries(engine).clear()
            for _ in recovery.steps():
                pass
        except (JournalError, SnapshotDamaged, OSError) as error:
            raise ReplyError(f"ERR Error trying to load the RDB dump: {error}") from error
        finally:
            engine.loading = False
            engine.expiry.rebuild()

    # -- by itself -------------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Begins what is due."""
        now = time.monotonic()
        if self.journal is not None and now - self._pruned_at > PRUNE_SECONDS:
            self._prune()
        if self._task is None and not self.engine.loading:
            if self._scheduled:
                self._begin(compacting=self._scheduled.pop(0))
            elif now >= self._not_before and not self.engine.write_error:
                if self._grown() or self._releasable:
                    self._begin(compacting=True)
                elif self._save_point():
                    self._begin(compacting=False)

    @property
    def current_size(self) -> int:
        """Bytes of the journal that no snapshot covers."""
        if self.journal is None:
            return 0
        return self._uncovered + self.journal.appended_bytes - self._appended

    def _grown(self) -> bool:
        settings = self.engine.settings
        percentage, size = settings["auto-aof-rewrite-percentage"], self.current_size
        return (
            self.journal is not None
            and percentage > 0
            and size > settings["auto-aof-rewrite-min-size"]
            and size * 100 >= self._base_size * percentage
        )

    def _save_point(self) -> bool:
        words = [int(word) for word in self.engine.settings["save"].split()]
        changes, age = self.engine.dirty - self._saved_dirty, time.time() - self.engine.host.last_save
        return any(changes >= n and age > seconds for seconds, n in zip(words[::2], words[1::2], strict=True) if n)

    def _prune(self) -> None:
        """Removes what the snapshot covers and retention does not ask for. Without webhooks nothing can be replayed."""
        assert self.journal is not None
        self._pruned_at = time.monotonic()
        settings = self.engine.settings
        wanted = self.outlet is not None and len(self.outlet.manager.registry) > 0
        since = time.time() - settings["journal.retention_ms"] / 1000
        needs, end = self.needs or self.covered + 1, self.covered + 1
        try:
            self.journal.prune(min(needs, end), since, settings["journal.retention_bytes"] if wanted else -1)
            self.journal.held_bytes = self.journal.bytes_from(needs) - self.journal.bytes_from(end)
            present = self.outlet.manager.lowest_frame if self.outlet is not None else 0
            released = self.journal.bytes_from(needs) - self.journal.bytes_from(min(present or end, end))
        except (JournalError, OSError) as error:
            log.warning("%s", error)
        else:
            # A new snapshot needs less, because events have been delivered: worth it if more goes than is written.
            self._releasable = released > max(self._base_size, settings["auto-aof-rewrite-min-size"])

    # -- saving ----------------------------------------------------------------------------------------------

    def _schedule(self, compacting: bool) -> None:
        if compacting not in self._scheduled:
            self._scheduled.append(compacting)

    def _begin(self, compacting: bool) -> None:
        self._compacting = compacting
        self._began = time.monotonic()
        self._task = self.tick.loop.create_task(self._background())

    async def _background(self) -> None:
        tally = self.rewrites if self._compacting else self.saves
        try:
            await self._synced()
            while self.engine.busy:  # a script is suspended halfway
                await asyncio.sleep(0.05)
            mark, dirty = self._mark(), self.engine.dirty
            target = await self._written(mark)
            await asyncio.to_thread(snapshot.publish, target, self.path, self.files)
        except (JournalError, OSError) as error:
            self._failed(tally, error)
        else:
            self._saved(mark, dirty)
            tally.done += 1
            tally.failures = 0
            tally.status = "ok"
            log.info("snapshot of frame %d written, %d bytes", mark.frame, self._base_size)
        finally:
            tally.last_seconds = int(time.monotonic() - self._began)
            self._task = None

    async def _synced(self) -> None:
        """Gets most of the fsync done beside the loop, so that ending the segment costs little."""
        if self.journal is None:
            return
        done = self.tick.loop.create_future()

        def arrived(error: str) -> None:
            if not done.done():
                done.set_result(error)

        self.journal.when_synced(self.journal.last_frame, arrived)
        if error := await done:
            raise JournalError(error)

    def _mark(self) -> Mark:
        """Brings the journal up to what the memory has, durably; from here to the copy nothing may run in between.

        Raises JournalError when the disk refuses, and inside of a transaction or a script, whose changes must stay in
        one frame.
        """
        if self.engine.transaction or self.engine.busy:
            raise JournalError("not inside of a transaction or a script")
        for _ in range(10):  # telling the webhooks of changes may make notes of its own
            if self.outlet is not None:
                self.outlet.manager.desk.flush()
            self.tick.end()
            if self.engine.write_error:
                raise JournalError(self.engine.write_error)
            if self.journal is None:
                return Mark("", 0, self.engine.position)
            self.journal.rotate()
            if self.tick.settled:
                break
        assert self.journal is not None
        needs = self.outlet.manager.lowest_frame if self.outlet is not None else 0
        return Mark(self.journal.journal_id, self.journal.last_frame, self.engine.position, needs)

    def _write(self, target: Path, mark: Mark, files: Files) -> int:
        """The whole file. In the child, or here for SAVE."""
        make_directories(self.files, self.path.parent)
        state: State = ((), self.outlet.manager.state() if self.outlet is not None else ())
        databases = [(db.index, db.data, db.expires) for db in self.engine.databases]
        sources = libraries(self.engine).sources()
        return snapshot.write(target, mark, databases, state, sources, files)

    async def _written(self, mark: Mark) -> Path:
        """Forks and waits for the child. Raises OSError."""
        host = self.engine.host
        started = time.perf_counter()
        # Forked between `_mark` and the next await: the child has exactly what the journal has up to the mark.
        files = while_parent_lives(self.files)
        target = snapshot.temporary(self.path, os.getpid())
        child = fork(partial(self._write, target, mark, files))
        host.forks += 1
        host.fork_usec = int((time.perf_counter() - started) * 1e6)
        try:
            error = await child.ended()
            if error:
                raise OSError(error)
        except BaseException:
            with suppress(OSError):
                self.files.remove(target)
            raise
        return target

    def _saved(self, mark: Mark, dirty: int) -> None:
        self.engine.host.last_save = int(time.time())
        self._saved_dirty = dirty
        with suppress(OSError):
            self._base_size = self.path.stat().st_size
        self.saves.status = "ok"
        if self.journal is not None:
            self.covered, self.needs = mark.frame, mark.needs
            self._uncovered = self.journal.bytes_from(mark.frame + 1)
            self._appended = self.journal.appended_bytes
            self._prune()

    def _failed(self, tally: Tally, error: Exception) -> None:
        log.error("the snapshot could not be written: %s", _reason(error))
        tally.status = "err"
        tally.failures += 1
        self._not_before = time.monotonic() + RETRY_SECONDS

    @property
    def busy(self) -> bool:
        """A background save or a compaction is running."""
        return self._task is not None

    def saves_at_end(self, asked: bool | None) -> bool:
        """Whether a shutdown saves: as asked, or (None) when there is no journal and there are save points."""
        return asked if asked is not None else self.journal is None and bool(self.engine.settings["save"])

    async def stop(self, save: bool | None) -> None:
        """Ends a background save without its result, then saves if `saves_at_end`."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self.saves_at_end(save):
            with suppress(ReplyError):  # logged; a shutdown goes on
                self.save()

    # -- telling ---------------------------------------------------------------------------------------------

    def info(self) -> Iterator[tuple[str, Any]]:
        """INFO persistence, without `loading` itself."""
        engine, journal, recovery = self.engine, self.journal, self.recovery
        running = int(time.monotonic() - self._began) if self._task is not None else -1
        saving, rewriting = (self._task is not None and self._compacting is kind for kind in (False, True))
        yield "current_cow_peak", 0
        yield "current_cow_size", 0
        yield "current_cow_size_age", 0
        yield "current_fork_perc", "0.00"
        yield "current_save_keys_processed", 0
        yield "current_save_keys_total", 0
        yield "rdb_changes_since_last_save", engine.dirty - self._saved_dirty
        yield "rdb_bgsave_in_progress", int(saving)
        yield "rdb_last_save_time", engine.host.last_save
        yield "rdb_last_bgsave_status", self.saves.status
        yield "rdb_last_bgsave_time_sec", self.saves.last_seconds
        yield "rdb_current_bgsave_time_sec", running if saving else -1
        yield "rdb_saves", self.saves.done
        yield "rdb_last_cow_size", 0
        yield "rdb_last_load_keys_expired", 0
        yield "rdb_last_load_keys_loaded", recovery.keys_loaded if recovery is not None else 0
        yield "aof_enabled", int(journal is not None)
        yield "aof_rewrite_in_progress", int(rewriting)
        yield "aof_rewrite_scheduled", int(True in self._scheduled)
        yield "aof_last_rewrite_time_sec", self.rewrites.last_seconds
        yield "aof_current_rewrite_time_sec", running if rewriting else -1
        yield "aof_last_bgrewrite_status", self.rewrites.status
        yield "aof_rewrites", self.rewrites.done
        yield "aof_rewrites_consecutive_failures", self.rewrites.failures
        yield "aof_last_write_status", "err" if engine.write_error else "ok"
        yield "aof_last_cow_size", 0
        yield "module_fork_in_progress", 0
        yield "module_fork_last_cow_size", 0
        if journal is not None:
            yield "aof_current_size", self.current_size + self._base_size
            yield "aof_base_size", self._base_size
            yield "aof_pending_rewrite", 0
            yield "aof_buffer_length", 0
            yield "aof_pending_bio_fsync", int(journal.fsync_lag_ms > 0)
            yield "aof_delayed_fsync", self.tick.delayed
            yield "journal_size", journal.size
            yield "journal_segments", journal.segment_count
            yield "journal_last_frame", journal.last_frame
            yield "journal_snapshot_frame", self.covered
            yield "journal_held_bytes", journal.held_bytes
            yield "journal_fsync_lag_ms", journal.fsync_lag_ms
        if engine.loading and recovery is not None:
            yield "loading_start_time", int(recovery.started_at)
            yield "loading_total_bytes", recovery.total_bytes
            yield "loading_rdb_used_mem", 0
            yield "loading_loaded_bytes", recovery.loaded_bytes
            yield "loading_loaded_perc", f"{recovery.percentage:.2f}"
            yield "loading_eta_seconds", recovery.seconds_left


def _reason(error: BaseException) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
