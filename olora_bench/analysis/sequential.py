"""Contrasts judged look by look: when each is decided, its sequential p, and what is estimated after stopping.

Four one-sided questions are asked of a contrast: does it lie above zero, below zero (half the level each), below the margin, above its
mirror image (the level each)? Each spends its own error over the looks (`analysis.looks`). A sequential p is the least level whose boundary
was crossed at any look so far (Liu and Anderson 2008); Holm over sequential p's holds a family's level at every look (Maurer and Bretz
2013). A contrast is decided at the first look at which it is shown to differ, or to lie inside the margin; its p's then stay. What an
earlier look showed is not called at a look whose own estimate is open on that side; a later look that is not may call it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from olora_bench.analysis.estimate import Estimate, Flags, Floats, unless
from olora_bench.analysis.looks import crossings, next_level, spent
from olora_bench.analysis.paired import LEVEL, holm

_LEAST, _MOST = 1e-12, 1 - 1e-9
"""Sequential p's are not told beyond these."""


@dataclass(frozen=True)
class Look:
    """What a look sees of a contrast; numbers, or arrays of one shape for many studies at once.

    `estimate`: of the seeds so far. `seed_variance`: what one seed of every model adds to the variance of the mean, squared unit of the
    estimate; it falls with the number of seeds, and the rest of the variance does not.
    """

    estimate: Estimate
    seed_variance: Floats


@dataclass(frozen=True)
class Sequential:
    """What the looks so far say of a contrast.

    Attributes:
        look: the look that it stands on, counted from 0: where it was decided, else the last one seen; -1 before the first.
        decided: whether it is shown to differ or to lie inside the margin: it needs no later look.
        side: 1 or -1, to which side p speaks; 0 before the first look.
        p, p_holm: sequential p of no difference, and Holm's over the family; NaN before the first look.
        p_inside, p_inside_holm: of a difference of the margin or more; NaN without a margin.
        low, high: the repeated confidence interval at that look: those of all looks hold the truth together with 95% probability
            (Jennison and Turnbull 1989), whatever made the study stop.
        median_unbiased: the true difference at which what was seen is as likely to be exceeded as not, in the order of stages
            (Jennison and Turnbull 2000, section 8.4), with the boundaries for a difference at Holm's step, where a look was open to
            them; a stop for equivalence is taken as if it could have gone on.
    """

    look: int
    decided: bool
    side: int
    p: float
    p_holm: float
    p_inside: float
    p_inside_holm: float
    low: float
    high: float
    median_unbiased: float


def levels(looks: Sequence[Look], plan: Sequence[int], level: float) -> list[Floats]:
    """The one-sided level at each look that there is, for a test that spends `level` over the plan.

    Each follows from the variances as that look knew them and the levels used before, so that replaying gives the same.

    Args:
        looks: those seen, from the first on.
        plan: seeds a model at every declared look.
        level: one-sided, in all.
    """
    may, used = level * spent(plan), np.zeros((*np.shape(looks[0].estimate.value), 0))
    for place, look in enumerate(looks):
        own = next_level(_variances(look, plan[: place + 1]), used, may[place])
        used = np.concatenate([used, own[..., None]], axis=-1)
    return list(np.moveaxis(used, -1, 0))


def half_widths(looks: Sequence[Look], plan: Sequence[int], level: float) -> list[Floats]:
    """Half the repeated interval at each look: the one-sided test at `level` in all calls what lies farther than it from its null."""
    halves = []
    for look, own in zip(looks, levels(looks, plan, level), strict=True):
        with np.errstate(invalid="ignore"):
            halves.append(np.where(own > 0, look.estimate.half_width(2 * own), np.inf))
    return halves


def sequential(
    contrasts: Sequence[Sequence[Look]], plan: Sequence[int], *, margins: Sequence[float | None] | float | None = None, level: float = LEVEL
) -> list[Sequential]:
    """Judge a family of contrasts by the looks that there are.

    Args:
        contrasts: each with the looks seen so far, from the first on; with none yet it is a member of the family without a p.
        plan: seeds a model at every declared look, ascending.
        margins: the difference that matters, or one a contrast; None declares none.
        level: of each question's family.
    """
    margins = [margins] * len(contrasts) if margins is None or isinstance(margins, float | int) else margins
    crossed, count = np.full((4, len(contrasts)), np.nan), len(contrasts)
    asked, at, decided = crossed.copy(), np.full(count, -1), np.zeros(count, dtype=bool)
    for k in range(len(plan)):
        for i, looks in enumerate(contrasts):
            if len(looks) > k and not decided[i]:
                crossed[:, i], at[i] = _least_levels(crossed[:, i], looks[: k + 1], plan, margins[i]), k
                asked[:, i] = unless(unanswered(looks[k].estimate), crossed[:, i])
        p, inside = _two_sided(asked)
        decided |= (holm(p) <= level) | (holm(inside) <= level)
    found, within, sides = holm(p), holm(inside), np.where(asked[0] <= asked[1], 1, -1)
    return [
        Sequential(int(at[i]), bool(decided[i]), int(sides[i]), float(p[i]), float(found[i]), float(inside[i]), float(within[i]),
                   *_estimated(looks[: at[i] + 1], plan, level, _step(p, i, level)))
        if at[i] >= 0 else _UNSEEN
        for i, looks in enumerate(contrasts)
    ]  # fmt: skip


