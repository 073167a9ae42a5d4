"""The whole road on five tiny random models: all 60 cells of the paper, then again."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pandas as pd
import pytest

from olora_bench.report import VIEWS
from olora_bench.store import EvalRecord, RunRecord, Store

Cli = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> tuple[Path, list[str], CompletedProcess[str]]:
    """The study run once by the command that a user types; (results folder, overrides, the process)."""
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("rehearsal")
    overrides = [f"machine.results_dir={folder / 'results'}", f"machine.cache_dir={cache_dir}", "machine.device=cpu"]
    done = subprocess.run(
        [sys.executable, "-m", "olora_bench.study", "run", "rehearsal", *overrides],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    return folder / "results", overrides, done


def test_sixty_cells_go_down_the_whole_road(rehearsal: tuple[Path, list[str], CompletedProcess[str]]) -> None:
    results, _, done = rehearsal
    assert done.returncode == 0, done.stderr[-3000:]
    store = Store(results)
    runs, evals = [r for r in store.iter_runs() if isinstance(r, RunRecord)], [e for e in store.iter_evals() if isinstance(e, EvalRecord)]
    assert len(runs) == 20 and {one.status for one in runs} == {"done"}
    trained = [score for one in evals if one.base is None for score in one.scores.values()]
    assert len(trained) == 120, "60 cells of two arms"
    assert {score.items for score in trained} == {8}
    assert sum(len(one.scores) for one in evals if one.base is not None) == 30, "five untouched bases, six benchmarks"
    table = pd.read_csv(results / "rehearsal" / "report" / "tables" / "grid.csv")
    assert len(table) == 60 and table["difference"].notna().all()


def test_both_arms_train_as_many_parameters_and_bytes(rehearsal: tuple[Path, list[str], CompletedProcess[str]]) -> None:
    pairs: dict[tuple[str, int], list[RunRecord]] = {}
    for one in Store(rehearsal[0]).iter_runs():
        assert isinstance(one, RunRecord)
        config: Any = one.config
        pairs.setdefault((config["model"]["name"], config["rank"]), []).append(one)
    for pair in pairs.values():
        assert {one.arm for one in pair} == {"lora", "olora"}
        assert len({one.parameters_trainable for one in pair}) == 1
        assert len({one.adapter_bytes for one in pair}) == 1
    costs = pd.read_csv(rehearsal[0] / "rehearsal" / "report" / "tables" / "costs.csv")
    assert costs["flops_utilisation"].between(0, 1, inclusive="neither").all()
    assert (costs["supervised_tokens_per_s"] < costs["tokens_per_s"]).all()


def test_again_runs_nothing(rehearsal: tuple[Path, list[str], CompletedProcess[str]], cli: Cli) -> None:
    results, overrides, _ = rehearsal
    before = {path: path.stat().st_mtime_ns for path in sorted((results / "runs").rglob("*")) if path.is_file()}
    done = cli("run", "rehearsal", *overrides, module="olora_bench.study")
    assert done.returncode == 0
    assert "20 runs: 20 done" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in sorted((results / "runs").rglob("*")) if path.is_file()} == before


def test_no_stray_file_is_left(rehearsal: tuple[Path, list[str], CompletedProcess[str]]) -> None:
    names = {re.sub(r"\.[0-9a-f]{12}\.", ".", path.name) for path in rehearsal[0].rglob("*") if path.is_file()}
    tables = {f"{name}.{kind}" for name in VIEWS for kind in ("csv", "md", "tex")}
    assert names - tables == {
        "record.json", "curve.parquet", "examples.parquet", "items.parquet", "adapter.safetensors", "manifest.json", "lock.json",
        "report.md", "index.html", "made_from.json",
    }  # fmt: skip


def test_a_single_run_of_the_study_is_found_done_by_the_plain_command(
    rehearsal: tuple[Path, list[str], CompletedProcess[str]], cli: Cli
) -> None:
    """A run belongs to no study: the same experiment asked for alone is the same run."""
    _, overrides, _ = rehearsal
    done = cli(
        "model=tiny_tinyllama", "init=olora", "rank=8", "data=made_up", "suite=commonsense6_made_up", "tracker=none", "lr=1e-3",
        "precision=fp32", "recipe.steps=6", "recipe.loss_evaluations=3", *overrides,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "done already, nothing to do" in done.stderr


def test_the_plan_says_what_is_done(rehearsal: tuple[Path, list[str], CompletedProcess[str]], cli: Cli) -> None:
    done = cli("plan", "rehearsal", "--no-calibration", *rehearsal[1], module="olora_bench.study")
    assert done.returncode == 0, done.stderr
    assert "comparisons   60" in done.stdout and "state         20 done" in done.stdout
