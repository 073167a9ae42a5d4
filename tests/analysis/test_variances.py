"""Variances before a study has run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from olora_bench.analysis import StudyFrames, Tables
from olora_bench.analysis.variances import assumed, seen


def test_more_items_leave_less_of_the_items_part() -> None:
    few, many = (assumed({"boolq": count, "piqa": count}).errors for count in (300, 1200))
    assert many.item == pytest.approx(few.item / 4) and many.seed == few.seed


def test_without_a_benchmark_the_loss_is_judged() -> None:
    assert assumed({}).errors.item == 0.0 and assumed({}).seeds == 0


def test_records_tell_of_contrasts_that_carry_a_verdict(synthetic: Callable[[str], tuple[StudyFrames, Tables]]) -> None:
    frames, tables = synthetic("planted")
    found = seen(frames)
    row = tables["verdicts"].iloc[0]
    errors = found["olora", "lora"].errors
    assert set(found) == {("olora", "lora")} and found["olora", "lora"].seeds == 6
    assert errors.variance(6, 2) >= row["item_se"] ** 2 and errors.item == pytest.approx(row["item_se"] ** 2)


def test_records_of_too_few_seeds_tell_nothing(synthetic: Callable[[str], tuple[StudyFrames, Tables]]) -> None:
    assert seen(synthetic("searched")[0]) == {}
