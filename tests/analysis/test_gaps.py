"""What is not there, or not alike, is said in words, in a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats

from olora_bench.analysis import StudyFrames, Tables, analyse, gaps, one_answer_pays
from olora_bench.analysis.answers import Answered
from olora_bench.analysis.claims import judge
from olora_bench.analysis.cost_pairs import cost_pairs
from olora_bench.analysis.outcome import Verdict
from olora_bench.analysis.reasons import (
    ArmsAbsent,
    EqualDifferences,
    ExamplesUnread,
    ItemsDiffer,
    ItemsUnread,
    JudgedByLoss,
    PairsMissing,
    RunsDiffer,
    SeedLacks,
    TooFewSeeds,
)
from olora_bench.analysis.scopes import About
from olora_bench.report import table_files
from olora_bench.report.published import read_claims
from olora_bench.store.manifest import Contrast
from olora_bench.study.names import Home
from olora_bench.words.caveats import worded
from olora_bench.words.reasons import listed

Load = Callable[[str], tuple[StudyFrames, Tables]]


def again(frames: StudyFrames) -> dict[str, pd.DataFrame]:
    return analyse(frames, np.random.default_rng(0))


def said(tables: Tables) -> str:
    return table_files(tables)["warnings.csv"].decode()


def test_each_seed_that_lacks_a_pair_is_named(synthetic: Load) -> None:
    found = synthetic("broken")[1]["coverage"].set_index("model")
    counts = ["planned", "complete", "diverged", "failed", "missing", "unscored"]
    assert found.loc["syn_c", counts].tolist() == [7, 3, 1, 2, 1, 1]
    assert listed(found.loc["syn_c", "lacking"]) == (
        "seed 0: olora diverged; seed 1: olora failed; seed 2: lora missing; seed 3: olora unreadable; seed 4: lora scores unreadable"
    )
    assert found.loc["syn_d", "lacking"] == (SeedLacks(2, (("lora", "missing"),), scores=False),)


def test_trainings_that_are_scored_in_two_ways_are_reported(synthetic: Load) -> None:
    """As `suite.limit: [10, 20]` in a grid makes: each training stands twice among the runs, once a cell."""
    frames, tables = synthetic("whole")
    runs = frames.runs
    other = runs.assign(cell=runs["cell"] + "-other", base_eval_id=runs["base_eval_id"] + "-other")
    found = again(replace(frames, runs=pd.concat([runs, other], ignore_index=True)))
    assert len(found["pairs"]) == 2 * len(tables["pairs"])
    of_pairs = [cost_pairs(frames, one["pairs"], one["run_measures"]) for one in (found, tables)]
    assert len(of_pairs[0]) == len(of_pairs[1]) > 0
    judged = judge(read_claims(Path("results/published/claims")), frames, found, np.random.default_rng(0))
    assert len(judged) == 13


def test_no_records_leave_a_row_for_every_benchmark_or_for_none(synthetic: Load) -> None:
    """Of one model no run has a record: its cells are asked what the others are. Of no model any: one row a cell, without a benchmark."""
    frames, _ = synthetic("planted")
    gone = frames.runs["model"] == "syn_b"
    runs = frames.runs.assign(state=frames.runs["state"].mask(gone, "missing"), eval_state=frames.runs["eval_state"].mask(gone, "missing"))
    kept = frames.scores[~frames.scores["train_id"].isin(runs[gone]["train_id"]) & (frames.scores["base"] != "syn_b")]
    cells = again(replace(frames, runs=runs, scores=kept))["cells"]
    lost = cells[(cells["model"] == "syn_b") & cells["primary"].astype(bool)]
    assert set(lost["benchmark"]) == {"piqa", "boolq", "winogrande", "openbookqa"} and set(lost["verdict"]) == {"no verdict"}
    assert set(lost["reasons"]) == {(PairsMissing(6, 6), TooFewSeeds(0, 3))}
    nothing = runs.assign(state="missing", eval_state="missing")
    tables = again(replace(frames, runs=nothing, scores=frames.scores.iloc[:0], curves=frames.curves.iloc[:0]))
    assert tables["cells"]["benchmark"].isna().all() and set(tables["cells"]["verdict"]) == {"no verdict"}
    assert "no run of this study has a record yet" in said(tables)


def test_one_arm_only(synthetic: Load) -> None:
    frames, _ = synthetic("planted")
    tables = again(replace(frames, runs=frames.runs[frames.runs["arm"] == "lora"]))
    verdict = tables["verdicts"].iloc[0]
    assert (verdict["verdict"], verdict["judged_by"]) == ("not enough runs", "nothing")
    assert verdict["reasons"] == (ArmsAbsent(("olora",)),)
    assert "olora vs lora,the study has no run of olora" in said(tables)


def test_unequal_seeds(synthetic: Load) -> None:
    frames, _ = synthetic("planted")
    runs = frames.runs[~((frames.runs["arm"] == "olora") & (frames.runs["seed"] > 3))]
    tables = again(replace(frames, runs=runs))
    assert "shared: in 4 of 18 pairs (cell, seed) only one arm has a run: left out" in said(tables)
    assert tables["verdicts"].iloc[0]["reasons"] == (PairsMissing(4, 12),)


def test_unequal_budgets(synthetic: Load) -> None:
    frames, _ = synthetic("searched")
    cut = (frames.runs["arm"] == "olora") & (frames.runs["model"] == "syn_a") & (frames.runs["lr"] == 1e-4)
    tables = again(replace(frames, runs=frames.runs[~cut]))
    assert "syn_a, rank 8: the arms' learning rates were searched with unequal numbers of runs: lora 4, olora 3" in said(tables)


def test_a_search_without_benchmarks_is_of_the_cell_that_reports(synthetic: Load) -> None:
    """As `tuned` studies are run: what chooses a learning rate is not scored. Losses, budgets and scores stand in one row a rate."""
    frames, tables = synthetic("searched")
    tuning = frames.runs["roles"] == "tuning"
    cells = frames.runs["cell"].str.split("-").str[0] + "-unscored"
    runs = frames.runs.assign(
        cell=frames.runs["cell"].mask(tuning, cells), eval_state=frames.runs["eval_state"].mask(tuning, "none"),
        base_eval_id=frames.runs["base_eval_id"].mask(tuning, None),
    )  # fmt: skip
    scores = frames.scores[~frames.scores["train_id"].isin(runs[tuning]["train_id"])]
    found = again(replace(frames, runs=runs, scores=scores))
    pd.testing.assert_frame_equal(*(one["rates"].drop(columns=["score", "n_score"]) for one in (found, tables)))
    pd.testing.assert_frame_equal(found["sensitivity"], tables["sensitivity"])
    with_scores = found["rates"][found["rates"]["score"].notna()]
    assert set(zip(with_scores["model"], with_scores["arm"], strict=True)) == {("syn_a", "lora"), ("syn_a", "olora"), ("syn_b", "lora")}
    assert with_scores["best"].all(), "the fresh seeds'"


def test_a_search_that_goes_on_is_said_to(synthetic: Load) -> None:
    """Its arm has no tuned run yet, which is no gap; an arm at an edge never gets one."""
    frames, _ = synthetic("searched")
    mine = (frames.searches["model"] == "syn_a") & (frames.searches["arm"] == "olora")
    searches = frames.searches.assign(chosen=frames.searches["chosen"].mask(mine))
    early = (frames.runs["model"] == "syn_a") & (frames.runs["arm"] == "olora") & (frames.runs["roles"] == "tuned")
    text = said(again(replace(frames, runs=frames.runs[~early], searches=searches)))
    assert 'olora vs lora,"tuned: no pair yet, the learning-rate search of olora goes on"' in text
    assert "tuned: in 3 of 6 pairs (cell, seed) only one arm has a run: left out" in said(synthetic("searched")[1])


@pytest.mark.parametrize("eval_state", ["none", "done"])
def test_where_no_benchmark_is_asked_the_loss_decides(synthetic: Load, eval_state: str) -> None:
    """No suite at all, or one that has answers written: olora_plus_x4 ends 0.1 nats lower in six of six blocks; scipy's paired t."""
    frames, _ = synthetic("whole")
    contrasts = (Contrast(arm="olora_plus_x4", reference="olora", kind="primary"),)
    runs = frames.runs.assign(eval_state=eval_state)
    runs["base_eval_id"] = None if eval_state == "none" else runs["base_eval_id"]
    tables = again(replace(frames, runs=runs, scores=frames.scores.iloc[:0], contrasts=contrasts))
    row = tables["verdicts"].set_index("role").loc["tuned"]
    assert (row["verdict"], row["judged_by"], row["blocks"], row["blocks_for"]) == (Verdict.BETTER, "report_loss", 0, 6)
    assert row["p"] == row["loss_p"] == row["p_holm"] and row["pairs_missing"] == 0
    losses = runs[(runs["roles"] == "tuned") & runs["longest"]].pivot_table(index="seed", columns="arm", values="metrics.report_loss")
    want = stats.ttest_rel(losses["olora_plus_x4"], losses["olora"])
    assert row["p"] == pytest.approx(want.pvalue) and not row["loss_new_items"]
    assert row["reasons"] == (JudgedByLoss(), ExamplesUnread(12, 12)) and np.isnan(row["difference"])
    assert tables["cells"].empty


