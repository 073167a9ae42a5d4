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
    headed,
    light_grid,
    panels_of,
    styled,
)
from olora_bench.identity import lr_text
from olora_bench.words import keys

FEW_READINGS = 12
"""A curve with no more readings than this shows where it was read."""
BANDS = 2
"""The bands of more arms than this would hide each other."""


@styled
def loss_curves(bands: pd.DataFrame, diverged: pd.DataFrame, styles: Mapping[str, ArmStyle], *, title: str) -> Figure:
    """One panel a cell, one line an arm: the mean over seeds, and of two arms the range of the seeds as a band. A cell alone has a second
    panel: where its arms end, mean and range over seeds.

    Args:
        bands: as `analysis.bands.loss_bands` returns it, of one role.
        diverged: as `analysis.bands.diverged_curves` returns it: drawn each by itself, thin, with a cross where it ends.
        styles: of every arm in them.
    """
    panels = groups_of(bands, PANEL)
    arms = list(dict.fromkeys(bands["arm"]))
    alone = len(panels) == 1
    shown = {name: styles[name] for name in arms}
    rows = -(-len(panels) // 2)
    said = [keys.LOSS_CURVES, keys.LOSS_BANDS if len(arms) <= BANDS else "", keys.LOSS_CURVES_END if alone else ""]
    marks = " ".join(filter(None, [*said, keys.LOSS_CURVES_DIVERGED if len(diverged) else ""]))
    below = 1.75 if alone else 1.22 * rows + 0.12
    figure = headed(below, title, shown, key=marks)
    figure.supylabel("Held-out loss (nats)", y=0.5 * below / figure.get_figheight(), fontsize=TEXT_PT)
    places = panels_of(figure, 2 if alone else len(panels), 2, width_ratios=(2.2, 1) if alone else None)
    for (panel, band), (axes, _, lowest) in zip(panels, places, strict=not alone):
        died = diverged[diverged["cell"] == panel["cell"]]
        _panel(axes, band, died if panel["role"] != "shared" else died[died["panel_lr"] == panel["panel_lr"]], shown)
        axes.set_title(_panel_title(panel, several=bands["panel_lr"].nunique() > 1, alone=alone))
        if lowest:
            axes.set_xlabel("Step")
    if alone:
        _ends(figure.axes[1], bands, shown)
    return figure


def _panel_title(key: Row, *, several: bool, alone: bool) -> str:
    text = where(key) + (f", lr {lr_text(key['panel_lr'])}" if several else "")
    return text if alone or len(text) <= 26 else text.replace(", rank ", " r")


def _panel(axes: Axes, bands: pd.DataFrame, diverged: pd.DataFrame, styles: Mapping[str, ArmStyle]) -> None:
    for number, (arm, band) in enumerate(bands.groupby("arm", sort=False)):  # the first is broader, so that one on top of it hides it not
        style = styles[str(arm)]
        marks = style.marker if len(band) <= FEW_READINGS else ""
        if len(styles) <= BANDS:
            axes.fill_between(band["step"], band["low"], band["high"], color=style.colour, alpha=0.18, linewidth=0, gid=f"band:{arm}")
            for edge in ("low", "high"):
                axes.plot(band["step"], band[edge], color=style.colour, linewidth=0.4, alpha=0.5)
        axes.plot(band["step"], band["mean"], color=style.colour, linestyle=style.dashes, marker=marks, markersize=style.size(2.6),
                  gid=f"mean:{arm}", linewidth=1.6 if number == 0 else 1.1)  # fmt: skip
    for key, run in groups_of(diverged, ["arm", "seed"]):
        style = styles[key["arm"]]
        axes.plot(run["step"], run["loss"], color=style.colour, linewidth=0.6, alpha=0.8)
        axes.plot(
            [run["step"].iloc[-1]], [run["loss"].iloc[-1]], marker="x", markersize=4.5, markeredgewidth=1.2, color=style.colour,
            gid=f"diverged:{key['arm']}:{key['seed']}", clip_on=False, zorder=5,
        )  # fmt: skip
    if len(bands):
        # A run on its way to infinity must not set the scale.
        least, most = ("low", "high") if len(styles) <= BANDS else ("mean", "mean")
        low, high = float(bands[least].min()), float(bands[most].max())
        axes.set_ylim(low - 0.06 * (high - low or 1.0), high + 0.06 * (high - low or 1.0))
        axes.set_xlim(left=float(bands["step"].min()), right=float(bands["step"].max()))
    few_ticks(axes, "x", 4)
    few_ticks(axes, "y", 5)
    light_grid(axes, "y")


def _ends(axes: Axes, bands: pd.DataFrame, styles: Mapping[str, ArmStyle]) -> None:
    """Mean and range over seeds of each arm's last reading, side by side."""
    for place, (arm, band) in enumerate(bands.groupby("arm", sort=False)):
        style, last = styles[str(arm)], band.iloc[-1]
        axes.plot([place] * 2, [last["low"], last["high"]], color=style.colour, linewidth=1.1, marker="_", markersize=4)
        axes.plot(
            [place],
            [last["mean"]],
            color=style.colour,
            marker=style.marker,
            markersize=style.size(4),
            linestyle="none",
            gid=f"end:{arm}",
            zorder=3,
        )
    axes.set_xlim(-0.6, bands["arm"].nunique() - 0.4)
    axes.set_xticks([])
    axes.margins(y=0.12)
    steps = sorted({int(band["step"].iloc[-1]) for _, band in bands.groupby("arm")})
    axes.set_xlabel(f"At step {steps[0]}" if len(steps) == 1 else "At the end")
    few_ticks(axes, "y", 4)
    light_grid(axes, "y")
