"""Contrasts judged look by look."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from olora_bench.analysis.design import Design, Errors, looks_drawn, sample
from olora_bench.analysis.estimate import of_blocks
from olora_bench.analysis.margins import p_inside
from olora_bench.analysis.paired import holm
from olora_bench.analysis.sequential import Look, Sequential, half_widths, levels, median_unbiased, sequential

PLAN = (6, 8, 12)
STUDIES = 12
Floats = NDArray[np.float64]


def look(differences: Floats, item: float = 0.1) -> Look:
    """What a look sees of these blocks, items adding a variance that is known well."""
    blocks = of_blocks(differences)
    estimate = replace(blocks, item_variance=np.asarray(item), item_df=np.asarray(100.0), item_noise=np.asarray(0.01))
    return Look(estimate, estimate.block_variance * len(differences))


def looks(differences: Floats, plan: tuple[int, ...] = PLAN, item: float = 0.1) -> list[Look]:
    return [look(differences[:count], item) for count in plan if count <= len(differences)]


def drawn(seed: int, mean: float = 0.0, count: int = 12) -> Floats:
    rng = np.random.default_rng(seed)
    return rng.normal(mean + 0.3 * rng.normal(), 0.7, count)


@pytest.mark.parametrize("mean", [-1.0, 0.0, 0.3, 2.0])
def test_one_look_is_the_verdict_without_looks(mean: float) -> None:
    family = [drawn(1, mean), drawn(2)]
    found = sequential([looks(one, (12,)) for one in family], (12,), margins=0.8)
    known = [look(one).estimate for one in family]
    p, inside = (np.array(values, dtype=float) for values in ([one.p() for one in known], [p_inside(one, 0.8) for one in known]))
    assert [one.p for one in found] == pytest.approx(p.tolist(), rel=1e-12)
    assert [one.p_holm for one in found] == pytest.approx(holm(p).tolist(), rel=1e-12)
    assert [one.p_inside for one in found] == pytest.approx(inside.tolist(), rel=1e-12)
    assert [one.p_inside_holm for one in found] == pytest.approx(holm(inside).tolist(), rel=1e-12)
    assert [(one.low, one.high) for one in found] == [pytest.approx(tuple(map(float, one.interval())), rel=1e-12) for one in known]
    assert [one.median_unbiased for one in found] == pytest.approx([blocks.mean() for blocks in family])


@pytest.mark.parametrize("seed", range(8))
def test_later_looks_do_not_move_what_is_decided(seed: int) -> None:
    family = [looks(drawn(10 * seed + i, mean)) for i, mean in enumerate((0.0, 0.5, 1.0))]
    before: list[Sequential] | None = None
    for seen in (1, 2, 3):
        after = sequential([one[:seen] for one in family], PLAN, margins=1.0)
        for i, earlier in enumerate(before or []):
            if earlier.decided:
                assert (after[i].decided, after[i].look, after[i].p, after[i].low) == (True, earlier.look, earlier.p, earlier.low)
        before = after


def test_a_contrast_is_decided_where_its_sequential_p_crosses() -> None:
    """The sequential p is at most a level exactly when the boundary of that level is crossed."""
    for seed in range(6):
        one = looks(drawn(seed, 0.4))
        p = sequential([one], PLAN, level=1e-12)[0].p
        for level in (0.01, 0.05, 0.2):
            crossed = any(float(at.estimate.p()) <= 2 * float(own) for at, own in zip(one, levels(one, PLAN, level / 2), strict=True))
            assert crossed == (p <= level)


def test_the_half_width_is_where_the_test_calls() -> None:
    one = looks(drawn(3, 0.8))
    for at, own, half in zip(one, levels(one, PLAN, 0.025), half_widths(one, PLAN, 0.025), strict=True):
        assert float(at.estimate.p(float(at.estimate.value) - float(half))) == pytest.approx(2 * float(own), rel=1e-9)


@pytest.mark.parametrize("contrasts", [1, 3])
@pytest.mark.parametrize("at_edge", [(0.0, 0.0), (0.1, 0.5)])
def test_simulated_studies_are_judged_as_single_ones_are(contrasts: int, at_edge: tuple[float, float]) -> None:
    design, rng = Design(PLAN, contrasts, margin=1.0, at_edge=at_edge), np.random.default_rng(5)
    many = looks_drawn(design, Errors(0.5, 0.1, item_df=60.0, item_noise=0.02), STUDIES, rng)
    stops = sample(design, many).stops([0.9, 0.0, 0.3][:contrasts])
    for study in range(STUDIES):
        family = [[_one(at, i, study, [0.9, 0.0, 0.3][i]) for at in many] for i in range(contrasts)]
        for i, one in enumerate(sequential(family, PLAN, margins=1.0)):
            called = one.p_holm <= 0.05
            mine = (one.look, called and one.side > 0, called and one.side < 0, one.p_inside_holm <= 0.05)
            assert mine == (stops.look[i, study], stops.better[i, study], stops.worse[i, study], stops.equivalent[i, study])


def _one(many: Look, contrast: int, study: int, added: float) -> Look:
    parts = {name: np.broadcast_to(one, many.estimate.value.shape)[contrast, study] for name, one in vars(many.estimate).items()}
    parts["value"] = parts["value"] + added
    return Look(type(many.estimate)(**parts), many.seed_variance[contrast, study])


def opened(one: Look, lower: bool = False, higher: bool = False) -> Look:
    return replace(one, estimate=replace(one.estimate, may_be_lower=lower, may_be_higher=higher))


def test_what_holm_relaxes_is_not_called_at_a_look_that_is_open_on_that_side() -> None:
    """Shown above at the first look for one contrast alone; the other is called at the second, which leaves it the whole level."""
    first, second = looks(drawn(1, 0.9)), looks(drawn(2))[:1] + looks(drawn(2, 9.0))[1:]
    alone, family = sequential([first[:1]], PLAN)[0], [first[:2], second[:2]]
    assert 0.025 < alone.p <= 0.05
    closed = sequential(family, PLAN)
    assert [(one.look, one.p_holm <= 0.05) for one in closed] == [(1, True), (1, True)]
    edge = [[first[0], opened(first[1], lower=True)], second[:2]]
    assert [(one.p, one.decided) for one in sequential(edge, PLAN)] == [(1.0, False), (closed[1].p, True)]
    after = sequential([[*edge[0], opened(first[2], higher=True)], second], PLAN)[0]
    assert (after.look, after.side, after.decided) == (2, 1, True)


@pytest.mark.parametrize("last", [{"lower": True}, {"higher": True}, {}])
def test_equivalence_needs_both_sides_at_the_look_that_calls_it(last: dict[str, bool]) -> None:
    """Edges of the reference at the first look and of the arm at the second: each look shows one side alone."""
    first, second, third = looks(np.tile([0.1, -0.1], 6), item=0.001)
    found = sequential([[opened(first, lower=True), opened(second, higher=True), opened(third, **last)]], PLAN, margins=1.0)[0]
    assert found.decided == (not last) and found.look == 2
    assert (found.p_inside == 1) == bool(last)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("seed", range(6))
def test_the_estimate_after_stopping_lies_inside_the_interval_where_edges_closed_the_looks_before(seed: int, sign: int) -> None:
    """A difference far beyond the boundaries of looks that could call nothing on its side."""
    side = {"lower": True} if sign > 0 else {"higher": True}
    seen = looks(sign * drawn(seed, 4.0))
    found = sequential([[*(opened(one, **side) for one in seen[:-1]), seen[-1]]], PLAN)[0]
    assert (found.look, found.decided) == (2, True) and found.low < found.median_unbiased < found.high
    assert found.median_unbiased == pytest.approx(float(seen[-1].estimate.value), abs=0.01)


def test_a_member_without_a_look_stays_in_the_family() -> None:
    alone, beside = sequential([looks(drawn(1, 3.0))], PLAN)[0], sequential([looks(drawn(1, 3.0)), []], PLAN)
    assert alone.look == beside[0].look == 0
    assert beside[0].p_holm == pytest.approx(2 * alone.p) and beside[1].look == -1 and not beside[1].decided


def test_equal_differences_decide_nothing() -> None:
    found = sequential([looks(np.ones(12), item=0.0)], PLAN, margins=2.0)[0]
    assert found.p != found.p and not found.decided


def test_the_estimate_after_stopping_turns_with_the_sign() -> None:
    one = drawn(4, 0.4)
    up, down = (median_unbiased(looks(sign * one), PLAN, 0.05) for sign in (1, -1))
    assert up == pytest.approx(-down, abs=1e-6)


def test_the_estimate_after_stopping_is_drawn_towards_no_difference_by_an_early_stop() -> None:
    one = drawn(8, 2.0)
    later = looks(one)[:2]
    assert median_unbiased(later, PLAN, 0.05) < float(later[-1].estimate.value)


def test_half_of_the_estimates_lie_above_the_truth() -> None:
    design = Design(PLAN)
    many = looks_drawn(design, Errors(0.5, 0.05, item_df=1000.0), 120, np.random.default_rng(2))
    stops = sample(design, many).stops(0.6)
    ends = [[_one(at, 0, study, 0.6) for at in many][: stops.look[0, study] + 1] for study in range(120)]
    assert 0.38 < np.mean([median_unbiased(end, PLAN, 0.05) > 0.6 for end in ends]) < 0.62
