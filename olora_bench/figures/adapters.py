"""What adapters are made of, and what arms cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from olora_bench.analysis import rows_of, where
from olora_bench.figures._rows import ROW_IN, heading
from olora_bench.figures._style import ArmStyle, few_ticks, figure_of, header, header_in, light_grid, log_ticks, panels_of, styled
from olora_bench.words import keys

FACTS = (
    ("start", "end", "b_off_orthonormal", "B from orthonormal"),
    ("start", "end", "energy_share", "Energy share of sBA"),
    ("start", "end", "overlap_left", "Overlap of B and W"),
    ("start", "end", "overlap_right", "Overlap of A and W"),
    ("start", "end", "b_condition", "Condition of B"),
    ("start", "end", "a_condition", "Condition of A"),
    (None, "travelled", "b", "B travels"),
    (None, "travelled", "a", "A travels"),
)
"""(stage of the open mark, stage of the filled one, fact, heading); none has a unit but distances, which are in that of the weights."""
LOG_FACTS = frozenset({"b_off_orthonormal", "b_condition", "a_condition", "a", "b"})
"""What is told in factors, A and B on the same kind of axis; shares are told in differences."""


@styled
def anatomy(facts: pd.DataFrame, styles: Mapping[str, ArmStyle], *, title: str) -> Figure:
    """Adapters before (open) and after training (filled), an arm a row, a fact a panel; the thin line spans the layers after training.

    Args:
        facts: rows of one (model, rank, setting) of `analysis.anatomy.anatomy`, one a (arm, stage, fact).
        styles: of every arm. A fact that no arm has takes no panel.
    """
    arms = list(dict.fromkeys(facts["arm"]))
    panels = [p for p in FACTS if (facts["fact"].eq(p[2]) & facts["stage"].isin([s for s in p[:2] if s])).any()]
    rows = -(-len(panels) // 2)
    figure = figure_of(header_in(title, key=keys.ANATOMY) + rows * (ROW_IN * len(arms) + 0.46), between_in=(0.06, 0.05))
    header(figure, title, key=keys.ANATOMY)
    for (before, after, fact, name), (axes, leftmost, _) in zip(panels, panels_of(figure, len(panels), 2), strict=True):
        mine = facts[facts["fact"] == fact]
        for y, arm in enumerate(arms):
            stages = {r["stage"]: r for r in rows_of(mine[mine["arm"] == arm])}
            _dumbbell(axes, y, (stages.get(before or ""), stages.get(after)), styles[arm], f"{fact}:{arm}")
        axes.set_title(name)
        axes.set_ylim(len(arms) - 0.5, -0.6)
        axes.set_yticks(range(len(arms)), arms if leftmost else [""] * len(arms))
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        _scale(axes, mine[mine["stage"].isin([before, after])], fact)
        light_grid(axes, "x")
    return figure


_Stage = Mapping[str, float] | None
"""A row of facts of one stage: mean, low, high."""


def _dumbbell(axes: Axes, y: int, stages: tuple[_Stage, _Stage], style: ArmStyle, gid: str) -> None:
    start, end = stages
    if end is not None:
        axes.plot([end["low"], end["high"]], [y, y], color=style.colour, linewidth=0.7, alpha=0.55, zorder=2)
    if start is not None and end is not None:
        axes.plot([start["mean"], end["mean"]], [y, y], color=style.colour, linewidth=2.0, alpha=0.35, zorder=2, solid_capstyle="butt")
    if start is not None:
        axes.plot([start["mean"]], [y], marker=style.marker, color=style.colour, markerfacecolor="white", markersize=4, markeredgewidth=0.9,
                  zorder=3, gid=f"start:{gid}")  # fmt: skip
    if end is not None:
        axes.plot([end["mean"]], [y], marker=style.marker, color=style.colour, markersize=3.6, zorder=4, gid=f"end:{gid}")


def _scale(axes: Axes, facts: pd.DataFrame, fact: str) -> None:
    low, high = float(facts["low"].min()), float(facts["high"].max())
    if fact in LOG_FACTS and low > 0:
        axes.set_xscale("log")
        ticks = _decades(low / 1.6, high * 1.6)
        log_ticks(axes, ticks, lambda value: f"{value:g}" if 1e-3 <= value < 1e4 else f"{value:.0e}".replace("e-0", "e-"))
        axes.set_xlim(low / 1.6, high * 1.6)
        return
    axes.set_xlim(-0.06 * (high or 1.0), high + 0.06 * (high or 1.0))
    few_ticks(axes, "x", 4)


def _decades(low: float, high: float) -> list[float]:
    """Two or three ticks between two positive numbers: powers of ten, and digits between them where these are too few.

    >>> _decades(1e-8, 2.0), _decades(0.3, 9.0)
    ([1e-08, 1e-05, 0.01], [0.3, 1.0, 3.0])
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5)):
        inside = [tick for power in powers for digit in digits if low <= (tick := float(f"{digit}e{power}")) <= high]
        if len(inside) > 1:
            break
    return inside[:: -(-len(inside) // 3) or 1]


@styled
def cost(costs: pd.DataFrame, styles: Mapping[str, ArmStyle], *, title: str) -> Figure:
    """What each arm costs: seconds of training, peak memory above the loaded base, and the init's share of the time.

    Args:
        costs: as `analysis.losses.costs` returns it.
        styles: of every arm in it. What no run measured takes no panel.
    """
    seconds, time_unit = _unit(costs["train_seconds"], ((3600.0, "h"), (60.0, "min"), (1.0, "s")))
    memory, memory_unit = _unit(costs["peak_above_base_bytes"], ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")))
    panels = [
        (f"Training ({time_unit})", costs["train_seconds"] / seconds),
        (f"Memory ({memory_unit})", costs["peak_above_base_bytes"] / memory),
        ("Init (% of time)", costs["init_share"] * 100),
    ]
    panels = [(name, values) for name, values in panels if values.notna().any()]
    places, headings, y = [], [], 0.0
    for _, group in costs.groupby(["model", "rank", "setting"], sort=False):
        headings.append((y, where(rows_of(group)[0]).replace(", rank ", " r")))
        places += [y + 1 + place for place in range(len(group))]
        y += len(group) + 1.2
    figure = figure_of(header_in(title, key=keys.COST) + y * ROW_IN + 0.3)
    header(figure, title, key=keys.COST)
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for number, (axes, (name, values)) in enumerate(zip(grid, panels, strict=True)):
        _bars(axes, places, values, list(costs["arm"]), styles)
        axes.set_title(name)
        axes.patch.set_visible(False)  # or it would cover the end of a heading, which starts at the figure's left edge
        if number == 0:
            axes.set_yticks(places, list(costs["arm"]))
            for height, text in headings:
                heading(axes, text, height)
        axes.set_ylim(y - 0.5, -0.6)
    return figure


def _unit(values: pd.Series[float], units: Sequence[tuple[float, str]]) -> tuple[float, str]:
    most = float(values.max()) if values.notna().any() else 0.0
    return next(((size, name) for size, name in units if most >= size), units[-1])


def _bars(axes: Axes, places: Sequence[float], values: pd.Series[float], arms: Sequence[str], styles: Mapping[str, ArmStyle]) -> None:
    most = float(values.max()) or 1.0
    for y, value, arm in zip(places, values, arms, strict=True):
        if math.isnan(value):
            axes.text(0, y, " not measured", va="center_baseline")
            continue
        axes.barh(y, value, height=0.55, color=styles[arm].colour, gid=f"bar:{arm}")
        axes.annotate(
            f"{value:#.2g}" if value < 10 else f"{value:.0f}", (value, y), xytext=(2, 0), textcoords="offset points", va="center_baseline"
        )
    axes.set_xlim(0, most * 1.55)
    axes.set_xticks([])
    axes.tick_params(axis="y", length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
