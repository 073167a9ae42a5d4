"""A study with looks, from frames to words: the planted study with two models and six seeds, as if it had declared some."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from olora_bench.analysis import StudyFrames, Tables, analyse
from olora_bench.analysis import looked as looked_module
from olora_bench.analysis.cells import compare_cells, seed_differences
from olora_bench.analysis.compared import compared
from olora_bench.analysis.decided import AfterLooks, after_looks, decided
from olora_bench.analysis.design import Design, errors_of, foretold
from olora_bench.analysis.looked import _STUDIES, at_looks, stood
from olora_bench.analysis.looks import spent
from olora_bench.analysis.outcome import Verdict, outcomes
from olora_bench.analysis.paired import LEVEL
from olora_bench.analysis.pairs import pairs
from olora_bench.analysis.reasons import AtLook, ErrorOverItems
from olora_bench.analysis.scopes import scopes
from olora_bench.analysis.verdicts import confirmatory
from olora_bench.store.manifest import Margin
from olora_bench.words.verdicts import facts, headline

Planted = Callable[[str], tuple[StudyFrames, Tables]]
PLAN = (3, 4, 6)
WIDE = Margin(score=40.0)
"""Within which the planted difference lies at the first look."""


@pytest.fixture
def frames(synthetic: Planted) -> StudyFrames:
    return synthetic("planted")[0]


def analysed(frames: StudyFrames, table: str, **changed: Any) -> pd.DataFrame:
    """A table that looks are about, as `analyse` makes it."""
    frames = replace(frames, **changed)
    pair = pairs(frames)
    difference = seed_differences(frames, pair)
    seen = at_looks(frames, pair, difference)
    pair, difference = stood(frames, seen, pair), stood(frames, seen, difference)
    if table == "cells":
        return compare_cells(frames, pair, difference, seen)
    mine = compared(frames, pair, difference)
    return confirmatory(frames, mine, seen) if table == "verdicts" else scopes(mine, seen)


def verdict(frames: StudyFrames, **changed: Any) -> dict[Any, Any]:
    """The row of olora against lora."""
    return analysed(frames, "verdicts", **changed).iloc[0].to_dict()


def without(frames: StudyFrames, seeds: Callable[[pd.Series], pd.Series], **changed: Any) -> StudyFrames:
    """The study as it lies there before runs of these seeds were planned."""
    return replace(frames, runs=frames.runs[~seeds(frames.runs["seed"])].reset_index(drop=True), **changed)


def with_state(frames: StudyFrames, seed: int, state: str, **changed: Any) -> StudyFrames:
    """Every run of a seed in this state, without scores."""
    runs = frames.runs.copy()
    runs.loc[runs["seed"] == seed, ["state", "eval_state"]] = [state, "missing"]
    return replace(frames, runs=runs, **changed)


def test_one_look_is_a_study_without(frames: StudyFrames, synthetic: Planted) -> None:
    mine, known = verdict(frames, looks=(6,)), synthetic("planted")[1]["verdicts"].iloc[0].to_dict()
    moved = {name for name in known if repr(mine[name]) != repr(known[name])}
    assert moved == {"found", "found_low", "found_high", "reasons"}
    assert mine["reasons"] == (*known["reasons"], AtLook(1, 1, 6, decided=False, next=None))


def test_seeds_after_the_look_that_decided_do_not_enter(frames: StudyFrames) -> None:
    all_there = verdict(frames, looks=PLAN, margin=WIDE)
    first_alone = verdict(without(frames, lambda seed: seed >= 3), looks=PLAN, margin=WIDE)
    assert all_there["verdict"] == Verdict.EQUIVALENT and all_there["blocks"] == 6 and all_there["look_seeds"] == 3
    assert {name: repr(value) for name, value in all_there.items()} == {name: repr(value) for name, value in first_alone.items()}


@pytest.mark.parametrize("margin", [None, 10.0, 40.0])
def test_found_is_what_its_own_design_foretells(frames: StudyFrames, margin: float | None) -> None:
    """As `make plan` does: a study that ends for equivalence at an early look finds less."""
    study = replace(frames, looks=PLAN, margin=Margin(score=margin))
    pair = pairs(study)
    one = at_looks(study, pair, seed_differences(study, pair))[0]
    said = foretold(Design(PLAN, models=2, margin=margin), errors_of(one.looks[one.said.look], one.seeds, 2), studies=_STUDIES)
    row = one.columns(LEVEL)
    assert (row["found"], row["found_low"], row["found_high"]) == (said.found, said.found_low, said.found_high)


@pytest.mark.parametrize(("variance", "said"), [(1e-9, None), (2.2**2, True), (1e4, False), (float("nan"), None)])
def test_a_greater_error_over_items_alone_judges_the_looks_again(
    frames: StudyFrames, monkeypatch: pytest.MonkeyPatch, variance: float, said: bool | None
) -> None:
    """Of errors at one level, as the repeated interval and one of 95% are not."""
    monkeypatch.setattr(looked_module, "_variance_of_items", lambda one: variance)
    row = verdict(frames, looks=PLAN, margin=WIDE)
    told = [one for one in row["reasons"] if isinstance(one, ErrorOverItems)]
    assert [one.same for one in told] == ([] if said is None else [said]) and row["verdict"] == Verdict.EQUIVALENT
    for one in told:
        assert one.alone == pytest.approx(variance**0.5) and one.both < one.alone
        assert one.verdict == ("equivalent" if said else "unresolved")


def test_what_is_decided_needs_no_look_and_what_is_open_the_next(frames: StudyFrames) -> None:
    first = without(frames, lambda seed: seed >= 3, looks=PLAN)
    assert after_looks(first) == [AfterLooks("olora", "lora", None, 4)] and decided(first) == set()
    assert after_looks(replace(first, margin=WIDE)) == [AfterLooks("olora", "lora", 3, None)]
    assert decided(replace(first, margin=WIDE)) == {("olora", "lora")}
    assert after_looks(replace(frames, looks=PLAN)) == [AfterLooks("olora", "lora", None, None)]


def test_a_look_waits_for_all_its_runs(frames: StudyFrames) -> None:
    half = with_state(frames, 3, "running", looks=PLAN)
    row = verdict(half)
    assert (row["look"], row["blocks"]) == (1, 6) and row["reasons"][-1] == AtLook(1, 3, 3, decided=False, next=4)
    assert after_looks(half) == [AfterLooks("olora", "lora", None, 4)]


def test_before_the_first_look_there_are_not_enough_runs(frames: StudyFrames) -> None:
    one = outcomes(analysed(with_state(frames, 3, "running", looks=(4, 6)), "verdicts"))[0]
    assert one.verdict == Verdict.TOO_FEW_RUNS and one.look == 0
    assert headline(one).endswith("2 of 8 pairs missing, no look yet: the first of 2 needs 4 seeds a model.")


def test_a_failed_run_holds_its_look_up_until_it_is_tried_again(frames: StudyFrames) -> None:
    failed = with_state(frames, 3, "failed", looks=PLAN)
    assert verdict(failed)["look"] == 1 and after_looks(failed) == [AfterLooks("olora", "lora", None, 4)]


def test_a_diverged_run_leaves_its_contrast_unresolved_and_asks_for_no_more(frames: StudyFrames) -> None:
    lost = with_state(without(frames, lambda seed: seed >= 4), 3, "diverged", looks=PLAN)
    assert decided(lost) == {("olora", "lora")}


def test_a_look_with_fewer_than_six_blocks_decides_nothing(frames: StudyFrames) -> None:
    assert after_looks(without(frames, lambda seed: seed >= 2, looks=(2, 3, 4), margin=WIDE)) == [AfterLooks("olora", "lora", None, 3)]


def test_a_study_without_looks_has_none_of_it(synthetic: Planted) -> None:
    frames, tables = synthetic("planted")
    assert after_looks(frames) == [] and not {"look", "look_seeds", "median_unbiased"} & set(tables["verdicts"])


def test_one_number_has_one_interval(frames: StudyFrames) -> None:
    row = verdict(frames, looks=PLAN)
    same = (
        analysed(frames, "scopes", looks=PLAN)
        .query("contrast == 'olora vs lora' and measure == 'score' and about == 'new seeds and new items'")
        .iloc[0]
    )
    assert (same["low"], same["high"], same["p"], same["test"]) == (row["low"], row["high"], row["p"], "crossed, at looks")


def test_the_sign_flip_looks_too(frames: StudyFrames) -> None:
    row = analysed(frames, "scopes", looks=PLAN).query("contrast == 'olora vs lora' and measure == 'score'").iloc[-1]
    assert row["test"] == "exact sign flip, at looks" and 0 < row["p"] <= 1


def test_a_cell_pays_for_each_look(frames: StudyFrames) -> None:
    """They stop for the mean over benchmarks: its own p stays, the family's is over the share of the level that the look may spend."""
    priced, plain = (analysed(without(frames, lambda seed: seed >= 3), "cells", looks=looks) for looks in (PLAN, ()))
    family = priced["confirmatory"].astype(bool) & priced["primary"].astype(bool) & plain["p_holm"].notna()
    assert (priced["p"].dropna() == plain["p"].dropna()).all()
    assert priced[family]["p_holm"].tolist() == pytest.approx(np.minimum(plain[family]["p_holm"] / spent(PLAN)[0], 1.0).tolist())


