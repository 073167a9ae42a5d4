"""plan, status and gc: what they say, from records planted by hand."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest
from planting import MakeStudy, PlantRun

from olora_bench.assets import made_up
from olora_bench.identity import title
from olora_bench.process.hardware import describe
from olora_bench.store import lease
from olora_bench.study import estimate
from olora_bench.study.open import OpenStudy
from olora_bench.study.pace import LAYER_PASS_S, READ_SHARE, SETUP_S, START_S, THREADS_GIVE, Pace, Paces, paces, paces_of
from olora_bench.study.plan import plan_text
from olora_bench.study.status import status_text
from tests.fixture_types import Cli

ONE_PAIR = (("olora", "lora"),)
THREE_PAIRS = (*ONE_PAIR, ("pissa", "lora"), ("pissa", "olora"))


def node(seeds: int = 2, pairs: Sequence[tuple[str, str]] = ONE_PAIR, kind: str = "primary") -> str:
    """Every arm of the pairs at every seed; each pair is a contrast."""
    arms = sorted({arm for pair in pairs for arm in pair})
    contrasts = [{"arm": arm, "reference": reference, "kind": kind} for arm, reference in pairs]
    grid = {"init": arms, "seed": list(range(seeds))}
    return f"protocol: shared_lr\ncontrasts: {json.dumps(contrasts)}\ngrids: [{json.dumps(grid)}]\n"


HERE = {"hardware": asdict(describe()), "device": "cpu"}


def plan(opened: OpenStudy) -> str:
    return plan_text(str(opened.file.path), [*opened.file.overrides, "machine.device=cpu"])


def test_the_papers_plan_has_sixty_comparisons_hours_memory_and_disk(cli: Cli, tmp_path: Path) -> None:
    done = cli("plan", "paper_shared", f"machine.results_dir={tmp_path / 'none'}", "--no-calibration", module="olora_bench.study")
    assert done.returncode == 0, done.stderr
    assert "comparisons   60 " in done.stdout and "runs          at most 100 (60 by look 3, 100 by look 5)" in done.stdout
    for word in ("GPU time", "hours on one GPU (from FLOPs, assuming", "memory", "disk", "no finished run on this hardware"):
        assert word in done.stdout
    assert list(tmp_path.iterdir()) == [], "runs nothing, writes nothing"


def test_a_plan_counts_each_shared_rate(study: MakeStudy) -> None:
    """What a report compares: two rates that both arms share are two comparisons."""
    alone, twice = (plan(study(node().replace('{"init"', f'{{"lr": {lrs}, "init"'))) for lrs in ([1e-3], [1e-3, 3e-4]))
    assert "comparisons   1 " in alone and "comparisons   2 " in twice


@pytest.mark.parametrize(("name", "comparisons"), [("paper", 60), ("headline", 6), ("horizons", 5), ("smollm2", 64)])
def test_a_plan_counts_no_search_and_each_scored_benchmark(name: str, comparisons: int, tmp_path: Path) -> None:
    """Also where finalists are not scored until a block keeps one; `smollm2` has 2 ranks, 2 protocols and 8 contrasts at most."""
    known = Paces({}, 0, {}, {}, {})
    assert f"comparisons   {comparisons} " in plan_text(
        name, [f"machine.results_dir={tmp_path / 'none'}", "machine.device=cpu"], known=known
    )
    published = plan_text(name, ["machine.device=cpu"], known=known)
    assert f"comparisons   {comparisons} " in published, "as many with the records of the repository"


def test_no_gpu_is_proposed_for_a_model_that_needs_none(study: MakeStudy) -> None:
    """What is left of a tiny model's time on one is what any run takes."""
    opened = study(node())
    lines = plan_text(str(opened.file.path), opened.file.overrides).splitlines()
    assert [line.split()[0] for line in lines if line.startswith(("time", "GPU", "memory"))] == ["time", "memory"]


@pytest.mark.parametrize("seeds, pairs, few", [(2, ONE_PAIR, True), (5, THREE_PAIRS, True), (6, ONE_PAIR, False), (6, THREE_PAIRS, False)])
def test_a_plan_that_could_decide_nothing_says_so(study: MakeStudy, seeds: int, pairs: Sequence[tuple[str, str]], few: bool) -> None:
    warnings = [line for line in plan(study(node(seeds, pairs))).splitlines() if "too few" in line]
    warning = f"too few       {seeds} blocks (model, seed): a verdict takes 6"
    assert warnings == ([warning] if few else [])


def test_a_plan_without_a_primary_contrast_asks_for_no_blocks(study: MakeStudy) -> None:
    assert "too few" not in plan(study(node(kind="secondary")))


def test_a_run_by_hand(study: MakeStudy) -> None:
    """100 steps of 16 examples of 50 tokens, two losses of 32 examples read, and what a run takes however short it is."""
    job = study(node(), more="recipe: {steps: 100, loss_evaluations: 1}").grids().jobs[0]
    pace = Pace(train=2e-3, read=1e-3, request=0.1, exact=0.3, answer=1.0, setup=7.0)
    by_hand = START_S + 100 * 16 * 50 * 2e-3 + 2 * 32 * 50 * 1e-3 + 7.0
    assert estimate.seconds([job], [], knowing(pace)) == pytest.approx(by_hand)


def knowing(pace: Pace) -> Paces:
    return Paces({"tiny_tinyllama": pace}, 1, {}, {}, {})


