"""What adapters are made of, arm by arm: the figures that inits measure at the start and at the end of training."""

from __future__ import annotations

import pandas as pd

from olora_bench.analysis.columns import ARM, PLACE, RUNS, SETTING_COLUMNS
from olora_bench.analysis.described import Column, Table, View
from olora_bench.analysis.frames import Row, StudyFrames, groups_of
from olora_bench.analysis.runs import REPORTED, with_role

STAGES = ("start", "end", "travelled")

ANATOMY = Table(
    "anatomy",
    "a (model, rank, setting, arm, lr, stage, fact) of the finished reported runs that a run measured and that is defined there",
    (
        *SETTING_COLUMNS[:3],
        ARM,
        Column("lr", "learning rate (of A, where the arm has a ratio)", heading="lr", form="rate"),
        Column("stage", "start, end or travelled (the change from start to end)", heading="stage"),
        Column("fact", "as `olora_bench/inits/_anatomy.py` defines it", heading="fact"),
        Column("mean", "over layers, then runs", "none; weights where travelled", "mean", "four"),
        Column("low", "the least of any layer and run", "as mean", "least", "four"),
        Column("high", "the greatest of any layer and run", "as mean", "greatest", "four"),
        Column("n_runs", "runs that measured it", heading="runs"),
        RUNS,
    ),
)
ANATOMY_VIEW = View(
    "anatomy",
    "What A and B are made of",
    "What A and B are made of, before training, after it, and how far they travelled: mean over layers and runs, least and greatest.",
    ANATOMY,
)


def anatomy(frames: StudyFrames) -> pd.DataFrame:
    """What inits measure of the adapters of the finished reported runs: `ANATOMY`."""
    runs = with_role(frames.runs[frames.runs["state"] == "done"], *REPORTED)
    facts = _facts(runs)
    rows: list[Row] = []
    for named, group in groups_of(runs, [*PLACE, "arm", "lr"]):
        for stage, fact in facts:
            known = group[group[f"init.anatomy.{stage}.{fact}.mean"].notna()]
            if known.empty:
                continue
            values = {name: known[f"init.anatomy.{stage}.{fact}.{name}"] for name in ("mean", "min", "max")}
            rows.append(
                named
                | {"stage": stage, "fact": fact, "mean": float(values["mean"].mean()), "low": float(values["min"].min())}
                | {"high": float(values["max"].max()), "n_runs": len(known), "runs": " ".join(sorted(known["train_id"]))}
            )
    return ANATOMY.frame(rows)


def over_rates(facts: pd.DataFrame) -> pd.DataFrame:
    """The same facts, each of all runs of an arm, whatever their rates."""
    of = facts.assign(weighted=facts["mean"] * facts["n_runs"]).groupby([*PLACE, "arm", "stage", "fact"], dropna=False)
    runs, means = of["n_runs"].transform("sum"), of["weighted"].transform("sum")
    return facts.assign(mean=means / runs, low=of["low"].transform("min"), high=of["high"].transform("max"), n_runs=runs)


def _facts(runs: pd.DataFrame) -> list[tuple[str, str]]:
    names = [str(c).split(".") for c in runs if str(c).startswith("init.anatomy.") and str(c).endswith(".mean")]
    return sorted({(parts[2], parts[3]) for parts in names if len(parts) == 5 and parts[2] in STAGES})
