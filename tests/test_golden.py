"""Numbers that move without RESULTS_VERSION being raised would make old and new results look alike.

The golden runs are rewritten by `python -m tests.test_golden`, after RESULTS_VERSION was raised.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from olora_bench.config import compose, load
from olora_bench.identity import RESULTS_VERSION
from olora_bench.run.experiment import run
from olora_bench.store import Store

FILE = Path(__file__).parent / "golden.json"
RUNS = {
    "llama lora": ["model=tiny_tinyllama", "init=lora"],
    "llama olora": ["model=tiny_tinyllama", "init=olora"],
    "opt olora": ["model=tiny_opt_1.3b", "init=olora"],
    "gemma olora": ["model=tiny_gemma_2b", "init=olora"],
}
COMMON = [
    "rank=4", "lr=1e-2", "precision=fp32", "data=made_up", "suite=commonsense6_made_up", "tracker=none", "recipe.steps=8",
    "recipe.loss_evaluations=3", "machine.device=cpu", "machine.threads=1",
]  # fmt: skip


def measure(name: str, folder: Path, cache_dir: Path) -> dict[str, Any]:
    experiment = load(compose([*RUNS[name], *COMMON, f"machine.results_dir={folder}", f"machine.cache_dir={cache_dir}"]))
    outcome = run(experiment)
    store = Store(folder)
    curve, record = store.read_curve(outcome.train_id), store.read_run(outcome.train_id)
    assert outcome.eval_id is not None and curve is not None and record is not None
    evaluation = store.read_eval(outcome.train_id, None, outcome.eval_id)
    assert evaluation is not None
    return {
        "train_loss": curve["train_loss"].dropna().round(6).tolist(),
        "report_loss": round(record.metrics["report_loss"] or 0.0, 6),
        "gold_logprob": {b: round(score.gold_logprob, 4) for b, score in evaluation.scores.items()},
    }


@pytest.mark.parametrize("name", RUNS)
def test_numbers_have_not_moved_under_this_results_version(name: str, tmp_path: Path, cache_dir: Path) -> None:
    golden = json.loads(FILE.read_text())
    assert golden["results_version"] == RESULTS_VERSION, (
        "RESULTS_VERSION was raised: python -m tests.test_golden writes the new golden runs"
    )
    found, expected = measure(name, tmp_path / "results", cache_dir), golden["runs"][name]
    # Processors round differently: 1e-4 is far above that and far below what a change of method does.
    remedy = "numbers moved: raise RESULTS_VERSION, or undo what moved them"
    assert found["train_loss"] == pytest.approx(expected["train_loss"], abs=1e-4), remedy
    assert found["report_loss"] == pytest.approx(expected["report_loss"], abs=1e-4), remedy
    assert found["gold_logprob"] == pytest.approx(expected["gold_logprob"], abs=1e-2), remedy


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        runs = {name: measure(name, Path(scratch) / "results", Path(scratch) / "cache") for name in RUNS}
    FILE.write_text(json.dumps({"results_version": RESULTS_VERSION, "runs": runs}, indent=1) + "\n")
    print(f"wrote {FILE}", file=sys.stderr)
