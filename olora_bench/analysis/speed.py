"""How much sooner an arm reaches a loss on the way to where its reference ends: crossings of loss targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from olora_bench.analysis.cells import MIN_SEEDS_FOR_VERDICT
from olora_bench.analysis.columns import CELL_COLUMNS, COMPARISON_COLUMNS, REASONS, RUNS, interval
from olora_bench.analysis.described import Column, Table, View
from olora_bench.analysis.frames import Row, StudyFrames, curves_by_run, groups_of, rows_of
from olora_bench.analysis.paired import LEVEL, Floats, detectable_of, paired_t
from olora_bench.analysis.pairs import CELL, COMPARISON, SIDES, run_ids
from olora_bench.analysis.reasons import CoarseReadings, NeverReached, ReadingsDiffer, Reason, TooFewSeeds

TARGET_SHARES = (0.5, 0.75, 0.9, 0.95)
UNITS = {"steps": "step", "tokens": "tokens", "seconds": "wall_s"}
MIN_READINGS = 20
HEADLINE_SHARE = 0.9
"""The q that reports and claims speak of, in steps."""
_UNIT_WORDS = {"steps": "", "tokens": "", "seconds": "s"}

CROSSINGS = Table(
    "crossings",
    "a (pair of runs, q): when each side reaches L_q = L_base - q (L_base - L_ref) of the held-out loss. L_base is the loss before "
    "training and L_ref the reference's mean final loss over its paired seeds, so a cell has one target for both arms and all seeds",
    (
        *COMPARISON_COLUMNS,
        *CELL_COLUMNS,
        Column("seed", "the pair's seed"),
        Column("arm_id", "train_id of the arm's run"),
        Column("reference_id", "train_id of the reference's run"),
        Column("q", "the share of the reference's own drop in loss"),
        Column("target", "the loss L_q", "nats"),
        Column("readings", "readings of the loss, the smaller count of both sides"),
        Column("same_readings", "whether both sides were read at the same steps"),
        *(
            Column(f"{side}_{end}{unit}", f"{unit} where the {side}'s {meaning}", word)
            for side in SIDES
            for unit, word in _UNIT_WORDS.items()
            for end, meaning in (("", "loss falls to the target for good; empty where it never does"), ("end_", "curve ends"))
        ),
    ),
)
SPEEDUPS = Table(
    "speedups",
    "a (comparison, cell, q, unit): how many times sooner the arm reaches a target of the held-out loss, over seeds",
    (
        *COMPARISON_COLUMNS,
        *CELL_COLUMNS,
        Column("q", "the share of the reference's own drop in loss", heading="q", form="2 digits"),
        Column("unit", "steps, tokens or seconds", heading="in"),
        Column("target", "the loss to reach", "nats", "target (nats)", "3 digits"),
        Column("seeds", "pairs of runs", heading="seeds"),
        Column("arm_censored", "seeds whose arm never reaches the target", heading="arm never"),
        Column("reference_censored", "seeds whose reference never does", heading="reference never"),
        Column("bound", "exact; at most or at least (seeds never reach the target); none (seeds of both sides)", heading="bound"),
        Column("speedup", "geometric mean of reference over arm: above 1 the arm is sooner", "factor", "speed-up", "times"),
        *interval("factor", "times"),
        Column("faster", "seeds whose arm is sooner"),
        Column("slower", "seeds whose reference is sooner"),
        Column("p", "of a t test of log ratios, or of a sign test of the known orders where seeds never reach the target"),
        Column("verdict", "faster, slower, unresolved or no verdict", heading="verdict"),
        REASONS,
        RUNS,
    ),
)
SPEEDUP_VIEW = View(
    "convergence",
    "Speed-up to a loss target",
    "How many times sooner the arm reaches L_base - q (L_base - L_ref) of the held-out loss, seed-paired geometric mean with a 95% "
    "interval; a bound where seeds never reach it.",
    SPEEDUPS,
)


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
    """When each side of each pair reaches the targets of its cell: `CROSSINGS`. A run that diverged never crosses and stays in."""
    curves = _curves(frames)
    rows: list[Row] = []
    for named, group in groups_of(pairs, [*COMPARISON, *CELL]):
        usable = group[group["arm_id"].isin(curves) & group["reference_id"].isin(curves)]
        ends = [curves[r] for r in usable[usable["reference_state"] == "done"]["reference_id"]]
        if not ends:
            continue
        base = float(np.mean([curves[r]["report_loss"][0] for r in usable["reference_id"]]))
        drop = base - float(np.mean([curve["report_loss"][-1] for curve in ends]))
        targets = {q: base - q * drop for q in TARGET_SHARES}
        rows += [named | row for pair in rows_of(usable) for row in _crossed(pair, curves, targets)]
    return CROSSINGS.frame(rows)


_Curve = dict[str, Floats]


def _curves(frames: StudyFrames) -> dict[str, _Curve]:
    """train_id -> the readings of its held-out loss: loss, and where they were read in each unit. A run that was read at its end alone has
    no curve: when it reached a loss cannot be told."""
    read = frames.curves[frames.curves["report_loss"].notna()] if "report_loss" in frames.curves else frames.curves
    return {
        train_id: {name: curve[name].astype(float) for name in ("report_loss", *UNITS.values())}
        for train_id, curve in curves_by_run(read)
        if curve["step"][0] == 0
    }


def _crossed(pair: Row, curves: Mapping[str, _Curve], targets: Mapping[float, float]) -> Iterator[Row]:
    """A row a target of one pair, without what names the pair's cell."""
    sides = {side: curves[pair[f"{side}_id"]] for side in SIDES}
    same = np.array_equal(sides["arm"]["step"], sides["reference"]["step"]) or pair["pair"] == "diverged"
    common = {name: pair[name] for name in ("seed", "arm_id", "reference_id")}
    common |= {"readings": min(len(side["report_loss"]) for side in sides.values()), "same_readings": same}
    for q, target in targets.items():
        row = common | {"q": q, "target": target}
        for side, curve in sides.items():
            diverged = pair[f"{side}_state"] == "diverged"
            for unit, column in UNITS.items():
                reached = np.nan if diverged else first_sustained_crossing(curve[column], curve["report_loss"], target)
                row |= {f"{side}_{unit}": reached, f"{side}_end_{unit}": float(curve[column][-1])}
        yield row