@pytest.mark.parametrize(("precision", "again"), [("fp32", 0.0), ("bf16", 50 / 5)])
def test_what_is_compared_with_fp32_takes_its_time(study: MakeStudy, precision: str, again: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """40 items of two choices at ten requests a second; 25 of them again in fp32 at five, and all 40 of the untouched base."""
    monkeypatch.setitem(made_up.SIZES, "test", 40)
    opened = study(node(), f"precision={precision}", more="suite: {name: small, rows: made_up, benchmarks: [piqa], limit: 40}")
    job, pace = opened.grids().jobs[0], Pace(train=0.0, read=0.0, request=0.1, exact=0.2, answer=0.0, setup=0.0)
    assert estimate.seconds([job], [], knowing(pace)) == pytest.approx(START_S + 80 / 10 + again)
    assert estimate.seconds([], [job], knowing(pace)) == pytest.approx(START_S + 80 / 10 + again * 80 / 50)


def test_a_short_training_of_a_small_model_takes_its_layers_passes(study: MakeStudy) -> None:
    """From FLOPs alone 131,904 parameters would be trained on 800 tokens in two milliseconds."""
    job = study(node(), more="recipe: {steps: 100, loss_evaluations: 1}").grids().jobs[0]
    assert 100 * 2 * LAYER_PASS_S < estimate.seconds([job], [], Paces({}, 0, {}, {}, {})) - START_S - SETUP_S < 3


def test_finished_runs_of_the_same_hardware_say_how_fast_it_is(study: MakeStudy, plant_run: PlantRun) -> None:
    """A thousand tokens a second and 100 an example: a run of 10 steps takes 16 s, its losses 0.3 of that a token, 4 s for the rest."""
    opened = study(node(), "machine.threads=1", more="recipe: {steps: 10, loss_evaluations: 1}")
    first, *rest = opened.grids().jobs
    timings = {"data": 1.0, "init": 2.5, "save": 0.5, "train": 50.0}
    plant_run(first.what, 1.5, provenance={**HERE, "threads": 1}, timings_s=timings)
    known = paces(opened.store, first.experiment.machine)
    expected = START_S + len(rest) * ((10 * 16 * 100 + 2 * 32 * 100 * READ_SHARE) / 1000 + 4)
    assert estimate.seconds(rest, [], known) == pytest.approx(expected)
    assert estimate.source([job.experiment for job in rest], known) == "from 1 finished runs on this hardware"
    assert "(measured)" in plan(opened)
    elsewhere = {"hardware": {**asdict(describe()), "processor": "another"}, "device": "cpu"}
    plant_run(first.what, 1.5, provenance=elsewhere)
    assert paces(opened.store, first.experiment.machine).runs == 0


def test_a_record_of_one_thread_says_what_two_would_do(study: MakeStudy, plant_run: PlantRun) -> None:
    first = study(node(), "machine.threads=2").grids().jobs[0]
    record = plant_run(first.what, 1.5, provenance={**HERE, "threads": 1})
    one, two = (paces_of([record], [], threads).records["tiny_tinyllama"].train for threads in (1, 2))
    assert one == 1e-3 and two == pytest.approx(1e-3 / 2**THREADS_GIVE)


def test_a_status_is_told_without_pandas(study: MakeStudy) -> None:
    opened = study(node())
    name, results = str(opened.file.path), f"machine.results_dir={opened.store.root}"
    code = f"""
import sys
from olora_bench.study.status import status_text
status_text({name!r}, [{results!r}])
sys.exit(str(sorted({{"torch", "pandas", "scipy"}} & sys.modules.keys())))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True).stderr == "[]\n"


def test_a_failed_run_is_shown_as_failed_under_other_code_too(study: MakeStudy, plant_run: PlantRun) -> None:
    """Code with changes is never the code that a run failed under; the command that is named asks for what this one was asked."""
    opened = study(node())
    job, *others = opened.grids().jobs
    for one in others:
        plant_run(one.what, 1.5)
    plant_run(job.what, "OutOfMemory: planted", provenance={"harness": {"version": "0", "commit": "0" * 40, "dirty": True}})
    name, overrides = str(opened.file.path), [*opened.file.overrides, "machine.cache_dir='a b'"]
    told = status_text(name, overrides)[0].splitlines()
    typed = shlex.join(["python", "-m", "olora_bench.study", "retry", name, *overrides])
    assert told[0].endswith(": 3 done, 1 failed")
    assert told[-2:] == [
        f"  {job.what.train_id} {title(job.experiment)}: failed: OutOfMemory: planted",
        f"failed runs are tried again by: {typed} (by `run` too, where the code is not the one they failed under)",
    ]


def test_status_names_who_runs_what_failed_and_what_diverged(study: MakeStudy, plant_run: PlantRun) -> None:
    opened = study(node())
    a, b, c, d = opened.grids().jobs
    plant_run(a.what, 1.5)
    plant_run(b.what, None)
    from olora_bench.process.provenance import harness

    plant_run(c.what, "OutOfMemory: planted\ntraceback", provenance={"harness": {**harness(), "dirty": False}})
    with lease(opened.store.run_dir(d.what.train_id)):
        text, done = status_text(str(opened.file.path), opened.file.overrides)
    assert not done
    assert f"{d.what.train_id} tiny_tinyllama olora r4 lr 3e-4 seed 1: running: process {os.getpid()} on " in text
    assert f"{b.what.train_id} tiny_tinyllama lora r4 lr 3e-4 seed 1: diverged: loss is nan after step 3" in text
    assert "time left" in text
