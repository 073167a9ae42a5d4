"""What a plan says of the power of a study, and a study that ends at a look."""

from __future__ import annotations

import re

from planting import MakeStudy, PlantRun, SweepStudy

from olora_bench.study.open import OpenStudy
from olora_bench.study.plan import plan_text

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
    power = re.search(r"power +(\d+)% at the margin of 0\.05 nats; 80% from (0\.\d+) nats on; Holm over 1, variances assumed", told)
    assert power and 70 < int(power[1]) <= 100 and 0.02 < float(power[2]) < 0.04
    ends = re.search(r"at a difference of 0 nats: ([\d.]+) seeds, about (\d+) runs; 0\.05 nats: ([\d.]+) seeds.*at most 12 seeds", told)
    assert ends and all(6 <= float(ends[at]) < 7 for at in (1, 3)) and abs(int(ends[2]) - 2 * float(ends[1])) <= 1


def test_a_study_without_margin_and_looks_is_planned_as_before(study: MakeStudy) -> None:
    told = plan(study(NODE.replace("seeds: {first: 10, looks: [6, 8, 12]}\n", "").replace("1e-3}", "1e-3, seed: [0, 1]}")))
    assert "80% from" not in told and "what pays" not in told


def test_a_study_ends_at_the_look_that_decides(study: MakeStudy, sweep: SweepStudy, plant_run: PlantRun) -> None:
    """olora is lower by 0.1 nats at every seed but for a thousandth: the first look decides, and no seed beyond it is asked for."""
    assert _seeds(study(NODE), sweep, plant_run, gain=0.1) == set(range(10, 16))


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
