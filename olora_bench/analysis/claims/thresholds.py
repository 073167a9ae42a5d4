"""Means over pairs against a threshold: a verdict needs the whole interval on one side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from olora_bench.analysis.cells import MIN_SEEDS_FOR_VERDICT
from olora_bench.analysis.claims.evidence import Estimated
from olora_bench.analysis.claims.values import NOT_SUPPORTED, SUPPORTED, UNRESOLVED, Verdict
from olora_bench.analysis.paired import LEVEL, Floats, paired_t


def estimated(values: Floats, *, level: float = LEVEL) -> Estimated:
    """The mean of a value a pair `(n,)` with the interval of a t over pairs, in their unit.

    Fewer than 3 pairs, or one that is not finite, have no interval. Where all are the same, as bytes often are, the interval is that value.

    >>> estimated(np.array([1.0, 1.0, 1.0]))
    Estimated(mean=1.0, low=1.0, high=1.0)
    """
    mean = float(np.mean(values))
    if len(values) < MIN_SEEDS_FOR_VERDICT or not np.isfinite(values).all():
        return Estimated(mean, np.nan, np.nan)
    test = paired_t(values, level=level)
    return Estimated(mean, mean, mean) if np.isnan(test.error) else Estimated(mean, float(test.low), float(test.high))


def ratio_of_means(over: Floats, under: Floats) -> Floats:
    """A value a pair `(n,)` whose mean is the ratio of two means, and whose spread is that ratio's to first order (the delta method).

    All are NaN where a value is not finite or the denominator's mean is not above 0.

    >>> ratio_of_means(np.array([1.0, 3.0]), np.array([4.0, 4.0]))
    array([0.25, 0.75])
    """
    if not (np.isfinite(over).all() and np.isfinite(under).all() and np.mean(under) > 0):
        return np.full(len(over), np.nan)
    ratio = np.mean(over) / np.mean(under)
    return np.asarray(ratio + (over - ratio * under) / np.mean(under))


def at_most(cells: Sequence[Floats], threshold: float) -> Verdict:
    """Supported where each cell's interval ends at or below the threshold, not supported where any lies above it, else unresolved.

    That every cell holds needs no correction, since each must be shown; that some cell does not is Bonferroni over the cells.
    """
    if all(estimated(cell).high <= threshold for cell in cells):
        return SUPPORTED
    above = any(estimated(cell, level=LEVEL / len(cells)).low > threshold for cell in cells)
    return NOT_SUPPORTED if above else UNRESOLVED
