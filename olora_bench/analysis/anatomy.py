"""What adapters are made of, arm by arm: the figures that inits measure at the start and at the end of training."""

from __future__ import annotations

from typing import Any

import pandas as pd

from olora_bench.analysis.frames import StudyFrames

STAGES = ("start", "end", "travelled")


def anatomy(frames: StudyFrames) -> pd.DataFrame:
    """One row a (model, rank, setting, arm, lr, stage, fact) of the finished reported runs.

    Returns:
        model, rank, setting, arm, lr, stage (start | end | travelled), fact (what the docstring of `inits._anatomy.Anatomy` defines; none
        has a unit but the travelled `a` and `b`, which are in that of the weights), mean (over layers, then runs), low, high (least and
        greatest of any layer and run), n_runs, runs. A fact that no run measured, or that is not defined there, has no row.
    """
    runs = frames.runs[(frames.runs["state"] == "done") & frames.runs["roles"].str.contains("shared|tuned")]
    facts = _facts(runs)
    rows: list[dict[str, Any]] = []
    keys = ["model", "rank", "setting", "arm", "lr"]
    for key, group in runs.groupby(keys, sort=False):
        for stage, fact in facts:
            known = group[group[f"init.anatomy.{stage}.{fact}.mean"].notna()]
            if known.empty:
                continue
            values = {name: known[f"init.anatomy.{stage}.{fact}.{name}"] for name in ("mean", "min", "max")}
            rows.append(
                dict(zip(keys, key, strict=True))
                | {"stage": stage, "fact": fact, "mean": float(values["mean"].mean()), "low": float(values["min"].min())}
                | {"high": float(values["max"].max()), "n_runs": len(known), "runs": " ".join(sorted(known["train_id"]))}
            )
    return pd.DataFrame(rows, columns=[*keys, "stage", "fact", "mean", "low", "high", "n_runs", "runs"])


def _facts(runs: pd.DataFrame) -> list[tuple[str, str]]:
    names = [str(c).split(".") for c in runs if str(c).startswith("init.anatomy.") and str(c).endswith(".mean")]
    return sorted({(parts[2], parts[3]) for parts in names if len(parts) == 5 and parts[2] in STAGES})
