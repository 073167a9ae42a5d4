"""What the printed report says, and that it says what cannot be told."""

from __future__ import annotations

import pandas as pd

from olora_bench.report import study_report

CELL = {
    "model": "m", "rank": 8, "lr": 1e-3, "benchmark": "piqa", "metric": "acc_norm", "items": 60, "chance": 50.0, "base": 55.0,
    "reference": 57.5, "arm": 60.0, "difference": 2.5, "seeds": 2, "seeds_missing": 0, "detectable": 12.3, "runs": "a b",
}  # fmt: skip
RUN = {
    "train_id": "a", "model": "m", "arm": "lora", "rank": 8, "lr": 1e-3, "seed": 0, "state": "done", "report_loss_start": 2.0,
    "report_loss": 1.5, "report_gold_logprob_start": -20.0, "report_gold_logprob": -15.0,
}  # fmt: skip


def text(cells: list[dict[str, object]], runs: list[dict[str, object]]) -> str:
    return study_report("t", pd.DataFrame(runs), [("olora", "lora", "primary", pd.DataFrame(cells))], ["written to r"])


def test_the_whole_report() -> None:
    assert text([CELL], [RUN]).splitlines() == [
        "# t",
        "",
        "## olora against lora (primary)",
        "",
        "m, rank 8, lr 0.001, 2 paired seeds",
        "",
        "| benchmark       | items | chance | base | lora | olora | olora - lora | detectable |",
        "|:----------------|------:|-------:|-----:|-----:|------:|-------------:|-----------:|",
        "| piqa (acc_norm) |    60 |   50.0 | 55.0 | 57.5 |  60.0 |         +2.5 |       12.3 |",
        "| mean of 1       |       |        | 55.0 | 57.5 |  60.0 |         +2.5 |            |",
        "",
        "Two seeds: no verdict. How far a score moves when only the seed changes cannot be told from so few. From the items alone, nothing "
        "below 12.3 to 12.3 pp (column `detectable`) could be found.",
        "",
        "Accuracy in percent; differences and `detectable` in percentage points (80% power at the 5% level).",
        "",
        "## Runs",
        "",
        "| run                      | state | loss before | after | gold log-prob before |   after |",
        "|:-------------------------|------:|------------:|------:|---------------------:|--------:|",
        "| m lora r8 lr0.001 seed 0 |  done |       2.000 | 1.500 |              -20.000 | -15.000 |",
        "",
        "written to r",
    ]


def test_a_gap_is_a_dash_and_never_a_number() -> None:
    shown = text(
        [CELL | {"difference": None, "arm": None, "reference": None, "detectable": None, "seeds": 0}], [RUN | {"report_loss": None}]
    )
    assert "|    60 |   50.0 | 55.0 |    – |     – |            – |          – |" in shown
    assert "No pair of runs: no verdict." in shown
    assert "nan" not in shown.lower() and "None" not in shown


def test_nothing_scored_is_said() -> None:
    assert "No run of this contrast has been scored." in text([], [RUN])
