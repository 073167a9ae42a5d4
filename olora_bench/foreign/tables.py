"""A plain CSV of scores, or of items, of any number of runs."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import pandas as pd

from olora_bench.errors import BadInput
from olora_bench.foreign.columns import check_names
from olora_bench.foreign.files import whole
from olora_bench.formats import Unreadable
from olora_bench.store.sealed import sha256

COLUMNS: Mapping[str, str] = {
    "arm": "the arm's name",
    "seed": "a whole number",
    "lr": "the learning rate, where runs of an arm differ in it",
    "benchmark": "the benchmark's name",
    "item": "the item's id; left out where only scores are known",
    "score": "0 or 1 with an item, else a share from 0 to 1",
    "items": "how many items a score is over, where known",
    "metric": "what the score is by, where known",
    "prompt": "the item's prompt or a digest of it, where known",
}
"""The columns of a CSV; arm, seed, benchmark and score are needed."""
NEEDED = ("arm", "seed", "benchmark", "score")


def read_scores(path: Path) -> tuple[pd.DataFrame, str]:
    """The rows of a CSV, with their arm, seed and lr as columns, and its SHA-256.

    Raises:
        BadInput: a column is missing or unknown.
        Unreadable: it cannot be read, or is no CSV.
    """
    content = whole(path)
    text = dict.fromkeys(("arm", "benchmark", "item", "metric", "prompt"), "str")
    try:
        frame = pd.read_csv(BytesIO(content), dtype=text, encoding="utf-8")
    except (ValueError, pd.errors.ParserError) as error:  # also where it is no UTF-8
        raise Unreadable(path, f"no CSV: {str(error).splitlines()[0]}") from error
    if absent := [name for name in NEEDED if name not in frame]:
        raise BadInput(f"{path}: missing column {', '.join(absent)}. Columns: {', '.join(COLUMNS)}")
    if unknown := [str(name) for name in frame if name not in COLUMNS]:
        raise BadInput(f"{path}: unknown column {', '.join(unknown)}. Columns: {', '.join(COLUMNS)}")
    if frame["arm"].isna().any():
        raise BadInput(f"{path}: column arm is empty in {int(frame['arm'].isna().sum())} rows: name each")
    check_names(frame["arm"], str(path), "arm")
    return frame.rename(columns={"score": "correct"} if "item" in frame else {}), sha256(content)
