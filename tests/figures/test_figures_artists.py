"""What was planted is where the figures' marks are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from olora_bench.analysis.bands import loss_bands
from olora_bench.analysis.outcome import outcomes
from olora_bench.analysis.reasons import BestAtEdge
from olora_bench.figures import comparisons, learning_rates
from olora_bench.report.arm_styles import arm_styles
from olora_bench.store.manifest import Margin
from olora_bench.words.comparisons import filled
from tests.figures.artists import artists, artists_of, at
from tests.figures.conftest import Book

Draw = Callable[[str], Book]


def test_forest_marks_the_planted_differences(book: Draw) -> None:
    """piqa +22.5 is decided; boolq -10 is not, over new items of its 40; winogrande and openbookqa are open; syn_a then syn_b."""
    figure = book("planted").shown["forest_olora_vs_lora_lr1e-3"].figure
    styles = arm_styles(["lora", "olora"])
    want = {"piqa": (22.5, "olora"), "boolq": (-10.0, None), "winogrande": (0.0, None)}
    for benchmark, (difference, winner) in want.items():
        marks = artists(figure, f"row:{benchmark}")
        assert [at(mark)[0] for mark in marks] == pytest.approx([difference] * 2)
        for mark in marks:
            assert mark.get_markerfacecolor() == (styles[winner].colour if winner else "white")
    assert [at(mark)[0] for mark in artists(figure, "row:openbookqa")] == pytest.approx([2.5 / 3, -2.5 / 3])
    (overall,) = artists(figure, "row:mean over benchmarks")
    assert at(overall)[0] == pytest.approx(3.125) and overall.get_marker() == "D"
    heights = [at(mark)[1] for name in ("mean over benchmarks", "piqa", "boolq") for mark in artists(figure, f"row:{name}")[:1]]
    axes = figure.axes[0]
    assert heights == sorted(heights) and axes.get_ylim()[0] > axes.get_ylim()[1], "from top to bottom"


def test_forest_draws_the_interval_it_was_given(book: Draw) -> None:
    drawn = book("planted")
    cells = drawn.found.tables["cells"]
    row = cells[(cells["contrast"] == "olora vs lora") & (cells["benchmark"] == "boolq") & cells["longest"].astype(bool)].iloc[0]
    figure = drawn.shown["forest_olora_vs_lora_lr1e-3"].figure
    spans = [tuple(map(float, line.get_xdata())) for line in figure.axes[0].lines if len(line.get_xdata()) == 2]
    assert (row["low"], row["high"]) in spans


def test_a_cell_with_a_diverged_pair_or_no_score_says_so(book: Draw) -> None:
    broken = book("broken").shown["forest_olora_vs_lora_lr1e-3"]
    notes = [text.get_text() for text in broken.figure.axes[0].texts]
    assert sum(note.endswith(" ×1") for note in notes) == 4 and "×n" in broken.caption
    searched = book("searched").shown["forest_olora_vs_lora_tuned"].figure
    assert sum(text.get_text() == "no score" for text in searched.axes[0].texts) == 4
    assert len(artists(searched, "row:piqa")) == 1, "what has no score has no mark"


def test_bands_hold_every_seeds_curve(book: Draw) -> None:
    drawn = book("paper")
    frames = drawn.found.frames
    figure = drawn.shown["loss_curves_shared"].figure
    first = frames.runs[(frames.runs["model"] == "llama2_7b") & (frames.runs["rank"] == 32) & (frames.runs["arm"] == "olora")]
    (band, *_) = artists(figure, "band:olora")
    assert isinstance(band, PolyCollection)
    corners = band.get_paths()[0].vertices
    for train_id in first["train_id"]:
        curve = frames.curves[(frames.curves["train_id"] == train_id) & frames.curves["report_loss"].notna()]
        for step, loss in zip(curve["step"], curve["report_loss"], strict=True):
            heights = corners[np.isclose(corners[:, 0], step), 1]
            assert heights.min() - 1e-9 <= loss <= heights.max() + 1e-9
    (mean, *_) = artists(figure, "mean:olora")
    curves = frames.curves[frames.curves["train_id"].isin(first["train_id"])]
    assert float(mean.get_ydata()[-1]) == pytest.approx(curves[curves["step"] == 40]["report_loss"].mean())


def test_loss_curves_have_a_panel_a_cell_and_shorter_schedules_none(book: Draw) -> None:
    panels = [axes.get_title(loc="left") for axes in book("planted").shown["loss_curves_shared"].figure.axes]
    assert panels == ["syn_a, rank 8, steps 40", "syn_b, rank 8"]
    assert len(book("paper").shown["loss_curves_shared"].figure.axes) == 10


def test_a_diverged_seed_is_marked_and_in_no_mean(book: Draw) -> None:
    drawn = book("broken")
    one = drawn.shown["loss_curves_shared"]
    (cross,) = artists(one.figure, "diverged:olora:0")
    assert cross.get_marker() == "x" and "each diverged run (1)" in one.caption
    bands = loss_bands(drawn.found.frames, drawn.found.tables["pairs"])
    olora = bands[(bands["model"] == "syn_c") & (bands["arm"] == "olora")]
    assert set(olora["seeds"]) == {4} and set(olora["planned"]) == {7}


def test_counts_stand_on_their_null_band(book: Draw) -> None:
    drawn = book("planted")
    figure = drawn.shown["win_counts"].figure
    row = drawn.found.tables["win_counts"].iloc[0]
    (wins,) = artists(figure, "row:olora vs lora")
    (null,) = artists(figure, "null:olora vs lora")
    assert at(wins)[0] == row["wins"] == 3
    assert (null.get_x(), null.get_x() + null.get_width()) == (row["null_low"] - 0.5, row["null_high"] + 0.5), "its ends are inside"
    assert null.get_y() < at(wins)[1] < null.get_y() + null.get_height()
    assert "3 of 8 (2 tied)" in [text.get_text() for text in figure.axes[0].texts]


def test_speed_ups_and_bounds(book: Draw) -> None:
    """Twice as fast everywhere, but that one seed of syn_b never gets below half of lora's drop."""
    figure = book("planted").shown["speed_up_olora_vs_lora_lr1e-3"].figure
    assert [at(mark)[0] for mark in artists(figure, "row:50% of drop")] == pytest.approx([2.0, 2.0])
    clean, censored = artists(figure, "row:90% of drop")
    assert at(clean)[0] == pytest.approx(2.0) and clean.get_markerfacecolor() != "white"
    assert censored.get_markerfacecolor() == "white"
    notes = [text.get_text() for text in figure.axes[0].texts]
    assert sum(note.startswith("≤ ") for note in notes) == 3
    assert figure.axes[0].get_xscale() == "log"


