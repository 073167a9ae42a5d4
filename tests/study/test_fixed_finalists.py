"""What a study of finalists says beside its verdict: fixed choices of the rate, the search that it is given, blocks without any."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from planting import Planter, opened_in, plant

from olora_bench.analysis import StudyFrames, Tables, analyse, load_study
from olora_bench.analysis.outcome import Verdict, outcomes
from olora_bench.analysis.reasons import GivenSearch, NoFiniteFinalist, RestsOnRate
from olora_bench.config import Experiment
from olora_bench.store import Store
from olora_bench.study.manifest import read_manifest
from olora_bench.study.open import OpenStudy
from olora_bench.study.sweep import sweep_study
from olora_bench.words.reasons import worded
from olora_bench.words.verdicts import facts, headline

SIX = """
protocol: tuned
contrasts: [{arm: olora, reference: lora, kind: primary}]
grids: [{init: [lora, olora]}]
tuning: {criterion: tune_loss, lrs: [1.0e-4, 3.16e-4, 1.0e-3], seeds: [0], refinement: parabola, finalists: 3}
seeds: {looks: [6]}
"""
Report = Callable[[Experiment], float | None]
Analyse = Callable[[Report], tuple[StudyFrames, Tables]]


def bowl(experiment: Experiment) -> float:
    best = -3.5 + (experiment.seed % 5 - 2) / 10 * (experiment.seed >= 10)
    return 1 + (math.log10(experiment.lr) - best) ** 2


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Analyse:
    """The frames and tables of a study whose runs have planted report losses; a loss of None is a diverged run."""
    file = opened_in(tmp_path_factory.mktemp("composed"), SIX).file

    def make(report: Report) -> tuple[StudyFrames, Tables]:
        shutil.rmtree(file.results_dir, ignore_errors=True)
        opened = OpenStudy(file, Store(file.results_dir))
        sweep_study(opened, Planter(opened, lambda one: None if one.seed >= 10 and report(one) is None else bowl(one)), file.overrides)
        for job in opened.grids().jobs:
            if job.experiment.seed >= 10 and (loss := report(job.experiment)) is not None:
                plant(job.what, 0.0, metrics={"tune_loss": bowl(job.experiment), "report_loss": loss})
        manifest = read_manifest(opened.home)
        assert manifest is not None
        frames = load_study(opened.store, manifest)
        return frames, analyse(frames, np.random.default_rng(0))

    return make


@pytest.fixture(scope="module")
def better(analysed: Analyse) -> tuple[StudyFrames, Tables]:
    """olora's loss is lower by 0.05 nats at every finalist."""
    return analysed(lambda one: olora_gains(one, 0.05))


def olora_gains(experiment: Experiment, gain: float) -> float:
    """2 nats, olora's lower by the gain, which seeds move a little."""
    moved = (experiment.seed % 3 - 1) / 1000
    return 2 - (gain + moved) * (experiment.arm == "olora")


def test_a_verdict_that_every_fixed_finalist_shares_says_which_search_it_is_given(better: tuple[StudyFrames, Tables]) -> None:
    _, tables = better
    table = tables["finalists"]
    assert table["place"].tolist() == ["kept", "-1", "0", "+1"] and table["agrees"].all() and set(table["blocks"]) == {6}
    assert table["loss_difference"].tolist() == pytest.approx([-0.05] * 4, abs=1e-3)
    (reasons,) = tables["verdicts"]["reasons"]
    assert GivenSearch((("lora", 3), ("olora", 3))) in reasons and not any(
        isinstance(one, RestsOnRate | NoFiniteFinalist) for one in reasons
    )
    assert tables["verdicts"]["verdict"].tolist() == ["better"]
    assert worded(GivenSearch((("lora", 3), ("olora", 5)))) == "given this search (runs of it: lora 3, olora 5)"


def test_a_kept_gain_that_is_none_at_a_fixed_finalist_rests_on_the_choice_of_rate(analysed: Analyse) -> None:
    _, tables = analysed(lambda one: olora_gains(one, -0.05 if one.lr > 5e-4 and one.seed != 14 else 0.05))
    assert tables["finalists"].set_index("place")["agrees"].to_dict() == {"kept": True, "-1": True, "0": True, "+1": False}
    (reasons,) = tables["verdicts"]["reasons"]
    assert RestsOnRate("olora", 3, ((1, 0),), scored=False) in reasons


