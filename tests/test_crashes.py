"""Short versions of the crash stories in benchmarks/, and that their books would show a broken promise."""

from __future__ import annotations

import json
import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from power import PAGE, PowerDisk

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.books import ACKNOWLEDGED, LOST, REFUSED, STANDS, Books
from benchmarks.power_cut import MOMENTS, run
from benchmarks.survival import short_lives
from ferrite_hooks.store.files import Files, copy_file, make_directories, replace_file, write_all


@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_power_cuts(fsync: str) -> None:
    books, ends = run(3, fsync, seed=random.randrange(1 << 30), longest=0.8)
    assert sum(ends.values()) >= 3
    assert books.check() == [], books.summary()
    # With everysec a life that was shorter than a second may lose all it had, and so may three of them.
    assert books.count(STANDS, ACKNOWLEDGED) or fsync == "everysec", books.summary()


def test_kills(tmp_path: Path) -> None:
    books, _ = short_lives(tmp_path / "data", 3, "everysec", seed=random.randrange(1 << 30))
    assert books.check() == [], books.summary()
    assert books.count(STANDS, ACKNOWLEDGED), books.summary()


# --- the books ---


def told(books: Books, key: str, state: str = ACKNOWLEDGED, group: int = 0) -> int:
    attempt = books.attempt(key, group)
    attempt.state, attempt.at = state, 10.0
    return attempt.number


def deliver(books: Books, key: str, number: int, id: str = "", failed: bool = False) -> None:
    body = {"key": key, "id": id or f"evt_{number}", "data": {"value": str(number)}}
    books.record(json.dumps(body).encode(), failed)


def test_kept_promises_are_not_reproached() -> None:
    books = Books()
    one, two = told(books, "a"), told(books, "a")
    deliver(books, "a", one, failed=True)
    deliver(books, "a", one)
    refused = told(books, "a", REFUSED)
    unanswered = books.attempt("a").number
    books.crashed()
    books.restarted(11.0, {"a": two})
    assert [each.state for each in books.attempts] == [STANDS, STANDS, REFUSED, LOST]
    assert books.missing() == 1
    deliver(books, "a", one)
    deliver(books, "a", two)
    assert books.check() == [] and (refused, unanswered) == (3, 4)


@pytest.mark.parametrize(
    ("story", "reproach"),
    [
        ("lost", "a=2, acknowledged 1.000 s before, is lost"),
        ("refused", "a=3 was refused and is there"),
        ("invented", "a=9 is there"),
        ("half", "half of transaction 7 is there"),
        ("silent", "a=1 stands and was never delivered"),
        ("disorder", "a: 2 came before 1"),
        ("two ids", "1 has ids"),
        ("ghost", "a=3 is lost, but its event was sent after the restart"),
        ("too early", "a=3 is lost, but its event was sent: before it was durable"),
        ("refused event", "a=3 was refused and delivered"),
    ],
)
def test_each_broken_promise_is_seen(story: str, reproach: str) -> None:
    books = Books()
    one, two = told(books, "a"), told(books, "a")
    order = [two, one] if story == "disorder" else [one, two]
    for number in order if story != "silent" else [two]:
        deliver(books, "a", number)
    if story == "two ids":
        deliver(books, "a", one, "evt_other")
    third = books.attempt("a")
    if story in ("refused", "refused event"):
        third.state = REFUSED
    found = {"a": {"lost": one, "refused": 3, "invented": 9}.get(story, two)}
    if story == "half":
        told(books, "b", group=7)
        told(books, "c", group=7)
        found |= {"b": 4, "c": 0}
        books.may_lose = 5.0
    if story == "too early":
        deliver(books, "a", 3)
    books.crashed()
    books.restarted(11.0, found)
    if story in ("ghost", "refused event"):
        deliver(books, "a", 3)
    assert any(reproach in sentence for sentence in books.check()), books.check()


# --- the disk ---


def left(disk: PowerDisk, target: Path, tries: int = 60) -> list[dict[str, bytes]]:
    """What power cuts at this moment leave."""
    outcomes = []
    for seed in range(tries):
        disk.leave(target / str(seed), random.Random(seed))
        paths = sorted((target / str(seed)).rglob("*"))
        outcomes.append({str(p.relative_to(target / str(seed))): p.read_bytes() for p in paths if p.is_file()})
    return outcomes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    (root / "old").write_bytes(b"old")
    return root


def test_what_was_synced_stays_and_the_rest_may_go(root: Path, tmp_path: Path) -> None:
    disk = PowerDisk(root, tmp_path / "notes")
    fd = disk.files.open(root / "new", 0o1101)
    write_all(disk.files, fd, b"a" * 100)
    disk.files.sync(fd)
    outcomes = left(disk, tmp_path / "1")
    assert {"new" in outcome for outcome in outcomes} == {True, False}, "the name was not synced"
    disk.files.sync_directory(root)
    assert all(outcome["new"] == b"a" * 100 for outcome in left(disk, tmp_path / "2"))
    write_all(disk.files, fd, b"b" * 3 * PAGE)
    contents = {outcome["new"] for outcome in left(disk, tmp_path / "3")}
    assert all(content.startswith(b"a" * 100) for content in contents)
    assert any(content.rstrip(b"\0").endswith(b"b") and b"a\0" in content for content in contents), "a later page alone"
    assert len({len(content) for content in contents}) > 5
    disk.files.close(fd)
    disk.close()


def test_removed_and_renamed_names_may_come_back(root: Path, tmp_path: Path) -> None:
    disk = PowerDisk(root, tmp_path / "notes")
    disk.files.rename(root / "old", root / "moved")
    disk.files.remove(root / "moved")
    outcomes = left(disk, tmp_path / "1")
    assert {tuple(outcome) for outcome in outcomes} == {("old",), ("moved",), ()}
    disk.files.sync_directory(root)
    assert left(disk, tmp_path / "2", 5) == [{}] * 5
    disk.close()


def test_a_file_is_replaced_wholly_or_not_at_all(root: Path, tmp_path: Path) -> None:
    disk = PowerDisk(root, tmp_path / "notes")
    replace_file(disk.files, root / "old", b"new")
    assert left(disk, tmp_path / "1", 5) == [{"old": b"new"}] * 5
    for step in ("write", "sync", "rename", "sync_directory"):
        (tmp_path / step).mkdir()
        (tmp_path / step / "old").write_bytes(b"old")
        disk = PowerDisk(tmp_path / step, tmp_path / f"notes {step}")

        def fail(*_: object) -> int:
            raise OSError("the power is gone")

        with pytest.raises(OSError, match="power"):
            replace_file(replace(disk.files, **{step: fail, "remove": fail}), tmp_path / step / "old", b"new")
        assert {outcome["old"] for outcome in left(disk, tmp_path / f"left {step}", 20)} <= {b"old", b"new"}
        disk.close()


def test_new_directories_and_copies_survive(root: Path, tmp_path: Path) -> None:
    disk = PowerDisk(root, tmp_path / "notes")
    make_directories(disk.files, root / "a" / "b")
    copy_file(disk.files, root / "old", root / "a" / "b" / "copy", 1)
    disk.files.sync_directory(root / "a" / "b")
    assert left(disk, tmp_path / "1", 5) == [{"a/b/copy": b"ld", "old": b"old"}] * 5
    disk.close()


def test_every_moment_is_an_operation_of_the_disk() -> None:
    names = {moment.partition(":")[0] for moment in MOMENTS}
    assert names <= set(Files.__dataclass_fields__)
