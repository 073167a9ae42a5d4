"""Throw-away studies from a few lines, and a launcher that plants records instead of training."""

from __future__ import annotations

from pathlib import Path

import pytest
from planting import MakeStudy, OutcomeOf, Planter, PlantRun, ReadManifest, SweepStudy, plant

from olora_bench.store.manifest import Manifest
from olora_bench.study import sweep as sweep_module
from olora_bench.study.manifest import read_manifest as read
from olora_bench.study.open import OpenStudy, open_study
from olora_bench.study.states import Standing
from tests.study_text import HEAD, study_text


@pytest.fixture
def study(tmp_path: Path) -> MakeStudy:
    def make(node: str, *overrides: str, name: str = "throwaway", more: str = "") -> OpenStudy:
        path = tmp_path / "sweeps" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(study_text(node, name=name, head=HEAD + more))
        return open_study(path, [f"machine.results_dir={tmp_path / 'results'}", *overrides])

    return make


@pytest.fixture
def sweep() -> SweepStudy:
    def run(opened: OpenStudy, outcome: OutcomeOf, *, retry: bool = False) -> tuple[Planter, list[Standing]]:
        planter = Planter(opened, outcome)
        return planter, sweep_module.sweep_study(opened, planter, opened.file.overrides, retry=retry)

    return run


@pytest.fixture
def plant_run() -> PlantRun:
    return plant


@pytest.fixture
def read_manifest() -> ReadManifest:
    """Read a study's manifest as it lies on disk."""

    def of(opened: OpenStudy) -> Manifest:
        manifest = read(opened.home)
        assert manifest is not None
        return manifest

    return of
