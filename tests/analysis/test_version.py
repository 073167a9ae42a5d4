"""What the same records are found to say moves only under another ANALYSIS_VERSION: a study's lock names the one it was declared under.

The golden verdicts are rewritten by `python -m tests.analysis.test_version`, after ANALYSIS_VERSION was raised.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from olora_bench.analysis import analyse, load_study
from olora_bench.identity import ANALYSIS_VERSION
from olora_bench.store import Store
from olora_bench.study.manifest import read_manifest
from olora_bench.study.names import Home

FILE = Path(__file__).parent / "golden_verdicts.json"
SYNTHETIC = Path(__file__).parents[1] / "synthetic" / "results"
STUDIES = ("planted", "searched", "whole")
TABLES = ("verdicts", "cells")
KEYS = ("contrast", "role", "lr_arm", "model", "rank", "setting", "benchmark", "metric")


def measure(study: str) -> dict[str, Any]:
    """The verdicts of a planted study with their numbers to 9 digits, by comparison and cell; what is not known is left out."""
    manifest = read_manifest(Home(SYNTHETIC, study))
    assert manifest is not None
    tables = analyse(load_study(Store(SYNTHETIC), manifest), np.random.default_rng(0))
    return {" ".join([name, *keys]): row for name in TABLES for keys, row in map(of_row, tables[name].to_dict("records"))}


def of_row(row: dict[Any, Any]) -> tuple[list[str], dict[str, Any]]:
    numbers = {name: float(value) for name, value in row.items() if isinstance(value, (int, float)) and name not in KEYS}
    known = {name: float(f"{value:.9g}") for name, value in sorted(numbers.items()) if np.isfinite(value)}
    return [str(row[name]) for name in KEYS if name in row], {"verdict": str(row["verdict"]), "numbers": known}


@pytest.mark.parametrize("study", STUDIES)
def test_verdicts_have_not_moved_under_this_analysis_version(study: str) -> None:
    golden = json.loads(FILE.read_text())
    remedy = "verdicts moved: raise ANALYSIS_VERSION, then python -m tests.analysis.test_version; or undo what moved them"
    assert golden["analysis_version"] == ANALYSIS_VERSION, remedy
    found, expected = measure(study), golden["studies"][study]
    assert found.keys() == expected.keys(), remedy
    for key, row in expected.items():
        assert found[key]["verdict"] == row["verdict"], f"{key}: {remedy}"
        assert found[key]["numbers"] == pytest.approx(row["numbers"], rel=1e-6, abs=1e-9), f"{key}: {remedy}"


if __name__ == "__main__":
    lines = [
        f'  "{study}": {{\n' + ",\n".join(f"   {json.dumps(key)}: {json.dumps(row)}" for key, row in measure(study).items()) + "\n  }"
        for study in STUDIES
    ]
    head = f'{{\n "analysis_version": {ANALYSIS_VERSION},\n "studies": {{\n'
    FILE.write_text(head + ",\n".join(lines) + "\n }\n}\n")
    print(f"wrote {FILE}", file=sys.stderr)
