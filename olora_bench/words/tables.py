"""Tables as readers get them: their values in words, and what their columns mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd

from olora_bench.analysis.columns import CELL_COLUMNS, COMPARISON_COLUMNS
from olora_bench.analysis.described import Column, Table, View
from olora_bench.words import caveats, reasons

WORDED: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "reasons": ("note", reasons.clauses),
    "caveat": ("sentence", caveats.worded),
    "lacking": ("gaps", reasons.listed),
    "warned": ("warnings", reasons.listed),
}
"""Columns of values that are worded: what a file calls them, and how a value is said."""


def written_name(column: str) -> str:
    """What a file calls a column of a frame."""
    return WORDED[column][0] if column in WORDED else column


def worded(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame with its values in words, its columns under the names that files give them; a worded frame stays as it is."""
    said = {name: frame[name].map(WORDED[name][1]).astype(object) for name in WORDED if name in frame}
    return frame.assign(**said).rename(columns={name: written_name(name) for name in said})


GROUPS = (("comparison", COMPARISON_COLUMNS), ("cell", CELL_COLUMNS))
"""Columns that many tables begin with: a page about tables explains them once."""


def column_page(tables: Iterable[Table], views: Iterable[View]) -> str:
    """What each table of a report holds, as a page of Markdown.

    Args:
        tables: every described table.
        views: those that a report prints, each a file of its own.
    """
    files: dict[str, list[str]] = {}
    for view in views:
        files.setdefault(view.table.name, []).append(view.name)
    parts = [INTRODUCTION]
    for name, columns in GROUPS:
        parts += [f"## Columns of a {name}", _rows(columns)]
    for table in sorted(tables, key=lambda table: table.name):
        where = " and ".join(f"`tables/{name}.csv`" for name in files.get(table.name, [])) or "on the page, under its name"
        parts += [f"## {table.name}", f"File: {where}. A row is {table.row}.", *_columns(table)]
    return "\n\n".join(parts) + "\n"


INTRODUCTION = """# Tables

What each table of a study's report holds. `python -m olora_bench.report` prints this page, from the descriptions beside the code that makes
the tables.

Differences are arm minus reference. An empty field is a number that is not known. "Where measured" marks a column that a study has only
where one of its runs measured it."""


def _columns(table: Table) -> list[str]:
    shared = [(name, columns) for name, columns in GROUPS if set(columns) <= set(table.columns)]
    own = [column for column in table.columns if not any(column in columns for _, columns in shared)]
    begins = [f"It begins with the columns of a {' and of a '.join(name for name, _ in shared)}."] if shared else []
    return [*begins, _rows(own)]


def _rows(columns: Iterable[Column]) -> str:
    lines = [
        f"| `{written_name(column.name)}` | {column.unit} | {column.meaning}{' (where measured)' if column.optional else ''} |"
        for column in columns
    ]
    return "\n".join(["| column | unit | meaning |", "|:--|:--|:--|", *lines])
