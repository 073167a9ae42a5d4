"""The committed studies as the report reads them, each read once in a process."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import scipy.optimize
import scipy.stats

from olora_bench.study.expand import find_study
from olora_bench.study.names import Home
from olora_bench.study.report import Analysed, analysed

RESULTS = Path(__file__).parents[1] / "results"
PUBLISHED = ("smollm2", "smollm2_alpaca", "headline", "unclipped", "why", "horizons", "ratios")
"""Studies whose results are committed; what a checkout ran for itself lies beside them."""


@cache
def read(study: str) -> Analysed:
    return analysed(Home(RESULTS, study), find_study(study))


def records(study: str) -> list[dict[str, Any]]:
    """The raw records of a study's finished runs."""
    runs = read(study).frames.runs
    return [json.loads((RESULTS / "runs" / one / "record.json").read_bytes()) for one in runs.loc[runs["state"] == "done", "train_id"]]


def core_hours(study: str, leave_out: Collection[str] = ()) -> float:
    """From each finished run's begin to its end, added up: hours of a core where each had one. Some runs may be another study's."""
    own = [one for one in records(study) if one["train_id"] not in leave_out]
    began, ended = (pd.Series([pd.Timestamp(one[when]) for one in own]) for when in ("started_at", "finished_at"))
    return float((ended - began).dt.total_seconds().sum() / 3600)


def corrected_interval(study: str, contrast: str, over: int) -> tuple[float, float]:
    """The interval in held-out loss of one look at the level over so many contrasts, over new seeds and new examples: from that at the
    level itself, the same errors and degrees of freedom."""
    errors = read(study).tables["scopes"].set_index(["contrast", "about"]).loc[(contrast, "new seeds and new items")]
    one = read(study).tables["finalists"].set_index(["contrast", "place"]).loc[(contrast, "kept")]
    error, half = math.hypot(errors["block_se"], errors["item_se"]), (one["loss_high"] - one["loss_low"]) / 2
    freedom = scipy.optimize.brentq(lambda df: scipy.stats.t.ppf(0.975, df) - half / error, 1.2, 1e5)
    wide = scipy.stats.t.ppf(1 - 0.025 / over, freedom) * error
    return one["loss_difference"] - wide, one["loss_difference"] + wide
