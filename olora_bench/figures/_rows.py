"""Rows of estimates with intervals, under headings: what forest plots, speed-ups, counts and controls are drawn with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.transforms import blended_transform_factory

from olora_bench.figures._style import INK, QUIET, TEXT_PT

ROW_IN = 0.145
GAP = 0.25
"""What is left free above a heading, in rows."""


@dataclass(frozen=True)
class Row:
    """One line: an estimate with its interval (not known: not drawn), how it looks, and a note at its right."""

    label: str
    value: float
    low: float = math.nan
    high: float = math.nan
    colour: str = INK
    marker: str = "o"
    filled: bool = True
    note: str = ""
    bound: str = ""
    """`left` or `right`: the value is a bound, the truth lies on that side of it."""
    size: float = 4.0
    reach: float = math.inf
    """How far from 0 an open end of the interval is drawn; infinite: an interval with such an end is not."""


@dataclass(frozen=True)
class Group:
    """Rows under a heading; an empty heading takes no line."""

    heading: str
    rows: Sequence[Row]
    head: Row | None = None
    """An estimate on the heading's own line."""


def lines_of(groups: Sequence[Group]) -> float:
    """How many lines the groups take."""
    return sum(len(group.rows) + (1 + GAP) * bool(group.heading) for group in groups)


def height_of(groups: Sequence[Group], *, below_in: float = 0.42) -> float:
    """The height in inches of axes that show the groups, with `below_in` for ticks and axis label."""
    return lines_of(groups) * ROW_IN + below_in + 0.08


def draw_rows(axes: Axes, groups: Sequence[Group], *, labels: bool = True) -> None:
    """Draw the groups from top to bottom; `labels` names the rows at the left."""
    y, places, names = 0.0, [], []
    for number, group in enumerate(groups):
        if group.heading:
            y += GAP * bool(number)
            if labels:
                heading(axes, group.heading, y)
            if group.head is not None:
                _draw_row(axes, group.head, y)
            y += 1
        for row in group.rows:
            _draw_row(axes, row, y)
            places.append(y)
            names.append(row.label)
            if row.note:
                axes.text(
                    1.02, y, row.note, transform=axes.get_yaxis_transform(), ha="left", va="center_baseline", fontsize=TEXT_PT,
                    color=QUIET if math.isnan(row.value) else INK,
                )  # fmt: skip
            y += 1
    axes.set_ylim(y - 0.4, -0.6)
    axes.set_yticks(places, names if labels else [""] * len(names))
    axes.tick_params(axis="y", length=0, pad=3)
    axes.spines["left"].set_visible(False)


def shade(axes: Axes, y: float, margin: float) -> None:
    """Behind the row at `y`, the differences that do not matter to the study; nothing where the margin is NaN."""
    if math.isfinite(margin):
        axes.fill_betweenx([y - 0.42, y + 0.42], -margin, margin, color=QUIET, alpha=0.15, linewidth=0, zorder=0, gid="margin")


def directions(axes: Axes, left: str, right: str) -> None:
    """Whom the two sides of 0 favour, above axes whose middle is 0."""
    for text, side, anchor in ((left, -6, "right"), (right, 6, "left")):
        axes.annotate(text, (0.5, 1), xycoords="axes fraction", xytext=(side, 3), textcoords="offset points", ha=anchor, color=QUIET)


def heading(axes: Axes, text: str, y: float) -> None:
    """A bold line that starts at the figure's left edge, at a height of the axes; it makes no room for itself."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    across = blended_transform_factory(figure.transFigure, axes.transData)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
    bold = axes.text(
        0.04 / figure.get_size_inches()[0],
        y,
        text,
        transform=across,
        ha="left",
        va="center_baseline",
        fontweight="bold",
        bbox=box,
        zorder=6,
    )
    bold.set_in_layout(False)


def _draw_row(axes: Axes, row: Row, y: float) -> None:
    if math.isnan(row.value):
        return
    _draw_interval(axes, row, y)
    if row.bound:
        tip = (-9, 0) if row.bound == "left" else (9, 0)
        axes.annotate(
            "", (row.value, y), xytext=tip, textcoords="offset points", zorder=2.5,
            arrowprops={"arrowstyle": "<-", "color": row.colour, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 6},
        )  # fmt: skip
    axes.plot(
        [row.value], [y], marker=row.marker, markersize=row.size, color=row.colour, markerfacecolor=row.colour if row.filled else "white",
        markeredgewidth=0.9, linestyle="none", zorder=4, gid=f"row:{row.label}",
    )  # fmt: skip


def _draw_interval(axes: Axes, row: Row, y: float) -> None:
    ends = [max(-row.reach, min(row.reach, end)) if math.isinf(end) else end for end in (row.low, row.high)]
    if not all(map(math.isfinite, ends)):
        return
    axes.plot(ends, [y, y], color=row.colour, linewidth=1.1, solid_capstyle="butt", zorder=3)
    for end, known in zip(ends, (row.low, row.high), strict=True):
        if math.isinf(known):
            arrow = {"arrowstyle": "->", "color": row.colour, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 6}
            axes.annotate("", (end, y), xytext=(row.value, y), zorder=2.5, arrowprops=arrow)


def limits(groups: Sequence[Group], through: float, *, least: float = 0.0) -> tuple[float, float]:
    """The range that shows every finite number and `through`, with a margin; at least `least` either side of it."""
    rows = [row for group in groups for row in [*group.rows, *([group.head] if group.head else [])]]
    numbers = [n for row in rows for n in (row.value, row.low, row.high) if math.isfinite(n)]
    low, high = min([*numbers, through - least]), max([*numbers, through + least])
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin
