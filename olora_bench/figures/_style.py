"""How every figure looks: one column of a paper wide (the forest of all comparisons both), nothing below 7 pt, one look an arm."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from olora_bench.identity import lr_text
from olora_bench.report.arm_styles import ArmStyle

WIDTH_IN, WIDE_IN = 3.3, 6.9
TEXT_PT = 7.0
TITLE_PT = 8.0
INK = "#262626"
QUIET = "#6B6B6B"
GRID = "#E4E4E4"
BAND = "#D9D9D9"

RC: Mapping[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine sets the same text
    "font.size": TEXT_PT,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#8C8C8C",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.labelsize": TEXT_PT,
    "axes.titlesize": TEXT_PT,
    "axes.titlelocation": "left",
    "axes.titlepad": 3.0,
    "axes.labelpad": 2.0,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.0,
    "lines.solid_capstyle": "round",
    "legend.fontsize": TEXT_PT,
    "legend.frameon": False,
    "xtick.labelsize": TEXT_PT,
    "ytick.labelsize": TEXT_PT,
    "xtick.color": "#8C8C8C",
    "ytick.color": "#8C8C8C",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 2.0,
    "ytick.major.size": 2.0,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "olora_bench",  # else every writing gives its clip paths other names
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
}

P = ParamSpec("P")
R = TypeVar("R")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Run a function under this style, whatever the reader's own matplotlib settings are."""

    @wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(RC)
            return draw(*args, **kwargs)

    return inside


def _layout(figure: Figure) -> ConstrainedLayoutEngine:
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    return engine


