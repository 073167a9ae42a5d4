"""Speed to a target, of crossings made up here."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from olora_bench.analysis.comparison import Comparison
from olora_bench.analysis.speed import CROSSINGS, speedups

ONE = Comparison("olora", "lora", "primary", "shared", True, 1e-3)
UNITS = ("steps", "tokens", "seconds")


def found(arm: list[float], reference: float) -> pd.Series[object]:
    """The speed-up in steps where the arm's seeds cross at these steps and the reference's all at one."""
    rows = []
    for seed, at in enumerate(arm):
        names = {"cell": "c", "family": "f", "model": "m", "rank": 8, "setting": "", "longest": True, "seed": seed}
        ids = {"arm_id": f"a{seed}", "reference_id": f"r{seed}", "q": 0.9, "target": 1.0, "readings": 40, "same_readings": True}
        read = {f"{side}_{unit}": value for side, value in (("arm", at), ("reference", reference)) for unit in UNITS}
        ends = {f"{side}_end_{unit}": 2 * reference for side in ("arm", "reference") for unit in UNITS}
        rows.append(ONE.columns | names | ids | read | ends)
    table = speedups(CROSSINGS.frame(rows))
    return table[table["unit"] == "steps"].iloc[0]


@pytest.mark.parametrize("turned", [False, True])
def test_the_verdict_lies_on_the_side_of_its_interval(turned: bool) -> None:
    """Five seeds a hair later and five much sooner: as many either way, and a mean of logs that p tells from 0."""
    much = 100 * math.e if turned else 100 / math.e
    row = found([99.0 if turned else 101.0] * 5 + [much] * 5, 100.0)
    assert row["p"] < 0.05 and row["faster"] == row["slower"] == 5
    assert row["verdict"] == ("slower" if turned else "faster")
    assert (row["high"] < 1) if turned else (row["low"] > 1)
