"""The tables that a study's report is written as: which frame, which columns, what they are called."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from olora_bench.analysis import Tables
from olora_bench.report.render import Shown, write_all
from olora_bench.words.numbers import digits, four, number, plain, pp, probability, rate, times, whole

WHO = (
    ("contrast", "contrast", plain),
    ("role", "protocol", plain),
    ("model", "model", plain),
    ("rank", "rank", plain),
    ("setting", "setting", plain),
)
OUTCOMES = (
    ("difference", "difference", pp),
    ("low", "low", pp),
    ("high", "high", pp),
    ("detectable", "detectable", number),
    ("loss_difference", "loss", digits(3, sign=True)),
    ("loss_low", "loss low", digits(3, sign=True)),
    ("loss_high", "loss high", digits(3, sign=True)),
    ("loss_p", "loss p", probability),
)
ARM = (("model", "model", plain), ("rank", "rank", plain), ("setting", "setting", plain), ("arm", "arm", plain))

SHOWN: Mapping[str, Shown] = {
    "verdicts": Shown(
        "Confirmatory verdict of each declared comparison: macro-average over benchmarks, percentage points; exact sign-flip test over "
        "blocks "
        "(model, seed), its inverted 95% interval, Holm over the primary contrasts. Detectable: found with 80% power. Beside it, the same "
        "of the held-out loss (nats per token, lower is better), which is judged where no benchmark is asked.",
        (*WHO[:2], ("lr_arm", "shared lr", rate), ("blocks", "blocks", plain), *OUTCOMES, ("p_holm", "p (Holm)", probability),
         ("verdict", "verdict", plain), ("note", "note", plain)),
    ),
    "win_counts": Shown(
        "Paper-style count: higher mean wins a cell. Null band: the central 95% of wins when whole blocks (model, seed) change sign. "
        "p coins: a sign test that took cells for independent, shown for contrast only.",
        (*WHO[:2], ("lr_arm", "shared lr", rate), ("cells", "cells", plain), ("wins", "wins", plain), ("losses", "losses", plain),
         ("ties", "ties", plain), ("null_low", "null from", plain), ("null_high", "null to", plain), ("p", "p", probability),
         ("p_coins", "p coins", probability)),
    ),
    "left_out": Shown(
        "The macro-average without each benchmark in turn, percentage points: whether one of them carries the verdict. Exact sign-flip "
        "test over blocks, p as it is.",
        (*WHO[:2], ("lr_arm", "shared lr", rate), ("benchmark", "without", plain), ("blocks", "blocks", plain),
         ("blocks_for", "for the arm", plain), ("difference", "difference", pp), ("low", "low", pp), ("high", "high", pp),
         ("p", "p", probability)),
    ),
    "grid": Shown(
        "Every cell, primary metric: accuracy in percent, differences in percentage points; 95% interval of a paired t over seeds; "
        "verdict by "
        "Holm over the declared family. Detectable: smallest difference found with 80% power, were items or seeds the only chance at work. "
        "Constant: what the same answer to every item scores at best; gave: percent of items to which each side gave it. "
        "Flips: percent of items whose choice differs from fp32's, where that was measured. Learning rates of a tuned study were chosen by "
        "its criterion, and not by these scores.",
        (*WHO, ("benchmark", "benchmark", plain), ("items", "items", plain), ("chance", "chance", number),
         ("constant", "constant", number), ("base", "base", number), ("score_reference", "reference", number), ("score_arm", "arm", number),
         ("gave_reference", "gave reference", number), ("gave_arm", "gave arm", number),
         ("difference", "difference", pp), ("low", "low", pp), ("high", "high", pp), ("seeds", "seeds", plain),
         ("detectable", "detectable (items)", number), ("detectable_seeds", "detectable (seeds)", number),
         ("flips_reference", "flips reference", number),
         ("flips_arm", "flips arm", number), ("verdict", "verdict", plain), ("note", "note", plain)),
    ),
    "coverage": Shown(
        "Seeds of each cell: planned, complete (both runs done), and what the others lack. Shorter schedules included.",
        (*WHO, ("lr_arm", "shared lr", rate), ("planned", "planned", plain), ("complete", "complete", plain),
         ("diverged", "diverged", plain), ("failed", "failed", plain), ("missing", "missing", plain), ("unscored", "unscored", plain),
         ("gaps", "gaps", plain)),
    ),
    "scoring": Shown(
        "How far scores can be trusted. Flips: percent of the items compared whose choice in the scoring precision differs from fp32's.",
        (("model", "model", plain), ("arm", "arm", plain), ("benchmark", "benchmark", plain), ("metric", "metric", plain),
         ("n_evals", "scorings", plain), ("items", "items", plain), ("truncated", "prompts cut", plain), ("flips", "flips", number),
         ("flips_max", "greatest", number), ("flip_items", "compared", plain), ("warnings", "warnings", plain)),
    ),
    "appendix": Shown(
        "The metrics that are not primary: accuracy in percent, differences in percentage points, 95% interval of a paired t over seeds.",
        (*WHO, ("benchmark", "benchmark", plain), ("metric", "metric", plain), ("score_reference", "reference", number),
         ("score_arm", "arm", number), ("difference", "difference", pp), ("low", "low", pp), ("high", "high", pp),
         ("seeds", "seeds", plain)),
    ),
    "convergence": Shown(
        "How many times sooner the arm reaches L_base - q (L_base - L_ref) of the held-out loss, seed-paired geometric mean with a 95% "
        "interval; "
        "a bound where seeds never reach it.",
        (*WHO, ("q", "q", digits(2)), ("unit", "in", plain), ("target", "target (nats)", digits(3)), ("seeds", "seeds", plain),
         ("arm_censored", "arm never", plain), ("reference_censored", "reference never", plain), ("bound", "bound", plain),
         ("speedup", "speed-up", times), ("low", "low", times), ("high", "high", times), ("detectable", "detectable", times),
         ("verdict", "verdict", plain),
         ("note", "note", plain)),
    ),
    "schedules": Shown(
        "Separately completed schedules: the arm trained for T/4, T/2 or T steps against the reference at T. Final held-out loss, nats, "
        "95% interval of a paired t over seeds; beside it the reference's own loss after as few steps. Seconds of training.",
        (*WHO[:4], ("steps_reference", "T", whole), ("steps_arm", "arm steps", whole), ("lr_reference", "lr reference", rate),
         ("lr_arm", "lr arm", rate), ("loss_reference", "reference at T", digits(3)),
         ("loss_reference_short", "reference so short", digits(3)),
         ("loss_arm", "arm", digits(3)), ("difference", "difference", digits(3, sign=True)), ("low", "low", digits(3, sign=True)),
         ("high", "high", digits(3, sign=True)), ("detectable", "detectable", digits(3)), ("seconds_reference", "s reference", number),
         ("seconds_arm", "s arm", number), ("seeds", "seeds", plain), ("matches", "matches", plain), ("smallest", "smallest", plain),
         ("note", "note", plain)),
    ),
    "learning_rates": Shown(
        "Every learning rate tried: the tuning criterion (as a loss), held-out loss (nats) and score (macro-average, percent).",
        (*ARM, ("lr", "lr", rate), ("stage", "stage", plain), ("criterion", "criterion", plain), ("tune", "criterion value", digits(3)),
         ("report_loss", "held-out loss", digits(3)), ("score", "score", number), ("spikes", "spikes a run", number),
         ("n_runs", "runs", plain), ("diverged", "diverged", plain),
         ("failed", "failed", plain), ("best", "best", plain), ("edge", "edge", plain)),
    ),
    "sensitivity": Shown(
        "Learning-rate sensitivity: loss lost at a third of and three times the best lr, and the region that keeps 95% of the drop in "
        "loss. Tuning runs: what the search cost, equal for all arms but for edges.",
        (*ARM, ("tuning_runs", "tuning runs", plain), ("points", "points", plain), ("best_lr", "best lr", rate),
         ("best_loss", "loss", digits(3)),
         ("edge", "edge", plain), ("off_low", "at lr/3", digits(3, sign=True)), ("off_high", "at 3 lr", digits(3, sign=True)),
         ("good_low", "good from", rate), ("good_high", "good to", rate), ("good_width", "width", times), ("good_open", "open", plain),
         ("note", "note", plain)),
    ),
    "olora_plus": Shown(
        "Learning-rate ratios (B's over A's): held-out loss (nats; sd over seeds), score (percent), BLEU (0 to 100) and ROUGE F1 of "
        "written answers, the untouched base's beside them, and the distance that A and B travelled (Frobenius); means over runs.",
        (*ARM, ("roles", "protocol", plain), ("lr", "lr of A", rate), ("lr_ratio", "ratio", digits(3)), ("n_runs", "runs", plain),
         ("diverged", "diverged", plain), ("report_loss", "held-out loss", digits(3)), ("report_loss_sd", "sd", digits(3)),
         ("score", "score", number), ("bleu", "BLEU", number), ("bleu_base", "BLEU base", number), ("rouge1", "ROUGE-1", digits(3)),
         ("rouge1_base", "R-1 base", digits(3)), ("rouge2", "ROUGE-2", digits(3)), ("rouge2_base", "R-2 base", digits(3)),
         ("rougeL", "ROUGE-L", digits(3)), ("rougeL_base", "R-L base", digits(3)), ("travelled", "travelled", digits(3))),
    ),
    "losses": Shown(
        "What else differs, paired by seed: held-out loss, gap to the train loss, loss spikes, clipped steps, time, memory, parameters, "
        "written answers, condition numbers of A and B after training, distance travelled. 95% interval of a paired t; detectable: found "
        "with 80% power; described, not judged as a family.",
        (*WHO, ("measure", "measure", plain), ("unit", "unit", plain), ("value_reference", "reference", digits(4)),
         ("value_arm", "arm", digits(4)),
         ("difference", "difference", digits(4, sign=True)), ("low", "low", digits(4, sign=True)), ("high", "high", digits(4, sign=True)),
         ("detectable", "detectable", digits(4)), ("ratio", "ratio", digits(3)), ("seeds", "seeds", plain), ("verdict", "verdict", plain)),
    ),
    "costs": Shown(
        "Cost: means over finished runs.",
        (*ARM, ("n_runs", "runs", plain), ("train_seconds", "train s", number), ("tokens_per_s", "tokens/s", whole),
         ("supervised_tokens_per_s", "supervised/s", whole), ("flops_utilisation", "share of matmul speed", digits(3)),
         ("init_seconds", "init s", digits(2)), ("init_share", "init share", digits(4)), ("peak_bytes", "peak bytes", whole),
         ("peak_above_base_bytes", "bytes above base", whole), ("parameters_trainable", "trainable", whole),
         ("adapter_bytes", "adapter bytes", whole), ("clipped_step_share", "clipped steps", digits(2))),
    ),
    "controls": Shown(
        "Contrasts beside the verdict, controls among them: macro-average difference in percentage points and held-out loss in nats, "
        "sign-flip test over blocks; p as it is.",
        (*WHO[:2], ("lr_arm", "shared lr", rate), ("blocks", "blocks", plain), *OUTCOMES, ("p", "p", probability),
         ("verdict", "verdict", plain), ("note", "note", plain)),
    ),
    "anatomy": Shown(
        "What A and B are made of, before training, after it, and how far they travelled: mean over layers and runs, least and greatest.",
        (*ARM, ("lr", "lr", rate), ("stage", "stage", plain), ("fact", "fact", plain), ("mean", "mean", four), ("low", "least", four),
         ("high", "greatest", four), ("n_runs", "runs", plain)),
    ),
    "warnings": Shown("Mind, before believing a table.", (("about", "about", plain), ("sentence", "what", plain))),
    "declared": Shown(
        "The commit that declared the study: since then its contrasts, grids and seeds have not changed. Runs by when they started; those "
        "before it may be another study's.",
        (("file", "study file", plain), ("commit", "commit", plain), ("committed_at", "committed", plain),
         ("runs", "runs started", plain), ("runs_after", "after it", plain), ("runs_before", "before it", plain),
         ("reason", "why none", plain)),
    ),
    "not_done": Shown(
        "Runs and scores that the tables lack.",
        (("train_id", "run", plain), ("model", "model", plain), ("rank", "rank", plain), ("arm", "arm", plain), ("lr", "lr", rate),
         ("seed", "seed", plain), ("roles", "for", plain), ("what", "what", plain), ("reason", "reason", plain)),
    ),
    "claims": Shown(
        "Claims of the papers, and what this study's runs say of them.",
        (("claim", "claim", plain), ("paper", "paper", plain), ("sentence", "in short", plain), ("verdict", "verdict", plain),
         ("figure", "figure", plain), ("protocol", "protocol", plain)),
    ),
    "published": Shown(
        "Published numbers (given by the user of this harness) beside ours, percent; ours at each reported learning rate and setting.",
        (("source", "source", plain), ("model", "model", plain), ("rank", "rank", plain), ("arm", "arm", plain),
         ("benchmark", "benchmark", plain),
         ("metric", "metric", plain), ("published", "published", number), ("ours", "ours", number), ("difference", "ours - published", pp),
         ("setting", "our setting", plain), ("lr", "our lr", rate), ("seeds", "our seeds", plain), ("note", "note", plain)),
    ),
}  # fmt: skip


def printed_tables(tables: Tables) -> dict[str, pd.DataFrame]:
    """The frames of `analyse` as the report's tables: name in SHOWN -> frame."""
    cells = tables["cells"]
    primary = cells["primary"].astype(bool)
    verdicts = tables["verdicts"]
    declared = verdicts["confirmatory"].astype(bool)
    found = {
        "verdicts": verdicts[declared],
        "win_counts": tables["win_counts"],
        "left_out": tables["left_out"],
        "grid": cells[primary],
        "appendix": cells[~primary],
        "convergence": tables["speedups"],
        "schedules": tables["schedules"],
        "learning_rates": tables["rates"],
        "sensitivity": tables["sensitivity"],
        "olora_plus": tables["ratios"],
        "losses": tables["measures"],
        "costs": tables["costs"],
        "controls": verdicts[~declared],
        "anatomy": tables["anatomy"],
        "scoring": tables["scoring"],
        "coverage": tables["coverage"],
        "not_done": tables["not_done"],
        "warnings": tables["warnings"],
    }
    return found | {name: tables[name] for name in ("claims", "published", "declared") if name in tables}


def table_files(tables: Tables) -> dict[str, bytes]:
    """file name -> content of every table as CSV, Markdown and LaTeX."""
    files: dict[str, bytes] = {}
    for name, frame in printed_tables(tables).items():
        files |= write_all(name, frame, SHOWN[name])
    return files
