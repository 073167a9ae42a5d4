"""Every shipped config file composes, says what it is, and its header's commands work."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from olora_bench.config import Experiment, compose, conf_dir, load, load_benchmark, sweeps_dir
from olora_bench.study.expand import StudyFile
from olora_bench.study.plan import comparisons
from olora_bench.study.stages import stages

FILES = sorted(p for p in conf_dir().rglob("*.yaml") if p.parent.name not in ("benchmark", "launcher") and p.name != "config.yaml")
STUDIES = sorted(sweeps_dir().glob("*.yaml"))
LAUNCHERS = sorted((conf_dir() / "hydra" / "launcher").glob("*.yaml"))
ALL = [*FILES, *STUDIES, *sorted((conf_dir() / "benchmark").glob("*.yaml"))]


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def header(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line[1:].strip() for line in lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]]


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_choice_composes_into_an_experiment(path: Path) -> None:
    """The rest of the experiment is chosen so that any one choice fits: a tiny rank (even, for orthogonal) and made-up data."""
    experiment = load(compose([f"{path.parent.name}={path.stem}", "rank=2"]))
    assert getattr(experiment, path.parent.name).name == path.stem


@pytest.mark.parametrize("path", sorted((conf_dir() / "benchmark").glob("*.yaml")), ids=name)
def test_every_benchmark_fits_the_schema(path: Path) -> None:
    assert load_benchmark(path.stem).name == path.stem


@pytest.mark.parametrize("path", [*ALL, *LAUNCHERS], ids=name)
def test_a_header_says_what_the_file_is_and_shows_its_use_and_an_override(path: Path) -> None:
    first, *rest = header(path)
    assert len(first) > 20 and first[0].isupper()
    assert any(line.startswith("Use:") for line in rest)
    assert any(line.startswith("Override:") for line in rest)


def commands(path: Path) -> list[list[str]]:
    found = [re.search(r"python -m olora_bench (.*)", line) for line in header(path)]
    return [shlex.split(match[1]) for match in found if match]


@pytest.mark.parametrize("path", [p for p in ALL if p not in STUDIES], ids=name)
def test_header_commands_compose_and_name_their_file(path: Path) -> None:
    assert len(commands(path)) == 2
    for overrides in commands(path):
        load(compose(overrides))
    assert any(path.stem in " ".join(overrides) for overrides in commands(path))


@pytest.mark.parametrize("path", STUDIES, ids=name)
def test_every_study_expands_into_identified_runs_that_each_contrast_compares(path: Path, tmp_path: Path) -> None:
    file = StudyFile(path, [f"machine.results_dir={tmp_path}"])
    grids = file.grids()
    assert grids.study.name == path.stem
    assert comparisons(grids, stages(file, grids)[-1].jobs) > 0
    assert any(f"SWEEP={path.stem}" in line for line in header(path))
    assert ["--config-dir", "sweeps", "--config-name", path.stem] in commands(path)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_key_of_a_choice_can_be_set_without_a_plus(path: Path) -> None:
    """What a file leaves out, config.yaml fills: Hydra lets only keys that are there be overridden."""
    node = compose([f"{path.parent.name}={path.stem}"])[path.parent.name]
    assert set(node) == set(Experiment.model_fields[path.parent.name].annotation.model_fields)


def test_defaults_are_those_of_the_readme_table() -> None:
    """alpha = rank/2, q and v, no dropout, no weight decay, warm-up 10%, linear, clip 1, batch 16, cutoff 256."""
    experiment = load(compose(["rank=64"]))
    recipe = experiment.recipe
    assert (experiment.alpha, experiment.model.target_modules) == (32.0, ("q_proj", "v_proj"))
    assert (recipe.dropout, recipe.weight_decay, recipe.warmup_ratio, recipe.schedule) == (0.0, 0.0, 0.1, "linear")
    assert (recipe.max_grad_norm, recipe.batch_size, experiment.data.cutoff) == (1.0, 16, 256)


def test_the_papers_five_models_pin_a_full_commit() -> None:
    for model in ("llama2_7b", "mistral_7b", "gemma_2b", "tinyllama", "opt_1.3b"):
        raw = yaml.safe_load((conf_dir() / "model" / f"{model}.yaml").read_text())
        assert re.fullmatch(r"[0-9a-f]{40}", raw["hub"]["revision"])
