"""The exact sign flip of a study that looks several times: about these items, conditional on the sizes of the differences seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from olora_bench.analysis.exact import RANDOM_FLIPS, SignFlip, as_integers, sign_flip
from olora_bench.analysis.looks import spent

LISTED = 20
"""Blocks up to which all sign vectors are listed; beyond, `RANDOM_FLIPS` are drawn, to which the one seen is added."""

LEVELS = (*(Fraction(n, unit) for unit in (1000, 100, 10) for n in range(1, 10)), Fraction(1))
"""What a p over several looks is told as: the sign vectors that cross need not grow with the level, so few levels are tried, and all."""

Sums = list[NDArray[Any]]


def sequential_sign_flip(
    values: Sequence[Fraction | int], looks: Sequence[int], plan: Sequence[int], rng: np.random.Generator | None = None
) -> SignFlip:
    """The least of `LEVELS`, two-sided, at which and above which the sum over blocks crossed a boundary at a look so far.

    The boundaries are exact over flips of the blocks' signs; each side spends half the level. Of the sign vectors that have not crossed
    before, look j lets those with the greatest sums cross, as many as may have crossed by then and never a part of a tie. This needs the
    sizes of the blocks seen by then, and no later ones; and, as every sign flip, that with no difference a block is as likely with either
    sign. One declared look gives `exact.sign_flip`.

    Args:
        values: one exact difference a block, in the order in which they were seen.
        looks: how many of them each look so far had seen; the last had seen all.
        plan: seeds a model at every declared look, which says how much may be spent by each.
        rng: draws the flips where there are too many to list.

    Raises:
        ValueError: the last look has not seen all blocks, or flips must be drawn and there is no `rng`.

    >>> sequential_sign_flip([1] * 12, (6, 12), (6, 12)).p
    Fraction(1, 1000)
    """
    if not looks or looks[-1] != len(values):
        raise ValueError(f"the last look sees all blocks: looks {tuple(looks)}, {len(values)} blocks")
    if len(plan) == 1:
        return sign_flip(values, rng)
    integers, _ = as_integers(values)
    exact = len(values) <= LISTED
    if not exact and rng is None:
        raise ValueError(f"{len(values)} blocks have too many sign vectors to list: a generator is needed to draw some")
    sums = list(_listed(integers, looks)) if exact or rng is None else _drawn(integers, looks, rng)
    seen = [sum(integers[:look]) for look in looks]
    shares, p = [Fraction(float(share)) for share in spent(plan)], Fraction(1)
    for level in reversed(LEVELS):
        if not any(_crossed(sums, [side * one for one in seen], shares, level / 2) for side in (1, -1)):
            break
        p = level
    return SignFlip(p, exact)


def _listed(integers: Sequence[int], looks: Sequence[int]) -> Iterator[NDArray[Any]]:
    """By look, the sums of all sign vectors of its blocks; the next look's are blocks of these, one a choice of the new signs."""
    sums: NDArray[Any] = np.zeros(1, dtype=_type(integers))
    for place, number in enumerate(integers, start=1):
        sums = np.concatenate([sums - abs(number), sums + abs(number)])
        if place in looks:
            yield sums


def _drawn(integers: Sequence[int], looks: Sequence[int], rng: np.random.Generator) -> Sums:
    numbers: NDArray[Any] = np.array(integers, dtype=_type(integers))
    signs = 1 - 2 * rng.integers(0, 2, (RANDOM_FLIPS, len(numbers)))
    flipped = np.concatenate([numbers[None], signs.astype(numbers.dtype) * numbers])
    return [flipped[:, :look].sum(axis=1) for look in looks]


def _type(integers: Sequence[int]) -> type:
    return np.int64 if sum(map(abs, integers)) < 2**62 else object


def _crossed(sums: Sums, seen: Sequence[int], shares: Sequence[Fraction], level: Fraction) -> bool:
    """Whether what was seen crosses the boundary of a one-sided level at any look."""
    on, gone = np.ones(len(sums[0]), dtype=bool), 0
    for own, value, share in zip(sums, seen, shares, strict=False):
        more = len(own) // len(on)
        on, gone = np.tile(on, more), gone * more
        may = int(level * share * len(own)) - gone
        if int((on & (own >= value)).sum()) <= may:
            return True
        kept = own[on]
        if may > 0:  # what crosses lies above the greatest value that would make too many
            on = on & (own <= np.partition(kept, len(kept) - 1 - may)[len(kept) - 1 - may])
            gone = len(own) - int(on.sum())
    return False
