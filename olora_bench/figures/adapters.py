"""What adapters are made of, and what arms cost."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from olora_bench.analysis import rows_of, where
from olora_bench.figures._rows import ROW_IN
from olora_bench.figures._style import (
    INK,
    QUIET,
    ArmStyle,
    few_ticks,
    headed,
    light_grid,
    log_ticks,
    panels_of,
    styled,
)
from olora_bench.words import keys
from olora_bench.words.numbers import signed

FACTS = (
    ("start", "end", "b_off_orthonormal", "B from orthonormal", "0: it is orthonormal"),
    ("start", "end", "energy_share", "Size of sBA", "its norm, squared"),
    ("start", "end", "overlap_left", "Overlap, B with W", "1: in W's top space"),
    ("start", "end", "overlap_right", "Overlap, A with W", "1: in W's top space"),
    ("start", "end", "b_condition", "Condition of B", "1: evenly strong"),
    ("start", "end", "a_condition", "Condition of A", "1: evenly strong"),
    (None, "travelled", "b", "How far B moved", "norm of its change"),
    (None, "travelled", "a", "How far A moved", "norm of its change"),
)
"""(stage of the open mark, stage of the filled one, fact, heading, what it means); none has a unit but distances, which are in that of the
weights."""
LOG_FACTS = frozenset({"b_off_orthonormal", "b_condition", "a_condition", "a", "b"})
"""What is told in factors, A and B on the same kind of axis; shares are told in differences."""
ARM_IN, APART = 0.185, 0.22
"""An arm's height, and how far before and after are from its middle, in arms."""


