"""What every command that reads a study exits with, and when a report is printed again as it lies there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from planting import MakeStudy, PlantRun

from olora_bench.analysis import load_study
from olora_bench.analysis.complete import lacking
from olora_bench.process.provenance import harness
from olora_bench.store import EvalRecord, Score, Store
from olora_bench.study import fresh
from olora_bench.study.__main__ import COMMANDS, HELP
from olora_bench.study.arguments import parse
from olora_bench.study.fresh import inputs_digest, standing_report
from olora_bench.study.jobs import Job
from olora_bench.study.manifest import read_manifest, write_manifest
from olora_bench.study.open import OpenStudy
from olora_bench.study.states import standing
from olora_bench.study.status import status_text

NODE = """
protocol: shared_lr
contrasts: [{arm: olora, reference: lora, kind: primary}]
grids: [{init: [lora, olora], suite: commonsense6_made_up}]
"""
HERE = {"harness": {**harness(), "dirty": False}}
CURVE = pd.DataFrame({"step": [0, 2], "tokens": [0, 9], "wall_s": [0.0, 1.0], "train_loss": [3.0, 2.0], "tune_loss": [3.0, 2.0],
                      "report_loss": [3.0, 2.0], "lr": [0.0, 1e-3], "grad_norm": [1.0, 1.0]})  # fmt: skip
ITEMS = pd.DataFrame({"benchmark": "piqa", "item_id": ["a", "b"], "gold": 0, "prediction": [0, 1], "prediction_norm": [0, 1],
                      "correct": [True, False], "correct_norm": [True, False], "loglikelihoods": [[-1.0, -2.0]] * 2,
                      "lengths": [[3, 4]] * 2})  # fmt: skip
SCORE = Score(metrics={"acc": 0.5}, stderr={"acc": 0.1}, primary="acc", items=2, chance=0.5, gold_logprob=-1.0, truncated=0)

Whole = tuple[OpenStudy, Sequence[Job]]


def score(store: Store, job: Job, *, base: bool = False, error: str | None = None, **provenance: str) -> None:
    """Write an evaluation that was never made, of a run or of its untouched base."""
    what = job.what
    of: Mapping[str, object] = {"train_id": what.train_id, "eval_id": what.eval_id}
    if base:
        of = {"base": job.experiment.model.name, "eval_id": what.base_eval_id}
    end: Mapping[str, object] = {"status": "failed", "error": error} if error else {"status": "done", "scores": {"piqa": SCORE}}
    times = {"started_at": "2026-01-31T09:30:00+00:00", "finished_at": "2026-01-31T09:31:00+00:00"}
    record = EvalRecord.model_validate({"identity": {}, "config": {}, "provenance": {**HERE, **provenance}, **times, **of, **end})
    store.write_eval(record, None if error else ITEMS)


@pytest.fixture
def whole(study: MakeStudy, plant_run: PlantRun, monkeypatch: pytest.MonkeyPatch) -> Whole:
    """A study of two runs with all that belongs to it."""
    monkeypatch.setattr("olora_bench.study.states.harness", lambda: HERE["harness"])
    monkeypatch.setattr("olora_bench.__main__.main", lambda *_, **__: None)  # nothing is run
    opened = study(NODE)
    jobs = opened.grids().jobs
    for job in jobs:
        parts = {
            "curve": opened.store.write_curve(job.what.train_id, CURVE),
            "adapter": opened.store.write_adapter(job.what.train_id, b"AB"),
        }
        plant_run(job.what, 1.5, parts=parts, provenance=HERE)
        score(opened.store, job)
    score(opened.store, jobs[0], base=True)
    write_manifest(opened.home, opened.grids())
    return opened, jobs


def call(command: str, opened: OpenStudy) -> int:
    return COMMANDS[command][0](parse([command, str(opened.file.path), *opened.file.overrides], HELP))


def flip(store: Store, pattern: str) -> None:
    """One bit in the middle of the first file of this name."""
    path = next(iter(sorted(store.root.glob(pattern))))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def fail_scores(store: Store, jobs: Sequence[Job]) -> None:
    for job in jobs:
        score(store, job, error="OutOfMemory: planted")


def diverged(store: Store, jobs: Sequence[Job]) -> str:
    """Let the first run have diverged after all; where its left-over scores lie."""
    record = store.read_run(jobs[0].what.train_id)
    assert record is not None
    store.write_run(record.model_copy(update={"status": "diverged", "error": "loss is nan after step 3"}))
    return f"runs/{record.train_id}/evals/*/"


FAULTS: dict[str, Callable[[Store, Sequence[Job]], object]] = {
    "every evaluation failed": fail_scores,
    "an evaluation is missing": lambda store, _: next(store.root.glob("runs/*/evals/*/record.json")).unlink(),
    "a diverged run's record of old scores is damaged": lambda store, jobs: flip(store, f"{diverged(store, jobs)}record.json"),
    "a diverged run's old items are damaged": lambda store, jobs: flip(store, f"{diverged(store, jobs)}items*"),
    "a diverged run's old items are gone": lambda store, jobs: next(store.root.glob(f"{diverged(store, jobs)}items*")).unlink(),
    "the base's evaluation failed": lambda store, jobs: score(store, jobs[0], base=True, error="OutOfMemory: planted"),
    "the base's evaluation is missing": lambda store, _: next(store.root.glob("base/*/evals/*/record.json")).unlink(),
    "scores are of an earlier adapter": lambda store, jobs: score(store, jobs[0], adapter="0" * 64),
    "items are damaged": lambda store, _: flip(store, "runs/*/evals/*/items*"),
    "items are gone": lambda store, _: next(store.root.glob("runs/*/evals/*/items*")).unlink(),
    "the base's items are damaged": lambda store, _: flip(store, "base/*/evals/*/items*"),
    "a curve is damaged": lambda store, _: flip(store, "runs/*/curve*"),
    "a curve is gone": lambda store, _: next(store.root.glob("runs/*/curve*")).unlink(),
    "an adapter is damaged": lambda store, _: flip(store, "runs/*/adapter*"),
    "a record is damaged": lambda store, _: flip(store, "runs/*/record.json"),
    "a record is gone": lambda store, _: next(store.root.glob("runs/*/record.json")).unlink(),
}


def test_what_is_lacking_is_seen_by_report_and_status_alike(whole: Whole, tmp_path: Path) -> None:
    opened, jobs = whole
    shutil.copytree(opened.store.root, tmp_path / "sound")
    seen = {}
    for name, fault in FAULTS.items():
        fault(opened.store, jobs)
        manifest = read_manifest(opened.home)
        assert manifest is not None
        _, complete = status_text(str(opened.file.path), opened.file.overrides)
        seen[name] = (complete, lacking(load_study(opened.store, manifest)) == [])
        shutil.rmtree(opened.store.root)
        shutil.copytree(tmp_path / "sound", opened.store.root)
    assert seen == dict.fromkeys(FAULTS, (False, False))


@pytest.mark.parametrize("sound", [True, False], ids=["whole", "every evaluation failed"])
def test_all_commands_agree(whole: Whole, sound: bool, capsys: pytest.CaptureFixture[str]) -> None:
    opened, jobs = whole
    if not sound:
        fail_scores(opened.store, jobs)
    commands = ("run", "run", "report", "status", "figures", "extract")
    assert {command: call(command, opened) for command in commands} == dict.fromkeys(commands, 0 if sound else 1)
    assert ("Not complete: scores of 2 runs failed.\n" in capsys.readouterr().err) is not sound


def test_a_diverged_run_is_finished(whole: Whole, plant_run: PlantRun) -> None:
    opened, jobs = whole
    next(opened.store.run_dir(jobs[0].what.train_id).glob("evals/*/record.json")).unlink()
    plant_run(jobs[0].what, None)
    assert [call(command, opened) for command in ("status", "report", "run")] == [0, 0, 0]


def add_claim(root: Path) -> None:
    (root / "published" / "claims").mkdir(parents=True)
    (root / "published" / "claims" / "mine.yaml").write_text("paper: a\n")


def keeping_times(path: Path, content: bytes) -> None:
    stat = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def replace_record(root: Path) -> None:
    path = next(root.glob("runs/*/record.json"))
    keeping_times(path, path.read_bytes().replace(b"09:30:00", b"09:30:01"))


CHANGES: dict[str, Callable[[Path], object]] = {
    "items of other bytes and the same times": lambda root: keeping_times(next(root.glob("runs/*/evals/*/items*")), b""),
    "a curve gone": lambda root: next(root.glob("runs/*/curve*")).unlink(),
    "an adapter gone": lambda root: next(root.glob("runs/*/adapter*")).unlink(),
    "a record replaced": replace_record,
    "the base's record gone": lambda root: next(root.glob("base/*/evals/*/record.json")).unlink(),
    "a claim added": add_claim,
    "numbers published": lambda root: (root / "published/a.csv").write_text("source\n"),
    "a study file with another word": lambda root: (root.parent / "sweeps/throwaway.yaml").open("a").write("# more\n"),
    "a lock": lambda root: (root / "throwaway/lock.json").write_text("{}"),
}


def stands(opened: OpenStudy) -> bool:
    return standing_report(opened.home, opened.file.path) is not None


@pytest.fixture
def reported(whole: Whole) -> OpenStudy:
    assert call("report", whole[0]) == 0
    return whole[0]


def test_a_report_stands_only_while_all_that_it_was_made_from_is_what_it_was(whole: Whole) -> None:
    opened, _ = whole
    digests = [inputs_digest(opened.home, opened.file.path)]
    for change in CHANGES.values():
        change(opened.store.root)
        digests.append(inputs_digest(opened.home, opened.file.path))
    assert [name for name, one, other in zip(CHANGES, digests, digests[1:], strict=False) if one == other] == []


def test_a_report_stands_only_while_every_file_of_it_is_what_was_written(reported: OpenStudy) -> None:
    folder = reported.store.root / "throwaway" / "report"
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        content = path.read_bytes()
        assert stands(reported), path
        path.write_bytes(b"")
        assert not stands(reported), path
        path.unlink()
        assert not stands(reported), path
        path.write_bytes(content)


def test_a_report_of_other_code_is_made_anew(reported: OpenStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh, "_package", lambda: ["another"])
    assert not stands(reported)


def test_an_unchanged_report_is_printed_as_it_lies_there(reported: OpenStudy, capsys: pytest.CaptureFixture[str]) -> None:
    path = reported.store.root / "throwaway/report/report.md"
    before = path.stat().st_mtime_ns
    capsys.readouterr()
    assert call("run", reported) == 0
    assert capsys.readouterr().out == path.read_text() and path.stat().st_mtime_ns == before


def test_a_report_that_cannot_be_written_is_printed_and_says_where(whole: Whole, capsys: pytest.CaptureFixture[str]) -> None:
    opened, _ = whole
    folder = opened.store.root / "throwaway" / "report"
    folder.write_text("a file in its place")
    assert call("report", opened) == 2
    told = capsys.readouterr()
    assert "# throwaway: a study" in told.out
    assert told.err.startswith(f"{folder}: this report could not be written there: cannot write {folder}: ")


@pytest.mark.parametrize(("attempts", "said"), [(1, "started 1 time"), (2, "started 2 times")])
def test_an_interrupted_run_says_how_often_it_was_started(
    study: MakeStudy, monkeypatch: pytest.MonkeyPatch, attempts: int, said: str
) -> None:
    opened = study(NODE)
    running = SimpleNamespace(status="running", attempts=attempts)
    monkeypatch.setattr(Store, "read_run", lambda *_: running)
    monkeypatch.setattr(Store, "read_eval", lambda *_: None)
    monkeypatch.setattr("olora_bench.study.states.is_done", lambda *_: False)
    found = standing(opened.store, opened.grids().jobs[0])
    assert (found.state, found.reason) == ("interrupted", said)
