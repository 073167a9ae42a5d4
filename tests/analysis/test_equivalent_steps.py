"""How many steps are worth how many, on losses that are planted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from olora_bench.analysis.comparison import comparisons
from olora_bench.analysis.crossed import crossed
from olora_bench.analysis.equivalent_steps import Worth, equivalent_steps, steps_worth
from olora_bench.analysis.estimate import Floats
from olora_bench.analysis.frames import StudyFrames
from olora_bench.analysis.reasons import PairsDiverged, PairsMissing, TooFewSeeds
from olora_bench.analysis.study import Tables

Load = Callable[[str], tuple[StudyFrames, Tables]]

TREMBLE = np.array([-2, -1, 0, 0, 1, 2]) / 100
LENGTHS = (16.0, 32.0, 64.0)
REFERENCE = [np.full((1, 6), 4.0 - 0.5 * np.log2(steps / 16)) for steps in LENGTHS]
"""Final losses that fall by 0.5 nats with each doubling of the schedule: 4.0, 3.5, 3.0."""


def arm(steps: float, factor: float) -> Floats:
    """Losses of an arm that needs 1/factor of the reference's steps."""
    return (4.0 - 0.5 * np.log2(factor * steps / 16) + TREMBLE)[None, :]


def at_speed(factor: float, steps: float = 32.0, **edges: object) -> Worth:
    return steps_worth(steps, arm(steps, factor), LENGTHS, REFERENCE, **edges)  # type: ignore[arg-type]


@pytest.mark.parametrize("factor", [0.6, 0.9, 1.5, 1.9])
def test_a_planted_factor_is_found(factor: float) -> None:
    found = at_speed(factor)
    assert found.ratio == pytest.approx(factor, rel=1e-9)
    assert found.low < factor < found.high
    assert found.verdict == ("faster" if factor > 1 else "slower")


def test_one_and_a_half_times_as_fast_is_faster_though_not_twice() -> None:
    found = at_speed(1.5)
    assert found.verdict == "faster" and found.high < 2


def test_equal_arms_are_neither_faster_nor_slower() -> None:
    found = at_speed(1.0)
    assert found.verdict == "unresolved" and found.low < 1 < found.high


def test_what_lies_beyond_the_references_schedules_is_a_bound() -> None:
    fast, slow = at_speed(3.0), at_speed(0.3)
    assert (fast.ratio, fast.low, fast.high, fast.verdict) == (np.inf, 2.0, np.inf, "faster")
    assert (slow.ratio, slow.low, slow.high, slow.verdict) == (0.0, 0.0, 0.5, "slower")


def test_the_references_shortest_length_can_show_slower_only() -> None:
    found = at_speed(0.8, steps=16.0)
    assert (found.verdict, found.low, found.high) == ("slower", 0.0, 1.0)


@pytest.mark.parametrize("steps", [24.0, 128.0])
def test_at_a_length_that_the_reference_does_not_have_nothing_is_shown(steps: float) -> None:
    """Between two of its lengths the chord lies above a convex curve, which favours the arm."""
    found = at_speed(16 / steps if steps > 64 else 1.5, steps=steps)
    assert np.isnan(found.p) and found.verdict == "unresolved"
    assert found.ratio == pytest.approx(16 / steps if steps > 64 else 1.5, rel=0.004) or found.ratio == 0


def test_an_interval_narrower_than_the_reading_is_no_open_one() -> None:
    mine = (4.0 - 0.5 * np.log2(1.505 * 32 / 16) + TREMBLE / 1e4)[None, :]
    found = steps_worth(32.0, mine, LENGTHS, REFERENCE)
    assert found.verdict == "faster" and 1.504 < found.low < 1.505 < found.high < 1.506