@pytest.mark.parametrize(
    ("finalists", "sides", "scored", "said"),
    [
        (3, ((0, 0), (1, 0)), True, "unresolved at the middle and the highest of the three finalists, held fixed (scores were taken of "
         "kept runs alone)"),
        (3, ((-1, 1),), False, "higher for olora at the lowest of the three finalists, held fixed"),
        (5, ((-2, -1), (-1, 0), (0, 0), (1, 0)), False, "unresolved at the second lowest, the middle and the second highest, lower for "
         "olora at the lowest of the five finalists, held fixed"),
    ],
)  # fmt: skip
def test_a_fixed_choice_that_says_other_is_told_of_the_loss(
    finalists: int, sides: tuple[tuple[int, int], ...], scored: bool, said: str
) -> None:
    assert worded(RestsOnRate("olora", finalists, sides, scored)) == f"the held-out loss is {said}"


def test_what_rests_on_the_rate_is_said_with_the_loss_and_not_of_a_verdict_by_score(analysed: Analyse) -> None:
    _, tables = analysed(lambda one: olora_gains(one, -0.05 if one.lr > 5e-4 and one.seed != 14 else 0.05))
    (judged,) = outcomes(tables["verdicts"])
    rests = "the held-out loss is unresolved at the highest of the three finalists, held fixed"
    assert headline(judged).lower().count(rests) == 1 and rests not in facts(judged, pd.DataFrame(), pd.DataFrame())
    beside = replace(judged, by_loss=False, verdict=Verdict.EQUIVALENT, score=judged.loss, margin=1.0)
    assert rests not in headline(beside).lower() and facts(beside, pd.DataFrame(), pd.DataFrame())[-1] == rests


def test_kept_runs_are_paired_by_seed_whatever_their_rates(better: tuple[StudyFrames, Tables]) -> None:
    """A cell shows the rate that the search chose, of which the kept ones are neighbours."""
    frames, tables = better
    kept = frames.runs[frames.runs["roles"] == "finalist tuned"]
    assert len(set(kept["lr"])) == 3 and len(kept) == 12
    assert len(tables["pairs"]) == 6 and set(tables["pairs"]["cell_lr_arm"]) == {3.16e-4}
    assert tables["pairs"]["pair"].eq("complete").all()


def test_a_block_without_a_finite_finalist_leaves_the_contrast_unresolved(analysed: Analyse) -> None:
    _, tables = analysed(lambda one: None if (one.arm, one.seed) == ("olora", 12) else olora_gains(one, 0.05))
    (verdict,), (reasons,) = tables["verdicts"]["verdict"], tables["verdicts"]["reasons"]
    assert verdict == "unresolved" and NoFiniteFinalist(1) in reasons
    assert worded(NoFiniteFinalist(1)) == "in 1 block of one arm every finalist diverged, so that there is none to keep"


def test_a_diverged_finalist_drops_its_pair_at_that_place_alone(analysed: Analyse) -> None:
    _, tables = analysed(lambda one: None if one.lr > 5e-4 and one.seed == 10 else olora_gains(one, 0.05))
    table = tables["finalists"].set_index("place")
    assert table["blocks"].to_dict() == {"kept": 6, "-1": 6, "0": 6, "+1": 5} and table["diverged"].to_dict()["+1"] == 1
    assert tables["verdicts"]["diverged"].tolist() == [0]


def test_rates_beside_a_search_have_no_criterion_of_it(better: tuple[StudyFrames, Tables]) -> None:
    """A finalist's loss is read on its block's own tune part: it is no point of the search's curve."""
    _, tables = better
    rates = tables["rates"].set_index("lr")
    assert rates.loc[1.78e-4, "tune"].isna().all() and rates.loc[3.16e-4, "tune"].tolist() == pytest.approx([1.0, 1.0], abs=1e-6)
