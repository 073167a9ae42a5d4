"""Small drawings of a report's page that need no script: a count against its null band, a run's curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from olora_bench.analysis.frames import Row

WIDTH = 360


def count_strip(row: Row) -> str:
    """Wins of all cells on a line from none to all, above the band that chance alone would give."""
    cells, wins = max(int(row["cells"]), 1), int(row["wins"])
    left, right = 16.0, WIDTH - 16.0

    def at(x: float) -> float:
        return left + x / cells * (right - left)

    low, high = at(row["null_low"]), at(row["null_high"])
    anchor = "start" if wins < cells / 4 else "end" if wins > 3 * cells / 4 else "middle"
    ticks = [t for t in nice_ticks(0, cells, 5) if t == int(t)]
    parts = [
        f'<rect class="band" x="{low - 3:.1f}" width="{high - low + 6:.1f}" y="24" height="32" rx="3"/>',
        f'<line class="axis" x1="{left}" x2="{right}" y1="56" y2="56"/>',
        *(f'<line class="axis" x1="{at(t):.1f}" x2="{at(t):.1f}" y1="56" y2="60"/>' for t in ticks),
        *(f'<text class="tick" x="{at(t):.1f}" y="73" text-anchor="middle">{t:.0f}</text>' for t in ticks),
        f'<circle class="point" cx="{at(wins):.1f}" cy="40" r="6"/>',
        f'<text class="tick strong" x="{at(wins):.1f}" y="14" text-anchor="{anchor}">{wins} of {row["cells"]} cells won</text>',
        f'<text class="tick" x="{WIDTH / 2}" y="90" text-anchor="middle">cells won; band: 95% of chance outcomes</text>',
    ]
    description = f"{wins} of {row['cells']} cells won; chance alone gives {row['null_low']} to {row['null_high']} in 95% of outcomes"
    return _figure(parts, 96, description)


class Line(NamedTuple):
    """A line of a drawing: what its style goes by, what it is called, and its points."""

    kind: str
    name: str
    xs: Sequence[float]
    ys: Sequence[float]


def curve_plot(lines: Sequence[Line], description: str, *, width: int = WIDTH, height: int = 220) -> str:
    """Losses (nats) over steps as one drawing; empty where there is no point. Later lines lie over earlier ones."""
    points = [(x, y) for line in lines for x, y in zip(line.xs, line.ys, strict=True)]
    if not points:
        return ""
    left, right, top, bottom = 46.0, width - 12.0, 12.0, height - 40.0
    (x_low, x_high), (y_low, y_high) = ((min(v), max(v)) for v in zip(*points, strict=True))
    x_span, y_span = (x_high - x_low) or 1.0, (y_high - y_low) or 1.0

    def at(x: float, y: float) -> str:
        return f"{left + (x - x_low) / x_span * (right - left):.1f},{bottom - (y - y_low) / y_span * (bottom - top):.1f}"

    parts = []
    for t in nice_ticks(y_low, y_high, 5):
        y = bottom - (t - y_low) / y_span * (bottom - top)
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{t:.4g}</text>')
    for t in nice_ticks(x_low, x_high, 5):
        x = left + (t - x_low) / x_span * (right - left)
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 16:.1f}" text-anchor="middle">{t:.4g}</text>')
    for kind, name, xs, ys in lines:
        drawn = " ".join(at(x, y) for x, y in zip(xs, ys, strict=True))
        parts.append(f'<polyline class="curve {escape(kind)}" points="{drawn}"><title>{escape(name)}</title></polyline>')
    parts.append(
        f'<text class="tick" x="{(left + right) / 2}" y="{bottom + 34:.1f}" text-anchor="middle">step; loss in nats a token</text>'
    )
    return _figure(parts, height, description, width)


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers from low to high, as many as there can be up to `count`.

    >>> nice_ticks(0, 60, 5)
    [0.0, 20.0, 40.0, 60.0]
    """
    if not high > low:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / count))
    for step in (m * power for m in (1, 2, 5, 10, 20, 50)):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < count:
            break
    return [round(step * k, 12) for k in range(first, last + 1)]


def _figure(parts: Sequence[str], height: int, description: str, width: int = WIDTH) -> str:
    return f'<svg class="strip" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(description)}">{"".join(parts)}</svg>'