def test_equivalent_steps_show_losses_above_and_ratios_below(book: Draw) -> None:
    """olora's 20 steps end below all of lora's: an arrow, and the ring of the judged length at it."""
    drawn = book("planted")
    figure = drawn.shown["equivalent_steps_olora_vs_lora_lr1e-3"].figure
    above, below = figure.axes
    (reference,), (arm,) = (artists_of(above, f"loss:{name}") for name in ("lora", "olora"))
    assert list(reference.get_ydata()) == pytest.approx([3.0, 2.5, 2.0]) and list(arm.get_ydata()) == pytest.approx([2.3, 1.95, 1.6])
    table = drawn.found.tables["equivalent_steps"].set_index("steps")
    (mark,) = artists_of(below, "ratio:10")
    assert at(mark) == (10.0, pytest.approx(table.loc[10, "ratio"]))
    assert not artists_of(below, "ratio:20") and [at(arrow)[1] for arrow in artists_of(below, "open:20")] == [below.get_ylim()[1]]
    (ring,) = artists_of(below, "judged")
    assert at(ring) == (20.0, below.get_ylim()[1])


def test_learning_rates_ring_optima_cross_divergence_and_mark_the_shared_rate(book: Draw) -> None:
    one = book("searched").shown["learning_rates"]
    assert [at(mark) for mark in artists(one.figure, "best:tune:olora")] == [(3.16e-4, 2.0), (3.16e-3, 2.1)]
    assert [at(mark) for mark in artists(one.figure, "best:tune:lora")] == [(1e-3, 2.0)] * 2
    crosses = artists(one.figure, "diverged:olora")
    assert {float(mark.get_xdata()[0]) for mark in crosses} == {3.16e-3}
    assert "Arrow" in one.caption and "Cross" in one.caption
    assert not artists(one.figure, "shared_lr") and "Dotted" not in one.caption
    shared = book("ratios").shown["learning_rates"]
    assert {float(line.get_xdata()[0]) for line in artists(shared.figure, "shared_lr")} == {5e-4} and "5e-4" in shared.caption


