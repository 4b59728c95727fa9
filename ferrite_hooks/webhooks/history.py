"""What was sent and what came of it, for people: SQLite, written and read by a thread of its own.

The loop only appends rows to a list; every quarter of a second, or at a thousand rows, the list goes to the thread,
which writes it in one transaction. Rows go away by number and by age. Nothing depends on the history: if the
disk fails rows are lost, counted in `lost` and logged once, and the next batch tries again with a fresh
connection. The file can be opened with any SQLite tool while the server runs (WAL).
"""

from __future__ import annotations

import json
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

log = logging.getLogger(__name__)

FLUSH_ROWS = 1000
FLUSH_MS = 250
ROWS_AT_ONCE = 80  # by one statement; 12 values each, and an old SQLite takes no more than 999
MAX_BACKLOG = 64  # batches that the thread may be behind
PRUNE_EVERY = 10_000  # rows
STATUSES = ("delivered", "retrying", "dead")

# The oldest row is the one with the lowest id, so age needs no index: one on `at` would make rows twice as expensive.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook INTEGER NOT NULL,          -- serial
    delivery TEXT NOT NULL,            -- X-Ferrite-Delivery
    events TEXT NOT NULL,              -- JSON array of event ids
    key BLOB,                          -- of the first event
    attempt INTEGER NOT NULL,
    status TEXT NOT NULL,              -- delivered, retrying, dead
    http_status INTEGER NOT NULL,      -- 0: no response
    latency_ms REAL NOT NULL,
    error TEXT NOT NULL,
    body BLOB NOT NULL,                -- first bytes of the response
    at INTEGER NOT NULL,               -- unix ms
    next_attempt_at INTEGER NOT NULL   -- unix ms, 0: none
);
CREATE INDEX IF NOT EXISTS deliveries_by_webhook ON deliveries (webhook, id);
DROP INDEX IF EXISTS deliveries_by_time;
"""


class Row(NamedTuple):
    """One request, as the table has it."""

    id: int
    webhook: int
    delivery: str
    events: list[str]
    key: bytes | None
    attempt: int
    status: str
    http_status: int
    latency_ms: float
    error: str
    body: bytes
    at: int
    next_attempt_at: int


class History:
    """`add` and `deliveries` are for the loop's thread; `close` waits for what was added to be written."""

    def __init__(
        self,
        path: Path,
        now_ms: Callable[[], int],
        later: Callable[[int, Callable[[], None]], object],
        event_id: Callable[[int], str],
        *,
        max_rows: int = 100_000,
        max_age_ms: int = 7 * 86_400_000,
    ) -> None:
        """`later(unix ms, callback)` is the loop's timer, `event_id` names the event at a position."""
        self.lost = 0  # rows that could not be written
        self.max_rows = max_rows
        self.max_age_ms = max_age_ms
        self._path = path
        self._now_ms = now_ms
        self._later = later
        self._event_id = event_id
        self._rows: list[tuple[Any, ...]] = []
        self._flushing = False
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._db: sqlite3.Connection | None = None
        self._complained = False
        self._since_prune = PRUNE_EVERY  # prunes at the first batch
        self._thread = threading.Thread(target=self._work, name="history", daemon=True)
        self._thread.start()

    # -- in the loop -------------------------------------------------------------------------------------------

    def add(
        self, webhook: int, delivery: str, positions: list[int], key: bytes | None, attempt: int, status: str,
        http_status: int, latency_ms: float, error: str, body: bytes, at: int, next_attempt_at: int,
    ) -> None:  # fmt: skip
        """Keeps one row."""
        self._rows.append(
            (webhook, delivery, positions, key, attempt, status, http_status, latency_ms, error, body, at,
             next_attempt_at)
        )  # fmt: skip
        if len(self._rows) >= FLUSH_ROWS:
            self.flush()
        elif not self._flushing:
            self._flushing = True
            self._later(self._now_ms() + FLUSH_MS, self._timed_flush)

    def _timed_flush(self) -> None:
        self._flushing = False
        self.flush()

    def flush(self) -> None:
        """Hands what was added to the thread."""
        if not self._rows:
            return
        rows, self._rows = self._rows, []
        if self._jobs.qsize() > MAX_BACKLOG:
            self._lose(len(rows), "the disk is too slow")
            return
        now = self._now_ms()
        self._jobs.put(lambda: self._write(rows, now))

    def deliveries(
        self, webhook: int, count: int = 10, status: str | None = None, before: int | None = None
    ) -> Future[list[Row]]:
        """The newest rows of a webhook first, what was added until now included. Empty if the file cannot be read."""
        self.flush()
        answer: Future[list[Row]] = Future()
        self._jobs.put(lambda: self._read(answer, webhook, count, status, before))
        return answer

    def forget(self, webhook: int) -> None:
        """The webhook is deleted."""
        self.flush()
        self._jobs.put(lambda: self._delete(webhook))

    def close(self) -> None:
        self.flush()
        self._jobs.put(None)
        self._thread.join()

    def _lose(self, rows: int, why: object) -> None:
        self.lost += rows
        if not self._complained:
            self._complained = True
            log.error("delivery history: rows are lost: %s", why)

    # -- in the thread -----------------------------------------------------------------------------------------

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
        self._disconnect()

    def _connect(self) -> sqlite3.Connection:
        if self._db is None:
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))  # it holds parts of responses
            db = sqlite3.connect(self._path, timeout=1.0, isolation_level=None, check_same_thread=False)
            try:
                db.execute("PRAGMA journal_mode=WAL")
                db.execute("PRAGMA synchronous=NORMAL")
                db.executescript(_SCHEMA)
            except BaseException:
                db.close()
                raise
            self._db = db
        return self._db

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            try:
                db.close()
            except sqlite3.Error as broken:
                log.warning("delivery history: %s", broken)

    def _write(self, rows: list[tuple[Any, ...]], now: int) -> None:
        try:
            db = self._connect()
            db.execute("BEGIN IMMEDIATE")
            for start in range(0, len(rows), ROWS_AT_ONCE):
                self._insert(db, rows[start : start + ROWS_AT_ONCE])
            self._since_prune += len(rows)
            if self._since_prune >= min(PRUNE_EVERY, max(self.max_rows // 10, 1)):
                self._since_prune = 0
                self._prune(db, now)
            db.execute("COMMIT")
            self._complained = False
        except (sqlite3.Error, OSError) as broken:
            self._disconnect()
            self._lose(len(rows), broken)

    def _insert(self, db: sqlite3.Connection, rows: list[tuple[Any, ...]]) -> None:
        """Many rows by one statement: between two of them this thread would have to get hold of the interpreter, which
        the loop's thread has to give up for it."""
        values: list[Any] = []
        for webhook, delivery, positions, key, *outcome, body, at, next_attempt_at in rows:
            ids = '","'.join(map(self._event_id, positions))
            # sqlite3 looks for an adapter of bytes, and takes a bytearray as it is
            blob = None if key is None else bytearray(key)
            values += (webhook, delivery, f'["{ids}"]', blob, *outcome, bytearray(body), at, next_attempt_at)
        places = ",".join(["(?,?,?,?,?,?,?,?,?,?,?,?)"] * len(rows))
        db.execute(
            "INSERT INTO deliveries (webhook, delivery, events, key, attempt, status, http_status, latency_ms,"
            f" error, body, at, next_attempt_at) VALUES {places}",
            values,
        )

    def _prune(self, db: sqlite3.Connection, now: int) -> None:
        db.execute(
            "DELETE FROM deliveries WHERE id < coalesce("
            "(SELECT id FROM deliveries WHERE at >= ? ORDER BY id LIMIT 1), (SELECT max(id) + 1 FROM deliveries))",
            (now - self.max_age_ms,),
        )
        db.execute(
            "DELETE FROM deliveries WHERE id <= (SELECT id FROM deliveries ORDER BY id DESC LIMIT 1 OFFSET ?)",
            (self.max_rows,),
        )

    def _read(
        self, answer: Future[list[Row]], webhook: int, count: int, status: str | None, before: int | None
    ) -> None:
        try:
            found = self._connect().execute(
                "SELECT * FROM deliveries WHERE webhook = ? AND (? IS NULL OR status = ?) AND id < ?"
                " ORDER BY id DESC LIMIT ?",
                (webhook, status, status, (1 << 62) if before is None else before, count),
            )
            rows = [Row._make((*row[:3], json.loads(row[3]), *row[4:])) for row in found]
        except (sqlite3.Error, OSError, ValueError) as broken:
            self._disconnect()
            log.warning("delivery history: cannot be read: %s", broken)
            rows = []
        if answer.set_running_or_notify_cancel():
            answer.set_result(rows)

    def _delete(self, webhook: int) -> None:
        try:
            self._connect().execute("DELETE FROM deliveries WHERE webhook = ?", (webhook,))
        except (sqlite3.Error, OSError) as broken:
            self._disconnect()
            log.warning("delivery history: %s", broken)
