"""How a study's rows are dealt out to figures, and what their files are called."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from olora_bench.analysis.comparison import Comparison
from olora_bench.identity import lr_text


def pages(name: str, groups: Sequence[pd.DataFrame], most: int) -> list[tuple[str, pd.DataFrame]]:
    """Groups dealt out to as few figures as hold `most` each, as evenly as that goes; numbered if there are several."""
    if not groups:
        return []
    count = -(-len(groups) // most)
    size = -(-len(groups) // count)
    dealt = [pd.concat(groups[start : start + size]) for start in range(0, len(groups), size)]
    return [(name if len(dealt) == 1 else f"{name}_{number}", page) for number, page in enumerate(dealt, 1)]


def slug(comparison: Comparison) -> str:
    """A comparison as part of a file's name.

    >>> slug(Comparison("olora", "lora", "primary", "shared", True, 1e-3))
    'olora_vs_lora_lr1e-3'
    """
    return comparison.contrast.replace(" ", "_") + (f"_{comparison.role}" if comparison.lr is None else f"_lr{lr_text(comparison.lr)}")
