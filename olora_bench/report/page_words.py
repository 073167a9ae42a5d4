"""The sentences at the head of a report's page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from olora_bench.analysis.claims import NOT_SUPPORTED, NOT_TESTED, SUPPORTED, UNRESOLVED
from olora_bench.analysis.paired import MIN_BLOCKS
from olora_bench.report.render import number, probability, rate

MEANINGS = {
    SUPPORTED: "this study's runs show it",
    NOT_SUPPORTED: "this study's runs show the contrary",
    UNRESOLVED: "this study's runs cannot tell",
    NOT_TESTED: "this study has no runs that could tell",
}
VERDICT_MARKS = {"win": "better", "loss": "worse", "unresolved": "open", "not enough runs": "open", "no verdict": "open"}


def headline(row: Mapping[str, Any]) -> str:
    """A comparison's verdict in one sentence, with interval and number of blocks. `row` is a row of the verdicts frame."""
    arm, reference, note = row["arm"], row["reference"], row["note"]
    blocks = f"{row['blocks']} block{'s' * (row['blocks'] != 1)} of model and seed"
    if pd.isna(row["difference"]):
        return f"No verdict yet on {arm} against {reference}: {note or 'no run of this comparison has been scored'}."
    mean = f"{number(row['difference'], sign=True)} percentage points on average over benchmarks"
    known = not pd.isna(row["low"])
    extent = f"95% interval {number(row['low'], sign=True)} to {number(row['high'], sign=True)}; {blocks}" if known else blocks
    if row["verdict"] in ("win", "loss"):
        size = number(abs(row["difference"]))
        what = "scores higher than" if row["verdict"] == "win" else "scores lower than"
        return f"{arm} {what} {reference}, by {size} percentage points on average over benchmarks ({extent})."
    if row["verdict"] == "unresolved":
        why = f" {note[0].upper()}{note[1:]}." if note else ""
        return f"Unresolved: {arm} is at {mean} against {reference} ({extent}).{why}"
    if row["verdict"] == "not enough runs":
        return f"Not enough runs for a verdict: {arm} is at {mean} against {reference}, but {blocks} cannot decide; {MIN_BLOCKS} can."
    return f"No verdict: {arm} is at {mean} against {reference} ({extent}). {note[0].upper()}{note[1:]}." if note else "No verdict."


def details(row: Mapping[str, Any]) -> list[str]:
    """What stands below the headline: protocol, test, gaps."""
    how = "one learning rate for both" if row["role"] == "shared" else "each arm at its own tuned learning rate"
    lr = "" if pd.isna(row["lr_arm"]) else f" ({rate(row['lr_arm'])})"
    lines = [f"{how}{lr}", f"{row['blocks_for']} of {row['blocks']} blocks for {row['arm']}"]
    p = row["p_holm"] if row["confirmatory"] else row["p"]
    if not pd.isna(p):
        lines.append(f"exact sign-flip test over blocks, {'Holm ' if row['confirmatory'] else ''}p = {probability(p)}")
    lines.append(f"{row['pairs_planned']} pairs of runs planned" + (f", {row['pairs_missing']} missing" if row["pairs_missing"] else ""))
    if row["diverged"]:
        lines.append(f"{row['diverged']} pairs diverged")
    return lines


def count_sentence(row: Mapping[str, Any]) -> str:
    """The paper-style count against its null band. `row` is a row of the win_counts frame."""
    ties = f", {row['ties']} ties" if row["ties"] else ""
    inside = row["null_low"] <= row["wins"] <= row["null_high"]
    where = "inside" if inside else "outside"
    return (
        f"{row['arm']} has the higher mean in {row['wins']} of {row['cells']} cells ({row['losses']} losses{ties}): {where} the "
        f"{row['null_low']} to {row['null_high']} wins that these runs would give 95% of the time, were the arms the same."
    )


def speed_sentence(row: Mapping[str, Any]) -> str:
    """How much sooner an arm reaches a loss target in one cell. `row` is a row of the speedups frame."""
    bound = "" if row["bound"] == "exact" else f"{row['bound']} "
    interval = "" if pd.isna(row["low"]) else f" (95% interval {row['low']:.2f} to {row['high']:.2f})"
    return f"{row['model']} rank {row['rank']}: {bound}{row['speedup']:.2f} times as fast{interval}, {row['verdict']}"


def declared_sentences(declared: pd.DataFrame) -> list[str]:
    """What is known of the commit that declared the study. `declared` is that frame, of one row or none."""
    if declared.empty:
        return ["The commit that declared this study is not known here."]
    row = {str(name): None if pd.isna(value) else value for name, value in declared.iloc[0].items()}
    if not row["commit"]:
        return [f"The commit that declared this study is not known: {row['reason'] or 'its file is in no git repository'}."]
    lines = [f"{row['file']} was committed as {row['commit']} on {row['committed_at']}."]
    after, before, runs = row["runs_after"] or 0, row["runs_before"] or 0, row["runs"] or 0
    lines.append(f"Of {runs} runs with a record {after} started after that commit" + (f", {before} before it." if before else "."))
    if row["changed_since"]:
        lines.append("The file was changed after that commit.")
    return lines
