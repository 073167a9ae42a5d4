"""Held-out loss beside what inits start from: a row an arm, a panel a fact."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from olora_bench.analysis import rows_of
from olora_bench.figures._rows import Group, Row, draw_rows, height_of, limits
from olora_bench.figures._style import QUIET, WIDE_IN, ArmStyle, few_ticks, headed, light_grid, panels_of, styled
from olora_bench.words import keys
from olora_bench.words.numbers import signed

PANELS = (
    ("a_norm", "Norm of A", "Frobenius"),
    ("b_off_orthonormal", "B from\northonormal", "0: it is, 1: B = 0"),
    ("overlap_right", "A in W's\ntop space", "share"),
    ("overlap_left", "B in W's\ntop space", "share"),
    ("first_loss_jump", "First loss\nless base's", "nats"),
)
"""(fact, heading, what its axis says)."""


@styled
def starts(rows: pd.DataFrame, styles: Mapping[str, ArmStyle], *, title: str) -> Figure:
    """Arms by their difference from the reference, which is the open mark at 0.

    Args:
        rows: of `analysis.starts.starts`, of one model, rank and setting.
        styles: of every arm in it. A fact that no arm has takes no panel.
    """
    arms = rows.sort_values("difference", kind="stable")
    panels = [panel for panel in PANELS if arms[panel[0]].notna().any()]
    losses = [Group("", [_mark(r, ("difference", "low", "high"), styles[r["arm"]]) for r in rows_of(arms)])]
    figure = headed(height_of(losses, below_in=0.8), title, key=keys.STARTS, between_in=(0.05, 0.03), width_in=WIDE_IN)
    (first, *others) = [axes for axes, *_ in panels_of(figure, 1 + len(panels), 1 + len(panels), width_ratios=[2.4, *[1] * len(panels)])]
    draw_rows(first, losses)
    first.axvline(0, color=QUIET, linewidth=0.7, zorder=1)
    first.set_xlim(*limits(losses, 0))
    first.xaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(value)))
    _finish(first, "Held-out loss", f"nats less {arms['reference'].iloc[0]}'s", 4)
    for axes, (fact, name, unit) in zip(others, panels, strict=True):
        group = [Group("", [_mark(r, (fact,), styles[r["arm"]]) for r in rows_of(arms)])]
        draw_rows(axes, group, labels=False)
        for y, r in enumerate(rows_of(arms)):
            if pd.isna(r[fact]):
                said = "B is 0" if fact == "overlap_left" and round(r["b_off_orthonormal"], 6) == 1 else "not measured"
                axes.text(0.5, y, said, transform=axes.get_yaxis_transform(), ha="center", va="center_baseline", color=QUIET, gid="none")
        low, high = limits(group, 0)
        room = 0.08 * (high - low)  # a mark is a large part of so narrow a panel
        axes.set_xlim(low - room, high + room)
        if unit == "nats" and max(abs(low), abs(high)) < 0.01:  # with all its zeros a label is as wide as the panel
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{1000 * value:g}".replace("-", "\N{MINUS SIGN}")))
            unit = "10⁻³ nats"
        _finish(axes, name, unit, 2)
    return figure


def _mark(row: Mapping[str, Any], names: Sequence[str], style: ArmStyle) -> Row:
    """A value, and where it has one the ends of its interval."""
    value, low, high = [math.nan if pd.isna(row[name]) else float(row[name]) for name in names] + [math.nan] * (3 - len(names))
    look = (style.colour, style.marker, row["arm"] != row["reference"])
    return Row(row["arm"], value, low, high, *look, size=style.size(4))


def _finish(axes: Axes, name: str, unit: str, ticks: int) -> None:
    few_ticks(axes, "x", ticks)
    axes.set_title(name)
    axes.set_xlabel(unit)
    light_grid(axes, "x")