_UNSEEN = Sequential(-1, False, 0, *[float("nan")] * 7)


def unanswered(of: Estimate) -> Flags:
    """The questions that an estimate with open sides leaves open: above zero, below zero, below the margin, above its mirror image.

    Returns:
        `(4, ...)`.
    """
    lower, higher = np.broadcast_arrays(of.may_be_lower, of.may_be_higher)
    return np.stack([lower, higher, higher, lower])


def _two_sided(asked: Floats) -> tuple[Floats, Floats]:
    """p of no difference and p of a difference of the margin or more, from the four questions' `(4, contrasts)`."""
    return np.minimum(1.0, 2 * asked[:2].min(axis=0)), asked[2:].max(axis=0)


def _step(p: Floats, place: int, level: float) -> float:
    """The level at which Holm tests a contrast."""
    shown = int((holm(p) <= level).sum())
    before = int((p < p[place]).sum()) if holm(p)[place] <= level else shown
    return level / max(len(p) - before, 1)


def _variances(look: Look, plan: Sequence[int]) -> Floats:
    """Of the estimates at all looks up to this one, as it knows them: `(..., looks)`."""
    more = 1 / np.array(plan, dtype=float) - 1 / plan[-1]
    alone = np.zeros(len(plan)) if len(plan) == 1 else np.asarray(look.seed_variance)[..., None] * more
    return np.asarray(np.asarray(look.estimate.variance)[..., None] + alone)


def _least_levels(before: Floats, looks: Sequence[Look], plan: Sequence[int], margin: float | None) -> Floats:
    """The least level crossed so far for each of the four questions, `before` being what the looks before said."""
    last = looks[-1].estimate
    shown = last.p_sides()
    inside = (np.nan, np.nan) if margin is None else (last.p_below(margin), last.p_above(-margin))
    own = [_least_level(float(one), looks, plan, float(known)) for one, known in zip((*shown, *inside), before, strict=True)]
    return np.fmin(before, own)


def _least_level(p: float, looks: Sequence[Look], plan: Sequence[int], known: float) -> float:
    """The least level whose boundary a p crosses at the last of these looks; or `known`, where it cannot be less."""
    share = float(spent(plan)[len(looks) - 1])
    if len(looks) == 1 or p != p:
        return min(p / share, 1.0) if p == p else p
    if p >= known:
        return known

    def lacking(log_level: float) -> float:
        return float(levels(looks, plan, float(np.exp(log_level)))[-1]) - p

    least, most = max(p / share, _LEAST), _MOST
    if least >= most or lacking(np.log(most)) < 0:
        return 1.0
    return least if lacking(np.log(least)) >= 0 else float(np.exp(optimize.brentq(lacking, np.log(least), np.log(most), xtol=1e-10)))


def _estimated(looks: Sequence[Look], plan: Sequence[int], level: float, step: float) -> tuple[float, float, float]:
    """The repeated interval at the last of these looks, and the median-unbiased estimate."""
    last = looks[-1].estimate
    if not last.p() >= 0:  # no spread, no error
        return (float("nan"),) * 3
    low, high = last.ends(half_widths(looks, plan, level / 2)[-1])
    return float(low), float(high), median_unbiased(looks, plan, step)


def median_unbiased(looks: Sequence[Look], plan: Sequence[int], level: float) -> float:
    """The true difference under which a result beyond the one seen has a chance of one half; see `Sequential`.

    Args:
        looks: those seen, the last one being where it stopped.
        plan: seeds a model at every declared look.
        level: two-sided, of the boundaries for a difference.
    """
    value, se = float(looks[-1].estimate.value), np.sqrt(_variances(looks[-1], plan[: len(looks)]))
    halves = np.nan_to_num([float(half) for half in half_widths(looks, plan, level / 2)[:-1]], nan=np.inf, posinf=np.inf)
    closed_above, closed_below, *_ = np.stack([unanswered(look.estimate) for look in looks[:-1]], axis=-1) if len(looks) > 1 else ((), ())
    highest, lowest = np.where(closed_above, np.inf, halves), np.where(closed_below, -np.inf, -halves)

    def beyond(truth: float) -> float:
        upper = (np.append(highest, value) - truth) / se
        lower = (np.append(lowest, -np.inf) - truth) / se
        return float(crossings(se**2, upper, lower).sum()) - 0.5

    if len(looks) == 1:
        return value
    far = 6 * float(se[0]) + abs(value)
    return float(optimize.brentq(beyond, value - far, value + far, xtol=1e-9 * far))
