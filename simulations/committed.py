"""The paired differences of results/smollm2, item by item: what simulated studies draw from, and what tests pin."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from olora_bench.analysis import load_study
from olora_bench.analysis.cells import seed_differences
from olora_bench.analysis.frames import StudyFrames
from olora_bench.analysis.pairs import pairs
from olora_bench.store import OVER, Store
from olora_bench.store.manifest import Manifest, read_kept

RESULTS = Path(__file__).parents[1] / "results"
STUDY = "smollm2"

Items = dict[str, NDArray[np.int8]]


@cache
def differences(role: str, contrast: str) -> Items:
    """By benchmark `(items, blocks)`: the arm's answer right (1) minus the reference's, primary metric, blocks by seed."""
    found = _pairs()
    mine = found[(found["role"] == role) & (found["contrast"] == contrast) & found["primary"].astype(bool)].sort_values("seed")
    return {str(name): np.stack([_right(row, "arm") - _right(row, "reference") for row in group.to_dict("records")], axis=1)
            for name, group in mine.groupby("benchmark")}  # fmt: skip


@cache
def tune_losses(arm: str) -> dict[float, float]:
    """By learning rate, the mean tune loss of an arm's longest runs, nats; infinite where they diverged."""
    runs = frames().runs
    mine = runs[runs["longest"].astype(bool) & (runs["arm"] == arm) & runs["state"].isin(OVER)]
    losses = mine["metrics.tune_loss"].where(mine["state"] == "done", np.inf)
    return {float(lr): float(loss) for lr, loss in losses.astype(float).groupby(mine["lr"]).mean().items()}


@cache
def frames() -> StudyFrames:
    """The study as its records have it."""
    manifest = read_kept(RESULTS / STUDY / "manifest.json", Manifest)
    assert manifest is not None, "results/ is committed with the simulations"
    return load_study(Store(RESULTS), manifest)


@cache
def _pairs() -> pd.DataFrame:
    found = seed_differences(frames(), pairs(frames()))
    return found[found["longest"].astype(bool)]


def _right(row: dict[str, Any], side: str) -> NDArray[np.int8]:
    items = _items(row[f"{side}_id"], row[f"{side}_eval"])
    column = "correct_norm" if row["metric"] == "acc_norm" else "correct"
    return items[items["benchmark"] == row["benchmark"]].sort_values("item_id")[column].to_numpy(dtype=np.int8)


@cache
def _items(train_id: str, eval_id: str) -> pd.DataFrame:
    path = RESULTS / "runs" / train_id / "evals" / eval_id / "items.parquet"
    return pd.read_parquet(path, columns=["benchmark", "item_id", "correct", "correct_norm"])
