"""Learning-rate ratios (B's over A's): which arms differ from a reference in the ratio alone."""

from __future__ import annotations

import pandas as pd

from olora_bench.analysis.frames import StudyFrames


def ratio_points(frames: StudyFrames, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table by arm (`rates`, `ratios`) whose arm has a ratio other than 1, or is the reference of such an arm with ratio 1.

    Args:
        frames: the study; its contrasts say which reference an arm belongs to.
        table: any frame with a column `arm`.

    Returns:
        The table's columns, `lr_ratio`, and `family`, the name of that reference.
    """
    told = frames.runs[["arm", "lr_ratio"]].dropna().drop_duplicates("arm")
    ratio = dict(zip(told["arm"], told["lr_ratio"], strict=True))
    family: dict[str, str] = {}
    for contrast in frames.contrasts:
        if ratio.get(contrast["arm"], 1.0) != 1.0 and ratio.get(contrast["reference"]) == 1.0:
            family |= {contrast["arm"]: contrast["reference"], contrast["reference"]: contrast["reference"]}
    mine = table[table["arm"].isin(family)]
    return mine.assign(lr_ratio=mine["arm"].map(ratio).astype(float), family=mine["arm"].map(family))
