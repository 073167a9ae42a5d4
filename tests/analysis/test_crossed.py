"""Crossed seeds and items: the committed runs, statsmodels, a textbook, and what happens at the edges."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from olora_bench.analysis.crossed import Crossed, Scope, by_cluster, crossed, linearised_ratio, of_items
from simulations.committed import differences

PENICILLIN = """
    27 23 26 23 23 21  27 23 26 23 23 21  25 21 25 24 24 20  26 23 25 23 23 20  25 22 26 22 23 20  24 22 25 23 22 19
    24 20 23 21 22 19  26 22 26 24 24 21  24 21 24 22 22 20  24 21 24 23 22 19  26 23 26 24 24 21  25 22 26 24 24 20
    26 24 26 24 25 22  26 23 26 23 23 20  26 23 25 24 24 22  25 22 25 23 23 20  25 21 24 23 23 20  25 22 24 23 23 19
    24 21 23 21 21 19  26 23 26 24 24 21  25 21 24 22 22 18  25 22 25 22 22 20  24 21 24 22 24 19  24 21 24 22 21 18"""
"""Diameters in mm, 24 plates of 6 samples (Davies and Goldsmith 1972, Statistical Methods in Research and Production, section 6.6)."""


def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def gaussian(items: int, blocks: int, item: float, block: float, left: float, generator: np.random.Generator | None = None) -> np.ndarray:
    """One benchmark with standard deviations of items, blocks and residuals."""
    draw = generator or rng()
    return item * draw.normal(size=(items, 1)) + block * draw.normal(size=(1, blocks)) + left * draw.normal(size=(items, blocks))


def committed(role: str) -> Crossed:
    return crossed({name: 100.0 * table for name, table in differences(role, "olora vs lora").items()})


@pytest.mark.parametrize(
    ("role", "mean", "block", "item", "interval", "p", "t_interval", "t_p"),
    [
        ("tuned", 0.648, 0.280, 0.352, (-0.35, 1.65), 0.177, (-0.27, 1.57), 0.160),
        ("shared", 2.009, 0.072, 0.772, (0.48, 3.54), 0.010, (0.49, 3.53), 0.010),
    ],
)
def test_the_committed_runs(
    role: str, mean: float, block: float, item: float, interval: tuple[float, float], p: float, t_interval: tuple[float, float], t_p: float
) -> None:
    """Percentage points. The last two are what Satterthwaite's t says of the same variance."""
    found = committed(role)
    assert [float(found.value), float(found.block_se), float(found.item_se)] == pytest.approx([mean, block, item], abs=5e-4)
    assert [float(end) for end in found.interval()] == pytest.approx(interval, abs=5e-3)
    assert float(found.p()) == pytest.approx(p, abs=5e-4)
    half = stats.t.isf(0.025, found.df) * found.se
    assert [float(found.value - half), float(found.value + half)] == pytest.approx(t_interval, abs=6e-3)
    assert 2 * stats.t.sf(found.value / found.se, found.df) == pytest.approx(t_p, abs=5e-4)
    assert found.scope == Scope.ONE_MODEL and found.units == 6


def test_a_textbooks_crossed_example() -> None:
    """Mean and standard error as lme4 and MixedModels.jl give them: 22.9722 and 0.8086, of variances 0.717, 3.731 and 0.302."""
    found = crossed([np.array(PENICILLIN.split(), dtype=float).reshape(24, 6)])
    assert [float(found.value), float(found.se)] == pytest.approx([22.9722, 0.8086], abs=5e-5)
    assert float(found.item_variance) == pytest.approx(0.7169 / 24, abs=1e-4)
    assert float(found.block_variance) == pytest.approx((3.7309 + 0.3024 / 24) / 6, abs=1e-4)


