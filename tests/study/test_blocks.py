"""Blocks of finalists, and looks, replayed from records; a planted loss stands for training, a stub for the verdict."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Callable, Collection
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planting import MakeStudy, Planter, PlantRun, ReadManifest, SweepStudy, opened_in

from olora_bench.config import Experiment
from olora_bench.run.finalists import as_loss, kept
from olora_bench.store import Store
from olora_bench.store.manifest import Manifest
from olora_bench.study.expand import Grids, StudyFile
from olora_bench.study.open import OpenStudy
from olora_bench.study.plan import budgets_text, plan_text
from olora_bench.study.schema import Tuning
from olora_bench.study.search import finalists, search
from olora_bench.study.stages import stages
from olora_bench.study.sweep import sweep_study
from tests.study_text import study_text

BLOCKS = """
protocol: tuned
contrasts:
  - {arm: olora, reference: lora, kind: primary}
  - {arm: gaussian, reference: lora, kind: primary}
  - {arm: orthogonal, reference: lora, kind: secondary}
grids: [{init: [lora, olora, gaussian, orthogonal]}]
tuning: {criterion: tune_loss, lrs: [1.0e-4, 3.16e-4, 1.0e-3], seeds: [0], max_extensions: 1, refinement: parabola, finalists: 3}
seeds: {first: 10, looks: [2, 3, 5]}
"""
OLORA = ("olora", "lora")
Judge = Callable[[Store, Manifest], Collection[tuple[str, str]]]


def bowl(experiment: Experiment) -> float:
    """A loss whose best rate moves with the reported seed, by up to a step of the fine grid: blocks keep different finalists."""
    best = -3.5 + (experiment.seed % 5 - 2) / 10 * (experiment.seed >= 10)
    return 1 + (math.log10(experiment.lr) - best) ** 2


def decides(**seeds: int) -> Judge:
    """olora or gaussian is decided once it has so many seeds."""

    def judge(store: Store, manifest: Manifest) -> set[tuple[str, str]]:
        there = {arm: len({run.seed for run in manifest.runs if run.arm == arm and "tuned" in run.roles}) for arm in seeds}
        return {(arm, "lora") for arm, needed in seeds.items() if there[arm] >= needed}

    return judge


def judged(opened: OpenStudy, judge: Judge) -> OpenStudy:
    opened.judge = judge
    return opened


def seeds_of(manifest: Manifest, role: str = "tuned") -> dict[str, list[int]]:
    arms = dict.fromkeys(run.arm for run in manifest.runs)
    return {arm: sorted(run.seed for run in manifest.runs if run.arm == arm and role in run.roles) for arm in arms}


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> tuple[OpenStudy, Planter]:
    """The study whose contrasts are decided at the first look, and what was launched."""
    opened = judged(opened_in(tmp_path_factory.mktemp("calm"), BLOCKS), decides(olora=2, gaussian=2))
    planter = Planter(opened, bowl)
    found = sweep_study(opened, planter, opened.file.overrides)
    assert {one.state for one in found} == {"done"}
    return opened, planter


def test_each_block_draws_its_parts_trains_the_finalists_and_keeps_its_best(
    calm: tuple[OpenStudy, Planter], read_manifest: ReadManifest
) -> None:
    """Equally many of each arm, at neighbouring rates; the seeds' bowls differ, so what is kept does."""
    opened, planter = calm
    manifest = read_manifest(opened)
    assert manifest.settled
    trained = {(run.arm, run.seed): [] for run in manifest.runs if "finalist" in run.roles}
    for run in manifest.runs:
        if "finalist" in run.roles:
            trained[run.arm, run.seed].append(run.lr)
    assert set(trained) == {(arm, seed) for arm in ("lora", "olora", "gaussian", "orthogonal") for seed in (10, 11)}
    assert all(lrs == [1.78e-4, 3.16e-4, 5.62e-4] for lrs in trained.values())
    assert {(run.seed, run.lr) for run in manifest.runs if "tuned" in run.roles} == {(10, 1.78e-4), (11, 3.16e-4)}
    blocks = {e.seed: (e.data.block, e.recipe.read) for batch in planter.batches for e in batch}
    assert blocks == {0: (None, "tune"), 10: (10, "final"), 11: (11, "final")}
    assert len({run.cell for run in manifest.runs}) == 1


