"""LoRA+ learning rates: what B's learning rate over A's does to loss, scores and generated text."""

from __future__ import annotations

import math
from collections.abc import Mapping

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from olora_bench.analysis import rows_of
from olora_bench.analysis.frames import Row
from olora_bench.figures._style import (
    GRID,
    INK,
    QUIET,
    ArmStyle,
    far_limit,
    few_ticks,
    headed,
    light_grid,
    log_ticks,
    panels_of,
    sparse,
    styled,
)
from olora_bench.identity import lr_text
from olora_bench.words import keys

LEAST_RANGE = {"Held-out loss (nats)": 0.05, "Score (%)": 2.0, "BLEU": 2.0, "ROUGE-1": 0.02, "ROUGE-2": 0.02, "ROUGE-L": 0.02}
"""What an axis spans at least: a smaller difference shall look small."""
COLOURS = "cividis_r"
"""Light is a low loss; even in brightness, so it survives grey print and colour blindness."""


@styled
def ratio_map(points: pd.DataFrame, *, title: str) -> Figure:
    """Tuning loss by learning rate of A and ratio, a tile a pair that was tried; the best is framed, a diverged one crossed.

    Losses beyond `far_limit` share the darkest tint.

    Args:
        points: rows of one cell and one family of `analysis.rates.ratio_points(frames, rates)`.
    """
    ratios, rates = sorted(set(points["lr_ratio"])), sorted(set(points["lr"]))
    died = points["tune"].isna() & points["diverged"].astype(bool)
    key = keys.said(tile=(True, keys.RATIO_MAP), cross=(died.any(), keys.RATIO_MAP_DIVERGED))
    figure = headed(0.2 * len(rates) + 0.75, title, key=key)
    axes = figure.subplots()
    known = points["tune"].dropna()
    low, high = (float(known.min()), min(float(known.max()), far_limit(known))) if len(known) else (0.0, 1.0)
    scale = matplotlib.colors.Normalize(low, high if high > low else low + 1.0, clip=True)
    colours = matplotlib.colormaps[COLOURS]
    for r in rows_of(points):
        colour = None if math.isnan(r["tune"]) else colours(scale(r["tune"]))
        _tile(axes, (ratios.index(r["lr_ratio"]), rates.index(r["lr"])), r, colour)
    for ratio in ratios:
        group = points[(points["lr_ratio"] == ratio) & points["tune"].notna()]
        if len(group):
            best = float(group["lr"].iloc[int(group["tune"].to_numpy().argmin())])
            corner = (ratios.index(ratio) - 0.46, rates.index(best) - 0.44)
            axes.add_patch(Rectangle(corner, 0.92, 0.88, fill=False, edgecolor="#D55E00", linewidth=1.3, gid=f"best:{ratio:g}:{best:g}"))
    axes.set_xlim(-0.5, len(ratios) - 0.5)
    axes.set_ylim(-0.5, len(rates) - 0.5)
    axes.set_xticks(range(len(ratios)), [f"{ratio:g}" for ratio in ratios])
    axes.set_yticks(range(len(rates)), [lr_text(rate) for rate in rates])
    axes.tick_params(length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.set_xlabel("Ratio (lr of B over lr of A)")
    axes.set_ylabel("Learning rate of A")
    return figure


def _tile(axes: Axes, place: tuple[int, int], r: Row, colour: tuple[float, ...] | None) -> None:
    """What came of one ratio and rate: its loss on its tint, or without one (`colour` is None) why there is none."""
    (x, y), gid = place, f"{r['lr_ratio']:g}:{r['lr']:g}"
    face = {"facecolor": "#F2F2F2"} if colour is None else {"facecolor": colour, "gid": f"tile:{gid}"}
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, edgecolor="white", linewidth=1.2, **face))
    if colour is None:
        axes.plot([x], [y], marker="x" if r["diverged"] else "_", color=QUIET, markersize=5, gid=f"nothing:{gid}")
        return
    dark = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] < 0.55
    axes.text(x, y, f"{r['tune']:.3f}", ha="center", va="center", color="white" if dark else INK)


@styled
def ratio_profile(profile: pd.DataFrame, styles: Mapping[str, ArmStyle], *, title: str) -> Figure:
    """What the ratio does: a panel a measure, ratios below 1 (refinement) left of the line, above 1 (exploration) right of it.

    Args:
        profile: one row a (arm, lr_ratio, measure): arm, lr_ratio, measure (its label with unit), value; one cell, one family.
        styles: of every arm.
    """
    measures = list(dict.fromkeys(profile["measure"]))
    columns = min(2, len(measures))
    rows = -(-len(measures) // columns)
    shown = {name: styles[name] for name in dict.fromkeys(profile["arm"])}
    figure = headed(1.15 * rows + 0.2, title, shown, lines=False, key=keys.RATIO_PROFILE)
    ratios = sorted(set(profile["lr_ratio"]))
    for measure, (axes, _, lowest) in zip(measures, panels_of(figure, len(measures), columns, sharex=True), strict=True):
        part = profile[profile["measure"] == measure].sort_values("lr_ratio")
        axes.axvline(1, color=GRID, linewidth=1.2, zorder=1)
        axes.plot(part["lr_ratio"], part["value"], color=QUIET, linewidth=0.8, zorder=2)
        for r in rows_of(part):
            style = shown[r["arm"]]
            axes.plot([r["lr_ratio"]], [r["value"]], marker=style.marker, color=style.colour, linestyle="none", zorder=3,
                      gid=f"{measure}:{r['lr_ratio']:g}")  # fmt: skip
        axes.set_title(str(measure))
        axes.set_xscale("log", base=2)
        log_ticks(axes, sparse(ratios, 1.0 if columns == 2 else 2.2), lambda value: f"{value:g}")
        axes.set_xlim(ratios[0] / 1.5, ratios[-1] * 1.5)
        axes.set_ylim(*_range(part["value"], LEAST_RANGE.get(str(measure), 0.0)))
        few_ticks(axes, "y", 3)
        light_grid(axes, "y")
        if lowest:
            axes.set_xlabel("Ratio (lr of B over lr of A)")
            axes.tick_params(labelbottom=True)
    return figure


def _range(values: pd.Series[float], least: float) -> tuple[float, float]:
    """Where an axis begins and ends: around its values, and at least so long."""
    low, high = float(values.min()), float(values.max())
    room = max(0.2 * (high - low), (least - (high - low)) / 2, 1e-9)
    return low - room, high + room
