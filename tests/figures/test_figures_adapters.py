"""Figures of what adapters are made of, start from and cost show the numbers of their tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from olora_bench.analysis.cost_pairs import cost_pairs
from tests.figures.artists import artists, artists_of, at
from tests.figures.conftest import Book

Draw = Callable[[str], Book]


def test_anatomy_goes_from_open_to_filled(book: Draw) -> None:
    drawn = book("controls")
    facts = drawn.found.tables["anatomy"]
    figure = drawn.shown["anatomy_1"].figure
    for stage, open_ in (("start", True), ("end", False)):
        (mark,) = artists(figure, f"{stage}:energy_share:olora")
        row = facts[(facts["arm"] == "olora") & (facts["stage"] == stage) & (facts["fact"] == "energy_share")].iloc[0]
        assert at(mark)[0] == pytest.approx(row["mean"])
        assert (mark.get_markerfacecolor() == "white") == open_
    before, after = (at(artists(figure, f"{stage}:energy_share:olora")[0])[1] for stage in ("start", "end"))
    assert before < after, "one does not hide the other: heights grow downwards"
    assert not artists(figure, "start:b_condition:lora"), "a factor of zeros has no condition number"
    said = [text.get_text() for axes in figure.axes if axes.get_title(loc="left") == "Condition of B" for text in axes.texts]
    assert said.count("before: none") == sum(str(arm).startswith("lora") for arm in facts["arm"].unique())


def test_losses_stand_beside_what_their_arms_start_from(book: Draw) -> None:
    drawn = book("controls")
    figure, rows = drawn.shown["starts_1"].figure, drawn.found.tables["starts"].sort_values("difference")
    titles = [axes.get_title(loc="left").replace("\n", " ") for axes in figure.axes]
    facts = ["difference", "a_norm", "b_off_orthonormal", "overlap_right", "overlap_left", "first_loss_jump"]
    assert titles == [
        "Held-out loss",
        "Norm of A",
        "B from orthonormal",
        "A in W's top space",
        "B in W's top space",
        "First loss less base's",
    ]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(rows["arm"])
    for axes, fact in zip(figure.axes, facts, strict=True):
        for y, (arm, value) in enumerate(zip(rows["arm"], rows[fact], strict=True)):
            marks = artists_of(axes, f"row:{arm}")
            assert [at(mark) for mark in marks] == ([] if value != value else [pytest.approx((value, y))]), (fact, arm)
            assert all((mark.get_markerfacecolor() == "white") == (arm == "olora") for mark in marks)
        said = [text.get_text() for text in axes.texts if text.get_gid() == "none"]
        assert said == ["B is 0" if fact == "overlap_left" else "not measured"] * int(rows[fact].isna().sum())


def test_costs_are_told_pair_by_pair(book: Draw) -> None:
    drawn = book("planted")
    figure = drawn.shown["cost"].figure
    pairs = cost_pairs(drawn.found.frames, drawn.found.tables["pairs"], drawn.found.tables["run_measures"])
    for axes, fact in zip(figure.axes, ("train", "memory", "init"), strict=True):
        dots = [x for mark in artists_of(axes, f"pairs:{fact}:olora") for x in mark.get_xdata()]
        assert sorted(dots) == pytest.approx(sorted(pairs[pairs["arm"] == "olora"][fact]))
        means = artists_of(axes, f"mean:{fact}:olora")
        assert means and all(min(dots) - 1e-9 <= at(mark)[0] <= max(dots) + 1e-9 for mark in means)


def test_pairs_of_two_harnesses_cost_nothing_that_compares(book: Draw) -> None:
    found = book("planted").found
    runs = found.frames.runs
    mixed = dataclasses.replace(found.frames, runs=runs.assign(harness=runs["arm"]))
    assert cost_pairs(mixed, found.tables["pairs"], found.tables["run_measures"]).empty


def test_costs_of_shorter_schedules_come_first(book: Draw) -> None:
    found = book("planted").found
    steps = cost_pairs(found.frames, found.tables["pairs"], found.tables["run_measures"]).groupby(["model", "rank"], sort=False)["steps"]
    assert steps.nunique().max() > 1 and all(group.is_monotonic_increasing for _, group in steps)
