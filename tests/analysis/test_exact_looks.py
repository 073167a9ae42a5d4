"""The exact sign flip over looks: against enumeration of all signs."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from olora_bench.analysis.exact import sign_flip
from olora_bench.analysis.exact_looks import LEVELS, sequential_sign_flip

PLAN = (3, 6, 9)


@pytest.mark.parametrize("sizes", [[3, 5, 1, 2, 2, 7, 4, 4, 6], [1] * 9, [0, 1, 1, 0, 2, 2, 2, 0, 1]])
def test_a_level_is_crossed_at_any_look_no_more_often_than_it_says(sizes: list[int]) -> None:
    least = []
    for signs in itertools.product((1, -1), repeat=9):
        values = [sign * size for sign, size in zip(signs, sizes, strict=True)]
        least.append(min(sequential_sign_flip(values[:n], PLAN[: k + 1], PLAN).p for k, n in enumerate(PLAN)))
    assert all(sum(p <= level for p in least) <= level * len(least) for level in (*LEVELS, Fraction(1, 15)))


def test_it_calls_what_all_blocks_say() -> None:
    assert sequential_sign_flip([1, 2, 3, 4, 5, 6, 7, 8, 9], PLAN, PLAN).p <= Fraction(1, 50)


def test_one_declared_look_is_the_sign_flip() -> None:
    rng = np.random.default_rng(0)
    for blocks in range(1, 9):
        values = [Fraction(int(value), 300) for value in rng.integers(-4, 5, blocks)]
        assert sequential_sign_flip(values, (blocks,), (blocks,)) == sign_flip(values)


def test_a_look_does_not_know_later_sizes() -> None:
    """A crossing at the first look is one whatever comes, and the same level is told."""
    first = [5, 5, 5, 5, 5, 5]
    assert sequential_sign_flip(first, (6,), (6, 9)).p >= sequential_sign_flip([*first, 1, -1, 1], (6, 9), (6, 9)).p


def test_ties_are_not_parted() -> None:
    values = [Fraction(1, 300), Fraction(1, 300), Fraction(-1, 300), Fraction(1, 300), Fraction(1, 300), Fraction(1, 300)]
    turned = [values[2], *values[:2], *values[3:]]
    assert sequential_sign_flip(values, (3, 6), (3, 6)).p == sequential_sign_flip(turned, (3, 6), (3, 6)).p


def test_many_blocks_are_drawn() -> None:
    found = sequential_sign_flip([1] * 24, (12, 24), (12, 24), np.random.default_rng(0))
    assert not found.exact and found.p == Fraction(1, 1000)
    with pytest.raises(ValueError, match="24 blocks have too many sign vectors to list: a generator is needed to draw some"):
        sequential_sign_flip([1] * 24, (12, 24), (12, 24))


def test_the_last_look_must_have_seen_all() -> None:
    with pytest.raises(ValueError, match=r"the last look sees all blocks: looks \(6,\), 8 blocks"):
        sequential_sign_flip([1] * 8, (6,), (6, 8))
