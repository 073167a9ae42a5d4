"""What the runs of a study are for."""

from __future__ import annotations

import pandas as pd


def with_role(runs: pd.DataFrame, *roles: str) -> pd.DataFrame:
    """The rows of a table of runs that are there for any of these roles."""
    return runs[runs["roles"].map(lambda text: not set(roles).isdisjoint(text.split())).astype(bool)]
