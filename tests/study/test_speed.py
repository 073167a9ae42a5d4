"""A large study is planned in seconds, and a finished one found finished in seconds. Limits are those of an idle machine, doubled."""

from __future__ import annotations

import time

import pandas as pd
import pytest
from planting import MakeStudy, PlantRun

from olora_bench.identity import Identified
from olora_bench.store import EvalRecord, Score, Store
from tests.fixture_types import Cli

GRID = """
protocol: shared_lr
contrasts: [{arm: olora, reference: lora, kind: primary}]
grids:
  - model: [tiny_llama2_7b, tiny_mistral_7b, tiny_gemma_2b, tiny_tinyllama, tiny_opt_1.3b]
    init: [lora, olora]
    rank: [4, 8]
    seed: SEEDS
"""


def test_a_new_study_of_a_thousand_runs_is_planned_in_ten_seconds(study: MakeStudy, cli: Cli) -> None:
    opened = study(GRID.replace("SEEDS", str(list(range(50)))), more="suite: {benchmarks: [piqa], rows: made_up}")
    start = time.monotonic()
    done = cli("plan", "--no-calibration", str(opened.file.path), f"machine.results_dir={opened.store.root}", module="olora_bench.study")
    assert done.returncode == 0 and "runs          1000" in done.stdout, done.stderr
    assert time.monotonic() - start < 20


@pytest.mark.slow
def test_a_finished_study_of_six_hundred_runs_is_swept_again_in_five_seconds(study: MakeStudy, cli: Cli, plant_run: PlantRun) -> None:
    """Records of 600 runs with their evaluations on six benchmarks, planted."""
    opened = study(
        GRID.replace("SEEDS", str(list(range(30)))),
        more="suite: {name: six, limit: 8, rows: made_up, benchmarks: BENCHMARKS}".replace(
            "BENCHMARKS", "[arc_challenge, openbookqa, boolq, hellaswag, piqa, winogrande]"
        ),
    )
    jobs = opened.grids().jobs
    assert len(jobs) == 600
    bases = {job.what.base_eval_id: job for job in jobs if job.what.base_eval_id is not None}
    for job in jobs:
        assert job.what.eval_id is not None
        plant_run(job.what, 1.5)
        plant_scores(opened.store, job.what, job.what.eval_id, job.what.train_id)
    for eval_id, job in bases.items():
        plant_scores(opened.store, job.what, eval_id, None)
    command = ("run", str(opened.file.path), f"machine.results_dir={opened.store.root}")
    first = cli(*command, module="olora_bench.study")
    assert first.returncode == 0, first.stderr
    start = time.monotonic()
    again = cli(*command, module="olora_bench.study")
    assert again.returncode == 0 and "600 runs: 600 done" in again.stderr
    assert time.monotonic() - start < 10
    assert again.stdout == first.stdout


def plant_scores(store: Store, what: Identified, eval_id: str, train_id: str | None) -> None:
    names = list(what.experiment.suite.benchmarks)
    score = Score(metrics={"acc": 0.5}, stderr={"acc": 0.1}, primary="acc", items=8, chance=0.5, gold_logprob=-2.0, truncated=0)
    record = EvalRecord(
        eval_id=eval_id, train_id=train_id, base=None if train_id else what.experiment.model.name, status="done", identity={}, config={},
        provenance={}, started_at="2026-01-31T09:31:00+00:00", finished_at="2026-01-31T09:32:00+00:00", timings_s={"score": 60.0},
        scores=dict.fromkeys(names, score),
    )  # fmt: skip
    rows = [
        {"benchmark": name, "item_id": str(i), "gold": 0, "prediction": i % 2, "prediction_norm": i % 2, "correct": i % 2 == 0,
         "correct_norm": i % 2 == 0, "loglikelihoods": [-1.0, -2.0], "lengths": [3, 4]}
        for name in names for i in range(8)
    ]  # fmt: skip
    store.write_eval(record, pd.DataFrame(rows))
