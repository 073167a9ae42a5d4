"""A study that is exported and imported again says the same, number for number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from imported_logs import SYNTHETIC, Importer, cells, logs, verdicts

from olora_bench.analysis import load_study
from olora_bench.errors import BadInput, RecordError
from olora_bench.store import Store
from olora_bench.study.exported import export_frames
from olora_bench.study.imported import read_runs
from olora_bench.study.manifest import read_manifest
from olora_bench.study.names import Home


def test_verdicts_are_those_of_our_own_records_number_for_number(tmp_path: Path) -> None:
    """The planted study's longest scored runs, exported as lm-eval's files and imported: two models, two contrasts."""
    manifest = read_manifest(Home(SYNTHETIC, "planted"))
    assert manifest is not None
    frames = load_study(Store(SYNTHETIC), manifest)
    frames = replace(frames, runs=frames.runs[frames.runs["longest"] & (frames.runs["eval_state"] == "done")])
    export_frames(frames, Store(SYNTHETIC), tmp_path / "out")
    theirs = read_runs(tmp_path / "out" / "study.yaml", tmp_path / "results").frames
    test = ["low", "high", "block_se", "item_se", "found", "found_low", "found_high", "p", "p_holm"]
    counts = ["contrast", "verdict", "scope", "models", "blocks", "difference", "blocks_for", "blocks_against", "pairs_planned"]
    assert _same(*map(verdicts, (frames, theirs)), counts + test) == 2
    scores = ["contrast", "model", "benchmark", "metric", "items", "score_reference", "score_arm", "difference", "seeds", "verdict"]
    assert _same(*map(cells, (frames, theirs)), scores + test) == 12


def test_a_tuned_study_is_exported_with_the_runs_of_its_verdict(tmp_path: Path) -> None:
    """Its shared rate is a study of its own beside it; runs that only chose a rate are counted."""
    manifest = read_manifest(Home(SYNTHETIC, "whole"))
    assert manifest is not None
    frames = load_study(Store(SYNTHETIC), manifest)
    done = export_frames(frames, Store(SYNTHETIC), tmp_path / "out")
    assert any("runs, which only chose a learning rate: " in line for line in done.left_out)
    columns = ["contrast", "verdict", "difference", "low", "high", "block_se", "item_se", "p", "p_holm", "blocks", "pairs_planned"]
    for file, role, theirs in (("study", "tuned", "given"), ("shared", "shared", "shared")):
        found = verdicts(read_runs(tmp_path / "out" / f"{file}.yaml", tmp_path / "results").frames)
        own = verdicts(frames)
        pair = [table[table["role"] == name][columns].reset_index(drop=True) for table, name in ((own, role), (found, theirs))]
        if role == "shared":  # beside the verdict it is not corrected, and a pair of shorter trainings is planned there too
            pair = [one.drop(columns=["p_holm", "verdict", "pairs_planned"]) for one in pair]
        pd.testing.assert_frame_equal(pair[0], pair[1], rtol=1e-12, atol=0)
        assert len(pair[0]) > 0


def test_an_export_leads_out_of_no_folder(tmp_path: Path) -> None:
    manifest = read_manifest(Home(SYNTHETIC, "planted"))
    assert manifest is not None
    frames = load_study(Store(SYNTHETIC), manifest)
    frames = replace(frames, runs=frames.runs[frames.runs["eval_state"] == "done"].head(1).assign(arm="../../../../../out"))
    with pytest.raises(RecordError, match="nothing is read or written there"):
        export_frames(frames, Store(SYNTHETIC), tmp_path / "to")
    assert not list(tmp_path.rglob("*.json*"))


def test_two_runs_of_one_seed_are_no_pair_by_seed(tmp_path: Path, importer: Importer) -> None:
    for lr in ("1e-4", "3e-4"):
        logs(tmp_path, folder=f"runs/{{arm}}/lr{lr}/seed{{seed}}")
    with pytest.raises(BadInput) as caught:
        importer(runs="runs/{arm}/lr{lr}/seed{seed}", by_seed=True)
    assert str(caught.value) == (
        "by_seed: lora, lr 0.0001, seed 0 and lora, lr 0.0003, seed 0 are two runs of one seed: leave one out, or name the rates (lrs)"
    )
    found = importer(runs="runs/{arm}/lr{lr}/seed{seed}", by_seed=True, lrs=[1e-4]).frames
    assert verdicts(found)[["role", "pairs_planned"]].values.tolist() == [["given", 2]]


def _same(ours: pd.DataFrame, theirs: pd.DataFrame, columns: list[str]) -> int:
    """Compare two tables; returns their rows."""
    keys = [name for name in ("contrast", "model", "benchmark") if name in columns]
    one, other = (table[columns].sort_values(keys).reset_index(drop=True) for table in (ours, theirs))
    pd.testing.assert_frame_equal(one, other, rtol=1e-12, atol=0)
    return len(one)
