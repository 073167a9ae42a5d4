"""What captions say: protocol, seeds, items, what is missing; and how a study's rows are dealt out to figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from olora_bench.analysis import StudyFrames, Tables
from olora_bench.analysis.comparison import Comparison
from olora_bench.words.numbers import listed, lr_text


def grouped(frame: pd.DataFrame, names: Sequence[str]) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """Groups in the frame's order, each with its key by name; null is a key too."""
    if frame.empty:
        return []
    found = frame.groupby(list(names), sort=False, dropna=False)
    return [(dict(zip(names, key, strict=True)), group) for key, group in found if isinstance(key, tuple)]


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


def protocol(role: str, lrs: pd.Series[Any]) -> str:
    """How arms were made comparable."""
    if role == "tuned":
        return "Each arm at its own tuned learning rate, fresh seeds."
    known = sorted(set(lrs.dropna()))
    return f"One learning rate for all arms ({', '.join(lr_text(lr) for lr in known)})." if known else "One learning rate for all arms."


def protocols(comparisons: pd.DataFrame) -> str:
    """The protocols of several comparisons."""
    tuned = comparisons["role"] == "tuned"
    told = [protocol(role, comparisons[rows]["lr_arm"]) for role, rows in (("tuned", tuned), ("shared", ~tuned)) if rows.any()]
    return " ".join(told)


def seeds(counts: pd.Series[Any], planned: pd.Series[Any] | None = None) -> str:
    """How many seeds stand behind a figure."""
    if counts.dropna().empty:
        return "No seed."
    text = f"{listed(counts)} seed{'s' * (int(counts.max()) != 1)}"
    if planned is not None and (planned.to_numpy() > counts.to_numpy()).any():
        text += f" of {listed(planned)} planned"
    return text + "."


def items(tables: Tables) -> str:
    """How many items a benchmark has."""
    cells = tables["cells"]
    if cells.empty:
        return "No benchmark was scored."
    counts = cells.drop_duplicates("benchmark").set_index("benchmark")["items"]
    if counts.nunique() == 1:
        return f"{counts.iloc[0]} items in each of {len(counts)} benchmarks."
    return "Items: " + ", ".join(f"{name} {count}" for name, count in counts.items()) + "."


def missing(frames: StudyFrames, tables: Tables) -> str:
    """What the study lacks, counted."""
    searches = frames.searches.drop_duplicates(["cell", "arm"])
    counts = tables["not_done"]["what"].value_counts(sort=False)
    told = [f"Of {len(frames.runs)} runs: {', '.join(f'{count} {what}' for what, count in counts.items())}."] if len(counts) else []
    unchosen = int(searches["chosen"].isna().sum())
    if unchosen:
        told.append(f"{unchosen} of {len(searches)} learning-rate searches chose nothing (open, or best at an edge): no tuned run there.")
    return " ".join(told) or "Nothing is missing."