def test_seeds_that_one_arm_alone_has_for_another_contrast_are_no_pairs(frames: StudyFrames) -> None:
    runs = frames.runs[~((frames.runs["arm"] == "lora") & (frames.runs["seed"] >= 4))]
    row = verdict(replace(frames, runs=runs.reset_index(drop=True), looks=PLAN))
    assert (row["look"], row["pairs_planned"], row["pairs_missing"]) == (2, 8, 0)


def test_a_whole_analysis_is_of_the_seeds_that_verdicts_stand_on(frames: StudyFrames) -> None:
    tables = analyse(replace(frames, looks=PLAN, margin=WIDE), np.random.default_rng(0))
    mine = tables["pairs"][tables["pairs"]["confirmatory"].astype(bool)]
    assert set(mine["seed"]) == {0, 1, 2} and set(tables["pairs"]["seed"]) == {0, 1, 2, 3, 4, 5}


def test_words_say_what_the_numbers_are(frames: StudyFrames) -> None:
    changed = {"looks": PLAN, "margin": WIDE}
    one = outcomes(analysed(frames, "verdicts", **changed))[0]
    told = headline(one)
    assert "repeated 95% interval" in told and told.endswith("Decided at look 1 of 3, 3 seeds a model.")
    lines = facts(one, pd.DataFrame(), one.comparison.rows_in(analysed(frames, "scopes", **changed)))
    assert any("sequential p = " in line for line in lines) and any(line.startswith("median-unbiased after stopping: ") for line in lines)
