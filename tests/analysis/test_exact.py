"""Counts stay counts: the sign flip against enumeration in fractions, scipy, and studies that rounding got wrong."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from olora_bench.analysis import exact
from olora_bench.analysis.exact import as_integers, macro_average, sign_flip


def enumerated(values: list[Fraction]) -> Fraction:
    """Every flip, in fractions, with nothing of ours."""
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, values, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(values))
    ]
    return Fraction(sum(one >= sums[0] for one in sums), len(sums))


def small_study(rng: np.random.Generator) -> list[Fraction]:
    """A few blocks of a few benchmarks with few items: full of ties, zeros and blocks that cancel."""
    items = {str(place): int(size) for place, size in enumerate(rng.choice([3, 4, 6, 7, 10], rng.integers(1, 5)))}
    return [macro_average({name: int(rng.integers(-2, 3)) for name in items}, items) for _ in range(rng.integers(1, 7))]


def test_thousands_of_small_studies_have_the_p_of_enumeration() -> None:
    rng = np.random.default_rng(19)
    studies = [small_study(rng) for _ in range(2500)]
    assert [sign_flip(study).p for study in studies] == [enumerated(study) for study in studies]
    assert sum(sign_flip(study).p == 1 for study in studies) > 100, "there are ties among them"


def test_a_block_that_ties_is_no_lead() -> None:
    """As floats these six benchmarks of 300 items sum to 1.7e-10 points, and p was 0.031."""
    names = ("arc_challenge", "boolq", "hellaswag", "openbookqa", "piqa", "winogrande")
    tie = macro_average(dict(zip(names, (-1, -1, -1, 3, 0, 0), strict=True)), dict.fromkeys(names, 300))
    leads = [macro_average(dict.fromkeys(names, more), dict.fromkeys(names, 300)) for more in (1, 2, 3, 4, 5)]
    assert tie == 0
    assert sign_flip([tie, *leads]).p == Fraction(1, 16)


@pytest.mark.parametrize("blocks", [6, 9, 12])
def test_it_is_scipys_permutation_test(blocks: int) -> None:
    counts = np.random.default_rng(blocks).integers(-5, 9, blocks)
    want = stats.permutation_test((counts,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert float(sign_flip([int(count) for count in counts]).p) == pytest.approx(want.pvalue, rel=1e-12)


def test_one_sign_of_24_blocks_is_the_least_p() -> None:
    """The whole benchmarks' least common multiple passes 2^57, so the sums leave 64 bits."""
    items = {"arc": 1172, "obqa": 500, "boolq": 3270, "hellaswag": 10042, "piqa": 1838, "winogrande": 1267}
    blocks = [macro_average(dict.fromkeys(items, 601 + 7 * place), items) for place in range(24)]
    assert sum(as_integers(blocks)[0]) > 2**62
    assert sign_flip(blocks).p == Fraction(2, 2**24)
    assert sign_flip([-blocks[0], *blocks[1:]]).p == Fraction(4, 2**24)


def test_a_hundred_blocks_of_counts_are_exact() -> None:
    """Their sums coincide; the normal approximation with its continuity correction is close."""
    counts = np.random.default_rng(3).choice([-1, 1], 100, p=[0.4, 0.6])
    found = sign_flip([int(count) for count in counts])
    assert found.exact
    assert float(found.p) == pytest.approx(stats.binomtest(int((counts > 0).sum()), 100).pvalue, rel=1e-12)


def test_sums_that_are_too_many_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "MOST_SUMS", 8)
    monkeypatch.setattr(exact, "RANDOM_FLIPS", 4000)
    values = [Fraction(1, n) for n in (2, 3, 5, 7, 11, 13, 17, 19)]
    found = sign_flip(values, np.random.default_rng(0))
    assert not found.exact
    assert float(found.p) == pytest.approx(2 / 2**8, abs=0.005)
    with pytest.raises(ValueError, match="8 blocks have too many distinct sums to list: a generator is needed to draw flips"):
        sign_flip(values)


def test_floats_are_refused() -> None:
    with pytest.raises(TypeError, match="takes fractions or counts: a float holds no tie exactly"):
        sign_flip([0.1, 0.2])


def test_integers_stand_over_the_least_common_denominator() -> None:
    assert as_integers([Fraction(1, 4), Fraction(-1, 6), 1]) == ([3, -2, 12], 12)
