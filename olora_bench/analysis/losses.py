"""What else a run comes to, arm against reference: held-out loss, the gap to it, stability, time, memory, answers, the adapter's shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from olora_bench.analysis.cells import EXPLORATORY_BELOW, MIN_SEEDS_FOR_VERDICT
from olora_bench.analysis.columns import ARM, CELL_COLUMNS, COMPARISON_COLUMNS, PLACE, RUNS, SETTING_COLUMNS, interval
from olora_bench.analysis.described import Column, Table, View
from olora_bench.analysis.estimate import Floats
from olora_bench.analysis.frames import StudyFrames, curves_by_run
from olora_bench.analysis.held_out import final_losses, held_out
from olora_bench.analysis.paired import LEVEL, Tested, tested
from olora_bench.analysis.pairs import CELL, COMPARISON, run_ids
from olora_bench.analysis.runs import REPORTED, ROLES, roles_of, with_role
from olora_bench.store import OVER

SPIKE_NATS = 0.5
"""A step whose train loss is this far above the median of the 20 steps before it is a spike."""
SPIKE_WINDOW = 20
LAST_STEPS = 20

MEASURES = {
    "report_loss": "nats",
    "generalisation_gap": "nats",
    "spikes": "steps",
    "clipped_step_share": "share",
    "train_seconds": "s",
    "init_seconds": "s",
    "init_own_seconds": "s",
    "peak_above_base_bytes": "bytes",
    "parameters_trainable": "parameters",
    "log10_a_condition": "log10",
    "log10_b_condition": "log10",
    "travelled_a": "weights",
    "travelled_b": "weights",
}
GENERATED = {"bleu": "BLEU points", "rouge1": "F1", "rouge2": "F1", "rougeL": "F1"}
GENERATED_NAMES = {"bleu": "BLEU", "rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L"}
_SHORT = {"bleu": "BLEU base", "rouge1": "R-1 base", "rouge2": "R-2 base", "rougeL": "R-L base"}
_GENERATED_FORM = {"bleu": "number"} | dict.fromkeys(("rouge1", "rouge2", "rougeL"), "3 digits")

_RECORDED = ("steps", "tokens_per_s", "peak_bytes", "peak_above_base_bytes", "parameters_trainable", "adapter_bytes", "clipped_step_share")

COSTS = (
    Column("train_seconds", "time of optimising", "s", "train s", "number"),
    Column("tokens_per_s", "tokens that went through the model", "tokens/s", "tokens/s", "whole"),
    Column("supervised_tokens_per_s", "tokens that a loss was read on", "tokens/s", "supervised/s", "whole"),
    Column("flops_utilisation", "share of a large matrix product's speed on that machine", "", "share of matmul speed", "3 digits"),
    Column("init_seconds", "time of the phase in which the init runs: base weights are compared there, and the adapter is measured", "s",
           "init phase s", "2 digits"),
    Column("init_own_seconds", "time of the init itself", "s", "init itself s", "3 digits"),
    Column("init_share", "that phase's share of it and training", "", "init phase share", "4 digits"),
    Column("peak_bytes", "peak memory", "bytes", "peak bytes", "whole"),
    Column("peak_above_base_bytes", "peak memory above the loaded base", "bytes", "bytes above base", "whole"),
    Column("parameters_trainable", "trainable parameters", "parameters", "trainable", "whole"),
    Column("adapter_bytes", "the adapter", "bytes", "adapter bytes", "whole"),
    Column("clipped_step_share", "share of steps whose gradient was clipped", "", "clipped steps", "2 digits"),
)  # fmt: skip
RUN_MEASURES = Table(
    "run_measures",
    "a run with a record: what it cost and how it went",
    (
        Column("train_id", "the run's id"),
        CELL_COLUMNS[0],
        *SETTING_COLUMNS,
        ARM,
        Column("lr", "learning rate (of A, where the arm has a ratio)"),
        Column("lr_ratio", "learning rate of B over that of A"),
        Column("seed", "the run's seed"),
        ROLES,
        Column("state", "done or diverged"),
        Column("report_loss", "held-out loss after training", "nats"),
        Column("report_loss_start", "held-out loss before training", "nats"),
        Column("train_loss_end", f"train loss, mean of the last {LAST_STEPS} steps", "nats"),
        Column("generalisation_gap", "report_loss minus train_loss_end", "nats"),
        Column("spikes", f"steps whose train loss is {SPIKE_NATS:g} nats above the median of the {SPIKE_WINDOW} before", "steps"),
        Column("steps", "optimiser steps", "steps"),
        *COSTS,
        Column("log10_a_condition", "of A after training: log10 of the mean over layers of greatest by least singular value", "log10"),
        Column("log10_b_condition", "the same of B", "log10"),
        Column("travelled_a", "how far A moved: Frobenius norm, mean over layers", "weights"),
        Column("travelled_b", "how far B moved", "weights"),
        Column("travelled_product", "how far s B A moved, s the scale", "weights"),
        *(Column(name, f"{GENERATED_NAMES[name]} of written answers", unit, optional=True) for name, unit in GENERATED.items()),
    ),
)
COMPARED = Table(
    "measures",
    f"a (comparison, cell, measure), paired by seed, complete pairs only; the measures are {', '.join((*MEASURES, *GENERATED))}",
    (
        *COMPARISON_COLUMNS,
        *CELL_COLUMNS,
        Column("measure", "a column of the table run_measures", heading="measure"),
        Column("unit", "the unit of the values", heading="unit"),
        Column("value_reference", "the reference's mean over paired seeds", "unit", "reference", "4 digits"),
        Column("value_arm", "the arm's mean over paired seeds", "unit", "arm", "4 digits"),
        Column("difference", "arm minus reference", "unit", "difference", "4 digits signed"),
        *interval("unit", "4 digits signed"),
        Column("ratio", "arm over reference", "", "ratio", "3 digits"),
        Column("p", "of the interval's test, as it is: these rows are described, not judged as a family"),
        Column("seeds", "pairs that both have the measure", heading="seeds"),
        Column("exploratory", "3 to 5 seeds"),
        Column("verdict", "lower, higher, equal (on every seed), unresolved or no verdict", heading="verdict"),
        RUNS,
    ),
)
LOSS_VIEW = View(
    "losses",
    "Loss, stability, time and memory",
    "What else differs, paired by seed: held-out loss, gap to the train loss, loss spikes, clipped steps, time, memory, parameters, "
    "written answers, condition numbers of A and B after training, distance travelled. 95% interval of a paired t, for the held-out loss "
    "over new examples too where records keep the loss of each; of one look, though a verdict is at looks; detectable: found with 80% "
    "power; described, not judged as a family.",
    COMPARED,
)
COST_TABLE = Table(
    "costs",
    "a (model, rank, setting, arm): means over its finished runs; empty where no run measured it",
    (*SETTING_COLUMNS, ARM, Column("n_runs", "finished runs", heading="runs"), *COSTS, RUNS),
)
COST_VIEW = View(
    "costs",
    "Cost",
    "Cost: means over all finished runs of an arm, tuning runs among them. They ran under different load of the machine and by different "
    "versions of the harness: arms compare pair by pair, in the table of losses and the figure of costs, and not here.",
    COST_TABLE,
)
RATIOS = Table(
    "ratios",
    "a (cell, arm, lr, ratio) of the reported runs, in cells where a ratio is not 1",
    (
        CELL_COLUMNS[0],
        *SETTING_COLUMNS,
        ARM,
        Column("init", "the arm's init"),
        Column("roles", "which of shared and tuned its runs are for", heading="protocol"),
        Column("lr", "learning rate of A", heading="lr of A", form="rate"),
        Column("lr_ratio", "learning rate of B over that of A", heading="ratio", form="3 digits"),
        Column("n_runs", "runs that are over", heading="runs"),
        Column("diverged", "of them, runs that diverged", heading="diverged"),
        Column("report_loss", "held-out loss, mean over finished runs", "nats", "held-out loss", "3 digits"),
        Column("report_loss_sd", "its standard deviation over runs; empty for one", "nats", "sd", "3 digits"),
        Column("score", "mean over benchmarks of the primary metric; empty without a suite", "percent", "score", "number"),
        Column("travelled_a", "how far A moved: Frobenius norm", "weights", "A travelled", "3 digits"),
        Column("travelled_b", "how far B moved", "weights", "B travelled", "3 digits"),
        *(
            column
            for name, unit in GENERATED.items()
            for column in (
                Column(name, "of written answers, mean over finished runs", unit, GENERATED_NAMES[name], _GENERATED_FORM[name], True),
                Column(f"{name}_base", "of the untouched base", unit, _SHORT[name], _GENERATED_FORM[name], True),
            )
        ),
        RUNS,
    ),
)
RATIO_VIEW = View(
    "olora_plus",
    "Learning-rate ratios (OLoRA+)",
    "Learning-rate ratios (B's over A's): held-out loss (nats; sd over seeds), score (percent), BLEU (0 to 100) and ROUGE F1 of "
    "written answers, the untouched base's beside them, and the distances that A and B travelled (Frobenius); means over runs.",
    RATIOS,
)


def run_measures(frames: StudyFrames) -> pd.DataFrame:
    """What each run cost and how it went: `RUN_MEASURES`."""
    runs = frames.runs[frames.runs["state"].isin(OVER)]
    tails, spikes = {}, {}
    for train_id, curve in curves_by_run(frames.curves):
        losses = curve["train_loss"]
        losses = losses[~np.isnan(losses)]
        tails[train_id] = float(losses[-LAST_STEPS:].mean()) if len(losses) else np.nan
        spikes[train_id] = _spikes(losses)
    shown = runs[["train_id", *_CELL, "arm", "lr", "lr_ratio", "seed", "roles", "state"]].copy()
    shown["report_loss"] = runs["metrics.report_loss"]
    shown["report_loss_start"] = runs["metrics.report_loss_start"]
    shown["train_loss_end"] = runs["train_id"].map(tails).astype(float)
    shown["generalisation_gap"] = shown["report_loss"] - shown["train_loss_end"]
    shown["spikes"] = runs["train_id"].map(spikes).astype(float)
    shown["train_seconds"] = runs["timings_s.optimise"].fillna(runs["timings_s.train"])
    shown["init_seconds"] = runs["timings_s.init"]
    shown["init_own_seconds"] = runs.get("init.seconds", pd.Series(np.nan, index=runs.index)).astype(float)
    shown["init_share"] = shown["init_seconds"] / (shown["init_seconds"] + shown["train_seconds"])
    shown["supervised_tokens_per_s"] = runs["cost.supervised_tokens_per_s"]
    shown["flops_utilisation"] = runs["cost.flops_utilisation"]
    shown = shown.assign(**{name: runs[name] for name in _RECORDED}, **_anatomy(runs))
    for name in generation_metrics(runs):
        shown[name] = runs[f"generation.{name}"]
    return RUN_MEASURES.ordered(shown.reset_index(drop=True))


def _spikes(losses: np.ndarray[Any, Any]) -> int:
    if len(losses) <= SPIKE_WINDOW:
        return 0
    before = np.median(np.lib.stride_tricks.sliding_window_view(losses[:-1], SPIKE_WINDOW), axis=1)
    return int((losses[SPIKE_WINDOW:] > before + SPIKE_NATS).sum())


_CELL = ["cell", *PLACE, "longest"]


def _anatomy(runs: pd.DataFrame) -> dict[str, pd.Series[float] | Floats]:
    """What the adapter became, where the runs measured it. Condition numbers are compared as logarithms: halving is as doubling."""

    def fact(name: str) -> pd.Series[float]:
        return runs.get(f"init.anatomy.{name}.mean", pd.Series(np.nan, index=runs.index)).astype(float)

    return {
        "log10_a_condition": np.log10(fact("end.a_condition")),
        "log10_b_condition": np.log10(fact("end.b_condition")),
        **{f"travelled_{of}": fact(f"travelled.{of}") for of in ("a", "b", "product")},
    }


def generation_metrics(runs: pd.DataFrame) -> list[str]:
    """Names of the recorded metrics that judge generated text."""
    return [name for name in GENERATED if f"generation.{name}" in runs]


def compare_measures(frames: StudyFrames, pairs: pd.DataFrame, measures: pd.DataFrame) -> pd.DataFrame:
    """What a comparison's two arms differ in, measure by measure: `COMPARED`. The held-out loss has the verdict's test."""
    final = final_losses(frames)
    names = [m for m in (*MEASURES, *GENERATED) if m in measures]
    table = measures.drop_duplicates("train_id").set_index("train_id")
    rows: list[dict[str, object]] = []
    keys = [*COMPARISON, *CELL]
    complete = pairs[pairs["pair"] == "complete"]
    for key, group in complete.groupby(keys, sort=False, dropna=False) if len(complete) else ():
        for name in names:
            arm, reference = (group[f"{side}_id"].map(table[name]).to_numpy(dtype=float) for side in ("arm", "reference"))
            known = np.isfinite(arm) & np.isfinite(reference)
            if known.any():
                named = dict(zip(keys, key, strict=True)) | {"measure": name, "unit": (MEASURES | GENERATED).get(name, "")}
                arm, reference = arm[known], reference[known]
                by = held_out(frames.examples, final, group).tested() if name == "report_loss" else tested(arm - reference)
                rows.append(named | _compared(arm, reference, by) | {"runs": run_ids(group)})
    return COMPARED.frame(rows)


def _compared(arm: Floats, reference: Floats, test: Tested) -> dict[str, float | int | bool | str]:
    difference, seeds = arm - reference, len(arm)
    p = test.p if seeds >= MIN_SEEDS_FOR_VERDICT else float("nan")
    if not difference.any():
        verdict = "equal"
    elif seeds < MIN_SEEDS_FOR_VERDICT:
        verdict = "no verdict"
    else:
        verdict = "unresolved" if np.isnan(p) or p > LEVEL else "lower" if difference.mean() < 0 else "higher"
    shown = seeds >= MIN_SEEDS_FOR_VERDICT
    return {
        "value_reference": float(reference.mean()), "value_arm": float(arm.mean()), "difference": float(difference.mean()),
        "low": test.low if shown else np.nan, "high": test.high if shown else np.nan, "detectable": test.detectable,
        "ratio": float(arm.mean() / reference.mean()) if reference.mean() else np.nan, "p": p, "seeds": seeds,
        "exploratory": MIN_SEEDS_FOR_VERDICT <= seeds < EXPLORATORY_BELOW, "verdict": verdict,
    }  # fmt: skip


def costs(measures: pd.DataFrame) -> pd.DataFrame:
    """What each arm costs: `COST_TABLE`."""
    keys = [column.name for column in (*SETTING_COLUMNS, ARM)]
    done = measures[measures["state"] == "done"]
    rows = [
        dict(zip(keys, key, strict=True))
        | {"n_runs": len(group), "runs": " ".join(sorted(group["train_id"]))}
        | group[[column.name for column in COSTS]].mean().to_dict()
        for key, group in done.groupby(keys, sort=False)
    ]
    return COST_TABLE.frame(rows)


def ratios(frames: StudyFrames, measures: pd.DataFrame) -> pd.DataFrame:
    """What OLoRA+ and LoRA+ come to, ratio by ratio: `RATIOS`."""
    generated = generation_metrics(frames.runs)
    keys = [*_CELL, "arm", "init", "lr", "lr_ratio"]
    plus = with_role(frames.runs, *REPORTED)
    plus = plus[plus["lr_ratio"].notna() & plus["state"].isin(OVER)]
    plus = plus[plus["cell"].isin(plus[plus["lr_ratio"] != 1]["cell"])]
    scores = frames.scores[frames.scores["primary"] & frames.scores["train_id"].notna()]
    macro = scores.groupby("train_id")["value"].mean() * 100
    table = measures[measures["state"] == "done"].drop_duplicates("train_id").set_index("train_id")
    bases = frames.base_generation.set_index("eval_id") if len(frames.base_generation) else frames.base_generation
    rows = []
    for key, group in plus.groupby(keys, sort=False):
        done = table.reindex(group["train_id"])
        roles = dict.fromkeys(role for roles in group["roles"] for role in roles_of(roles) if role in REPORTED)
        base = bases.reindex(group["base_eval_id"].iloc[:1])
        rows.append(
            dict(zip(keys, key, strict=True))
            | {"roles": " ".join(roles), "n_runs": len(group), "diverged": int((group["state"] == "diverged").sum())}
            | {"report_loss": float(done["report_loss"].mean()), "report_loss_sd": float(done["report_loss"].std())}
            | {"score": float(group["train_id"].map(macro).mean())}
            | {name: float(done[name].mean()) for name in ("travelled_a", "travelled_b")}
            | {name: float(done[name].mean()) for name in generated}
            | {f"{name}_base": float(base[name].iloc[0]) if name in base else np.nan for name in generated}
            | {"runs": " ".join(sorted(group["train_id"]))}
        )
    return RATIOS.frame(rows)
