"""Levels of looks: against published constants, scipy's multivariate normal, and what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from olora_bench.analysis.looks import CLOSEST, crossings, next_level, spent

PLAN = (6, 8, 12, 16, 20)


@pytest.mark.parametrize(
    ("looks", "pocock", "obrien_fleming"), [(2, 2.178, 1.977), (3, 2.289, 2.004), (4, 2.361, 2.024), (5, 2.413, 2.040)]
)
def test_equal_looks_have_the_published_constants(looks: int, pocock: float, obrien_fleming: float) -> None:
    """Jennison and Turnbull (2000), tables 2.1 and 2.3, two-sided 5%."""
    variances, ones = 1 / np.arange(1, looks + 1), np.ones(looks)

    def constant(shape: np.ndarray) -> float:
        return optimize.brentq(lambda c: 2 * crossings(variances, c * shape, -c * shape).sum() - 0.05, 1, 4)

    assert constant(ones) == pytest.approx(pocock, abs=6e-4)
    assert constant(np.sqrt(looks * variances)) == pytest.approx(obrien_fleming, abs=6e-4)


@pytest.mark.parametrize("case", range(6))
def test_crossings_are_those_of_the_multivariate_normal(case: int) -> None:
    rng = np.random.default_rng(case)
    looks = int(rng.integers(2, 5))
    variances = 10 ** rng.uniform(-2, 1) / np.sort(rng.choice(np.arange(6, 40), looks, replace=False)) + 0.01 * (case % 2)
    upper = rng.uniform(0.5, 3, looks)
    correlation = np.minimum.outer(variances, variances) / np.sqrt(np.outer(variances, variances))
    inside = stats.multivariate_normal.cdf(upper, cov=correlation, abseps=1e-8, releps=1e-8, maxpts=10**6, rng=1)
    assert crossings(variances, upper).sum() == pytest.approx(1 - inside, abs=3e-6)


def levels(variances: np.ndarray, plan: tuple[int, ...], level: float) -> np.ndarray:
    used = np.zeros((*variances.shape[:-1], 0))
    for look, may in enumerate(level * spent(plan)):
        own = next_level(variances[..., : look + 1], used, may)
        used = np.concatenate([used, own[..., None]], axis=-1)
    return used


def test_levels_spend_what_may_be_spent() -> None:
    shares = np.array([0.01, 0.1, 1.0, 10.0])[:, None]  # of what seeds bring, beside what items do
    variances = shares / np.array(PLAN) + 0.05
    used = levels(variances, PLAN, 0.025)
    close = variances[:, 1:] / variances[:, :-1] > CLOSEST
    crossed = crossings(variances, stats.norm.isf(used)).cumsum(axis=-1)
    assert not close.any() and np.allclose(crossed, 0.025 * spent(PLAN), atol=1e-9)


def test_one_look_has_the_whole_level() -> None:
    assert spent((20,)).tolist() == [1.0] and float(next_level([2.0], [], 0.05)) == 0.05


def test_what_is_spent_rises_to_the_whole() -> None:
    assert (np.diff(spent(PLAN)) > 0).all() and spent(PLAN)[-1] == 1.0


def test_nothing_is_left_where_all_is_spent() -> None:
    assert float(next_level([2.0, 1.0], [0.03], 0.02)) == 0.0


def test_a_later_look_has_more_of_the_level_the_less_seeds_matter() -> None:
    used = levels(np.array([[1.0], [0.1], [0.01]]) / np.array(PLAN) + 0.1, PLAN, 0.025)
    assert (np.diff(used[:, -1]) > 0).all()


def test_looks_that_hardly_differ_are_held_apart() -> None:
    same, apart = next_level([1.0, 1.0], [0.01], 0.02), next_level([1.0, CLOSEST], [0.01], 0.02)
    assert float(same) == float(apart) < 0.02


def test_a_higher_level_has_higher_levels_at_every_look() -> None:
    variances = np.array([0.5, 1.0])[:, None, None] / np.array(PLAN) + 0.02
    used = np.stack([levels(variances[:, 0], PLAN, level) for level in np.geomspace(1e-9, 0.9, 25)])
    assert (np.diff(used, axis=0) > 0).all()


def test_many_studies_at_once_are_each_as_alone() -> None:
    rng = np.random.default_rng(0)
    variances = rng.uniform(0.1, 3, (700, 1)) / np.array(PLAN) + rng.uniform(0, 0.3, (700, 1))
    together = levels(variances, PLAN, 0.05)
    assert np.allclose(together[::100], [levels(one, PLAN, 0.05) for one in variances[::100]], atol=1e-9)


def test_a_variance_that_is_not_known_has_no_level() -> None:
    used = next_level([[2.0, 1.0], [np.nan, np.nan]], np.full((2, 1), 0.01), 0.02)
    assert used[0] > 0 and used[1] == 0