def test_an_edge_of_a_shorter_schedule_blocks_no_headline(synthetic: Load) -> None:
    frames, _ = synthetic("whole")
    short = set(frames.runs[~frames.runs["longest"]]["cell"].str.split("-").str[0])
    searches = frames.searches.assign(chosen=frames.searches["chosen"].mask(frames.searches["cell"].isin(short)))
    assert again(replace(frames, searches=searches))["verdicts"].iloc[0]["verdict"] == "unresolved"
    everywhere = again(replace(frames, searches=frames.searches.assign(chosen=np.nan)))["verdicts"].iloc[0]
    assert (everywhere["verdict"], everywhere["open_searches"]) == ("no verdict", 2)


def test_scores_of_two_machines_are_no_fair_comparison_unsaid(synthetic: Load) -> None:
    """Trained alike, but olora's runs were scored elsewhere."""
    frames, _ = synthetic("planted")
    where = frames.runs["arm"].map({"lora": "cpu torch 2.13.0", "olora": "cuda torch 2.13.0", "olora_plus": "cuda torch 2.13.0"})
    tables = again(replace(frames, runs=frames.runs.assign(scored_on=where)))
    reasons = tables["verdicts"].set_index("contrast")["reasons"]
    differ = RunsDiffer("scored on", ("cpu torch 2.13.0", "cuda torch 2.13.0"))
    assert reasons.to_dict() == {"olora vs lora": (differ,), "olora_plus vs olora": (EqualDifferences(),)}
    assert "the runs do not share one scored on: cpu torch 2.13.0, cuda torch 2.13.0" in said(tables)


