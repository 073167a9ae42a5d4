"""The committed synthetic studies give exactly the answers that were planted in them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from olora_bench.analysis import StudyFrames, Tables, load_study
from olora_bench.analysis.crossed import Scope
from olora_bench.analysis.frames import curves_by_run
from olora_bench.analysis.reasons import EqualDifferences, PairsDiverged, PairsMissing, SearchesOpen
from olora_bench.analysis.scopes import About
from olora_bench.store import Store
from olora_bench.study.manifest import read_manifest
from olora_bench.study.names import Home
from olora_bench.words.caveats import caveat_lines

Load = Callable[[str], tuple[StudyFrames, Tables]]


def main_contrast(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[(frame["contrast"] == "olora vs lora") & frame["longest"].astype(bool)]


def test_the_committed_records_are_what_the_script_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import runpy

    here = Path(__file__).resolve().parents[1] / "synthetic"
    runpy.run_path(str(here / "make.py"))["main"](tmp_path)
    made = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*.json"))
    assert made == sorted(p.relative_to(here / "results") for p in (here / "results").rglob("*.json"))
    assert all((tmp_path / p).read_bytes() == (here / "results" / p).read_bytes() for p in made)


def test_wins_losses_and_ties(synthetic: Load) -> None:
    """Four of 40 items are lost on boolq by every seed: with other items that could be none, after Holm over eight cells."""
    _, tables = synthetic("planted")
    cells = main_contrast(tables["cells"])
    cells = cells[cells["primary"].astype(bool)].set_index(["model", "benchmark"])
    want = {"piqa": "better", "boolq": "unresolved", "winogrande": "unresolved", "openbookqa": "unresolved"}
    assert {(m, b): v for (m, b), v in cells["verdict"].items()} == {(m, b): v for m in ("syn_a", "syn_b") for b, v in want.items()}
    assert cells.loc["syn_a", "difference"].to_dict() == pytest.approx(
        {"piqa": 22.5, "boolq": -10.0, "winogrande": 0.0, "openbookqa": 2.5 / 3}
    )
    assert cells.loc[("syn_a", "winogrande"), "reasons"] == (EqualDifferences(),)
    assert set(cells["seeds"]) == {6} and not cells["exploratory"].any()


def test_the_confirmatory_verdict(synthetic: Load) -> None:
    """Twelve blocks, all for olora: 2 of 4096 flips are as extreme. But these are two models and 40 items a benchmark."""
    _, tables = synthetic("planted")
    row = tables["verdicts"].iloc[0]
    assert (row["verdict"], row["blocks"], row["blocks_for"], row["diverged"], row["pairs_missing"]) == ("unresolved", 12, 12, 0, 0)
    assert row["difference"] == pytest.approx(3.125) and row["scope"] == Scope.THESE_MODELS
    flips = tables["scopes"].set_index(["contrast", "measure", "about"]).loc[("olora vs lora", "score", About.FLIPS)]
    assert flips["p"] == 2 / 4096
    primary = tables["differences"][tables["differences"]["primary"] & (tables["differences"]["contrast"] == "olora vs lora")]
    means = primary.groupby("model")["difference"].mean()
    assert row["block_se"] == pytest.approx(means.std(ddof=1) / np.sqrt(2)), "models are the sample"
    assert row["low"] < 0 < 3.125 < row["high"]


def test_the_count(synthetic: Load) -> None:
    _, tables = synthetic("planted")
    row = tables["win_counts"].iloc[0]
    assert (row["cells"], row["wins"], row["losses"], row["ties"]) == (8, 3, 3, 2)
    assert row["tied"] == "syn_a r8 winogrande; syn_b r8 winogrande"
    assert row["null_low"] <= 3 <= row["null_high"]


def test_the_planted_speed_up(synthetic: Load) -> None:
    """Twice as fast at every target and in every unit, with an interval that holds 2."""
    _, tables = synthetic("planted")
    found = main_contrast(tables["speedups"])
    found = found[found["model"] == "syn_a"]
    assert len(found) == 12 and set(found["verdict"]) == {"faster"} and set(found["bound"]) == {"exact"}
    assert found["speedup"].to_numpy() == pytest.approx(np.full(12, 2.0))
    logs = np.log(2.0) + np.array([-0.10, 0.10, -0.05, 0.05, 0.15, -0.15])
    interval = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
    assert found["low"].to_numpy() == pytest.approx(np.full(12, np.exp(interval.low)))
    assert found["high"].to_numpy() == pytest.approx(np.full(12, np.exp(interval.high)))
    shift = pytest.importorskip("statsmodels.stats.power").TTestPower().solve_power(nobs=6, alpha=0.05, power=0.8)
    assert found["detectable"].to_numpy() == pytest.approx(np.full(12, np.exp(shift * logs.std(ddof=1))), rel=1e-3)


def test_a_censored_seed_makes_a_bound_and_stays(synthetic: Load) -> None:
    """Its six seeds are all there; at 0.5 of the drop even the slow one has arrived, at 0.9 it never does."""
    _, tables = synthetic("planted")
    found = main_contrast(tables["speedups"])
    found = found[(found["model"] == "syn_b") & (found["unit"] == "steps")].set_index("q")
    assert found["bound"].to_dict() == {0.5: "exact", 0.75: "at most", 0.9: "at most", 0.95: "at most"}
    assert found["arm_censored"].to_dict() == {0.5: 0, 0.75: 1, 0.9: 1, 0.95: 1} and set(found["seeds"]) == {6}
    assert (found.loc[0.9, "faster"], found.loc[0.9, "slower"], found.loc[0.9, "verdict"]) == (5, 1, "unresolved")
    others = np.log(2.0 * np.exp([-0.10, 0.10, -0.05, 0.05, 0.15])).sum()
    assert np.log(found.loc[0.9, "speedup"]) == pytest.approx((others + np.log(36 / 40)) / 6), "the censored seed counts at its end"


def test_how_many_steps_are_worth_how_many(synthetic: Load) -> None:
    """lora ends at 3.0, 2.5 and 2.0 nats after 10, 20 and 40 steps, olora at 2.3, 1.95 and 1.6: linear in the logarithm between them.
    Equal differences on all seeds show no spread, so no p; beyond lora's schedules nothing is read."""
    _, tables = synthetic("planted")
    found = tables["equivalent_steps"].set_index("steps")
    assert found["ratio"].to_dict() == pytest.approx({10: 2 ** (1 + 0.2 / 0.5), 20: np.inf, 40: np.inf}, rel=0.004)
    assert found["judged"].to_dict() == {10: False, 20: True, 40: False}
    assert found["loss"].to_dict() == pytest.approx({10: 2.3, 20: 1.95, 40: 1.6})
    assert found["loss_reference"].to_dict() == pytest.approx({10: 3.0, 20: 2.5, 40: 2.0})


