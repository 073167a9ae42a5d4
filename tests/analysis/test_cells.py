"""Arm against reference on frames small enough to check by eye."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from olora_bench.analysis import compare_cells, detectable_difference, item_standard_error


def run(arm: str, seed: int, **more: Any) -> dict[str, Any]:
    name = f"{arm}{seed}"
    given = {
        "train_id": name,
        "eval_id": f"e-{name}",
        "base_eval_id": "e-base",
        "cell": "c",
        "model": "m",
        "rank": 8,
        "lr": 1e-3,
        "state": "done",
    }
    return {**given, "arm": arm, "seed": seed, **more}


def score(eval_id: str, value: float, benchmark: str = "piqa") -> dict[str, Any]:
    return {
        "eval_id": eval_id,
        "benchmark": benchmark,
        "metric": "acc_norm",
        "value": value,
        "items": 4,
        "chance": 0.5,
        "gold_logprob": -1.0,
    }


def items_of(answers: dict[str, list[int]]) -> Any:
    def items(eval_id: str) -> pd.DataFrame:
        right = np.array(answers[eval_id], dtype=bool)
        ids = [f"i{n}" for n in range(len(right))]
        return pd.DataFrame({"benchmark": "piqa", "item_id": ids, "correct": ~right, "correct_norm": right})

    return items


ANSWERS = {"e-lora0": [1, 1, 0, 0], "e-lora1": [1, 0, 0, 0], "e-olora0": [1, 1, 1, 0], "e-olora1": [1, 1, 0, 0]}


def compare(runs: list[dict[str, Any]], missing: tuple[str, ...] = ()) -> pd.DataFrame:
    scores = [score(e, float(np.mean(a))) for e, a in ANSWERS.items() if e not in missing] + [score("e-base", 0.25)]
    return compare_cells(pd.DataFrame(runs), pd.DataFrame(scores), items_of(ANSWERS), arm="olora", reference="lora")


FOUR = [run("lora", 0), run("lora", 1), run("olora", 0), run("olora", 1)]


def test_a_cell_is_the_mean_of_its_seeds() -> None:
    (row,) = compare(FOUR).to_dict("records")
    assert (row["base"], row["reference"], row["arm"], row["difference"]) == (25.0, 37.5, 62.5, 25.0)
    assert (row["seeds"], row["seeds_missing"], row["chance"]) == (2, 0, 50.0)
    assert row["runs"] == "lora0 lora1 olora0 olora1"


def test_a_missing_half_drops_its_pair_and_is_counted() -> None:
    """The mean of the other arm is over the paired seeds only: otherwise seeds would be compared with other seeds."""
    (row,) = compare(FOUR, missing=("e-lora1",)).to_dict("records")
    assert (row["reference"], row["arm"], row["seeds"], row["seeds_missing"]) == (50.0, 75.0, 1, 1)


def test_an_arm_without_a_score_leaves_a_gap_and_not_a_number() -> None:
    (row,) = compare(FOUR, missing=("e-olora0", "e-olora1")).to_dict("records")
    assert row["difference"] is None and row["base"] == 25.0 and row["seeds"] == 0


def test_learning_rates_are_not_mixed() -> None:
    other = [run("lora", 0, lr=1e-2, eval_id="e-lora1", train_id="x"), run("olora", 0, lr=1e-2, eval_id="e-olora1", train_id="y")]
    rows = compare([FOUR[0], FOUR[2], *other])
    assert rows["lr"].tolist() == [1e-3, 1e-2] and rows["seeds"].tolist() == [1, 1]


def test_the_item_error_is_that_of_a_paired_mean() -> None:
    """scipy's standard error of the mean of the seed-averaged differences."""
    rng = np.random.default_rng(0)
    arm, reference = rng.integers(0, 2, (3, 50)), rng.integers(0, 2, (3, 50))
    assert item_standard_error(arm, reference) == pytest.approx(stats.sem(arm.mean(0) - reference.mean(0)))


def test_a_detectable_difference_is_found_with_the_stated_power() -> None:
    """80% of tests at 5% find it, by the normal distribution's own tails."""
    difference = detectable_difference(0.7)
    power = stats.norm.sf(stats.norm.ppf(0.975) - difference / 0.7) + stats.norm.cdf(-stats.norm.ppf(0.975) - difference / 0.7)
    assert power == pytest.approx(0.8, abs=1e-4)


def test_items_answered_alike_give_no_detectable_difference() -> None:
    """Their spread cannot be told; zero would claim that any difference could be seen."""
    same = {"e-lora0": [1, 0, 1, 0], "e-olora0": [1, 0, 1, 0]}
    scores = pd.DataFrame([score("e-lora0", 0.5), score("e-olora0", 0.5), score("e-base", 0.5)])
    (row,) = compare_cells(pd.DataFrame([FOUR[0], FOUR[2]]), scores, items_of(same), arm="olora", reference="lora").to_dict("records")
    assert row["difference"] == 0.0 and row["detectable"] is None