def test_a_run_listed_twice_is_said_in_the_table_and_counted_once() -> None:
    from pathlib import Path

    from olora_bench.analysis import load_study
    from olora_bench.store import Store
    from olora_bench.study.manifest import read_manifest

    root = Path(__file__).resolve().parents[1] / "synthetic" / "results"
    manifest = read_manifest(Home(root, "planted"))
    assert manifest is not None
    twice = again(load_study(Store(root), manifest.model_copy(update={"runs": (*manifest.runs, manifest.runs[0])})))
    assert f"run {manifest.runs[0].train_id} is listed twice in the manifest: counted once" in said(twice)
    once = again(load_study(Store(root), manifest))
    assert all(twice[name].equals(once[name]) for name in ("verdicts", "cells", "speedups"))


@pytest.mark.parametrize(
    ("device", "gpus", "processor"),
    [("cpu", [], "x86"), ("cuda", ["H100"], "H100"), ("cuda:0", ["H200", "H200"], "H200"), ("cpu", ["H100"], "x86")],
)
def test_the_processor_of_a_run_is_what_did_the_arithmetic(device: str, gpus: list[str], processor: str) -> None:
    """Two cards in machines with the same CPU are two machines."""
    from olora_bench.analysis.provenance import processor as of

    assert of({"device": device, "hardware": {"processor": "x86", "gpus": gpus}}) == processor


