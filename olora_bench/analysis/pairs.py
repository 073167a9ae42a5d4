"""Which run is compared with which: pairs of an arm's and a reference's run of one cell, one protocol and one seed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from olora_bench.analysis.frames import StudyFrames

COMPARISON = ["contrast", "kind", "role", "arm", "reference", "confirmatory", "lr_reference", "lr_arm"]
"""What a comparison is; in a `shared` one both learning rates are the same and each shared lr is a comparison of its own. In a `tuned`
one they differ from cell to cell, and here are null."""

CELL = ["cell", "family", "model", "rank", "setting", "longest"]
"""`longest`: no cell of its family trains longer. Shorter schedules are there for `schedules.schedules` and enter no verdict."""


def pairs(frames: StudyFrames) -> pd.DataFrame:
    """One row a pair of runs that a contrast compares, incomplete ones included.

    Returns:
        COMPARISON columns (`contrast` is "arm vs reference"; `confirmatory` where kind is primary and role is what the study's protocol
        judges by); CELL columns; seed; cell_lr_reference, cell_lr_arm (the learning rates of the pair); for each side
        `<side>_id` (train_id), `<side>_eval`, `<side>_state` ("missing" where the manifest has no such run) and `<side>_eval_state`;
        base_eval_id; `pair`: complete | diverged | incomplete.
    """
    parts = []
    runs = frames.runs
    judged = "tuned" if frames.protocol == "tuned" else "shared"
    for contrast in frames.contrasts:
        for role in ("tuned", "shared"):
            mine = runs[runs["roles"].str.split().map(lambda roles, role=role: role in roles)]
            found = _sides(mine, contrast["arm"], contrast["reference"], ["seed"] if role == "tuned" else ["lr", "seed"])
            found = found if found.empty else found[found["cell"].isin(cells_of_both(runs, contrast["arm"], contrast["reference"]))]
            if found.empty:
                continue
            found.insert(0, "contrast", f"{contrast['arm']} vs {contrast['reference']}")
            found.insert(1, "kind", contrast["kind"])
            found.insert(2, "role", role)
            found.insert(3, "arm", contrast["arm"])
            found.insert(4, "reference", contrast["reference"])
            found.insert(5, "confirmatory", contrast["kind"] == "primary" and role == judged)
            if role == "tuned":
                found[["lr_reference", "lr_arm"]] = np.nan
            parts.append(found)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*COMPARISON, *CELL, "seed", "pair"])


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
    keys = [*CELL, "base_eval_id", *within]
    order = runs[CELL].drop_duplicates().reset_index(drop=True)
    order["_order"] = order.index
    found = sides[0].merge(sides[1], on=keys, how="outer").merge(order, on=CELL)
    if "lr" in within:  # an lr at which one arm alone runs is no comparison
        found = found[found.groupby("cell")[["arm_id", "reference_id"]].transform("count").gt(0).all(axis=1)]
    found = found.sort_values(["_order", *within], kind="stable").drop(columns="_order")
    if "lr" in within:
        found["lr_reference"] = found["lr_arm"] = found["lr"]
        found = found.drop(columns="lr")
    states = [f"{side}{what}" for side in ("arm", "reference") for what in ("_state", "_eval_state")]
    found[states] = found[states].fillna("missing")
    done = (found["arm_state"] == "done") & (found["reference_state"] == "done")
    diverged = (found["arm_state"] == "diverged") | (found["reference_state"] == "diverged")
    found["pair"] = np.where(diverged, "diverged", np.where(done, "complete", "incomplete"))
    return found


def run_ids(group: pd.DataFrame) -> str:
    """The train_ids behind a group of pairs, sorted, separated by spaces."""
    return " ".join(sorted({*group["arm_id"].dropna(), *group["reference_id"].dropna()}))
