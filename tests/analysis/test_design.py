"""What a design with looks finds and costs."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from olora_bench.analysis.crossed import crossed, residual_variance
from olora_bench.analysis.design import (
    Design,
    Errors,
    changed,
    errors_of,
    expected,
    foretold,
    found_from,
    information,
    power_at,
    simulate_design,
)
from olora_bench.analysis.power import found, power
from olora_bench.analysis.sequential import Look

PLAN = (6, 8, 12, 16, 20)
TUNED = Errors(0.47, 0.124, item_df=120.0, item_noise=0.012, residual=0.4, seed_df=5.0)
"""Of results/smollm2, tuned, squared percentage points."""


def one_look(blocks: int) -> tuple[float, float, float, float]:
    """Power and what is found, by simulation and by integration."""
    rng = np.random.default_rng(1)
    table = rng.normal(size=(300, 1)) + rng.normal(size=(300, blocks)) + rng.normal(size=blocks)
    estimate = crossed([table])
    look = Look(estimate, estimate.block_variance * blocks)
    of = simulate_design(Design((blocks,)), errors_of(look, blocks), studies=12_000)
    return power_at(of, 1.0), power(estimate, 1.0), found_from(of), found(estimate).difference


def test_one_look_has_the_power_that_is_integrated() -> None:
    simulated, integrated, least, known = one_look(8)
    assert simulated == pytest.approx(integrated, abs=0.015) and least == pytest.approx(known, rel=0.02)


def test_no_difference_is_called_no_more_often_than_the_level() -> None:
    at_none = expected(simulate_design(Design(PLAN, margin=1.0), TUNED, studies=6000), 0.0)
    assert at_none.better + at_none.worse < 0.058


def test_a_difference_of_the_margin_is_no_more_often_called_equivalent_than_the_level() -> None:
    at_margin = simulate_design(Design(PLAN, margin=1.0), TUNED, studies=6000).stops(1.0)
    assert at_margin.equivalent.mean() < 0.058


def test_a_family_errs_no_more_often_than_the_level() -> None:
    stops = simulate_design(Design((6, 8, 12), 3, margin=1.0), TUNED, studies=2500).stops()
    assert (stops.better | stops.worse).any(axis=0).mean() < 0.062


def test_several_models_err_no_more_often_than_the_level() -> None:
    stops = simulate_design(Design((2, 4), models=4), Errors(0.5, 0.1, model=0.2), studies=6000).stops()
    assert (stops.better | stops.worse).mean() < 0.058


def test_a_design_may_begin_with_one_seed_of_each_model() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = foretold(Design((1, 2, 3), models=6), Errors(0.5, 0.1, model=0.2), studies=500)
    assert seen.expected[0].seeds > 2 and 1 < seen.found < 3


def test_the_plan_knows_where_items_are_the_bottleneck() -> None:
    """Look 8 has about 81% of what look 20 has, at 300 items a benchmark."""
    assert information(Design(PLAN), TUNED)[1] == pytest.approx(0.81, abs=0.01) and information(Design(PLAN), TUNED)[-1] == 1.0


def test_more_items_find_more_where_items_are_the_bottleneck() -> None:
    shared = Errors(0.031, 0.597, item_df=150.0, item_noise=0.03)
    now, items, seeds = (changed(Design((6, 8)), shared, studies=1500, **more) for more in ({}, {"items": 4.0}, {"seeds": 2.0}))
    assert items.found < 0.6 * now.found and seeds.found > 0.9 * now.found and seeds.plan == (12, 16)


def test_more_items_take_what_chance_answers_bring() -> None:
    more = TUNED.with_items(4.0)
    assert (more.seed, more.item, more.residual) == pytest.approx((0.17, 0.031, 0.1))


def test_an_end_comes_sooner_where_there_is_more_to_see() -> None:
    seen = foretold(Design(PLAN, margin=1.0), TUNED, studies=2000)
    none, margin, twice = seen.expected
    assert twice.seeds < margin.seeds < none.seeds < 20 and seen.found_low < seen.found < seen.found_high
    assert seen.power == pytest.approx(margin.better, abs=1e-12)


def test_without_a_margin_there_is_no_power_at_it() -> None:
    seen = foretold(Design((6, 8)), TUNED, studies=500)
    assert np.isnan(seen.power) and seen.expected[1].difference == seen.found


def test_answers_by_chance_are_the_residual_of_the_two_way_table() -> None:
    rng = np.random.default_rng(0)
    tables = [rng.normal(size=(50, 6)), 2 * rng.normal(size=(80, 6))]
    by_hand = 0.0
    for table in tables:
        left = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
        by_hand += (left**2).sum() / ((len(table) - 1) * 5) / (4 * len(table))
    assert float(residual_variance(tables)) == pytest.approx(by_hand)


def test_a_study_that_ends_for_equivalence_finds_less() -> None:
    plain, ends, at_once = (found_from(simulate_design(Design(PLAN, margin=margin), TUNED, studies=2000)) for margin in (None, 2.0, 20.0))
    first = float(np.median(simulate_design(Design(PLAN), TUNED, studies=2000).shown[0][0]))
    assert plain < ends < at_once and first < at_once < 2 * first, "a margin far beyond the errors leaves the first look alone"
