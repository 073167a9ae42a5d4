"""Verdicts beside a margin, one contrast and families."""

from __future__ import annotations

import numpy as np
import pytest

from olora_bench.analysis.estimate import Estimate, of_blocks
from olora_bench.analysis.margins import Verdict, kind, p_inside
from olora_bench.analysis.outcome import corrected


def estimate(value: float, se: float = 1.0) -> Estimate:
    return Estimate(*(np.asarray(float(number)) for number in (value, se**2 / 2, 7, se**2 / 2, 500, 0.01)))


def family(*estimates: Estimate | None, margin: float | None = None) -> list[Verdict]:
    """The verdicts of contrasts that are corrected together, as the tables judge them."""
    known = [{"p": np.nan if one is None else float(one.p()), "p_inside": np.nan} for one in estimates]
    if margin is not None:
        known = [row | {"p_inside": p_inside(one, margin)} for row, one in zip(known, estimates, strict=True) if one is not None]
    rows = corrected(corrected(known, lambda _: True), lambda _: True, "p_inside")
    gains = [0.0 if one is None else float(one.value) for one in estimates]
    return [kind(gain, row["p_holm"], row["p_inside_holm"]) for gain, row in zip(gains, rows, strict=True)]


@pytest.mark.parametrize(
    ("value", "margin", "verdict"),
    [
        (3.0, None, Verdict.BETTER),
        (3.0, 4.0, Verdict.BETTER),
        (3.0, 6.0, Verdict.BETTER_WITHIN_MARGIN),
        (0.5, 3.0, Verdict.EQUIVALENT),
        (0.5, 1.0, Verdict.UNRESOLVED),
        (0.5, None, Verdict.UNRESOLVED),
        (-0.5, 3.0, Verdict.EQUIVALENT),
        (-3.0, 6.0, Verdict.WORSE_WITHIN_MARGIN),
        (-3.0, None, Verdict.WORSE),
    ],
)
def test_each_verdict(value: float, margin: float | None, verdict: Verdict) -> None:
    assert family(estimate(value), margin=margin) == [verdict]


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
    """p 0.03 alone is better; with two others that show nothing it is not."""
    one = estimate(2.5)
    assert one.interval()[0] > 0 and family(one) == [Verdict.BETTER]
    assert family(one, estimate(0.1), estimate(-0.2))[0] == Verdict.UNRESOLVED


def test_a_family_is_equivalent_at_holms_level_too() -> None:
    """Alone its 90% interval lies inside the margin; beside two that are not equivalent it does not at the step's level."""
    one = estimate(0.5)
    margin = float(one.interval(0.1)[1]) * 1.05
    assert family(one, margin=margin) == [Verdict.EQUIVALENT]
    assert family(one, estimate(1.5), estimate(1.5), margin=margin)[0] == Verdict.UNRESOLVED


@pytest.mark.parametrize("nothing", [None, of_blocks(np.zeros(6))], ids=["no estimate", "no spread"])
def test_a_contrast_without_a_p_counts_in_the_family(nothing: Estimate | None) -> None:
    one = estimate(2.5)
    assert family(one) == [Verdict.BETTER]
    assert family(one, nothing) == [Verdict.UNRESOLVED, Verdict.UNRESOLVED]


def test_an_unknown_p_shows_nothing() -> None:
    assert kind(5.0, float("nan")) == Verdict.UNRESOLVED
