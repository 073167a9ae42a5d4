"""By loss, nothing is shown against an arm whose best rate lies at an edge of its finalists; looks that turn on it replay from records."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planting import Planter, opened_in

from olora_bench.analysis import StudyFrames, Tables, analyse, load_study
from olora_bench.analysis.caveats import PairsOfOneArm
from olora_bench.analysis.cells import seed_differences
from olora_bench.analysis.choices import Choices, at_edge, choices
from olora_bench.analysis.compared import compared
from olora_bench.analysis.outcome import outcomes
from olora_bench.analysis.pairs import pairs
from olora_bench.analysis.reasons import BestAtEdge, BestUnknown, NothingFound
from olora_bench.analysis.variances import seen
from olora_bench.config import Experiment
from olora_bench.store import Store
from olora_bench.study.expand import StudyFile
from olora_bench.study.manifest import read_manifest
from olora_bench.study.open import OpenStudy
from olora_bench.study.sweep import sweep_study
from olora_bench.words.reasons import worded
from olora_bench.words.verdicts import headline
from tests.committed_results import read

NODE = """
protocol: tuned
contrasts: [{arm: olora, reference: lora, kind: primary}]
grids: [{init: [lora, olora]}]
tuning: {criterion: tune_loss, lrs: [1.0e-4, 3.16e-4, 1.0e-3], seeds: [0], refinement: parabola, finalists: 3}
margin: {loss: 0.1}
seeds: {looks: [6, 8]}
"""
SETTLES = 16
"""From this seed on, which the second look adds, every best rate lies in the middle, and far below its neighbours."""


def tune_loss(experiment: Experiment, edge: str) -> float:
    """The search finds 3.16e-4; the blocks of the arm `edge` say that 5.62e-4 is better, the highest of the finalists."""
    lr, seed = math.log10(experiment.lr), experiment.seed
    if seed < 10 or seed >= SETTLES or experiment.arm != edge:
        return 1 + (20 if seed >= SETTLES else 1) * (lr + 3.5) ** 2
    return 1 + (lr + 3.2 + (seed % 3 - 1) / 50) ** 2


def report_loss(experiment: Experiment, worse: float) -> float:
    return 2 + (worse + (experiment.seed % 3 - 1) / 1000) * (experiment.arm == "olora") + experiment.lr


def planter(opened: OpenStudy, edge: str, worse: float) -> Planter:
    """olora ends higher by `worse` nats."""

    def changes(one: Experiment) -> dict[str, object]:
        losses = {"tune_loss": tune_loss(one, edge), "report_loss_start": 4.0, "report_loss": report_loss(one, worse)}
        return {"metrics": losses if one.seed >= 10 else {"tune_loss": losses["tune_loss"]}}

    return Planter(opened, partial(tune_loss, edge=edge), changes)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> StudyFile:
    return opened_in(tmp_path_factory.mktemp("edges"), NODE).file


Swept = Callable[[str, float], tuple[StudyFrames, Tables]]


@pytest.fixture(scope="module")
def swept(file: StudyFile) -> Swept:
    """The frames and tables of the study, made anew to its end."""

    def make(edge: str, worse: float) -> tuple[StudyFrames, Tables]:
        shutil.rmtree(file.results_dir, ignore_errors=True)
        opened = OpenStudy(file, Store(file.results_dir))
        sweep_study(opened, planter(opened, edge, worse), file.overrides)
        return told(file)

    return make


def told(file: StudyFile) -> tuple[StudyFrames, Tables]:
    manifest = read_manifest(file.home)
    assert manifest is not None
    frames = load_study(Store(file.results_dir), manifest)
    return frames, analyse(frames, np.random.default_rng(0))


@given(st.lists(st.floats(0, 9) | st.just(math.inf), min_size=3, max_size=7))
def test_the_least_of_some_losses_is_at_an_edge_where_none_inside_is_as_low(losses: list[float]) -> None:
    assert bool(at_edge(np.array(losses))) == (min(losses) not in losses[1:-1]) == bool(at_edge(np.array(losses[::-1])))


def finalists_of(*blocks: list[float]) -> Choices:
    return Choices({"cell": pd.DataFrame(blocks, index=pd.Index(range(len(blocks)), name="seed"), columns=[1e-4, 1.78e-4, 3.16e-4])}, {})


@pytest.mark.parametrize(
    ("blocks", "edge", "unknown"),
    [
        ([[2.0, 1.0, 2.0]] * 5 + [[2.0, math.inf, 2.5]], False, False),
        ([[2.0, 1.0, 0.5]] * 5 + [[2.0, 1.0, math.inf]], True, False),
        ([[2.0, 1.0, math.inf]] * 6, False, False),
        ([[1.0, 2.0, math.inf]] * 6, True, False),
        ([[1.0, math.inf, 2.0]] * 6, True, False),
        ([[2.0, 1.0, 2.0]] * 3 + [[2.0, 1.0, math.inf], [2.0, math.inf, 2.0], [math.inf, 1.0, 2.0]], True, True),
        ([[2.0, 1.0, 2.0]] * 5 + [[math.inf] * 3], True, True),
        ([[2.0, 1.0, math.nan]] * 6, True, True),
    ],
)  # fmt: skip
def test_a_finalist_that_diverged_counts_as_the_worst_of_its_block(blocks: list[list[float]], edge: bool, unknown: bool) -> None:
    one = finalists_of(*blocks)
    assert (one.arm_at_edge, one.arm_unknown, one.reference_at_edge) == (edge, unknown, False)


def test_an_arm_whose_rates_all_diverged_somewhere_is_told_apart_from_one_at_an_edge() -> None:
    assert worded(BestUnknown(("olora",), by_loss=True)) == (
        "each finalist of olora diverged in some block, so that the best rate is not known, and the loss may be lower beyond: nothing is "
        "shown against that"
    )


@pytest.mark.parametrize(
    ("edge", "worse", "look", "verdict", "low", "high"),
    [
        ("none", 0.5, 1, "worse", math.isfinite, math.isfinite),
        ("olora", 0.5, 2, "worse", math.isfinite, math.isfinite),
        ("lora", 0.5, 1, "worse", math.isfinite, math.isinf),
        ("olora", -0.5, 1, "better", math.isinf, math.isfinite),
        ("lora", -0.5, 2, "better", math.isfinite, math.isfinite),
        ("none", 0.0, 1, "equivalent", math.isfinite, math.isfinite),
        ("olora", 0.0, 2, "equivalent", math.isfinite, math.isfinite),
        ("lora", 0.0, 2, "equivalent", math.isfinite, math.isfinite),
    ],
)  # fmt: skip
def test_what_speaks_against_an_arm_at_an_edge_waits_until_its_best_lies_inside(
    swept: Swept, edge: str, worse: float, look: int, verdict: str, low: Callable[[float], bool], high: Callable[[float], bool]
) -> None:
    """The first look decides all else: 0.5 nats are far beyond the margin of 0.1, and none are inside it."""
    _, tables = swept(edge, worse)
    (row,) = tables["verdicts"].to_dict("records")
    assert (row["verdict"], row["look"]) == (verdict, look)
    assert low(row["loss_low"]) and high(row["loss_high"])
    assert (BestAtEdge((edge,), by_loss=True) in row["reasons"]) == (edge != "none" and look == 1)


def test_a_look_at_an_edge_decides_nothing_and_says_why(swept: Swept) -> None:
    frames, _ = swept("olora", 0.5)
    first = replace(frames, runs=frames.runs[frames.runs["seed"] < SETTLES].reset_index(drop=True))
    (judged,) = outcomes(analyse(first, np.random.default_rng(0))["verdicts"])
    why = "n these blocks the best rate of olora, in the mean, lies at an edge of the finalists, and the loss may be lower beyond"
    assert (judged.verdict, judged.p, judged.loss.low, BestAtEdge(("olora",), by_loss=True, more=True) in judged.reasons) == (
        "unresolved", 1.0, -math.inf, True,
    )  # fmt: skip
    assert f"{why}: nothing is shown against that; a new study should have 5 finalists" in headline(judged)
    assert "interval −∞ to +0.5" in headline(judged) and "four times in five" not in headline(judged)
    assert math.isnan(judged.loss.found) and not any(isinstance(one, NothingFound) for one in judged.reasons)


def test_blocks_of_later_looks_play_no_part_in_an_edge(swept: Swept) -> None:
    frames, _ = swept("olora", 0.5)
    (one,) = compared(frames, pairs(frames), seed_differences(frames, pairs(frames)))
    found = choices(frames, one.comparison, one.pairs)
    assert found is not None
    assert [(at.arm_at_edge, at.reference_at_edge) for at in (found.before(SETTLES), found)] == [(True, False), (False, False)]


def test_the_variances_that_records_tell_are_of_what_blocks_kept(swept: Swept) -> None:
    frames, _ = swept("olora", 0.5)
    kept = frames.runs[frames.runs["roles"] == "finalist tuned"].pivot(index="seed", columns="arm", values="metrics.report_loss")
    of_kept = float((kept["olora"] - kept["lora"]).var())
    middle = frames.runs[(frames.runs["lr"] == 3.16e-4) & (frames.runs["seed"] >= 10)].pivot(
        index="seed", columns="arm", values="metrics.report_loss"
    )
    assert seen(frames)["olora", "lora"].errors.seed == pytest.approx(of_kept) != float((middle["olora"] - middle["lora"]).var())


def test_a_verdict_by_score_is_as_it_is_and_the_edge_stands_beside_the_loss() -> None:
    (row,) = read("headline").tables["verdicts"].to_dict("records")
    assert row["verdict"] == "equivalent" and math.isfinite(row["loss_low"])
    assert BestAtEdge(("lora", "olora"), by_loss=False) in row["reasons"]
    assert worded(BestAtEdge(("lora", "olora"), by_loss=False)) == (
        "on these blocks the best rate of lora and olora, in the mean, lies at an edge of the finalists, and the loss may be lower beyond"
    )


@pytest.mark.parametrize("runs", [pytest.param(1, marks=pytest.mark.slow), 11])
def test_a_study_at_an_edge_killed_every_few_runs_is_the_study_that_was_left_alone(file: StudyFile, swept: Swept, runs: int) -> None:
    """Search, finalists, the look that an edge holds open, the next one: the same manifest, and the same verdict."""

    class Killed(BaseException):
        pass

    _, whole = swept("olora", 0.5)
    manifest, kills = (file.results_dir / file.study.name / "manifest.json").read_bytes(), 0
    shutil.rmtree(file.results_dir)
    while True:
        opened, left = OpenStudy(file, Store(file.results_dir)), runs
        mine = planter(opened, "olora", 0.5)
        tuned = mine.outcome

        def dying(one: Experiment, tuned: Callable[[Experiment], object] = tuned) -> float:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            value = tuned(one)
            assert isinstance(value, float)
            return value

        mine.outcome = dying
        try:
            sweep_study(opened, mine, file.overrides)
        except Killed:
            kills += 1
        else:
            break
    assert kills == (len(opened.grids().jobs) - 1) // runs and {job.experiment.seed for job in opened.grids().jobs} == {0, *range(10, 18)}
    assert (file.results_dir / file.study.name / "manifest.json").read_bytes() == manifest
    pd.testing.assert_frame_equal(told(file)[1]["verdicts"], whole["verdicts"])


def test_a_block_that_has_kept_no_finalist_yet_is_a_missing_pair(swept: Swept) -> None:
    """Of olora's blocks the last of the first look lacks a finalist: planned, and not all done."""
    frames, _ = swept("none", 0.05)
    first = frames.runs[frames.runs["seed"] < SETTLES]
    block = (first["arm"] == "olora") & (first["seed"] == SETTLES - 1)
    runs = first.assign(roles=first["roles"].mask(block, "finalist"))
    tables = analyse(replace(frames, runs=runs, looks=()), np.random.default_rng(0))
    pair = tables["pairs"].set_index("seed")["pair"].to_dict()
    assert pair == dict.fromkeys(range(10, SETTLES - 1), "complete") | {SETTLES - 1: "incomplete"}
    (verdict,) = tables["verdicts"].to_dict("records")
    assert (verdict["pairs_planned"], verdict["pairs_missing"], verdict["loss_blocks"]) == (6, 1, 5)
    assert not [one for one in tables["warnings"]["caveat"] if isinstance(one, PairsOfOneArm)]
    assert verdict["judged_by"] == "report_loss"
    both = first.assign(roles=first["roles"].mask(first["seed"] == SETTLES - 1, "finalist"))
    (verdict,) = analyse(replace(frames, runs=both, looks=()), np.random.default_rng(0))["verdicts"].to_dict("records")
    assert (verdict["judged_by"], verdict["pairs_missing"], verdict["loss_blocks"]) == ("report_loss", 1, 5), "of neither arm"
