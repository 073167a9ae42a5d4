"""Held-out loss beside what inits differ in before training: A's size, B's orthonormality, W's directions, the jump of the first loss."""

from __future__ import annotations

from typing import Any

import pandas as pd

from olora_bench.analysis.anatomy import over_rates
from olora_bench.analysis.columns import ARM, PLACE, RUNS, SETTING_COLUMNS
from olora_bench.analysis.described import Column, Table, View
from olora_bench.analysis.frames import JUDGED_ROLE, Row, StudyFrames, groups_of, rows_of
from olora_bench.analysis.runs import REPORTED, with_role

FEWEST = 2
"""Arms beside the reference that a table of several causes needs."""
FACTS = {
    "a_norm": Column("a_norm", "Frobenius norm of A, mean over layers, then runs", "weights", "norm of A", "3 digits"),
    "b_off_orthonormal": Column(
        "b_off_orthonormal", "how far B is from orthonormal (0: it is; 1: B is 0), mean likewise", "", "B from orthonormal", "3 digits"
    ),
    "overlap_right": Column(
        "overlap_right",
        "share of A's row space in W's top r right singular directions, mean likewise",
        "share",
        "A in W's top",
        "3 digits",
    ),
    "overlap_left": Column(
        "overlap_left", "share of B's column space in W's top r left ones; empty where B is 0", "share", "B in W's top", "3 digits"
    ),
    "first_loss_jump": Column(
        "first_loss_jump",
        "train loss of the first batch before any step, less the untouched base's",
        "nats",
        "first loss - base's",
        "3 digits signed",
    ),
}
"""What records know of an arm before training, by name."""
STARTS = Table(
    "starts",
    "a (model, rank, setting, lr, arm), the reference among them, where two arms or more of its learning-rate ratio are compared with it",
    (
        *SETTING_COLUMNS[:3],
        Column("lr", "the shared learning rate; empty where each arm has its own", heading="shared lr", form="rate"),
        Column("reference", "the arm that most others are compared with; of several, the one most often declared so", heading="reference"),
        ARM,
        Column(
            "difference", "held-out loss, arm minus reference; 0 for the reference", "nats", "loss less the reference's", "4 digits signed"
        ),
        Column("low", "lower end of its 95% interval, as in the table measures", "nats", "low", "4 digits signed"),
        Column("high", "upper end of that interval", "nats", "high", "4 digits signed"),
        Column("loss", "held-out loss, mean over the pairs' seeds", "nats", "held-out loss", "4 digits"),
        Column("seeds", "pairs that both have the loss; of the reference, the most that it has with any arm", heading="seeds"),
        *FACTS.values(),
        RUNS,
    ),
)
STARTS_VIEW = View(
    "starts",
    "Loss beside what an init starts from",
    "Held-out loss (nats) beside what the inits differ in before training: the Frobenius norm of A, how far B is from orthonormal (0: it "
    "is; 1: B is 0), how much of A's row space and B's column space lies in W's top r singular directions, and by how much the first "
    "batch's loss is above the untouched base's. 95% intervals of one look, not corrected: the verdicts are in the table of verdicts. "
    "What goes together here may have another cause.",
    STARTS,
)


def starts(frames: StudyFrames, measures: pd.DataFrame, anatomy: pd.DataFrame) -> pd.DataFrame:
    """Every arm's loss against the arm that most are compared with, beside its start: `STARTS`. Empty where no record knows a start.

    Args:
        measures: as `losses.compare_measures` returns it.
        anatomy: as `anatomy.anatomy` returns it.
    """
    begun = over_rates(anatomy[(anatomy["stage"] == "start") & anatomy["fact"].isin(FACTS)])
    known = measures[(measures["measure"] == "report_loss") & (measures["role"] == JUDGED_ROLE[frames.protocol])]
    known = known[known["longest"].astype(bool)] if len(begun) else known.iloc[:0]
    jumps, rows = _jumps(frames), list[Row]()
    for key, cell in groups_of(known, [*PLACE, "lr_reference", "lr_arm"]):
        where = {name: key[name] for name in PLACE}
        star = _star(frames, cell)
        for row in star if len(star) > FEWEST else ():
            facts = _facts(begun, where, row["arm"]) | {"first_loss_jump": jumps.get((*where.values(), row["arm"]))}
            rows.append(where | {"lr": key["lr_arm"]} | row | facts)
    return STARTS.frame(rows)


def _star(frames: StudyFrames, cell: pd.DataFrame) -> list[Row]:
    """The rows of the arm that most arms are compared with, whichever of the two the study calls the reference. Arms of two ratios of
    learning rates differ in more than their start."""
    ratio = dict(zip(frames.runs["arm"], frames.runs["lr_ratio"].fillna(1.0), strict=True))
    stars: dict[str, list[tuple[Row, float]]] = {}
    for r in rows_of(cell):
        if ratio[r["arm"]] == ratio[r["reference"]]:
            for centre, arm, sign in ((r["reference"], r["arm"], 1), (r["arm"], r["reference"], -1)):
                stars.setdefault(centre, []).append(_ray(r, centre, arm, sign))
    declared = cell["reference"].value_counts()
    centre = max(stars, key=lambda name: (len(stars[name]), declared.get(name, 0)), default=None)
    return [] if centre is None else [_centre(frames, centre, stars[centre]), *(ray for ray, _ in stars[centre])]


def _ray(row: Row, centre: str, arm: str, sign: int) -> tuple[Row, float]:
    """A comparison as seen from its centre, and the loss of the centre in it."""
    low, high = (sign * row["low"], sign * row["high"])[::sign]
    loss, at = (row["value_arm"], row["value_reference"])[::sign]
    found = {"difference": sign * row["difference"], "low": low, "high": high, "seeds": row["seeds"], "runs": row["runs"]}
    return {"reference": centre, "arm": arm, "loss": loss} | found, at


def _centre(frames: StudyFrames, arm: str, rays: list[tuple[Row, float]]) -> Row:
    most, loss = max(rays, key=lambda ray: int(ray[0]["seeds"]))
    own = set(frames.runs.loc[frames.runs["arm"] == arm, "train_id"])
    runs = " ".join(sorted(own & {one for ray, _ in rays for one in str(ray["runs"]).split()}))
    nothing = dict.fromkeys(("low", "high"), float("nan"))
    return {"reference": arm, "arm": arm, "loss": loss, "difference": 0.0, "seeds": most["seeds"], "runs": runs} | nothing


def _facts(begun: pd.DataFrame, where: Row, arm: str) -> Row:
    same = begun[(begun["arm"] == arm) & (begun[PLACE] == pd.Series(where)).all(axis=1)]
    means = dict(zip(same["fact"], same["mean"], strict=True))
    return {name: means.get(name) for name in FACTS}


def _jumps(frames: StudyFrames) -> dict[Any, float]:
    """By (model, rank, setting, arm): by how much the first loss of its reported runs is above the untouched base's, in the mean."""
    names = [f"init.anatomy.step_0.{name}" for name in ("loss", "loss_untouched_base")]
    if not set(names) <= set(frames.runs):
        return {}
    runs = with_role(frames.runs[frames.runs["state"] == "done"], *REPORTED)
    jump = runs[names[0]].astype(float) - runs[names[1]].astype(float)
    return jump.dropna().groupby([runs[name] for name in (*PLACE, "arm")]).mean().to_dict()
