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


class Verdict(StrEnum):
    """Of an arm against its reference; its text is what tables show. `UNRESOLVED` is never "no difference": that is `EQUIVALENT`,
    which needs a margin."""

    BETTER = "better"
    BETTER_WITHIN_MARGIN = "better, within the margin"
    EQUIVALENT = "equivalent"
    UNRESOLVED = "unresolved"
    WORSE_WITHIN_MARGIN = "worse, within the margin"
    WORSE = "worse"
    TOO_FEW_RUNS = "not enough runs"
    NONE = "no verdict"

    @property
    def side(self) -> int:
        """1 where the arm is better, -1 where the reference is, 0 where neither is shown to be."""
        return _SIDES.get(self, 0)

    @property
    def decided(self) -> bool:
        """Whether it says which of the two is better, or that neither is by more than the margin."""
        return self.side != 0 or self is Verdict.EQUIVALENT

    @property
    def tested(self) -> bool:
        """Whether a test stands behind it, whatever it came to."""
        return self not in (Verdict.TOO_FEW_RUNS, Verdict.NONE)


_SIDES = {Verdict.BETTER: 1, Verdict.BETTER_WITHIN_MARGIN: 1, Verdict.WORSE_WITHIN_MARGIN: -1, Verdict.WORSE: -1}


def p_inside(estimate: Estimate, margin: float) -> float:
    """p of "the difference is the margin or more, either way": at most 5% exactly when the 90% interval lies inside the margin."""
    return float(np.maximum(estimate.p_below(margin), estimate.p_above(-margin)))


def kind(gain: float, p: float, p_inside: float = np.nan, *, level: float = LEVEL) -> Verdict:
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
        return Verdict.EQUIVALENT if within else Verdict.UNRESOLVED
    if gain > 0:
        return Verdict.BETTER_WITHIN_MARGIN if within else Verdict.BETTER
    return Verdict.WORSE_WITHIN_MARGIN if within else Verdict.WORSE