@pytest.mark.parametrize("sizes", [(0.5, 0.8, 1.0), (2.0, 0.3, 1.0)])
def test_it_is_statsmodels_mixed_model_of_one_benchmark(sizes: tuple[float, float, float]) -> None:
    """REML with crossed random effects on balanced data has the standard error of the mean squares."""
    mixed = pytest.importorskip("statsmodels.api").MixedLM
    table = 0.4 + gaussian(20, 7, *sizes)
    item, block = np.indices(table.shape)
    frame = pd.DataFrame({"y": table.ravel(), "item": item.ravel(), "block": block.ravel(), "all": 1})
    parts = {"item": "0 + C(item)", "block": "0 + C(block)"}
    want = mixed.from_formula("y ~ 1", groups="all", vc_formula=parts, data=frame).fit(reml=True)
    found = crossed([table])
    assert float(found.value) == pytest.approx(want.params["Intercept"], abs=1e-6)
    assert float(found.se) == pytest.approx(want.bse["Intercept"], rel=2e-3)


def test_the_item_part_is_that_of_an_analysis_of_variance() -> None:
    """Two benchmarks of unequal size; mean squares from statsmodels, then the formula of the module's first lines."""
    ols = pytest.importorskip("statsmodels.formula.api").ols
    anova = pytest.importorskip("statsmodels.stats.anova").anova_lm
    tables, part = [gaussian(9, 4, 1.0, 0.2, 0.5), gaussian(15, 4, 0.3, 0.2, 1.0)], 0.0
    for table in tables:
        item, block = np.indices(table.shape)
        frame = pd.DataFrame({"y": table.ravel(), "item": item.ravel(), "block": block.ravel()})
        squares = anova(ols("y ~ C(item) + C(block)", frame).fit())["mean_sq"]
        part += (squares["C(item)"] - squares["Residual"]) / (4 * 2**2 * len(table))
    found = crossed(tables)
    assert float(found.item_variance) == pytest.approx(part)
    assert float(found.block_variance) == pytest.approx(np.mean([t.mean(0) for t in tables], axis=0).var(ddof=1) / 4)


def test_only_the_sum_of_item_parts_is_cut_at_zero() -> None:
    """Each item of `below` has the same mean, so that its part is negative; it takes from the other's."""
    below, above = np.array([[1.0, -1.0], [-1.0, 1.0]] * 5), gaussian(10, 2, 3.0, 0.1, 0.1)
    alone = [float(crossed([table]).item_variance) for table in (below, above)]
    assert alone[0] == 0 and alone[1] > 0
    assert 0 < float(crossed([below, above]).item_variance) < alone[1] / 4


def test_the_noise_of_the_item_part_is_that_of_normal_mean_squares_where_items_are_normal() -> None:
    """Var = sum of 2 [MS_i^2 / (I - 1) + MS_r^2 / ((I - 1)(S - 1))] / (S B^2 I)^2, with S = 6, B = 1, MS_i = 1 + 6 * 0.25, MS_r = 1."""
    found = crossed([gaussian(4000, 6, 0.5, 0.2, 1.0)])
    want = np.sqrt(2 * (2.5**2 / 3999 + 1 / (3999 * 5))) / (6 * 4000)
    assert float(found.item_noise) == pytest.approx(want, rel=0.05)


def test_few_items_that_differ_leave_few_degrees_of_freedom() -> None:
    """Six of 300 items, all one way at every seed: the normal's p would be 0.014; the exact sign test of the six says 0.031."""
    table = np.zeros((300, 6))
    table[:6] = 1.0
    found = crossed([table])
    assert float(found.item_df) == pytest.approx(12, abs=1)
    assert float(found.p()) == pytest.approx(2 / 2**6, abs=0.004)


def test_many_studies_at_once_are_each_by_itself() -> None:
    studies = [gaussian(30, 6, 0.4, 0.2, 1.0, np.random.default_rng(seed)) for seed in range(3)]
    together = crossed([np.stack(studies)])
    for place, study in enumerate(studies):
        alone = crossed([study])
        for name in ("value", "block_variance", "item_variance", "item_noise"):
            assert float(getattr(together, name)[place]) == pytest.approx(float(getattr(alone, name)))


