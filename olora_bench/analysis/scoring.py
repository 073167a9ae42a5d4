"""How far scores can be trusted: prompts that were cut, choices that low precision moves, warnings of the evaluation."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from olora_bench.analysis.columns import ARM, RUNS
from olora_bench.analysis.described import Column, Table, View
from olora_bench.analysis.frames import Row, StudyFrames, groups_of
from olora_bench.analysis.reasons import EvaluationsWarn

BASE = "base"

SCORING = Table(
    "scoring",
    f"a (model, arm, benchmark, metric) of the scored runs; the untouched base is an arm called `{BASE}`",
    (
        Column("model", "the base model", heading="model"),
        ARM,
        Column("benchmark", "the benchmark", heading="benchmark"),
        Column("metric", "acc or acc_norm", heading="metric"),
        Column("n_evals", "evaluations", heading="scorings"),
        Column("items", "items of the benchmark, the greatest count", "items", "items"),
        Column("truncated", "items whose prompt was cut, the greatest count", "items", "prompts cut"),
        Column("flips", "items compared whose choice differs from fp32's, mean; empty where not measured", "percent", "flips", "number"),
        Column("flips_max", "the greatest of any evaluation", "percent", "greatest", "number"),
        Column("flip_items", "items compared with fp32", "items", "compared"),
        Column("warned", "each warning of the evaluations once, with how many gave it", heading="warnings"),
        RUNS,
    ),
)
SCORING_VIEW = View(
    "scoring",
    "Scoring",
    "How far scores can be trusted. Flips: percent of the items compared whose choice in the scoring precision differs from fp32's.",
    SCORING,
)


def scoring(frames: StudyFrames) -> pd.DataFrame:
    """What may keep the scores of runs and untouched bases from being what they seem: `SCORING`."""
    runs = frames.runs.drop_duplicates("train_id").set_index("train_id")
    scores = frames.scores.assign(
        model=frames.scores["base"].fillna(frames.scores["train_id"].map(runs["model"])),
        arm=frames.scores["train_id"].map(runs["arm"]).where(frames.scores["base"].isna(), BASE),
    )
    rows: list[Row] = []
    for named, group in groups_of(scores, ["model", "arm", "benchmark", "metric"]):
        counts = Counter(text for texts in group["warnings"] for text in texts.split(" | ") if text)
        rows.append(
            named
            | {"n_evals": len(group), "items": int(group["items"].max()), "truncated": int(group["truncated"].max())}
            | {"flips": 100 * float(group["flips"].mean()), "flips_max": 100 * float(group["flips"].max())}
            | {"flip_items": int(group["flip_items"].max())}
            | {"warned": tuple(EvaluationsWarn(text, count, len(group)) for text, count in counts.items())}
            | {"runs": " ".join(sorted(group["train_id"].dropna()))}
        )
    return SCORING.frame(rows)
