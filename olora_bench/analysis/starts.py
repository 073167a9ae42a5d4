"""Held-out loss beside what inits differ in before training: A's size, B's orthonormality, W's directions, the jump of the first loss."""

from __future__ import annotations

from typing import Any

import pandas as pd

from olora_bench.analysis.anatomy import over_rates
from olora_bench.analysis.columns import ARM, RUNS, SETTING_COLUMNS
from olora_bench.analysis.described import Column, Table, View
from olora_bench.analysis.frames import JUDGED_ROLE, Row, StudyFrames, groups_of, rows_of
from olora_bench.analysis.runs import REPORTED, with_role

FEWEST = 2
"""Arms beside the reference that a table of several causes needs."""
FACTS = {
    "a_norm": Column("a_norm", "|A|, Frobenius, mean over layers, then runs", "weights", "norm of A", "3 digits"),
    "b_off_orthonormal": Column(
        "b_off_orthonormal", "|BᵀB - I| / sqrt(r), Frobenius: 0 is orthonormal, 1 is B = 0", "", "B from orthonormal", "3 digits"
    ),
    "overlap_right": Column(
        "overlap_right", "share of A's rows in W's top r right singular directions", "share", "A in W's top space", "3 digits"
    ),
    "overlap_left": Column(
        "overlap_left", "share of B's columns in W's top r left ones; empty where B is 0", "share", "B in W's top space", "3 digits"
    ),
}
"""What the anatomy of the start knows, by name."""
_JUMP = "first_loss_jump"
STARTS = Table(
    "starts",
    "a (model, rank, setting, arm), the reference among them, where two arms or more of one ratio of learning rates are compared with it",
    (
        *SETTING_COLUMNS[:3],
        Column("reference", "the arm that most others are compared with", heading="reference"),
        ARM,
        Column("loss", "held-out loss, mean over paired seeds", "nats", "held-out loss", "4 digits"),
        Column("difference", "arm minus reference; 0 for the reference", "nats", "difference", "4 digits signed"),
        Column("low", "lower end of its 95% interval, as in the table measures", "nats", "low", "4 digits signed"),
        Column("high", "upper end of that interval", "nats", "high", "4 digits signed"),
        Column("seeds", "pairs that both have the loss", heading="seeds"),
        *FACTS.values(),
        Column(
            _JUMP,
            "train loss of the first batch before any step, less the untouched base's",
            "nats",
            "first loss above the base's",
            "3 digits",
        ),
        RUNS,
    ),
)
STARTS_VIEW = View(
    "starts",
    "Loss beside what an init starts from",
    "Held-out loss (nats) beside what the inits differ in before training, each arm at its own learning rate where the study searched for "
    "it: the Frobenius norm of A, how far B is from orthonormal (0: it is; 1: B is 0), how much of A and of B lies in W's top r singular "
    "directions, and by how much the first batch's loss is above the untouched base's. 95% intervals of one look, not corrected: the "
    "verdicts are in the table of verdicts.",
    STARTS,
)
_CELL = ["model", "rank", "setting"]


def starts(frames: StudyFrames, measures: pd.DataFrame, anatomy: pd.DataFrame) -> pd.DataFrame:
    """Every arm's loss against the arm that most are compared with, beside its start: `STARTS`.

    Args:
        measures: as `losses.compare_measures` returns it.
        anatomy: as `anatomy.anatomy` returns it.
    """
    known = measures[(measures["measure"] == "report_loss") & (measures["role"] == JUDGED_ROLE[frames.protocol])]
    known = known[known["longest"].astype(bool)]
    begun = over_rates(anatomy[anatomy["stage"] == "start"])
    jumps, rows = _jumps(frames), list[Row]()
    for key, cell in groups_of(known, [*_CELL, "lr_reference", "lr_arm"]):
        where = {name: key[name] for name in _CELL}
        star = _star(frames, cell)
        if len(star) > FEWEST:
            rows += [where | row | _facts(begun, where, row["arm"]) | {_JUMP: jumps.get((*where.values(), row["arm"]))} for row in star]
    return STARTS.frame(rows)


def _star(frames: StudyFrames, cell: pd.DataFrame) -> list[Row]:
    """The rows of the arm that most arms are compared with, whichever of the two the study calls the reference; arms with another ratio of
    learning rates start alike."""
    ratio = dict(zip(frames.runs["arm"], frames.runs["lr_ratio"], strict=True))
    stars: dict[str, dict[str, Row]] = {}
    for r in rows_of(cell):
        ends = ((r["reference"], r["arm"], 1), (r["arm"], r["reference"], -1))
        for centre, arm, sign in ends if ratio[r["arm"]] == ratio[r["reference"]] else ():
            low, high = sorted((sign * r["low"], sign * r["high"]))
            loss, at = (r["value_arm"], r["value_reference"])[::sign]
            found = {"difference": sign * r["difference"], "low": low, "high": high, "seeds": r["seeds"], "runs": r["runs"]}
            rest = stars.setdefault(centre, {centre: _centre(centre, at, r)})
            rest[arm] = {"reference": centre, "arm": arm, "loss": loss} | found
    return list(max(stars.values(), key=len).values()) if stars else []


def _centre(arm: str, loss: float, row: Row) -> Row:
    nothing = dict.fromkeys(("low", "high"), float("nan"))
    return {"reference": arm, "arm": arm, "loss": loss, "difference": 0.0} | nothing | {"seeds": row["seeds"], "runs": row["runs"]}


def _facts(begun: pd.DataFrame, where: Row, arm: str) -> Row:
    same = begun[(begun["arm"] == arm) & (begun[_CELL] == pd.Series(where)).all(axis=1)]
    means = dict(zip(same["fact"], same["mean"], strict=True))
    return {name: means.get(name) for name in FACTS}


def _jumps(frames: StudyFrames) -> dict[Any, float]:
    """By (model, rank, setting, arm): by how much the first loss of its reported runs is above the untouched base's, in the mean."""
    names = [f"init.anatomy.step_0.{name}" for name in ("loss", "loss_untouched_base")]
    if not set(names) <= set(frames.runs):
        return {}
    runs = with_role(frames.runs[frames.runs["state"] == "done"], *REPORTED)
    jump = (runs[names[0]].astype(float) - runs[names[1]].astype(float)).rename(_JUMP)
    return runs.assign(**{_JUMP: jump}).dropna(subset=[_JUMP]).groupby([*_CELL, "arm"])[_JUMP].mean().to_dict()
