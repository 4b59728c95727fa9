"""LATENCY: what took long, and how long each command takes."""

from __future__ import annotations

from ferrite_hooks.commands.common import help_lines
from ferrite_hooks.engine.command import COMMANDS, Argv, Command, all_commands, command, container
from ferrite_hooks.engine.latency import OFF, Series, cumulative
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import ReplyError, printable
from ferrite_hooks.resp.reply import Pairs, Reply, Verbatim

container("LATENCY", "What took long, and how long each command takes.", group="server", since="2.8.13")

_FLAGS = "admin noscript loading stale"
_NODES = "nondeterministic_output request_policy:all_nodes response_policy:special"
_COLUMNS = 80
_ROWS = 4
_FILL = "_o#"  # a third, two thirds and a whole line high


@command("LATENCY LATEST", "For each event: its name, the unix time and milliseconds of the latest sample, the worst.",
         group="server", since="2.8.13", flags=_FLAGS, tips=_NODES)  # fmt: skip
def latency_latest(s: Session, argv: Argv) -> Reply:
    return [[event.encode(), *series.samples[-1], series.worst] for event, series in s.engine.latency.events.items()]


@command("LATENCY HISTORY event", "The samples of an event: unix time and milliseconds.",
         group="server", since="2.8.13", flags=_FLAGS, tips=_NODES)  # fmt: skip
def latency_history(s: Session, argv: Argv) -> Reply:
    series = s.engine.latency.events.get(printable(argv[2]))
    return [list(sample) for sample in series.samples] if series is not None else []


@command("LATENCY RESET [event [event ...]]", "Forgets some events, or all; returns how many.",
         group="server", since="2.8.13", flags=_FLAGS,
         tips="request_policy:all_nodes response_policy:agg_sum")  # fmt: skip
def latency_reset(s: Session, argv: Argv) -> Reply:
    events = s.engine.latency.events
    names = [printable(name) for name in argv[2:]] or list(events)
    return sum(events.pop(name, None) is not None for name in names)


@command("LATENCY GRAPH event", "The samples of an event as a picture in ASCII.",
         group="server", since="2.8.13", flags=_FLAGS, tips=_NODES)  # fmt: skip
def latency_graph(s: Session, argv: Argv) -> Reply:
    event = printable(argv[2])
    series = s.engine.latency.events.get(event)
    if series is None:
        raise ReplyError(f"ERR No samples available for event '{event}'")
    return Verbatim(graph(event, series, s.engine.clock.now // 1000).encode())


def graph(event: str, series: Series, now: int) -> str:
    """The picture: a head line, then up to 80 samples side by side, with their age below. `now` in seconds."""
    latencies = [ms for _, ms in series.samples]
    high, low = max(latencies), min(latencies)
    lines = [f"{event} - high {high} ms, low {low} ms (all time high {series.worst} ms)", "-" * _COLUMNS]
    steps = _ROWS * len(_FILL)
    heights = [min(steps - 1, (ms - low) * steps // ((high - low) or 1)) for ms in latencies]
    labels = [_age(now - second) for second, _ in series.samples]
    for start in range(0, len(heights), _COLUMNS):
        if start:
            lines.append("")
        part = heights[start : start + _COLUMNS]
        for floor in range(steps - len(_FILL), -1, -len(_FILL)):
            lines.append("".join([_bar(height - floor) for height in part]))
        lines.append(" " * len(part))
        words = labels[start : start + _COLUMNS]
        for row in range(max(map(len, words))):
            lines.append("".join([word[row : row + 1] or " " for word in words]))
    return "\n".join(lines) + "\n"


def _bar(height: int) -> str:
    if height < 0:
        return " "
    return _FILL[height] if height < len(_FILL) else "|"


def _age(seconds: int) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


_ADVICE = {
    "command": "Look at SLOWLOG GET for the commands that take long, and set slowlog-log-slower-than to no more than"
    " the latency threshold. One command on a very large value holds up everyone: split such values.",
    "fast-command": "Commands that do little were slow: the machine is short of processor time, is swapping, or"
    " shares its processors with busy neighbours.",
    "expire-cycle": "Many keys, or very large ones, expire at the same time: give them different times to live.",
    "eviction-cycle": "Much is evicted at once: lower maxmemory in small steps, and avoid sudden large writes.",
    "aof-write": "The disk is slow to take the journal's writes: use a local disk that others do not use too.",
    "aof-write-pending-fsync": "Writes had to wait because the disk was behind: use a faster one, or one of its own.",
    "aof-fsync-always": "The disk is slow to make the journal durable: use a faster one, or journal.fsync everysec.",
}


@command("LATENCY DOCTOR", "What the samples suggest.", group="server", since="2.8.13", flags=_FLAGS, tips=_NODES)
def latency_doctor(s: Session, argv: Argv) -> Reply:
    latency, now = s.engine.latency, s.engine.clock.now // 1000
    if not latency.events:
        why = "Nothing took long since the start or the last LATENCY RESET."
        if latency.threshold_ns == OFF:
            why = "Latency is not monitored. CONFIG SET latency-monitor-threshold <milliseconds> begins with it."
        return Verbatim(f"{why}\n".encode())
    lines = ["These events took long:", ""]
    for number, (event, series) in enumerate(latency.events.items(), 1):
        facts = series.analyse(now)
        lines.append(
            f"{number}. {event}: {facts.samples} latency spikes (average {facts.average}ms, mean deviation "
            f"{facts.deviation}ms, period {facts.period:.2f} sec). Worst all time event {series.worst}ms."
        )
    lines += ["", "What may help:", "", *[f"- {_ADVICE[event]}" for event in latency.events if event in _ADVICE]]
    return Verbatim("\n".join([*lines, ""]).encode())


@command("LATENCY HISTOGRAM [command [command ...]]", "How long commands took: for each power of two of microseconds,"
         " how many calls took no longer.",
         group="server", since="7.0.0", flags=_FLAGS, tips=_NODES)  # fmt: skip
def latency_histogram(s: Session, argv: Argv) -> Reply:
    found: dict[str, Reply] = {}
    if s.engine.settings["latency-tracking"]:
        for made in _named(argv[2:]) if len(argv) > 2 else all_commands():
            if made.calls:
                rows = [number for row in cumulative(made.histogram()) for number in row]
                found[made.name] = Pairs(["calls", made.calls, "histogram_usec", Pairs(rows)])
    return found


def _named(names: list[bytes]) -> list[Command]:
    """The commands with these names, a container with its subcommands; unknown names are left out."""
    found: list[Command] = []
    for name in names:
        first, _, rest = name.lower().partition(b"|")
        made = COMMANDS.get(first)
        if made is not None and rest:
            made = made.subcommands.get(rest)
        if made is not None:
            found += [made, *made.subcommands.values()]
    return found


@command("LATENCY HELP", "The subcommands of LATENCY.", group="server", since="2.8.13", flags="loading stale")
def latency_help(s: Session, argv: Argv) -> Reply:
    return help_lines("LATENCY")
