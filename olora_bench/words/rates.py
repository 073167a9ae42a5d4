"""Learning rates and their ratios, in words."""

from __future__ import annotations

import pandas as pd

from olora_bench.analysis.frames import Row, rows_of
from olora_bench.identity import lr_text, model_rank
from olora_bench.words.numbers import NOTHING, listed, number, rate
from olora_bench.words.reasons import EDGES


def point(row: Row | None) -> str:
    """What a learning rate came to, the best in brackets; a dash where it was not tried. `row` is a row of the rates frame."""
    if row is None:
        return NOTHING
    if row["diverged"]:
        return f"{row['diverged']} of {row['n_runs']} diverged"
    text = number(row["tune"], digits=3)
    text = f"[{text}]" if row["best"] else text
    return text if pd.isna(row["score"]) else f"{text}, {number(row['score'])}"


def edge_sentence(row: Row) -> str:
    """That an arm's best is the last rate tried on a side. `row` is its row of the rates frame."""
    return f"Edge: {row['arm']}'s best is the {EDGES[row['edge']]} tried ({rate(row['lr'])}): no tuned verdict."


def arm_in_cell(row: Row) -> str:
    """An arm and its cell, for the first column of a table.

    >>> arm_in_cell({"model": "syn_a", "rank": 8, "setting": "", "arm": "lora"})
    'syn_a r8 lora'
    """
    return f"{model_rank(row)}{' ' + row['setting'] if row['setting'] else ''} {row['arm']}"


def sensitivity_table(sensitivity: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Header and rows of what each search cost and how flat the loss is around its best."""
    rows = [
        [arm_in_cell(row), str(row["tuning_runs"]), rate(row["best_lr"]), number(row["best_loss"], digits=3),
         number(row["off_low"], digits=3, sign=True), number(row["off_high"], digits=3, sign=True),
         NOTHING if pd.isna(row["good_width"]) else f"{row['good_width']:.1f}x{' or more' if row['good_open'] else ''}"]
        for row in rows_of(sensitivity)
    ]  # fmt: skip
    return ["arm", "runs", "best lr", "loss there", "at lr/3", "at 3 lr", "good region"], rows


def rate_caption(rates: pd.DataFrame, shared_lr: float | None, *, far: bool) -> list[str]:
    """What a figure of losses and scores by learning rate shows, in sentences; `far`: a loss is marked far above its panel."""
    scores = " and mean accuracy over benchmarks" if rates["score"].notna().any() else ""
    drawn = rates[rates["n_tune"] > 0]
    tried = listed(drawn.groupby(["cell", "arm"])["lr"].nunique())
    return [
        f"Tuning criterion (as a loss){scores} at each learning rate, means over runs{_of(rates)}. Ring: the arm's best rate by that loss.",
        "Arrow: that optimum is the last rate tried on its side, so no tuned verdict." if rates["edge"].notna().any() else "",
        "Cross, at the top edge: a run diverged there; of several arms, one inside the other." if rates["diverged"].gt(0).any() else "",
        "Triangle, at the top edge: a loss far above the panel." if far else "",
        f"Dotted: the shared rate {lr_text(shared_lr)}." if shared_lr is not None else "",
        f"Rates tried by an arm: {tried}. Runs that a loss is of: {listed(drawn['n_tune'])}.",
    ]


def _of(rates: pd.DataFrame) -> str:
    return ", the loss over the search's alone" if rates["searched"].any() else ""


def ratio_map_caption(family: str, points: pd.DataFrame) -> list[str]:
    """What a map of ratios and learning rates shows, in sentences."""
    return [
        f"{family} with B's learning rate a multiple of A's; ratio 1 is {family} itself. Number and tint: the tuning criterion as a loss, "
        f"mean over runs{_of(points)} (far ones share the darkest tint); framed: each ratio's best rate; cross: diverged; dash: run, with "
        "no such loss; blank: not tried.",
        f"Runs a tile: {listed(points['n_tune'])}.",
    ]


def ratio_profile_caption(family: str, points: pd.DataFrame) -> list[str]:
    """What a figure of measures by ratio shows, in sentences."""
    seeds = (points["n_runs"] - points["diverged"]).groupby(points["arm"]).sum()
    return [
        f"{family} with B's learning rate a multiple of A's: below 1 (left of the line) is OLoRA+'s refinement, above 1 exploration. "
        "A ratio also changes the mean step size. Travels: Frobenius norm of a factor's change, mean over layers.",
        f"Means over {listed(seeds)} seeds.",
    ]
