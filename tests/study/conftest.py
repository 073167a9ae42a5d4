"""Throw-away studies from a few lines, and a launcher that plants records instead of training."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from olora_bench.config import Experiment
from olora_bench.identity import Identified
from olora_bench.store import RunRecord, Store
from olora_bench.study.open import OpenStudy, open_study

HEAD = """
defaults:
  - config
  - override model: tiny_tinyllama
  - override data: made_up
  - override suite: none
  - override tracker: none
  - override hydra/sweeper: study
  - _self_
hydra: {mode: MULTIRUN}
precision: fp32
rank: 4
"""

Outcome = float | None | str
"""What a planted run comes to: its tune loss, None for a diverged one, a text for a failed one."""


class Planter:
    """A launcher: finds each run by its overrides, and writes the record that `outcome` says."""

    def __init__(self, opened: OpenStudy, outcome: Callable[[Experiment], Outcome]) -> None:
        self.opened, self.outcome = opened, outcome
        self.batches: list[list[Experiment]] = []

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> None:
        known = {(*self.opened.file.overrides, *job.overrides): job for job in self.opened.grids().jobs}
        batch = [known[tuple(lines)] for lines in job_overrides]
        self.batches.append([job.experiment for job in batch])
        for job in batch:
            plant(job.what, self.outcome(job.experiment))


def plant(what: Identified, outcome: Outcome, **changes: Any) -> RunRecord:
    """Write the record of a run that was never trained."""
    experiment = what.experiment
    status = "failed" if isinstance(outcome, str) else "diverged" if outcome is None else "done"
    fields: dict[str, Any] = {
        "train_id": what.train_id, "arm": experiment.arm, "status": status,
        "error": outcome if isinstance(outcome, str) else None if outcome is not None else "loss is nan after step 3",
        "identity": dict(what.train), "config": experiment.model_dump(mode="json"), "provenance": {},
        "started_at": "2026-01-31T09:30:00+00:00", "finished_at": "2026-01-31T09:31:00+00:00", "timings_s": {"train": 50.0},
        "tokens_per_s": 1000.0, "examples_per_s": 10.0, "base_bytes": 100, "peak_bytes": 300, "peak_above_base_bytes": 200,
        "parameters_total": 1000, "parameters_trainable": 10, "adapter_bytes": 40, "steps": 2, "clipped_step_share": 0.5,
        "metrics": {"tune_loss": outcome, "tune_gold_logprob": -outcome} if isinstance(outcome, float) else {},
    }  # fmt: skip
    record = RunRecord(**(fields | changes))
    Store(experiment.machine.results_dir).write_run(record)
    return record


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., OpenStudy]:
    """Open a study written from the lines of its `study` node, its results in the test's folder."""

    def make(node: str, *overrides: str, name: str = "throwaway", more: str = "") -> OpenStudy:
        path = tmp_path / "sweeps" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{HEAD}{more}\nstudy:\n  name: {name}\n  title: a study\n{textwrap.indent(textwrap.dedent(node), '  ')}")
        return open_study(path, [f"machine.results_dir={tmp_path / 'results'}", *overrides])

    return make


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[..., tuple[Planter, list[Any]]]:
    """Sweep an open study through a planter; returns the planter and where the runs stand."""
    from olora_bench.study import sweep as module

    def run(opened: OpenStudy, outcome: Callable[[Experiment], Outcome], *, retry: bool = False) -> tuple[Planter, list[Any]]:
        planter = Planter(opened, outcome)
        return planter, module.sweep_study(opened, planter, opened.file.overrides, retry=retry)

    return run


@pytest.fixture
def plant_run() -> Callable[..., RunRecord]:
    """Write the record of a run that was never trained."""
    return plant


@pytest.fixture
def read_manifest() -> Callable[[OpenStudy], dict[str, Any]]:
    """Read a study's manifest as it lies on disk."""
    return lambda opened: json.loads((opened.store.root / opened.name / "manifest.json").read_text())
