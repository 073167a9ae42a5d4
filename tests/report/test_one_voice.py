"""A column is described once and a verdict is said once: every place where they stand has the same."""

from __future__ import annotations

import html
from dataclasses import replace
from pathlib import Path

import pytest

from olora_bench.analysis.described import Column
from olora_bench.analysis.outcome import outcomes
from olora_bench.report import study_report
from olora_bench.report.extract import extract
from olora_bench.report.origins import Origins
from olora_bench.report.page import study_page
from olora_bench.report.page_data import table_payload
from olora_bench.report.render import write_all
from olora_bench.report.tables import TABLES, VIEWS
from olora_bench.study.report import Analysed, analysed
from olora_bench.words.tables import column_page
from olora_bench.words.verdicts import headline

SYNTHETIC = Path(__file__).resolve().parents[1] / "synthetic" / "results"


@pytest.fixture(scope="module")
def planted() -> Analysed:
    """The planted study."""
    return analysed(SYNTHETIC, "planted")


def test_a_new_column_is_one_edit(planted: Analysed) -> None:
    """Added to one table's description, it stands in the CSV, in Markdown, in LaTeX, on the page and in the list of columns."""
    new = Column("half_life", "steps to half of the drop", "steps", "half-life", "3 digits")
    view = VIEWS["left_out"]
    view = replace(view, table=replace(view.table, columns=(*view.table.columns, new)))
    frame = view.table.ordered(planted.tables["left_out"].assign(half_life=12.5))
    files = {name: content.decode() for name, content in write_all(view, frame).items()}
    assert files["left_out.csv"].splitlines()[0].endswith(",half_life") and files["left_out.csv"].splitlines()[1].endswith(",12.5")
    header, _, row = ([cell.strip() for cell in line.split("|")] for line in files["left_out.md"].splitlines()[2:5])
    assert (header[-2], row[-2]) == ("half-life", "12.500")
    assert r"& half-life \\" in files["left_out.tex"] and r"& 12.500 \\" in files["left_out.tex"]
    payload = table_payload("left_out", frame, view)
    assert payload["columns"][-1] == [len(frame.columns) - 1, "half-life", True] and payload["rows"][0][-1] == "12.500"
    assert "| `half_life` | steps | steps to half of the drop |" in column_page([view.table], [view])


def test_the_committed_list_of_columns_is_what_the_descriptions_say() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "tables.md"
    assert page.read_text(encoding="utf-8") == column_page(TABLES, VIEWS.values()), "python -m olora_bench.report > docs/tables.md"


def test_a_verdict_reads_the_same_in_report_page_and_extract(planted: Analysed) -> None:
    frames, tables = planted.frames, planted.tables
    (said,) = [headline(one) for one in outcomes(tables["verdicts"]) if one.comparison.confirmatory]
    page = study_page(frames, tables, Origins(1, {}, [])).decode()
    assert said in study_report(frames, tables, []) and said in extract(frames, tables) and html.escape(said) in page
