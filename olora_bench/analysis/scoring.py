"""How far scores can be trusted: prompts that were cut, choices that low precision moves, warnings of the evaluation."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd

from olora_bench.analysis.frames import StudyFrames

BASE = "base"


def scoring(frames: StudyFrames) -> pd.DataFrame:
    """One row a (model, arm, benchmark, metric) of the scored runs, and of the untouched bases as an arm called "base".

    Returns:
        model, arm, benchmark, metric, n_evals, items, truncated (items whose prompt was cut, the greatest), flips and flips_max (percent
        of `flip_items` items whose choice differs from fp32's, the mean and the greatest; NaN where not measured), flip_items, warnings
        (each once, with the number of evaluations that gave it), runs (none for a base).
    """
    runs = frames.runs.drop_duplicates("train_id").set_index("train_id")
    scores = frames.scores.assign(
        model=frames.scores["base"].fillna(frames.scores["train_id"].map(runs["model"])),
        arm=frames.scores["train_id"].map(runs["arm"]).where(frames.scores["base"].isna(), BASE),
    )
    rows: list[dict[str, Any]] = []
    keys = ["model", "arm", "benchmark", "metric"]
    for key, group in scores.groupby(keys, sort=False):
        said = Counter(text for texts in group["warnings"] for text in texts.split(" | ") if text)
        rows.append(
            dict(zip(keys, key, strict=True))
            | {"n_evals": len(group), "items": int(group["items"].max()), "truncated": int(group["truncated"].max())}
            | {"flips": 100 * float(group["flips"].mean()), "flips_max": 100 * float(group["flips"].max())}
            | {"flip_items": int(group["flip_items"].max())}
            | {"warnings": "; ".join(f"{text} ({count} of {len(group)})" for text, count in said.items())}
            | {"runs": " ".join(sorted(group["train_id"].dropna()))}
        )
    return pd.DataFrame(rows, columns=[*keys, "n_evals", "items", "truncated", "flips", "flips_max", "flip_items", "warnings", "runs"])
