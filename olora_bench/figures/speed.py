"""How much sooner an arm gets where its reference ends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from olora_bench.analysis import rows_of, where
from olora_bench.figures._rows import Group, Row, draw_rows, height_of
from olora_bench.figures._style import (
    QUIET,
    TEXT_PT,
    ArmStyle,
    few_ticks,
    figure_of,
    header,
    header_in,
    light_grid,
    log_ticks,
    panels_of,
    styled,
)
from olora_bench.words import keys
from olora_bench.words.comparisons import ends

_TICKS = ((0.1, 1.0, 10.0, 100.0), (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0), (0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0),
          (0.7, 0.8, 0.9, 1.0, 1.2, 1.4, 1.6))  # fmt: skip
"""Ever finer: the coarsest that puts three ticks or more on the axis is taken."""


@styled
def speed_up(speedups: pd.DataFrame, styles: Mapping[str, ArmStyle], *, title: str) -> Figure:
    """How many times sooner the arm reaches each target of the held-out loss, a row a target, a group a cell.

    Args:
        speedups: rows of one comparison and one unit of `analysis.convergence.speedups`.
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
    figure = figure_of(header_in(title, key=key) + height_of(groups, below_in=0.54))
    header(figure, title, key=key)
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


BESIDE_PT = 3.5
"""How far the marks of the arm and of its reference are from their number of steps, in points, lest one hides the other."""


@styled
def schedules(found: pd.DataFrame, styles: Mapping[str, ArmStyle], *, title: str) -> Figure:
    """Final held-out loss of separately completed schedules: the arm at T/4, T/2 and T against the reference at T.

    Args:
        found: rows of one comparison of `analysis.schedules.schedules`. The shortest schedule that matches is ringed.
        styles: of both arms.
    """
    panels = list(found.groupby(["model", "rank", "family"], sort=False))
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    first = rows_of(found)[0]
    shown = {first["reference"]: styles[first["reference"]], first["arm"]: styles[first["arm"]]}
    short = bool(found.loc[found["share"] > 1, "loss_reference_short"].notna().any())
    interval, ring = bool(found["low"].notna().any()), bool(found["smallest"].any())
    key = keys.schedules(first["reference"], interval=interval, short=short, ring=ring)
    figure = figure_of(header_in(title, list(shown), key=key) + 1.45 * rows + 0.1)
    header(figure, title, shown, key=key)
    places = panels_of(figure, len(panels), columns)
    for ((model, rank, _), group), (axes, leftmost, lowest) in zip(panels, places, strict=True):
        _schedules(axes, group, shown[first["arm"]], shown[first["reference"]])
        axes.set_title(f"{model}, rank {rank}" if columns == 1 else f"{model} r{rank}")
        if leftmost:
            axes.set_ylabel("Final held-out loss (nats)")
        if lowest:
            axes.set_xlabel(f"{first['arm']}'s steps")
    return figure


def _schedules(axes: Axes, group: pd.DataFrame, arm: ArmStyle, reference: ArmStyle) -> None:
    full, shorter = rows_of(group)[-1], group[group["share"] > 1]
    left, right = (axes.transData + ScaledTranslation(side * BESIDE_PT / 72, 0, axes.figure.dpi_scale_trans) for side in (-1, 1))
    axes.axhline(full["loss_reference"], color=reference.colour, linewidth=0.8, zorder=1)
    for steps, losses, inside, gid in (
        ([full["steps_reference"]], [full["loss_reference"]], reference.colour, "reference"),
        (shorter["steps_arm"], shorter["loss_reference_short"], "white", "reference_short"),
    ):
        axes.plot(steps, losses, marker=reference.marker, markersize=reference.size(4), color=reference.colour, linestyle="none",
                  markerfacecolor=inside, markeredgewidth=0.9, zorder=3, gid=gid, transform=left)  # fmt: skip
    axes.plot(group["steps_arm"], group["loss_arm"], color=arm.colour, linewidth=0.8, linestyle=(0, (2, 2)), zorder=2, transform=right)
    for r in rows_of(group):
        if math.isfinite(r["low"]):
            span = [r["loss_reference"] + r["low"], r["loss_reference"] + r["high"]]
            axes.plot([r["steps_arm"]] * 2, span, color=arm.colour, linewidth=1.1, marker="_", markersize=6, transform=right,
                      gid=f"interval:{r['share']}")  # fmt: skip
        inside = arm.colour if r["sure"] else "white"
        axes.plot([r["steps_arm"]], [r["loss_arm"]], marker=arm.marker, markersize=arm.size(4), color=arm.colour, linestyle="none",
                  markerfacecolor=inside, markeredgewidth=0.9, zorder=4, gid=f"schedule:{r['share']}", transform=right)  # fmt: skip
        if r["smallest"]:
            axes.plot([r["steps_arm"]], [r["loss_arm"]], marker="o", markersize=9, markerfacecolor="none", markeredgecolor=arm.colour,
                      markeredgewidth=0.9, zorder=5, gid="smallest", transform=right)  # fmt: skip
    axes.set_xscale("log", base=2)
    names = {r["steps_arm"]: f"{r['steps_arm']:g}\n" + ("T" if r["share"] == 1 else f"T/{r['share']}") for r in rows_of(group)}
    log_ticks(axes, list(names), lambda value: names.get(value, f"{value:g}"))
    axes.set_xlim(group["steps_arm"].min() / 1.3, max(group["steps_arm"].max(), full["steps_reference"]) * 1.3)
    ends = [full["loss_reference"] + group[end] for end in ("low", "high")]
    known = pd.concat([group["loss_arm"], group["loss_reference"], shorter["loss_reference_short"], *ends]).dropna()
    room = 0.12 * (float(known.max() - known.min()) or 1.0)
    axes.set_ylim(float(known.min()) - room, float(known.max()) + room)
    few_ticks(axes, "y", 4)
    light_grid(axes, "y")
