"""What could have been found: against simulated studies that go through the test itself, scipy and statsmodels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from olora_bench.analysis.crossed import crossed, of_items
from olora_bench.analysis.estimate import Estimate, of_blocks
from olora_bench.analysis.outcome import effect_columns, never_found
from olora_bench.analysis.power import found, planned, power
from olora_bench.analysis.reasons import NothingFound


def truth(items: int, blocks: int, item: float, block: float, left: float) -> Estimate:
    """The variances that a study of one benchmark has, by its standard deviations, and the noise of its item part when all are normal."""
    of_items, of_left = blocks * item**2 + left**2, left**2
    noise = np.sqrt(2 * (of_items**2 / (items - 1) + of_left**2 / ((items - 1) * (blocks - 1)))) / (blocks * items)
    item_df = 2 * (of_items / (blocks * items) / noise) ** 2
    numbers = (0.0, (block**2 + left**2 / items) / blocks, blocks - 1, item**2 / items, item_df, noise)
    return Estimate(*(np.asarray(float(number)) for number in numbers))


def simulated(items: int, blocks: int, sizes: tuple[float, float, float], difference: float, level: float, count: int = 4000) -> float:
    """The share of studies of one benchmark in which the test of `crossed` says better."""
    draw, (item, block, left), called = np.random.default_rng(3), sizes, 0
    for _ in range(count // 500):
        table = item * draw.normal(size=(500, items, 1)) + block * draw.normal(size=(500, 1, blocks))
        one = crossed([table + left * draw.normal(size=(500, items, blocks)) + difference])
        called += int((one.value > one.half_width(level)).sum())
    return called / count


@pytest.mark.parametrize(
    ("items", "blocks", "sizes", "level"),
    [
        (60, 6, (0.5, 0.3, 1.0), 0.05),
        (60, 8, (1.5, 0.02, 0.3), 0.05 / 3),
        (40, 6, (0.2, 0.5, 1.0), 0.05 / 3),
        (40, 12, (0.5, 0.3, 0.5), 0.05),
        (25, 6, (0.1, 0.02, 1.0), 0.05),
    ],
)
def test_a_found_difference_is_called_four_times_in_five(items: int, blocks: int, sizes: tuple[float, float, float], level: float) -> None:
    """Within 2 percentage points of power, at 5% and at Holm's level of one in three."""
    of = truth(items, blocks, *sizes)
    difference = found(of, level=level).difference
    assert power(of, difference, level=level) == pytest.approx(0.8, abs=1e-6)
    assert simulated(items, blocks, sizes, difference, level) == pytest.approx(0.8, abs=0.02)


def test_without_an_item_part_it_is_that_of_the_noncentral_t() -> None:
    d = np.random.default_rng(1).normal(0, 2, 8)
    of = of_blocks(d)
    shift = 3.0 / float(of.se)
    assert power(of, 3.0) == pytest.approx(stats.nct.sf(stats.t.isf(0.025, 7), 7, shift), abs=1e-3)
    solved = pytest.importorskip("statsmodels.stats.power").TTestPower().solve_power(nobs=8, alpha=0.05, power=0.8)
    assert found(of).difference / d.std(ddof=1) == pytest.approx(solved, rel=2e-3)


def test_six_blocks_leave_a_factor_of_062_to_245() -> None:
    one = found(of_blocks(np.random.default_rng(2).normal(0, 1, 6)))
    assert [one.low / one.difference, one.high / one.difference] == pytest.approx([0.624, 2.453], abs=1e-3)


def test_the_range_holds_the_true_smallest_difference() -> None:
    """In 95% of studies or more, and never in so many that it says nothing: item part and block part alike."""
    of, draw, inside = truth(40, 6, 0.4, 0.2, 1.0), np.random.default_rng(6), 0
    true = found(of).difference
    for _ in range(60):
        table = 0.4 * draw.normal(size=(40, 1)) + 0.2 * draw.normal(size=(1, 6)) + draw.normal(size=(40, 6))
        one = found(crossed([table]))
        inside += one.low <= true <= one.high
    assert inside / 60 >= 0.93


def test_a_plan_for_more_blocks_and_items_is_that_studys_truth() -> None:
    """But for the residuals' share of the block part, which more items would lower too."""
    now, more = truth(50, 6, 0.6, 0.3, 0.02), truth(100, 12, 0.6, 0.3, 0.02)
    then = planned(now, blocks=2, items=2)
    assert float(then.block_df) == 11
    assert [float(then.block_variance), float(then.item_variance)] == pytest.approx(
        [float(more.block_variance), float(more.item_variance)], rel=1e-2
    )
    assert [float(then.item_noise), float(then.item_df)] == pytest.approx([float(more.item_noise), float(more.item_df)], rel=0.05)
    assert found(then).difference < found(now).difference


def test_without_a_spread_nothing_can_be_planned() -> None:
    none = of_blocks(np.zeros(6))
    one = found(none)
    assert np.isnan([one.difference, one.low, one.high, power(none, 1.0)]).all()


def test_the_far_side_is_no_find() -> None:
    """A true zero is called on one given side in half the level at most."""
    of = truth(60, 6, 0.5, 0.3, 1.0)
    assert 0.015 < power(of, 0.0) <= 0.025
    assert power(replace(of, value=np.asarray(9.0)), -2.0) == power(of, 2.0)


def test_trainings_that_are_held_fixed_have_a_power_of_their_items_alone() -> None:
    """Infinite degrees of freedom of a block part that is none; beside a z test that knows the item part, which finds a little less."""
    of = of_items([np.random.default_rng(4).normal(0, 1, (400, 6))])
    least = found(of)
    assert np.isinf(of.block_df) and least.low < least.difference < least.high
    assert least.difference == pytest.approx((stats.norm.isf(0.025) + stats.norm.isf(0.2)) * float(of.se), rel=0.02)


def test_where_one_item_of_many_differs_no_difference_is_found_and_a_reason_says_so() -> None:
    table = np.zeros((300, 6))
    table[0] = 100.0
    row = effect_columns(1 / 3, of_items([table]))
    assert np.isinf(found(of_items([table])).difference) and np.isnan(row["found"]) and row["item_se"] > 0
    assert never_found(row) == (NothingFound(),) and never_found(row | {"found": 3.0}) == ()
