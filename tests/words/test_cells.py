"""What stands over a table of cells."""

from __future__ import annotations

import pandas as pd
import pytest

from olora_bench.analysis.comparison import Comparison
from olora_bench.words.cells import ran

TUNED = Comparison("olora", "lora", "primary", "tuned", confirmatory=True, lr=None)
CELL = {
    "model": "syn_a", "rank": 8, "setting": "", "seeds": 6, "seeds_planned": 6, "diverged": 0, "cell_lr_reference": 5.62e-3,
    "cell_lr_arm": 1e-3,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ({}, "lora at lr 5.62e-3, olora at lr 1e-3"),
        ({"cell_lr_arm": 5.62e-3}, "lr 5.62e-3"),
        ({"kept_reference": "5.62e-3 3.16e-3 5.62e-3 3.16e-3 3.16e-3 3.16e-3", "kept_arm": "1e-3 1e-3 1e-3 1e-3 1e-3 1e-3"},
         "lora at lr 3.16e-3 (4 blocks) and 5.62e-3 (2), olora at lr 1e-3 (6 blocks), as each block chose"),
        ({"kept_reference": "", "kept_arm": ""}, "lora at lr around 5.62e-3, olora at lr around 1e-3, as each block chose"),
    ],
)  # fmt: skip
def test_a_cell_says_at_which_rates_its_runs_were_trained(kept: dict[str, object], said: str) -> None:
    """Not at the one that a search chose, where each block keeps one of its neighbours."""
    assert ran(pd.DataFrame([CELL | kept]), TUNED) == f"syn_a, rank 8, {said}, 6 paired seeds"
