"""A comparison finds its own rows in every table."""

from __future__ import annotations

import pandas as pd
import pytest

from olora_bench.analysis.comparison import Comparison, comparisons

ROWS = [("tuned", float("nan"), "x"), ("shared", 1e-3, "x"), ("shared", 1e-4, "x"), ("shared", 1e-3, "y"), ("tuned", float("nan"), "y")]


@pytest.fixture
def table() -> pd.DataFrame:
    """Rows of two contrasts, one of them tuned and at two shared learning rates."""
    shared = {"reference": "lora", "kind": "primary", "confirmatory": True}
    return pd.DataFrame([{"arm": arm, "contrast": f"{arm} vs lora", "role": role, "lr_arm": lr} | shared for role, lr, arm in ROWS])


def test_a_comparison_finds_its_own_rows_and_no_others(table: pd.DataFrame) -> None:
    found = [one.rows_in(table) for one in comparisons(table)]
    assert [list(rows.index) for rows in found] == [[0], [1], [2], [3], [4]]


def test_a_tuned_comparison_finds_rows_that_name_their_rate(table: pd.DataFrame) -> None:
    """As the table of cells may: each arm's own rate stands there."""
    tuned = Comparison("x", "lora", "primary", "tuned", confirmatory=True, lr=None)
    assert list(tuned.rows_in(table.assign(lr_arm=[1e-2, *table["lr_arm"][1:]])).index) == [0]


def test_a_comparison_is_what_its_columns_say() -> None:
    for lr, role in ((None, "tuned"), (1e-3, "shared")):
        comparison = Comparison("olora", "lora", "secondary", role, confirmatory=False, lr=lr)
        assert Comparison.of_row(comparison.columns) == comparison