def test_several_models_are_a_t_over_their_means_and_what_their_items_share() -> None:
    table, labels = gaussian(40, 9, 0.5, 0.4, 1.0), ["a"] * 2 + ["b"] * 3 + ["c"] * 4
    found = crossed([table], labels)
    means = crossed([np.stack([table[:, :2].mean(1), table[:, 2:5].mean(1), table[:, 5:].mean(1)], axis=1)])
    assert (found.value, found.block_variance, found.item_variance) == (means.value, means.block_variance, means.item_variance)
    assert float(found.block_df) == 2 and found.units == found.models == 3


@pytest.mark.parametrize(
    ("models", "scope"), [(1, Scope.ONE_MODEL), (2, Scope.THESE_MODELS), (4, Scope.THESE_MODELS), (5, Scope.NEW_MODELS)]
)
def test_fewer_than_five_models_are_these_models(models: int, scope: Scope) -> None:
    table = gaussian(20, 10, 0.5, 0.4, 1.0)
    assert crossed([table], [block % models for block in range(10)]).scope == scope


def test_fixed_models_compare_seeds_within_their_model() -> None:
    """By hand: each model's own standard errors, a quarter of their sum; a model's own items count as items."""
    left, right = gaussian(50, 4, 0.5, 0.4, 1.0), 3.0 + gaussian(50, 4, 0.5, 0.4, 1.0, np.random.default_rng(5))
    found = crossed([np.hstack([left, right])], ["a"] * 4 + ["b"] * 4, fixed_models=True)
    alone = [crossed([table]) for table in (left, right)]
    assert found.scope == Scope.THESE_MODELS
    assert float(found.block_variance) == pytest.approx(sum(float(one.block_variance) for one in alone) / 4)
    own = np.cov(left.mean(1), right.mean(1), ddof=1)[0, 1] / 50
    assert float(found.item_variance) == pytest.approx(sum(float(one.item_variance) for one in alone) / 4 + own / 2)


def test_one_seed_says_nothing_of_new_ones() -> None:
    found = crossed([gaussian(20, 1, 1.0, 1.0, 1.0)])
    assert np.isnan(found.p()) and np.isnan(found.block_se)


def test_one_training_says_of_new_items_what_a_paired_t_says() -> None:
    table = gaussian(40, 1, 1.0, 0.0, 0.5)
    found = of_items([table])
    assert float(found.se) == pytest.approx(stats.sem(table[:, 0]))
    assert float(found.p()) == pytest.approx(stats.ttest_1samp(table[:, 0], 0.0).pvalue, abs=0.02)


def test_these_trainings_are_blamed_for_what_their_residuals_do() -> None:
    """Two benchmarks: the standard errors of the items' means over seeds, as independent parts."""
    tables = [gaussian(40, 6, 0.5, 0.2, 1.0), gaussian(25, 6, 0.5, 0.2, 1.0)]
    want = np.sqrt(sum(stats.sem(table.mean(axis=1)) ** 2 for table in tables)) / 2
    assert float(of_items(tables).se) == pytest.approx(want)
    assert float(of_items(tables).se) > float(crossed(tables).item_se)


