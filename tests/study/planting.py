"""Records that were never trained, a launcher that writes them, and the types of the fixtures that use both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from olora_bench.config import Experiment
from olora_bench.identity import Identified
from olora_bench.store import RunRecord, Store
from olora_bench.store.manifest import Manifest
from olora_bench.study.open import OpenStudy, open_study
from olora_bench.study.states import Standing, standing
from tests.study_text import study_text

Outcome = float | None | str
"""What a planted run comes to: its tune loss, None for a diverged one, a text for a failed one."""
OutcomeOf = Callable[[Experiment], Outcome]
ChangesOf = Callable[[Experiment], Mapping[str, object]]


class MakeStudy(Protocol):
    """Opens a study written from the lines of its `study` node, its results in the test's folder."""

    def __call__(self, node: str, *overrides: str, name: str = "throwaway", more: str = "") -> OpenStudy: ...


class SweepStudy(Protocol):
    """Sweeps an open study through a planter; returns the planter and where the runs stand."""

    def __call__(self, opened: OpenStudy, outcome: OutcomeOf, *, retry: bool = False) -> tuple[Planter, list[Standing]]: ...


class PlantRun(Protocol):
    """Writes the record of a run that was never trained; `changes` replace fields of it."""

    def __call__(self, what: Identified, outcome: Outcome, **changes: object) -> RunRecord: ...


ReadManifest = Callable[[OpenStudy], Manifest]


class Planter:
    """A launcher: finds each run by its overrides, and writes the record that `outcome` says; `changes` replace fields of it."""

    def __init__(self, opened: OpenStudy, outcome: OutcomeOf, changes: ChangesOf = lambda _: {}) -> None:
        self.opened, self.outcome, self.changes = opened, outcome, changes
        self.batches: list[list[Experiment]] = []
        self.launched: list[tuple[str, ...]] = []

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> None:
        self.batches.append([])
        self.launched += [tuple(lines) for lines in job_overrides]
        jobs = self.opened.grids().jobs
        for lines in job_overrides:
            batch = [job for job in jobs if (*self.opened.file.overrides, *job.launch.overrides) == tuple(lines)]
            assert batch
            batch = [job for job in batch if job.block is None or standing(self.opened.store, job).state not in ("done", "diverged")]
            self.batches[-1:] = [[*self.batches[-1], *(job.experiment for job in batch)]]
            for job in batch:
                plant(job.what, self.outcome(job.experiment), **self.changes(job.experiment))


def opened_in(folder: Path, node: str) -> OpenStudy:
    """A study written from the lines of its `study` node into a folder, its results beside it."""
    path = folder / "throwaway.yaml"
    path.write_text(study_text(node, name="throwaway"))
    return open_study(path, [f"machine.results_dir={folder / 'results'}"])


def plant(what: Identified, outcome: Outcome, **changes: object) -> RunRecord:
    experiment = what.experiment
    fields: Mapping[str, object] = {
        "train_id": what.train_id, "arm": experiment.arm,
        "identity": dict(what.train), "config": experiment.model_dump(mode="json"), "provenance": {},
        "started_at": "2026-01-31T09:30:00+00:00", "finished_at": "2026-01-31T09:31:00+00:00", "timings_s": {"train": 50.0},
        "tokens_per_s": 1000.0, "examples_per_s": 10.0, "base_bytes": 100, "peak_bytes": 300, "peak_above_base_bytes": 200,
        "parameters_total": 1000, "parameters_trainable": 10, "adapter_bytes": 40, "steps": 2, "clipped_step_share": 0.5,
    }  # fmt: skip
    record = RunRecord.model_validate({**fields, **_ending(outcome), **changes})
    Store(experiment.machine.results_dir).write_run(record)
    return record


def _ending(outcome: Outcome) -> dict[str, object]:
    if isinstance(outcome, str):
        return {"status": "failed", "error": outcome, "metrics": {}}
    if outcome is None:
        return {"status": "diverged", "error": "loss is nan after step 3", "metrics": {}}
    return {"status": "done", "error": None, "metrics": {"tune_loss": outcome, "tune_gold_logprob": -outcome}}
