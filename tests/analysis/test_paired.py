"""Each statistic against scipy, statsmodels or a closed form."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from olora_bench.analysis.paired import (
    detectable_by_seeds,
    holm,
    paired_t,
)
from olora_bench.analysis.win_counts import count_with_null


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.mark.parametrize("n", [3, 6, 10])
def test_the_paired_t_is_scipys(n: int) -> None:
    arm, reference = rng().normal(size=(2, n))
    found, want = paired_t(arm - reference), stats.ttest_rel(arm, reference)
    interval = want.confidence_interval(0.95)
    assert [float(x) for x in (found.p, found.low, found.high)] == pytest.approx([want.pvalue, interval.low, interval.high])


def test_the_paired_t_works_row_by_row() -> None:
    d = rng().normal(size=(4, 5, 6))
    assert paired_t(d).p[2, 3] == pytest.approx(stats.ttest_1samp(d[2, 3], 0).pvalue)


@pytest.mark.parametrize("d", [[1.0], [2.5, 2.5, 2.5], [0.0, 0.0]])
def test_equal_differences_have_no_p(d: list[float]) -> None:
    """A t of infinity would call 2.5 points on three seeds certain."""
    found = paired_t(np.array(d))
    assert np.isnan(found.p) and np.isnan(found.low) and float(found.mean) == d[0]


def test_holm_is_statsmodels() -> None:
    multipletests = pytest.importorskip("statsmodels.stats.multitest").multipletests
    p = rng().uniform(size=60) ** 3
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_holm_by_hand() -> None:
    """Smallest times 4, next times 3 and so on, never decreasing, never above 1."""
    assert holm(np.array([0.02, 0.01, 0.9, 0.03])).tolist() == pytest.approx([0.06, 0.04, 0.9, 0.06])


def test_an_untested_member_costs_power_and_is_never_called() -> None:
    found = holm(np.array([0.02, np.nan]))
    assert found[0] == 0.04 and np.isnan(found[1])


@pytest.mark.parametrize("seeds", [3, 6, 10])
def test_what_seeds_detect_is_found_with_the_stated_power(seeds: int) -> None:
    """Simulated, and equal to statsmodels' power of the one-sample t."""
    sd = 1.3
    difference = detectable_by_seeds(sd / np.sqrt(seeds), seeds)
    d = rng().normal(difference, sd, (20_000, seeds))
    assert (paired_t(d).p <= 0.05).mean() == pytest.approx(0.8, abs=0.01)
    power = pytest.importorskip("statsmodels.stats.power")
    assert difference / sd == pytest.approx(power.TTestPower().solve_power(nobs=seeds, alpha=0.05, power=0.8), rel=1e-3)


def test_the_count_under_flips_is_enumerated() -> None:
    """Two blocks, three cells, by hand: all four flips."""
    table = np.array([[2.0, 1.0], [1.0, -2.0], [0.0, 0.0]])
    wins, losses, null = count_with_null(table, rng())
    assert (wins, losses) == (1, 1)
    by_hand = [((table * signs).sum(1) > 0).sum() for signs in itertools.product((1, -1), repeat=2)]
    assert sorted(null[:, 0]) == sorted(by_hand)


def test_cells_of_one_run_pair_are_one_coin() -> None:
    """53 of 60 from ten pairs of runs: a coin a cell calls it certain, blocks do not when a pair's cells move together."""
    together = np.repeat(np.eye(10), 6, axis=0) * np.where(np.arange(10) < 8, 1.0, -1.0)
    wins, losses, null = count_with_null(together, rng())
    assert (wins, losses) == (48, 12)
    assert stats.binomtest(wins, wins + losses).pvalue < 1e-5
    assert (np.abs(null[:, 0] - null[:, 1]) >= wins - losses).mean() == pytest.approx(stats.binomtest(8, 10).pvalue)
