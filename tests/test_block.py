"""A block of finalists as one piece of work, on a tiny model and with a training that takes no time: trained, chosen, scored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from olora_bench import training
from olora_bench.config import Experiment, compose, load
from olora_bench.errors import BadInput, RunFailed
from olora_bench.run.experiment import identified
from olora_bench.run.finalists import finalist, finalists_summary, run_finalists
from olora_bench.store import LeaseHeld, RunRecord, Store, lease
from olora_bench.study.__main__ import main as study_main
from tests.fixture_types import Cli

TINY = [
    "model=tiny_tinyllama", "rank=4", "precision=fp32", "data=made_up", "suite=commonsense6_made_up", "tracker=none", "recipe.steps=3",
    "suite.benchmarks=[piqa]", "suite.limit=4", "data.benchmarks=[piqa]", "data.decontaminate=[piqa]", "data.train_size=24",
    "data.tune_size=4", "data.report_size=4", "data.block=10", "seed=10", "machine.threads=1",
    "recipe.read=final", "finalists=[1e-3,1e-1,1e4]",
]  # fmt: skip


@pytest.fixture
def block(machine: list[str]) -> Experiment:
    """The rates too low, good, and so high that the loss is far above."""
    return load(compose([*machine, *TINY]))


def record_of(block: Experiment, lr: float) -> RunRecord | None:
    return Store(block.machine.results_dir).read_run(identified(finalist(block, lr))[0].train_id)


def scored(block: Experiment) -> list[float]:
    """The rates whose runs have scores."""
    store = Store(block.machine.results_dir)
    names = {lr: identified(finalist(block, lr))[0].train_id for lr in block.finalists or ()}
    return [lr for lr, train_id in names.items() if any((store.run_dir(train_id) / "evals").glob("*/record.json"))]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The learning rates of each training that begins."""
    rates: list[float] = []
    train = training.train

    def noted(adapted, parts, experiment, **options):  # type: ignore[no-untyped-def]
        rates.append(experiment.lr)
        return train(adapted, parts, experiment, **options)

    monkeypatch.setattr(training, "train", noted)
    yield rates


def test_every_finalist_is_trained_and_the_best_by_its_tune_part_alone_is_scored(block: Experiment, trained: list[float]) -> None:
    outcome = run_finalists(block)
    losses = {lr: record_of(block, lr).metrics["tune_loss"] for lr in block.finalists}  # type: ignore[union-attr]
    assert trained == list(block.finalists or ()) and min(losses, key=losses.get) == 0.1  # type: ignore[arg-type]
    assert scored(block) == [0.1] and outcome.status == "done" and outcome.train_id == record_of(block, 0.1).train_id  # type: ignore[union-attr]
    assert run_finalists(block).computed is False and len(trained) == 3, "all is there: nothing is done again"
    assert record_of(block, 0.1).config["finalists"] is None  # type: ignore[union-attr]
    assert finalists_summary(block).splitlines()[1] == f"finalist lr 0.1: tune_loss as a loss {losses[0.1]:.4f}"


def test_an_adapter_that_did_not_travel_is_trained_again_before_it_is_scored(block: Experiment, trained: list[float]) -> None:
    """To the same bytes, and none of the others is."""
    import shutil

    store, train_id = Store(block.machine.results_dir), run_finalists(block).train_id
    before = record_of(block, 0.1)
    assert before is not None
    shutil.rmtree(store.run_dir(train_id) / "evals")
    store.adapter_path(train_id).unlink()
    trained.clear()
    assert run_finalists(block).computed and trained == [0.1] and scored(block) == [0.1]
    after = record_of(block, 0.1)
    assert after is not None and after.parts["adapter"].sha256 == before.parts["adapter"].sha256 and after.config == before.config


