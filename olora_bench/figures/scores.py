"""Scores of an arm against its reference: the count of cells won, the differences cell by cell, the declared comparisons side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from olora_bench.analysis import rows_of, where
from olora_bench.figures._rows import Group, Row, draw_rows, height_of, limits
from olora_bench.figures._style import (
    BAND,
    INK,
    QUIET,
    ArmStyle,
    few_ticks,
    figure_of,
    header,
    header_in,
    light_grid,
    styled,
)
from olora_bench.words.numbers import lr_text


@styled
def win_counts(counts: pd.DataFrame, styles: Mapping[str, ArmStyle], *, title: str) -> Figure:
    """Cells won by the arm, a row a comparison, over the band that the same runs would give were the arms the same.

    Args:
        counts: as `analysis.verdicts.win_counts` returns it.
        styles: of every arm in it.
    """
    alike = counts[["role", "lr_arm"]].drop_duplicates().shape[0] == 1
    rows = [
        Row(
            r["contrast"] if alike else comparison(r), r["wins"], colour=styles[r["arm"]].colour, marker=styles[r["arm"]].marker, size=5,
            note=f"{r['wins']} of {r['cells']}" + (f" ({r['ties']} tied)" if r["ties"] else ""),
        )
        for r in rows_of(counts)
    ]  # fmt: skip
    groups = [Group("", rows)]
    figure = figure_of(header_in(title) + height_of(groups) + 0.06 * len(rows))
    header(figure, title)
    axes = figure.subplots()
    for y, r in enumerate(rows_of(counts)):
        axes.barh(y, r["null_high"] - r["null_low"], left=r["null_low"], height=0.62, color=BAND, zorder=1, gid=f"null:{r['contrast']}")
        if r["null_high"] == r["null_low"]:
            axes.plot([r["null_low"]] * 2, [y - 0.31, y + 0.31], color="#BDBDBD", linewidth=2.0, zorder=1, solid_capstyle="butt")
    draw_rows(axes, groups)
    most = int(counts["cells"].max())
    axes.set_xlim(-0.06 * most, 1.08 * most)
    few_ticks(axes, "x", 5, whole=True)
    light_grid(axes, "x")
    axes.set_xlabel("Cells won")
    return figure


def comparison(row: Mapping[str, Any]) -> str:
    """A comparison in words, with its shared learning rate or its protocol.

    >>> comparison({"contrast": "olora vs lora", "role": "shared", "lr_arm": 1e-3})
    'olora vs lora, lr 1e-3'
    """
    return f"{row['contrast']}, " + ("tuned" if pd.isna(row["lr_arm"]) else f"lr {lr_text(row['lr_arm'])}")


@styled
def forest(cells: pd.DataFrame, overall: Mapping[str, Any], styles: Mapping[str, ArmStyle], *, title: str) -> Figure:
    """The difference of one comparison in every cell, with its interval, below the mean over benchmarks.

    Args:
        cells: rows of one comparison of `analysis.cells.compare_cells`, primary metrics.
        overall: its row of `analysis.verdicts.confirmatory`.
        styles: of both arms. A row that has a verdict is in the winner's colour and filled; the others are grey and open.
    """
    arm, reference = overall["arm"], overall["reference"]
    groups = [Group("", [_overall(overall)])]
    for _, group in cells.groupby(["cell", "model", "rank", "setting"], sort=False):
        first = rows_of(group)[0]
        groups.append(Group(where(first).replace(", rank ", " r"), [_cell(r, styles[arm], styles[reference]) for r in rows_of(group)]))
    figure = figure_of(header_in(title) + height_of(groups))
    header(figure, title)
    axes = figure.subplots()
    axes.axvline(0, color=QUIET, linewidth=0.7, zorder=1)
    draw_rows(axes, groups)
    axes.set_xlim(*limits(groups, 0.0, least=1.0))
    few_ticks(axes, "x", 5)
    light_grid(axes, "x")
    axes.set_xlabel("score, pp (arm higher →)")
    return figure


def _overall(r: Mapping[str, Any]) -> Row:
    return Row(
        "mean over benchmarks", r["difference"], r["low"], r["high"], INK, "D", r["verdict"] in ("win", "loss"), _signed(r["difference"])
    )


def _cell(r: Mapping[str, Any], arm: ArmStyle, reference: ArmStyle) -> Row:
    style = {"win": arm, "loss": reference}.get(r["verdict"])
    colour, marker = (style.colour, style.marker) if style else ("#8C8C8C", "o")
    crosses = f" ×{r['diverged']}" if r["diverged"] else ""
    note = "no score" if pd.isna(r["difference"]) else f"{_signed(r['difference'])}"
    return Row(r["benchmark"], r["difference"], r["low"], r["high"], colour, marker, style is not None, note + crosses)


def _signed(value: float) -> str:
    return "" if math.isnan(value) else f"{value:+.1f}".replace("+0.0", "0.0").replace("-0.0", "0.0").replace("-", "−")


@styled
def effects(losses: pd.DataFrame, verdicts: pd.DataFrame, styles: Mapping[str, ArmStyle], *, title: str) -> Figure:
    """Every declared comparison in one figure: the difference in held-out loss, cell by cell, and in the mean score.

    Args:
        losses: rows of `analysis.losses.compare_measures` of the measure `report_loss`: one a (comparison, cell).
        verdicts: as `analysis.verdicts.confirmatory` returns it.
        styles: of every arm. A point is filled where its interval excludes 0.
    """
    groups: tuple[list[Group], list[Group]] = ([], [])
    for r in rows_of(verdicts):
        style = styles[r["arm"]]
        mine = losses[(losses["contrast"] == r["contrast"]) & (losses["role"] == r["role"])]
        mine = mine[mine["lr_arm"].isna() if pd.isna(r["lr_arm"]) else mine["lr_arm"] == r["lr_arm"]]
        cells, several = rows_of(mine), len(mine) > 1
        left = [_effect(where(cell).replace(", rank ", " r") if several else r["contrast"], cell, style) for cell in cells]
        left = left or [Row(r["contrast"], math.nan)]
        score, blank = _effect("", r, style), [Row("", math.nan)] * len(left)
        groups[0].append(Group(r["contrast"] if several else "", left))
        groups[1].append(Group(r["contrast"], blank, score) if several else Group("", [score]))
    scored = verdicts["difference"].notna().any()
    figure = figure_of(header_in(title) + height_of(groups[0], below_in=0.5))
    header(figure, title)
    panels = figure.subplots(1, 2 if scored else 1, squeeze=False)[0]
    for number, (axes, label) in enumerate(zip(panels, ("← held-out loss (nats)", "score (pp) →"), strict=False)):
        axes.axvline(0, color=QUIET, linewidth=0.7, zorder=1)
        draw_rows(axes, groups[number], labels=number == 0, notes=False)
        axes.set_xlim(*limits(groups[number], 0.0, least=(0.01, 0.5)[number]))
        few_ticks(axes, "x", 3)
        light_grid(axes, "x")
        axes.set_xlabel(label)
    return figure


def _effect(label: str, r: Mapping[str, Any], style: ArmStyle) -> Row:
    sure = math.isfinite(r["low"]) and math.isfinite(r["high"]) and (r["low"] > 0 or r["high"] < 0)
    return Row(label, r["difference"], r["low"], r["high"], style.colour, style.marker, sure)
