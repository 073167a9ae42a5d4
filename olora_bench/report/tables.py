"""The tables that a study's report is written as: which frame, which columns, what they are called."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from olora_bench.analysis import Tables
from olora_bench.analysis.described import View
from olora_bench.analysis.study import VIEWS
from olora_bench.report.render import Shown, write_all
from olora_bench.words.numbers import FORMATS, digits, number, plain, pp, probability, rate
from olora_bench.words.tables import written_name

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


def shown_of(view: View) -> Shown:
    """A view as tables are written from."""
    return Shown(view.caption, tuple((written_name(column.name), column.heading, FORMATS[column.form]) for column in view.columns))


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
    **{view.name: shown_of(view) for view in VIEWS},
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
    "appendix": Shown(
        "The metrics that are not primary: accuracy in percent, differences in percentage points, 95% interval of a paired t over seeds.",
        (*WHO, ("benchmark", "benchmark", plain), ("metric", "metric", plain), ("score_reference", "reference", number),
         ("score_arm", "arm", number), ("difference", "difference", pp), ("low", "low", pp), ("high", "high", pp),
         ("seeds", "seeds", plain)),
    ),
    "controls": Shown(
        "Contrasts beside the verdict, controls among them: macro-average difference in percentage points and held-out loss in nats, "
        "sign-flip test over blocks; p as it is.",
        (*WHO[:2], ("lr_arm", "shared lr", rate), ("blocks", "blocks", plain), *OUTCOMES, ("p", "p", probability),
         ("verdict", "verdict", plain), ("note", "note", plain)),
    ),
    "declared": Shown(
        "The commit that declared the study: since then its contrasts, grids and seeds have not changed. Runs by when they started; those "
        "before it may be another study's.",
        (("file", "study file", plain), ("commit", "commit", plain), ("committed_at", "committed", plain),
         ("runs", "runs started", plain), ("runs_after", "after it", plain), ("runs_before", "before it", plain),
         ("reason", "why none", plain)),
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
        **{view.name: tables[view.table.name] for view in VIEWS},
        "controls": verdicts[~declared],
    }
    return found | {name: tables[name] for name in ("claims", "published", "declared") if name in tables}


def table_files(tables: Tables) -> dict[str, bytes]:
    """file name -> content of every table as CSV, Markdown and LaTeX."""
    files: dict[str, bytes] = {}
    for name, frame in printed_tables(tables).items():
        files |= write_all(name, frame, SHOWN[name])
    return files
