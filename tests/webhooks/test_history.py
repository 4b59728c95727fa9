"""The delivery history: what is kept, what goes away, and that a broken disk is only counted."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ferrite_hooks.webhooks.history import FLUSH_ROWS, History, Row

NOW = 1_700_000_000_000


class Alarms:
    def __init__(self) -> None:
        self.set: list[tuple[int, Callable[[], None]]] = []

    def __call__(self, when: int, callback: Callable[[], None]) -> None:
        self.set.append((when, callback))


@pytest.fixture
def alarms() -> Alarms:
    return Alarms()


@pytest.fixture
def history(tmp_path: Path, alarms: Alarms) -> Iterator[History]:
    history = History(tmp_path / "history.db", lambda: NOW, alarms, "evt_{}".format, max_rows=50, max_age_ms=1000)
    yield history
    history.close()


def add(history: History, n: int = 1, webhook: int = 1, status: str = "delivered", at: int = NOW) -> None:
    for i in range(n):
        history.add(webhook, f"dlv_{i}", [i], b"k\xff", 1, status, 200, 1.5, "", b"ok\x00", at, 0)


def rows(history: History, webhook: int = 1, **filters: object) -> list[Row]:
    return history.deliveries(webhook, **{"count": 100, **filters}).result(10)  # type: ignore[arg-type]


def test_what_goes_in_comes_out_newest_first(history: History) -> None:
    add(history, 3)
    add(history, 1, webhook=2)
    found = rows(history)
    assert [row.delivery for row in found] == ["dlv_2", "dlv_1", "dlv_0"]
    assert found[0][1:] == (1, "dlv_2", ["evt_2"], b"k\xff", 1, "delivered", 200, 1.5, "", b"ok\x00", NOW, 0)


def test_filters(history: History) -> None:
    add(history, 2)
    add(history, 2, status="dead")
    assert {row.status for row in rows(history, status="dead")} == {"dead"}
    assert len(rows(history, count=3)) == 3
    second = rows(history)[1].id
    assert [row.id < second for row in rows(history, before=second)] == [True, True]


def test_bounded_by_rows_and_by_age(history: History) -> None:
    add(history, 40, at=NOW - 5000)
    history.flush()
    add(history, 10)
    history.flush()
    add(history, 45)
    assert len(rows(history)) <= 56 and all(row.at == NOW for row in rows(history))
    for _ in range(5):
        add(history, 30)
        history.flush()
    assert len(rows(history)) <= 50 + 5


def test_rows_are_written_in_batches(history: History, alarms: Alarms) -> None:
    add(history, 5)
    assert len(alarms.set) == 1 and alarms.set[0][0] == NOW + 250
    assert history._jobs.empty() and len(history._rows) == 5
    alarms.set[0][1]()
    assert history._rows == []
    add(history, FLUSH_ROWS)
    assert history._rows == []


def test_the_file_is_private_and_readable_by_other_tools(history: History, tmp_path: Path) -> None:
    add(history)
    assert len(rows(history)) == 1
    assert stat.S_IMODE(os.stat(tmp_path / "history.db").st_mode) == 0o600
    other = sqlite3.connect(tmp_path / "history.db")
    try:
        assert other.execute("SELECT count(*) FROM deliveries").fetchone() == (1,)
    finally:
        other.close()


def test_survives_a_restart(tmp_path: Path, alarms: Alarms) -> None:
    for expected in (2, 4):
        history = History(tmp_path / "h.db", lambda: NOW, alarms, "evt_{}".format)
        add(history, 2)
        assert len(rows(history)) == expected
        history.close()


def test_a_deleted_webhook_is_forgotten(history: History) -> None:
    add(history, 2)
    add(history, 2, webhook=2)
    history.forget(1)
    assert (len(rows(history, 1)), len(rows(history, 2))) == (0, 2)


def test_a_broken_disk_is_counted_and_heals(
    tmp_path: Path, alarms: Alarms, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "later"
    history = History(directory / "h.db", lambda: NOW, alarms, "evt_{}".format)
    try:
        add(history, 3)
        assert rows(history) == []
        add(history, 2)
        assert rows(history) == []
        assert history.lost == 5
        assert sum("rows are lost" in record.message for record in caplog.records) == 1
        directory.mkdir()
        add(history, 1)
        assert len(rows(history)) == 1
    finally:
        history.close()


def test_a_file_that_is_no_database(tmp_path: Path, alarms: Alarms) -> None:
    (tmp_path / "h.db").write_bytes(b"something else entirely, and long enough to be looked at" * 50)
    history = History(tmp_path / "h.db", lambda: NOW, alarms, "evt_{}".format)
    try:
        add(history, 3)
        assert rows(history) == []
        assert history.lost == 3
    finally:
        history.close()
