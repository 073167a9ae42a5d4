"""What lies in results/: every committed table is what its records make, and pages show nothing else."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from olora_bench.analysis.scopes import About
from olora_bench.identity import RESULTS_VERSION, digest
from olora_bench.identity.code import init_digest
from olora_bench.report import table_files
from olora_bench.report.extract import BLOCK, claims, extract
from olora_bench.study.expand import find_study
from olora_bench.study.open import open_study
from tests.committed_results import RESULTS, read

ROOT = Path(__file__).parents[1]
PUBLISHED = ("smollm2", "smollm2_alpaca")
"""Studies whose results are committed; what a checkout ran for itself lies beside them."""
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHOWN = [(page, found[2], found[3], found[4]) for page in PAGES for found in BLOCK.finditer(page.read_text(encoding="utf-8"))]
LARGEST = 60_000_000
"""Bytes that results/ may take in the repository, adapters apart."""
FIGURE = re.compile(
    r"\d\s?(?:pp|nats|percentage points)\b|\d\.\d+ ?%|(?<![\w.])[+-]\d+\.\d|\d+(?:\.\d+)? times|p = |\d+ of \d+ (?:cells|blocks|seeds)"
)


@pytest.mark.parametrize("study", PUBLISHED)
def test_every_committed_table_is_what_the_records_make(study: str) -> None:
    """`make figures SWEEP=...` gives them again, byte for byte. What git's history says is left out: a shallow clone has none."""
    made = table_files(read(study).tables)
    there = {path.name: path.read_bytes() for path in (RESULTS / study / "report" / "tables").iterdir()}
    assert there.keys() == made.keys()
    assert [name for name in made if there[name] != made[name] and not name.startswith("declared.")] == []


@pytest.mark.parametrize("study", PUBLISHED)
def test_no_committed_run_is_of_uncommitted_code(study: str) -> None:
    runs = read(study).frames.runs
    harness = runs[runs["state"] == "done"]["harness"]
    assert len(harness) and not harness.str.contains("local changes").any()


RECORDS = {path.parent.name: json.loads(path.read_bytes()) for path in sorted(RESULTS.glob("runs/*/record.json"))}
PUBLISHED_RUNS = [run for study in PUBLISHED for run in json.loads((RESULTS / study / "manifest.json").read_bytes())["runs"]]


def test_committed_ids_are_what_went_into_them() -> None:
    """And what went into them is what today's code makes: a change that orphans committed runs fails here."""
    for run in PUBLISHED_RUNS:
        identity = RECORDS[run["train_id"]]["identity"]
        assert digest(identity) == run["train_id"]
        assert identity["results_version"] == RESULTS_VERSION
        assert identity["init"]["code"] == init_digest(identity["init"]["module"]), identity["init"]["module"]


def test_todays_study_file_asks_for_the_committed_runs() -> None:
    grids = open_study(find_study("smollm2"), [f"machine.results_dir={RESULTS}"]).grids()
    assert {job.what.train_id for job in grids.jobs} == {
        run["train_id"] for run in json.loads((RESULTS / "smollm2" / "manifest.json").read_bytes())["runs"]
    }


def test_migrated_records_say_what_they_were() -> None:
    migrated = [RECORDS[run["train_id"]]["provenance"]["migrated"] for run in PUBLISHED_RUNS]
    assert {one["results_version"] for one in migrated} == {2} and len({one["from"] for one in migrated}) == len(migrated) == 259


def test_pages_show_a_study_and_its_answers() -> None:
    assert {(page.name, kind, study) for page, kind, study, _ in SHOWN} >= {
        ("results.md", "study", "smollm2"),
        ("claims.md", "claims", "smollm2"),
    }


@pytest.mark.parametrize("page, kind, study, text", SHOWN, ids=lambda part: part.stem if isinstance(part, Path) else str(part)[:12])
def test_what_a_page_says_of_a_study_is_what_the_records_say(page: Path, kind: str, study: str, text: str) -> None:
    found = read(study)
    wanted = extract(found.frames, found.tables) if kind == "study" else claims(found.tables)
    assert text == wanted + "\n", f"python -m olora_bench.study extract {study} --into {page.relative_to(ROOT)}"


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_a_page_says_results_in_a_studys_place_only(page: str) -> None:
    """Beside those places a page says no figure, so that none can go stale."""
    prose = BLOCK.sub("", (ROOT / page).read_text(encoding="utf-8"))
    prose = re.sub(r"`[^`]*`", "", "\n".join(line for line in prose.splitlines() if not line.startswith("    ")))
    assert FIGURE.findall(prose) == []


def of_role(role: str) -> dict[str, pd.DataFrame]:
    """What the tables of the published study say of OLoRA against LoRA, at rates of their own (`tuned`) or at one (`shared`)."""
    tables = read("smollm2").tables
    return {
        name: frame[(frame["contrast"] == "olora vs lora") & (frame["role"] == role)] for name, frame in tables.items() if "role" in frame
    }


@pytest.mark.parametrize(
    ("role", "wanted"),
    [
        ("tuned", {"difference": 0.648, "block_se": 0.280, "item_se": 0.352, "low": -0.35, "high": 1.65, "p": 0.177}),
        ("shared", {"difference": 2.009, "block_se": 0.072, "item_se": 0.772, "low": 0.48, "high": 3.54, "p": 0.010}),
    ],
)
def test_the_verdicts_have_the_errors_that_a_reviewer_found(role: str, wanted: dict[str, float]) -> None:
    """By other code from raw items; percentage points. The ends are Banerjee's, a little wider than Satterthwaite's t."""
    row = of_role(role)["verdicts"].iloc[0]
    assert {name: row[name] for name in wanted} == pytest.approx(wanted, abs=6e-3)


@pytest.mark.parametrize("study", PUBLISHED)
def test_no_number_has_two_intervals(study: str) -> None:
    """A comparison's verdict, its scopes, its cells of one benchmark or measure: one scope, one interval."""
    tables = read(study).tables
    scopes = tables["scopes"].set_index(["contrast", "role", "measure", "about"])
    assert scopes.index.is_unique
    measures = tables["measures"][(tables["measures"]["measure"] == "report_loss") & tables["measures"]["longest"]]
    measures = measures.set_index(["contrast", "role"])
    assert measures.index.is_unique, "one cell a comparison: its loss is the comparison's"
    for row in tables["verdicts"].to_dict("records"):
        key, loss = (row["contrast"], row["role"]), [row["loss_difference"], row["loss_low"], row["loss_high"]]
        assert loss == pytest.approx(measures.loc[key, ["difference", "low", "high"]].to_list())
        assert loss == pytest.approx(scopes.loc[(*key, "report_loss", About.SEEDS), ["difference", "low", "high"]].to_list())
        if row["judged_by"] == "score":
            score = scopes.loc[(*key, "score", About.SEEDS_AND_ITEMS), ["difference", "low", "high"]].to_list()
            assert [row["difference"], row["low"], row["high"]] == pytest.approx(score)


def test_readme_is_read_in_a_minute() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_results_stay_small_and_hold_no_text_of_the_data() -> None:
    """Items are kept by id; written answers, which lie beside the instructions they answer, stay out of the repository."""
    files = subprocess.run(["git", "ls-files", "results"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert files
    assert sum((ROOT / file).stat().st_size for file in files) < LARGEST
    assert not [file for file in files if Path(file).name == "generations.parquet"]
    for file in (ROOT / file for file in files if file.endswith("items.parquet")):
        long = pd.read_parquet(file).select_dtypes(["object", "string"]).map(lambda v: len(v) if isinstance(v, str) else 0).max().max()
        assert long <= 80, file
