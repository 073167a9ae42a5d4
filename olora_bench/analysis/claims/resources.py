"""Claims about what an init costs and what it changes."""

from __future__ import annotations

import pandas as pd

from olora_bench.analysis.claims import evidence
from olora_bench.analysis.claims.values import NOT_SUPPORTED, NOT_TESTED, SUPPORTED, Asked, Finding, runs_of

SAME_MEMORY = 0.05
"""Peak memory at most 5% above the reference's counts as the same."""
NEGLIGIBLE = 0.01
"""An init that adds less than 1% of the time of training costs nothing that matters."""
_CELL = ["contrast", "role", "lr_arm", "cell"]


def same_size_and_memory(asked: Asked) -> Finding:
    """Trainable parameters equal in every cell, and mean peak memory above the base at most 5% above the reference's; no test."""
    size, memory = asked.measured("parameters_trainable"), asked.measured("peak_above_base_bytes")
    if size.empty or memory.empty:
        return Finding(NOT_TESTED, evidence.Lacking("costs"))
    found = evidence.SizeAndMemory(bool((size["difference"] == 0).all()), float(memory["ratio"].min()), float(memory["ratio"].max()))
    return Finding(SUPPORTED if found.same_size and found.memory_high <= 1 + SAME_MEMORY else NOT_SUPPORTED, found, runs_of(memory))


def negligible_init(asked: Asked) -> Finding:
    """The init's own extra seconds (not those of the phase, most of which is measuring) as a mean share of the arm's training; no test."""
    extra, train = (asked.measured(name) for name in ("init_own_seconds", "train_seconds"))
    both = extra.merge(train[[*_CELL, "value_arm"]].rename(columns={"value_arm": "training"}), on=_CELL)
    if both.empty:
        return Finding(NOT_TESTED, evidence.Lacking("costs"))
    shares = both["difference"].to_numpy(dtype=float) / both["training"].to_numpy(dtype=float)
    most = both.iloc[int(shares.argmax())]
    found = evidence.InitCost(float(most["difference"]), float(most["low"]), float(most["high"]), float(shares.max()), len(both))
    return Finding(SUPPORTED if found.share <= NEGLIGIBLE else NOT_SUPPORTED, found, runs_of(both))


def init_alone(asked: Asked) -> Finding:
    """Compared runs share everything but init and lr by construction; the adapter has the same bytes."""
    pairs = asked.tables["pairs"]
    complete = pairs[pairs["pair"] == "complete"]
    if complete.empty:
        return Finding(NOT_TESTED, evidence.Lacking("complete pairs"))
    runs = asked.frames.runs
    size = runs.set_index("train_id")["adapter_bytes"]
    same = bool((complete["arm_id"].map(size) == complete["reference_id"].map(size)).all())
    changed = runs[runs["arm"].isin(asked.arms)].get("init.changed_base_weights", pd.Series(dtype=float)).max()
    found = evidence.InitAlone(len(complete), asked.role == "tuned", same, bool(changed > 0))
    return Finding(SUPPORTED if same else NOT_SUPPORTED, found, tuple(sorted({*complete["arm_id"], *complete["reference_id"]})))
