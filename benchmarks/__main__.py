"""`make bench`: all measurements in one run, as one Markdown table on stdout, with --json as data, with --chart as SVG.

Every figure stands beside redis-server's (or what people build with it) of the same minutes, for absolute ones say more
about the machine and what else it does than about us. The whole takes about 20 minutes, --quick about two.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from benchmarks import commands, delivery, matching, report, resources, webhooks
from benchmarks.arguments import output, positive
from benchmarks.figures import Row
from benchmarks.servers import LOAD, end_on_sigterm, machine, pin_here, warn_if_pure

FEW = ("SET", "GET", "ZADD")  # --quick's choice where all commands would take too long


@dataclass(frozen=True)
class Scale:
    """How long to measure."""

    quick: bool
    rounds: int
    seconds: float  # of one run of redis-benchmark


def parts(scale: Scale) -> dict[str, Callable[[], Iterator[Row]]]:
    """What --only chooses from, in the order of the table."""
    quick, rounds, seconds = scale.quick, scale.rounds, scale.seconds
    some = FEW if quick else tuple(commands.COMMANDS)
    events = {1: 10_000, 100: 40_000} if quick else {1: 40_000, 100: 300_000}
    writes = {1: 20_000, 16: 80_000} if quick else {1: 100_000, 16: 400_000}  # by pipeline
    return {
        # many short rounds: a busy second of the machine then spoils one of them, and no median
        "commands": lambda: commands.commands("everysec", 3 * rounds, seconds / 3),
        "always": lambda: commands.commands("always", 2 * rounds, seconds / 3, some),
        "bare": lambda: commands.commands("off", 2 * rounds, seconds / 4, some),
        "values": lambda: commands.values(rounds, seconds / 2, (100, 10_000) if quick else commands.SIZES),
        "webhooks": lambda: webhooks.cost(6 * rounds, seconds / 4),
        "matcher": lambda: matching.matching(8 * rounds),
        "delivery": lambda: chain(delivery.throughput(rounds, events), delivery.commands_meanwhile(rounds, writes)),
        "latency": lambda: delivery.latencies(rounds, 500, 1.5 if quick else 5.0),
        "memory": lambda: resources.memory(100_000 if quick else 1_000_000, 20_000 if quick else 200_000),
        "load": lambda: resources.loading(*((100_000, 20_000) if quick else (1_000_000, 1_000_000))),
        "failing": lambda: resources.failing(rounds, 1.5 if quick else 5.0),
    }


def measured(scale: Scale, only: list[str]) -> tuple[report.Figures, list[str]]:
    """Runs the chosen parts; gives also the names of those that failed, whose rows end early. Progress goes to stderr,
    row by row."""
    where = delivery.cores()
    end_on_sigterm()
    warn_if_pure()
    pin_here(LOAD)
    facts, started, failed = machine(), time.monotonic(), list[str]()
    rows: list[Row] = []
    for name, part in parts(scale).items():
        if only and name not in only:
            continue
        try:
            for row in part():
                rows.append(row)
                beside = f" beside {row.against}" if row.against else ""
                found = report.several(row.ratio or row.ours) + (beside if row.ratio else f" {row.unit}")
                print(f"{time.monotonic() - started:5.0f} s  {name}: {row.name}: {found}", file=sys.stderr, flush=True)
        except Exception:  # 20 minutes' other figures are still good
            traceback.print_exc()
            failed.append(name)
    return report.Figures(facts, where, time.monotonic() - started, scale.quick, tuple(rows)), failed


def readme(given: str) -> Path:
    """A file with the two marks."""
    path = output(given)
    try:
        report.filled(path.read_text(), "")
    except (OSError, ValueError) as problem:
        raise argparse.ArgumentTypeError(f"{given}: {problem}")
    return path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two minutes instead of 20, with less steady figures")
    parser.add_argument("--only", metavar="NAME", nargs="+", default=[], choices=list(report.PARTS),
                        help=f"only these of {', '.join(report.PARTS)}")  # fmt: skip
    parser.add_argument("--rounds", metavar="N", type=positive,
                        help="interleaved rounds that medians are of (3, quick 1)")  # fmt: skip
    parser.add_argument("--json", metavar="FILE", type=output, help="write the figures there, every round included")
    parser.add_argument("--chart", metavar="FILE", type=output, help="draw the chart there, as SVG")
    parser.add_argument("--readme", metavar="FILE", type=readme, help="put the table between the marks in there")
    parser.add_argument("--from", dest="source", metavar="FILE", type=Path,
                        help="measure nothing: show what --json wrote")  # fmt: skip
    args = parser.parse_args()
    failed: list[str] = []
    if args.source is not None:
        try:
            figures = report.restored(json.loads(args.source.read_text()))
        except (OSError, ValueError) as problem:
            print(f"--from {args.source}: this is not what --json writes ({problem})", file=sys.stderr)
            return 2
    else:
        for program in ("redis-server", "redis-benchmark"):
            if shutil.which(program) is None:
                print(f"{program} is needed: it is what we compare with (Debian: redis-server)", file=sys.stderr)
                return 1
        scale = Scale(args.quick, args.rounds or (1 if args.quick else 3), 0.2 if args.quick else 1.0)
        figures, failed = measured(scale, args.only)
    page = report.page(figures)
    print(page, flush=True)
    if args.json is not None:
        args.json.write_text(json.dumps(report.plain(figures), indent=1) + "\n")
    if args.chart is not None:
        args.chart.write_text(report.svg(figures))
    if args.readme is not None:
        args.readme.write_text(report.filled(args.readme.read_text(), page))
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
