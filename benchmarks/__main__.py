"""`make bench`: all measurements, as Markdown on stdout and, with --json FILE, as data.

Every figure stands beside redis-server's of the same minutes, for absolute ones say more about the machine and
what else it does than about us. The whole takes about five minutes, --quick less than one and a half.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from benchmarks import commands, delivery
from benchmarks.servers import LOAD, machine, pin_here

PARTS = ("commands", "delivery", "latency", "cost")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"only these of {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="a short run, with less steady figures")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures there, too")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}")
    for program in ("redis-server", "redis-benchmark"):
        if shutil.which(program) is None:
            print(f"{program} is needed: it is what we compare with (Debian: redis-server)", file=sys.stderr)
            return 1
    pin_here(LOAD)
    parts = args.parts or PARTS
    facts = machine()
    print("Measured on " + ", ".join(f"{name} {value}" for name, value in facts.items()) + ".\n")
    started = time.monotonic()
    figures: dict[str, Any] = {"machine": facts, "quick": args.quick}
    quick = args.quick
    if "commands" in parts:
        table = commands.measure(rounds=1 if quick else 3, scale=0.4 if quick else 1.0)
        figures["commands"] = table
        show("Requests per second by redis-server's (both with append-only file, everysec)", commands.rendered(table))
    if "delivery" in parts:
        rounds = 1 if quick else 3
        tables = {
            "one event per request": delivery.throughput(rounds, 20_000 if quick else 40_000, 1),
            "batches of 100": delivery.throughput(rounds, 60_000 if quick else 150_000, 100),
        }
        figures["delivery"] = tables
        show("Webhooks delivered while SETs come in as fast as they are taken", delivery.rendered_throughput(tables))
    if "latency" in parts:
        found = delivery.latencies(500, 3 if quick else 10)
        figures["latency"] = found
        show("From SET to the receiver, at 500 writes per second", delivery.rendered_latencies(found))
    if "cost" in parts:
        costs = delivery.cost(1 if quick else 5, 100_000 if quick else 200_000)
        figures["cost"] = {kind: {"ratio": ratio, "cpu_us": cpu} for kind, (ratio, cpu) in costs.items()}
        show("What webhooks cost: SET at pipeline 16", delivery.rendered_cost(costs))
    print(f"{time.monotonic() - started:.0f} s")
    if args.json is not None:
        args.json.write_text(json.dumps(figures, indent=1, default=_plain) + "\n")
    return 0


def show(title: str, table: str) -> None:
    print(f"{title}:\n\n{table}\n", flush=True)


def _plain(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(type(value).__name__)


if __name__ == "__main__":
    raise SystemExit(main())
