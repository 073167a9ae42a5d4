"""In which order a study's runs are launched."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence

import pytest
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from planting import MakeStudy, Planter, PlantRun

from olora_bench.config import Experiment
from olora_bench.study.expand import StudyFile, find_study
from olora_bench.study.jobs import Job
from olora_bench.study.states import Standing, Worklist
from olora_bench.study.sweep import in_order, sweep_study


def test_whole_pairs_come_first() -> None:
    """Of the published study, cell by cell: the primary arms' reported runs, seed by seed; then the search; then the other arms."""
    grids = StudyFile(find_study("smollm2")).grids()
    todo = list(grids.jobs)
    random.Random(0).shuffle(todo)
    found = in_order(grids, todo)
    assert sorted(job.what.train_id for job in found) == sorted(job.what.train_id for job in grids.jobs)
    kinds = ["search" if job.roles == ("tuning",) else "primary" if job.experiment.arm in ("lora", "olora") else "other" for job in found]
    parts = [(job.experiment.recipe.steps, kind) for job, kind in zip(found, kinds, strict=True)]
    assert [part for part, _ in itertools.groupby(parts)] == [
        (64, "primary"), (64, "search"), (64, "other"), (16, "primary"), (16, "search"), (32, "primary"), (32, "search"),
    ]  # fmt: skip
    first = [(job.experiment.arm, job.experiment.seed) for job in found[:12]]
    assert [seed for _, seed in first] == [seed for seed in range(10, 16) for _ in range(2)]
    assert all({first[i][0], first[i + 1][0]} == {"lora", "olora"} for i in range(0, 12, 2))


TWO_CELLS = """
protocol: tuned
contrasts: [{arm: olora, reference: lora, kind: primary}, {arm: olora_random, reference: olora, kind: secondary}]
grids: [{init: [lora, olora, olora_random], recipe.steps: 4}, {init: [lora, olora], recipe.steps: 2}]
tuning: {criterion: tune_loss, lrs: [1.0e-4, 3.16e-4, 1.0e-3], seeds: [0], fresh_seeds: [10, 11], max_extensions: 1}
"""


def loss(experiment: Experiment) -> float:
    return 1 + abs(math.log10(experiment.lr / 3.16e-4))


class OneByOne(Planter, BasicLauncher):  # type: ignore[misc]
    """Stands for Hydra's own launcher."""


def test_one_process_comes_to_a_verdict_before_it_searches_on(study: MakeStudy) -> None:
    """Hydra's own launcher gets run after run: a cell's search, its refinement and its fresh seeds before the next cell's. Any other
    launcher gets all that is known at once. Both end with the same runs."""
    batches = {}
    for kind in (Planter, OneByOne):
        opened = study(TWO_CELLS, f"machine.results_dir={study(TWO_CELLS).store.root.parent / kind.__name__}")
        planter = kind(opened, loss)
        sweep_study(opened, planter, opened.file.overrides)
        batches[kind] = planter.batches
    assert {len(batch) for batch in batches[OneByOne]} == {1}
    runs = [batch[0] for batch in batches[OneByOne]]
    parts = [(one.recipe.steps, one.seed >= 10, one.arm == "olora_random" and one.seed >= 10) for one in runs]
    assert [(*part, len(list(of))) for part, of in itertools.groupby(parts)] == [
        (4, False, False, 9 + 6),
        (4, True, False, 4),
        (4, True, True, 2),
        (2, False, False, 6 + 4),
        (2, True, False, 4),
    ]
    assert [len(batch) for batch in batches[Planter]] == [15, 10, 10]

    def names(kind: type[Planter]) -> set[tuple[str, int | None, float, int]]:
        return {(one.arm, one.recipe.steps, one.lr, one.seed) for batch in batches[kind] for one in batch}

    assert names(Planter) == names(OneByOne)


def test_a_stage_that_another_worker_opens_just_now_is_not_missed(
    study: MakeStudy, monkeypatch: pytest.MonkeyPatch, plant_run: PlantRun
) -> None:
    """The search's last run is finished elsewhere after this worker worked out what the study needs, and before it looks the runs up."""
    opened = study(TWO_CELLS)
    last = opened.grids().jobs[-1]
    look = Worklist.look

    def late(self: Worklist, jobs: Sequence[Job]) -> tuple[list[Standing], list[Job]]:
        found, todo = look(self, jobs)
        if [job.what.train_id for job in todo] != [last.what.train_id]:
            return found, todo
        plant_run(last.what, loss(last.experiment))
        return look(self, jobs)

    monkeypatch.setattr(Worklist, "look", late)
    monkeypatch.setattr("olora_bench.study.sweep.in_order", lambda _, todo: sorted(todo, key=lambda job: job.what == last.what))
    found = sweep_study(opened, OneByOne(opened, loss), opened.file.overrides)
    assert opened.grids().settled and {one.state for one in found} == {"done"}
