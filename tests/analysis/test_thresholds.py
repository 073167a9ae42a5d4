"""Claims that hold a mean to a threshold: the whole interval decides, on planted values and on the planted study `whole`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from olora_bench.analysis import StudyFrames, Tables, analyse
from olora_bench.analysis.claims import judge
from olora_bench.analysis.claims.thresholds import at_most, estimated, ratio_of_means
from olora_bench.config import claims_dir
from olora_bench.report.published import read_claims
from olora_bench.words.claims import claims_table

Load = Callable[[str], tuple[StudyFrames, Tables]]
SPREAD = np.array([-2.0, -1.0, 0.0, 0.0, 1.0, 2.0])


def test_an_interval_is_scipys_t() -> None:
    found = estimated(5 + SPREAD)
    wanted = stats.t.interval(0.95, 5, 5.0, stats.sem(SPREAD))
    assert (found.mean, found.low, found.high) == pytest.approx((5.0, *wanted))


@pytest.mark.parametrize(
    ("cells", "verdict"),
    [
        ([7 + SPREAD], "supported"),
        ([9.5 + SPREAD], "unresolved"),
        ([10.5 + SPREAD], "unresolved"),
        ([13 + SPREAD], "not supported"),
        ([7 + SPREAD, 9.5 + SPREAD], "unresolved"),
        ([7 + SPREAD, 13 + SPREAD], "not supported"),
        ([7 + SPREAD[:2]], "unresolved"),
        ([np.full(3, 10.0)], "supported"),
        ([np.array([7.0, 7.5, np.nan])], "unresolved"),
    ],
)
def test_at_most_ten_needs_the_whole_interval_of_each_cell(cells: list[np.ndarray], verdict: str) -> None:
    assert at_most(cells, 10.0) == verdict


def test_that_some_cell_is_above_is_corrected_over_the_cells() -> None:
    """A t of 2.8 with 5 degrees of freedom: p 0.038, which two cells do not bear."""
    above = 10 + 2.8 * stats.sem(SPREAD) + SPREAD
    assert at_most([above], 10.0) == "not supported" and at_most([above, 7 + SPREAD], 10.0) == "unresolved"


def test_a_ratio_of_means_has_the_delta_methods_error() -> None:
    over, under = np.array([3.0, 5.0, 4.0, 8.0]), np.array([9.0, 11.0, 10.0, 14.0])
    values = ratio_of_means(over, under)
    gradient = np.array([1, -over.mean() / under.mean()]) / under.mean()
    assert values.mean() == pytest.approx(over.mean() / under.mean())
    assert stats.sem(values) ** 2 == pytest.approx(gradient @ np.cov(over, under) @ gradient / 4)


@pytest.mark.parametrize(("over", "under"), [([1.0, np.inf], [1.0, 1.0]), ([1.0, 1.0], [1.0, -1.0])])
def test_no_ratio_of_what_is_not_finite_or_not_above_0(over: list[float], under: list[float]) -> None:
    assert np.isnan(ratio_of_means(np.array(over), np.array(under))).all()


def judged(frames: StudyFrames) -> pd.DataFrame:
    claims = read_claims(claims_dir())
    found = judge(claims, frames, analyse(frames, np.random.default_rng(0)), np.random.default_rng(0))
    return claims_table(found).set_index("claim")


def changed(frames: StudyFrames, column: str, arm: str, by: np.ndarray | float) -> StudyFrames:
    """The study with this much more in the arm's tuned runs of the longest schedule, in order of seeds."""
    runs = frames.runs.copy()
    own = runs.index[(runs["arm"] == arm) & (runs["roles"] == "tuned") & runs["longest"]]
    runs.loc[own, column] = runs.loc[own, column].astype(float) + by
    return replace(frames, runs=runs)


def with_spikes(frames: StudyFrames, arm: str) -> StudyFrames:
    """The study in whose tuned runs of this arm one step of the longest schedule has a train loss of 9, two on half of the seeds."""
    runs = frames.runs[(frames.runs["arm"] == arm) & (frames.runs["roles"] == "tuned") & frames.runs["longest"]]
    curves = frames.curves.copy()
    first = {train_id: 30 - place % 2 for place, train_id in enumerate(runs["train_id"])}
    here = curves["train_id"].isin(first) & curves["step"].between(curves["train_id"].map(first), 30)
    curves.loc[here, "train_loss"] = 9.0
    return replace(frames, curves=curves)


