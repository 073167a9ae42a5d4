"""The committed studies as the report reads them, each read once in a process."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from olora_bench.study.expand import find_study
from olora_bench.study.report import Analysed, analysed

RESULTS = Path(__file__).parents[1] / "results"


@cache
def read(study: str) -> Analysed:
    return analysed(RESULTS, study, find_study(study))
