"""Does what was acknowledged survive a power cut?

A real server under load works on a disk that knows what fsync has promised (tests/power.py). It is stopped at a random
moment, or in the middle of a chosen operation (a rename of a snapshot, the removal of a segment, a write, …); then
whatever was not synced is dropped, cut, or kept in part, and the server starts from the rest. The disk is full now
and then.

    make bench OF=power_cut ARGS="--rounds 200 --fsync always"

Under `always` nothing that was acknowledged may be missing, under `everysec` at most what was acknowledged in
the last two seconds (Redis's own bound; one second when the disk follows), and never may data be there without its
event or an event be sent without its data.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from benchmarks.arguments import positive
from benchmarks.books import Books
from benchmarks.rounds import OPTIONS, ServerProcess, live
from tests.power import PowerDisk

SERVER = Path(__file__).parent.parent / "tests" / "power_server.py"
MAY_LOSE = {"always": 0.0, "everysec": 2.0}
# operation:when, and up to which one of them to wait
MOMENTS = {
    "write:within": 60, "sync:before": 20, "sync:after": 20, "rename:before": 4, "rename:after": 4,
    "sync_directory:before": 5, "sync_directory:after": 5, "remove:before": 4, "remove:after": 4,
}  # fmt: skip


class PowerCut:
    """A Fate (see rounds.py): each life has a directory of its own, made from what the last one has left."""

    def __init__(self, scratch: Path, fsync: str, seed: int, options: tuple[str, ...] = ()) -> None:
        self.rng = random.Random(seed)
        self.ends: Counter[str] = Counter()  # how lives have ended
        self._scratch, self._options = scratch, ("--fsync", fsync, *options)
        self._life = 0
        self._moment = "-"
        self._server: ServerProcess
        self._directory(0).mkdir(parents=True)

    def _directory(self, life: int) -> Path:
        return self._scratch / str(life) / "disk"

    @property
    def _notes(self) -> Path:
        return self._directory(self._life).with_name("notes")

    def begin(self) -> ServerProcess:
        self._moment = "-"
        if self._life and self.rng.random() < 0.6:
            name = self.rng.choice(list(MOMENTS))
            self._moment = f"{name}@{self.rng.randint(1, MOMENTS[name])}"
        program = (str(SERVER), str(self._notes), self._moment)
        data = self._directory(self._life) / "data"
        while True:
            self._server = ServerProcess(data, *OPTIONS, *self._options, program=program)
            try:
                return self._server.start()
            except AssertionError:
                assert self._server.process is not None
                if self._moment == "-" or self._server.process.poll() != -signal.SIGKILL:
                    raise
            self._cut(f"{self._moment.partition('@')[0]}, starting")  # it was cut while it was starting
            program = (str(SERVER), str(self._notes), "-")
            data = self._directory(self._life) / "data"

    def end(self) -> None:
        process = self._server.process
        assert process is not None
        itself = process.poll() is not None
        self._cut(self._moment.partition("@")[0] if itself else "at random")

    def _cut(self, how: str) -> None:
        self.ends[how] += 1
        process = self._server.process
        assert process is not None
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the saving child, too
        process.kill()  # when it has not yet made its group
        process.wait()
        while _group_lives(process.pid):
            time.sleep(0.001)
        disk = PowerDisk(self._directory(self._life), self._notes)
        disk.leave(self._directory(self._life + 1), self.rng)
        disk.close()
        if self._life > 1:
            shutil.rmtree(self._directory(self._life - 1).parent)
        self._life += 1

    def trouble(self, on: bool) -> None:
        full = self._notes / "full"
        with suppress(FileNotFoundError):
            full.touch() if on else full.unlink()


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def run(
    rounds: int, fsync: str = "always", seed: int = 1, longest: float = 0.0, progress: bool = False
) -> tuple[Books, Counter[str]]:
    """The books, and how lives have ended. A round takes up to `longest` seconds (0 = what the policy asks for).

    Raises TimeoutError, AssertionError as `live` does; the directory is then still there.
    """
    fast = Path("/dev/shm")  # the disk is a simulation anyway
    scratch = Path(tempfile.mkdtemp(prefix="power-cut-", dir=fast if os.access(fast, os.W_OK) else None))
    if fsync == "always":
        fate, longest, save_pause = PowerCut(scratch, fsync, seed), longest or 0.5, 0.15
    else:  # each end of a segment and each snapshot is an fsync: fewer of them, so that there is a second to lose
        rare = ("--set", "journal.segment_bytes=524288", "--set", "journal.compact_min_bytes=2097152")
        fate = PowerCut(scratch, fsync, seed, rare)
        longest, save_pause = longest or 2.5, 4.0
    books = asyncio.run(live(fate, rounds=rounds, seconds=(longest / 5, longest), seed=seed, may_lose=MAY_LOSE[fsync],
                             save_pause=save_pause, progress=progress))  # fmt: skip
    shutil.rmtree(scratch)
    return books, fate.ends


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=positive, default=200)
    parser.add_argument("--fsync", choices=list(MAY_LOSE), default="always")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    started = time.monotonic()
    books, ends = run(args.rounds, args.fsync, args.seed, progress=True)
    wrong = books.check()
    print(f"{args.rounds} power cuts in {time.monotonic() - started:.0f} s, fsync {args.fsync}: "
          + ", ".join(f"{count} {how}" for how, count in ends.most_common()))  # fmt: skip
    print(books.summary())
    print("\n".join(wrong[:50]) if wrong else "every promise was kept")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