def test_one_sided_clipping_is_said(synthetic: Load) -> None:
    """Where one arm's gradient is clipped at every step and the other's never; not where both are clipped alike."""
    frames, tables = synthetic("planted")
    assert "clipped" not in said(tables)
    runs = frames.runs.assign(clipped_step_share=(frames.runs["arm"] == "olora").astype(float))
    assert "the gradient was clipped in 100% of the arm's steps and in 0% of the reference's" in said(again(replace(frames, runs=runs)))
    whole, _ = synthetic("whole")
    short = (whole.runs["arm"] == "olora") & ~whole.runs["longest"]
    assert "clipped" not in said(again(replace(whole, runs=whole.runs.assign(clipped_step_share=short.astype(float)))))


def leaning(frames: StudyFrames, hidden: str | None = None) -> StudyFrames:
    """The frames of items of which 30 of 40 have the second answer for gold, and olora gives it to all; one run's items are hidden."""
    olora = set(frames.runs[frames.runs["arm"] == "olora"]["train_id"])

    def answers(run: str | None, base: str | None, scoring: str) -> dict[str, Answered] | None:
        found = None if run == hidden else frames.answers(run, base, scoring)
        if found is None:
            return None
        gave = {1: 40} if run in olora else {0: 36, 1: 4}
        return {name: replace(items, gold={1: 30, 0: 10}, prediction=gave, prediction_norm=gave) for name, items in found.items()}

    return replace(frames, answers=answers)


def test_what_one_answer_to_every_item_scores_and_how_often_each_arm_gave_it(synthetic: Load) -> None:
    """The planted items have two answers, each right in half of them: nothing to warn of. Then one is right in three quarters."""
    frames, tables = synthetic("planted")
    assert tables["cells"]["constant"].dropna().unique().tolist() == [50]
    assert "the same answer to every item" not in said(tables)
    cells = again(leaning(frames))["cells"]
    mine = cells[(cells["contrast"] == "olora vs lora") & cells["constant"].notna()]
    assert mine["constant"].unique().tolist() == [75] and len(mine)
    assert mine["gave_arm"].unique().tolist() == [100] and mine["gave_reference"].unique().tolist() == [10]


def test_a_benchmark_on_which_one_answer_would_do_better_is_said(synthetic: Load) -> None:
    frames, _ = synthetic("planted")
    told = said(again(leaning(frames)))
    assert "on boolq no arm's mean of syn_a (50.0 at most) reaches what the same answer to every item scores (75.0)" in told
    assert "on piqa no arm's mean of syn_a (72.5 at most)" in told
    unread = again(replace(frames, answers=lambda *_: None))
    assert unread["cells"][["constant", "gave_arm", "gave_reference"]].isna().all(axis=None)
    assert "the same answer to every item" not in said(unread)


def test_items_of_one_run_that_cannot_be_read_hide_nothing(synthetic: Load) -> None:
    frames, _ = synthetic("planted")
    hidden = str(frames.runs[(frames.runs["arm"] == "olora")]["train_id"].iloc[0])
    whole, partial = again(leaning(frames)), again(leaning(frames, hidden))
    for name in ("constant", "gave_arm", "gave_reference"):
        assert partial["cells"][name].equals(whole["cells"][name])
    assert said(partial).count("the same answer to every item") == said(whole).count("the same answer to every item") > 0


