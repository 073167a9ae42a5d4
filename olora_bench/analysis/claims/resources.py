"""Claims about what an init costs and what it changes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from olora_bench.analysis.claims import evidence
from olora_bench.analysis.claims.thresholds import at_most, estimated, ratio_of_means
from olora_bench.analysis.claims.values import NOT_SUPPORTED, NOT_TESTED, SUPPORTED, Asked, Finding, runs_of
from olora_bench.analysis.comparison import KEYS
from olora_bench.analysis.paired import Floats

SAME_MEMORY = 0.05
"""Peak memory at most 5% above the reference's counts as the same."""
NEGLIGIBLE = 0.01
"""An init that adds less than 1% of the time of training costs nothing that matters."""
_CELL = [*KEYS, "cell"]


def same_size_and_memory(asked: Asked) -> Finding:
    """Trainable parameters equal in every cell, and peak memory above the base at most 5% above the reference's, by its interval."""
    size, memory = asked.measured("parameters_trainable"), asked.measured("peak_above_base_bytes")
    ratios = [ratio_of_means(*peaks) for peaks in _by_cell(asked, _peaks)]
    if size.empty or not ratios:
        return Finding(NOT_TESTED, evidence.Lacking("costs"))
    same, allowed = bool((size["difference"] == 0).all()), 1 + SAME_MEMORY
    found = evidence.SizeAndMemory(same, estimated(max(ratios, key=np.mean)), allowed, len(ratios))
    return Finding(at_most(ratios, allowed) if same else NOT_SUPPORTED, found, runs_of(memory))


def _peaks(arm: pd.DataFrame, reference: pd.DataFrame) -> tuple[pd.Series[float], pd.Series[float]]:
    return arm["peak_above_base_bytes"], reference["peak_above_base_bytes"]


def negligible_init(asked: Asked) -> Finding:
    """The init's own extra seconds (its phase is mostly measuring) as a share of the arm's training, by the interval of the share."""
    cells = _by_cell(asked, _extra_and_training)
    if not cells:
        return Finding(NOT_TESTED, evidence.Lacking("costs"))
    shares = [ratio_of_means(*cell) for cell in cells]
    most = int(np.argmax([share.mean() for share in shares]))
    found = evidence.InitCost(estimated(cells[most][0]), estimated(shares[most]), NEGLIGIBLE, len(shares))
    return Finding(at_most(shares, NEGLIGIBLE), found, runs_of(asked.measured("init_own_seconds")))


def _extra_and_training(arm: pd.DataFrame, reference: pd.DataFrame) -> tuple[pd.Series[float], pd.Series[float]]:
    return arm["init_own_seconds"] - reference["init_own_seconds"], arm["train_seconds"]


def _by_cell(
    asked: Asked, of: Callable[[pd.DataFrame, pd.DataFrame], tuple[pd.Series[float], pd.Series[float]]]
) -> list[tuple[Floats, Floats]]:
    """Two values a complete pair, cell by cell, of the measures of its two runs; pairs and cells that lack one are left out."""
    pairs, known = asked.tables["pairs"], asked.whole["run_measures"].drop_duplicates("train_id").set_index("train_id")
    pairs = pairs[pairs["pair"] == "complete"]
    over, under = of(*(known.reindex(pairs[f"{side}_id"]).set_axis(pairs.index) for side in ("arm", "reference")))
    values = pairs[_CELL].assign(over=over, under=under).dropna(subset=["over", "under"])
    groups = [group for _, group in values.groupby(_CELL, sort=False, dropna=False)]
    return [(group["over"].to_numpy(dtype=float), group["under"].to_numpy(dtype=float)) for group in groups]


def init_alone(asked: Asked) -> Finding:
    """Compared runs share everything but init and lr by construction; the adapter has the same bytes."""
    pairs = asked.tables["pairs"]
    complete = pairs[pairs["pair"] == "complete"]
    if complete.empty:
        return Finding(NOT_TESTED, evidence.Lacking("complete pairs"))
    runs = asked.frames.runs
    size = runs.drop_duplicates("train_id").set_index("train_id")["adapter_bytes"]
    same = bool((complete["arm_id"].map(size) == complete["reference_id"].map(size)).all())
    changed = runs[runs["arm"].isin(asked.arms)].get("init.changed_base_weights", pd.Series(dtype=float)).max()
    found = evidence.InitAlone(len(complete), asked.role == "tuned", same, bool(changed > 0))
    return Finding(SUPPORTED if same else NOT_SUPPORTED, found, tuple(sorted({*complete["arm_id"], *complete["reference_id"]})))
