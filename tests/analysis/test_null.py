"""The null simulation: its committed result, and a small part of it run again."""

from __future__ import annotations

from pathlib import Path

import null_simulation as null
import pandas as pd
import pytest

RESULT = pd.read_csv(Path(null.__file__).with_suffix(".csv"))


def test_every_combination_is_there_and_holds() -> None:
    """45 combinations; at 5% none of the four tests (of these items) errs more often than its Monte-Carlo interval allows."""
    assert len(RESULT) == len(RESULT[["spread_pp", "items", "seeds"]].drop_duplicates()) == 45
    assert RESULT["holds"].all()


def test_the_sign_test_over_cells_fails() -> None:
    """Cells that share runs are no coins: with 1 pp between runs it calls a winner among equals in 15% to 39% of studies."""
    naive = RESULT.set_index(["spread_pp", "items", "seeds"])["naive_signs"]
    assert naive.loc[1.0].between(0.14, 0.40).all() and naive.loc[2.0].gt(0.27).all()


@pytest.mark.parametrize(("spread", "items", "seeds"), [(0.0, 500, 3), (1.0, 1267, 6)])
def test_a_small_part_again(spread: float, items: int, seeds: int) -> None:
    row = null.simulate(spread, items, seeds, studies=300, counted=50, seed=2)
    assert row["holds"]
    assert (row["naive_signs"] > 0.12) == (spread > 0)
