"""Hours against what the committed runs took, and against a measured model."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
from planting import MakeStudy

from olora_bench.errors import RecordError
from olora_bench.store import EvalRecord, RunRecord, Store
from olora_bench.study.calibrate import Asked, calibrated, measure
from olora_bench.study.estimate import TOKENS_PER_EXAMPLE
from olora_bench.study.pace import Paces, paces_of, read_examples
from olora_bench.study.shipped import RECORDED
from tests.committed_results import RESULTS

MODEL = "smollm2_135m_q4"
DATA = {"smollm2": "commonsense", "smollm2_alpaca": "alpaca_1k"}


@cache
def committed() -> tuple[list[RunRecord], list[EvalRecord]]:
    """Of one kind of processor, the first studies': another's paces are others."""
    store = Store(RESULTS)
    runs = [one for one in store.iter_runs() if not isinstance(one, RecordError) and one.status == "done" and "optimise" in one.timings_s]
    evals = [one for one in store.iter_evals() if not isinstance(one, RecordError) and one.status == "done"]
    runs, evals = [one for one in runs if _of_page(one)], [one for one in evals if _of_page(one)]
    return runs, evals


def _of_page(record: RunRecord | EvalRecord) -> bool:
    hardware: Any = record.provenance["hardware"]
    return not hardware["gpus"] and "Intel" in str(hardware["processor"])


def of_study(study: str) -> tuple[list[RunRecord], Paces]:
    """The runs of a study's data, and what the runs of the other data say; all are a processor's."""
    runs, evals = committed()
    name = DATA[study]
    own = [run for run in runs if run.config["data"]["name"] == name]  # type: ignore[index, call-overload]
    known = paces_of([run for run in runs if run not in own], evals, 1)
    return own, known


def predicted(run: RunRecord, known: Paces) -> float:
    """From the config and other runs alone, as `estimate.train_seconds` does."""
    pace, data, recipe = known.records[MODEL], run.config["data"], run.config["recipe"]
    assert isinstance(data, dict) and isinstance(recipe, dict)
    tokens = TOKENS_PER_EXAMPLE[str(data["kind"])]
    trained, read = int(str(recipe["steps"])) * int(str(recipe["batch_size"])) * tokens, read_examples(data, recipe) * tokens
    return trained * pace.train + read * pace.read + pace.setup


def taken(runs: Sequence[RunRecord]) -> float:
    return sum(run.timings_s.get(phase, 0.0) for run in runs for phase in ("assets", "data", "init", "train", "save"))


@pytest.mark.parametrize("study", DATA)
def test_a_studys_hours_follow_from_another_studys_runs(study: str) -> None:
    own, known = of_study(study)
    assert len(own) > 50 and known.runs > 50
    assert 1 / 1.5 < sum(predicted(run, known) for run in own) / taken(own) < 1.5


@pytest.mark.parametrize("study", DATA)
def test_five_of_six_runs_take_what_is_planned_within_half(study: str) -> None:
    """The machine did other work at times: some runs took twice as long as others of the same config."""
    own, known = of_study(study)
    near = [1 / 1.5 < predicted(run, known) / taken([run]) < 1.5 for run in own]
    assert sum(near) / len(near) > 5 / 6 - 0.01


def test_the_paces_of_the_page_of_plans_are_those_of_the_committed_runs() -> None:
    runs, evals = committed()
    known = paces_of(runs, evals, 1).records[MODEL]
    for field in ("train", "read", "request", "exact", "answer", "setup"):
        assert getattr(RECORDED, field) == pytest.approx(getattr(known, field), rel=0.03), field


ASKED = Asked(
    shapes={"q_proj": (128, 64), "k_proj": (16, 64), "v_proj": (16, 64), "o_proj": (64, 128), "gate_proj": (160, 64),
            "up_proj": (160, 64), "down_proj": (64, 160)},
    targets=("q_proj", "v_proj"), rank=4, layers=2, hidden=64, vocab=260, precision="bf16", device="cpu",
    threads=1, length=50, tokens=800, step=800,
)  # fmt: skip


def test_a_model_of_twice_the_layers_is_measured_as_slower() -> None:
    short, long = measure(ASKED), measure(replace(ASKED, layers=40))
    assert long.train > 4 * short.train and long.request > 4 * short.request and long.setup > short.setup
    assert 0 < short.read < short.train


def test_a_model_that_fits_no_memory_is_not_measured(study: MakeStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are."""
    one = study("protocol: shared_lr\ncontrasts: [{arm: olora, reference: lora, kind: primary}]\ngrids: [{init: [lora, olora]}]\n")
    experiment = one.grids().jobs[0].experiment
    large = experiment.model.model_copy(update={"name": "large", "shapes": {"q_proj": (10**7, 10**6)}})
    both = [experiment.model_copy(update={"model": large}), experiment]
    why = "measuring large takes more than a quarter of the free memory: the time is from FLOPs"
    assert calibrated(both[:1]) == ({}, why)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=json.dumps([asdict(RECORDED)])))
    assert calibrated(both) == ({"tiny_tinyllama": RECORDED}, why)