def test_the_interval_is_the_inverted_paired_t() -> None:
    """Linear losses: by hand, the loss's interval moved through 0.5 nats a doubling."""
    half = stats.t.ppf(0.975, 5) * TREMBLE.std(ddof=1) / np.sqrt(6)
    found = at_speed(1.5)
    assert (found.low, found.high) == pytest.approx((1.5 * 2 ** (-half / 0.5), 1.5 * 2 ** (half / 0.5)), rel=1e-6)
    assert found.p == pytest.approx(stats.ttest_1samp(arm(32, 1.5)[0] - 3.5, 0).pvalue)


def test_a_longer_schedule_of_the_reference_moves_nothing_among_the_shorter() -> None:
    short, long = at_speed(1.5), steps_worth(32.0, arm(32, 1.5), (*LENGTHS, 512.0), [*REFERENCE, REFERENCE[-1] - 1.5])
    assert (long.ratio, long.low, long.high) == pytest.approx((short.ratio, short.low, short.high), rel=1e-6)


def test_new_examples_widen_the_interval_and_at_equal_steps_the_test_is_that_of_the_loss() -> None:
    """Examples on which the arms differ by far more than seeds do; their mean is as planted."""
    rng = np.random.default_rng(5)
    spread = rng.normal(0, 1, (40, 1))
    examples = [one + 0 * spread for one in REFERENCE]
    mine = arm(32, 1.5) + spread - spread.mean()
    found, of_seeds = steps_worth(32.0, mine, LENGTHS, examples), at_speed(1.5)
    assert found.ratio == pytest.approx(of_seeds.ratio) and found.low < of_seeds.low < of_seeds.high < found.high
    assert found.p == pytest.approx(float(crossed([mine - examples[1]]).p()))


def test_nothing_is_shown_against_a_loss_that_may_be_lower_at_another_rate() -> None:
    """The slower arm's own best lies at an edge; then the faster arm's reference's, at the length that would show it and at another."""
    slow = at_speed(0.6, at_edge=True)
    assert (slow.verdict, slow.high) == ("unresolved", np.inf) and slow.ratio == at_speed(0.6).ratio
    fast = at_speed(1.5, reference_at_edge=[False, True, False])
    assert (fast.verdict, fast.low) == ("unresolved", pytest.approx(0.5, rel=0.004))
    shorter = at_speed(1.5, reference_at_edge=[True, False, False])
    assert (shorter.verdict, shorter.low) == ("unresolved", 0.0), "how far the reference is after 16 to 32 steps is not known"
    assert at_speed(1.5, reference_at_edge=[False, False, True]).verdict == "faster"
    assert at_speed(0.6, reference_at_edge=[False, True, False]).verdict == "slower", "the slower arm is so all the more"


def test_a_length_of_which_few_seeds_have_run_leaves_out_no_seed_of_the_others(synthetic: Load) -> None:
    """Of lora's 40 tuned steps one seed is done: the other lengths are read as they are, and nothing beyond them."""
    frames, tables = synthetic("whole")
    runs = frames.runs.copy()
    late = (runs["arm"] == "lora") & (runs["length"] == 40) & (runs["roles"] == "tuned") & (runs["seed"] > 10) & (runs["model"] == "syn_e")
    runs.loc[late, ["state", "metrics.report_loss"]] = ["missing", np.nan]
    found = equivalent_steps(replace(frames, runs=runs), comparisons(tables["pairs"]))
    found = found[(found["contrast"] == "olora vs lora") & (found["role"] == "tuned") & (found["model"] == "syn_e")].set_index("steps")
    assert found["seeds"].to_dict() == {10: 3, 20: 3, 40: 3}
    assert np.isnan(found.loc[40, "loss_reference"]) and found.loc[20, "loss_reference"] == pytest.approx(2.1)


