from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from imported_logs import STUDY, Importer
from lm_eval_logs import Log
from two_sides import answers

from olora_bench.study.imported import Read, read_runs


@pytest.fixture
def sides(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Two folders of logs: `olora`, ahead by `lead`, and `lora`."""

    def write(*, seeds: int = 6, lead: float = 0.05, **log: object) -> tuple[Path, Path]:
        for arm, by in (("olora", lead), ("lora", 0.0)):
            for seed in range(seeds):
                Log(answers(seed, by), **log).write(tmp_path / arm / f"seed{seed}")  # type: ignore[arg-type]
        return tmp_path / "olora", tmp_path / "lora"

    return write


@pytest.fixture
def importer(tmp_path: Path) -> Importer:
    """Import a study file into results/: its frames, without a report."""

    def run(**keys: object) -> Read:
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(STUDY | keys), encoding="utf-8")
        return read_runs(path, tmp_path / "results")

    return run
