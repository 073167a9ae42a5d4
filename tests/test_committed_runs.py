"""The committed runs: their ids are what today's code makes, they stay small, and pages say no figure beside their tables."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from olora_bench.identity import RESULTS_VERSION, digest
from olora_bench.identity.code import init_digest
from olora_bench.report.extract import BLOCK
from olora_bench.study.expand import find_study
from olora_bench.study.open import open_study
from tests.committed_results import PUBLISHED, RESULTS

ROOT = Path(__file__).parents[1]
LARGEST = 60_000_000
"""Bytes that results/ may take in the repository, adapters apart."""
FIGURE = re.compile(
    r"\d\s?(?:pp|nats|percentage points)\b|\d\.\d+ ?%|(?<![\w.])[+-]\d+\.\d|\d+(?:\.\d+)? times|p = |\d+ of \d+ (?:cells|blocks|seeds)"
)
RECORDS = {path.parent.name: json.loads(path.read_bytes()) for path in sorted(RESULTS.glob("runs/*/record.json"))}
PLANNED_RUNS = [run for study in PUBLISHED for run in json.loads((RESULTS / study / "manifest.json").read_bytes())["runs"]]
PUBLISHED_RUNS = [run for run in PLANNED_RUNS if run["train_id"] in RECORDS]


def test_committed_ids_are_what_went_into_them() -> None:
    """And what went into them is what today's code makes: a change that orphans committed runs fails here."""
    for run in PUBLISHED_RUNS:
        identity = RECORDS[run["train_id"]]["identity"]
        assert digest(identity) == run["train_id"]
        assert identity["results_version"] == RESULTS_VERSION
        assert identity["init"]["code"] == init_digest(identity["init"]["module"]), identity["init"]["module"]


def test_what_is_published_is_whole() -> None:
    assert [run["train_id"] for run in PLANNED_RUNS if run["train_id"] not in RECORDS] == []


def test_todays_study_file_asks_for_the_committed_runs() -> None:
    grids = open_study(find_study("smollm2"), [f"machine.results_dir={RESULTS}"]).grids()
    assert {job.what.train_id for job in grids.jobs} == {
        run["train_id"] for run in json.loads((RESULTS / "smollm2" / "manifest.json").read_bytes())["runs"]
    }


def test_migrated_records_say_what_they_were() -> None:
    migrated = [found for run in PUBLISHED_RUNS if (found := RECORDS[run["train_id"]]["provenance"].get("migrated"))]
    assert {one["results_version"] for one in migrated} == {2} and len({one["from"] for one in migrated}) == len(migrated) == 259


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_a_page_says_results_in_a_studys_place_only(page: str) -> None:
    """Beside those places a page says no figure, so that none can go stale."""
    prose = BLOCK.sub("", (ROOT / page).read_text(encoding="utf-8"))
    prose = re.sub(r"`[^`]*`", "", "\n".join(line for line in prose.splitlines() if not line.startswith("    ")))
    assert FIGURE.findall(prose) == []


def test_readme_is_read_in_a_minute() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_results_stay_small_and_hold_no_text_of_the_data() -> None:
    """Items are kept by id; written answers, which lie beside the instructions they answer, stay out of the repository."""
    files = subprocess.run(["git", "ls-files", "results"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert files
    assert sum((ROOT / file).stat().st_size for file in files) < LARGEST
    assert not [file for file in files if Path(file).name.startswith("generations")]
    for file in (ROOT / file for file in files if re.search(r"/items\.(\w+\.)?parquet$", file)):
        long = pd.read_parquet(file).select_dtypes(["object", "string"]).map(lambda v: len(v) if isinstance(v, str) else 0).max().max()
        assert long <= 80, file
