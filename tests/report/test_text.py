"""What the printed report says, and that it says what cannot be told."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from olora_bench.analysis.speed import headline_speeds
from olora_bench.errors import RecordError
from olora_bench.report import study_report, table_files
from olora_bench.store import Store, sealed
from olora_bench.study.names import Home
from olora_bench.study.report import analysed, notes
from olora_bench.words.speed import speed_sentence
from tests.fixture_types import Json

SYNTHETIC = Path(__file__).resolve().parents[1] / "synthetic" / "results"
Change = Callable[[Json], None]


@pytest.fixture
def text(tmp_path: Path) -> Callable[..., str]:
    """The report of a planted study whose manifest was changed."""

    def make(name: str, change: Change = lambda manifest: None) -> str:
        root = tmp_path / "results"
        shutil.copytree(SYNTHETIC, root)
        path = root / name / "manifest.json"
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_bytes(sealed(manifest))
        found = analysed(Home(root, name))
        return study_report(found.frames, found.tables, notes(found))

    return make


def only(**wanted: Any) -> Change:
    """Keep the manifest's runs whose fields are among the values."""

    def change(manifest: Json) -> None:
        manifest["runs"] = [r for r in manifest["runs"] if all(r[key] in values for key, values in wanted.items())]

    return change


def test_two_seeds(text: Callable[..., str]) -> None:
    """The report of a study like the demo's: no verdict, and why; on a screen and a half."""
    keep = only(model=["syn_b"], seed=[0, 1], arm=["lora", "olora"])

    def change(manifest: Json) -> None:
        keep(manifest)
        manifest["contrasts"] = manifest["contrasts"][:1]

    shown = text("planted", change)
    lines = shown.splitlines()
    assert len(lines) <= 46
    assert lines[:8] == [
        "# planted: planted answers, shared learning rate",
        "",
        "## olora against lora, one learning rate for both, 1e-3 (the verdict)",
        "",
        "Not enough runs for a verdict: olora is at +2.8 percentage points on average over benchmarks against lora, but 2 blocks of model "
        "and seed cannot decide; 6 can.",
        "2 of 2 blocks for olora; of these trainings on new items: 95% interval −1.2 to +6.9 pp; 2 pairs of runs planned, all done; "
        "held-out loss: lora 2.000, olora 1.600 (−0.400 nats per token).",
        "olora has the higher mean in 1 of 4 cells (2 losses, 1 tie): inside the 1 to 2 wins that these runs would give 95% of the time, "
        "were the arms the same.",
        "Speed to 90% of lora's drop in loss, in steps: 2.00 times as fast (above 1: olora is sooner; cells, uncorrected: 1 no verdict). "
        "Inside one schedule: a hint.",
    ]
    assert "| piqa (acc_norm)       |    40 |   50.0 |          – | 45.0 | 51.2 |  72.5 |        +21.2 | " in shown
    assert "From the items alone, no difference below" in shown and "∞" not in shown and " inf " not in shown
    assert "Two seeds: no verdict on a cell. How far a score moves when only the seed changes cannot be told from so few." in shown
    assert "nan" not in shown.lower() and "None" not in shown


def test_a_speed_up_drawn_between_few_readings_says_so(tmp_path: Path) -> None:
    """The planted curves with all readings of the loss taken out but the first, one in the middle and the last."""
    root = tmp_path / "results"
    shutil.copytree(SYNTHETIC, root)
    store = Store(root)
    unreadable = {error.args[0].split("/")[-2] for error in store.iter_runs() if isinstance(error, RecordError)}
    for path in (root / "runs").glob("*/curve.parquet"):
        if path.parent.name in unreadable:
            continue
        curve = store.read_curve(path.parent.name)
        assert curve is not None
        read = curve.index[curve["report_loss"].notna()]
        middle = len(read) // 2
        curve.loc[read[1:middle].append(read[middle + 1 : -1]), "report_loss"] = float("nan")
        record = store.read_run(path.parent.name)
        assert record is not None
        store.write_run(record.model_copy(update={"parts": {"curve": store.write_curve(path.parent.name, curve)}}))
    found = analysed(Home(root, "planted"))
    assert "coarse: 3 of at least 20 readings of the loss)." in study_report(found.frames, found.tables, notes(found))
    for row in headline_speeds(found.tables["speedups"]).to_dict("records"):
        assert speed_sentence(row).endswith("; coarse: 3 of at least 20 readings of the loss")


def test_verdicts_are_printed_with_enough_seeds(text: Callable[..., str]) -> None:
    shown = text("planted")
    assert (
        "Unresolved: olora is at +3.1 percentage points on average over benchmarks against lora (95% interval −1.2 to +7.5 over "
        "new seeds and new items, these models; 12 blocks of model and seed)." in shown
    )
    assert "12 of 12 blocks for olora; over new seeds and new items, these models, p = 0.1, one contrast, so uncorrected (" in shown
    assert "of these items only: p = 0.00049 by the exact sign flip over blocks, uncorrected; it needs symmetry" in shown
    assert (
        "in steps: 2.00 times; at most 1.80 times as fast (above 1: olora is sooner; cells, uncorrected: 1 faster, 1 unresolved)." in shown
    )
    worth = "syn_a, rank 8: in steps of lora that end at the same loss, olora's 20 are worth more than were tried"
    assert f"{worth} (above 2.00x) (described: 10 are worth 26, 2.64x (" in shown


def test_searches_are_printed_with_edges_and_budgets(text: Callable[..., str]) -> None:
    shown = text("searched")
    assert "Edge: olora's best is the highest tried (3.16e-3): no tuned verdict." in shown
    assert "1 of 1 diverged" in shown and "| arm            | runs |" in shown


