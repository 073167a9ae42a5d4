"""The simulations of looks and of the price: their committed results, and a small part of them run again."""

from __future__ import annotations

import pandas as pd
import pytest

from olora_bench.analysis.cells import seed_differences
from olora_bench.analysis.compared import compared
from olora_bench.analysis.pairs import pairs
from olora_bench.analysis.variances import AT_EDGE, assumed, seen
from olora_bench.study.checks import ONE_FINALIST
from simulations import committed, looks, price
from simulations.tables import RESULTS
from tests.committed_results import read

FOUND = pd.read_csv(RESULTS / "looks.csv")
PRICE = pd.read_csv(RESULTS / "price.csv")
BOTH = PRICE.pivot_table(index=["kind", "truth", "items", "spread", "finalists"], columns="design")


def test_every_row_is_there() -> None:
    names = ["kind", "role", "models", "seeds", "item", "seed", "model", "contrasts", "truth"]
    assert FOUND[names].to_dict("records") == [{name: getattr(row.setting, name) for name in names} for row in looks.rows()]
    assert (FOUND["studies"] >= 10_000).all() and (PRICE["studies"] >= 10_000).all()


def test_the_variances_that_are_assumed_are_those_of_the_committed_records() -> None:
    frames = committed.frames()
    table = pairs(frames)
    (judged,) = (one for one in compared(frames, table, seed_differences(frames, table)) if one.comparison.confirmatory)
    known, items = seen(frames)["olora", "lora"].errors, dict.fromkeys(committed.differences("tuned", "olora vs lora"), 300)
    for name in ("seed", "item", "item_df", "item_noise"):
        assert getattr(assumed(items).errors, name) == pytest.approx(getattr(known, name), rel=0.01), name
    assert assumed({}).errors.seed == pytest.approx(float(judged.held_out.seed_variance()), rel=0.02)
    assert pytest.approx((known.seed, known.item, known.item_df), rel=0.01) == (price.SEED, price.ITEM, price.ITEM_DF)
    assert pytest.approx(known.item_noise, rel=0.01) == price.ITEM_NOISE * price.ITEM


def test_looking_errs_no_more_often_than_the_level() -> None:
    """Neither a false difference nor a false equivalence, nor an interval after stopping that misses, beyond the simulation's error."""
    assert FOUND[~FOUND["holds"]].empty
    assert (FOUND["coverage"] >= 0.94).all()


def test_looking_without_a_price_errs() -> None:
    assert FOUND.loc[FOUND["contrasts"] == 1, "naive"].max() > 0.09


def test_a_plan_foretells_within_two_points() -> None:
    power = FOUND[FOUND["kind"] == "power"]
    for name in ("better", "equivalent"):
        assert (power[f"{name}_foretold"] - power[name]).abs().max() < 0.02
    assert (power["seeds_until_foretold"] / power["seeds_until"] - 1).abs().max() < 0.05


@pytest.mark.parametrize(("truth", "items", "runs", "hours"), [(3.0, "300", 0.45, 0.35), (3.0, "all", 0.45, 0.35), (0.0, "all", 0.6, 0.5)])
def test_a_verdict_costs_less(truth: float, items: str, runs: float, hours: float) -> None:
    row = BOTH.loc[("arms of smollm2", truth, items, 1.0, 3)]
    assert row["runs", "looks"] <= runs * row["runs", "fixed"] and row["hours", "looks"] <= hours * row["hours", "fixed"]
    assert abs(row["undecided", "looks"] - row["undecided", "fixed"]) < 0.01 and max(row["error"]) < 0.056


def test_arms_that_differ_in_their_best_rates_alone_are_called_no_more_often_than_the_level() -> None:
    same = PRICE[(PRICE["kind"] == "identical arms") & (PRICE["truth"] == 0) & (PRICE["design"] == "looks")]
    assert len(same) == 2 and ((same["better"] + same["worse"]) < 0.056).all()


LOSS = PRICE[PRICE["kind"] == "judged by loss"]


def test_by_loss_too_whatever_the_finalists_and_the_tuning_seeds() -> None:
    same = LOSS[(LOSS["truth"] == 0) & (LOSS["design"] == "looks") & (LOSS["finalists"] > 1)]
    assert same[["finalists", "tuning_seeds"]].to_numpy().tolist() == [[3, 1], [5, 1], [5, 2]] and (same["error"] < 0.056).all()


def test_one_finalist_by_loss_errs_as_a_refused_study_is_told() -> None:
    row = LOSS[(LOSS["finalists"] == 1) & (LOSS["design"] == "looks")].iloc[0]
    assert round(100 * row["error"]) == ONE_FINALIST


@pytest.mark.parametrize("design", ["looks", "fixed"])
def test_a_plan_foretells_studies_of_finalists_within_two_points(design: str) -> None:
    """Of what blocks keep; by loss with five finalists, in the mean over whichever arm is the better."""
    named = ["better", "worse", "equivalent"]
    scores, five = PRICE[PRICE["kind"] != "judged by loss"], LOSS[(LOSS["finalists"] == 5) & (LOSS["design"] == design)]
    for rows in (scores[scores["design"] == design], five[five["truth"] == 0]):
        assert all((rows[f"{name}_foretold"] - rows[name]).abs().max() < 0.02 for name in named)
    both = five[five["truth"] != 0]
    assert len(both) == 2 and abs((both["equivalent_foretold"] - both["equivalent"]).mean()) < 0.02
    right, told = (both[f"better{end}"].sum() + both[f"worse{end}"].sum() for end in ("", "_foretold"))
    assert right / 2 == pytest.approx(told / 2, abs=0.02)


@pytest.mark.parametrize("finalists", AT_EDGE)
def test_the_edges_that_a_plan_assumes_are_those_simulated(finalists: int) -> None:
    row = LOSS[(LOSS["finalists"] == finalists) & (LOSS["tuning_seeds"] == 1) & (LOSS["design"] == "looks") & (LOSS["truth"] == 0)].iloc[0]
    assert (row["always_at_edge"], row["at_edge"]) == pytest.approx(AT_EDGE[finalists], abs=0.006)


def test_what_blocks_of_headline_kept_varies_as_is_said() -> None:
    frames = read("headline").frames
    table = pairs(frames)
    (judged,) = (one for one in compared(frames, table, seed_differences(frames, table)) if one.comparison.confirmatory)
    assert float(judged.held_out.seed_variance()) == pytest.approx(0.0008, abs=5e-5)
    assert seen(frames)["olora", "lora"].errors.seed == pytest.approx(0.07, abs=5e-3)


def test_an_arm_whose_search_is_noisier_is_found() -> None:
    assert (PRICE.loc[PRICE["kind"] == "noisier search", "better"] > 0.99).all()


def test_a_small_part_runs_again() -> None:
    row = looks.simulate(next(iter(looks.rows())), 60)
    assert row["holds"] and 0 <= row["naive"] < 0.4


def test_a_small_part_of_the_price_runs_again() -> None:
    mine, fixed = (price.simulate(price.KINDS[0], one, 40) for one in price.PROCEDURES)
    assert mine["runs"] < 0.5 * fixed["runs"] and mine["better"] == fixed["better"] == 1.0
