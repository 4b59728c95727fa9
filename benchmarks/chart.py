"""The chart for the README, as SVG: commands by redis-server's rate, and events delivered per second.

Plain shapes and text written by hand, no plotting library. The background stays transparent and the text follows the
reader's light or dark scheme.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH = 880
LEFT, RIGHT = 56, 16  # of the plot
COLOURS = ("#3b82c4", "#e08a2e", "#5f9e6e")
STYLE = """
text { font: 12px system-ui, -apple-system, 'Segoe UI', sans-serif; fill: #24292f; }
.title { font-size: 14px; font-weight: 600; }
.quiet { fill: #57606a; }
.grid { stroke: #8c959f; stroke-opacity: .3; }
.one { stroke: #24292f; stroke-dasharray: 5 4; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .quiet { fill: #9198a1; }
  .one { stroke: #e6edf3; }
}
"""


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{escape(words)}</text>'


def bar(x: float, y: float, width: float, height: float, colour: str, tip: str) -> str:
    return (f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="1.5" fill="{colour}">'
            f"<title>{escape(tip)}</title></rect>")  # fmt: skip


def rule(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def nice_top(value: float) -> float:
    """The smallest of 1, 2, 5 × a power of ten, and halves between, that is not below `value`."""
    if value <= 0:
        return 1.0
    power = 1.0
    while power > value:
        power /= 10
    while power * 10 < value:
        power *= 10
    return next(power * step for step in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if power * step >= value - 1e-12)


def columns(
    top: float, groups: Sequence[tuple[str, Sequence[float]]], series: Sequence[str]
) -> tuple[list[str], float]:
    """Grouped columns of ratios with a line at 1. Gives the shapes and where they end."""
    height = 190.0
    highest = nice_top(max(1.0, *(value for _, values in groups for value in values)))
    floor, scale = top + 46 + height, height / highest
    shapes = [text(0, top + 12, "Requests per second, redis-server = 1", kind="title")]
    x = float(LEFT)
    for colour, name in zip(COLOURS, series, strict=False):
        shapes += [bar(x, top + 23, 10, 10, colour, name), text(x + 15, top + 32, name)]
        x += 30 + 7 * len(name)
    for tenth in range(0, int(highest * 10) + 1, 2 if highest <= 2 else 10):
        y = floor - tenth / 10 * scale
        kind = "one" if tenth == 10 else "grid"
        shapes += [rule(LEFT, y, WIDTH - RIGHT, y, kind), text(LEFT - 8, y + 4, f"{tenth / 10:.1f}", "end", "quiet")]
    span = (WIDTH - LEFT - RIGHT) / max(1, len(groups))
    wide = min(22.0, span * 0.8 / max(1, len(series)))
    for number, (name, values) in enumerate(groups):
        middle = LEFT + span * (number + 0.5)
        shapes.append(text(middle, floor + 18, name, "middle"))
        for place, value in enumerate(values):
            at = middle + (place - len(values) / 2) * wide
            tip = f"{name}, {series[place]}: {value:.2f}"
            shapes.append(bar(at + 1, floor - value * scale, wide - 2, value * scale, COLOURS[place], tip))
    return shapes, floor + 30


def bars(top: float, title: str, lines: Sequence[tuple[str, float, bool]]) -> tuple[list[str], float]:
    """Horizontal bars of (name, value, ours). Gives the shapes and where they end."""
    shapes = [text(0, top + 12, title, kind="title")]
    start, room = 250.0, WIDTH - 250.0 - 90
    highest = max((value for _, value, _ in lines), default=0.0) or 1.0
    y = top + 26
    for name, value, ours in lines:
        width = value / highest * room
        shapes += [
            text(start - 10, y + 13, name, "end"),
            bar(start, y + 1, width, 16, COLOURS[0] if ours else "#8c959f", f"{name}: {value:,.0f}"),
            text(start + width + 8, y + 13, f"{value:,.0f}", kind="quiet"),
        ]
        y += 23
    return shapes, y + 8


def drawn(
    groups: Sequence[tuple[str, Sequence[float]]], series: Sequence[str], lines: Sequence[tuple[str, float, bool]],
    caption: str,
) -> str:  # fmt: skip
    """A whole SVG document. A part without figures is left out."""
    shapes: list[str] = []
    y = 8.0
    if groups:
        more, y = columns(y, groups, series)
        shapes += more
        y += 18
    if lines:
        more, y = bars(y, "Events delivered per second, every write matching", lines)
        shapes += more
        y += 10
    shapes.append(text(0, y + 8, caption, kind="quiet"))
    body = "\n".join(shapes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 20:.0f}" role="img" '
        f'aria-label="Benchmark results">\n<style>{STYLE}</style>\n{body}\n</svg>\n'
    )
