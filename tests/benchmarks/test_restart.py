"""The measurement of restarts, at a small scale: that it loads what it says, and says it."""

from __future__ import annotations

from benchmarks.restart import rendered, run


def test_each_start_has_its_figures() -> None:
    found = run(keys=1500, pending=1200)
    assert list(found) == [
        "our journal", "our snapshot", "redis-server's AOF", "redis-server's RDB", "our pending events",
    ]  # fmt: skip
    assert all(start.wall > 0 and start.cpu >= 0 and start.resident > 1 << 20 for start in found.values())
    assert all(start.on_disk > 40_000 for start in found.values())
    assert len(rendered(found).splitlines()) == 7
