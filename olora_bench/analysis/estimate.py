"""An estimate whose error has a block part and an item part: its interval and its p at any level.

The block part is known from few blocks, the item part from hundreds of items. Student's t with Satterthwaite's degrees of freedom for
their sum is wrong too often (12.9% instead of 5% with two models, 5.6% with six seeds; more at Holm's levels), because it counts on
many degrees of freedom just when the block part came out small. The half-width here is

    sqrt(block_variance * t(block_df)^2 + item_variance * t(item_df)^2)

which misses in at most the level whatever the ratio of the parts (Banerjee 1960, Sankhya 22, 357). Why: P(chi2_1 <= x) is concave in x,
and x is a mean of both parts, weighted by their true shares; so the chance to hold the truth is at least the mean of the two chances,
and each alone is 1 - level.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from olora_bench.analysis.paired import LEVEL, Floats

Flags = NDArray[np.bool_]
LEAST_P = 1e-100
"""A p below this is 0."""


@dataclass(frozen=True)
class Estimate:
    """A value and what is known of its error; fields are numbers, or arrays of one shape for many studies at once.

    `value` in the unit of the differences. `block_variance`: the squared standard error that new blocks (seeds, or models) bring, on
    `block_df` degrees of freedom. `item_variance`: what new items add, not below zero, on `item_df` degrees of freedom. `item_noise`: the
    standard deviation of the estimate `item_variance` before it was cut at zero. `may_be_lower`, `may_be_higher`: the true value may lie
    beyond on that side, by what nobody knows, for another reason than chance: then nothing is shown against it, and the interval is open.
    """

    value: Floats
    block_variance: Floats
    block_df: Floats
    item_variance: Floats
    item_df: Floats
    item_noise: Floats
    may_be_lower: bool | Flags = field(default=False, kw_only=True)
    may_be_higher: bool | Flags = field(default=False, kw_only=True)

    @property
    def block_se(self) -> Floats:
        return np.sqrt(self.block_variance)

    @property
    def item_se(self) -> Floats:
        return np.sqrt(self.item_variance)

    @property
    def variance(self) -> Floats:
        return self.block_variance + self.item_variance

    @property
    def se(self) -> Floats:
        return np.sqrt(self.variance)

    @property
    def df(self) -> Floats:
        """Satterthwaite's degrees of freedom of the whole variance. They describe; the interval does not use them."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.variance**2 / (self.block_variance**2 / self.block_df + self.item_noise**2 / 2)

    def half_width(self, level: float | Floats = LEVEL) -> Floats:
        """Half the interval that misses the truth in at most `level` of studies; NaN where the differences show no spread."""
        return _half_width(self, level / 2)

    def interval(self, level: float = LEVEL) -> tuple[Floats, Floats]:
        """The interval of confidence 1 - `level`: the 95% interval by default, the 90% one for `level` 0.1."""
        return self.ends(self.half_width(level))

    def ends(self, half: Floats) -> tuple[Floats, Floats]:
        """The interval of this half-width, infinite where it is open."""
        return np.where(self.may_be_lower, -np.inf, self.value - half), np.where(self.may_be_higher, np.inf, self.value + half)

    def p(self, null: float = 0.0) -> Floats:
        """Two-sided p of the truth being `null`: the level at which the interval just reaches it; NaN where there is no spread."""
        return np.minimum(2 * np.minimum(*self.p_sides(null)), 1.0)

    def p_sides(self, null: float = 0.0) -> tuple[Floats, Floats]:
        """One-sided p's against "the truth is at most `null`", small where it lies above, and against "it is at least `null`"."""
        tail, value = _tail(self, np.abs(np.asarray(self.value) - null)), np.asarray(self.value)
        above, below = np.where(value >= null, tail, 1 - tail), np.where(value <= null, tail, 1 - tail)
        return unless(self.may_be_lower, above), unless(self.may_be_higher, below)

    def p_above(self, null: float = 0.0) -> Floats:
        """One-sided p: small where the truth lies above `null`."""
        return self.p_sides(null)[0]

    def p_below(self, null: float = 0.0) -> Floats:
        """One-sided p: small where the truth lies below `null`."""
        return self.p_sides(null)[1]


def unless(open_end: bool | Flags, p: Floats) -> Floats:
    """A p, or 1 where that side is open; NaN where it is not known."""
    return np.where(open_end & ~np.isnan(p), 1.0, p)


def of_blocks(differences: Floats) -> Estimate:
    """An estimate about these items only, from one difference a block (last axis): Student's t, with no item part.

    >>> round(float(of_blocks(np.array([1.0, 2.0, 3.0])).p()), 4)
    0.0742
    """
    d = np.asarray(differences, dtype=float)
    n = d.shape[-1]
    spread = d.var(axis=-1, ddof=1) / n if n > 1 else np.full(d.shape[:-1], np.nan)
    nothing = np.zeros(d.shape[:-1])
    return Estimate(d.mean(axis=-1), spread, nothing + n - 1, nothing, nothing + np.inf, nothing)


def _half_width(of: Estimate, tail: float | Floats) -> Floats:
    block = of.block_variance * stats.t.isf(tail, of.block_df) ** 2
    half = np.sqrt(block + of.item_variance * stats.t.isf(tail, of.item_df) ** 2)
    return np.where(half > 1e-9 * np.abs(of.value), half, np.nan)


def _tail(of: Estimate, distance: Floats) -> Floats:
    """The tail at which the half-width equals the distance, from 0 to 0.5."""
    fields = (of.block_variance, of.block_df, of.item_variance, of.item_df, distance)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.vectorize(_one_tail, otypes=[float])(*fields))


def _one_tail(block: float, block_df: float, item: float, item_df: float, distance: float) -> float:
    if not block + item > 1e-18 * distance**2 or distance != distance:
        return np.nan

    def excess(log_tail: float) -> float:
        tail = np.exp(log_tail)
        return float(block * stats.t.isf(tail, block_df) ** 2 + item * stats.t.isf(tail, item_df) ** 2 - distance**2)

    if distance == 0:
        return 0.5
    least = np.log(LEAST_P)
    return 0.0 if excess(least) < 0 else float(np.exp(optimize.brentq(excess, least, np.log(0.5), xtol=1e-12)))
