"""Claims about speed: how many of the reference's steps an arm's steps are worth."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from olora_bench.analysis.cells import MIN_SEEDS_FOR_VERDICT
from olora_bench.analysis.claims import evidence
from olora_bench.analysis.claims.values import NOT_TESTED, UNRESOLVED, Asked, Finding, runs_of, tally
from olora_bench.analysis.convergence import HEADLINE_SHARE, headline_speeds
from olora_bench.analysis.frames import rows_of
from olora_bench.analysis.paired import LEVEL, Floats, holm, paired_t
from olora_bench.analysis.schedules import runs_by_length

POINTS = 801
"""Lengths at which the reference's loss is read between its shortest and its longest schedule, equally spaced in their logarithm."""


def faster(asked: Asked) -> Finding:
    """How many of the reference's steps the arm's are worth: from schedules of several lengths, each trained to its end, where the study
    has them. Faster is shown where the interval of the ratio lies above 1. Crossings inside one schedule are a hint and decide nothing.
    """
    found = list(_by_schedules(asked))
    return _judged(asked, found) if found else _inside_one(asked)


def _judged(asked: Asked, found: list[tuple[evidence.Setting, tuple[str, ...]]]) -> Finding:
    settings = tuple(setting for setting, _ in found)
    good, bad = (sum(one.headline.faster is wanted for one in settings) for wanted in (True, False))
    runs = tuple(sorted({run for _, of_setting in found for run in of_setting}))
    worth = evidence.StepsWorth(asked.claim.reference, settings, asked.claim.factor)
    return Finding(tally(good, bad, len(settings) - good - bad), worth, runs)


def _by_schedules(asked: Asked) -> Iterator[tuple[evidence.Setting, tuple[str, ...]]]:
    """A setting each, with its runs. The intervals of the headlines hold together: they share out the error (Bonferroni)."""
    groups = [(arm, reference) for one in asked.comparisons for arm, reference in runs_by_length(asked.frames, one)]
    for arm, reference in groups:
        losses = [side.pivot(index="seed", columns="length", values="loss") for side in (arm, reference)]
        shortest, *_, longest = sorted(map(_steps, losses[1]))
        middle = np.sqrt(shortest * longest)
        lengths = sorted(map(_steps, losses[0]), key=lambda length: (round(abs(np.log(length / middle)), 3), length))
        headline = steps_worth(losses[0][lengths[0]], losses[1], level=LEVEL / len(groups))
        others = tuple(steps_worth(losses[0][length], losses[1]) for length in sorted(lengths[1:]))
        yield evidence.Setting(headline, others), tuple(sorted({*arm["train_id"], *reference["train_id"]}))


def steps_worth(arm: pd.Series, reference: pd.DataFrame, *, level: float = LEVEL) -> evidence.Worth:
    """With how many of its own steps the reference ends at the loss at which the arm ends.

    Between two lengths the reference's loss is linear in the logarithm of its steps, seed by seed. The interval holds every length at which
    a paired t over seeds does not tell the two losses apart, so it leaves the arm's own length out exactly where that test finds a
    difference between schedules of that length (an inverted test, as Fieller's).

    Args:
        arm: final losses in nats by seed; its name is the number of steps.
        reference: the same, a column for each number of steps, at least two.
        level: 1 minus the interval's confidence.

    Returns:
        Ratios of the reference's steps to the arm's. An end beyond the reference's lengths is 0 or infinite. A diverged run, or fewer
        than 3 paired seeds, leaves nothing to read: 0 to infinity.
    """
    steps, both = _steps(arm.name), reference.join(arm.rename("arm"), how="inner").dropna()
    lengths = np.sort(np.array(list(map(_steps, reference))))
    if len(both) < MIN_SEEDS_FOR_VERDICT or np.isinf(both.to_numpy(dtype=float)).any():
        return evidence.Worth(steps, None, 0.0, np.inf, None, len(both))
    at = np.union1d(np.geomspace(lengths[0], lengths[-1], POINTS), [*lengths, *([steps] if lengths[0] <= steps <= lengths[-1] else [])])
    read = np.array([np.interp(np.log(at), np.log(lengths), seed) for seed in both[list(lengths)].to_numpy(dtype=float)])
    test = paired_t((both["arm"].to_numpy(dtype=float)[:, None] - read).T, level=level)
    kept = np.isnan(test.p) | (test.p > level)
    low, high = _interval(at, test.mean, kept)
    faster = None if kept[at == steps].any() else True if low >= steps else False if high <= steps else None
    return evidence.Worth(steps, _crossing(at, test.mean) / steps, low / steps, high / steps, faster, len(both))


def _steps(name: object) -> float:
    """The number of steps that a column is named after."""
    return float(str(name))


def _interval(at: Floats, mean: Floats, kept: np.ndarray) -> tuple[float, float]:
    """The reference's lengths that are kept; where all are rejected, the side on which the arm's loss lies."""
    if not kept.any():
        above = mean[-1] < 0
        return (float(at[-1]), np.inf) if above else (0.0, float(at[0])) if mean[0] > 0 else (np.nan, np.nan)
    places = np.flatnonzero(kept)
    return (0.0 if places[0] == 0 else float(at[places[0]])), (np.inf if places[-1] == len(at) - 1 else float(at[places[-1]]))


def _crossing(at: Floats, mean: Floats) -> float:
    """Where the reference's mean loss falls to the arm's: 0 or infinite beyond its lengths. `mean`: arm minus reference."""
    behind = np.flatnonzero(mean >= 0)
    if not len(behind):
        return np.inf
    return float(at[behind[0]]) if behind[0] or mean[0] == 0 else 0.0


def _inside_one(asked: Asked) -> Finding:
    own = headline_speeds(asked.tables["speedups"])
    if own.empty:
        return Finding(NOT_TESTED, evidence.Lacking("losses on the way"))
    verdicts = own["verdict"].where(holm(own["p"].to_numpy(dtype=float)) <= LEVEL)
    good, bad = int((verdicts == "faster").sum()), int((verdicts == "slower").sum())
    cells = tuple(evidence.Speed(row["speedup"], row["low"], row["high"], row["bound"]) for row in rows_of(own))
    found = evidence.SpeedInside(HEADLINE_SHARE, cells, good, bad, len(own) - good - bad, asked.claim.factor)
    return Finding(UNRESOLVED, found, runs_of(own))
