"""Tables that describe themselves. Beside each producer of a table stands its description; the CSV, Markdown, LaTeX, the page, the docs
and the checks are made from it, so that a new column is written down once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: in the frame and the CSV.
        meaning: what it says, in a few words, for the docs.
        unit: e.g. `pp`, `nats`, `percent`, `s`; empty where it has none.
        heading: how a printed table calls it; empty: it stands in the CSV alone.
        form: how a printed table formats it, a key of `words.numbers.FORMATS`.
        optional: whether a study that does not measure it lacks the column.
    """

    name: str
    meaning: str
    unit: str = ""
    heading: str = ""
    form: str = "plain"
    optional: bool = False


@dataclass(frozen=True)
class Table:
    """A table of an analysis.

    Attributes:
        name: of the frame.
        row: what one row is, e.g. "a (comparison, benchmark)".
        columns: in the order of the CSV.
    """

    name: str
    row: str
    columns: tuple[Column, ...]

    @property
    def names(self) -> list[str]:
        """The columns' names in order."""
        return [column.name for column in self.columns]

    def frame(self, rows: Iterable[Mapping[Any, object]]) -> pd.DataFrame:
        """Rows as a frame with exactly the described columns, in order; optional ones only where a row has them.

        Raises:
            ValueError: a row has a column that is not described, or lacks one that is.
        """
        rows = list(rows)
        return pd.DataFrame(rows, columns=self._there([set(row) for row in rows]))

    def ordered(self, frame: pd.DataFrame) -> pd.DataFrame:
        """A frame with exactly the described columns, in order; optional ones where it has them.

        Raises:
            ValueError: it has a column that is not described, or lacks one that is.
        """
        return frame[self._there([set(map(str, frame))])]

    def _there(self, rows: Sequence[set[Any]]) -> list[str]:
        known, needed = set(self.names), {column.name for column in self.columns if not column.optional}
        for row in rows:
            if wrong := (row - known) | (needed - row):
                raise ValueError(f"table {self.name}: {', '.join(sorted(wrong))} described and not made, or made and not described")
        return [name for name in self.names if name in needed.union(*rows)]


@dataclass(frozen=True)
class View:
    """A table as a report prints it.

    Attributes:
        name: of its files (`tables/<name>.csv`, `.md`, `.tex`).
        title: its heading on the page.
        caption: what it shows and how to read it, in sentences.
        table: the description of the frame that it shows.
        shown: the columns that Markdown, LaTeX and the page show, in this order; None: every column with a heading.
        rows: a column of booleans, and which of the two the shown rows have; None: every row.
    """

    name: str
    title: str
    caption: str
    table: Table
    shown: tuple[str, ...] | None = None
    rows: tuple[str, bool] | None = None

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that are shown, in their order."""
        known = {column.name: column for column in self.table.columns}
        if self.shown is None:
            return tuple(column for column in self.table.columns if column.heading)
        return tuple(known[name] for name in self.shown)

    def frame(self, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
        """The rows that it shows of a study's tables."""
        whole = tables[self.table.name]
        return whole if self.rows is None else whole[whole[self.rows[0]].astype(bool) == self.rows[1]]
