"""Tests of paired differences. Every function works on the last axis, so that one call tests a study or a thousand simulated ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

LEVEL = 0.05
POWER = 0.8
MIN_BLOCKS = 6
"""Least blocks for a verdict on a comparison: from here on simulated studies hold the level, and fewer leave the seeds' spread unknown to a
factor of three and more."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Paired:
    """A mean difference, its standard error, 95% interval and two-sided p; NaN where too few or equal differences allow none."""

    mean: Floats
    error: Floats
    low: Floats
    high: Floats
    p: Floats


def paired_t(differences: Floats, *, level: float = LEVEL) -> Paired:
    """Student's t of the mean of paired differences.

    Args:
        differences: `(..., n)`, one a pair, in any unit.

    Returns:
        Arrays `(...)` in the same unit. Where all differences are equal, or n is 1, error, interval and p are NaN: the spread cannot
        be told, and a t of infinity would call the smallest difference certain.

    >>> round(float(paired_t(np.array([1.0, 2.0, 3.0])).p), 4)
    0.0742
    """
    d = np.asarray(differences, dtype=float)
    n = d.shape[-1]
    mean = d.mean(axis=-1)
    if n < 2:
        unknown = np.full(mean.shape, np.nan)
        return Paired(mean, unknown, unknown, unknown, unknown)
    error = d.std(axis=-1, ddof=1) / np.sqrt(n)
    error = np.where(error > 1e-9 * np.abs(d).max(axis=-1), error, np.nan)
    half = stats.t.ppf(1 - level / 2, n - 1) * error
    p = 2 * stats.t.sf(np.abs(mean) / error, n - 1)
    return Paired(mean, error, mean - half, mean + half, p)


def holm(p: Floats) -> Floats:
    """Holm's adjusted p-values of the family on the last axis; NaN (no test) stays NaN but counts as a member, which can only cost power.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p, dtype=float)
    order = np.argsort(p, axis=-1)  # NaN last
    sizes = np.arange(p.shape[-1], 0, -1)
    stepped = np.minimum(np.maximum.accumulate(np.take_along_axis(p, order, -1) * sizes, axis=-1), 1.0)
    adjusted = np.empty_like(stepped)
    np.put_along_axis(adjusted, order, stepped, -1)
    return adjusted


def detectable_by_seeds(standard_error: float, pairs: int) -> float:
    """The smallest true difference that a paired t over `pairs` seeds finds with 80% power (non-central t).

    >>> round(detectable_by_seeds(1.0, 3), 2)
    5.65
    """
    return _shift(pairs) * standard_error


@lru_cache
def _shift(pairs: int) -> float:
    critical = stats.t.ppf(1 - LEVEL / 2, pairs - 1)

    def lacking(shift: float) -> float:
        return float(stats.nct.sf(critical, pairs - 1, shift)) - POWER  # the far tail adds less than a millionth at 80% power

    return float(optimize.brentq(lacking, 0.0, 4.0 * critical))


def detectable_of(differences: Floats) -> float:
    """`detectable_by_seeds` of paired differences `(n,)`, in their unit; NaN for fewer than three or where all are equal.

    >>> round(detectable_of(np.array([-1.0, 0.0, 1.0])), 2)
    3.26
    """
    if len(differences) < 3:
        return float("nan")
    error = float(paired_t(differences).error)
    return detectable_by_seeds(error, len(differences)) if np.isfinite(error) else float("nan")


class Tested(NamedTuple):
    """A test of a mean difference as numbers: its 95% interval, its p, and the smallest difference that it finds with 80% power."""

    low: float
    high: float
    p: float
    detectable: float


def tested(differences: Floats) -> Tested:
    """The paired t of differences `(n,)` as numbers, NaN where `paired_t` or `detectable_of` has none."""
    if not len(differences):
        return Tested(*[float("nan")] * 4)
    found = paired_t(differences)
    return Tested(float(found.low), float(found.high), float(found.p), detectable_of(differences))