def test_shorter_schedules_enter_no_verdict(synthetic: Load) -> None:
    _, tables = synthetic("planted")
    assert tables["verdicts"].iloc[0]["pairs_planned"] == 12
    assert set(tables["cells"]["seeds_planned"]) == {6}


def test_a_ratio_is_compared_on_loss_and_bleu(synthetic: Load) -> None:
    _, tables = synthetic("planted")
    found = tables["measures"].set_index(["contrast", "measure"])
    assert found.loc[("olora_plus vs olora", "report_loss"), "difference"] == pytest.approx(-0.1)
    assert found.loc[("olora_plus vs olora", "report_loss"), "verdict"] == "lower"
    assert found.loc[("olora_plus vs olora", "bleu"), "difference"] == pytest.approx(2.0)
    assert tables["ratios"].set_index("arm").loc["olora_plus", "lr_ratio"] == 4.0
    controls = tables["verdicts"][~tables["verdicts"]["confirmatory"].astype(bool)].iloc[0]
    assert (controls["contrast"], controls["difference"], controls["verdict"]) == ("olora_plus vs olora", 0.0, "unresolved")


def test_searches_edges_and_divergence(synthetic: Load) -> None:
    _, tables = synthetic("searched")
    rates = tables["rates"]
    best = rates[rates["best"]].set_index(["model", "arm"])
    assert best["lr"].to_dict() == {
        ("syn_a", "lora"): 1e-3,
        ("syn_a", "olora"): 3.16e-4,
        ("syn_b", "lora"): 1e-3,
        ("syn_b", "olora"): 3.16e-3,
    }
    assert best["edge"].dropna().to_dict() == {("syn_b", "olora"): "high"}
    assert rates[rates["diverged"] > 0][["model", "arm", "lr"]].to_numpy().tolist() == [["syn_a", "olora", 3.16e-3]]
    assert np.isnan(rates[rates["diverged"] > 0]["tune"].iloc[0]), "a diverged lr has no loss, rather than a large one"