def test_one_answer_pays_where_luck_is_ruled_out() -> None:
    """BoolQ's yes, 60.7 of 300 items at chance 50; not the most frequent of four places of the gold answer."""
    cells = pd.DataFrame({"constant": [60.7, 28.3, np.nan], "chance": [50.0, 25.0, 50.0], "items": [300, 300, 300]})
    assert one_answer_pays(cells).tolist() == [True, False, False]


def test_items_that_cannot_be_read_leave_no_verdict_on_new_items(synthetic: Load) -> None:
    """Scores are there and answers to single items are not: the difference is known, and what it says of new items is not."""
    frames, _ = synthetic("planted")
    hidden = set(frames.runs[(frames.runs["arm"] == "olora") & (frames.runs["seed"] == 0)]["train_id"])
    tables = again(replace(frames, answers=lambda run, base, scoring: None if run in hidden else frames.answers(run, base, scoring)))
    row = tables["verdicts"].iloc[0]
    assert (row["verdict"], row["reasons"]) == (Verdict.NONE, (ItemsUnread(2, 12),))
    assert row["difference"] == pytest.approx(3.125) and np.isnan(row["low"]) and np.isnan(row["p"])
    assert set(tables["scopes"][tables["scopes"]["contrast"] == "olora vs lora"]["about"]) == {About.FLIPS, About.SEEDS}


def test_items_in_another_order_are_the_same_items(synthetic: Load) -> None:
    frames, tables = synthetic("planted")
    first = str(frames.runs[frames.runs["arm"] == "olora"]["train_id"].iloc[0])

    def turned(run: str | None, base: str | None, scoring: str) -> dict[str, Answered] | None:
        found = frames.answers(run, base, scoring)
        return found if run != first or found is None else {name: backwards(items) for name, items in found.items()}

    pd.testing.assert_frame_equal(again(replace(frames, answers=turned))["verdicts"], tables["verdicts"])


def backwards(items: Answered) -> Answered:
    def turn(bits: Any) -> Any:
        return np.packbits(np.unpackbits(bits, count=len(items.item_id))[::-1])

    ids = items.item_id.take(np.arange(len(items.item_id))[::-1])
    return replace(items, item_id=ids, correct=turn(items.correct), correct_norm=turn(items.correct_norm))


def test_a_pair_with_other_items_leaves_no_verdict_on_new_items(synthetic: Load) -> None:
    frames, _ = synthetic("planted")
    first = str(frames.runs[frames.runs["arm"] == "olora"]["train_id"].iloc[0])

    def renamed(run: str | None, base: str | None, scoring: str) -> dict[str, Answered] | None:
        found = frames.answers(run, base, scoring)
        other = pa.array([f"other {place}" for place in range(40)])
        return found if run != first or found is None else found | {"boolq": replace(found["boolq"], item_id=other)}

    row = again(replace(frames, answers=renamed))["verdicts"].iloc[0]
    assert (row["verdict"], row["reasons"]) == (Verdict.NONE, (ItemsDiffer("boolq"),))


def test_runs_that_never_warmed_up_are_said() -> None:
    """Of three done runs two end below their rate; one that failed is not counted, and a run's second row counts once."""
    runs = pd.DataFrame(
        {"train_id": ["a", "b", "b", "c", "d"], "state": ["done", "done", "done", "done", "failed"], "lr": [1e-3, 1e-2, 1e-2, 1e-3, 1e-3]}
    ).assign(stage="grid")
    curves = pd.DataFrame({"train_id": ["a", "a", "b", "b", "c", "d"], "lr": [0.0, 1e-5, np.nan, 5e-3, 1e-3, 0.0]})
    frames: Any = SimpleNamespace(runs=runs, curves=curves)
    (found,) = gaps._never_warm(frames)
    assert worded(found) == "2 of 3 runs ended at 1% to 50% of their learning rate: their warm-up was as long as their training"
    frames.curves = curves[curves["train_id"] == "c"]
    assert gaps._never_warm(frames) == []
    frames.runs, frames.curves = runs.assign(stage="as given"), curves
    assert gaps._never_warm(frames) == []