def test_a_loss_far_above_the_others_does_not_flatten_them(book: Draw) -> None:
    drawn = book("searched")
    table = drawn.found.tables["rates"]
    worst = (table["arm"] == "olora") & table["tune"].notna() & ~table["best"].astype(bool)
    table = table.assign(tune=table["tune"].mask(worst & (worst.groupby(table["cell"]).cumsum() == 1), 12.5))
    figure = learning_rates(table, None, arm_styles(list(dict.fromkeys(table["arm"]))), title="t")
    triangles = artists(figure, "beyond:olora")
    assert len(triangles) == table.loc[table["tune"] == 12.5, "cell"].nunique() > 0
    assert all(mark.axes.get_ylim()[1] < 6 for mark in triangles)
    assert not artists(drawn.shown["learning_rates"].figure, "beyond:olora")


def test_two_losses_without_scores_share_a_row(book: Draw) -> None:
    """As shorter schedules do, whose searches score nothing."""
    drawn = book("searched")
    table = drawn.found.tables["rates"]
    first = table[table["cell"] == table["cell"].iloc[0]]
    short = [first.assign(cell=f"short{steps}", setting=f"steps {steps}", score=np.nan, diverged=int(steps == 10)) for steps in (10, 20)]
    figure = learning_rates(pd.concat([first, *short]), None, arm_styles(list(dict.fromkeys(table["arm"]))), title="t")
    titled = [axes.get_title(loc="left") or axes.get_title() for axes in figure.axes]
    assert titled[2:] == ["steps 10", "steps 20"] and len(figure.axes) == 4


def test_ratio_map_frames_each_ratios_best_rate(book: Draw) -> None:
    figure = book("ratios").shown["ratio_map_1"].figure
    named = [patch.get_gid() for patch in figure.axes[0].patches if patch.get_gid()]
    framed = {name for name in named if name.startswith("best:")}
    assert framed == {"best:0.25:0.00316", "best:0.5:0.001", "best:1:0.001", "best:4:0.001", "best:16:0.000316"}
    assert sum(name.startswith("tile:") for name in named) == 20


def test_ratio_profile_has_a_point_a_ratio_in_every_measure(book: Draw) -> None:
    drawn = book("ratios")
    figure = drawn.shown["ratio_profile_1"].figure
    table = drawn.found.tables["ratios"].set_index("lr_ratio")
    for ratio in (0.25, 0.5, 4.0, 16.0):
        (mark,) = artists(figure, f"Held-out loss (nats):{ratio:g}")
        assert at(mark) == pytest.approx((ratio, table.loc[ratio, "report_loss"]))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert {"Score (%)", "BLEU", "ROUGE-L", "A travels (norm)"} <= set(titles)


def test_every_mark_is_within_its_axes(book: Draw) -> None:
    for study in ("planted", "searched", "broken", "whole", "paper", "controls", "ratios"):
        for name, one in book(study).shown.items():
            for axes in one.figure.axes:
                low, high = sorted(axes.get_xlim())
                marks = [line for line in axes.lines if str(line.get_gid()).startswith(("row:", "start:", "end:", "ratio:", "best:"))]
                assert all(low <= at(mark)[0] <= high for mark in marks), f"{study}/{name}"


@pytest.mark.parametrize("place, prefix", [(0, ""), (1, "loss_")], ids=["score", "loss"])
def test_every_comparison_has_a_mark_and_an_interval_a_measure(book: Draw, place: int, prefix: str) -> None:
    drawn = book("planted")
    axes = drawn.shown["comparisons"].figure.axes[place]
    for row in drawn.found.tables["verdicts"].to_dict("records"):
        (mark,) = artists_of(axes, f"row:{row['contrast']}, lr 1e-3")
        assert at(mark)[0] == pytest.approx(row[f"{prefix}difference"])
        spans = [tuple(map(float, line.get_xdata())) for line in axes.lines if len(line.get_xdata()) == 2]
        interval = (row[f"{prefix}low"], row[f"{prefix}high"])
        assert interval in spans or np.isnan(interval).all(), "without a spread there is none"