def test_a_record_outlives_the_training_that_would_replace_it(block: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clone has records and no adapters. Scoring one anew trains first; a training that is killed, or fails, takes nothing away."""
    import shutil

    store, train_id = Store(block.machine.results_dir), run_finalists(block).train_id
    shutil.rmtree(store.run_dir(train_id) / "evals")
    store.adapter_path(train_id).unlink()
    before = {path.name: path.read_bytes() for path in store.run_dir(train_id).iterdir() if path.is_file()}
    assert {name.split(".")[0] for name in before} == {"record", "curve", "examples"}
    for error, raised in ((KeyboardInterrupt(), KeyboardInterrupt), (RuntimeError("planted"), RunFailed)):

        def stopped(*_: object, error: BaseException = error, **__: object) -> None:
            raise error

        with monkeypatch.context() as broken, pytest.raises(raised):
            broken.setattr(training, "train", stopped)
            run_finalists(block)
        assert {path.name: path.read_bytes() for path in store.run_dir(train_id).iterdir() if path.is_file()} == before
    run_finalists(block)
    assert scored(block) == [0.1]


def test_scores_outlive_a_base_that_lacks_its_own(block: Experiment, trained: list[float]) -> None:
    """A clone without the base's scoring, which git may leave out: the base is scored, and nothing is trained or taken away."""
    import shutil

    store, train_id = Store(block.machine.results_dir), run_finalists(block).train_id
    (scores,) = (store.run_dir(train_id) / "evals").iterdir()
    before = {path.name: path.read_bytes() for path in scores.iterdir()}
    store.adapter_path(train_id).unlink()
    shutil.rmtree(block.machine.results_dir / "base")
    trained.clear()
    run_finalists(block)
    assert trained == [] and {path.name: path.read_bytes() for path in scores.iterdir()} == before
    assert list((block.machine.results_dir / "base").rglob("record.json"))


def test_a_finalist_in_other_hands_is_left_and_the_others_are_trained(block: Experiment, trained: list[float]) -> None:
    """Nothing is kept or scored before it is known."""
    store = Store(block.machine.results_dir)
    with lease(store.run_dir(identified(finalist(block, 0.1))[0].train_id)), pytest.raises(LeaseHeld):
        run_finalists(block)
    assert trained == [1e-3, 1e4] and scored(block) == []
    run_finalists(block)
    assert trained == [1e-3, 1e4, 0.1] and scored(block) == [0.1]


def test_a_failed_finalist_stops_neither_the_others_nor_a_later_start(
    block: Experiment, trained: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        train = training.train

        def failing(adapted, parts, experiment, **options):  # type: ignore[no-untyped-def]
            if experiment.lr == 1e-3:
                raise RuntimeError("planted")
            return train(adapted, parts, experiment, **options)

        broken.setattr(training, "train", failing)
        with pytest.raises(RunFailed, match="failed: RuntimeError: planted"):
            run_finalists(block)
    assert trained == [0.1, 1e4] and scored(block) == []
    run_finalists(block)
    assert trained == [0.1, 1e4, 1e-3] and scored(block) == [0.1]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("finalists=[]", "finalists=[] is not allowed: name at least one"),
        ("finalists=[1e-3,0.001]", "finalists=[0.001, 0.001] names a learning rate twice: name each once"),
        ("finalists=[1e-3,-1]", "finalists.1=-1 is not allowed: input should be greater than 0"),
        ("finalists=1e-3", "finalists=0.001 is not allowed: a list is: finalists=[0.001]"),
        ("criterion=loss", "criterion='loss' is not allowed: input should be 'tune_loss' or 'tune_gold_logprob'"),
        ("data.block=-1", "data.block=-1 is not allowed: input should be greater than or equal to 0"),
        ("recipe.read=little", "recipe.read='little' is not allowed: input should be 'everything', 'final' or 'tune'"),
    ],
)
def test_what_a_bad_value_gets(machine: list[str], override: str, message: str) -> None:
    with pytest.raises(BadInput) as error:
        load(compose([*TINY, *machine, override]))
    assert str(error.value) == message


@pytest.mark.slow
def test_the_command_line_says_what_became_of_each_finalist(machine: list[str], cli: Cli) -> None:
    done = cli(*TINY, *machine)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == ["finalist lr 0.001", "finalist lr 0.1", "finalist lr 10000"]
    assert " done: held-out loss " in lines[3] and "kept lr 0.1 of 0.001 (tune_loss " in done.stderr


STUDY = """
defaults:
  - config
  - override model: tiny_tinyllama
  - override data: made_up
  - override suite: commonsense6_made_up
  - override tracker: none
  - override hydra/sweeper: study
  - _self_
hydra: {{mode: MULTIRUN}}
rank: 4
precision: fp32
data: {{benchmarks: [piqa], decontaminate: [piqa], train_size: 24, tune_size: 4, report_size: 4}}
recipe: {{steps: 6, batch_size: 4}}
suite: {{benchmarks: [piqa], limit: 4}}
machine: {{threads: 1, device: cpu}}
study:
  name: tiny
  title: A procedure on a made-up model
  protocol: tuned
  contrasts: [{{arm: olora, reference: lora, kind: primary}}]
  grids: [{{init: [lora, olora]}}]
  tuning: {{criterion: tune_loss, lrs: [0.0316, 0.1, 0.316], seeds: [0], max_extensions: 1, refinement: parabola, finalists: 3}}
  seeds: {{looks: {looks}}}
"""


@pytest.mark.parametrize("looks", [[1], pytest.param([6, 7], marks=pytest.mark.slow)], ids=["small", "whole"])
def test_a_study_of_finalists_and_looks_ends_in_a_report(
    tmp_path: Path, machine: list[str], looks: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    """From a file to search, blocks, looks, manifest, verdict, fixed finalists and page, by the command of a terminal."""
    path = tmp_path / "tiny.yaml"
    path.write_text(STUDY.format(looks=looks))
    where = [one for one in machine if "_dir" in one]
    with pytest.raises(SystemExit) as left:
        study_main(["run", str(path), *where])
    assert left.value.code in (0, None)
    manifest = json.loads((tmp_path / "results" / "tiny" / "manifest.json").read_text())
    kept = [run for run in manifest["runs"] if "tuned" in run["roles"]]
    assert manifest["looks"] == looks and "settled" not in manifest and len(kept) in [2 * look for look in looks]
    assert all(run["roles"] == ["finalist", "tuned"] and run["eval_id"] for run in kept)
    assert sum("finalist" in run["roles"] for run in manifest["runs"]) == 3 * len(kept)
    report = tmp_path / "results" / "tiny" / "report"
    assert "Fixed finalists" in (report / "index.html").read_text()
    places = pd.read_csv(report / "tables" / "finalists.csv", dtype=str)["place"]
    assert places.tolist() == ["kept", "-1", "0", "+1"]
    if looks != [1]:
        assert "given this search (runs of it: lora " in capsys.readouterr().out
