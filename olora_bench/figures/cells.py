"""Scores of an arm against its reference: the count of cells won, the differences cell by cell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from olora_bench.analysis import rows_of, where
from olora_bench.analysis.comparison import Comparison
from olora_bench.analysis.outcome import Outcome, Verdict
from olora_bench.figures._rows import Group, Row, draw_rows, height_of, limits, shade
from olora_bench.figures._style import (
    BAND,
    INK,
    QUIET,
    TEXT_PT,
    ArmStyle,
    few_ticks,
    headed,
    light_grid,
    styled,
)
from olora_bench.identity import lr_text
from olora_bench.words import keys
from olora_bench.words.comparisons import by_looks, ends
from olora_bench.words.numbers import pp


@styled
def win_counts(counts: pd.DataFrame, styles: Mapping[str, ArmStyle], *, title: str) -> Figure:
    """Cells won by the arm, a row a comparison, over the band that the same runs would give were the arms the same;
    the band goes half a count beyond its ends, which are inside it.

    Args:
        counts: as `analysis.win_counts.win_counts` returns it.
        styles: of every arm in it.
    """
    alike = counts[["role", "lr_arm"]].drop_duplicates().shape[0] == 1
    rows = [
        Row(
            r["contrast"] if alike else comparison(Comparison.of_row(r)), r["wins"], colour=styles[r["arm"]].colour,
            marker=styles[r["arm"]].marker, size=5,
            note=f"{r['wins']} of {r['cells']}" + (f" ({r['ties']} tied)" if r["ties"] else ""),
        )
        for r in rows_of(counts)
    ]  # fmt: skip
    groups = [Group("", rows)]
    figure = headed(height_of(groups) + 0.06 * len(rows), title, key=keys.WIN_COUNTS)
    axes = figure.subplots()
    for y, r in enumerate(rows_of(counts)):
        axes.barh(
            y, r["null_high"] - r["null_low"] + 1, left=r["null_low"] - 0.5, height=0.62, color=BAND, zorder=1, gid=f"null:{r['contrast']}"
        )
    draw_rows(axes, groups)
    most = int(counts["cells"].max())
    axes.set_xlim(-0.6 - 0.02 * most, 0.6 + 1.04 * most)
    few_ticks(axes, "x", 5, whole=True)
    light_grid(axes, "x")
    axes.set_xlabel(f"Cells won, of {most}")
    return figure


def comparison(compared: Comparison) -> str:
    """A comparison in words, with its shared learning rate or its protocol.

    >>> comparison(Comparison("olora", "lora", "primary", "shared", True, 1e-3))
    'olora vs lora, lr 1e-3'
    """
    return f"{compared.contrast}, " + (compared.role if compared.lr is None else f"lr {lr_text(compared.lr)}")


@styled
def forest(cells: pd.DataFrame, outcome: Outcome, styles: Mapping[str, ArmStyle], *, title: str) -> Figure:
    """The difference of one comparison in every cell, with its interval, below the mean over benchmarks.

    Args:
        cells: rows of one comparison of `analysis.cells.compare_cells`, primary metrics.
        outcome: what the study says on it.
        styles: of both arms. A row that has a verdict is in the winner's colour and filled; the others are grey and open.
    """
    arm, reference, mean = outcome.comparison.arm, outcome.comparison.reference, outcome.score
    overall = Row("mean over benchmarks", mean.difference, mean.low, mean.high, INK, "D", outcome.verdict.decided, pp(mean.difference))
    groups = [Group("", [overall])]
    for _, group in cells.groupby("cell", sort=False):
        first = rows_of(group)[0]
        groups.append(Group(where(first).replace(", rank ", " r"), [_cell(r, styles[arm], styles[reference]) for r in rows_of(group)]))
    rows = [row for group in groups[1:] for row in group.rows if not math.isnan(row.value)]
    over = int(cells["holm_over"].max())
    noun = "benchmark" if len(groups) == 2 and over <= len(cells) else "cell"
    interval, margin = any(math.isfinite(row.low) for row in [overall, *rows]), _margin(outcome)
    key = keys.forest(over, noun, filled=any(r.filled for r in rows), open_=any(not r.filled for r in rows), interval=interval,
                      margin=math.isfinite(margin), looks=by_looks([outcome]))  # fmt: skip
    figure = headed(height_of(groups, below_in=0.54), title, key=key)
    axes = figure.subplots()
    axes.axvline(0, color=QUIET, linewidth=0.7, zorder=1)
    draw_rows(axes, groups)
    shade(axes, axes.get_yticks()[0], margin)
    axes.set_xlim(*limits(groups, 0.0, least=1.0 if math.isnan(margin) else max(1.0, 1.1 * margin)))
    few_ticks(axes, "x", 5)
    light_grid(axes, "x")
    figure.supxlabel(f"{' | '.join(ends(reference, arm))}\ndifference in score, pp (higher is better)", fontsize=TEXT_PT)
    return figure


def _margin(outcome: Outcome) -> float:
    """Of the diamond, where the score carries a verdict."""
    return outcome.margin if outcome.comparison.confirmatory and not outcome.by_loss else math.nan


def _cell(r: Mapping[str, Any], arm: ArmStyle, reference: ArmStyle) -> Row:
    style = {1: arm, -1: reference}.get(Verdict(r["verdict"]).side)
    colour, marker = (style.colour, style.marker) if style else ("#8C8C8C", "o")
    crosses = f" ×{r['diverged']}" if r["diverged"] else ""
    note = "no score" if pd.isna(r["difference"]) else pp(r["difference"])
    return Row(r["benchmark"], r["difference"], r["low"], r["high"], colour, marker, style is not None, note + crosses)
