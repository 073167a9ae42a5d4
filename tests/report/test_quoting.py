"""Text of records in tables: no spreadsheet runs it, and Markdown shows it as it is."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pandas as pd
import pytest

from olora_bench.analysis.caveats import Problem
from olora_bench.report import markdown_table, study_report
from olora_bench.report.extract import extract
from olora_bench.report.render import csv_bytes
from olora_bench.study.names import Home
from olora_bench.study.report import analysed, notes
from tests.report.test_text import SYNTHETIC


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1"])
def test_text_that_a_spreadsheet_would_run_gets_an_apostrophe(text: str) -> None:
    frame = pd.DataFrame({"note": [text, None], "value": [-0.5, 1.0]})
    pd.testing.assert_frame_equal(pd.read_csv(pd.io.common.BytesIO(csv_bytes(frame))), frame.assign(note=[f"'{text}", None]))


def test_a_carriage_return_ends_no_row() -> None:
    assert csv_bytes(pd.DataFrame({"note": ["\r=1", "a\r\nb"]})).decode() == 'note\n"\'\n=1"\n"a\nb"\n'


def test_a_heading_that_a_spreadsheet_would_run_gets_one_too() -> None:
    assert csv_bytes(pd.DataFrame({"=1+1": [1]})) == b"'=1+1\n1\n"


def test_numbers_and_their_signs_stay() -> None:
    frame = pd.DataFrame({"value": [-1.5, float("-inf")], "mixed": ["-0.25", -3], "word": ["a-b", "x=1"]})
    assert csv_bytes(frame).decode() == "value,mixed,word\n-1.5,-0.25,a-b\n-inf,-3,x=1\n"


def test_a_cell_of_a_markdown_table_ends_neither_itself_nor_its_row() -> None:
    assert markdown_table(["a"], [["<b>|x|\r\n| y"]]).splitlines()[2] == r"| &lt;b>\|x\| \| y |"


def test_no_html_of_a_record_reaches_markdown(tmp_path: Path) -> None:
    root = Path(shutil.copytree(SYNTHETIC, tmp_path / "results"))
    evil = "<script>struck()</script>"
    found = analysed(Home(root, "broken"))
    frames = dataclasses.replace(found.frames, title=f"{evil}\n{evil}", problems=[evil], runs=found.frames.runs.assign(reason=evil))
    tables = found.tables | {
        "not_done": found.tables["not_done"].assign(reason=evil),
        "warnings": pd.DataFrame([["broken", Problem(evil)]], columns=["about", "caveat"]),
    }
    found = dataclasses.replace(found, frames=frames, tables=tables)
    for shown in (study_report(frames, tables, notes(found, [evil])), extract(frames, tables)):
        assert "<script" not in shown and "&lt;script>struck()&lt;/script>" in shown