def test_right_favours_the_arm_in_both_measures(book: Draw) -> None:
    score, loss = book("planted").shown["comparisons"].figure.axes
    assert score.get_xlim()[0] < 0 < score.get_xlim()[1] and loss.get_xlim()[0] > 0 > loss.get_xlim()[1]
    for axes, better in ((score, "higher"), (loss, "lower")):
        assert {"← favours reference", "favours arm →"} <= {text.get_text() for text in axes.texts}
        assert f"({better} is better)" in axes.get_xlabel()
        assert sum(axes.get_xlim()) == pytest.approx(0), "0 is in the middle, where the two directions meet"


def test_one_comparison_alone_names_its_arms(book: Draw) -> None:
    found = book("planted").found
    figure = comparisons(found.tables["verdicts"].head(1), arm_styles(found.frames.runs["arm"]), found.frames.margin, title="t")
    assert {"← favours lora", "favours olora →"} <= {text.get_text() for text in figure.axes[0].texts}


def test_what_carries_the_verdict_stands_first_and_is_named(book: Draw) -> None:
    left, right = book("planted").shown["comparisons"].figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["olora vs lora, lr 1e-3", "olora_plus vs olora, lr 1e-3"]
    said = [text.get_text() for text in right.texts if text.get_gid() == "verdict"]
    assert said == ["unresolved by score", "unresolved by score"]


def test_a_mark_is_open_where_its_measure_decides_nothing(book: Draw) -> None:
    drawn = book("planted")
    score, loss = drawn.shown["comparisons"].figure.axes
    for row in drawn.found.tables["verdicts"].to_dict("records"):
        name = f"row:{row['contrast']}, lr 1e-3"
        (of_score,), (of_loss,) = artists_of(score, name), artists_of(loss, name)
        assert (of_score.get_markerfacecolor() == "white") == (row["verdict"] not in ("better", "worse"))
        assert (of_loss.get_markerfacecolor() == "white") == (row["loss_low"] <= 0 <= row["loss_high"])


def test_an_interval_with_an_open_end_is_drawn_to_the_edge_of_its_axis(book: Draw) -> None:
    found = book("planted").found
    rows = found.tables["verdicts"].head(1).assign(loss_low=-np.inf)
    axes = comparisons(rows, arm_styles(found.frames.runs["arm"]), found.frames.margin, title="t").axes[1]
    spans = [tuple(map(float, line.get_xdata())) for line in axes.lines if len(line.get_xdata()) == 2]
    assert (axes.get_xlim()[1], rows["loss_high"].iloc[0]) in spans


@pytest.mark.parametrize("arm", ["lora", "olora"])
def test_a_loss_that_may_be_lower_beyond_speaks_against_no_arm(book: Draw, arm: str) -> None:
    """olora's is the lower: an edge of lora's finalists speaks against that, and one of its own does not."""
    found = book("planted").found
    row = found.tables["verdicts"].head(1).assign(loss_difference=-0.1, loss_low=-0.2, loss_high=-0.05)
    row = row.assign(reasons=pd.Series([(BestAtEdge((arm,), by_loss=False),)], index=row.index))
    figure = comparisons(row, arm_styles(found.frames.runs["arm"]), found.frames.margin, title="t")
    (mark,) = artists_of(figure.axes[1], "row:olora vs lora, lr 1e-3")
    assert (mark.get_markerfacecolor() == "white") == (arm == "lora")
    key = " ".join(" ".join(text.get_text() for text in figure.texts).split())
    for told in (key, filled(outcomes(row))):
        assert ("or against an arm whose best rate lies at an edge." in told) == (arm == "lora"), "an open mark's key says why"


def test_an_open_verdict_has_ticks_from_where_on_it_would_be_found(book: Draw) -> None:
    """On the axis of what is judged; where that lies beyond the axis, as in a study of two models, there are none."""
    drawn = book("whole")
    score, loss = drawn.shown["comparisons"].figure.axes
    verdicts = drawn.found.tables["verdicts"]
    least = verdicts[verdicts["verdict"] == "unresolved"]["found"].dropna()
    want = sorted(value for value in least if value < score.get_xlim()[1])
    ticks = np.array(sorted((line.get_xdata() for line in artists_of(score, "found")), key=max))
    assert want and ticks[:, 1] == pytest.approx(want) and (ticks[:, 0] == -ticks[:, 1]).all()
    assert not artists_of(loss, "found")


