"""Losses beside starts: one reference for all arms of a cell, whichever side of its comparison it stands on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from olora_bench.analysis import StudyFrames, Tables
from olora_bench.analysis.starts import starts
from olora_bench.figures.book import LeftOut, study_figures
from olora_bench.report import study_report
from olora_bench.report.extract import extract
from olora_bench.report.text import started
from olora_bench.study.names import Home
from olora_bench.study.report import Analysed, analysed
from tests.figures.planted_studies import CONTROLS, WideMaker, controls, ratios


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Analysed:
    root: Path = tmp_path_factory.mktemp("starts")
    controls(WideMaker(root))
    return analysed(Home(root, "controls"))


def made(found: Analysed) -> tuple[StudyFrames, Tables]:
    return found.frames, found.tables


def test_every_arm_stands_beside_the_reference_of_most(planted: Analysed) -> None:
    table = planted.tables["starts"].set_index("arm")
    assert set(table.index) == set(CONTROLS) - {"lora_matched"}, "lora_matched is compared with lora alone"
    assert (
        set(table["reference"]) == {"olora"} and table.loc["olora", "difference"] == 0 and table.loc["olora", ["low", "high"]].isna().all()
    )


def test_a_comparison_the_other_way_round_is_turned(planted: Analysed) -> None:
    """LoRA is the reference of the study's contrast and an arm beside OLoRA here."""
    frames, tables = made(planted)
    of = tables["measures"].query("measure == 'report_loss'").set_index("contrast")
    row, theirs = tables["starts"].set_index("arm").loc["lora"], of.loc["olora vs lora"]
    assert row["difference"] == pytest.approx(-theirs["difference"]) and row["loss"] == theirs["value_reference"]
    assert (row["low"], row["high"]) == pytest.approx((-theirs["high"], -theirs["low"]))
    ours, same = tables["starts"].set_index("arm").loc["olora_added"], of.loc["olora_added vs olora"]
    assert (ours["difference"], ours["low"], ours["high"]) == pytest.approx((same["difference"], same["low"], same["high"]))
    assert ours["loss"] == same["value_arm"] and frames.protocol == "shared_lr"


def test_facts_are_means_over_runs_of_the_start(planted: Analysed) -> None:
    frames, tables = made(planted)
    rows = tables["starts"].set_index("arm")
    runs = frames.runs[frames.runs["arm"] == "olora_added"]
    assert rows.loc["olora_added", "a_norm"] == pytest.approx(runs["init.anatomy.start.a_norm.mean"].mean())
    jumps = runs["init.anatomy.step_0.loss"] - runs["init.anatomy.step_0.loss_untouched_base"]
    assert jumps.nunique() == 3 and rows.loc["olora_added", "first_loss_jump"] == pytest.approx(jumps.mean())
    assert rows.loc["olora", "first_loss_jump"] == pytest.approx(0)
    assert rows["overlap_left"].isna().to_dict() == {arm: arm == "lora" for arm in rows.index}, "B is 0 there"


def test_runs_of_a_search_are_in_no_jump(planted: Analysed) -> None:
    frames, tables = made(planted)
    ids = frames.runs.index[frames.runs["arm"] == "olora_added"]
    runs = frames.runs.copy()
    runs.loc[ids[0], ["roles", "init.anatomy.step_0.loss"]] = ["tuning", 99.0]
    kept = runs.loc[ids[1:]]
    row = starts(replace(frames, runs=runs), tables["measures"], tables["anatomy"]).set_index("arm").loc["olora_added"]
    assert row["first_loss_jump"] == pytest.approx(
        (kept["init.anatomy.step_0.loss"] - kept["init.anatomy.step_0.loss_untouched_base"]).mean()
    )


def test_each_shared_rate_has_rows_of_its_own(planted: Analysed) -> None:
    frames, tables = made(planted)
    measures = tables["measures"]
    twice = pd.concat([measures, measures.assign(lr_arm=1e-2, lr_reference=1e-2, difference=measures["difference"] + 1)])
    rows = starts(frames, twice, tables["anatomy"])
    assert not rows.duplicated(["lr", "arm"]).any() and rows.groupby("lr")["difference"].min().tolist() != [0, 0]
    assert rows[rows["arm"] == rows["reference"]]["difference"].tolist() == [0, 0]
    text = started(frames, rows)
    assert len(text) == 3 and ", all at 1e-3: " in text[0] and ", all at 1e-2: " in text[1]


def test_a_reference_with_pairs_of_unequal_number_shows_the_loss_of_the_most(planted: Analysed) -> None:
    frames, tables = made(planted)
    measures = tables["measures"].copy()
    fewer = (measures["contrast"] == "olora vs lora") & (measures["measure"] == "report_loss")
    measures.loc[fewer, ["seeds", "value_arm"]] = [2, 9.0]
    rows = starts(frames, measures, tables["anatomy"]).set_index("arm")
    assert rows.loc["olora", "seeds"] == 3 and rows.loc["olora", "loss"] < 9 and rows.loc["lora", "seeds"] == 2
    own = frames.runs.set_index("train_id")["arm"]
    assert {own[one] for one in rows.loc["olora", "runs"].split()} == {"olora"}


def test_of_two_references_of_as_many_the_declared_one_stands(planted: Analysed) -> None:
    frames, tables = made(planted)
    contrasts = ["olora vs lora", "lora_matched vs lora", "olora_added vs olora"]
    few = tables["measures"][tables["measures"]["contrast"].isin(contrasts)]
    assert set(starts(frames, few, tables["anatomy"])["reference"]) == {"lora"}


def test_two_arms_are_no_table_and_ratios_differ_in_more(planted: Analysed, tmp_path: Path) -> None:
    frames, tables = made(planted)
    measures = tables["measures"]
    assert starts(frames, measures[measures["arm"] == "olora"], tables["anatomy"]).empty
    ratios(WideMaker(tmp_path))
    assert analysed(Home(tmp_path, "ratios")).tables["starts"].empty


def test_without_an_anatomy_there_is_none(planted: Analysed) -> None:
    frames, tables = made(planted)
    assert starts(frames, tables["measures"], tables["anatomy"].iloc[:0]).empty
    (left,) = (one for one in study_figures(frames, {**tables, "starts": tables["starts"].iloc[:0], "anatomy": tables["anatomy"].iloc[:0]})
               if one.name == "starts")  # fmt: skip
    assert isinstance(left, LeftOut) and left.reason == "no record holds what an adapter starts from"


def test_a_fact_that_no_record_has_takes_no_column(planted: Analysed) -> None:
    frames, tables = made(planted)
    table, legend = started(frames, tables["starts"].assign(a_norm=None))
    assert "norm of A" not in table and "Frobenius" not in legend and "B from orthonormal" in table


def test_report_and_extract_show_it_by_difference(planted: Analysed) -> None:
    frames, tables = made(planted)
    table, legend = started(frames, tables["starts"])
    lines = table.splitlines()
    assert lines[0] == "smollm2_135m_q4, rank 32, all at 1e-3: loss beside what an init starts from" and legend.startswith(
        "Losses in nats, "
    )
    shown = [line.split("|")[1].strip() for line in lines[4:]]
    assert shown == list(tables["starts"].sort_values("difference")["arm"])
    (added,) = ([cell.strip() for cell in line.split("|")] for line in lines if "| olora_added" in line)
    row = tables["starts"].set_index("arm").loc["olora_added"]
    assert (added[4], added[5], added[6]) == (f"{row['loss']:.3f}", "3", f"{row['a_norm']:.1f}") and added[10].startswith("+0.")
    assert table in extract(frames, tables) and legend in study_report(frames, tables, [])
