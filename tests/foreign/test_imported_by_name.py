"""A study that was imported, by its name: the same from its records, when the files that were read are gone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from lm_eval_logs import Log
from two_sides import answers

from olora_bench.study.__main__ import main
from olora_bench.study.imported import read_runs

STUDY = {"name": "mine", "title": "T", "runs": "runs/{arm}/seed{seed}", "contrasts": [{"arm": "olora", "reference": "lora"}]}
Typed = Callable[..., tuple[int, str]]


@pytest.fixture
def typed(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Type a command of a study in a folder with two arms' logs: its exit code, and what it prints."""
    for arm in ("olora", "lora"):
        for seed in (0, 1):
            Log(answers(seed, 0.1 * (arm == "olora"))).write(tmp_path / "runs" / arm / f"seed{seed}")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(STUDY | {"seeds": [0, 1]}), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OLORA_BENCH_RESULTS", str(tmp_path / "results"))

    def run(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(words)
        out = capsys.readouterr()
        return int(str(ended.value.code)), out.out + out.err

    return run


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_a_report_by_name_is_the_imports_though_the_files_are_gone(typed: Typed, tmp_path: Path) -> None:
    imported = typed("import", "mine.yaml")
    written = contents(tmp_path / "results")
    shutil.rmtree(tmp_path / "runs")
    shutil.rmtree(tmp_path / "results" / "mine" / "report")
    assert typed("report", "mine") == imported
    assert contents(tmp_path / "results") == written


def test_a_status_counts_the_runs_and_names_those_that_lack_something(typed: Typed, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "runs" / "lora" / "seed1")
    path = next((tmp_path / "runs" / "olora" / "seed1").rglob("samples_piqa*"))
    path.write_bytes(path.read_bytes()[:-9])
    read_runs(tmp_path / "mine.yaml", tmp_path / "results")
    first, unreadable, missing, last = typed("status", "mine")[1].splitlines()
    assert typed("status", "mine")[0] == 1
    assert first == "study mine: 4 runs that others made, imported from mine.yaml: 3 done, 1 missing"
    assert missing.endswith("lora seed 1: missing: nothing of it is there")
    assert unreadable.endswith(f"scores unreadable: {path.relative_to(tmp_path)}: line 60 is cut off: the file is half-written")
    assert last == "Not complete: 1 of 4 runs missing; scores of 1 runs unreadable."


def test_a_path_of_its_file_names_it_too(typed: Typed, tmp_path: Path) -> None:
    expected = f"mine.yaml declares runs that others made, and {tmp_path}/results/mine holds none: "
    assert typed("status", "mine.yaml") == (2, f"{expected}python -m olora_bench.study import mine.yaml\n")
    read_runs(tmp_path / "mine.yaml", tmp_path / "results")
    assert typed("status", "mine.yaml") == (0, "study mine: 4 runs that others made, imported from mine.yaml: 4 done\n")


def test_an_extract_goes_into_a_page(typed: Typed, tmp_path: Path) -> None:
    read_runs(tmp_path / "mine.yaml", tmp_path / "results")
    page = tmp_path / "page.md"
    page.write_text("<!-- study mine -->\n<!-- end -->\n")
    assert typed("extract", "mine", "--into", "page.md") == (0, "")
    assert "T: all 4 runs are done." in page.read_text() and "olora against lora" in page.read_text()


def test_items_of_a_study_are_those_of_each_run(typed: Typed, tmp_path: Path) -> None:
    read_runs(tmp_path / "mine.yaml", tmp_path / "results")
    code, text = typed("items", "mine", "--benchmark", "piqa", "--limit", "1")
    assert code == 0
    assert [line.split(" (")[1] for line in text.splitlines() if line.startswith("imported run")] == [
        f"{arm}, seed {seed}): 150 items" for arm in ("lora", "olora") for seed in (0, 1)
    ]
    assert text.count("(document 0)") == 4 and "(document 1)" not in text


@pytest.mark.slow
def test_figures_are_drawn_from_its_records(typed: Typed, tmp_path: Path) -> None:
    read_runs(tmp_path / "mine.yaml", tmp_path / "results")
    code, text = typed("figures", "mine")
    assert code == 0 and "figures (PDF, SVG, PNG)" in text
    assert list((tmp_path / "results" / "mine" / "report" / "figures").glob("*.svg"))


@pytest.mark.parametrize("command", ["run", "plan", "retry", "assets", "sync"])
def test_what_runs_a_study_refuses_one_that_others_ran(command: str, typed: Typed, tmp_path: Path) -> None:
    read_runs(tmp_path / "mine.yaml", tmp_path / "results")
    said = f"study mine was imported to {tmp_path}/results/mine: others ran it. Allowed: status, report, figures, extract, items\n"
    assert typed(command, "mine") == (2, said)


def test_an_override_changes_no_imported_run(typed: Typed, tmp_path: Path) -> None:
    read_runs(tmp_path / "mine.yaml", tmp_path / "results")
    said = "lr=1: others ran study mine, and nothing changes their runs. Allowed: machine.results_dir=DIR\n"
    assert typed("report", "mine", "lr=1") == (2, said)


@pytest.mark.parametrize("command", ["explain", "again"])
def test_an_imported_run_is_no_run_of_ours(command: str, typed: Typed, tmp_path: Path) -> None:
    read_runs(tmp_path / "mine.yaml", tmp_path / "results")
    folder = sorted((tmp_path / "results" / "mine" / "imported").iterdir())[0]
    said = f"run {folder.name} was made elsewhere and imported: all that is known of it is in {folder}\n"
    assert typed(command, folder.name) == (2, said)


def test_a_damaged_study_says_so_and_hides_no_other(typed: Typed, tmp_path: Path) -> None:
    read_runs(tmp_path / "mine.yaml", tmp_path / "results")
    path = tmp_path / "results" / "mine" / "imported.json"
    path.write_text(path.read_text().replace('"title": "T"', '"title": "U"'))
    said = f"{path}: damaged: it is not what was written there: import the study again\n"
    assert typed("status", "mine") == (2, said)
    assert typed("items", "0" * 16)[1].startswith(f"no run '{'0' * 16}' in ")
