"""The studies that come with the package: their plans in docs/studies.md, and what their headers say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from olora_bench.config.memory import training_memory
from olora_bench.process.progress import size
from olora_bench.study.open import find_and_open
from olora_bench.study.shipped import page, section

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "studies.md").read_text()


def test_every_shipped_study_has_its_plan_in_the_docs() -> None:
    assert sorted(re.findall(r"(?m)^## (\S+)$", PAGE)) == sorted(path.stem for path in (ROOT / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("name", ["headline", "demo"])
def test_a_plan_in_the_docs_is_what_the_command_prints(name: str) -> None:
    assert section(name) in PAGE, "python -m olora_bench.study plans > docs/studies.md"


@pytest.mark.slow
def test_the_page_of_plans_is_what_the_command_prints() -> None:
    assert page() == PAGE, "python -m olora_bench.study plans > docs/studies.md"


@pytest.mark.parametrize("name", ["paper", "paper_shared"])
def test_a_study_states_the_memory_that_its_plan_computes(name: str) -> None:
    experiments = find_and_open(name, ["machine.device=cuda"]).file.experiments()
    most = max((training_memory(one, on_gpu=True).total, one.model.name, one.rank) for one in experiments)
    header = (ROOT / "sweeps" / f"{name}.yaml").read_text().replace("\n# ", " ")
    assert f"training takes up to {size(most[0])} of it (mistral_7b at rank 64)" in header and most[1:] == ("mistral_7b", 64)
    assert f"memory        {size(most[0])} (from shapes: " in PAGE


def test_the_headline_declares_what_it_is_judged_by() -> None:
    study = find_and_open("headline").file.study
    assert study.seeds is not None and study.tuning is not None and study.margin is not None
    assert study.seeds.looks == (6, 8, 12, 16, 20) and (study.margin.score, study.margin.loss) == (1.0, 0.02)
    assert (study.tuning.finalists, study.tuning.refinement, len(study.tuning.lrs)) == (3, "parabola", 3)


@pytest.mark.parametrize("name", ["unclipped", "horizons", "why", "ratios"])
def test_a_study_by_loss_scores_no_benchmark(name: str) -> None:
    file = find_and_open(name).file
    assert {one.suite.name for one in file.experiments()} == {"none"}
    assert file.study.margin is not None and (file.study.margin.score, file.study.margin.loss) == (None, 0.02)
