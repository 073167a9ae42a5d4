"""Two arms' logs as a study of runs that others made, and what is read of them again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from lm_eval_logs import Log

from olora_bench.analysis import StudyFrames
from olora_bench.analysis.cells import compare_cells, seed_differences
from olora_bench.analysis.compared import compared
from olora_bench.analysis.pairs import pairs
from olora_bench.analysis.verdicts import confirmatory
from olora_bench.foreign.record import ImportedRecord, read
from olora_bench.study.imported import Read

SYNTHETIC = Path(__file__).resolve().parents[1] / "synthetic" / "results"
LEAD = {"lora": 0.0, "olora": 0.1}
STUDY = {
    "name": "mine",
    "title": "OLoRA against LoRA",
    "runs": "runs/{arm}/seed{seed}",
    "contrasts": [{"arm": "olora", "reference": "lora"}],
}
HARD = {name: np.random.default_rng(len(name)).random(20) for name in ("piqa", "boolq")}
Importer = Callable[..., Read]


def right(arm: str, seed: int) -> dict[str, list[int]]:
    """A run's right answers, 20 of each benchmark: hard items are hard for every run."""
    rng = np.random.default_rng([seed, len(arm)])
    return {name: (0.7 * hard + 0.3 * rng.random(20) < 0.5 + LEAD[arm]).astype(int).tolist() for name, hard in HARD.items()}


def verdicts(frames: StudyFrames) -> pd.DataFrame:
    """The table of verdicts alone."""
    pair = pairs(frames)
    return confirmatory(frames, compared(frames, pair, seed_differences(frames, pair)))


def cells(frames: StudyFrames) -> pd.DataFrame:
    """The table of cells alone, primary metrics."""
    pair = pairs(frames)
    found = compare_cells(frames, pair, seed_differences(frames, pair))
    return found[found["primary"].astype(bool)]


def logs(root: Path, *, seeds: int = 2, folder: str = "runs/{arm}/seed{seed}", **log: object) -> None:
    """lm-eval's logs of both arms."""
    for arm in LEAD:
        for seed in range(seeds):
            Log(right(arm, seed), **log).write(root / folder.format(arm=arm, seed=seed))  # type: ignore[arg-type]


def records(root: Path, name: str = "mine") -> list[ImportedRecord]:
    home = root / "results" / name
    return [read(home, one.name) for one in sorted((home / "imported").iterdir())]


def state(loss: float, *, lr: float = 2e-4) -> dict[str, Any]:
    """A trainer_state.json, as transformers writes it."""
    history = [{"loss": loss + 1, "grad_norm": 0.5, "learning_rate": lr, "step": 1}, {"eval_loss": loss, "step": 2}]
    return {"global_step": 2, "log_history": [*history, {"train_runtime": 12.5, "step": 2}]}


def scores_csv(root: Path, rows: list[tuple[object, ...]], *columns: str) -> None:
    pd.DataFrame(rows, columns=["arm", "seed", "benchmark", *columns]).to_csv(root / "scores.csv", index=False)


def unread(root: Path) -> list[str | None]:
    return [one.scores_error for one in records(root) if one.scores_state == "unreadable"]
