"""What a study could have found: the power of the test that it uses, and how well that can be known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize, stats

from olora_bench.analysis.estimate import Estimate, Floats
from olora_bench.analysis.paired import LEVEL, POWER

BLOCK_POINTS, ITEM_POINTS = 200, 9
"""Equally likely values of each part's estimate over which a power is averaged."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Found:
    """The smallest true difference found with a given power, in the estimate's unit, and its range for what the variances may be."""

    difference: float
    low: float
    high: float


def power(estimate: Estimate, difference: float, *, level: float = LEVEL) -> float:
    """The chance that a study with these variances calls a true `difference`, on its side, by the test of `Estimate.p`.

    The variances are taken as true, and the test's own estimates of them vary as they do: the block part as chi-square on its degrees of
    freedom, the item part as normal with `item_noise`, cut at zero. Under Holm a contrast of k is tested at `level` / k at the
    strictest and at `level` at the most lenient, once the others are shown: give the former for a power that Holm cannot lower.

    Args:
        estimate: one study; its value plays no part.
        difference: in the estimate's unit, of either sign.
        level: of the two-sided test.

    Returns:
        NaN where the estimate has no spread.
    """
    half = _half_widths(estimate, level)
    return float(stats.norm.sf((half - abs(difference)) / float(estimate.se)).mean())


def found(estimate: Estimate, *, level: float = LEVEL, wanted: float = POWER) -> Found:
    """The smallest difference found with the wanted power (four times in five).

    The range takes both parts of the variance at the lower, then at the upper end of their own 95% intervals: six blocks leave the
    block part's standard deviation known to a factor 0.62 to 2.45. So it covers the truth at least as often as both intervals do.

    Args:
        estimate: one study.
        level: of the two-sided test; `level` / k for one of k contrasts under Holm.

    Returns:
        NaN where the estimate has no spread; infinite where the wanted power is never reached: too few items differ, however far.
    """
    lower, upper = (_at_end(estimate, side) for side in (-1, 1))
    return Found(*(_smallest(one, level, wanted) for one in (estimate, lower, upper)))


def planned(estimate: Estimate, *, blocks: float = 1.0, items: float = 1.0) -> Estimate:
    """The estimate that a study with `blocks` times the blocks and `items` times the items may expect, for `power` and `found`.

    More items also lower the part of the block error that comes from the items' residuals; that is left out, so this promises too little.
    """
    df = (estimate.block_df + 1) * blocks - 1
    return replace(
        estimate,
        block_variance=estimate.block_variance / blocks,
        block_df=df,
        item_variance=estimate.item_variance / items,
        item_df=estimate.item_df * items,
        item_noise=estimate.item_noise / items**1.5,
    )


def _half_widths(estimate: Estimate, level: float) -> Floats:
    """The test's half-widths in equally likely studies."""
    block = float(estimate.block_variance) * _share(_midpoints(BLOCK_POINTS), float(estimate.block_df))
    item = float(estimate.item_variance) + float(estimate.item_noise) * stats.norm.ppf(_midpoints(ITEM_POINTS))
    many = Estimate(
        np.zeros((BLOCK_POINTS, ITEM_POINTS)),
        block[:, None],
        np.asarray(float(estimate.block_df)),
        np.maximum(item, 0.0)[None, :],
        np.asarray(float(estimate.item_df)),
        np.asarray(float(estimate.item_noise)),
    )
    return many.half_width(level)


def _share(tails: Floats | float, df: float) -> Floats:
    """Quantiles of a variance's estimate as a share of its truth; 1 where infinite degrees of freedom know it exactly."""
    return stats.chi2.ppf(tails, df) / df if np.isfinite(df) else np.ones_like(tails)


def _midpoints(count: int) -> Floats:
    return (np.arange(count) + 0.5) / count


def _smallest(estimate: Estimate, level: float, wanted: float) -> float:
    se = float(estimate.se)
    if not se > 0:
        return float("nan")
    half, most = _half_widths(estimate, level), 1e6

    def lacking(difference: float) -> float:
        return float(stats.norm.sf(half / se - difference).mean()) - wanted

    return float(se * optimize.brentq(lacking, 0.0, most)) if lacking(most) > 0 else float("inf")


def _at_end(estimate: Estimate, side: int) -> Estimate:
    """The estimate with both variances at one end of their 95% intervals."""
    tail = (1 - side * CONFIDENCE) / 2  # the upper end of a variance has the lower quantile of chi-square under it
    block = estimate.block_variance / _share(tail, float(estimate.block_df))
    item = estimate.item_variance + side * stats.norm.ppf((1 + CONFIDENCE) / 2) * estimate.item_noise
    return replace(estimate, block_variance=block, item_variance=np.maximum(item, 0.0))
