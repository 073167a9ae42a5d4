"""The script for a GPU, run on a processor with tiny shapes; its steps fail and take too long without the others' harm."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch

from perf.gpu import Asked, exact
from perf.gpu import __main__ as check


def test_a_step_that_fails_or_takes_too_long_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each has its line and its facts in the file, which grows after each; the exit code is 1."""
    out = tmp_path / "out.json"

    def broken(asked: Asked) -> dict[str, object]:
        raise ValueError("on purpose")

    def endless(asked: Asked) -> dict[str, object]:
        time.sleep(60)
        return {}

    def last(asked: Asked) -> dict[str, object]:
        return {"before": list(json.loads(out.read_text())["steps"])}

    for step in (broken, endless, last):
        monkeypatch.setattr(exact, step.__name__, step, raising=False)
    monkeypatch.setattr(check, "STEPS", {"broken": ("exact", 30), "endless": ("exact", 0.2), "last": ("exact", 30)})
    monkeypatch.setattr(sys, "argv", ["perf.gpu", "--device", "cpu", "--tiny", "--steps", "broken,endless,last", "--out", str(out)])
    assert check.main() == 1
    steps = json.loads(out.read_text())["steps"]
    assert steps["broken"]["error"].endswith("ValueError: on purpose\n")
    assert steps["endless"] == {"held": False, "error": "it took more than 0 s", "seconds": 0.2}
    assert steps["last"]["held"] and steps["last"]["before"] == ["broken", "endless"]
    told = capsys.readouterr().out
    assert "NOT HELD  ValueError: on purpose" in told and "NOT HELD  it took more than 0 s" in told


def test_no_step_begins_after_the_minutes_are_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", ["perf.gpu", "--device", "cpu", "--tiny", "--minutes", "0", "--out", str(out)])
    assert check.main() == 0
    assert {step["skipped"] for step in json.loads(out.read_text())["steps"].values()} == {"no time is left"}


def test_brought_wheels_come_after_what_the_machine_has(tmp_path: Path) -> None:
    """A wheel is unpacked, data and all."""
    with zipfile.ZipFile(tmp_path / "thing-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("thing/__init__.py", "VALUE = 1\n")
    folder = check.unpacked(tmp_path, tmp_path / "packages")
    assert (folder / "thing" / "__init__.py").read_text() == "VALUE = 1\n"


@pytest.mark.parametrize("name", ["health", "olora", "resume", "out_of_memory"])
def test_a_step_in_small(name: str, tmp_path: Path) -> None:
    found = check.outcome(name, Asked("cpu", True, tmp_path, 60))
    assert found["held"], found


def test_processes_are_forks_unless_an_import_has_touched_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork cannot use CUDA after that; a fresh process can."""
    assert check.start_method() == "fork"
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    assert check.start_method() == "spawn"


@pytest.mark.slow
def test_a_fresh_process_finds_its_step(tmp_path: Path) -> None:
    assert check.run("health", Asked("cpu", True, tmp_path, 120), "spawn")["held"]


@pytest.mark.slow
def test_every_step_in_small(tmp_path: Path) -> None:
    """The command as it is given on a GPU, but for device and sizes. A fork of a worker of the tests lacks the threads of torch's pool."""
    out = tmp_path / "out.json"
    command = [sys.executable, "-m", "perf.gpu", "--device", "cpu", "--tiny", "--minutes", "30", "--out", str(out)]
    assert subprocess.run(command, cwd=Path(__file__).parents[1], check=False).returncode == 0
    steps = json.loads(out.read_text())["steps"]
    assert steps.keys() == check.STEPS.keys()
    assert {name for name, step in steps.items() if "skipped" in step} == {"out_of_memory", "study"}
    assert all("error" not in steps[size][side] for size in ("train_1b", "train_7b") for side in ("ours", "transformers"))