def test_gaps_are_named(text: Callable[..., str]) -> None:
    shown = text("broken")
    assert "syn_c, rank 8, lr 1e-3, 2 paired seeds, 1 of 7 pairs diverged: unresolved, 4 of 7 pairs missing" in shown
    assert "19 runs: 15 done, 1 missing, 1 diverged, 1 failed, 1 unreadable." in shown
    assert "this one reads 2): upgrade olora_bench" in shown and "NaN is no number a record may hold" in shown


def test_no_records(text: Callable[..., str]) -> None:
    def rename(manifest: Json) -> None:
        for run in manifest["runs"]:
            run["train_id"] = run["train_id"][::-1]

    shown = text("broken", rename)
    assert "no run of this study has a record yet" in shown
    assert "No verdict yet on olora against lora: 10 of 10 pairs missing, 0 of at least 6 blocks (model, seed)." in shown


def test_one_arm_only(text: Callable[..., str]) -> None:
    shown = text("planted", only(arm=["lora"]))
    assert "olora vs lora: the study has no run of olora" in shown
    assert "No verdict yet on olora against lora: the study has no run of olora." in shown


def test_unequal_seeds(text: Callable[..., str]) -> None:
    def drop(manifest: Json) -> None:
        only(arm=["lora", "olora"])(manifest)
        manifest["runs"] = [r for r in manifest["runs"] if not (r["arm"] == "olora" and r["seed"] > 3)]

    shown = text("planted", drop)
    assert "4 of 12 pairs missing" in shown and "pairs (cell, seed) only one arm has a run: left out" in shown
    assert "4 paired seeds, 2 of 6 pairs missing" in shown and "better*" in shown


def test_a_run_listed_twice_counts_once(text: Callable[..., str]) -> None:
    def twice(manifest: Json) -> None:
        manifest["runs"].append(manifest["runs"][0])

    shown = text("planted", twice)
    assert "is listed twice in the manifest: counted once" in shown and " p = 0.1, " in shown


def test_tables_are_the_same_bytes_each_time() -> None:
    """Read and analysed anew; every table as CSV, Markdown and LaTeX, and every row of a cell names its runs."""
    first, again = (table_files(analysed(Home(SYNTHETIC, "planted")).tables) for _ in range(2))
    assert first == again and {name.split(".")[1] for name in first} == {"csv", "md", "tex"}
    grid = first["grid.csv"].decode().splitlines()
    assert grid[0].endswith(",runs") and all(len(line.rsplit(",", 1)[1].split()) >= 6 for line in grid[1:])
    assert b"nan" not in b"".join(v for k, v in first.items() if not k.endswith(".csv")).lower()


def test_reading_a_study_imports_neither_torch_nor_matplotlib() -> None:
    code = "import sys, olora_bench.study.report; sys.exit(any(m in sys.modules for m in ('torch', 'matplotlib', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def tables_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "report" / "tables").iterdir())}


def test_the_command_writes_the_same_tables_twice(tmp_path: Path) -> None:
    """As `make report` calls it, on a study file beside the committed records; one run of it is missing, so the exit code is 1."""
    results = tmp_path / "results"
    shutil.copytree(SYNTHETIC, results)
    command = [sys.executable, "-m", "olora_bench.study", "report", str(SYNTHETIC.parent / "whole.yaml"), f"machine.results_dir={results}"]
    found = []
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1, done.stderr
        assert "# whole: planted, everything in one study" in done.stdout and "declare" in done.stdout
        found.append(tables_of(results / "whole"))
        shutil.rmtree(results / "whole" / "report")
    assert found[0] == found[1] and len(found[0]) == 3 * 23


def test_scores_stand_beside_the_criterion(text: Callable[..., str]) -> None:
    shown = text("whole")
    assert "syn_e, rank 8, steps 40: tune_loss, score in percent by learning rate (best in brackets)" in shown
    assert "learning rates were chosen by tune_loss, and scores are another measure" in shown
    assert "(−0.100 nats per token, 95% interval" in shown


def test_every_study_file_of_the_planted_studies_is_read() -> None:
    from olora_bench.study.report import open_results

    for name in ("planted", "searched", "whole", "broken"):
        assert open_results(str(SYNTHETIC.parent / f"{name}.yaml"), []).name == name
        manifest = json.loads((SYNTHETIC / name / "manifest.json").read_text())
        assert manifest["title"] in (SYNTHETIC.parent / f"{name}.yaml").read_text()


@pytest.mark.parametrize("study, comparisons", [("searched", 1), ("planted", 2)])
def test_a_study_that_has_just_begun_shows_only_what_has_runs(tmp_path: Path, study: str, comparisons: int) -> None:
    """No run is done: each comparison keeps a verdict line of its own, even one that reads like another's, and nothing takes a table."""
    root = tmp_path / "results"
    shutil.copytree(SYNTHETIC, root)
    for run in json.loads((root / study / "manifest.json").read_text())["runs"]:
        shutil.rmtree(root / "runs" / run["train_id"], ignore_errors=True)
    found = analysed(Home(root, study))
    shown = study_report(found.frames, found.tables, [])
    assert "None" not in shown and "none matches" not in shown and "## Learning rates" not in shown and "| benchmark" not in shown
    compared = [section for section in shown.split("\n## ")[1:] if " against " in section.splitlines()[0]]
    assert len(compared) >= comparisons and all("No verdict yet on " in section for section in compared)
    assert shown.count("No benchmark has been scored in this comparison.") == 1