def test_where_nothing_is_scored_the_loss_stands_alone(book: Draw) -> None:
    found = book("planted").found
    unscored = found.tables["verdicts"].assign(difference=np.nan, low=np.nan, high=np.nan, judged_by="report_loss")
    (axes,) = comparisons(unscored, arm_styles(found.frames.runs["arm"]), found.frames.margin, title="t").axes
    assert axes.get_title(loc="left") == "Held-out loss"


def test_a_declared_margin_is_shaded_in_both_measures_behind_what_carries_a_verdict(book: Draw) -> None:
    """Whichever of the two is judged; the other's axis reaches to its margin too."""
    found = book("planted").found
    margin = Margin(score=60.0, loss=3.0)
    figure = comparisons(found.tables["verdicts"], arm_styles(found.frames.runs["arm"]), margin, title="t")
    judged = found.tables["verdicts"]["confirmatory"].sum()
    for axes, half in zip(figure.axes, (60.0, 3.0), strict=True):
        shaded = artists_of(axes, "margin")
        assert len(shaded) == judged and max(map(abs, axes.get_xlim())) > half
        spans = [one.get_paths()[0].vertices[:, 0] for one in shaded]
        assert [(span.min(), span.max()) for span in spans] == [(-half, half)] * judged


def test_the_key_says_where_an_interval_is_the_repeated_one(book: Draw) -> None:
    found = book("planted").found
    for looks in (False, True):
        told = found.tables["verdicts"].assign(**({"look": 1.0} if looks else {}))
        figure = comparisons(told, arm_styles(found.frames.runs["arm"]), Margin(), title="t")
        said = " ".join(" ".join(text.get_text() for text in figure.texts).split())
        assert ("Line: 95% interval, of a verdict at looks the repeated one." in said) == looks and "Line: 95% interval" in said


def test_a_setting_alone_shows_where_each_arm_ends(book: Draw) -> None:
    drawn = book("controls")
    figure = drawn.shown["loss_curves_shared"].figure
    assert len(figure.axes) == 2
    bands = loss_bands(drawn.found.frames, drawn.found.tables["pairs"])
    for arm, band in bands.groupby("arm"):
        (mark,) = artists_of(figure.axes[1], f"end:{arm}")
        assert at(mark)[1] == pytest.approx(band["mean"].iloc[-1])
    assert len({at(mark)[0] for mark in figure.axes[1].lines if str(mark.get_gid()).startswith("end:")}) == bands["arm"].nunique()


def test_bands_are_left_out_where_they_would_hide_each_other(book: Draw) -> None:
    many, two = (book(study).shown["loss_curves_shared"].figure for study in ("controls", "paper"))
    drawn = [any(isinstance(artist, PolyCollection) for artist in figure.axes[0].get_children()) for figure in (many, two)]
    assert drawn == [False, True]


def hollow(figure: Figure) -> set[float]:
    """The learning rates at which OLoRA's loss is drawn open."""
    return {float(x) for mark in artists(figure, "tune:olora") if mark.get_markerfacecolor() == "white" for x in mark.get_xdata()}


def test_a_rate_whose_loss_is_of_fewer_runs_than_others_is_open(book: Draw) -> None:
    rates = book("ratios").found.tables["rates"]
    lowest = rates["lr"] == rates["lr"].min()
    figure = learning_rates(rates.assign(n_tune=2 - lowest.astype(int)), None, arm_styles(list(dict.fromkeys(rates["arm"]))), title="t")
    assert hollow(figure) == {rates["lr"].min()}


def test_runs_beside_a_search_are_not_counted_in_its_loss(book: Draw) -> None:
    drawn = book("ratios")
    rates, shown = drawn.found.tables["rates"], drawn.shown["learning_rates"]
    assert rates["n_runs"].nunique() > 1 and rates["n_tune"].nunique() == 1
    assert hollow(shown.figure) == set() and f"Runs that a loss is of: {rates['n_tune'].iloc[0]}." in shown.caption