def test_three_start_rates_and_a_parabola_are_the_budget(calm: tuple[OpenStudy, Planter]) -> None:
    """With the best of the ladder at the vertex nothing more is tried; the plan says what each arm's search came to."""
    opened, _ = calm
    assert budgets_text(opened.grids()) == "runs of the search: lora 3, olora 3, gaussian 3, orthogonal 3"
    text = plan_text(str(opened.file.path), list(opened.file.overrides))
    assert "budgets       runs of the search: lora 3, olora 3, gaussian 3, orthogonal 3\n" in text


@pytest.mark.parametrize("decided", [2, 3, 5])
def test_the_plan_counts_what_the_sweep_launches(study: MakeStudy, sweep: SweepStudy, decided: int) -> None:
    """Every arm's vertex lies beside the ladder's best, so each search takes its refinement; the secondary arm gets the first look."""
    opened = judged(study(BLOCKS), decides(olora=decided, gaussian=decided))
    planned = {stage.seeds: len(stage.jobs) for stage in stages(opened.file, opened.grids())}
    assert planned == {2: 4 * (4 + 6), 3: 4 * (4 + 6) + 3 * 3, 5: 4 * (4 + 6) + 3 * 9}
    planter, _ = sweep(opened, lambda one: 1 + (math.log10(one.lr) + 3.3) ** 2)
    assert sum(map(len, planter.batches)) == planned[decided]


def test_the_plan_of_a_search_under_way_counts_what_it_knows(study: MakeStudy, sweep: SweepStudy) -> None:
    """Extensions are in no plan before they are asked for; once they are over every run is."""
    opened = judged(study(BLOCKS), decides(olora=2, gaussian=2))
    planter, found = sweep(opened, lambda one: 1 + (math.log10(one.lr) + 2.9) ** 2)
    assert len(stages(opened.file, opened.grids())[0].jobs) == sum(map(len, planter.batches)) == len(found)


RULE = Tuning(criterion="tune_loss", lrs=(1e-4, 3.16e-4, 1e-3), seeds=(0,), refinement="parabola", max_extensions=0)


@pytest.mark.parametrize(
    ("losses", "refined", "chosen"),
    [
        ((1.4, 1.0, 1.4), None, 3.16e-4),
        ((1.1, 1.0, 1.9), 1.78e-4, 1.78e-4),
        ((math.inf, 1.0, 1.2), 5.62e-4, 5.62e-4),
        ((math.inf, 1.0, math.inf), None, 3.16e-4),
        ((1.0, 1.0, 1.0), None, None),
    ],
)
def test_the_vertex_in_log_lr_is_the_one_point_of_a_refinement(
    losses: tuple[float, ...], refined: float | None, chosen: float | None
) -> None:
    known = dict(zip(RULE.lrs, losses, strict=True)) | {1.78e-4: 0.9, 5.62e-4: 0.9}
    (one,) = search(["lora"], RULE, lambda _, lr: known[lr])
    assert [lr for lr, stage in one.tried.items() if stage == "refinement"] == ([] if refined is None else [refined])
    assert one.chosen == chosen and (one.edge == "low") == (chosen is None)


def test_a_refinement_that_came_out_worse_is_not_chosen() -> None:
    known = {1e-4: 1.1, 3.16e-4: 1.0, 1e-3: 1.9, 1.78e-4: 1.05}
    assert search(["lora"], RULE, lambda _, lr: known[lr])[0].chosen == 3.16e-4


