"""Loss and score against the learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from olora_bench.analysis import where
from olora_bench.analysis.frames import Row, groups_of
from olora_bench.figures._style import (
    QUIET,
    ArmStyle,
    far_limit,
    few_ticks,
    headed,
    light_grid,
    lr_axis,
    styled,
)
from olora_bench.identity import lr_text
from olora_bench.words import keys
from olora_bench.words.numbers import listed


@styled
def learning_rates(rates: pd.DataFrame, shared_lr: float | None, styles: Mapping[str, ArmStyle], *, title: str) -> Figure:
    """The tuning criterion as a loss, and the mean score, by learning rate: a row of panels a cell, or half a row where a score is
    missing and only the setting tells cells apart.

    Args:
        rates: as `analysis.rates.learning_rates` returns it. The best of each arm is ringed; a rate at which a run diverged is a cross at
            the top, a loss far above the others a triangle; an optimum at the edge of what was tried has an arrow to where it may lie.
        shared_lr: a learning rate that both arms were also compared at, marked by a dotted line; None where there is none.
        styles: of every arm in it.
    """
    rates = rates.assign(few=rates["n_tune"] < rates["n_tune"].max())
    cells = groups_of(rates, CELL)
    rows = _rows(cells)
    wide = max(len(row) for row in rows)
    shown = {name: styles[name] for name in dict.fromkeys(rates["arm"])}
    key = _key(rates, shared_lr, far=any(far_above(cell).any() for _, cell in cells))
    figure = headed(1.3 * len(rows) + 0.15, title, shown, key=key)
    grid = figure.subplots(len(rows), wide, squeeze=False, sharex="col")
    word = "Tuning loss (nats)" if rates["criterion"].iloc[0] == "tune_loss" else "−log p of gold (nats)"
    for axes in grid.flat:
        axes.set_axis_off()
    for row, panels in zip(grid, rows, strict=True):
        for axes, (named, cell, column) in zip(row, panels, strict=False):
            axes.set_axis_on()
            _panel(axes, cell, column, shown, shared_lr)
            axes.set_ylabel(word if column == "tune" else "Score (%)")
            lr_axis(axes, sorted(set(rates["lr"])), room=2.4 if rates["edge"].notna().any() else 1.5)
            if column == "tune":
                beside = panels[-1][1] is not panels[0][1]
                axes.set_title(str(named["setting"]) if beside else where(named).replace(", rank ", " r") if wide > 1 else where(named))
    for column in grid.T:
        last = [axes for axes in column if axes.axison][-1]
        last.set_xlabel("Learning rate")
        last.tick_params(labelbottom=True)
    return figure


def _key(rates: pd.DataFrame, shared_lr: float | None, *, far: bool) -> str:
    """What the marks of this figure mean."""
    counts = rates["n_tune"][rates["n_tune"] > 0]
    scored = rates["score"].notna().any()
    inside = any(_at_the_edge(cell).duplicated("lr").any() for _, cell in rates.groupby("cell"))
    few, most = listed(counts[counts < counts.max()]), f"{counts.max():g}"
    return " ".join(filter(None, [
        keys.LEARNING_RATES,
        keys.LEARNING_RATES_SCORES if scored else "",
        (keys.LEARNING_RATES_RING_SCORES if scored else keys.LEARNING_RATES_RING) if rates["best"].astype(bool).any() else "",
        keys.LEARNING_RATES_DIVERGED if rates["diverged"].gt(0).any() else "",
        keys.LEARNING_RATES_FAR if far else "",
        keys.LEARNING_RATES_INSIDE if inside else "",
        keys.LEARNING_RATES_FEW.format(few=few, most=most) if counts.nunique() > 1 else "",
        keys.shared_rate(lr_text(shared_lr)) if shared_lr is not None else "",
    ]))  # fmt: skip


CELL = ("cell", "model", "rank", "setting")
_Panel = tuple[Row, pd.DataFrame, str]


def far_above(cell: pd.DataFrame) -> pd.Series:
    """Which losses of a cell are left to a mark at the top of its panel: those beyond `far_limit`, but for an arm's best and for what
    diverged, which have marks of their own.

    >>> far_above(pd.DataFrame({"tune": [3.6, 3.7, 3.8, 4.0, 12.5], "best": False, "diverged": 0})).to_list()
    [False, False, False, False, True]
    """
    return (cell["tune"] > far_limit(cell["tune"])) & ~cell["best"].astype(bool) & (cell["diverged"] == 0)


def _rows(cells: Sequence[tuple[Row, pd.DataFrame]]) -> list[list[_Panel]]:
    """The panels of a figure by rows: loss and score of a cell, and two losses side by side where only the setting tells cells apart."""
    scored = any(cell["score"].notna().any() for _, cell in cells)
    alike = len({(named["model"], named["rank"]) for named, _ in cells}) == 1
    rows: list[list[_Panel]] = []
    alone: list[_Panel] = []
    for named, cell in cells:
        loss: _Panel = (named, cell, "tune")
        if cell["score"].notna().any():
            rows.append([loss, (named, cell, "score")])
        elif scored and alike:
            alone.append(loss)
        else:
            rows.append([loss])
    return rows + [alone[start : start + 2] for start in range(0, len(alone), 2)]


EDGE_AT, EDGE_PT, LARGER_PT = 0.92, 4.0, 2.4
"""Marks at the top edge: their height in the panel, the size of one in points, and by how much one around it is larger."""


def _at_the_edge(cell: pd.DataFrame) -> pd.DataFrame:
    """The points of a cell that have a mark at the top edge, with `around`: how many marks of other arms at that rate it stands around."""
    marked = cell[(cell["diverged"] > 0) | far_above(cell)]
    return marked.assign(around=marked.groupby("lr").cumcount(ascending=False))


def _panel(axes: Axes, cell: pd.DataFrame, column: str, styles: Mapping[str, ArmStyle], shared_lr: float | None) -> None:
    if shared_lr is not None:
        axes.axvline(shared_lr, color=QUIET, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1, gid="shared_lr")
    for arm, points in cell.sort_values("lr").groupby("arm", sort=False):
        _arm(axes, points, column, styles[str(arm)])
    beyond = far_above(cell) & (column == "tune")
    marked = _at_the_edge(cell) if column == "tune" else cell.iloc[:0].assign(around=0)
    for group, points in marked.groupby(["arm", "around"], sort=False):
        arm, around = str(group[0]), int(points["around"].iloc[0])
        for these, mark, name in ((points["diverged"] > 0, "x", "diverged"), (points["diverged"] == 0, "^", "beyond")):
            if these.any():
                axes.plot(points["lr"][these], [EDGE_AT] * int(these.sum()), transform=axes.get_xaxis_transform(), marker=mark,
                          linestyle="none", color=styles[arm].colour, markersize=EDGE_PT + LARGER_PT * around, markeredgewidth=1.2,
                          markerfacecolor="none", gid=f"{name}:{arm}", zorder=6 - 0.1 * around,
                          clip_on=False)  # fmt: skip
    known = cell[column][~beyond].dropna()
    if len(known) and math.isfinite(float(known.max())):
        room = float(known.max() - known.min()) or 1.0
        axes.set_ylim(float(known.min()) - 0.16 * room, float(known.max()) + (0.32 if len(marked) else 0.16) * room)
    few_ticks(axes, "y", 4)
    light_grid(axes, "y")


def _arm(axes: Axes, points: pd.DataFrame, column: str, style: ArmStyle) -> None:
    """One arm's line and marks, of a loss open where it is of fewer runs than elsewhere."""
    arm = points["arm"].iloc[0]
    known = points[points[column].notna()]
    axes.plot(known["lr"], known[column], color=style.colour, linestyle=style.dashes, linewidth=1.0, zorder=2.5)
    for few, part in known.groupby(known["few"] & (column == "tune")):
        axes.plot(part["lr"], part[column], marker=style.marker, linestyle="none", color=style.colour, markersize=style.size(3.4),
                  markerfacecolor="white" if few else style.colour, markeredgewidth=0.8, gid=f"{column}:{arm}", zorder=3)  # fmt: skip
    for _, point in known[known["best"].astype(bool)].iterrows():
        axes.plot([point["lr"]], [point[column]], marker="o", markersize=8.5, markerfacecolor="none", markeredgecolor=style.colour,
                  markeredgewidth=0.9, gid=f"best:{column}:{arm}", zorder=4)  # fmt: skip
        if isinstance(point["edge"], str) and column == "tune":
            axes.annotate(
                "", (point["lr"], point[column]), xytext=(-14 if point["edge"] == "low" else 14, 0), textcoords="offset points",
                arrowprops={"arrowstyle": "<-", "color": style.colour, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 4.5,
                            "mutation_scale": 6}, annotation_clip=False,
            )  # fmt: skip
