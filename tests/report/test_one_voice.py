"""A column is described once and a verdict is said once: every place where they stand has the same."""

from __future__ import annotations

import html
from pathlib import Path

import pytest

from olora_bench.analysis.outcome import outcomes
from olora_bench.report import study_report
from olora_bench.report.extract import extract
from olora_bench.report.origins import Origins
from olora_bench.report.page import study_page
from olora_bench.study.names import Home
from olora_bench.study.report import Analysed, analysed
from olora_bench.words.verdicts import headline, headline_parts

SYNTHETIC = Path(__file__).resolve().parents[1] / "synthetic" / "results"


@pytest.fixture(scope="module")
def planted() -> Analysed:
    """The planted study."""
    return analysed(Home(SYNTHETIC, "planted"))


def test_a_verdict_reads_the_same_in_report_page_and_extract(planted: Analysed) -> None:
    frames, tables = planted.frames, planted.tables
    (one,) = [one for one in outcomes(tables["verdicts"]) if one.comparison.confirmatory]
    page = study_page(frames, tables, Origins(1, {}, [])).decode()
    assert headline(one) in study_report(frames, tables, []) and headline(one) in extract(frames, tables)
    sentence, reasons = map(html.escape, headline_parts(one))
    assert f'<p class="headline">{sentence}</p>' in page and reasons == ""
