"""Verdicts beside a margin, one contrast and families."""

from __future__ import annotations

import numpy as np
import pytest

from olora_bench.analysis.estimate import Estimate, of_blocks
from olora_bench.analysis.margins import Kind, judge, kind, p_inside


def estimate(value: float, se: float = 1.0) -> Estimate:
    return Estimate(*(np.asarray(float(number)) for number in (value, se**2 / 2, 7, se**2 / 2, 500, 0.01)))


NONE = of_blocks(np.zeros(6))
"""Six blocks without any difference have no spread."""


@pytest.mark.parametrize(
    ("value", "margin", "verdict"),
    [
        (3.0, None, Kind.BETTER),
        (3.0, 4.0, Kind.BETTER),
        (3.0, 6.0, Kind.BETTER_WITHIN_MARGIN),
        (0.5, 3.0, Kind.EQUIVALENT),
        (0.5, 1.0, Kind.UNRESOLVED),
        (0.5, None, Kind.UNRESOLVED),
        (-0.5, 3.0, Kind.EQUIVALENT),
        (-3.0, 6.0, Kind.WORSE_WITHIN_MARGIN),
        (-3.0, None, Kind.WORSE),
    ],
)
def test_each_verdict(value: float, margin: float | None, verdict: Kind) -> None:
    assert judge([estimate(value)], margin=margin)[0].kind == verdict


@pytest.mark.parametrize(("value", "verdict"), [(-3.0, Kind.BETTER), (3.0, Kind.WORSE)])
def test_a_lower_loss_is_better(value: float, verdict: Kind) -> None:
    assert judge([estimate(value)], higher_is_better=False)[0].kind == verdict


@pytest.mark.parametrize("margin", np.linspace(0.5, 4.0, 30).tolist())
def test_equivalent_means_that_the_90_percent_interval_lies_inside(margin: float) -> None:
    one = estimate(0.6)
    low, high = one.interval(0.1)
    assert (p_inside(one, margin) <= 0.05) == (-margin <= low and high <= margin)


def test_the_intervals_end_is_where_equivalence_begins() -> None:
    one = estimate(0.6)
    end = float(one.interval(0.1)[1])
    assert p_inside(one, end) == pytest.approx(0.05)


def test_holm_can_leave_unresolved_what_its_own_interval_shows() -> None:
    """p 0.03 alone is better; with two others that show nothing it is not, and the step's interval holds zero."""
    one, others = estimate(2.5), [estimate(0.1), estimate(-0.2)]
    assert judge([one])[0].kind == Kind.BETTER
    found = judge([one, *others])[0]
    assert found.kind == Kind.UNRESOLVED and found.p < 0.05 < found.p_holm
    assert one.interval()[0] > 0 > one.interval(found.step_level)[0]


@pytest.mark.parametrize("values", [(4.0, 3.0, 0.1), (9.0, 8.0, 7.0), (0.1, 0.2, 0.3), (2.5, 5.0, 2.4), (3.0, 3.0, 3.0)])
def test_the_steps_interval_leaves_zero_out_exactly_where_a_difference_is_shown(values: tuple[float, ...]) -> None:
    estimates = [estimate(value) for value in values]
    for one, found in zip(estimates, judge(estimates), strict=True):
        assert (float(one.interval(found.step_level)[0]) > 0) == (found.kind == Kind.BETTER)


def test_a_family_is_equivalent_at_holms_level_too() -> None:
    """Alone its 90% interval lies inside the margin; beside two that are not equivalent it does not at the step's level."""
    one = estimate(0.5)
    margin = float(one.interval(0.1)[1]) * 1.05
    assert judge([one], margin=margin)[0].kind == Kind.EQUIVALENT
    found = judge([one, estimate(1.5), estimate(1.5)], margin=margin)[0]
    assert found.kind == Kind.UNRESOLVED and found.p_inside < 0.05 < found.p_inside_holm


@pytest.mark.parametrize("nothing", [None, NONE])
def test_a_contrast_without_an_estimate_counts_in_the_family(nothing: Estimate | None) -> None:
    one = estimate(3.0)
    found = judge([one, nothing], margin=6.0)
    assert found[0].p_holm == pytest.approx(2 * float(one.p()))
    assert found[1].kind == Kind.UNRESOLVED and np.isnan(found[1].p_holm)


@pytest.mark.parametrize("margin", [0.0, -1.0, float("nan")])
def test_a_margin_is_above_zero(margin: float) -> None:
    with pytest.raises(ValueError, match=f"a margin is a difference that matters: {margin} must be above 0"):
        judge([estimate(1.0)], margin=margin)


def test_an_unknown_p_shows_nothing() -> None:
    assert kind(5.0, float("nan")) == Kind.UNRESOLVED
