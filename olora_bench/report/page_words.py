"""The sentences at the head of a report's page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from olora_bench.analysis.claims import NOT_SUPPORTED, NOT_TESTED, SUPPORTED, UNRESOLVED
from olora_bench.analysis.paired import MIN_BLOCKS
from olora_bench.words.numbers import interval, number, probability, rate

MEANINGS = {
    SUPPORTED: "this study’s runs show it",
    NOT_SUPPORTED: "this study’s runs show the contrary",
    UNRESOLVED: "this study’s runs cannot tell",
    NOT_TESTED: "this study has no runs that could tell",
}
VERDICT_MARKS = {"win": "better", "loss": "worse", "unresolved": "open", "not enough runs": "open", "no verdict": "open"}


@dataclass(frozen=True)
class Judged:
    """What a comparison is judged by: a difference of scores (percentage points) or, where nothing is scored, of held-out losses (nats)."""

    value: float
    low: float
    high: float
    detectable: float
    blocks: int
    by_loss: bool

    @property
    def unit(self) -> str:
        """The unit of the difference, in words."""
        return "nats of held-out loss" if self.by_loss else "percentage points on average over benchmarks"

    def text(self, value: float, *, sign: bool = True) -> str:
        """A difference as it is printed."""
        return number(value, digits=3 if self.by_loss else 1, sign=sign)

    @property
    def interval(self) -> str:
        """The 95% interval in words, empty where there is none."""
        return "" if pd.isna(self.low) else f"95% interval {self.text(self.low)} to {self.text(self.high)}"


def judged(row: Mapping[str, Any]) -> Judged:
    """What a row of the verdicts frame is judged by."""
    by_loss = row["judged_by"] == "report_loss"
    prefix = "loss_" if by_loss else ""
    value, low, high, detectable = (float(row[f"{prefix}{name}"]) for name in ("difference", "low", "high", "detectable"))
    return Judged(value, low, high, detectable, int(row[f"{prefix}blocks"]), by_loss)


def headline(row: Mapping[str, Any]) -> str:
    """A comparison's verdict in one sentence, with interval and number of blocks. `row` is a row of the verdicts frame."""
    arm, reference, note, what = row["arm"], row["reference"], _sentence(row["note"]), judged(row)
    if pd.isna(what.value):
        return f"No verdict yet on {arm} against {reference}: {row['note'] or 'no run of this comparison is done'}."
    blocks = f"{what.blocks} block{'s' * (what.blocks != 1)} of model and seed"
    extent = f"{what.interval}; {blocks}" if what.interval else blocks
    if row["verdict"] in ("win", "loss"):
        higher = (what.value > 0) != what.by_loss
        how = "ends at a lower loss than" if what.by_loss and higher else "ends at a higher loss than" if what.by_loss else None
        how = how or ("scores higher than" if higher else "scores lower than")
        return f"{arm} {how} {reference}, by {what.text(abs(what.value), sign=False)} {what.unit} ({extent})."
    where = f"{arm} is at {what.text(what.value)} {what.unit} against {reference}"
    if row["verdict"] == "not enough runs":
        return f"Not enough runs for a verdict: {where}, but {blocks} cannot decide; {MIN_BLOCKS} can."
    return f"{_sentence(row['verdict'])[:-1]}: {where} ({extent}). {note}".rstrip()


def _sentence(text: str) -> str:
    """
    >>> _sentence("1 of 7 pairs missing"), _sentence("unresolved"), _sentence("")
    ('1 of 7 pairs missing.', 'Unresolved.', '')
    """
    return f"{text[0].upper()}{text[1:]}." if text else ""


def details(row: Mapping[str, Any]) -> list[str]:
    """What stands below the headline: protocol, test, gaps, what could have been seen."""
    how = "one learning rate for both" if row["role"] == "shared" else "each arm at its own tuned learning rate"
    lr = "" if pd.isna(row["lr_arm"]) else f" ({rate(row['lr_arm'])})"
    what = judged(row)
    lines = [f"{how}{lr}", f"{row['blocks_for']} of {what.blocks} blocks for {row['arm']}"]
    p = row["p_holm"] if row["confirmatory"] else row["p"]
    if not pd.isna(p):
        lines.append(f"exact sign-flip test over blocks, {'Holm ' if row['confirmatory'] else ''}p = {probability(p)}")
    gaps = [f"{row[key]} {word}" for key, word in (("pairs_missing", "missing"), ("diverged", "diverged")) if row[key]]
    planned = f"{row['pairs_planned']} pair{'s' * (row['pairs_planned'] != 1)} of runs planned"
    lines.append(", ".join([planned, *(gaps or ["all done"])]))
    if not pd.isna(what.detectable) and (row["verdict"] == "unresolved" or abs(what.value) < what.detectable):
        least = f"{what.text(what.detectable, sign=False)} {'nats' if what.by_loss else 'pp'}"
        lines.append(f"smallest difference that these blocks would find with 80% power: {least}")
    if not what.by_loss and not pd.isna(row["loss_difference"]):
        told = "" if pd.isna(row["loss_low"]) else f" (95% interval {interval(row['loss_low'], row['loss_high'], digits=3)})"
        lines.append(f"held-out loss {number(row['loss_difference'], digits=3, sign=True)} nats{told}")
    return lines


def count_sentence(row: Mapping[str, Any]) -> str:
    """The paper-style count against its null band. `row` is a row of the win_counts frame."""
    ties = f", {row['ties']} ties" if row["ties"] else ""
    where = "inside" if row["null_low"] <= row["wins"] <= row["null_high"] else "outside"
    return (
        f"{row['arm']} has the higher mean in {row['wins']} of {row['cells']} cells ({row['losses']} losses{ties}): {where} the "
        f"{row['null_low']} to {row['null_high']} wins that these runs would give 95% of the time, were the arms the same."
    )


def declared_sentences(declared: pd.DataFrame) -> list[str]:
    """What is known of the commit that declared the study. `declared` is that frame, of one row or none."""
    if declared.empty:
        return ["The commit that declared this study is not known here."]
    row = {str(name): None if pd.isna(value) else value for name, value in declared.iloc[0].items()}
    if not row["commit"]:
        return [f"The commit that declared this study is not known: {row['reason'] or 'its file is in no git repository'}."]
    late = f", {row['runs_before']} before it" if row["runs_before"] else ""
    lines = [
        f"What {row['file']} declares (contrasts, grids, seeds) has stood unchanged since commit {row['commit']} of {row['committed_at']}.",
        f"Of {row['runs']} runs with a record {row['runs_after']} started after that commit{late}.",
    ]
    if row["changed_since"]:
        lines.append("Later commits changed no more of it than its title and comments.")
    return lines
