"""What else a run comes to, arm against reference: held-out loss, the gap to it, stability, time, memory, answers, the adapter's shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from olora_bench.analysis.cells import EXPLORATORY_BELOW, MIN_SEEDS_FOR_VERDICT
from olora_bench.analysis.frames import StudyFrames, curves_by_run
from olora_bench.analysis.paired import LEVEL, detectable_of, paired_t
from olora_bench.analysis.pairs import CELL, COMPARISON, run_ids

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
    "peak_above_base_bytes": "bytes",
    "parameters_trainable": "parameters",
    "log10_a_condition": "log10",
    "log10_b_condition": "log10",
    "travelled": "weights",
}
GENERATED = {"bleu": "BLEU points", "rouge1": "F1", "rouge2": "F1", "rougeL": "F1"}
_RECORDED = ("steps", "tokens_per_s", "peak_bytes", "peak_above_base_bytes", "parameters_trainable", "adapter_bytes", "clipped_step_share")


def run_measures(frames: StudyFrames) -> pd.DataFrame:
    """One row a run with a record: what it cost and how it went.

    Returns:
        train_id, cell, model, rank, setting, longest, arm, lr, lr_ratio, seed, roles, state; report_loss and report_loss_start (nats per
        supervised token), train_loss_end (mean of the last 20 steps, nats), generalisation_gap (report_loss minus train_loss_end, nats),
        spikes (steps whose train loss is 0.5 nats above the median of the 20 before), supervised_tokens_per_s, flops_utilisation (share
        of a large product's measured speed on that machine), steps, tokens_per_s, train_seconds (optimising only), init_seconds,
        init_share (of init plus training), peak_bytes, peak_above_base_bytes, parameters_trainable, adapter_bytes, clipped_step_share;
        log10_a_condition, log10_b_condition (of A and B after training: log10 of the mean over layers of greatest by least singular
        value), travelled_a, travelled_b (how far A and B moved, Frobenius norm, mean over layers), travelled (both: root of the sum of
        squares); and any generation metric recorded (bleu in [0, 100], rouge1, rouge2, rougeL in [0, 1]).
    """
    runs = frames.runs[frames.runs["state"].isin(["done", "diverged"])]
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
    shown["init_share"] = shown["init_seconds"] / (shown["init_seconds"] + shown["train_seconds"])
    shown["supervised_tokens_per_s"] = runs["cost.supervised_tokens_per_s"]
    shown["flops_utilisation"] = runs["cost.flops_utilisation"]
    shown = shown.assign(**{name: runs[name] for name in _RECORDED}, **_anatomy(runs))
    for name in generation_metrics(runs):
        shown[name] = runs[f"generation.{name}"]
    return shown.reset_index(drop=True)


def _spikes(losses: np.ndarray[Any, Any]) -> int:
    if len(losses) <= SPIKE_WINDOW:
        return 0
    before = np.median(np.lib.stride_tricks.sliding_window_view(losses[:-1], SPIKE_WINDOW), axis=1)
    return int((losses[SPIKE_WINDOW:] > before + SPIKE_NATS).sum())


_CELL = ["cell", "model", "rank", "setting", "longest"]


def _anatomy(runs: pd.DataFrame) -> dict[str, Any]:
    """What the adapter became, where the runs measured it. Condition numbers are compared as logarithms: halving is as doubling."""

    def fact(name: str) -> Any:
        return runs.get(f"init.anatomy.{name}.mean", pd.Series(np.nan, index=runs.index)).astype(float)

    travelled = {side: fact(f"travelled.{side}") for side in "ab"}
    return {
        "log10_a_condition": np.log10(fact("end.a_condition")),
        "log10_b_condition": np.log10(fact("end.b_condition")),
        "travelled_a": travelled["a"],
        "travelled_b": travelled["b"],
        "travelled": np.hypot(travelled["a"], travelled["b"]),
    }


def generation_metrics(runs: pd.DataFrame) -> list[str]:
    """Names of the recorded metrics that judge generated text."""
    names = [c.removeprefix("generation.") for c in map(str, runs) if c.startswith("generation.")]
    return [n for n in names if n.startswith(("bleu", "rouge"))]


def compare_measures(pairs: pd.DataFrame, measures: pd.DataFrame) -> pd.DataFrame:
    """One row a (comparison, cell, measure): paired by seed, complete pairs only.

    Returns:
        COMPARISON and CELL columns; measure, unit; value_reference, value_arm (means over paired seeds), difference, low, high (95%, paired
        t; NaN below 3 seeds or where all seeds agree), detectable (80% power, from the spread over seeds), ratio (arm over reference), p,
        seeds, exploratory, verdict: lower | higher | unresolved | no verdict | equal (all seeds exactly equal); runs. p is per row: these
        rows are described, not judged as a family.
    """
    names = [m for m in (*MEASURES, *[c for c in map(str, measures) if c.startswith(("bleu", "rouge"))]) if m in measures]
    table = measures.drop_duplicates("train_id").set_index("train_id")
    rows: list[dict[str, Any]] = []
    keys = [*COMPARISON, *CELL]
    complete = pairs[pairs["pair"] == "complete"]
    for key, group in complete.groupby(keys, sort=False, dropna=False) if len(complete) else ():
        for name in names:
            arm, reference = (group[f"{side}_id"].map(table[name]).to_numpy(dtype=float) for side in ("arm", "reference"))
            known = np.isfinite(arm) & np.isfinite(reference)
            if known.any():
                named = dict(zip(keys, key, strict=True)) | {"measure": name, "unit": (MEASURES | GENERATED).get(name, "")}
                rows.append(named | _compared(arm[known], reference[known]) | {"runs": run_ids(group)})
    columns = ["measure", "unit", "value_reference", "value_arm", "difference", "low", "high", "detectable", "ratio", "p", "seeds",
               "exploratory", "verdict", "runs"]  # fmt: skip
    return pd.DataFrame(rows, columns=[*keys, *columns])


def _compared(arm: Any, reference: Any) -> dict[str, Any]:
    difference, seeds = arm - reference, len(arm)
    test = paired_t(difference)
    p = float(test.p) if seeds >= MIN_SEEDS_FOR_VERDICT else float("nan")
    if not difference.any():
        verdict = "equal"
    elif seeds < MIN_SEEDS_FOR_VERDICT:
        verdict = "no verdict"
    else:
        verdict = "unresolved" if np.isnan(p) or p > LEVEL else "lower" if difference.mean() < 0 else "higher"
    shown = seeds >= MIN_SEEDS_FOR_VERDICT
    return {
        "value_reference": float(reference.mean()), "value_arm": float(arm.mean()), "difference": float(difference.mean()),
        "low": float(test.low) if shown else np.nan, "high": float(test.high) if shown else np.nan, "detectable": detectable_of(difference),
        "ratio": float(arm.mean() / reference.mean()) if reference.mean() else np.nan, "p": p, "seeds": seeds,
        "exploratory": MIN_SEEDS_FOR_VERDICT <= seeds < EXPLORATORY_BELOW, "verdict": verdict,
    }  # fmt: skip


def costs(measures: pd.DataFrame) -> pd.DataFrame:
    """One row a (model, rank, setting, arm): means over its finished runs.

    Returns:
        model, rank, setting, longest, arm, n_runs; train_seconds, tokens_per_s, supervised_tokens_per_s, flops_utilisation, init_seconds,
        init_share, peak_bytes, peak_above_base_bytes, parameters_trainable, adapter_bytes, clipped_step_share, runs. NaN where no run
        measured it.
    """
    names = ["train_seconds", "tokens_per_s", "supervised_tokens_per_s", "flops_utilisation", "init_seconds", "init_share", "peak_bytes",
             "peak_above_base_bytes", "parameters_trainable", "adapter_bytes", "clipped_step_share"]  # fmt: skip
    keys = ["model", "rank", "setting", "longest", "arm"]
    done = measures[measures["state"] == "done"]
    rows = [
        dict(zip(keys, key, strict=True))
        | {"n_runs": len(group)}
        | group[names].mean().to_dict()
        | {"runs": " ".join(sorted(group["train_id"]))}
        for key, group in done.groupby(keys, sort=False)
    ]
    return pd.DataFrame(rows, columns=[*keys, "n_runs", *names, "runs"])


def ratios(frames: StudyFrames, measures: pd.DataFrame) -> pd.DataFrame:
    """OLoRA+ and LoRA+: one row a (cell, arm, lr, lr ratio) of the reported runs, in cells where any ratio is not 1.

    Returns:
        cell, model, rank, setting, longest, arm, init, lr (A's), lr_ratio (B's lr over A's), roles (tuned, shared or both), n_runs,
        diverged, report_loss (nats, mean over finished runs) and report_loss_sd (over runs; NaN for one), score (macro-average percent,
        NaN without a suite), travelled (how far A and B moved); any generation metric recorded (mean), each with <metric>_base, the
        untouched base's; runs.
    """
    generated = generation_metrics(frames.runs)
    keys = [*_CELL, "arm", "init", "lr", "lr_ratio"]
    names = ["roles", "n_runs", "diverged", "report_loss", "report_loss_sd", "score", "travelled"]
    columns = [*keys, *names, *generated, *(f"{name}_base" for name in generated), "runs"]
    reported = frames.runs[frames.runs["roles"].str.contains("shared|tuned")]
    plus = reported[reported["lr_ratio"].notna()]
    plus = plus[plus["cell"].isin(plus[plus["lr_ratio"] != 1]["cell"])]
    if plus.empty:
        return pd.DataFrame(columns=columns)
    scores = frames.scores[frames.scores["primary"] & frames.scores["train_id"].notna()]
    macro = scores.groupby("train_id")["value"].mean() * 100
    table = measures[measures["state"] == "done"].drop_duplicates("train_id").set_index("train_id")
    bases = frames.base_generation.set_index("eval_id") if len(frames.base_generation) else frames.base_generation
    rows = []
    for key, group in plus.groupby(keys, sort=False):
        done = table.reindex(group["train_id"])
        roles = dict.fromkeys(role for roles in group["roles"] for role in roles.split() if role != "tuning")
        base = bases.reindex(group["base_eval_id"].iloc[:1])
        rows.append(
            dict(zip(keys, key, strict=True))
            | {"roles": " ".join(roles), "n_runs": len(group), "diverged": int((group["state"] == "diverged").sum())}
            | {"report_loss": float(done["report_loss"].mean()), "report_loss_sd": float(done["report_loss"].std())}
            | {"score": float(group["train_id"].map(macro).mean()), "travelled": float(done["travelled"].mean())}
            | {name: float(done[name].mean()) for name in generated}
            | {f"{name}_base": float(base[name].iloc[0]) if name in base else np.nan for name in generated}
            | {"runs": " ".join(sorted(group["train_id"]))}
        )
    return pd.DataFrame(rows, columns=columns)