def test_an_arm_at_an_edge_gets_no_tuned_verdict(synthetic: Load) -> None:
    _, tables = synthetic("searched")
    row = tables["verdicts"].iloc[0]
    assert (row["verdict"], row["role"]) == ("no verdict", "tuned") and row["reasons"][-1] == SearchesOpen(1)
    cells = tables["cells"].set_index(["model", "benchmark"])
    assert set(cells.loc["syn_b", "verdict"]) == {"no verdict"}
    assert cells.loc[("syn_a", "piqa"), "exploratory"].all()


def test_a_mean_without_each_benchmark(synthetic: Load) -> None:
    """Counted again from the seed differences: one pair a block in this study's cells, so blocks are means over pairs."""
    _, tables = synthetic("planted")
    found = tables["left_out"].set_index(["contrast", "benchmark"])
    differences = tables["differences"][tables["differences"]["primary"] & tables["differences"]["longest"]]
    assert set(found.index.get_level_values("benchmark")) == set(differences["benchmark"])
    for contrast, mine in differences.groupby("contrast"):
        whole = tables["verdicts"].set_index("contrast").loc[contrast]
        for benchmark in mine["benchmark"].unique():
            rest = (
                mine[mine["benchmark"] != benchmark]
                .groupby(["model", "seed", "cell"])["difference"]
                .mean()
                .groupby(["model", "seed"])
                .mean()
            )
            row = found.loc[(contrast, benchmark)]
            assert row["difference"] == pytest.approx(rest.mean())
            assert (row["blocks"], row["blocks_for"], row["blocks_against"]) == (whole["blocks"], (rest > 0).sum(), (rest < 0).sum())
            assert np.isnan(row["p"]) == (contrast == "olora_plus vs olora") and not row["low"] > row["difference"]


def test_tuning_budgets_are_counted(synthetic: Load) -> None:
    _, tables = synthetic("searched")
    assert tables["sensitivity"]["tuning_runs"].tolist() == [4, 4, 4, 4]


def test_every_gap_is_a_row(synthetic: Load) -> None:
    frames, tables = synthetic("broken")
    lacking = tables["not_done"]
    assert sorted(lacking["what"]) == ["diverged", "failed", "missing", "scores unreadable", "unreadable"]
    reasons = " | ".join(lacking["reason"].dropna())
    assert "written by a newer olora_bench (schema 3, this one reads 2): upgrade olora_bench" in reasons
    assert "NaN is no number a record may hold" in reasons and "planted failure" in reasons
    assert "olora vs lora: shared: in 1 of 10 pairs (cell, seed) only one arm has a run: left out" in caveat_lines(frames, tables)


def test_a_diverged_seed_leaves_its_cell_unresolved(synthetic: Load) -> None:
    _, tables = synthetic("broken")
    cells = tables["cells"][tables["cells"]["model"] == "syn_c"]
    assert set(cells["verdict"]) == {"unresolved"} and set(cells["reasons"]) == {(PairsDiverged(1, 7),)}
    verdict = tables["verdicts"].iloc[0]
    assert verdict["verdict"] == "unresolved" and verdict["reasons"] == (PairsMissing(5, 10), PairsDiverged(1, 10))
    late = tables["speedups"]
    late = late[(late["model"] == "syn_c") & (late["unit"] == "steps")]
    assert set(late["arm_censored"]) == {1}, "a diverged run never crosses, and is not dropped"


