"""Exact arithmetic for scores: correct answers are counts, so differences are fractions, and ties are ties."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_SUMS = 2**16
"""Distinct signed sums of half the blocks up to which a sign-flip test is exact: any 32 blocks, and far more where sums coincide."""
RANDOM_FLIPS = 49_999
"""Flips drawn beyond."""
_AT_ONCE = 1024


def macro_average(more: Mapping[str, int], items: Mapping[str, int]) -> Fraction:
    """The macro-average over benchmarks of a difference in accuracy, exactly.

    Args:
        more: by benchmark, the arm's correct answers minus the reference's.
        items: by benchmark, how many items it has.

    Returns:
        A share (1 is 100 percentage points). A mean over pairs of runs stays exact: `sum(fractions) / len(fractions)`.

    >>> macro_average({"boolq": 3, "piqa": -1}, {"boolq": 300, "piqa": 200})
    Fraction(1, 400)
    """
    return sum((Fraction(more[name], items[name]) for name in more), Fraction(0)) / len(more)


def as_integers(values: Sequence[Fraction | int]) -> tuple[list[int], int]:
    """The values over their least common denominator: `values[i] == integers[i] / denominator`.

    >>> as_integers([Fraction(1, 400), Fraction(-1, 300)])
    ([3, -4], 1200)
    """
    fractions = [Fraction(value) for value in values]
    denominator = math.lcm(*(fraction.denominator for fraction in fractions))
    return [fraction.numerator * (denominator // fraction.denominator) for fraction in fractions], denominator


@dataclass(frozen=True)
class SignFlip:
    """A two-sided p over sign flips; `exact` says whether all flips were counted, else p is that of `RANDOM_FLIPS` random ones."""

    p: Fraction
    exact: bool


def sign_flip(values: Sequence[Fraction | int], rng: np.random.Generator | None = None) -> SignFlip:
    """How often flipping the blocks' signs gives a sum at least as far from zero as the one seen.

    It is about these items, and exact where a block's difference is as likely with either sign: under the null that swapping the arms
    inside a block changes nothing. The sums of the two halves of the blocks are listed and matched (Horowitz and Sahni 1974), so 24
    blocks take 2 x 4096 sums.

    Args:
        values: one difference a block, as exact numbers: fractions or counts, never rounded scores.
        rng: draws the flips where there are too many sums to list.

    Raises:
        TypeError: a value is a float, which holds no count exactly.
        ValueError: there are no values, or too many distinct sums to list and no `rng`.

    >>> sign_flip([0, 1, 1, 1, 1, 1]).p  # a block of items (-1, -1, -1, +3, 0, 0) is a tie
    Fraction(1, 16)
    """
    if not values:
        raise ValueError("a sign-flip test needs at least one block")
    if any(isinstance(value, float) for value in values):
        raise TypeError("a sign-flip test takes fractions or counts: a float holds no tie exactly")
    integers, _ = as_integers(values)
    seen = abs(sum(integers))
    small = sum(abs(value) for value in integers) < 2**62
    numbers = np.array([abs(value) for value in integers if value], dtype=np.int64 if small else object)
    if seen == 0:
        return SignFlip(Fraction(1), True)
    left, right = _signed_sums(numbers[::2]), _signed_sums(numbers[1::2])
    if left is None or right is None:
        return _drawn(numbers, seen, rng)
    return SignFlip(Fraction(2 * _at_least(seen, left, right), 2 ** len(numbers)), True)


def flip_p(values: Sequence[Fraction | float], rng: np.random.Generator) -> float:
    """The p of `sign_flip`; a float is the fraction that it is, so that what was rounded before is no tie.

    Args:
        values, rng: as for `sign_flip`.
    """
    return float(sign_flip([Fraction(value) for value in values], rng).p)


_Sums = tuple[NDArray[Any], NDArray[Any]]


def _signed_sums(numbers: NDArray[Any]) -> _Sums | None:
    """The distinct sums of `+-numbers`, ascending, and how many of the sign choices give each; None where there are too many."""
    sums, counts = np.zeros(1, dtype=numbers.dtype), np.ones(1, dtype=object)
    for number in numbers:
        both, place = np.unique(np.concatenate([sums - number, sums + number]), return_inverse=True)
        if len(both) > MOST_SUMS:
            return None
        merged = np.zeros(len(both), dtype=object)  # counts pass 2^63 from 64 blocks on
        np.add.at(merged, place, np.concatenate([counts, counts]))
        sums, counts = both, merged
    return sums, counts


def _at_least(seen: int, left: _Sums, right: _Sums) -> int:
    """How many sign choices have a sum of `seen` or more; by symmetry as many have `-seen` or less."""
    tails = np.concatenate([np.cumsum(right[1][::-1])[::-1], np.zeros(1, dtype=object)])
    return int((left[1] * tails[np.searchsorted(right[0], seen - left[0], side="left")]).sum())


def _drawn(numbers: NDArray[Any], seen: int, rng: np.random.Generator | None) -> SignFlip:
    if rng is None:
        raise ValueError(f"{len(numbers)} blocks have too many distinct sums to list: a generator is needed to draw flips")
    far = 0
    for start in range(0, RANDOM_FLIPS, _AT_ONCE):
        signs = 1 - 2 * rng.integers(0, 2, (min(_AT_ONCE, RANDOM_FLIPS - start), len(numbers)))
        far += int((np.abs(_signed(signs, numbers.tolist())) >= seen).sum())
    return SignFlip(Fraction(1 + far, 1 + RANDOM_FLIPS), False)


def _signed(signs: NDArray[np.int64], numbers: Sequence[int]) -> NDArray[Any]:
    """`signs @ numbers`, exactly, for numbers of any size, none below 0: by digits so small that a double holds each of their sums."""
    width = 53 - len(numbers).bit_length()
    places = range(0, max(numbers).bit_length(), width)
    digits = np.array([[(number >> place) & (2**width - 1) for place in places] for number in numbers], dtype=float)
    return (signs.astype(float) @ digits).astype(np.int64).astype(object) @ np.array([2**place for place in places], dtype=object)