@pytest.mark.parametrize(
    ("tables", "models", "fixed", "words"),
    [
        ([np.zeros((3, 2)), np.zeros((3, 3))], None, False, r"needs the same blocks, and each a model: blocks \[2, 3\]"),
        ([np.zeros((3, 2))], ["a"], False, "needs the same blocks, and each a model"),
        ([np.zeros((1, 2))], None, False, "at least two items of each benchmark"),
        ([np.array([[0.0, np.nan], [0.0, 1.0]])], None, False, "a difference is NaN: leave its block out, of every benchmark"),
        ([np.zeros((3, 3))], ["a", "a", "b"], True, "needs at least two seeds of each"),
    ],
)
def test_what_does_not_fit_is_refused(tables: list[np.ndarray], models: list[str] | None, fixed: bool, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        crossed(tables, models, fixed_models=fixed)


def test_a_passage_asked_twice_counts_once() -> None:
    table = gaussian(30, 5, 0.5, 0.3, 1.0)
    twice = by_cluster(np.repeat(table, 2, axis=0), [place // 2 for place in range(60)])
    assert np.allclose(twice, table)


def test_items_of_their_own_are_left_alone() -> None:
    table = gaussian(30, 5, 0.5, 0.3, 1.0)
    assert (by_cluster(table, range(30)) == table).all()


def test_unequal_clusters_keep_the_mean_over_items_and_cover_it() -> None:
    """Passages of 1 to 9 questions that share their effect: by item the interval misses far too often, by passage it does not."""
    draw, missed = np.random.default_rng(8), np.zeros(2)
    for _ in range(300):
        sizes = draw.integers(1, 10, 60)
        clusters = np.repeat(np.arange(60), sizes)
        table = draw.normal(0, 1, 60)[clusters, None] + draw.normal(0, 0.3, 6) + draw.normal(0, 1, (len(clusters), 6))
        units = by_cluster(table, clusters.tolist())
        assert np.allclose(units.mean(axis=0), table.mean(axis=0))
        missed += [abs(float(found.value)) > float(found.half_width()) for found in (crossed([table]), crossed([units]))]
    assert missed[0] / 300 > 0.1
    assert missed[1] / 300 < 0.08


def test_a_loss_per_token_is_a_ratio_of_sums() -> None:
    """By hand, two examples: 9 nats over 4 tokens; each example's part is the ratio plus what it has too much, over 2 tokens."""
    parts = linearised_ratio(np.array([[3.0], [6.0]]), np.array([1.0, 3.0]))
    assert parts[:, 0].tolist() == [2.25 + (3 - 2.25) / 2, 2.25 + (6 - 6.75) / 2]


def test_its_error_is_cochrans() -> None:
    """Sampling Techniques (1977), eq. 6.13: variance of R = sum (y - R x)^2 / ((n - 1) n mean(x)^2), without a finite population."""
    draw = rng()
    x = draw.integers(5, 60, 80).astype(float)
    y = x * draw.normal(1.4, 0.3, 80)
    ratio = y.sum() / x.sum()
    want = ((y - ratio * x) ** 2).sum() / (79 * 80 * x.mean() ** 2)
    assert linearised_ratio(y[:, None], x)[:, 0].var(ddof=1) / 80 == pytest.approx(want)


def test_an_interval_of_the_loss_covers_new_examples_and_seeds() -> None:
    """Examples of very different length; two arms whose true losses per token are 0.05 nats apart."""
    draw, missed = np.random.default_rng(4), 0
    for _ in range(500):
        tokens = np.ceil(draw.lognormal(3, 0.8, 128))
        common, effect = draw.normal(1.5, 0.5, 128), draw.normal(0, 0.1, 128)
        mean = common[:, None] + draw.normal(0, 0.03, 6)
        arms = [tokens[:, None] * (mean + side * (0.05 + effect[:, None] + draw.normal(0, 0.03, 6))) for side in (0, 1)]
        found = crossed([linearised_ratio(arms[1], tokens) - linearised_ratio(arms[0], tokens)])
        missed += abs(float(found.value) - 0.05) > float(found.half_width())
    assert 0.02 < missed / 500 < 0.075


def test_three_blocks_of_two_items_by_hand() -> None:
    """Blocks of 2, 1 and 0: s2 = 1, a third of it for the mean. Item means 2 and 0: MS(items) = 3 (1 + 1) / 1 = 6; residuals 1, 0, -1 and
    -1, 0, 1: MS(residual) = 4 / 2 = 2; v = (6 - 2) / (3 x 2) = 2/3. Both items deviate alike, so v is taken as known: t is 1.96."""
    found = crossed([np.array([[4.0, 2.0, 0.0], [0.0, 0.0, 0.0]])])
    assert [float(x) for x in (found.value, found.block_variance, found.item_variance, found.se)] == pytest.approx([1, 1 / 3, 2 / 3, 1])
    half = np.sqrt(4.302653**2 / 3 + 1.959964**2 * 2 / 3)
    assert [*map(float, found.interval())] == pytest.approx([1 - half, 1 + half], rel=1e-6)
