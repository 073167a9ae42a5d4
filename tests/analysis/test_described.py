"""Tables are what their descriptions say, and what is described once is found everywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest

from olora_bench.analysis import StudyFrames, Tables
from olora_bench.analysis.caveats import (
    ArmGain,
    Caveat,
    CellsOfOneArm,
    LowPrecision,
    NeverWarm,
    NoGain,
    NoSensitivity,
    NotComparedWithFp32,
    PairsOfOneArm,
    SearchesGoOn,
)
from olora_bench.analysis.described import Column, Table, View
from olora_bench.analysis.reasons import CoarseReadings, NeverReached
from olora_bench.analysis.runs import has_role, with_role
from olora_bench.report.page_data import table_payload
from olora_bench.report.render import write_all
from olora_bench.report.tables import TABLES, VIEWS
from olora_bench.words.caveats import worded
from olora_bench.words.numbers import FORMATS
from olora_bench.words.tables import column_page

Load = Callable[[str], tuple[StudyFrames, Tables]]

TABLE = Table(
    "watts",
    "an arm",
    (Column("arm", "the arm", heading="arm"), Column("power", "mean", "W", "power (W)", "number"), Column("heat", "loss", optional=True)),
)


@pytest.mark.parametrize("study", ["planted", "searched", "broken", "whole"])
def test_every_frame_has_exactly_the_described_columns(synthetic: Load, study: str) -> None:
    tables = synthetic(study)[1]
    described = {table.name: table for table in TABLES}
    assert tables.keys() <= described.keys()
    for name, frame in tables.items():
        there = [column.name for column in described[name].columns if not column.optional or column.name in frame]
        assert list(frame) == there, name


def test_every_described_column_has_a_meaning_and_a_known_form() -> None:
    columns = [(table.name, column) for table in TABLES for column in table.columns]
    assert [(name, column.name) for name, column in columns if not column.meaning or column.form not in FORMATS] == []


def test_a_column_that_is_not_described_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^table watts: volts described and not made, or made and not described$"):
        TABLE.frame([{"arm": "lora", "power": 1.0, "volts": 2.0}])


def test_a_described_column_that_is_not_made_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^table watts: power described and not made, or made and not described$"):
        TABLE.ordered(pd.DataFrame({"arm": ["lora"]}))


def test_an_optional_column_is_there_where_a_row_has_it() -> None:
    assert list(TABLE.frame([{"arm": "lora", "power": 1.0}])) == ["arm", "power"]
    assert list(TABLE.frame([{"heat": 3.0, "power": 1.0, "arm": "lora"}])) == ["arm", "power", "heat"]


def test_a_new_column_is_found_everywhere() -> None:
    """One more `Column` in a description: CSV, Markdown, LaTeX, the page and the docs have it."""
    table = replace(TABLE, columns=(*TABLE.columns, Column("noise", "at a metre", "dB", "noise (dB)", "2 digits")))
    view = View("watts", "Power", "What an arm draws.", table)
    frame = table.frame([{"arm": "lora", "power": 1.0, "noise": 40.125}])
    files = {name: content.decode() for name, content in write_all(view, frame).items()}
    assert files["watts.csv"] == "arm,power,noise\nlora,1,40.125\n"
    assert "noise (dB) |" in files["watts.md"] and "40.12 |" in files["watts.md"]
    assert "noise (dB) \\\\" in files["watts.tex"]
    page = table_payload("watts", frame, view)
    assert page["columns"][-1] == [2, "noise (dB)", True] and page["rows"] == [["lora", "1.0", "40.12"]]
    assert "| `noise` | dB | at a metre |" in column_page([table], [view])


def test_each_printed_table_names_its_file_in_the_docs() -> None:
    page = column_page(TABLES, VIEWS.values())
    assert [name for name in VIEWS if f"`tables/{name}.csv`" not in page] == []


def test_a_role_is_asked_for_as_a_whole_word() -> None:
    runs = pd.DataFrame({"roles": ["tuning", "tuned", "tuning shared"]})
    assert has_role(runs, "tuned").tolist() == [False, True, False]
    assert with_role(runs, "tuned", "shared").index.tolist() == [1, 2]


def test_a_speed_up_says_what_bounds_it_as_values(synthetic: Load) -> None:
    speedups = synthetic("planted")[1]["speedups"]
    bounded = speedups[speedups["bound"] != "exact"]
    assert len(bounded) and all(any(isinstance(r, NeverReached) for r in reasons) for reasons in bounded["reasons"])
    never = bounded["arm_censored"] + bounded["reference_censored"]
    assert [next(r for r in reasons if isinstance(r, NeverReached)).runs for reasons in bounded["reasons"]] == never.tolist()
    exact = speedups[speedups["bound"] == "exact"]["reasons"]
    assert {type(reason) for reasons in exact for reason in reasons} <= {CoarseReadings}


@pytest.mark.parametrize(
    ("caveat", "sentence"),
    [
        (CellsOfOneArm(1, 2), "in 1 of 2 cells only one arm has runs: left out"),
        (PairsOfOneArm("shared", 1, 1), "shared: in 1 of 1 pair (cell, seed) only one arm has a run: left out"),
        (SearchesGoOn(("lora", "olora")), "tuned: no pair yet, the learning-rate search of lora and olora goes on"),
        (NeverWarm(1, 3, 0.25, 0.25), "1 of 3 runs ended at 25% of their learning rate: their warm-up was as long as their training"),
        (
            LowPrecision(5.0, "lora", "piqa", 1),
            "scored in low precision, up to 5.0% of items get a different answer than in fp32 "
            "(lora on piqa, 1 item compared: table scoring)",
        ),
        (
            NoSensitivity("tuned", "m", (ArmGain("lora", -0.5, 1.75), ArmGain("olora", 0.25, 1.5))),
            "tuned: no assay sensitivity: in the mean over benchmarks arms of m are not shown to gain over the untouched base beyond what "
            "one constant answer gives (lora −0.5 ± 1.8, olora +0.2 ± 1.5 pp, 95% over items): equal scores would not show that they "
            "learned equally much",
        ),
        (
            NoGain("shared", "m", ("boolq", "piqa")),
            "shared: on boolq, piqa no arm of m is shown to gain over the untouched base beyond what one constant answer gives",
        ),
        (
            NotComparedWithFp32(59, 60),
            "in 59 of 60 scorings of trained arms, choices in low precision were not compared with fp32's",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_caveat_is_said_in_one_sentence(caveat: Caveat, sentence: str) -> None:
    assert worded(caveat) == sentence
