"""What an estimate says beside a margin: better, equivalent, unresolved, and their mirror images.

Two questions are asked of each contrast, each with a family of its own over which Holm bounds the chance of any false answer at the level:
is there a difference (two-sided p), and does it lie inside the margin (the larger of two one-sided p's, TOST, Schuirmann 1987)?
A contrast can make only one of the two false: no difference is inside every margin, and a difference at the margin is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from olora_bench.analysis.estimate import Estimate
from olora_bench.analysis.paired import LEVEL, holm


class Kind(StrEnum):
    """A verdict. `UNRESOLVED` is never "no difference": that is `EQUIVALENT`, which needs a margin."""

    BETTER = "better"
    BETTER_WITHIN_MARGIN = "better, within the margin"
    EQUIVALENT = "equivalent"
    UNRESOLVED = "unresolved"
    WORSE_WITHIN_MARGIN = "worse, within the margin"
    WORSE = "worse"


@dataclass(frozen=True)
class Judged:
    """A verdict and what it rests on.

    `p`, `p_holm`: of no difference; `p_inside`, `p_inside_holm`: of a difference of the margin or more (NaN without a margin); NaN where
    there is no estimate. `step_level`: the level at which Holm tested the difference: 1 - `step_level` is the confidence of the interval
    that leaves zero out exactly when the difference is shown.
    """

    kind: Kind
    p: float
    p_holm: float
    p_inside: float
    p_inside_holm: float
    step_level: float


def judge(
    estimates: Sequence[Estimate | None], *, margin: float | None = None, higher_is_better: bool = True, level: float = LEVEL
) -> list[Judged]:
    """Judge a family of contrasts together.

    The interval that is printed stays the contrast's own 95% interval: one number, one interval. In a family of two or more, Holm asks
    more than that interval, so it may leave zero out where the verdict is unresolved; the interval of confidence 1 - `step_level`
    agrees with the verdict. So it is with equivalence: for one contrast it is said when the 90% interval (1 - 2 level) lies inside the
    margin; for a family the same holds of the wider interval 1 - 2 level / (contrasts left in Holm's procedure).

    Args:
        estimates: one a contrast of the family, arm minus reference; None (or an estimate without spread) where there is none, which
            counts in the family and is unresolved.
        margin: the difference that matters, in the unit of the estimates; None declares none, and then nothing is equivalent.
        higher_is_better: False for a loss.
        level: of each question's family.

    Raises:
        ValueError: the margin is not above zero.
    """
    if margin is not None and not margin > 0:
        raise ValueError(f"a margin is a difference that matters: {margin} must be above 0")
    p = np.array([np.nan if one is None else float(one.p()) for one in estimates])
    inside = np.array([np.nan if one is None or margin is None else p_inside(one, margin) for one in estimates])
    adjusted, inside_adjusted = holm(p), holm(inside)
    shown = int((adjusted <= level).sum())
    judged = []
    for place, one in enumerate(estimates):
        gain = 0.0 if one is None else float(one.value) * (1 if higher_is_better else -1)
        found, within = float(adjusted[place]), float(inside_adjusted[place])
        before = int((p < p[place]).sum()) if found <= level else shown
        step = level / max(len(estimates) - before, 1)
        judged.append(Judged(kind(gain, found, within, level=level), float(p[place]), found, float(inside[place]), within, step))
    return judged


def p_inside(estimate: Estimate, margin: float) -> float:
    """p of "the difference is the margin or more, either way": at most 5% exactly when the 90% interval lies inside the margin."""
    return float(np.maximum(estimate.p_below(margin), estimate.p_above(-margin)))


def kind(gain: float, p: float, p_inside: float = np.nan, *, level: float = LEVEL) -> Kind:
    """The verdict of one contrast from its p's, adjusted over their families where there are any.

    Args:
        gain: arm minus reference, turned so that above zero is better.
        p: of no difference.
        p_inside: of a difference of the margin or more; NaN without a margin.

    >>> kind(0.4, 0.01).value, kind(0.4, 0.01, 0.03).value, kind(0.4, 0.3, 0.03).value, kind(0.4, 0.3).value
    ('better', 'better, within the margin', 'equivalent', 'unresolved')
    """
    within, shown = p_inside <= level, p <= level
    if not shown:
        return Kind.EQUIVALENT if within else Kind.UNRESOLVED
    if gain > 0:
        return Kind.BETTER_WITHIN_MARGIN if within else Kind.BETTER
    return Kind.WORSE_WITHIN_MARGIN if within else Kind.WORSE
