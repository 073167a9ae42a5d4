"""How much sooner an arm gets where its reference ends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from olora_bench.analysis import rows_of, where
from olora_bench.analysis.equivalent_steps import FASTER, SLOWER
from olora_bench.analysis.frames import groups_of
from olora_bench.figures._rows import Group, Row, draw_rows, height_of
from olora_bench.figures._style import (
    QUIET,
    TEXT_PT,
    ArmStyle,
    few_ticks,
    headed,
    light_grid,
    log_ticks,
    styled,
)
from olora_bench.words import keys
from olora_bench.words.comparisons import ends
from olora_bench.words.speed import family_name

_TICKS = ((0.1, 1.0, 10.0, 100.0), (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0), (0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0),
          (0.7, 0.8, 0.9, 1.0, 1.2, 1.4, 1.6))  # fmt: skip
"""Ever finer: the coarsest that puts three ticks or more on the axis is taken."""


@styled
def speed_up(speedups: pd.DataFrame, styles: Mapping[str, ArmStyle], *, title: str) -> Figure:
    """How many times sooner the arm reaches each target of the held-out loss, a row a target, a group a cell.

    Args:
        speedups: rows of one comparison and one unit of `analysis.speed.speedups`.
        styles: of both arms. Filled where the verdict is faster or slower; an arrow where seeds that never cross make it a bound.
    """
    first = rows_of(speedups)[0]
    groups = [
        Group(where(rows_of(group)[0]).replace(", rank ", " r"), [_target(r, styles[r["arm"]]) for r in rows_of(group)])
        for _, group in speedups.groupby(["cell", "model", "rank", "setting"], sort=False)
    ]
    rows = [row for group in groups for row in group.rows if not math.isnan(row.value)]
    filled, open_ = any(row.filled for row in rows), any(not row.filled for row in rows)
    interval, bound = any(math.isfinite(row.low) and math.isfinite(row.high) for row in rows), any(row.bound for row in rows)
    key = keys.speed_up(first["reference"], filled=filled, open_=open_, interval=interval, bound=bound)
    figure = headed(height_of(groups, below_in=0.54), title, key=key)
    axes = figure.subplots()
    axes.axvline(1, color=QUIET, linewidth=0.7, zorder=1)
    axes.set_xscale("log")
    draw_rows(axes, groups)
    known = [n for g in groups for r in g.rows for n in (r.value, r.low, r.high) if math.isfinite(n)]
    low, high = min([*known, 0.85]), max([*known, 1.18])
    axes.set_xlim(low / 1.12, high * 1.12)
    inside = [[t for t in ticks if low / 1.12 <= t <= high * 1.12] for ticks in _TICKS]
    log_ticks(axes, next((ticks for ticks in inside if len(ticks) >= 3), max(inside, key=len)), lambda value: f"{value:g}×")
    light_grid(axes, "x")
    speed = f"speed-up: {first['unit']} of {first['reference']} over {first['unit']} of {first['arm']}"
    figure.supxlabel(f"{' | '.join(ends(first['reference'], first['arm']))}\n{speed}", fontsize=TEXT_PT)
    return figure


def _target(r: Mapping[str, Any], style: ArmStyle) -> Row:
    value = r["speedup"] if math.isfinite(r["speedup"]) and r["speedup"] > 0 else math.nan
    sign = {"at most": "≤ ", "at least": "≥ "}.get(r["bound"], "")
    note = "unknown" if math.isnan(value) else f"{sign}{value:.2f}×"
    bound = {"at most": "left", "at least": "right"}.get(r["bound"], "") if note != "unknown" else ""
    return Row(
        f"{r['q']:.0%} of drop", value, r["low"], r["high"], style.colour, style.marker, r["verdict"] in ("faster", "slower"), note, bound
    )


@styled
def equivalent_steps(found: pd.DataFrame, styles: Mapping[str, ArmStyle], *, title: str) -> Figure:
    """Final held-out loss of both arms by length of schedule, and below it with how many times as many steps the reference gets as far.

    Args:
        found: rows of one comparison of `analysis.equivalent_steps.equivalent_steps`; of each family some ratio is known.
        styles: of both arms. Filled below where the interval leaves 1 out, an arrow where it is open, a ring about the judged length.
    """
    families = [group for _, group in groups_of(found, ["family", "model", "rank"])]
    first = rows_of(found)[0]
    shown = {first["reference"]: styles[first["reference"]], first["arm"]: styles[first["arm"]]}
    known = rows_of(found[found["ratio"].notna()])
    decided = [r["verdict"] in (FASTER, SLOWER) for r in known]
    open_end = any(r["low"] == 0 or math.isinf(r["high"]) for r in known)
    key = keys.equivalent_steps(first["arm"], filled=any(decided), open_=not all(decided), arrow=open_end)
    columns = min(2, len(families))
    blocks = -(-len(families) // columns)
    figure = headed(2.7 * blocks + 0.1, title, shown, key=key)
    axes = figure.subplots(2 * blocks, columns, squeeze=False, height_ratios=[1.25, 1] * blocks)
    for number in range(columns * blocks):
        above, below = (axes[2 * (number // columns) + place, number % columns] for place in (0, 1))
        if number >= len(families):
            above.set_axis_off()
            below.set_axis_off()
            continue
        family = families[number]
        _losses(above, family, shown)
        _ratios(below, family, shown[first["arm"]])
        above.tick_params(labelbottom=False)
        above.set_title(family_name(family, found).replace(", rank ", " r"))
        below.set_xlabel("steps of the schedule")
        if number % columns == 0:
            above.set_ylabel("Final held-out loss (nats)")
            below.set_ylabel(f"{first['reference']}'s steps over\n{first['arm']}'s")
    return figure


def _losses(axes: Axes, family: pd.DataFrame, shown: Mapping[str, ArmStyle]) -> None:
    for column, (name, style) in zip(("loss_reference", "loss"), shown.items(), strict=True):
        axes.plot(family["steps"], family[column], color=style.colour, linestyle=style.dashes, linewidth=1.0, marker=style.marker,
                  markersize=style.size(4), gid=f"loss:{name}")  # fmt: skip
    _step_axis(axes, family)
    few_ticks(axes, "y", 4)
    light_grid(axes, "y")


def _ratios(axes: Axes, family: pd.DataFrame, style: ArmStyle) -> None:
    axes.axhline(1, color=QUIET, linewidth=0.7, zorder=1)
    axes.set_yscale("log", base=2)
    ends = family[["ratio", "low", "high"]].to_numpy(dtype=float)
    inside = [*ends[np.isfinite(ends) & (ends > 0)], 0.5, 2.0]
    bottom, top = min(inside) / 1.6, max(inside) * 1.6
    for r in rows_of(family[family["ratio"].notna()]):
        low, high = max(r["low"], bottom), min(r["high"], top)
        axes.plot([r["steps"]] * 2, [low, high], color=style.colour, linewidth=1.1, gid=f"interval:{r['steps']:g}")
        for edge, is_open, arrow in ((low, r["low"] == 0, "v"), (high, math.isinf(r["high"]), "^")):
            axes.plot([r["steps"]], [edge], marker=arrow if is_open else "_", markersize=4 if is_open else 6, color=style.colour,
                      clip_on=False, gid=f"open:{r['steps']:g}" if is_open else None)  # fmt: skip
        if 0 < r["ratio"] < math.inf:
            look = style.colour if r["verdict"] in (FASTER, SLOWER) else "white"
            axes.plot([r["steps"]], [r["ratio"]], marker=style.marker, markersize=style.size(4), color=style.colour, markerfacecolor=look,
                      markeredgewidth=0.9, zorder=4, gid=f"ratio:{r['steps']:g}")  # fmt: skip
        if r["judged"]:
            middle = min(max(r["ratio"], bottom), top)
            axes.plot([r["steps"]], [middle], marker="o", markersize=9, markerfacecolor="none", markeredgecolor=QUIET,
                      markeredgewidth=0.9, zorder=5, clip_on=False, gid="judged")  # fmt: skip
    axes.set_ylim(bottom, top)
    marks = [2.0**power for power in range(-6, 7) if bottom <= 2.0**power <= top]
    axes.yaxis.set_major_locator(FixedLocator(marks))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.yaxis.set_minor_locator(NullLocator())
    _step_axis(axes, family)
    light_grid(axes, "y")


def _step_axis(axes: Axes, family: pd.DataFrame) -> None:
    axes.set_xscale("log", base=2)
    log_ticks(axes, family["steps"].tolist(), lambda value: f"{value:g}")
    axes.set_xlim(family["steps"].min() / 1.3, family["steps"].max() * 1.3)