def test_the_same_records_give_the_same_frames(synthetic: Load, tmp_path: Path) -> None:
    from olora_bench.analysis import analyse
    from olora_bench.report import table_files

    for name in ("planted", "searched", "whole", "broken"):
        frames, tables = synthetic(name)
        again: dict[str, Any] = analyse(frames, np.random.default_rng(0))
        assert table_files(tables) == table_files(again)


def test_damaged_items_and_curves_are_gaps_too(tmp_path: Path) -> None:
    """One flipped bit in each: the evaluation and the run are unreadable, and the file is named."""
    root = shutil.copytree(Path(__file__).resolve().parents[1] / "synthetic" / "results", tmp_path / "results")
    manifest = read_manifest(Home(root, "planted"))
    assert manifest is not None
    one, other = [run for run in manifest.runs if run.eval_id][:2]
    damaged = [Store(root).run_eval_dir(one.train_id, one.eval_id) / "items.parquet"]
    damaged += [Store(root).run_dir(other.train_id) / "curve.parquet"]
    for path in damaged:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    runs = load_study(Store(root), manifest).runs.set_index("train_id")
    assert runs.loc[one.train_id, "eval_state"] == runs.loc[other.train_id, "state"] == "unreadable"
    assert f"{damaged[0]}: damaged: its SHA-256 is" in runs.loc[one.train_id, "eval_reason"]
    assert f"{damaged[1]}: damaged: its SHA-256 is" in runs.loc[other.train_id, "reason"]


def test_losses_by_example_are_loaded_where_they_are_whole(tmp_path: Path) -> None:
    """Of the report part. A run of an older record has none; one whose file was touched has none, and that is said."""
    manifest = read_manifest(Home(Path(__file__).resolve().parents[1] / "synthetic" / "results", "planted"))
    assert manifest is not None
    whole, older, damaged = (run.train_id for run in manifest.runs[:3])
    store, kept = Store(tmp_path), pd.DataFrame(
        {"part": ["tune", "report", "report"], "group": ["a", "a", "b"], "example_id": ["1", "2", "2"], "loss_sum": [9.0, 1.5, 2.0],
         "tokens": [3, 1, 2]}
    )  # fmt: skip
    for run in (whole, older, damaged):
        shutil.copytree(Path(__file__).resolve().parents[1] / "synthetic" / "results" / "runs" / run, store.run_dir(run))
        record = store.read_run(run)
        assert record is not None
        if run != older:
            store.write_run(record.model_copy(update={"parts": record.parts | {"examples": store.write_examples(run, kept)}}))
    file = store.run_dir(damaged) / "examples.parquet"
    file.write_bytes(file.read_bytes()[:-1])
    frames = load_study(store, manifest.model_copy(update={"runs": manifest.runs[:3]}))
    found = frames.examples(whole)
    assert found is not None
    assert (found.ids.to_pylist(), found.sums.tolist(), found.tokens.tolist()) == (["a/2", "b/2"], [1.5, 2.0], [1.0, 2.0])
    assert frames.examples(older) is None and frames.examples(damaged) is None
    assert [one for one in frames.damaged if one.startswith(f"run {damaged} has no readable losses by example: {file}: damaged")]
    assert frames.runs["state"].tolist() == ["done"] * 3


def test_a_run_scored_in_two_ways_has_its_curve_once() -> None:
    root = Path(__file__).resolve().parents[1] / "synthetic" / "results"
    manifest = read_manifest(Home(root, "planted"))
    assert manifest is not None
    first, store = manifest.runs[0], Store(root)
    twice = load_study(store, manifest.model_copy(update={"runs": (first, first.model_copy(update={"eval_id": None}))}))
    curve = store.read_curve(first.train_id)
    assert len(twice.runs) == 2 and curve is not None
    pd.testing.assert_frame_equal(twice.curves.drop(columns="train_id"), curve)
    assert [name for name, _ in curves_by_run(twice.curves)] == [first.train_id]
    assert [*curves_by_run(twice.curves[:0])] == []
