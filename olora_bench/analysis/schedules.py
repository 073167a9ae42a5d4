"""Whole schedules that are shorter: with how many of its reference's steps an arm ends at the same loss."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from olora_bench.analysis.cells import MIN_SEEDS_FOR_VERDICT
from olora_bench.analysis.columns import CELL_COLUMNS, COMPARISON_COLUMNS, REASONS, RUNS, interval
from olora_bench.analysis.comparison import Comparison
from olora_bench.analysis.described import Column, Table, View
from olora_bench.analysis.frames import Row, StudyFrames, groups_of
from olora_bench.analysis.held_out import final_losses, held_out
from olora_bench.analysis.paired import Tested
from olora_bench.analysis.reasons import PairsDiverged, PairsMissing, Reason, TooFewSeeds
from olora_bench.analysis.runs import with_role
from olora_bench.store.manifest import Contrast

SHARES = (4, 2, 1)

SCHEDULES = Table(
    "schedules",
    "a (comparison, family, share): an arm trained to the end of a schedule of T/4, T/2 or T steps against its reference at T",
    (
        *COMPARISON_COLUMNS[:5],
        Column("family", "the id of cells that differ in the length of training alone"),
        *CELL_COLUMNS[2:4],
        Column("steps_reference", "T: the reference's longest schedule in the family", "steps", "T", "whole"),
        Column("share", "the arm trains for T/share"),
        Column("steps_arm", "the arm's schedule", "steps", "arm steps", "whole"),
        Column("lr_reference", "the reference's learning rate at T", heading="lr reference", form="rate"),
        Column("lr_arm", "the arm's learning rate", heading="lr arm", form="rate"),
        Column("loss_reference", "the reference's final held-out loss at T, mean over paired seeds", "nats", "reference at T", "3 digits"),
        Column("loss_reference_short", "its own at T/share; empty where it was not run", "nats", "reference so short", "3 digits"),
        Column("loss_arm", "the arm's final held-out loss, mean over paired seeds", "nats", "arm", "3 digits"),
        Column("difference", "loss_arm minus loss_reference", "nats", "difference", "3 digits signed"),
        *interval("nats", "3 digits signed"),
        Column("seconds_reference", "training time of the reference at T, mean", "s", "s reference", "number"),
        Column("seconds_arm", "training time of the arm, mean", "s", "s arm", "number"),
        Column("seeds", "pairs with both losses", heading="seeds"),
        Column("seeds_planned", "seeds of the arm's schedule"),
        Column("diverged", "pairs of which a run diverged"),
        Column("matches", "the mean difference is at most 0, and no seed diverged", heading="matches"),
        Column("sure", "the interval lies on one side of 0, and no seed diverged"),
        Column("smallest", "this is the smallest share of T that matches", heading="smallest"),
        REASONS,
        RUNS,
    ),
)
SCHEDULE_VIEW = View(
    "schedules",
    "Whole schedules that are shorter",
    "Separately completed schedules: the arm trained for T/4, T/2 or T steps against the reference at T. Final held-out loss, nats, "
    "95% interval over new seeds, and over new examples where records keep the loss of each; beside it the reference's own loss after as "
    "few steps. Seconds of training.",
    SCHEDULES,
)


def schedules(frames: StudyFrames) -> pd.DataFrame:
    """Does the arm, trained to the end of a schedule of T/4, T/2 or T steps, match the reference's loss at T?

    Runs that differ only in the length of training are of one `family`; T is the reference's longest schedule in it. Under `tuned` each
    schedule has the learning rate of its own search; a shared learning rate is a comparison of its own.

    Returns:
        As `SCHEDULES` describes it.
    """
    rows: list[Row] = []
    for contrast in frames.contrasts:
        for role in ("tuned", "shared"):
            ours = _of_role(frames.runs, contrast, role)
            for cell, group in groups_of(ours, ["family", "model", "rank", *(["lr"] if role == "shared" else [])]):
                arm, reference = (group[group["arm"] == side] for side in (contrast.arm, contrast.reference))
                if arm["length"].nunique() < 2 or reference.empty:
                    continue
                of_shares = _shares(frames, arm, reference)
                smallest = next((row["share"] for row in of_shares if row["matches"]), None)  # shares are in order: T/4 first
                named = {"contrast": f"{contrast.arm} vs {contrast.reference}", **contrast.model_dump(), "role": role}
                named |= {name: cell[name] for name in ("family", "model", "rank")}
                rows += [named | row | {"smallest": row["share"] == smallest} for row in of_shares]
    return SCHEDULES.frame(rows)


def runs_by_length(frames: StudyFrames, comparison: Comparison) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """The runs of a comparison's arm and reference, a family at a time, where both have schedules of several lengths.

    Columns as in `frames.runs`, and `loss` (final and held-out, nats; infinite where a run diverged, missing where it is not done).
    """
    ours = _of_role(frames.runs, comparison, comparison.role)
    ours = ours.assign(loss=ours["loss"].mask(ours["state"] == "diverged", np.inf))
    ours = ours if comparison.lr is None else ours[ours["lr"] == comparison.lr]
    for _, family in ours.groupby(["family", "model", "rank"], sort=False):
        arm, reference = (family[family["arm"] == side] for side in (comparison.arm, comparison.reference))
        if arm["length"].nunique() > 1 and reference["length"].nunique() > 1:
            yield arm, reference


def _of_role(runs: pd.DataFrame, contrast: Contrast | Comparison, role: str) -> pd.DataFrame:
    known = runs["family"].notna() & runs["length"].notna() & runs["arm"].isin([contrast.arm, contrast.reference])
    ours = with_role(runs[known], role)
    seconds = ours["timings_s.optimise"].fillna(ours["timings_s.train"])
    losses = ours["metrics.report_loss"].where(ours["state"] == "done")
    return ours.assign(seconds=seconds, loss=losses).drop_duplicates(["family", "model", "rank", "arm", "lr", "length", "seed"])


def _shares(frames: StudyFrames, arm: pd.DataFrame, reference: pd.DataFrame) -> list[Row]:
    longest = float(reference["length"].max())
    full = reference[reference["length"] == longest]
    rows = []
    for share in SHARES:
        short = arm[(arm["length"] * share - longest).abs() < share]  # T need not be divisible by four
        own = reference[(reference["length"] * share - longest).abs() < share]
        if len(short):
            both = full.merge(short, on=["model", "seed"], suffixes=("_reference", "_arm"))
            of_t = {"steps_reference": longest, "share": share, "lr_reference": float(full["lr"].iloc[0])}
            rows.append(of_t | _schedule(both, short, own, _tested(frames, both)))
    return rows


def _tested(frames: StudyFrames, both: pd.DataFrame) -> Tested:
    """The same test as of the comparison itself: at T it is the same difference."""
    pairs = both.rename(columns={"train_id_arm": "arm_id", "train_id_reference": "reference_id"})
    return held_out(frames.examples, final_losses(frames), pairs[pairs["loss_arm"].notna() & pairs["loss_reference"].notna()]).tested()


def _schedule(both: pd.DataFrame, short: pd.DataFrame, own: pd.DataFrame, test: Tested) -> Row:
    died = int(((both["state_arm"] == "diverged") | (both["state_reference"] == "diverged")).sum())
    planned = short["seed"].nunique()
    paired = both.dropna(subset=["loss_arm", "loss_reference"])
    difference = (paired["loss_arm"] - paired["loss_reference"]).to_numpy(dtype=float)
    seeds = len(difference)
    enough = seeds >= MIN_SEEDS_FOR_VERDICT
    low, high = (test.low, test.high) if enough else (np.nan, np.nan)
    mean = float(difference.mean()) if seeds else np.nan
    missing = planned - died - seeds
    reasons: list[Reason] = [PairsDiverged(died, planned)] if died else []
    reasons += [PairsMissing(missing, planned)] if missing else []
    reasons += [] if enough else [TooFewSeeds(seeds, MIN_SEEDS_FOR_VERDICT)]
    return {
        "steps_arm": float(short["length"].iloc[0]), "lr_arm": float(short["lr"].iloc[0]),
        "loss_reference": float(paired["loss_reference"].mean()), "loss_arm": float(paired["loss_arm"].mean()),
        "loss_reference_short": float(own[own["seed"].isin(paired["seed"])]["loss"].mean()),
        "difference": mean, "low": low, "high": high, "detectable": test.detectable,
        "seconds_reference": float(paired["seconds_reference"].mean()), "seconds_arm": float(paired["seconds_arm"].mean()),
        "seeds": seeds, "seeds_planned": planned, "diverged": died,
        "matches": bool(mean <= 0) and not died, "sure": bool(high <= 0 or low > 0) and not died, "reasons": tuple(reasons),
        "runs": " ".join(sorted({*both["train_id_reference"], *both["train_id_arm"]})),
    }  # fmt: skip