def test_a_diverged_run_says_nothing(synthetic: Load) -> None:
    frames, tables = synthetic("whole")
    runs = frames.runs.copy()
    short = (runs["arm"] == "olora") & (runs["length"] == 20) & (runs["roles"] == "tuned") & (runs["seed"] == 11)
    runs.loc[short, ["state", "metrics.report_loss"]] = ["diverged", np.nan]
    found = equivalent_steps(replace(frames, runs=runs), comparisons(tables["pairs"]))
    found = found[(found["contrast"] == "olora vs lora") & (found["role"] == "tuned") & (found["model"] == "syn_e")].set_index("steps")
    assert PairsDiverged(1, 3) in found.loc[20, "reasons"]
    assert np.isnan(found.loc[20, "ratio"]) and (found.loc[20, "low"], found.loc[20, "high"]) == (0, np.inf)
    assert found.loc[20, "verdict"] == "unresolved" and found.loc[10, "verdict"] != "unresolved"


def test_two_seeds_say_nothing(synthetic: Load) -> None:
    frames, tables = synthetic("whole")
    fewer = replace(frames, runs=frames.runs[frames.runs["seed"] != 12])
    found = equivalent_steps(fewer, comparisons(tables["pairs"]))
    found = found[(found["contrast"] == "olora vs lora") & (found["role"] == "tuned") & (found["model"] == "syn_e")].set_index("steps")
    assert found.loc[20, "reasons"] == (TooFewSeeds(2, 3),) and np.isnan(found.loc[20, "ratio"])


def test_a_missing_run_is_counted(synthetic: Load) -> None:
    frames, tables = synthetic("whole")
    runs = frames.runs.copy()
    late = (
        (runs["arm"] == "olora") & (runs["length"] == 20) & (runs["roles"] == "tuned") & (runs["seed"] == 11) & (runs["model"] == "syn_e")
    )
    runs.loc[late, ["state", "metrics.report_loss"]] = ["missing", np.nan]
    found = equivalent_steps(replace(frames, runs=runs), comparisons(tables["pairs"]))
    found = found[(found["contrast"] == "olora vs lora") & (found["role"] == "tuned") & (found["model"] == "syn_e")].set_index("steps")
    assert found["seeds"].to_dict() == {10: 3, 20: 2, 40: 3}
    assert found.loc[20, "reasons"] == (PairsMissing(1, 3), TooFewSeeds(2, 3))


def test_the_judged_length_is_that_of_the_plan_though_it_has_not_run(synthetic: Load) -> None:
    """lora has all three lengths, olora's 20 steps have no run: 20 is judged, and nothing is known of it."""
    frames, tables = synthetic("whole")
    ours = (frames.runs["arm"] == "olora") & (frames.runs["length"] == 20) & frames.runs["roles"].str.contains("tuned")
    found = equivalent_steps(replace(frames, runs=frames.runs[~ours]), comparisons(tables["pairs"]))
    found = found[(found["contrast"] == "olora vs lora") & (found["role"] == "tuned") & (found["model"] == "syn_e")].set_index("steps")
    assert found["judged"].to_dict() == {10: False, 20: True, 40: False}
    assert (found.loc[20, "seeds"], found.loc[20, "verdict"]) == (0, "unresolved") and np.isnan(found.loc[20, "ratio"])


def test_a_comparison_has_the_seeds_that_its_verdict_stands_on(synthetic: Load) -> None:
    frames, tables = synthetic("whole")
    compared = comparisons(tables["pairs"])
    seen = [SimpleNamespace(comparison=one, seeds=4) for one in compared]
    found = equivalent_steps(replace(frames, first_seed=10), compared, seen)  # type: ignore[arg-type]
    found = found[(found["contrast"] == "olora vs lora") & (found["role"] == "tuned") & (found["model"] == "syn_e")].set_index("steps")
    whole = tables["equivalent_steps"]
    whole = whole[(whole["contrast"] == "olora vs lora") & (whole["role"] == "tuned") & (whole["model"] == "syn_e")].set_index("steps")
    assert set(found.loc[40, "runs"].split()) <= set(whole.loc[40, "runs"].split())
    used = frames.runs[frames.runs["train_id"].isin(found.loc[40, "runs"].split())]
    assert used["seed"].max() < 14
