"""A study's lines say which run they are of, and how long the rest takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from olora_bench.config import compose, load
from olora_bench.process.progress import say
from olora_bench.study.expand import StudyFile
from olora_bench.study.manifest import write_manifest
from olora_bench.study.status import announced, progress

STUDY = """
defaults: [config, {override model: tiny_tinyllama}, {override data: made_up}, {override suite: none}, _self_]
study:
  name: little
  title: two tiny runs
  protocol: shared_lr
  contrasts: [{arm: olora, reference: lora, kind: primary}]
  grids: [{init: [lora, olora]}]
rank: 4
precision: fp32
"""


def test_lines_of_a_run_carry_its_place_in_the_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "little.yaml").write_text(STUDY)
    file = StudyFile(tmp_path / "little.yaml", [f"machine.results_dir={tmp_path / 'results'}"])
    grids = file.grids()
    write_manifest(file.home, grids)
    with announced(grids.jobs[1].experiment, "little"):
        say("at work")
    assert capsys.readouterr().err.splitlines() == [
        "[run 2 of 2: tiny_tinyllama olora r4 lr 3e-4 seed 0] at work",
        "study little: 0 of 2 runs trained",
    ]


def test_a_manifest_that_cannot_be_read_costs_a_label_and_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An older variant's, of another schema."""
    (tmp_path / "little.yaml").write_text(STUDY)
    file = StudyFile(tmp_path / "little.yaml", [f"machine.results_dir={tmp_path / 'results'}"])
    grids = file.grids()
    write_manifest(file.home, grids)
    variant = tmp_path / "results" / "little" / "overridden" / "0123456789abcdef" / "manifest.json"
    variant.parent.mkdir(parents=True)
    variant.write_text('{"schema_version": 1}')
    with announced(grids.jobs[1].experiment, "little"):
        say("at work")
    assert capsys.readouterr().err.startswith("[run 2 of 2: ")


def test_a_run_asked_for_alone_needs_no_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with announced(load(compose(["model=tiny_tinyllama", "rank=4", f"machine.results_dir={tmp_path}"])), None):
        say("at work")
    assert capsys.readouterr().err == "at work\n"


def test_unreadable_records_are_not_counted_as_trained(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / ("0" * 16)
    folder.mkdir(parents=True)
    (folder / "record.json").write_text("{")
    assert progress(tmp_path, ["0" * 16]) == "0 of 1 runs trained"
