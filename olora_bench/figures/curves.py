"""Held-out loss along training."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from olora_bench.analysis import where
from olora_bench.analysis.bands import PANEL
from olora_bench.analysis.frames import Row, groups_of
from olora_bench.figures._style import (
    TEXT_PT,
    ArmStyle,
    few_ticks,
    figure_of,
    header,
    header_in,
    light_grid,
    panels_of,
    spread,
    styled,
)
from olora_bench.words import keys
from olora_bench.words.numbers import lr_text

FEW_READINGS = 12
"""A curve with no more readings than this shows where it was read."""
NEAR, END = 0.25, 3
"""Arms whose ends span less of the axis than this are shown again, enlarged, at so many last readings."""


@styled
def loss_curves(bands: pd.DataFrame, diverged: pd.DataFrame, styles: Mapping[str, ArmStyle], *, title: str) -> Figure:
    """One panel a cell, one line an arm: the mean over seeds, and the range of the seeds as a band.

    Args:
        bands: as `analysis.bands.loss_bands` returns it, of one role.
        diverged: as `analysis.bands.diverged_curves` returns it: drawn each by itself, thin, with a cross where it ends.
        styles: of every arm in them.
    """
    panels = groups_of(bands, PANEL)
    alone = len(panels) == 1
    arms = list(dict.fromkeys(bands["arm"]))
    shown = {name: styles[name] for name in arms}
    columns = 1 if alone else 2
    rows = -(-len(panels) // columns)
    crowded = alone and _crowded(bands)
    marks = " ".join([keys.LOSS_CURVES, *[keys.LOSS_CURVES_DIVERGED] * bool(len(diverged)), *[keys.LOSS_CURVES_END] * crowded])
    top = header_in(title, [] if alone else arms, key=marks)
    below = 1.75 if alone else 1.22 * rows + 0.12
    figure = figure_of(top + below)
    header(figure, title, None if alone else shown, key=marks)
    figure.supylabel("Held-out loss (nats)", y=0.5 * below / (top + below), fontsize=TEXT_PT)
    for (panel, band), (axes, _, lowest) in zip(panels, panels_of(figure, len(panels), columns), strict=True):
        died = diverged[diverged["cell"] == panel["cell"]]
        _panel(axes, band, died if panel["role"] == "tuned" else died[died["panel_lr"] == panel["panel_lr"]], shown)
        axes.set_title(_panel_title(panel, several=bands["panel_lr"].nunique() > 1, alone=alone))
        if alone:
            _name_lines(axes, band, shown)
        if crowded:
            _end(axes, band, shown)
        if lowest:
            axes.set_xlabel("Step")
    return figure


def _panel_title(key: Row, *, several: bool, alone: bool) -> str:
    text = where(key) + (f", lr {lr_text(key['panel_lr'])}" if several else "")
    return text if alone or len(text) <= 26 else text.replace(", rank ", " r")


def _panel(axes: Axes, bands: pd.DataFrame, diverged: pd.DataFrame, styles: Mapping[str, ArmStyle]) -> None:
    for number, (arm, band) in enumerate(bands.groupby("arm", sort=False)):  # the first is broader, so that one on top of it hides it not
        style = styles[str(arm)]
        marks = style.marker if len(band) <= FEW_READINGS else ""
        axes.fill_between(band["step"], band["low"], band["high"], color=style.colour, alpha=0.18, linewidth=0, gid=f"band:{arm}")
        for edge in ("low", "high"):
            axes.plot(band["step"], band[edge], color=style.colour, linewidth=0.4, alpha=0.5)
        axes.plot(band["step"], band["mean"], color=style.colour, linestyle=style.dashes, marker=marks, markersize=2.6, gid=f"mean:{arm}",
                  linewidth=1.6 if number == 0 else 1.1)  # fmt: skip
    for key, run in groups_of(diverged, ["arm", "seed"]):
        style = styles[key["arm"]]
        axes.plot(run["step"], run["loss"], color=style.colour, linewidth=0.6, alpha=0.8)
        axes.plot(
            [run["step"].iloc[-1]], [run["loss"].iloc[-1]], marker="x", markersize=4.5, markeredgewidth=1.2, color=style.colour,
            gid=f"diverged:{key['arm']}:{key['seed']}", clip_on=False, zorder=5,
        )  # fmt: skip
    if len(bands):
        # A run on its way to infinity must not set the scale.
        low, high = float(bands["low"].min()), float(bands["high"].max())
        axes.set_ylim(low - 0.06 * (high - low or 1.0), high + 0.06 * (high - low or 1.0))
        axes.set_xlim(left=float(bands["step"].min()), right=float(bands["step"].max()))
    few_ticks(axes, "x", 4)
    few_ticks(axes, "y", 5)
    light_grid(axes, "y")


def _crowded(bands: pd.DataFrame) -> bool:
    """Whether arms end so near each other that whole curves of several readings cannot tell them apart."""
    ends = bands.groupby("arm", sort=False)["mean"].last()
    whole = float(bands["high"].max() - bands["low"].min())
    return len(ends) > 1 and bands["step"].nunique() >= 2 * END and float(ends.max() - ends.min()) < NEAR * whole


def _end(axes: Axes, bands: pd.DataFrame, styles: Mapping[str, ArmStyle]) -> None:
    """The last readings again, enlarged, where falling curves leave room."""
    steps = sorted(set(bands["step"]))
    last = bands[bands["step"] >= steps[-END]]
    inset = axes.inset_axes((0.42, 0.44, 0.58, 0.56))
    _panel(inset, last, bands.head(0), styles)
    low, high = float(last["mean"].min()), float(last["mean"].max())
    inset.set_ylim(low - 0.1 * (high - low or 1.0), high + 0.1 * (high - low or 1.0))
    few_ticks(inset, "x", 2)
    few_ticks(inset, "y", 3)


def _name_lines(axes: Axes, bands: pd.DataFrame, styles: Mapping[str, ArmStyle]) -> None:
    ends = {str(arm): float(band["mean"].iloc[-1]) for arm, band in bands.groupby("arm", sort=False)}
    low, high = axes.get_ylim()
    heights = spread(list(ends.values()), 0.085 * (high - low))
    up = max(0.0, low + 0.05 * (high - low) - min(heights))  # not beside the numbers of the other axis
    for (arm, _), height in zip(ends.items(), (height + up for height in heights), strict=True):
        axes.annotate(
            arm, (1, height), xycoords=axes.get_yaxis_transform(), xytext=(5, 0), textcoords="offset points", va="center",
            color=styles[arm].colour, annotation_clip=False,
        )  # fmt: skip
