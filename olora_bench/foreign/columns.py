"""The columns of frames that hold what others scored, and their checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from olora_bench.errors import BadInput

COLUMNS: Mapping[str, str] = {
    "seed": "a whole number from 0 on: runs of both sides with one seed are a pair",
    "benchmark": "text: benchmarks count the same, however many items they have",
    "item": "the item's id, the same in every run",
    "correct": "1 or true where the answer is right, 0 or false where it is not; empty where it is not known",
    "score": "in place of item and correct, one row a (seed, benchmark): the share of right answers, from 0 to 1",
    "items": "beside score, where known: how many items it is the share of",
    "metric": "where known: what `correct` or `score` is by, e.g. acc",
    "prompt": "where known: the item's prompt, or a digest of it",
    "source": "where known: what items share that are about one passage or from one source, which count once; empty text for an item alone",
    "version": "where known: the version of the benchmark",
    "fewshot": "where known: how many examples its prompts hold",
    "base": "where known: the base model",
    "harness": "where known: what scored the run, with its version",
}
"""The columns of a frame. The first four are needed, or the first two and `score`; others than these are not read."""


def checked_rows(frame: pd.DataFrame, arm: str) -> pd.DataFrame:
    """The described columns of a frame, each value checked.

    Args:
        arm: whose rows they are, for the message.

    Raises:
        BadInput: a column is missing, or a value is not as described; names both.
    """
    if not isinstance(frame, pd.DataFrame):
        raise BadInput(f"{arm}: {type(frame).__name__} is no pandas DataFrame. Its columns: {', '.join(COLUMNS)}")
    needed = ("seed", "benchmark", "item", "correct") if "correct" in frame or "score" not in frame else ("seed", "benchmark", "score")
    if absent := [name for name in needed if name not in frame]:
        lacking = f"missing column{'s' if len(absent) > 1 else ''} {', '.join(absent)}"
        raise BadInput(f"{arm}: {lacking}. Needed: seed, benchmark, item and correct, or seed, benchmark and score")
    if twice := [name for name in COLUMNS if list(frame.columns).count(name) > 1]:
        raise BadInput(f"{arm}: column {twice[0]} stands there twice: keep one")
    if frame.empty:
        raise BadInput(f"{arm}: no rows. Give one row an item and run, or one a run with its score")
    kept = frame[[name for name in COLUMNS if name in frame and (name in needed or name not in ("item", "correct", "score"))]].copy()
    for name in kept:
        if pd.api.types.infer_dtype(kept[name], skipna=True) in ("mixed", "complex"):
            raise BadInput(f"{arm}: column {name} holds what is neither text nor a number: {_shown(kept[name].dropna())}")
    kept["seed"] = seeds(kept["seed"], arm)
    value = needed[-1]
    if value == "score" and "items" in kept:
        kept["items"] = _counts(kept["items"], arm)
    kept[value] = _shares(kept[value], arm, value)
    if kept["benchmark"].isna().any():
        raise BadInput(f"{arm}: column benchmark is empty in {int(kept['benchmark'].isna().sum())} rows: name each")
    for what in ("benchmark", *(name for name in ("metric", "version", "fewshot") if name in kept)):
        check_names(kept[what], arm, what)
    if value == "correct" and kept["item"].isna().any():
        raise BadInput(f"{arm}: column item is empty in {int(kept['item'].isna().sum())} rows: give each item its id")
    return kept


def is_name(text: str) -> bool:
    """Whether a text from elsewhere may name an arm, benchmark or metric: it shows as it is, and no spreadsheet takes it for a formula.

    >>> is_name("arc_challenge"), is_name("a\\nb"), is_name("=1+1"), is_name("")
    (True, False, False, False)
    """
    return bool(text) and text.isprintable() and text[0] not in "=+-@"


def check_names(column: pd.Series[Any], whose: str, what: str) -> None:
    """Refuse what is no name.

    Raises:
        BadInput: names `whose` column `what` it is, and the value.
    """
    if wrong := [name for name in map(str, column.dropna().unique()) if not is_name(name)]:
        raise BadInput(f"{whose}: {what} {wrong[0]!r} is not allowed: printable text that does not begin with = + - @")


def seeds(column: pd.Series[Any], whose: str) -> pd.Series[Any]:
    """A column of seeds as int64.

    Raises:
        BadInput: one is no seed; names `whose` they are.
    """
    numbers = pd.to_numeric(column, errors="coerce")
    sizes = numbers.astype("float64")
    wrong = sizes.isna() | (sizes < 0) | (sizes % 1 != 0) | (sizes >= 2**63) | pd.api.types.is_bool_dtype(column)
    if wrong.any():
        raise BadInput(f"{whose}: seed {_shown(column[wrong])} is not allowed: whole numbers from 0 on, one for each run")
    return numbers.astype("int64")


def rates(column: pd.Series[Any], whose: str) -> pd.Series[Any]:
    """A column of learning rates as float64, NaN where one is not known.

    Raises:
        BadInput: one is no learning rate; names `whose` they are.
    """
    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    wrong = numbers.isna() & column.notna() | np.isinf(numbers) | (numbers < 0)
    if wrong.any():
        raise BadInput(f"{whose}: lr {_shown(column[wrong])} is not allowed: a number from 0 on, or nothing")
    return numbers


def _counts(column: pd.Series[Any], arm: str) -> pd.Series[Any]:
    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    wrong = numbers.isna() & column.notna() | (numbers < 1) | (numbers % 1 != 0) & numbers.notna() | (numbers >= 2**53)
    if wrong.any():
        raise BadInput(f"{arm}: items {_shown(column[wrong])} is not allowed: whole numbers from 1 on, or nothing")
    return numbers


def _shares(column: pd.Series[Any], arm: str, name: str) -> pd.Series[Any]:
    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    wrong = numbers.isna() & column.notna() | np.isinf(numbers) | (numbers < 0) | (numbers > 1)
    wrong |= ~numbers.isin([0.0, 1.0]) & numbers.notna() if name == "correct" else False
    if wrong.any():
        allowed = "0 or 1, or nothing" if name == "correct" else "a share from 0 to 1 (percent over 100)"
        raise BadInput(f"{arm}: {name} {_shown(column[wrong])} is not allowed: {allowed}")
    return numbers


def _shown(wrong: pd.Series[Any]) -> str:
    return repr(wrong.tolist()[0])
