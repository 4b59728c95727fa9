"""The Meter against known allocations, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from ferrite_hooks.engine import memory

SCRIPT = """
import os
from ferrite_hooks.engine.memory import Meter
meter = Meter()
rows = []
def fill(count, size, begin=0):
    for n in range(begin, begin + count):
        kept[n] = os.urandom(size)
        if n % 2000 == 0:
            meter.measure()
for count, size in ((1, 20_000_000), (300, 70_000), (150_000, 100)):
    kept = [None] * count
    before = meter.measure()
    fill(count, size)
    full = meter.measure() - before
    for n in range(0, count, 2):
        kept[n] = None
    half = meter.measure() - before
    rows.append((count * (size + 33), full, half))
    kept = None
print(rows, meter.peak >= meter.used >= meter.startup > 0)
"""


def test_what_is_taken_and_given_back_is_seen() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    rows, sane = eval(f"({done.stdout.strip().replace('] ', '], ')})")
    assert sane is True
    for taken, full, half in rows:
        assert 0.9 * taken < full < 1.35 * taken, rows
        assert half < 0.75 * full, rows  # though the resident set has hardly shrunk


def test_a_page_more_does_not_hide_what_was_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    arenas, blocks = 10_000_000, 100_000
    monkeypatch.setattr(memory, "_mallinfo", lambda: SimpleNamespace(arena=0, hblkhd=0, uordblks=0))
    monkeypatch.setattr(memory, "_resident", lambda: (arenas, arenas))
    monkeypatch.setattr(memory, "getallocatedblocks", lambda: blocks)
    meter = memory.Meter()
    assert meter.measure() == arenas
    arenas, blocks = arenas + 4096, blocks // 2
    assert meter.measure() == 5_000_000 + 4096
    arenas, blocks = arenas + 4096, blocks + 1
    assert meter.measure() == pytest.approx(5_000_000 + 2 * 4096, abs=200)
