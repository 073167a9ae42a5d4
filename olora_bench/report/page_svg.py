"""Small drawings of a report's page that need no script: an interval against zero, a count against its null band, a run's curve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from olora_bench.analysis.outcome import Outcome
from olora_bench.words import verdicts as words

WIDTH = 360


def interval_strip(outcome: Outcome) -> str:
    """The difference that a comparison is judged by and its 95% interval, zero marked; empty where no difference is known."""
    effect, comparison = outcome.judged, outcome.comparison
    if not effect.known:
        return ""
    least = 0.01 if outcome.by_loss else 1.0
    reach = max(max(abs(x) for x in (effect.difference, effect.low, effect.high, 0.0) if math.isfinite(x)) * 1.25, least)
    left, right, middle = 16.0, WIDTH - 16.0, 34.0

    def at(x: float) -> float:
        return left + (min(max(x, -reach), reach) + reach) / (2 * reach) * (right - left)

    ticks = nice_ticks(-reach, reach, 6)
    sides = (comparison.reference, comparison.arm)
    below, above = reversed(sides) if outcome.by_loss else sides
    parts = [
        f'<line class="axis" x1="{left}" x2="{right}" y1="56" y2="56"/>',
        *(f'<line class="axis" x1="{at(t):.1f}" x2="{at(t):.1f}" y1="56" y2="60"/>' for t in ticks),
        *(f'<text class="tick" x="{at(t):.1f}" y="73" text-anchor="middle">{_signed(t)}</text>' for t in ticks),
        f'<line class="zero" x1="{at(0):.1f}" x2="{at(0):.1f}" y1="18" y2="56"/>',
        f'<text class="tick" x="{at(0) - 8:.1f}" y="12" text-anchor="end">← {escape(_short(below))} better</text>',
        f'<text class="tick" x="{at(0) + 8:.1f}" y="12">{escape(_short(above))} better →</text>',
        f'<text class="tick" x="{WIDTH / 2}" y="90" text-anchor="middle">difference, {words.unit(outcome)}</text>',
    ]
    if effect.has_interval:
        parts.append(f'<line class="interval" x1="{at(effect.low):.1f}" x2="{at(effect.high):.1f}" y1="{middle}" y2="{middle}"/>')
    parts.append(f'<circle class="point" cx="{at(effect.difference):.1f}" cy="{middle}" r="6"/>')
    extent = words.interval_words(outcome) or "no interval"
    return _figure(parts, 96, f"Difference {words.amount(outcome, effect.difference)} {words.unit(outcome)}, {extent}")


def count_strip(row: Mapping[str, Any]) -> str:
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
    told = f"{wins} of {row['cells']} cells won; chance alone gives {row['null_low']} to {row['null_high']} in 95% of outcomes"
    return _figure(parts, 96, told)


def curve_plot(series: Sequence[tuple[str, Sequence[float], Sequence[float]]], told: str) -> str:
    """Losses (nats) over steps as one drawing: (name, steps, losses) a line; empty where there is no point."""
    points = [(x, y) for _, xs, ys in series for x, y in zip(xs, ys, strict=True)]
    if not points:
        return ""
    height, left, right, top, bottom = 220, 46.0, WIDTH - 12.0, 12.0, 180.0
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
    for name, xs, ys in series:
        line = " ".join(at(x, y) for x, y in zip(xs, ys, strict=True))
        parts.append(f'<polyline class="curve {escape(name)}" points="{line}"><title>{escape(name)}</title></polyline>')
    parts.append(
        f'<text class="tick" x="{(left + right) / 2}" y="{bottom + 34:.1f}" text-anchor="middle">step; loss in nats a token</text>'
    )
    return _figure(parts, height, told)


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


def _signed(value: float) -> str:
    return f"{value:+.4g}" if value else "0"


def _short(name: str) -> str:
    return name if len(name) <= 14 else name[:13] + "…"


def _figure(parts: Sequence[str], height: int, told: str) -> str:
    return f'<svg class="strip" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(told)}">{"".join(parts)}</svg>'