@settings(max_examples=200, deadline=None)
@given(below=st.floats(0, 5), above=st.floats(0, 5), best=st.floats(-5, 0))
def test_the_vertex_is_that_of_numpys_parabola(below: float, above: float, best: float) -> None:
    """Against `numpy.polyfit` in quarter decades, away from where rounding is undecided."""
    import numpy as np

    from olora_bench.study.search import vertex

    bend, slope, _ = np.polyfit([-2, 0, 2], [below, best, above], 2)
    place = -slope / (2 * bend) if bend > 1e-9 else 0.0
    if abs(bend) > 1e-6 and abs(abs(place) - 0.5) > 1e-6:
        assert vertex(below, best, above) == round(place)


@pytest.mark.parametrize("count", [1, 3, 5])
def test_finalists_are_a_factor_of_the_fine_grid_apart(count: int) -> None:
    found = finalists(3.16e-4, count)
    assert found[count // 2] == 3.16e-4 and len(found) == count
    assert [math.log10(b / a) for a, b in pairwise(found)] == pytest.approx([0.25] * (count - 1), abs=0.002)


def test_the_lowest_finite_loss_is_kept_and_the_smallest_rate_of_equals() -> None:
    assert kept({1.0: 2.0, 2.0: 1.0, 3.0: math.inf}) == 2.0
    assert kept({3.0: 1.0, 2.0: 1.0, 1.0: 1.5}) == 2.0
    assert kept({3.0: math.inf, 2.0: math.inf, 1.0: math.inf}) == 2.0


def test_a_log_probability_is_a_loss_upside_down(study: MakeStudy, plant_run: PlantRun) -> None:
    """And a run that is running or failed has none yet."""
    job = study(BLOCKS).grids().jobs[0]
    record = plant_run(job.what, 1.5)
    assert (as_loss(record, "tune_loss"), as_loss(record, "tune_gold_logprob")) == (1.5, 1.5)
    assert as_loss(plant_run(job.what, None), "tune_loss") == math.inf
    assert as_loss(None, "tune_loss") is None and as_loss(plant_run(job.what, "broken"), "tune_loss") is None


def test_only_open_contrasts_get_the_next_look_and_a_shared_reference_goes_on(
    study: MakeStudy, sweep: SweepStudy, read_manifest: ReadManifest
) -> None:
    """olora is decided after two seeds, gaussian after three; a secondary arm is shown at the first look."""
    opened = judged(study(BLOCKS), decides(olora=2, gaussian=3))
    sweep(opened, bowl)
    assert seeds_of(read_manifest(opened)) == {"lora": [10, 11, 12], "olora": [10, 11], "gaussian": [10, 11, 12], "orthogonal": [10, 11]}
    stages = {run.seed: run.stage for run in read_manifest(opened).runs if run.seed >= 10}
    assert stages == {10: "look 1", 11: "look 1", 12: "look 2"}
    assert (read_manifest(opened).first_seed, read_manifest(opened).looks) == (10, (2, 3, 5))


def test_looks_of_a_shared_rate_hand_out_seeds(study: MakeStudy, sweep: SweepStudy, read_manifest: ReadManifest) -> None:
    """Two arms at one rate: no search, no finalists, the common parts."""
    node = "protocol: shared_lr\ncontrasts: [{arm: olora, reference: lora, kind: primary}]\ngrids: [{init: [lora, olora]}]\n"
    opened = study(node + "seeds: {first: 3, looks: [1, 3]}\n")
    seen: list[list[int]] = []

    def judge(store: Store, manifest: Manifest) -> set[tuple[str, str]]:
        seen.append(sorted({run.seed for run in manifest.runs}))
        return set()

    planter, _ = sweep(judged(opened, judge), bowl)
    assert [sorted({e.seed for e in batch}) for batch in planter.batches] == [[3], [4, 5]]
    assert {e.data.block for batch in planter.batches for e in batch} == {None} and seen == [[3]]
    assert seeds_of(read_manifest(opened), "shared") == {"lora": [3, 4, 5], "olora": [3, 4, 5]}


def test_one_launch_is_one_block(calm: tuple[OpenStudy, Planter]) -> None:
    """Training, choosing and scoring are one piece of work; a block of which nothing is known is launched once."""
    _, planter = calm
    search_runs, blocks = planter.launched[:12], planter.launched[12:]
    assert not any("finalists" in line for lines in search_runs for line in lines)
    assert len(blocks) == len(set(blocks)) == 8
    assert all("finalists=[0.000178, 0.000316, 0.000562]" in lines and any("criterion=" in line for line in lines) for lines in blocks)


def test_a_diverged_finalist_is_not_kept_and_a_block_without_a_finite_one_ends_its_contrast(
    study: MakeStudy, sweep: SweepStudy, read_manifest: ReadManifest
) -> None:
    """olora's seed 11 diverges at every rate: that pair cannot be had, so no further look is spent on it."""

    def outcome(experiment: Experiment) -> float | None:
        gone = experiment.arm == "olora" and experiment.seed == 11
        return None if gone or (experiment.seed == 10 and experiment.lr < 2e-4) else bowl(experiment)

    opened = study(BLOCKS)
    _, found = sweep(opened, outcome)
    manifest = read_manifest(opened)
    assert {one.state for one in found} == {"done", "diverged"}
    assert {run.lr for run in manifest.runs if run.seed == 10 and "tuned" in run.roles} == {3.16e-4}
    assert [run.lr for run in manifest.runs if run.seed == 11 and run.arm == "olora" and "tuned" in run.roles] == [3.16e-4]
    assert (seeds_of(manifest)["olora"], len(seeds_of(manifest)["gaussian"])) == ([10, 11], 5)


def test_a_failed_finalist_holds_its_block_and_the_look_until_it_is_retried(
    study: MakeStudy, sweep: SweepStudy, read_manifest: ReadManifest
) -> None:
    broken = True

    def outcome(experiment: Experiment) -> float | str:
        return "planted" if broken and (experiment.arm, experiment.seed, experiment.lr) == ("olora", 11, 3.16e-4) else bowl(experiment)

    opened = judged(study(BLOCKS), decides(gaussian=2))
    _, found = sweep(opened, outcome)
    assert [(one.job.experiment.arm, one.job.experiment.seed) for one in found if one.state != "done"] == [("olora", 11)]
    manifest = read_manifest(opened)
    assert seeds_of(manifest)["olora"] == [10] and seeds_of(manifest)["lora"] == [10, 11] and not manifest.settled
    broken = False
    opened = judged(study(BLOCKS), decides(gaussian=2))
    _, found = sweep(opened, outcome, retry=True)
    assert {one.state for one in found} == {"done"} and read_manifest(opened).settled
    assert seeds_of(read_manifest(opened))["olora"] == [10, 11, 12, 13, 14], "never decided: every look"


def test_an_arm_at_an_edge_asks_for_no_look(study: MakeStudy, sweep: SweepStudy, read_manifest: ReadManifest) -> None:
    """It gets no verdict whatever comes, so its reference stops at the first look too."""
    opened = judged(study(BLOCKS), decides(gaussian=2))
    sweep(opened, lambda experiment: experiment.lr if experiment.arm == "olora" else bowl(experiment))
    assert seeds_of(read_manifest(opened)) == {"lora": [10, 11], "olora": [], "gaussian": [10, 11], "orthogonal": [10, 11]}


def test_an_arm_at_an_edge_in_a_shorter_schedule_stops_no_look(study: MakeStudy, sweep: SweepStudy, read_manifest: ReadManifest) -> None:
    """Verdicts are of the longest schedules."""
    node = BLOCKS.replace("orthogonal]}]", "orthogonal], recipe.steps: [2, 8]}]")
    opened = judged(study(node), decides(gaussian=2))
    short = lambda experiment: experiment.arm == "olora" and experiment.recipe.steps == 2  # noqa: E731
    sweep(opened, lambda experiment: experiment.lr if short(experiment) else bowl(experiment))
    manifest = read_manifest(opened)
    seeds = {
        steps: {run.seed for run in manifest.runs if run.arm == "olora" and run.steps == steps and "tuned" in run.roles} for steps in (2, 8)
    }
    assert seeds == {2: set(), 8: {10, 11, 12, 13, 14}} and manifest.settled


SMALL = """
protocol: tuned
contrasts: [{arm: olora, reference: lora, kind: primary}, {arm: gaussian, reference: lora, kind: primary}]
grids: [{init: [lora, olora, gaussian]}]
tuning: {criterion: tune_loss, lrs: [1.0e-4, 3.16e-4, 1.0e-3], seeds: [0], max_extensions: 1, refinement: parabola, finalists: 3}
seeds: {looks: [1, 2]}
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> StudyFile:
    """Composed once: a study file remembers no record."""
    path = tmp_path_factory.mktemp("replay") / "throwaway.yaml"
    path.write_text(study_text(SMALL, name="throwaway"))
    return StudyFile(path, [f"machine.results_dir={path.parent / 'results'}"])


@pytest.mark.parametrize("runs", [pytest.param(1, marks=pytest.mark.slow), 5])
def test_a_study_killed_every_few_runs_is_the_study_that_was_left_alone(file: StudyFile, sweep: SweepStudy, runs: int) -> None:
    """Search, finalists, choosing, looks: whatever was known when it died, the same command goes on to the same manifest."""

    class Killed(BaseException):
        pass

    def manifest() -> bytes:
        return (file.results_dir / "throwaway" / "manifest.json").read_bytes()

    store, judge, kills = Store(file.results_dir), decides(olora=1), 0
    shutil.rmtree(file.results_dir, ignore_errors=True)
    sweep(OpenStudy(file, store, judge), bowl)
    whole = manifest()
    shutil.rmtree(file.results_dir)
    while True:
        left = runs

        def dying(experiment: Experiment) -> float:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return bowl(experiment)

        try:
            sweep(opened := OpenStudy(file, store, judge), dying)
        except Killed:
            kills += 1
        else:
            break
    assert kills == (len(opened.grids().jobs) - 1) // runs and len(opened.grids().jobs) == 3 * 3 + 3 * 3 + 2 * 3
    assert manifest() == whole


def known_grids(file: StudyFile, known: Callable[[str], bool]) -> Grids:
    """The study of which so much is known: every job's loss that `known` allows, and looks whose runs are all known."""
    seen: dict[str, float] = {}

    def over(seeds: int, grids: Grids) -> set[tuple[str, str]] | None:
        return {OLORA} if all(known(job.what.train_id) for job in grids.jobs) else None

    grids = file.grids()
    while True:
        seen |= {job.what.train_id: bowl(job.experiment) for job in grids.jobs if known(job.what.train_id)}
        more = file.grids(seen.get, over)
        if more.jobs == grids.jobs and more.settled == grids.settled:
            return more
        grids = more


@settings(max_examples=25, deadline=None)
@given(salt=st.integers(0, 2**32), share=st.sampled_from([0.5, 0.9, 0.97, 1.0]))
def test_whatever_is_known_no_run_is_wanted_that_the_whole_study_lacks(file: StudyFile, salt: int, share: float) -> None:
    """Any subset of records: what it asks for is part of what all records ask for, in the same roles or fewer."""

    def known(train_id: str) -> bool:
        return random.Random(f"{train_id} {salt}").random() < share

    whole = {job.what.train_id: set(job.roles) for job in known_grids(file, lambda _: True).jobs}
    part = known_grids(file, known)
    assert all(set(job.roles) <= whole[job.what.train_id] for job in part.jobs)
    assert ({job.what.train_id for job in part.jobs} == whole.keys() and part.settled) or not all(known(train_id) for train_id in whole)


def test_a_study_of_looks_locks_them(calm: tuple[OpenStudy, Planter], tmp_path: Path) -> None:
    """What is declared before the runs stays declared: other looks, another number of finalists are changes that a report says."""
    from olora_bench.study.locked import since_locked

    opened, _ = calm
    path = tmp_path / opened.file.path.name
    path.write_text(opened.file.path.read_text().replace("[2, 3, 5]", "[2, 4]").replace("finalists: 3", "finalists: 5"))
    since = since_locked(opened.home, path)
    assert since.changes == (("study.seeds.looks", [2, 3, 5], [2, 4]), ("study.tuning.finalists", 3, 5))