def speedups(crossed: pd.DataFrame) -> pd.DataFrame:
    """How many times sooner the arm reaches each target, seed by seed, then over seeds: `SPEEDUPS`.

    Args:
        crossed: as `crossings` returns it.
    """
    return SPEEDUPS.frame(
        named | {"unit": unit, "target": group["target"].iloc[0]} | _speedup(group, unit) | {"runs": run_ids(group)}
        for named, group in groups_of(crossed, [*COMPARISON, *CELL, "q"])
        for unit in UNITS
    )


def headline_speeds(speedups: pd.DataFrame) -> pd.DataFrame:
    """The rows of `SPEEDUPS` that reports and claims speak of."""
    return speedups[(speedups["q"] == HEADLINE_SHARE) & (speedups["unit"] == "steps")]


def _speedup(group: pd.DataFrame, unit: str) -> Row:
    arm, reference = group[f"arm_{unit}"].to_numpy(dtype=float), group[f"reference_{unit}"].to_numpy(dtype=float)
    late, late_reference = np.isnan(arm), np.isnan(reference)
    # A run that has not crossed by its end would need longer: its end is a lower bound of its time.
    ends = group[[f"arm_end_{unit}", f"reference_end_{unit}"]].to_numpy(dtype=float)
    taken = np.where(late, ends[:, 0], arm), np.where(late_reference, ends[:, 1], reference)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(taken[1]) - np.log(taken[0])
    logs = np.where(taken[0] == taken[1], 0.0, logs)  # both there before the first step
    bound = _bound(late, late_reference)
    # Of a censored side only that it is later than its end is known: enough for an order when the other one crossed before that.
    faster = int(((logs > 0) & ~late & (~late_reference | (taken[1] > taken[0]))).sum())
    slower = int(((logs < 0) & ~late_reference & (~late | (taken[0] > taken[1]))).sum())
    test = paired_t(logs) if bound == "exact" and len(group) >= MIN_SEEDS_FOR_VERDICT else None
    p = float(test.p) if test is not None else float(binomtest(faster, faster + slower).pvalue) if faster + slower else float("nan")
    row = {
        "seeds": len(group), "arm_censored": int(late.sum()), "reference_censored": int(late_reference.sum()), "bound": bound,
        "speedup": float("nan") if bound == "none" else float(np.exp(logs.mean())),
        "low": np.nan if test is None else float(np.exp(test.low)),
        "high": np.nan if test is None else float(np.exp(test.high)),
        "detectable": np.nan if test is None else float(np.exp(detectable_of(logs))),
        "faster": faster, "slower": slower, "p": p,
    }  # fmt: skip
    reasons = _speed_reasons(group, row)
    return row | {"verdict": _speed_verdict(row, reasons), "reasons": reasons}


def _bound(late: np.ndarray[Any, Any], late_reference: np.ndarray[Any, Any]) -> str:
    """What a mean over seeds is when runs that never cross stand in it with their ends. Both arguments: `(seeds,)` bool."""
    if not (late | late_reference).any():
        return "exact"
    both_ways = (late & late_reference).any() or (late.any() and late_reference.any())
    return "none" if both_ways else "at most" if late.any() else "at least"


def _speed_reasons(group: pd.DataFrame, row: Row) -> tuple[Reason, ...]:
    if not group["same_readings"].all():
        return (ReadingsDiffer(),)
    readings, never = int(group["readings"].min()), row["arm_censored"] + row["reference_censored"]
    reasons: list[Reason] = [CoarseReadings(readings, MIN_READINGS)] if readings < MIN_READINGS else []
    reasons += [NeverReached(never, 2 * row["seeds"])] if never else []
    reasons += [TooFewSeeds(row["seeds"], MIN_SEEDS_FOR_VERDICT)] if row["seeds"] < MIN_SEEDS_FOR_VERDICT else []
    return tuple(reasons)


def _speed_verdict(row: Row, reasons: tuple[Reason, ...]) -> str:
    if any(isinstance(reason, (ReadingsDiffer, TooFewSeeds)) for reason in reasons):
        return "no verdict"
    if np.isnan(row["p"]) or row["p"] > LEVEL:
        return "unresolved"
    sooner = row["speedup"] > 1 if row["bound"] == "exact" else row["faster"] > row["slower"]  # the side that p speaks to
    return "faster" if sooner else "slower"
