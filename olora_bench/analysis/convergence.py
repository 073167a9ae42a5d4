"""How fast an arm gets where its reference ends: crossings of loss targets, and whole schedules that are shorter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from olora_bench.analysis.cells import MIN_SEEDS_FOR_VERDICT
from olora_bench.analysis.frames import StudyFrames, curves_by_run
from olora_bench.analysis.paired import LEVEL, Floats, detectable_of, paired_t
from olora_bench.analysis.pairs import CELL, COMPARISON, run_ids
from olora_bench.store.manifest import Contrast

TARGET_SHARES = (0.5, 0.75, 0.9, 0.95)
UNITS = {"steps": "step", "tokens": "tokens", "seconds": "wall_s"}
MIN_READINGS = 20
SHARES = (4, 2, 1)


def first_sustained_crossing(at: Floats, loss: Floats, target: float) -> float:
    """Where a loss falls to a target and stays there at every later reading, linearly interpolated between two readings.

    Args:
        at: `(readings,)` increasing: steps, tokens or seconds.
        loss: `(readings,)` the loss read there.

    Returns:
        In the unit of `at`; NaN where the last reading is above the target.

    >>> first_sustained_crossing(np.array([0.0, 10.0, 20.0, 30.0]), np.array([3.0, 1.0, 2.0, 1.0]), 1.5)
    25.0
    """
    if not len(loss) or not loss[-1] <= target:
        return float("nan")
    above = np.flatnonzero(~(loss <= target))
    if not len(above):
        return float(at[0])
    last = above[-1]
    if not np.isfinite(loss[last]):
        return float(at[last + 1])
    share = (loss[last] - target) / (loss[last] - loss[last + 1])
    return float(at[last] + share * (at[last + 1] - at[last]))


def crossings(frames: StudyFrames, pairs: pd.DataFrame) -> pd.DataFrame:
    """One row a (pair of runs, q): when each side reaches L_q = L_base - q (L_base - L_ref).

    L_base is the report loss before training and L_ref the mean final report loss of the reference over its paired seeds, so a cell has
    one target for both arms and all seeds. A run that diverged never crosses and stays in.

    Returns:
        COMPARISON and CELL columns, seed, arm_id, reference_id, q, target (nats), readings (of the report loss, the smaller of both),
        same_readings (whether both were read at the same steps), and for each side and unit `<side>_<unit>` (steps, tokens, seconds;
        NaN where it never crosses) and `<side>_end_<unit>` (where its curve ends).
    """
    read = frames.curves[frames.curves["report_loss"].notna()] if "report_loss" in frames.curves else frames.curves
    curves = {
        train_id: {name: curve[name].astype(float) for name in ("report_loss", *UNITS.values())} for train_id, curve in curves_by_run(read)
    }
    rows: list[dict[str, Any]] = []
    for key, group in pairs.groupby([*COMPARISON, *CELL], sort=False, dropna=False) if len(pairs) else ():
        usable = group[group["arm_id"].isin(curves) & group["reference_id"].isin(curves)]
        finals = [
            curves[r]["report_loss"][-1] for r, s in zip(usable["reference_id"], usable["reference_state"], strict=True) if s == "done"
        ]
        if not finals:
            continue
        base = float(np.mean([curves[r]["report_loss"][0] for r in usable["reference_id"]]))
        named = dict(zip([*COMPARISON, *CELL], key, strict=True))
        for pair in usable.to_dict("records"):
            sides = {side: curves[pair[f"{side}_id"]] for side in ("arm", "reference")}
            same = np.array_equal(sides["arm"]["step"], sides["reference"]["step"]) or pair["pair"] == "diverged"
            for q in TARGET_SHARES:
                target = base - q * (base - float(np.mean(finals)))
                row = named | {k: pair[k] for k in ("seed", "arm_id", "reference_id")}
                row |= {
                    "q": q,
                    "target": target,
                    "readings": min(len(side["report_loss"]) for side in sides.values()),
                    "same_readings": same,
                }
                for side, curve in sides.items():
                    dead = pair[f"{side}_state"] == "diverged"
                    for unit, column in UNITS.items():
                        at, loss = curve[column], curve["report_loss"]
                        row[f"{side}_{unit}"] = np.nan if dead else first_sustained_crossing(at, loss, target)
                        row[f"{side}_end_{unit}"] = float(at[-1])
                rows.append(row)
    ends = [f"{side}_{end}{unit}" for side in ("arm", "reference") for unit in UNITS for end in ("", "end_")]
    return pd.DataFrame(
        rows, columns=[*COMPARISON, *CELL, "seed", "arm_id", "reference_id", "q", "target", "readings", "same_readings", *ends]
    )


def speedups(found: pd.DataFrame) -> pd.DataFrame:
    """How many times sooner the arm reaches each target, seed by seed, then over seeds.

    Args:
        found: as `crossings` returns it.

    Returns:
        One row a (comparison, cell, q, unit): COMPARISON and CELL columns, q, unit (steps | tokens | seconds), target (nats), seeds,
        arm_censored and reference_censored (seeds of that side that never cross), speedup (geometric mean of reference over arm; above 1
        the arm is faster), bound (exact | at most | at least | none: with censored seeds at the end of their curve the mean is only a
        bound, and with both sides censored not even that), low, high (95% by a paired t of log ratios; NaN with fewer than 3 seeds or
        any censored), detectable (the smallest factor found with 80% power, from the spread over seeds; NaN where low is), faster, slower
        (seeds whose order is known), p (t of log ratios, or a sign test of the known orders where seeds are censored), verdict: faster |
        slower | unresolved | no verdict; note; runs.
    """
    rows: list[dict[str, Any]] = []
    keys = [*COMPARISON, *CELL, "q"]
    for key, group in found.groupby(keys, sort=False, dropna=False) if len(found) else ():
        named = dict(zip(keys, key, strict=True))
        for unit in UNITS:
            rows.append(named | {"unit": unit, "target": group["target"].iloc[0]} | _speedup(group, unit) | {"runs": run_ids(group)})
    names = ["unit", "target", "seeds", "arm_censored", "reference_censored", "speedup", "bound", "low", "high", "detectable", "faster",
             "slower", "p", "verdict", "note", "runs"]  # fmt: skip
    return pd.DataFrame(rows, columns=[*keys, *names])


def _speedup(group: pd.DataFrame, unit: str) -> dict[str, Any]:
    arm, reference = group[f"arm_{unit}"].to_numpy(dtype=float), group[f"reference_{unit}"].to_numpy(dtype=float)
    late, late_reference = np.isnan(arm), np.isnan(reference)
    # A run that has not crossed by its end would need longer: its end is a lower bound of its time.
    ends = group[[f"arm_end_{unit}", f"reference_end_{unit}"]].to_numpy(dtype=float)
    taken = np.where(late, ends[:, 0], arm), np.where(late_reference, ends[:, 1], reference)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(taken[1]) - np.log(taken[0])
    logs = np.where(taken[0] == taken[1], 0.0, logs)  # both there before the first step
    seeds, censored = len(group), late | late_reference
    both_ways = (late & late_reference).any() or (late.any() and late_reference.any())
    bound = "exact" if not censored.any() else "none" if both_ways else "at most" if late.any() else "at least"
    # Of a censored side only that it is later than its end is known: enough for an order when the other one crossed before that.
    faster = int(((logs > 0) & ~late & (~late_reference | (taken[1] > taken[0]))).sum())
    slower = int(((logs < 0) & ~late_reference & (~late | (taken[0] > taken[1]))).sum())
    test = paired_t(logs) if bound == "exact" and seeds >= MIN_SEEDS_FOR_VERDICT else None
    p = float(test.p) if test is not None else float(binomtest(faster, faster + slower).pvalue) if faster + slower else float("nan")
    speedup = float("nan") if bound == "none" else float(np.exp(logs.mean()))
    verdict, note = _verdict(group, seeds, p, faster, slower, bound)
    return {
        "seeds": seeds, "arm_censored": int(late.sum()), "reference_censored": int(late_reference.sum()), "speedup": speedup,
        "bound": bound, "low": np.nan if test is None else float(np.exp(test.low)),
        "high": np.nan if test is None else float(np.exp(test.high)),
        "detectable": np.nan if test is None else float(np.exp(detectable_of(logs))),
        "faster": faster, "slower": slower, "p": p, "verdict": verdict, "note": note,
    }  # fmt: skip


def _verdict(group: pd.DataFrame, seeds: int, p: float, faster: int, slower: int, bound: str) -> tuple[str, str]:
    notes = []
    if not group["same_readings"].all():
        return "no verdict", "the loss was not read at the same steps in both arms"
    readings = int(group["readings"].min())
    if readings < MIN_READINGS:
        notes.append(f"coarse: {readings} readings of the loss, {MIN_READINGS} wanted")
    if bound != "exact":
        notes.append("a bound: some seeds never reach the target")
    if seeds < MIN_SEEDS_FOR_VERDICT:
        return "no verdict", ", ".join([*notes, f"{seeds} of at least {MIN_SEEDS_FOR_VERDICT} seeds"])
    if np.isnan(p) or p > LEVEL:
        return "unresolved", ", ".join(notes)
    return "faster" if faster > slower else "slower", ", ".join(notes)


def schedules(frames: StudyFrames) -> pd.DataFrame:
    """The headline speed-up: does the arm, trained to the end of a schedule of T/4, T/2 or T steps, match the reference's loss at T?

    Runs that differ only in the length of training are of one `family`; T is the reference's longest schedule in it. Under `tuned` each
    schedule has the learning rate of its own search; a shared learning rate is a comparison of its own.

    Returns:
        One row a (comparison, family, share): the columns contrast, kind, role, arm, reference, family, model, rank; steps_reference (T),
        share (the arm trains for T/share), steps_arm, lr_reference, lr_arm; loss_reference (at T), loss_arm, loss_reference_short (the
        reference's own at T/share; NaN where it was not run) (final held-out loss, nats, means over paired seeds); difference with low
        and high (paired by seed, nats; NaN below 3 seeds or where all seeds agree), detectable; seconds_reference, seconds_arm (of
        training, means); seeds, seeds_planned, diverged; matches (mean difference at most 0, and no seed diverged); sure (the interval is
        on one side of 0, and no seed diverged); smallest (whether this is the smallest share of T that matches); note; runs.
    """
    rows: list[dict[str, Any]] = []
    names = ["contrast", "kind", "role", "arm", "reference", "family", "model", "rank"]
    for contrast in frames.contrasts:
        for role in ("tuned", "shared"):
            mine = _of_role(frames.runs, contrast, role)
            for key, group in mine.groupby(["family", "model", "rank", *(["lr"] if role == "shared" else [])], sort=False):
                arm, reference = (group[group["arm"] == side] for side in (contrast.arm, contrast.reference))
                if arm["length"].nunique() < 2 or reference.empty:
                    continue
                found = _shares(arm, reference)
                smallest = next((row["share"] for row in found if row["matches"]), None)  # shares are in order: T/4 first
                named = {"contrast": f"{contrast.arm} vs {contrast.reference}", **contrast.model_dump(), "role": role}
                assert isinstance(key, tuple)
                where = dict(zip(["family", "model", "rank"], key, strict=False))
                rows += [named | where | row | {"smallest": row["share"] == smallest} for row in found]
    columns = ["steps_reference", "share", "steps_arm", "lr_reference", "lr_arm", "loss_reference", "loss_reference_short", "loss_arm",
               "difference", "low", "high", "detectable", "seconds_reference", "seconds_arm", "seeds", "seeds_planned", "diverged",
               "matches", "sure", "smallest", "note", "runs"]  # fmt: skip
    return pd.DataFrame(rows, columns=[*names, *columns])


def _of_role(runs: pd.DataFrame, contrast: Contrast, role: str) -> pd.DataFrame:
    known = runs["family"].notna() & runs["length"].notna() & runs["arm"].isin([contrast.arm, contrast.reference])
    mine = runs[known & runs["roles"].str.split().map(lambda roles: role in roles)]
    seconds = mine["timings_s.optimise"].fillna(mine["timings_s.train"])
    losses = mine["metrics.report_loss"].where(mine["state"] == "done")
    return mine.assign(seconds=seconds, loss=losses).drop_duplicates(["family", "model", "rank", "arm", "lr", "length", "seed"])


def _shares(arm: pd.DataFrame, reference: pd.DataFrame) -> list[dict[str, Any]]:
    longest = float(reference["length"].max())
    full = reference[reference["length"] == longest]
    found = []
    for share in SHARES:
        short = arm[(arm["length"] * share - longest).abs() < share]  # T need not be divisible by four
        own = reference[(reference["length"] * share - longest).abs() < share]
        if len(short):
            found.append(_schedule(full, short, own, longest, share))
    return found


def _schedule(full: pd.DataFrame, short: pd.DataFrame, own: pd.DataFrame, longest: float, share: int) -> dict[str, Any]:
    both = full.merge(short, on="seed", suffixes=("_reference", "_arm"))
    died = int(((both["state_arm"] == "diverged") | (both["state_reference"] == "diverged")).sum())
    planned = short["seed"].nunique()
    paired = both.dropna(subset=["loss_arm", "loss_reference"])
    difference = (paired["loss_arm"] - paired["loss_reference"]).to_numpy(dtype=float)
    seeds = len(difference)
    test = paired_t(difference) if seeds >= MIN_SEEDS_FOR_VERDICT else None
    low, high = (np.nan, np.nan) if test is None else (float(test.low), float(test.high))
    mean = float(difference.mean()) if seeds else np.nan
    notes = [f"{died} of {planned} pairs diverged"] if died else []
    notes += [f"{planned - died - seeds} of {planned} pairs missing"] if planned - died - seeds else []
    notes += [f"{seeds} of at least {MIN_SEEDS_FOR_VERDICT} seeds"] if test is None else []
    return {
        "steps_reference": longest, "share": share, "steps_arm": float(short["length"].iloc[0]),
        "lr_reference": float(full["lr"].iloc[0]), "lr_arm": float(short["lr"].iloc[0]),
        "loss_reference": float(paired["loss_reference"].mean()), "loss_arm": float(paired["loss_arm"].mean()),
        "loss_reference_short": float(own[own["seed"].isin(paired["seed"])]["loss"].mean()),
        "difference": mean, "low": low, "high": high, "detectable": detectable_of(difference),
        "seconds_reference": float(paired["seconds_reference"].mean()), "seconds_arm": float(paired["seconds_arm"].mean()),
        "seeds": seeds, "seeds_planned": planned, "diverged": died,
        "matches": bool(mean <= 0) and not died, "sure": bool(high <= 0 or low > 0) and not died, "note": ", ".join(notes),
        "runs": " ".join(sorted({*both["train_id_reference"], *both["train_id_arm"]})),
    }  # fmt: skip
