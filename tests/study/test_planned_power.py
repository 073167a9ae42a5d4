"""What a plan says of the power of a study, and a study that ends at a look."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from planting import MakeStudy, PlantRun, SweepStudy

from olora_bench.analysis.design import Design, power_at, simulate_design
from olora_bench.errors import BadInput
from olora_bench.study.estimate import items
from olora_bench.study.open import OpenStudy, find_and_open
from olora_bench.study.plan import plan_text
from olora_bench.study.power import Power, power
from olora_bench.study.power_text import power_text
from olora_bench.study.shipped import CPU, PAGE_PACES
from olora_bench.study.stages import stages
from olora_bench.study.variances import variances
from tests.committed_results import RESULTS
from tests.study_text import TWO_ARMS

NODE = """
protocol: shared_lr
contrasts: [{arm: olora, reference: lora, kind: primary}]
seeds: {first: 10, looks: [6, 8, 12]}
grids: [{init: [lora, olora], lr: 1e-3}]
"""


def plan(opened: OpenStudy) -> str:
    return plan_text(str(opened.file.path), [f"machine.results_dir={opened.store.root}"])


def test_a_plan_says_what_is_found_and_when_looks_end(study: MakeStudy) -> None:
    told = plan(study(f"{NODE}\nmargin: {{loss: 0.05}}\n"))
    power = re.search(r"\npower +(\d+)% at the margin of 0\.05 nats; four times in five from (0\.\d+) nats on; one contrast\n", told)
    assert power and 70 < int(power[1]) <= 100 and 0.02 < float(power[2]) < 0.04
    assert "\nvariances     assumed: seeds of 0.026 nats, examples not drawn anew, as in results/smollm2\n" in told
    ends = re.search(r"expected +at no difference: ([\d.]+) seeds a model, (\d+) runs, .*\n +at 0\.05 nats: ([\d.]+) seeds", told)
    assert ends and all(6 <= float(ends[at]) < 7 for at in (1, 3)) and abs(int(ends[2]) - 2 * float(ends[1])) <= 1
    assert "\nruns          at most 24 (12 by look 6, 16 by look 8, 24 by look 12)\n" in told


def test_a_study_without_a_margin_is_told_what_it_finds(study: MakeStudy) -> None:
    told = plan(study(NODE))
    assert re.search(r"\npower +four times in five from 0\.\d+ nats on; one contrast\n", told) and "cheapest" not in told


def test_a_study_of_two_seeds_is_told_no_power(study: MakeStudy) -> None:
    told = plan(study(NODE.replace("seeds: {first: 10, looks: [6, 8, 12]}\n", "").replace("1e-3}", "1e-3, seed: [0, 1]}")))
    assert "too few" in told and "four times in five" not in told and "to find more" not in told


def test_items_that_are_the_bottleneck_are_said_with_what_pays() -> None:
    """The issue's own figures: at 300 items look 8 has 81% of look 20's information."""
    lines = [line for one in power_text(of_headline(300)) for line in one.lines()]
    assert "to find more  items are the bottleneck: at 300 items a benchmark look 8 has 81% of look 20's information" in lines
    paying = [line for line in lines if line.endswith("(cheapest)")]
    assert len(paying) == 1 and paying[0].startswith("              suite.limit=1000, scored and not trained again: from 0.8")


def of_headline(limit: int) -> Power:
    opened = find_and_open("headline", [*CPU, f"suite.limit={limit}", "machine.results_dir=nowhere"])
    grids = opened.grids()
    found = power(opened, grids, stages(opened.file, grids), PAGE_PACES)
    assert found is not None
    return found


def test_the_power_of_a_plan_is_that_of_other_studies() -> None:
    """2,000 of another seed: 3.5 points are three standard errors of their power and of the plan's own."""
    one = of_headline(300)
    assert one.design == Design((6, 8, 12, 16, 20), 1, 1, 1.0)
    other = power_at(simulate_design(one.design, one.variances.errors, studies=2000, seed=77), 1.0)
    assert one.said.power == pytest.approx(other, abs=0.035)


TUNED = """
protocol: tuned
contrasts: [{arm: olora, reference: lora, kind: primary}]
seeds: {first: 10, looks: [6, 8, 12, 16, 20]}
margin: {loss: 0.02}
grids: [{init: [lora, olora]}]
tuning: {criterion: tune_loss, lrs: [1.0e-4, 3.16e-4, 1.0e-3], seeds: [0], refinement: parabola, finalists: FINALISTS}
"""