def panels_of(
    figure: Figure, count: int, columns: int, *, sharex: bool = False, width_ratios: Sequence[float] | None = None
) -> list[tuple[Axes, bool, bool]]:
    """The axes of so many panels, row by row, each with whether it is the leftmost of its row and the lowest of its column; the last row's
    rest stays empty."""
    axes = figure.subplots(-(-count // columns), columns, squeeze=False, sharex=sharex, width_ratios=width_ratios).flat
    for empty in axes[count:]:
        empty.set_axis_off()
    return [(one, number % columns == 0, number + columns >= count) for number, one in enumerate(axes[:count])]


TITLE_LINE_IN, LEGEND_LINE_IN, KEY_LINE_IN = 0.14, 0.145, 0.125
TITLE_CHARACTER_IN, KEY_CHARACTER_IN = 0.07, 0.0555


def headed(
    below_in: float, title: str, styles: Mapping[str, ArmStyle] | None = None, *,
    key: str = "", lines: bool = True, width_in: float = WIDTH_IN, between_in: tuple[float, float] = (0.03, 0.03),
) -> Figure:  # fmt: skip
    """A figure with a title, below it what the arms look like, and below that what the marks mean, at the top left.

    Args:
        below_in: the height in inches of what lies below them, where the axes arrange themselves.
        styles: of the arms that a legend names.
        lines: whether the legend shows an arm's line beside its marker.
        between_in: how far axes lie from one another, from side to side and from top to bottom.
    """
    said, marks, legends = _title_lines(title, width_in), _key_lines(key, width_in), _legend_rows(styles or {}, width_in)
    legends_from = 0.06 + TITLE_LINE_IN * len(said)
    marks_from = legends_from + (LEGEND_LINE_IN * len(legends) + 0.04 if legends else 0.0)
    head = marks_from + (KEY_LINE_IN * len(marks) + 0.05 if marks else 0.0)
    height, left = head + below_in, 0.04 / width_in
    figure = Figure(figsize=(width_in, height), layout="constrained")
    _layout(figure).set(w_pad=between_in[0], h_pad=between_in[1], wspace=0.02, hspace=0.02, rect=(0, 0, 1, 1 - head / height))
    figure.text(left, 1 - 0.03 / height, "\n".join(said), va="top", ha="left", fontsize=TITLE_PT, fontweight="bold")
    figure.text(left, 1 - (marks_from + 0.01) / height, "\n".join(marks), va="top", ha="left", color=QUIET)
    for row, shown in enumerate(legends):
        legend = figure.legend(
            handles=[key_line(style, name, lines=lines) for name, style in shown.items()], loc="upper left", ncols=len(shown),
            bbox_to_anchor=(left, 1 - (legends_from + 0.01 + row * LEGEND_LINE_IN) / height), borderaxespad=0,
            borderpad=0, handlelength=1.9 if lines else 0.8, handletextpad=0.4, columnspacing=1.0,
        )  # fmt: skip
        legend.set_in_layout(False)
    return figure


def _title_lines(title: str, width_in: float) -> list[str]:
    """Broken to the width of a figure."""
    whole = re.sub(r"\b(lr|rank|steps|at|its|own) (?=\S)", "\\1\u00a0", title)  # a name stays with its number
    return textwrap.wrap(whole, int(width_in / TITLE_CHARACTER_IN), break_on_hyphens=False)


def _key_lines(key: str, width_in: float) -> list[str]:
    return textwrap.wrap(key, int(width_in / KEY_CHARACTER_IN), break_on_hyphens=False)


def _legend_rows(styles: Mapping[str, ArmStyle], width_in: float) -> list[dict[str, ArmStyle]]:
    """The arms of each row of a legend, so that none is wider than the figure."""
    rows: list[dict[str, ArmStyle]] = []
    room = 0.0
    for name, style in styles.items():
        need = 0.33 + 0.062 * len(name)
        if not rows or need > room:
            rows, room = [*rows, {}], width_in - 0.1
        rows[-1][name] = style
        room -= need
    return rows


def key_line(style: ArmStyle, label: str, *, lines: bool = True) -> Line2D:
    """A line that stands for an arm in a legend."""
    dashes: Any = style.dashes if lines else "none"
    return Line2D([], [], color=style.colour, marker=style.marker, linestyle=dashes, label=label, markersize=style.size(4))


def light_grid(axes: Axes, axis: str) -> None:
    """Faint lines across one axis (`x`, `y`) or `both`."""
    axes.grid(True, axis=axis)  # type: ignore[arg-type]


def few_ticks(axes: Axes, axis: str, count: int = 4, *, whole: bool = False) -> None:
    """At most so many intervals between ticks, at round numbers, or `whole` ones."""
    chosen = axes.xaxis if axis == "x" else axes.yaxis
    chosen.set_major_locator(MaxNLocator(count, steps=[1, 2, 2.5, 5, 10], integer=whole))


def lr_axis(axes: Axes, rates: Sequence[float], *, room: float = 1.5) -> None:
    """A logarithmic axis of learning rates with whole decades named, or the rates themselves where they span less than one; `room` is the
    factor by which it goes on beyond them."""
    axes.set_xscale("log")
    low, high = min(rates), max(rates)
    decades = [10.0**power for power in range(-12, 3) if low / 1.3 <= 10.0**power <= high * 1.3]
    log_ticks(axes, decades if len(decades) > 1 else sorted({low, high}), lr_text)
    between = [digit * 10.0**power for power in range(-12, 3) for digit in range(2, 10)]
    axes.xaxis.set_minor_locator(FixedLocator([rate for rate in between if low / room <= rate <= high * room]))
    axes.tick_params(axis="x", which="minor", length=1.2, width=0.5)
    axes.set_xlim(low / room, high * room)


def log_ticks(axes: Axes, ticks: Sequence[float], text: Callable[[float], str]) -> None:
    """Named ticks on a logarithmic x axis, and no others."""
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def sparse(values: Sequence[float], inches: float) -> list[float]:
    """Those of the increasing positive values that can be named on a logarithmic axis so long without touching; 1 is always among them.

    >>> sparse([0.25, 0.5, 1, 4, 16], 1.0)
    [0.25, 1, 4, 16]
    """
    gap = 0.27 * (math.log(values[-1] / values[0]) or 1.0) / inches
    kept: list[float] = [value for value in values if value == 1]
    for value in values:
        if all(abs(math.log(value / other)) >= gap for other in kept):
            kept.append(value)
    return sorted(kept)


FAR = 4.0


def far_limit(losses: pd.Series[float]) -> float:
    """The loss from which on a figure of learning rates tells no more apart, lest a few far ones flatten the rest: FAR times as far above
    the least as three quarters of them are.

    >>> round(far_limit(pd.Series([3.6, 3.7, 3.8, 4.0, 12.5])), 1)
    5.2
    """
    return float(losses.min() + FAR * (losses.quantile(0.75) - losses.min()))
