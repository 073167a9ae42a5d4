"""The commands on a study's page make that study again, typed as they stand."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from olora_bench.config import own_inits, sweeps_dir
from olora_bench.study.expand import find_study
from olora_bench.study.remake import remake
from tests.study_text import TWO_ARMS, study_text

ROOT = Path(__file__).parents[2]
ODD = ["data.path='my $rows (1).jsonl'", "model.name=it's"]


@pytest.mark.parametrize("overrides", [[], ["rank=4", "alpha=3"], ODD])
def test_a_study_of_the_checkout_is_made_by_make(overrides: list[str]) -> None:
    """What make hands to its shell is the command that these overrides mean."""
    lines = remake("demo", sweeps_dir() / "demo.yaml", ROOT / "results", overrides)
    assert [line.partition("#")[2] for line in lines] == [
        " what would run; runs nothing",
        " the runs that are missing, then this report",
        " this report again from results/, no GPU, no network",
        " the figures again from results/",
    ]
    for line, command in zip(lines, ["plan", "run", "report", "figures"], strict=True):
        asked = shlex.split(line, comments=True)
        assert asked[:3] == ["make", {"run": "sweep"}.get(command, command), "SWEEP=demo"]
        dry = [*asked, "-n", "--no-print-directory", "RUN=", "PY=python"]  # a make under another names its folder
        printed = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert shlex.split(printed) == ["python", "-m", "olora_bench.study", command, "demo", *overrides]


def test_results_elsewhere_are_named(tmp_path: Path) -> None:
    lines = remake("demo", sweeps_dir() / "demo.yaml", tmp_path)
    assert (
        lines[2]
        == f"make report SWEEP=demo ARGS=machine.results_dir={tmp_path}    # this report again from its records, no GPU, no network"
    )


@pytest.mark.parametrize("name", ["mine.yaml", "my study (1).yaml"])
@pytest.mark.parametrize("inside", [True, False])
def test_any_other_study_is_named_as_it_is_found_from_here(
    name: str, inside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one in a folder `sweeps` of one's own, where there is no Makefile."""
    file = tmp_path / "studies" / name
    file.parent.mkdir()
    file.write_text(study_text(TWO_ARMS, name="mine"))
    monkeypatch.chdir(tmp_path if inside else ROOT)
    lines = remake("mine", file, tmp_path / "results", ["rank=4"])
    where = [] if inside else [f"machine.results_dir={tmp_path / 'results'}"]
    for line, command in zip(lines, ["plan", "run", "report", "figures"], strict=True):
        *asked, path = (words := shlex.split(line, comments=True))[:5]
        assert asked == ["python", "-m", "olora_bench.study", command] and words[5:] == ["rank=4", *where]
        assert find_study(path) == file and path == (f"studies/{name}" if inside else str(file))


def test_a_folder_of_own_configs_is_named(tmp_path: Path) -> None:
    """The Makefile knows of none."""
    own_inits.use_folder(tmp_path)
    assert shlex.split(remake("demo", sweeps_dir() / "demo.yaml", ROOT / "results")[1], comments=True) == [
        "python", "-m", "olora_bench.study", "run", "demo", "--config-dir", str(tmp_path),
    ]  # fmt: skip
