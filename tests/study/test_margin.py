"""A margin from the study file to the words of extract and page, and what a change of it after the runs comes to."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from planting import MakeStudy, PlantRun, SweepStudy

from olora_bench.study.locked import since_locked
from olora_bench.study.open import OpenStudy
from olora_bench.study.report import extract_text, report
from olora_bench.words.declared import since_text

NODE = """
protocol: shared_lr
contrasts: [{arm: olora, reference: lora, kind: primary}]
grids: [{init: [lora, olora], lr: 1e-3, seed: [0, 1, 2, 3, 4, 5]}]
"""
Ran = Callable[[str, float], OpenStudy]
NOISE = (-0.002, -0.001, 0.0, 0.0, 0.001, 0.002)


@pytest.fixture
def ran(study: MakeStudy, sweep: SweepStudy, plant_run: PlantRun) -> Ran:
    """A study with a margin that has run: six seeds an arm, olora's held-out loss lower by `gain` nats but for a thousandth or two."""

    def make(margin: str, gain: float) -> OpenStudy:
        opened = study(f"{NODE}\nmargin: {margin}\n")
        sweep(opened, lambda _: 1.0)
        for job in opened.grids().jobs:
            (opened.store.run_dir(job.what.train_id) / "record.json").unlink()
            lower = (gain + NOISE[job.experiment.seed]) * (job.experiment.arm == "olora")
            plant_run(job.what, 1.0, metrics={"tune_loss": 1.0, "report_loss_start": 4.0, "report_loss": 2.0 - lower})
        return opened

    return make


VERDICTS = {
    "better": ("{loss: 0.005}", 0.01, "olora ends at a lower loss than lora, by 0.010 nats of held-out loss ("),
    "better, within the margin": (
        "{loss: 0.05}", 0.01, "olora ends at a lower loss than lora, by 0.010 nats of held-out loss, within the margin of 0.05 nats (",
    ),
    "equivalent": (
        "{loss: 0.05}", 0.0, "Equivalent within the margin of 0.05 nats: olora is at 0.000 nats of held-out loss against lora (",
    ),
    "a margin of the other measure": ("{score: 1.0}", 0.0, "Unresolved: olora is at 0.000 nats of held-out loss against lora ("),
}  # fmt: skip


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_margin_comes_from_the_study_file_to_extract_and_page(ran: Ran, verdict: str) -> None:
    margin, gain, sentence = VERDICTS[verdict]
    opened = ran(margin, gain)
    words = [str(opened.file.path), [f"machine.results_dir={opened.store.root}"]]
    extract = extract_text(*words)[1]
    report(*words)
    page = re.sub(r"<[^>]+>", "", (opened.store.root / opened.name / "report" / "index.html").read_text())
    assert sentence in extract and sentence in page
    (mark,) = set(re.findall(r"(?:better|worse|equivalent|unresolved) by loss(?:, within the margin)?", page))
    assert mark.replace(" by loss", "") == ("unresolved" if verdict.startswith("a margin") else verdict)


def test_a_margin_that_is_changed_after_the_runs_is_named(study: MakeStudy, ran: Ran) -> None:
    opened = ran("{loss: 0.05}", 0.01)
    assert not since_locked(opened.home, opened.file.path).changes
    again = study(f"{NODE}\nmargin: {{loss: 0.005}}\n")
    changed = since_text(since_locked(again.home, again.file.path).changes)
    assert changed == "study.margin.loss was 0.05 and is 0.005"
    text = report(str(again.file.path), [f"machine.results_dir={again.store.root}"]).text
    assert "Changed since the first run: study.margin.loss was 0.05 and is 0.005" in text.replace("\\", "")


def test_a_margin_that_is_declared_after_the_runs_is_named(study: MakeStudy, sweep: SweepStudy) -> None:
    opened = study(NODE)
    sweep(opened, lambda _: 1.0)
    again = study(f"{NODE}\nmargin: {{score: 1.0}}\n")
    assert since_text(since_locked(again.home, again.file.path).changes) == "study.margin.score was not set and is 1.0"
