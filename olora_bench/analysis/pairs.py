"""Which run is compared with which: pairs of an arm's and a reference's run of one cell, one protocol and one seed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from olora_bench.analysis.columns import CELL_COLUMNS, COMPARISON_COLUMNS
from olora_bench.analysis.comparison import Comparison
from olora_bench.analysis.described import Column, Table
from olora_bench.analysis.frames import JUDGED_ROLE, StudyFrames
from olora_bench.analysis.provenance import mixed_provenance
from olora_bench.analysis.reasons import RunsDiffer
from olora_bench.analysis.runs import AS_BLOCK, at_chosen_rate, with_role
from olora_bench.store.manifest import Contrast

COMPARISON = [column.name for column in COMPARISON_COLUMNS]
CELL = [column.name for column in CELL_COLUMNS]
SIDES = ("arm", "reference")


def _of_side(side: str) -> tuple[Column, ...]:
    return (
        Column(f"{side}_id", f"the train_id of the run of the {side}"),
        Column(f"{side}_eval", "the id of its scoring"),
        Column(f"{side}_state", "the run's state; `missing` where the manifest has no such run"),
        Column(f"{side}_eval_state", "the state of its scores; `missing` as well"),
    )


PAIRS = Table(
    "pairs",
    "a pair of runs that a contrast compares, incomplete ones included",
    (
        *COMPARISON_COLUMNS,
        *CELL_COLUMNS,
        Column("seed", "the seed that both runs have"),
        Column("cell_lr_reference", "learning rate of the reference's run; of a kept finalist the one that its search chose"),
        Column("cell_lr_arm", "the same of the arm's run"),
        *_of_side("arm"),
        *_of_side("reference"),
        Column("base_eval_id", "the id of the scoring of the untouched base; empty where nothing is scored"),
        Column("pair", "complete, diverged (a run of the two) or incomplete"),
    ),
)


def pairs(frames: StudyFrames) -> pd.DataFrame:
    """The pairs of runs of every declared contrast, under each protocol that has runs: the table `PAIRS`."""
    judged, runs = JUDGED_ROLE[frames.protocol], at_chosen_rate(frames.runs)
    if judged == "given":
        of_role = {"given": with_role(runs, "shared")}
    else:
        tuned = pd.concat([with_role(runs, "tuned"), unkept(frames.runs)], ignore_index=True)
        of_role = {"tuned": tuned, "shared": with_role(runs, "shared")}
    parts = [
        part
        for contrast in frames.contrasts
        for role, own in of_role.items()
        if len(part := _of_contrast(frames, own, contrast, role, confirmatory=contrast.kind == "primary" and role == judged))
    ]
    return PAIRS.ordered(pd.concat(parts, ignore_index=True)) if parts else PAIRS.frame([])


def _of_contrast(frames: StudyFrames, runs: pd.DataFrame, contrast: Contrast, role: str, *, confirmatory: bool) -> pd.DataFrame:
    arm, reference, own_rates = contrast.arm, contrast.reference, role != "shared"
    paired = _sides(runs, arm, reference, ["seed"] if own_rates else ["lr", "seed"])
    if paired.empty:
        return paired
    paired = paired[paired["cell"].isin(cells_of_both(frames.runs, arm, reference))]
    if frames.looks:  # a later look's seeds that one arm has for another contrast's sake
        both = paired["arm_id"].notna() & paired["reference_id"].notna()
        paired = paired[both | (paired["seed"] < frames.first_seed + frames.looks[0])]
    lr = np.nan if own_rates else paired["lr"]
    paired = paired.assign(**Comparison(arm, reference, contrast.kind, role, confirmatory, None).columns)
    return paired.assign(lr_reference=lr, lr_arm=lr).drop(columns=[] if own_rates else "lr")


def unkept(runs: pd.DataFrame) -> pd.DataFrame:
    """A row for each block of an arm that has kept none of its finalists yet: a run that is planned, missing and has no name."""
    finalists = with_role(runs, "finalist")
    kept = set(map(tuple, with_role(finalists, "tuned")[AS_BLOCK].to_numpy()))
    blocks = finalists.drop_duplicates(AS_BLOCK)
    waits = blocks[np.array([tuple(block) not in kept for block in blocks[AS_BLOCK].to_numpy()], dtype=bool)]
    scored = waits["base_eval_id"].notna().map({True: "missing", False: "none"})
    return waits.assign(train_id=None, eval_id=None, lr=np.nan, roles="tuned", state="missing", eval_state=scored)


def cells_of_both(runs: pd.DataFrame, arm: str, reference: str) -> set[str]:
    """The cells in which both arms have a run of any kind: where a search that chose nothing yet is an open comparison."""
    return set(runs[runs["arm"] == arm]["cell"]) & set(runs[runs["arm"] == reference]["cell"])


def _sides(runs: pd.DataFrame, arm: str, reference: str, within: list[str]) -> pd.DataFrame:
    shown = [*CELL, "base_eval_id", "lr", "seed", "train_id", "eval_id", "state", "eval_state"]
    sides = []
    for name, side in ((arm, "arm"), (reference, "reference")):
        one = runs[runs["arm"] == name][shown].drop_duplicates([*CELL, *within])
        renamed = {"train_id": f"{side}_id", "eval_id": f"{side}_eval", "state": f"{side}_state", "eval_state": f"{side}_eval_state"}
        one = one.assign(**{f"cell_lr_{side}": one["lr"]}).rename(columns=renamed)
        sides.append(one if "lr" in within else one.drop(columns="lr"))
    if sides[0].empty and sides[1].empty:
        return pd.DataFrame()
    order = runs[CELL].drop_duplicates().reset_index(drop=True)
    order["_order"] = order.index
    paired = sides[0].merge(sides[1], on=[*CELL, "base_eval_id", *within], how="outer").merge(order, on=CELL)
    if "lr" in within:  # an lr at which one arm alone runs is no comparison, nor one that is not known
        paired = paired[paired.groupby(["cell", "lr"])[["arm_id", "reference_id"]].transform("count").gt(0).all(axis=1)]
    paired = paired.sort_values(["_order", *within], kind="stable").drop(columns="_order")
    states = [f"{side}_{state}" for side in SIDES for state in ("state", "eval_state")]
    paired[states] = paired[states].fillna("missing")
    return paired.assign(pair=_completeness(paired))


def _completeness(paired: pd.DataFrame) -> pd.Series[str]:
    done = (paired["arm_state"] == "done") & (paired["reference_state"] == "done")
    diverged = (paired["arm_state"] == "diverged") | (paired["reference_state"] == "diverged")
    return pd.Series("incomplete", index=paired.index).mask(done, "complete").mask(diverged, "diverged")


def run_ids(group: pd.DataFrame) -> str:
    """The train_ids behind a group of pairs, sorted, separated by spaces."""
    return " ".join(sorted({*group["arm_id"].dropna(), *group["reference_id"].dropna()}))


def runs_differ(frames: StudyFrames, group: pd.DataFrame) -> tuple[RunsDiffer, ...]:
    """What the runs of a group of pairs do not share although it can move numbers."""
    return mixed_provenance(frames.runs[frames.runs["train_id"].isin({*group["arm_id"].dropna(), *group["reference_id"].dropna()})])
