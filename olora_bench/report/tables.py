"""The tables that a study's report is written as: which frame, which columns, what they are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from olora_bench.analysis import Tables, study
from olora_bench.analysis.described import Column, Table, View
from olora_bench.report.published import PUBLISHED_VIEW
from olora_bench.report.render import write_all
from olora_bench.words.claims import CLAIM_VIEW
from olora_bench.words.declared import DECLARED_VIEW

plain, number, pp, rate, whole, probability, times, four = "plain", "number", "pp", "rate", "whole", "probability", "times", "four"


@dataclass(frozen=True)
class Shown:
    """How a table is shown that is not described beside its producer yet: caption, and (column, heading, format)."""

    caption: str
    columns: tuple[tuple[str, str, str], ...]


def digits(count: int, *, sign: bool = False) -> str:
    """The name of the format with so many decimals."""
    return f"{count} digits{' signed' * sign}"


WHO = (
    ("contrast", "contrast", plain),
    ("role", "protocol", plain),
    ("model", "model", plain),
    ("rank", "rank", plain),
    ("setting", "setting", plain),
)
ARM = (("model", "model", plain), ("rank", "rank", plain), ("setting", "setting", plain), ("arm", "arm", plain))

_SHOWN = {
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
    "anatomy": Shown(
        "What A and B are made of, before training, after it, and how far they travelled: mean over layers and runs, least and greatest.",
        (*ARM, ("lr", "lr", rate), ("stage", "stage", plain), ("fact", "fact", plain), ("mean", "mean", four), ("low", "least", four),
         ("high", "greatest", four), ("n_runs", "runs", plain)),
    ),
    "warnings": Shown("Mind, before believing a table.", (("about", "about", plain), ("sentence", "what", plain))),
    "not_done": Shown(
        "Runs and scores that the tables lack.",
        (("train_id", "run", plain), ("model", "model", plain), ("rank", "rank", plain), ("arm", "arm", plain), ("lr", "lr", rate),
         ("seed", "seed", plain), ("roles", "for", plain), ("what", "what", plain), ("reason", "reason", plain)),
    ),
}  # fmt: skip


TITLES = {
    "convergence": "Speed-up to a loss target", "schedules": "Whole schedules that are shorter", "learning_rates": "Learning rates",
    "sensitivity": "Learning-rate sensitivity", "olora_plus": "Learning-rate ratios (OLoRA+)", "losses": "Loss, stability, time and memory",
    "costs": "Cost", "not_done": "Missing, failed, diverged",
    "coverage": "Planned and complete seeds", "anatomy": "What A and B are made of", "scoring": "Scoring",
    "warnings": "What to know first",
}  # fmt: skip
FRAMES = {"convergence": "speedups", "learning_rates": "rates", "olora_plus": "ratios", "losses": "measures"}
ORDER = (
    "verdicts", "win_counts", "left_out", "grid", "appendix", "convergence", "schedules", "learning_rates", "sensitivity", "olora_plus",
    "losses", "costs", "controls", "anatomy", "scoring", "coverage", "not_done", "warnings", "claims", "published", "declared",
)  # fmt: skip


def view_of(name: str, title: str, shown: Shown) -> View:
    """A view of a frame whose columns are not described beside its producer yet."""
    columns = tuple(Column(column, "", heading=heading, form=form) for column, heading, form in shown.columns)
    return View(name, title, shown.caption, Table(FRAMES.get(name, name), "", columns))


_DESCRIBED = (*study.VIEWS, CLAIM_VIEW, PUBLISHED_VIEW, DECLARED_VIEW)
_VIEWS = {view.name: view for view in _DESCRIBED} | {name: view_of(name, TITLES[name], shown) for name, shown in _SHOWN.items()}
VIEWS: Mapping[str, View] = {name: _VIEWS[name] for name in ORDER}
"""The tables that a report prints, by name, in order."""


def printed_tables(tables: Tables) -> dict[str, pd.DataFrame]:
    """The rows of `analyse`'s frames that each of `VIEWS` shows; a view whose frame is not there is left out."""
    return {name: view.frame(tables) for name, view in VIEWS.items() if view.table.name in tables}


def table_files(tables: Tables) -> dict[str, bytes]:
    """file name -> content of every table as CSV, Markdown and LaTeX."""
    files: dict[str, bytes] = {}
    for name, frame in printed_tables(tables).items():
        files |= write_all(VIEWS[name], frame)
    return files
