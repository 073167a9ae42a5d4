"""What the captions of all figures say: protocol, seeds, items, what is missing."""

from __future__ import annotations

from typing import Any

import pandas as pd

from olora_bench.analysis import StudyFrames, Tables
from olora_bench.words.numbers import listed, lr_text
from olora_bench.words.reasons import counted


def protocol(role: str, lrs: pd.Series[Any]) -> str:
    """How arms were made comparable."""
    if role == "tuned":
        return "Each arm at its own tuned learning rate, fresh seeds."
    known = sorted(set(lrs.dropna()))
    return f"One learning rate for all arms ({', '.join(lr_text(lr) for lr in known)})." if known else "One learning rate for all arms."


def protocols(comparisons: pd.DataFrame) -> str:
    """The protocols of several comparisons."""
    tuned = comparisons["role"] == "tuned"
    return " ".join(protocol(role, comparisons[rows]["lr_arm"]) for role, rows in (("tuned", tuned), ("shared", ~tuned)) if rows.any())


def seeds(counts: pd.Series[Any], planned: pd.Series[Any] | None = None) -> str:
    """How many seeds stand behind a figure."""
    if counts.dropna().empty:
        return "No seed."
    text = f"{listed(counts)} seed{'' if int(counts.max()) == 1 else 's'}"
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
    states = tables["not_done"]["what"].value_counts(sort=False)
    said = (
        [f"Of {counted(len(frames.runs), 'run')}: {', '.join(f'{count} {state}' for state, count in states.items())}."]
        if len(states)
        else []
    )
    if unchosen := int(searches["chosen"].isna().sum()):
        of = counted(len(searches), "learning-rate search")
        said.append(f"{unchosen} of {of} chose nothing (open, or best at an edge): no tuned run there.")
    return " ".join(said) or "Nothing is missing."
