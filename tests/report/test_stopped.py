"""A study stopped at any point has a report, a page, an extract and figures, whatever is missing."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from olora_bench.figures import LeftOut, study_figures
from olora_bench.report import study_report
from olora_bench.report.extract import extract
from olora_bench.study.names import Home
from olora_bench.study.report import analysed, notes, write_page

SYNTHETIC = Path(__file__).resolve().parents[1] / "synthetic" / "results"


@pytest.mark.parametrize("kept", [0, 1, 0.5])
@pytest.mark.parametrize("study", ["planted", "searched", "whole"])
def test_a_study_stopped_half_way_is_shown(tmp_path: Path, study: str, kept: float) -> None:
    root = tmp_path / "results"
    shutil.copytree(SYNTHETIC, root)
    runs = sorted({run["train_id"] for run in json.loads((root / study / "manifest.json").read_text())["runs"]})
    there = random.Random(study).sample(runs, round(kept * len(runs)) if isinstance(kept, float) else kept)
    for train_id in set(runs) - set(there):
        shutil.rmtree(root / "runs" / train_id, ignore_errors=True)
    found = analysed(Home(root, study))
    shown = [study_report(found.frames, found.tables, notes(found)), extract(found.frames, found.tables)]
    assert all(text and "None" not in text and " nan" not in text.replace("loss is nan", "") for text in shown)
    assert "index.html" in write_page(found, None)
    drawn = list(study_figures(found.frames, found.tables))
    assert kept != 0.5 or any(not isinstance(one, LeftOut) for one in drawn)
    assert kept != 0 or all(isinstance(one, LeftOut) for one in drawn)
