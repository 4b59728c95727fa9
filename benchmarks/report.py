"""Rows as one Markdown table, as JSON and back, and as the chart's figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import chart
from benchmarks.commands import COMMANDS
from benchmarks.figures import Goal, Row

BEGIN, END = "<!-- measured -->", "<!-- /measured -->"  # in the README, around `page`

# part -> what its figures are
PARTS = {
    "commands": "Requests (k/s) at pipeline 1 / 16 / 100, append-only file everysec",
    "always": "The same, append-only file always: every write is on the disk before its reply",
    "bare": "The same without persistence",
    "values": "The same by size of the value, everysec",
    "webhooks": "SET (k/s) at pipeline 1 / 16 with webhooks, everysec",
    "matcher": "Processor time of the matcher",
    "delivery": "A burst of matching writes, until the last event has arrived, everysec",
    "latency": "From sending SET to its event at the receiver, p50 / p99",
    "memory": "Resident memory",
    "load": "Restart",
    "failing": "Latency while 100 webhooks fail, p50 / p99",
}
THOUSANDS = ("commands", "always", "bare", "values", "webhooks")  # parts whose titles say k/s for every row


@dataclass(frozen=True)
class Figures:
    """A whole run."""

    machine: dict[str, str]
    where: str  # which cores
    seconds: float
    quick: bool
    rows: tuple[Row, ...]


def number(value: float) -> str:
    """Three significant digits, thousands set apart."""
    if not value:
        return "0"
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}"


def several(values: Sequence[float]) -> str:
    return " / ".join(map(number, values))


def goal_of(row: Row, judged: bool) -> str:
    if row.goal is None or row.met is None:
        return ""
    unit = f" {row.unit}" if row.goal.absolute else ""
    return f"{row.goal}{unit}" + (f" {'✓' if row.met else '✗'}" if judged else "")


def table(rows: Sequence[Row], judged: bool = True) -> str:
    """One Markdown table; each part begins with a line that names it and the command that measures only it. `judged`:
    whether goals are told to be met."""
    lines = ["| | Ferrite Hooks | beside it | ratio | goal |", "|---|---|---|---|---|"]
    for part, title in PARTS.items():
        chosen = [row for row in rows if row.part == part]
        if chosen:
            lines.append(f'| **{title}** (`make bench ARGS="--only {part}"`) | | | | |')
        for row in chosen:
            unit = "" if row.unit == "k/s" and part in THOUSANDS else f" {row.unit}".rstrip()
            ours = several(row.ours) + unit if row.ours else ""
            beside = several(row.theirs) + unit if row.theirs else ""
            if row.against not in ("", "redis-server"):
                beside = f"{beside} ({row.against})"
            name = f"{row.name}<br>{row.note}" if row.note else row.name
            lines.append(f"| {name} | {ours} | {beside} | {several(row.ratio)} | {goal_of(row, judged)} |")
    return "\n".join(lines)


def page(figures: Figures) -> str:
    """What stands in the README between its two marks."""
    machine = ", ".join(f"{name} {value}" for name, value in figures.machine.items())
    quick = " with --quick, too unsteady to judge goals by" if figures.quick else ""
    return (
        f"{table(figures.rows, judged=not figures.quick)}\n\n"
        f"`make bench`{quick}, {figures.seconds / 60:.0f} minutes: {machine}; {figures.where}. Rounds are "
        "interleaved; figures are medians, a ratio is the median of the ratios of single rounds; but latencies to the "
        "receiver are of all rounds' samples together; memory, restarts and the receiver's load generator (2 s) "
        "are of one run each. “Beside it” is redis-server unless it says otherwise."
    )


def filled(readme: str, page: str) -> str:
    """The README with `page` between its two marks. Raises ValueError when it has none."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"there is no {BEGIN} … {END} to fill in")
    return f"{before}{BEGIN}\n\n{page}\n\n{END}{after}"


def plain(figures: Figures) -> dict[str, Any]:
    """For json.dumps."""
    return asdict(figures) | {"rows": [asdict(row) | {"met": row.met} for row in figures.rows]}


def restored(data: Any) -> Figures:
    """The reverse of `plain`, from JSON. Raises ValueError when the data is something else."""

    def row(fields: dict[str, Any]) -> Row:
        fields = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items() if name != "met"}
        if fields["goal"] is not None:
            fields["goal"] = Goal(**fields["goal"] | {"bounds": tuple(fields["goal"]["bounds"])})
        return Row(**fields)

    try:
        return Figures(**data | {"rows": tuple(map(row, data["rows"]))})
    except (TypeError, KeyError, AttributeError) as problem:
        raise ValueError(f"no figures: {problem}")


def svg(figures: Figures) -> str:
    """The chart of a run."""
    commands = [r for r in figures.rows if r.part == "commands" and r.ratio and (r.name in COMMANDS or not r.unit)]
    groups = [(r.name if r.unit else "geo. mean", r.ratio) for r in commands]
    lines: dict[str, tuple[float, bool]] = {}
    for r in figures.rows:
        way = r.name.removeprefix("events delivered, ")
        if r.part == "delivery" and way != r.name and r.unit == "/s" and "receiver" not in r.against:
            lines.setdefault(f"Ferrite Hooks, {way}", (r.ours[0], True))
            lines[r.against] = (r.theirs[0], False)
    machine = figures.machine
    caption = (f"{machine.get('processor', '')}, {machine.get('cores', '?')} cores; redis-server "
               f"{machine.get('redis-server', '?')}, Python {machine.get('python', '?')}, {machine.get('build', '?')} "
               "build; make bench")  # fmt: skip
    series = commands[0].cells if commands else ()
    ordered = sorted(((name, *value) for name, value in lines.items()), key=lambda line: line[1])
    return chart.drawn(groups, series, ordered, caption)