def diverged(frames: StudyFrames, arm: str) -> StudyFrames:
    """The study in which this arm's tuning run at the highest rate diverged."""
    runs = frames.runs.copy()
    tuning = runs[(runs["arm"] == arm) & (runs["roles"] == "tuning") & runs["longest"]]
    runs.loc[tuning["lr"].idxmax(), "state"] = "diverged"
    return replace(frames, runs=runs)


def planted(frames: StudyFrames, spiky: str, *, seconds: float, memory: float, loss: float) -> StudyFrames:
    """Spikes; an init's seconds of 100 that differ by more than 1% from seed to seed; memory in shares; a loss of ratio 1/4 in nats.

    The study itself: an init takes 0.4 s more, memory is equal, ratio 1/4 keeps 97.5% of a drop of 2 nats.
    """
    frames = changed(with_spikes(frames, spiky), "init.seconds", "olora", seconds + SPREAD)
    frames = changed(frames, "peak_above_base_bytes", "olora", frames.runs["peak_above_base_bytes"].max() * (memory + SPREAD / 50))
    return changed(frames, "metrics.report_loss", "olora_plus_x0.25", loss)


@pytest.fixture(scope="module")
def near(synthetic: Load) -> pd.DataFrame:
    """Means on the good side of each threshold, which their intervals hold; LoRA has spikes and nothing diverged."""
    return judged(planted(synthetic("whole")[0], "lora", seconds=0.2, memory=0.04, loss=0.045))


@pytest.fixture(scope="module")
def beyond(synthetic: Load) -> pd.DataFrame:
    """Whole intervals on the bad side of each threshold; OLoRA has spikes, and diverged at a rate that both tried."""
    return judged(diverged(planted(synthetic("whole")[0], "olora", seconds=4.0, memory=0.1, loss=0.2), "olora"))


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ("negligible_qr_cost", "0.60% (95% interval −0.88% to 2.08%) of training; allowed: 1%, which an interval holds"),
        ("same_parameters_and_memory", "1.04 (95% interval 1.01 to 1.07) times the reference's; allowed: 1.05, which an interval holds"),
        ("ratios_both_sides", "needed: 95%, which an interval holds"),
    ],
)
def test_a_mean_whose_interval_holds_the_threshold_decides_nothing(near: pd.DataFrame, claim: str, said: str) -> None:
    assert near.loc[claim, "verdict"] == "unresolved" and near.loc[claim, "figure"].endswith(said)


def test_a_share_of_a_drop_needs_the_loss_before_training(synthetic: Load) -> None:
    frames = synthetic("whole")[0]
    said = judged(replace(frames, runs=frames.runs.assign(**{"metrics.report_loss_start": math.nan}))).loc["ratios_both_sides"]
    assert (said["verdict"], said["figure"]) == (
        "not tested here", "needs the held-out loss before training, and after it at ratio 1, below it and above it"
    )  # fmt: skip


def test_spikes_describe_where_no_rate_diverged(near: pd.DataFrame) -> None:
    spikes = "spikes a run in the paired runs: lora 1.5, olora 0.0 (difference −1.5, 95% interval −2.1 to −0.9)"
    assert near.loc["more_stable", "verdict"] == "not tested here"
    assert near.loc["more_stable", "figure"].endswith(f": no rate was high enough to tell; {spikes}, which decides nothing")


@pytest.mark.parametrize("claim", ["negligible_qr_cost", "same_parameters_and_memory", "ratios_both_sides"])
def test_a_whole_interval_beyond_the_threshold_refutes(beyond: pd.DataFrame, claim: str) -> None:
    assert beyond.loc[claim, "verdict"] == "not supported" and "which an interval holds" not in beyond.loc[claim, "figure"]


def test_spikes_decide_where_a_rate_that_both_tried_diverged(beyond: pd.DataFrame) -> None:
    assert beyond.loc["more_stable", "verdict"] == "not supported"
    # Of olora's 17 runs at these rates one is missing: it neither diverged nor did not.
    assert "olora diverged in 1 of 16 runs (at lr 1e-3) (4 learning rates" in beyond.loc["more_stable", "figure"]


def test_a_rate_that_one_arm_tried_alone_tells_nothing_of_stability(synthetic: Load) -> None:
    """LoRA's one run that diverged is at ten times the highest rate of OLoRA."""
    frames = diverged(with_spikes(synthetic("whole")[0], "lora"), "lora")
    runs = frames.runs.assign(lr=frames.runs["lr"].where(frames.runs["state"] != "diverged", 0.01))
    assert judged(replace(frames, runs=runs)).loc["more_stable", "verdict"] == "not tested here"
