"""How many steps are worth how many, on losses that are planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from olora_bench.analysis.claims.evidence import Worth
from olora_bench.analysis.claims.speed import steps_worth

SEEDS = range(10, 16)
TREMBLE = np.array([-2, -1, 0, 0, 1, 2]) / 100
LENGTHS = (16.0, 32.0, 64.0)


def reference() -> pd.DataFrame:
    """Final losses that fall by 0.5 nats with each doubling of the schedule: 4.0, 3.5, 3.0."""
    return pd.DataFrame({steps: 4.0 - 0.5 * np.log2(steps / 16) + 0 * TREMBLE for steps in LENGTHS}, index=SEEDS)


def arm(steps: float, loss: float) -> pd.Series:
    return pd.Series(loss + TREMBLE, index=SEEDS, name=steps)


def at_speed(factor: float, steps: float = 32.0) -> Worth:
    """An arm that needs 1/factor of the reference's steps."""
    return steps_worth(arm(steps, 4.0 - 0.5 * np.log2(factor * steps / 16)), reference())


@pytest.mark.parametrize("factor", [0.6, 0.9, 1.5, 1.9])
def test_a_planted_factor_is_found(factor: float) -> None:
    found = at_speed(factor)
    assert found.ratio == pytest.approx(factor, rel=0.002)
    assert found.low < factor < found.high
    assert found.faster is (factor > 1)


def test_one_and_a_half_times_as_fast_is_faster_though_not_twice() -> None:
    found = at_speed(1.5)
    assert found.faster and found.high < 2


def test_equal_arms_are_neither_faster_nor_slower() -> None:
    found = at_speed(1.0)
    assert found.faster is None and found.low < 1 < found.high


def test_what_lies_beyond_the_references_schedules_is_a_bound() -> None:
    fast, slow = at_speed(3.0), at_speed(0.3)
    assert (fast.ratio, fast.low, fast.high, fast.faster) == (np.inf, 2.0, np.inf, True)
    assert (slow.ratio, slow.low, slow.high, slow.faster) == (0.0, 0.0, 0.5, False)


def test_the_references_shortest_length_can_show_slower_only() -> None:
    found = at_speed(0.8, steps=16.0)
    assert (found.faster, found.low, found.high) == (False, 0.0, 1.0)


def test_the_interval_is_the_inverted_paired_t() -> None:
    """Linear losses: by hand, the loss's interval moved through 0.5 nats a doubling."""
    from scipy import stats

    half = stats.t.ppf(0.975, 5) * TREMBLE.std(ddof=1) / np.sqrt(6)
    found = at_speed(1.5)
    assert (found.low, found.high) == pytest.approx((1.5 * 2 ** (-half / 0.5), 1.5 * 2 ** (half / 0.5)), rel=0.002)


def test_a_diverged_run_or_two_seeds_say_nothing() -> None:
    losses = arm(32.0, 3.2)
    unknown = Worth(32.0, None, 0.0, np.inf, None, 6)
    assert steps_worth(losses.where(losses.index != 10, np.inf), reference()) == unknown
    assert steps_worth(losses[:2], reference()).faster is None
