"""What an estimate says beside a margin: better, equivalent, unresolved, and their mirror images.

Two questions are asked of each contrast, each with a family of its own over which Holm bounds the chance of any false answer at the level:
is there a difference (two-sided p), and does it lie inside the margin (the larger of two one-sided p's, TOST, Schuirmann 1987)?
A contrast can make only one of the two false: no difference is inside every margin, and a difference at the margin is one. Several
contrasts can make both, one each, so that some answer of a study is false with at most twice the level.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from olora_bench.analysis.estimate import Estimate
from olora_bench.analysis.paired import LEVEL


class Kind(StrEnum):
    """A verdict. `UNRESOLVED` is never "no difference": that is `EQUIVALENT`, which needs a margin."""

    BETTER = "better"
    BETTER_WITHIN_MARGIN = "better, within the margin"
    EQUIVALENT = "equivalent"
    UNRESOLVED = "unresolved"
    WORSE_WITHIN_MARGIN = "worse, within the margin"
    WORSE = "worse"


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
