"""Loss and score against the learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from olora_bench.figures._style import QUIET, ArmStyle, few_ticks, figure_of, header, header_in, light_grid, lr_axis, styled, where


@styled
def learning_rates(rates: pd.DataFrame, shared_lr: float | None, styles: Mapping[str, ArmStyle], *, title: str) -> Figure:
    """A row of panels a cell: the tuning criterion as a loss, and the mean score, by learning rate.

    Args:
        rates: as `analysis.rates.learning_rates` returns it. The best of each arm is ringed; a rate at which a run diverged is a cross at
            the top; an optimum at the edge of what was tried has an arrow to where it may lie.
        shared_lr: a learning rate that both arms were also compared at, marked by a dotted line; None where there is none.
        styles: of every arm in it.
    """
    cells = list(rates.groupby(["cell", "model", "rank", "setting"], sort=False))
    scored = bool(rates["score"].notna().any())
    shown = {name: styles[name] for name in dict.fromkeys(rates["arm"])}
    top = header_in(title, list(shown))
    figure = figure_of(top + 1.3 * len(cells) + 0.15)
    header(figure, title, shown)
    grid = figure.subplots(len(cells), 2 if scored else 1, squeeze=False, sharex="col")
    word = "Tuning loss (nats)" if rates["criterion"].iloc[0] == "tune_loss" else "−log p of gold (nats)"
    for number, (key, cell) in enumerate(cells):
        for axes, column, label in zip(grid[number], ("tune", "score"), (word, "Score (%)"), strict=False):
            if cell[column].isna().all() and not cell["diverged"].any():
                axes.set_axis_off()
                continue
            _panel(axes, cell, column, shown, shared_lr)
            axes.set_ylabel(label)
            lr_axis(axes, sorted(set(rates["lr"])), room=2.4 if rates["edge"].notna().any() else 1.5)
        named = dict(zip(["cell", "model", "rank", "setting"], key, strict=True))
        grid[number][0].set_title(where(named).replace(", rank ", " r") if scored else where(named))
    for column in grid.T:
        last = [axes for axes in column if axes.axison][-1]
        last.set_xlabel("Learning rate")
        last.tick_params(labelbottom=True)
    return figure


def _panel(axes: Axes, cell: pd.DataFrame, column: str, styles: Mapping[str, ArmStyle], shared_lr: float | None) -> None:
    if shared_lr is not None:
        axes.axvline(shared_lr, color=QUIET, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1, gid="shared_lr")
    for arm, points in cell.sort_values("lr").groupby("arm", sort=False):
        style = styles[str(arm)]
        axes.plot(points["lr"], points[column], color=style.colour, linestyle=style.dashes, marker=style.marker, markersize=3.2,
                  gid=f"{column}:{arm}", zorder=3)  # fmt: skip
        best = points[points["best"].astype(bool) & points[column].notna()]
        for _, point in best.iterrows():
            axes.plot([point["lr"]], [point[column]], marker="o", markersize=8.5, markerfacecolor="none", markeredgecolor=style.colour,
                      markeredgewidth=0.9, gid=f"best:{column}:{arm}", zorder=4)  # fmt: skip
            if isinstance(point["edge"], str) and column == "tune":
                axes.annotate(
                    "", (point["lr"], point[column]), xytext=(-14 if point["edge"] == "low" else 14, 0), textcoords="offset points",
                    arrowprops={"arrowstyle": "<-", "color": style.colour, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 4.5,
                                "mutation_scale": 6}, annotation_clip=False,
                )  # fmt: skip
    died = cell[cell["diverged"] > 0]
    for place, (arm, points) in enumerate(died.groupby("arm", sort=False)):
        axes.plot(points["lr"], [0.96 - 0.09 * place] * len(points), transform=axes.get_xaxis_transform(), marker="x", linestyle="none",
                  color=styles[str(arm)].colour, markersize=4.5, markeredgewidth=1.2, gid=f"diverged:{arm}", zorder=5)  # fmt: skip
    known = cell[column].dropna()
    if len(known) and math.isfinite(float(known.max())):
        room = float(known.max() - known.min()) or 1.0
        axes.set_ylim(float(known.min()) - 0.16 * room, float(known.max()) + (0.16 + 0.12 * died["arm"].nunique()) * room)
    few_ticks(axes, "y", 4)
    light_grid(axes, "y")
