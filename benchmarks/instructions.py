"""Instructions of a request outside of the kernel, beside redis-server's; of a SET with webhooks, beside one without.

Both servers keep an append-only file. Counted by valgrind's callgrind instead of timed, so that they are the same
whatever else the machine does. What they leave out is the kernel, and how long an instruction waits for memory.

    make bench OF=instructions ARGS="[--requests N] [--only COMMAND ... | WEBHOOKS]"
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.arguments import positive
from benchmarks.commands import COMMANDS, prepare, words_of
from benchmarks.load import run
from benchmarks.receipts import ROOM
from benchmarks.servers import Server, end_on_sigterm, warn_if_pure
from benchmarks.webhooks import MATCHLESS, NONE, NOWHERE, PAUSED, webhooks

PIPELINES = (1, 16)
WEBHOOKS = "WEBHOOKS"
KINDS = (NONE, *MATCHLESS, PAUSED)
KEYS = 10_000  # different ones: filling them takes a while under valgrind


def counted(name: str, pipeline: int, requests: int, *, ours: bool, hooks: str = NONE) -> float:
    """Instructions of one request, all that the server does meanwhile included. `hooks`: a kind of webhooks.py's that
    sends nothing."""
    with tempfile.TemporaryDirectory(prefix="bench-instructions-") as directory:
        out = Path(directory, "counted")
        under = ("valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}")
        with Server.ours("everysec", *ROOM, under=under) if ours else Server.redis(under=under) as server:
            if name == "LRANGE_100":
                prepare(server, name, 3)
            run(server, words_of("SET"), 16, 4 * KEYS, keys=KEYS)  # what GET reads
            with webhooks(server, hooks, NOWHERE):
                run(server, words_of(name), pipeline, requests // 4, keys=KEYS)  # warm
                _instrument(server, "on")
                run(server, words_of(name), pipeline, requests, keys=KEYS)
                _instrument(server, "off")
        return totals(out.read_text()) / requests


def totals(profile: str) -> int:
    """The sum that a file of callgrind's ends with. Raises ValueError without one."""
    found = re.search(r"^totals: (\d+)$", profile, re.MULTILINE)
    if found is None:
        raise ValueError("valgrind has counted nothing")
    return int(found[1])


def _instrument(server: Server, how: str) -> None:
    words = ["callgrind_control", "-i", how, str(server.process.pid)]
    subprocess.run(words, check=True, capture_output=True, timeout=60)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.instructions", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--requests", type=positive, default=20_000, help="counted of each kind (20000)")
    parser.add_argument("--only", nargs="+", choices=[*COMMANDS, WEBHOOKS], default=[*COMMANDS, WEBHOOKS],
                        metavar="COMMAND", help=f"only these, or {WEBHOOKS}")  # fmt: skip
    args = parser.parse_args()
    end_on_sigterm()
    warn_if_pure("instructions")
    if shutil.which("callgrind_control") is None:
        print("valgrind is needed (Debian, Ubuntu: apt-get install valgrind)", file=sys.stderr)
        return 1
    print(f"{'instructions of a request':50} {'ours':>9} {'redis':>9} {'ratio':>6}")
    for name in COMMANDS:
        if name in args.only:
            for pipeline in PIPELINES:
                ours, theirs = (counted(name, pipeline, args.requests, ours=side) for side in (True, False))
                show(f"{name}, pipeline {pipeline}", ours, theirs)
    if WEBHOOKS in args.only:
        print(f"{'of a SET with webhooks':50} {'with':>9} {'without':>9} {'ratio':>6}")
        for pipeline in PIPELINES:
            without, *others = (counted("SET", pipeline, args.requests, ours=True, hooks=kind) for kind in KINDS)
            for kind, found in zip(KINDS[1:], others, strict=True):
                show(f"{kind}, pipeline {pipeline}", found, without)
    return 0


def show(what: str, one: float, other: float) -> None:
    print(f"{what:50} {one:9,.0f} {other:9,.0f} {one / other:6.2f}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