def test_a_plan_by_loss_counts_with_best_rates_at_an_edge_of_the_finalists(study: MakeStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three hold the best rate too seldom for a verdict by loss: in more than a fifth of studies an arm's is beyond."""
    monkeypatch.setattr("olora_bench.study.power.STUDIES", 1000)
    told = {count: plan(study(TUNED.replace("FINALISTS", str(count)), name=f"of_{count}")) for count in (3, 5)}
    powers = {count: int(found[1]) for count, text in told.items() if (found := re.search(r"\npower +(\d+)% at the margin", text))}
    assert powers[5] > powers[3] + 20
    assert "as in results/smollm2; a best rate at an edge of 5 finalists in 7% of arms\n" in told[5]
    assert "; no difference is found four times in five, however large; one contrast\n" in told[3]
    assert "\nto find more  as it is: no difference is found four times in five, however large; " in told[3]


def test_a_plan_that_finds_nothing_and_has_no_margin_says_its_end_at_no_difference_alone(
    study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("olora_bench.study.power.STUDIES", 1000)
    told = plan(study(TUNED.replace("FINALISTS", "3").replace("margin: {loss: 0.02}\n", "")))
    assert "\npower         no difference is found four times in five, however large; one contrast\n" in told
    assert re.search(r"\nexpected      at no difference: .*\nto find more", told) and "nan" not in told


def test_a_plan_by_loss_of_one_finalist_at_seeds_of_its_own_says_what_is_not_in_the_error(study: MakeStudy) -> None:
    own = TUNED.replace("FINALISTS", "1, fresh_seeds: [10, 11, 12, 13, 14, 15]").replace(
        "seeds: {first: 10, looks: [6, 8, 12, 16, 20]}\n", ""
    )
    told = plan(study(own))
    luck = "; with one finalist the luck of the search is not in the error: "
    luck += "identical arms were called in 25% of simulated studies with looks\n"
    assert luck in told and luck not in plan(study(NODE, name="shared"))


def test_looks_by_loss_of_one_finalist_are_refused(study: MakeStudy) -> None:
    """Identical arms would be called by the luck of the search; a study with scores may have one."""
    opened = study(TUNED.replace("FINALISTS", "1"))
    with pytest.raises(BadInput) as refused:
        opened.grids()
    assert str(refused.value) == (
        f"{opened.file.path}: study.tuning.finalists=1 in a study judged by held-out loss, which asks no benchmark: the luck of the search "
        "is not in the error, and identical arms were called in 25% of simulated studies (docs/looks.md). Give 5, or 3"
    )
    suite = "suite: {name: small, rows: made_up, benchmarks: [piqa], limit: 40}"
    assert study(TUNED.replace("FINALISTS", "1"), name="scored", more=suite).grids().jobs


def test_variances_are_those_of_another_study_of_the_same_cell(tmp_path: Path) -> None:
    """results/smollm2 has the model, data and steps of the headline, under other ids; at a thousand items they vary less."""
    listed = json.loads((RESULTS / "smollm2" / "manifest.json").read_text())["runs"]
    for place in ("smollm2", "base", *(f"runs/{one['train_id']}" for one in listed)):
        shutil.copytree(RESULTS / place, tmp_path / place, ignore=shutil.ignore_patterns("report"))
    opened = find_and_open("headline", [*CPU, f"machine.results_dir={tmp_path}"])
    found = variances(opened, opened.grids(), max(opened.file.experiments(), key=items))
    assert (found.source, found.known) == ("of 6 seeds in results/smollm2", True)
    assert found.errors.item == pytest.approx(0.1242 * 1800 / 5500, rel=0.01)


def test_a_plan_is_told_where_a_record_is_damaged(study: MakeStudy, plant_run: PlantRun) -> None:
    opened = study(NODE)
    what = opened.grids().jobs[0].what
    plant_run(what, 1.0)
    (opened.store.run_dir(what.train_id) / "record.json").write_text("{")
    told = plan(opened)
    assert f"  {what.train_id} unreadable: " in told and "1 unreadable" in told and "\nvariances     assumed: " in told


def test_a_plan_is_told_where_the_scores_of_a_base_are_damaged(study: MakeStudy) -> None:
    opened = study(TWO_ARMS, more="suite: {name: small, rows: made_up, benchmarks: [piqa], limit: 40}")
    what = opened.grids().jobs[0].what
    assert what.base_eval_id is not None
    folder = opened.store.base_eval_dir("tiny_tinyllama", what.base_eval_id)
    folder.mkdir(parents=True)
    (folder / "record.json").write_text("{")
    told = plan(opened)
    assert (
        f"\n  the untouched base tiny_tinyllama unreadable: {folder / 'record.json'}: truncated" in told and "1 of untouched bases" in told
    )


def test_a_study_ends_at_the_look_that_decides(study: MakeStudy, sweep: SweepStudy, plant_run: PlantRun) -> None:
    """olora is lower by 0.1 nats at every seed but for a thousandth: the first look decides, and no seed beyond it is asked for or
    planned."""
    opened = study(NODE)
    assert re.search(r"^time at most  .* here, one run after another", plan(opened), re.MULTILINE)
    assert _seeds(opened, sweep, plant_run, gain=0.1) == set(range(10, 16))
    assert "\ntime left     none: every run that it needs is over\n" in plan(opened)


def test_a_study_that_stays_open_goes_on_to_its_last_look(study: MakeStudy, sweep: SweepStudy, plant_run: PlantRun) -> None:
    assert _seeds(study(NODE), sweep, plant_run, gain=0.0) == set(range(10, 22))


def _seeds(opened: OpenStudy, sweep: SweepStudy, plant_run: PlantRun, *, gain: float) -> set[int]:
    """The seeds of a study whose runs are planted as they are asked for."""
    known: set[str] = set()
    while new := [job for job in opened.grids().jobs if job.what.train_id not in known]:
        for job in new:
            lower = (gain + 0.001 * (-1) ** job.experiment.seed * (1 + job.experiment.seed % 3)) * (job.experiment.arm == "olora")
            plant_run(job.what, 1.0, metrics={"tune_loss": 1.0, "report_loss_start": 4.0, "report_loss": 2.0 - lower})
            known.add(job.what.train_id)
    return {job.experiment.seed for job in opened.grids().jobs}
