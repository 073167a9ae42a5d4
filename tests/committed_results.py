"""The committed studies as the report reads them, each read once in a process."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from olora_bench.study.expand import find_study
from olora_bench.study.report import Analysed, analysed

RESULTS = Path(__file__).parents[1] / "results"
PUBLISHED = ("smollm2", "smollm2_alpaca", "headline", "unclipped", "why")
"""Studies whose results are committed; what a checkout ran for itself lies beside them."""


@cache
def read(study: str) -> Analysed:
    return analysed(RESULTS, study, find_study(study))
