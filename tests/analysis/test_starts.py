"""Losses beside starts: one reference for all arms of a cell, whichever side of its comparison it stands on."""

from __future__ import annotations

from pathlib import Path

import pytest

from olora_bench.analysis import StudyFrames, Tables
from olora_bench.analysis.starts import starts
from olora_bench.report import study_report
from olora_bench.report.extract import extract
from olora_bench.report.text import started
from olora_bench.study.report import Analysed, analysed
from tests.figures.planted_studies import CONTROLS, WideMaker, controls, ratios


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Analysed:
    root: Path = tmp_path_factory.mktemp("starts")
    controls(WideMaker(root))
    return analysed(root, "controls")


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
    assert rows.loc["olora_added", "first_loss_jump"] == pytest.approx(0.5) and rows.loc["olora", "first_loss_jump"] == pytest.approx(0)
    assert rows["overlap_left"].isna().to_dict() == {arm: arm == "lora" for arm in rows.index}, "B is 0 there"


def test_two_arms_are_no_table_and_ratios_start_alike(planted: Analysed, tmp_path: Path) -> None:
    frames, tables = made(planted)
    measures = tables["measures"]
    assert starts(frames, measures[measures["arm"] == "olora"], tables["anatomy"]).empty
    ratios(WideMaker(tmp_path))
    assert analysed(tmp_path, "ratios").tables["starts"].empty


def test_records_without_an_anatomy_make_no_error(planted: Analysed) -> None:
    frames, tables = made(planted)
    rows = starts(frames, tables["measures"], tables["anatomy"].iloc[:0])
    assert list(rows["arm"]) == list(tables["starts"]["arm"]) and rows["a_norm"].isna().all()


def test_report_and_extract_show_it_from_the_lowest_loss_on(planted: Analysed) -> None:
    frames, tables = made(planted)
    table, legend = started(tables["starts"])
    lines = table.splitlines()
    assert lines[0] == "smollm2_135m_q4, rank 32: loss beside what an init starts from" and legend.startswith("Losses in nats, ")
    shown = [line.split("|")[1].strip() for line in lines[4:]]
    assert shown == list(tables["starts"].sort_values("difference")["arm"])
    (added,) = ([cell.strip() for cell in line.split("|")] for line in lines if "| olora_added" in line)
    row = tables["starts"].set_index("arm").loc["olora_added"]
    assert (added[2], added[5], added[9]) == (f"{row['loss']:.3f}", f"{row['a_norm']:.1f}", "+0.500")
    assert table in extract(frames, tables) and legend in study_report(frames, tables, [])
