"""What the captions of all figures say: protocol, seeds, items, what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from olora_bench.analysis import StudyFrames, Tables
from olora_bench.analysis.runs import with_role
from olora_bench.identity import lr_text
from olora_bench.words.numbers import listed
from olora_bench.words.reasons import counted


def protocol(role: str, lrs: pd.Series[Any]) -> str:
    """How arms were made comparable."""
    if role == "tuned":
        return "Each arm at its own tuned learning rate, fresh seeds."
    if role == "given":
        return "Each arm at the learning rate it was given."
    known = sorted(set(lrs.dropna()))
    return f"One learning rate for all arms ({', '.join(lr_text(lr) for lr in known)})." if known else "One learning rate for all arms."


def at_rates(role: str, lrs: Iterable[float], *, who: str = "all") -> str:
    """The same in the words of a title.

    >>> at_rates("tuned", []), at_rates("shared", [3e-4, 3e-4]), at_rates("given", [])
    ('each at its own rate', 'all at 3e-4', 'each at its given rate')
    """
    known = sorted({lr for lr in lrs if not pd.isna(lr)})
    if role in ("tuned", "given"):
        return f"each at its {'own' if role == 'tuned' else 'given'} rate"
    return f"{who} at {lr_text(known[0]) if len(known) == 1 else 'one rate'}"


def protocols(comparisons: pd.DataFrame) -> str:
    """The protocols of several comparisons."""
    there = [(role, comparisons[comparisons["role"] == role]) for role in ("tuned", "shared", "given")]
    return " ".join(protocol(role, rows["lr_arm"]) for role, rows in there if len(rows))


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


def missing(frames: StudyFrames, not_done: pd.DataFrame, drawn: pd.DataFrame, roles: Sequence[str]) -> str:
    """What a figure lacks, counted: of the runs of its settings and arms that are there for one of these roles.

    Args:
        frames, not_done: the study, and its table of that name.
        drawn: the rows behind the figure: arm, reference, model, rank and setting, those of them that it has.
        roles: shared, tuned, tuning.
    """
    behind, lacking = (with_role(_of(rows, drawn), *roles) for rows in (frames.runs, not_done))
    states = lacking["what"].value_counts(sort=False)
    listing = ", ".join(f"{count} {state}" for state, count in states.items())
    said = [f"Of {counted(len(behind), 'run')}: {listing}."] if len(states) else []
    searches = _of(frames.searches, drawn).drop_duplicates(["cell", "arm"])
    if "tuned" in roles and (unchosen := int(searches["chosen"].isna().sum())):
        of = counted(len(searches), "learning-rate search")
        said.append(f"{unchosen} of {of} chose nothing (open, or best at an edge): no tuned run there.")
    return " ".join(said) or "Nothing is missing."


def _of(rows: pd.DataFrame, drawn: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table that are of an arm and a setting which a figure draws."""
    arms = {arm for name in ("arm", "reference") if name in drawn for arm in drawn[name]}
    names = [name for name in ("model", "rank", "setting") if name in drawn and name in rows]
    places = set(drawn[names].itertuples(index=False, name=None))
    known = rows[["arm", *names]].itertuples(index=False, name=None)
    return rows[np.array([arm in arms and (not names or tuple(place) in places) for arm, *place in known], dtype=bool)]