@styled
def anatomy(facts: pd.DataFrame, styles: Mapping[str, ArmStyle], *, title: str) -> Figure:
    """Adapters before (open) and, below it, after training (filled), an arm a row, a fact a panel; the thin line spans the layers.

    Args:
        facts: rows of one (model, rank, setting) of `analysis.anatomy.anatomy`, one a (arm, stage, fact).
        styles: of every arm. A fact that no arm has takes no panel.
    """
    arms = list(dict.fromkeys(facts["arm"]))
    panels = [p for p in FACTS if (facts["fact"].eq(p[2]) & facts["stage"].isin([s for s in p[:2] if s])).any()]
    rows = -(-len(panels) // 2)
    key = _anatomy_key(facts, panels)
    figure = headed(rows * (ARM_IN * len(arms) + 0.68) + 0.1, title, key=key, between_in=(0.06, 0.05))
    for (before, after, fact, name, meaning), (axes, leftmost, _) in zip(panels, panels_of(figure, len(panels), 2), strict=True):
        part = facts[facts["fact"] == fact]
        for y, arm in enumerate(arms):
            stages = {r["stage"]: r for r in rows_of(part[part["arm"] == arm])}
            ends = (stages.get(before or ""), stages.get(after))
            _dumbbell(axes, (y - APART, y + APART) if before else (y, y), ends, styles[arm], f"{fact}:{arm}")
            if before is not None and ends[0] is None and ends[1] is not None:
                axes.text(
                    0.02, y - APART, "before: none", transform=axes.get_yaxis_transform(), va="center_baseline", color=QUIET, gid="none"
                )
        axes.set_title(name, pad=12)
        told = axes.annotate(meaning, (0, 1), xycoords="axes fraction", xytext=(0, 3), textcoords="offset points", color=QUIET)
        told.set_in_layout(False)
        axes.set_ylim(len(arms) - 0.5, -0.6)
        axes.set_yticks(range(len(arms)), arms if leftmost else [""] * len(arms))
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        _scale(axes, part[part["stage"].isin([before, after])], fact)
        axes.set_xlabel("share of W's\nsquared norm" if fact == "energy_share" else "log axis" if axes.get_xscale() == "log" else "")
        light_grid(axes, "x")
    return figure


def _anatomy_key(facts: pd.DataFrame, panels: Sequence[tuple[str | None, str, str, str, str]]) -> str:
    """What the marks of these panels mean, and the rate of each arm."""
    firsts = facts[facts["stage"] == "start"]
    opened = [panel for panel in panels if panel[0] is not None and firsts["fact"].eq(panel[2]).any()]
    none = any(
        firsts.loc[firsts["fact"] == fact, "arm"].nunique() < facts.loc[facts["fact"] == fact, "arm"].nunique() for _, _, fact, *_ in opened
    )
    return keys.anatomy(
        {str(arm): sorted(set(part["lr"])) for arm, part in facts.groupby("arm", sort=False)}, before=bool(opened), none=none
    )


_Stage = Mapping[str, float] | None
"""A row of facts of one stage: mean, low, high."""


def _dumbbell(axes: Axes, heights: tuple[float, float], stages: tuple[_Stage, _Stage], style: ArmStyle, gid: str) -> None:
    """Before above after, lest one hides the other where nothing changed."""
    (start, end), (above, below) = stages, heights
    for stage, height in ((start, above), (end, below)):
        if stage is not None:
            axes.plot([stage["low"], stage["high"]], [height] * 2, color=style.colour, linewidth=0.7, alpha=0.55, zorder=2)
    if start is not None and end is not None:
        axes.plot([start["mean"], end["mean"]], [above, below], color=style.colour, linewidth=1.6, alpha=0.3, zorder=2)
    if start is not None:
        axes.plot([start["mean"]], [above], marker=style.marker, color=style.colour, markerfacecolor="white", markersize=style.size(3.6),
                  markeredgewidth=0.9, zorder=3, gid=f"start:{gid}")  # fmt: skip
    if end is not None:
        axes.plot([end["mean"]], [below], marker=style.marker, color=style.colour, markersize=style.size(3.6), zorder=4, gid=f"end:{gid}")


def _scale(axes: Axes, facts: pd.DataFrame, fact: str) -> None:
    low, high = float(facts["low"].min()), float(facts["high"].max())
    if fact in LOG_FACTS and low > 0:
        axes.set_xscale("log")
        ticks = _decades(low / 1.6, high * 1.6)
        log_ticks(axes, ticks, lambda value: f"{value:g}" if 1e-3 <= value < 1e4 else f"{value:.0e}".replace("e-0", "e-"))
        axes.set_xlim(low / 1.6, high * 1.6)
        return
    axes.set_xlim(-0.06 * (high or 1.0), high + 0.06 * (high or 1.0))
    few_ticks(axes, "x", 2)


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


COST_GROUP = ["model", "rank", "setting", "reference"]
_COSTS = (
    ("train", "Training\ntime", "× reference\n(log axis)", 1.0),
    ("memory", "Peak mem.\nabove the\nloaded\nbase", "× reference\n(log axis)", 1.0),
    ("init", "Init", "seconds\nmore", 0.0),
)
"""(fact, heading, axis label, where there is no difference)."""
HEADING_CHARACTERS = 20
"""How long a line of a heading left of the panels may be."""
_FACTORS = ((0.25, 0.5, 1.0, 2.0, 4.0), (0.5, 0.7, 1.0, 1.4, 2.0), (0.8, 0.9, 1.0, 1.1, 1.25), (0.95, 1.0, 1.05))
"""Ticks of ratios, ever finer: the coarsest that puts three on the axis is taken."""


@styled
def cost(pairs: pd.DataFrame, styles: Mapping[str, ArmStyle], *, title: str) -> Figure:
    """What an arm costs beside its reference: a dot a pair of runs, a bar their mean; a row an arm, a group a setting and reference.

    Args:
        pairs: as `analysis.cost_pairs.cost_pairs` returns it.
        styles: of every arm in it. What no pair measured takes no panel.
    """
    panels = [panel for panel in _COSTS if pairs[panel[0]].notna().any()]
    groups, y = [], 0.0
    for _, group in pairs.groupby(COST_GROUP, sort=False):
        first = rows_of(group)[0]
        arms = list(group.groupby("arm", sort=False))
        place = f"{where(first).replace(', rank ', ' r')}, over {first['reference']}".replace("steps ", "steps\u00a0").replace(
            "over ", "over\u00a0"
        )
        lines = textwrap.wrap(place, HEADING_CHARACTERS, break_on_hyphens=False, break_long_words=False)
        groups.append((y, lines, arms))
        y += len(arms) + len(lines) + 0.3
    key = keys.said(marks=(True, keys.COST), noise=(True, keys.COST_NOISE))
    figure = headed(y * ROW_IN + 1.05, title, key=key)
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (fact, name, label, same) in zip(grid, panels, strict=True):
        axes.axvline(same, color=QUIET, linewidth=0.7, zorder=1)
        for top, lines, arms in groups:
            for row, (arm, group) in enumerate(arms, len(lines)):
                _pair_dots(axes, top + row, group[fact].dropna(), styles[str(arm)], f"{fact}:{arm}")
        axes.set_title(name)
        axes.set_xlabel(label)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        _cost_scale(axes, pairs[fact].dropna(), same)
    places = [(top + place, str(arm), "normal") for top, lines, arms in groups for place, (arm, _) in enumerate(arms, len(lines))]
    places += [(top + place, text, "bold") for top, lines, _ in groups for place, text in enumerate(lines)]
    grid[0].set_yticks([y for y, _, _ in places], [text for _, text, _ in places])
    for text, (_, _, weight) in zip(grid[0].get_yticklabels(), places, strict=True):
        text.set_fontweight(weight)  # a heading left of the panels, where it runs across none
    grid[0].set_ylim(y - 0.5, -0.6)
    return figure


def _pair_dots(axes: Axes, y: float, values: pd.Series[float], style: ArmStyle, gid: str) -> None:
    """The pairs of one row, and the mean of their differences or the geometric one of their ratios."""
    if values.empty:
        axes.text(0.5, y, "not measured", transform=axes.get_yaxis_transform(), ha="center", va="center_baseline", color=QUIET)
        return
    ratios = not gid.startswith("init")
    middle = math.exp(sum(map(math.log, values)) / len(values)) if ratios else float(values.mean())
    axes.plot(values, [y] * len(values), marker="o", linestyle="none", color=style.colour, markersize=3, alpha=0.45, markeredgewidth=0,
              gid=f"pairs:{gid}", zorder=3)  # fmt: skip
    axes.plot([middle], [y], marker="|", color=INK, markersize=7, markeredgewidth=1.3, linestyle="none", gid=f"mean:{gid}", zorder=4)


def _cost_scale(axes: Axes, values: pd.Series[float], same: float) -> None:
    """An axis with no difference in its middle, logarithmic where it holds ratios."""
    light_grid(axes, "x")
    if not same:
        reach = 1.15 * max(float(values.abs().max()), 0.01)
        axes.set_xlim(-reach, reach)
        end = max(tick for power in range(-4, 6) for digit in (1, 2, 3, 4, 5, 6, 8) if (tick := float(f"{digit}e{power}")) <= reach)
        long = len(signed(end)) > 3  # its label would touch that of 0, where a line stands anyway
        axes.set_xticks([-end, end] if long else [-end, 0, end])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(value)))
        return
    reach = 1.15 * max(math.log(1.05), *(abs(math.log(value)) for value in values))
    axes.set_xscale("log")
    inside = [[tick for tick in ticks if abs(math.log(tick)) <= reach] for ticks in _FACTORS]
    ticks = next((ticks for ticks in inside if len(ticks) >= 3), max(inside, key=len))
    close = math.log(ticks[-1]) < 0.7 * reach and len(f"{ticks[0]:g}") > 3  # labels would touch that of 1, where a line stands anyway
    log_ticks(axes, sorted({ticks[0], ticks[-1]} | (set() if close else {1.0})), lambda value: f"{value:g}")
    axes.set_xlim(math.exp(-reach), math.exp(reach))
