"""How much sooner an arm reaches a loss target, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from olora_bench.report.render import coarseness


def speed_sentence(row: Mapping[str, Any]) -> str:
    """How much sooner an arm reaches a loss target in one cell. `row` is a row of the speedups frame."""
    bound = "" if row["bound"] == "exact" else f"{row['bound']} "
    told = "" if pd.isna(row["low"]) else f" (95% interval {row['low']:.2f} to {row['high']:.2f})"
    coarse = f"; {note}" if (note := coarseness(row["note"])) else ""
    return f"{row['model']} rank {row['rank']}: {bound}{row['speedup']:.2f} times as fast{told}, {row['verdict']}{coarse}"
