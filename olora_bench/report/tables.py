"""The tables that a study's report is written as."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from olora_bench.analysis import Tables, study
from olora_bench.analysis.described import View
from olora_bench.report.published import PUBLISHED_TABLE, PUBLISHED_VIEW
from olora_bench.report.render import write_all
from olora_bench.words.claims import CLAIM_TABLE, CLAIM_VIEW
from olora_bench.words.declared import DECLARED_TABLE, DECLARED_VIEW

TABLES = (*study.TABLES, CLAIM_TABLE, PUBLISHED_TABLE, DECLARED_TABLE)
"""Every table that a study has, described."""

VIEWS: Mapping[str, View] = {view.name: view for view in (*study.VIEWS, CLAIM_VIEW, PUBLISHED_VIEW, DECLARED_VIEW)}
"""The tables that a report prints, by name, in order."""


def printed_tables(tables: Tables) -> dict[str, pd.DataFrame]:
    """The rows that each of `VIEWS` shows; a view whose table is not there is left out."""
    return {name: view.frame(tables) for name, view in VIEWS.items() if view.table.name in tables}


def table_files(tables: Tables) -> dict[str, bytes]:
    """file name -> content of every table as CSV, Markdown and LaTeX."""
    files: dict[str, bytes] = {}
    for name, frame in printed_tables(tables).items():
        files |= write_all(VIEWS[name], frame)
    return files
