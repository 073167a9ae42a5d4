"""Every figure of every planted study as a reader gets it: its size, its fonts, its text inside and on top of nothing."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from olora_bench.figures import LeftOut, arm_styles, file_bytes, study_figures
from olora_bench.figures._style import WIDE_IN, WIDTH_IN
from olora_bench.figures.starts import starts
from olora_bench.report.arm_styles import _KNOWN, MARKERS
from tests.figures.conftest import Book

STUDIES = ("planted", "searched", "broken", "whole", "paper", "controls", "ratios")


def texts(figure: Figure) -> Iterator[tuple[str, Text, Bbox]]:
    """Every text that is drawn, with its extent in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    found = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        found += axes.texts
        if axes.axison:
            found += [axes.title, axes._left_title, axes._right_title, axes.xaxis.label, axes.yaxis.label]  # type: ignore[attr-defined]
            # What an axis would draw: it keeps ticks beyond its limits too.
            found += [label for axis in (axes.xaxis, axes.yaxis) for tick in axis._update_ticks() for label in (tick.label1, tick.label2)]  # type: ignore[attr-defined]
    for text in found:
        if text.get_visible() and text.get_text().strip():
            yield text.get_text(), text, text.get_window_extent(canvas.get_renderer())


@pytest.mark.parametrize("study", STUDIES)
def test_text_is_inside_and_on_top_of_no_other(book: Callable[[str], Book], study: str) -> None:
    for name, one in book(study).shown.items():
        check_apart(one.figure, f"{study}/{name}")


def check_apart(figure: Figure, name: str) -> None:
    found = list(texts(figure))
    width, height = figure.get_size_inches() * figure.dpi
    outside = [text for text, _, box in found if box.x0 < -0.5 or box.y0 < -0.5 or box.x1 > width + 0.5 or box.y1 > height + 0.5]
    assert not outside, f"{name}: outside the figure: {outside}"
    for (a, _, first), (b, _, second) in itertools.combinations(found, 2):
        across = min(first.x1, second.x1) - max(first.x0, second.x0)
        down = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert across < 1 or down < 2, f"{name}: {a!r} and {b!r} overlap by {across:.1f} x {down:.1f} pixels"


@pytest.mark.parametrize("largest", [4e-4, 7e-4, 4e-3, 0.02, 0.4])
def test_a_jump_of_the_first_loss_of_any_size_has_labels_apart(book: Callable[[str], Book], largest: float) -> None:
    rows = book("controls").found.tables["starts"].query("model == model.iloc[0] and rank == rank.iloc[0]")
    tiny = rows.assign(first_loss_jump=np.linspace(-largest, largest, len(rows)))
    check_apart(starts(tiny, arm_styles(list(rows["arm"])), title="Held-out loss and what an init starts from"), f"{largest:g}")


def test_a_saved_figure_lies_at_rounded_places(book: Callable[[str], Book]) -> None:
    """The solver's last bits are others in another process."""
    figure = book("controls").shown["starts_1"].figure
    file_bytes(figure, "svg")
    for axes in figure.axes:
        places = axes.get_position().get_points()
        assert (places == np.round(places, 9)).all()


@pytest.mark.parametrize("study", STUDIES)
def test_one_column_wide_a_page_high_and_nothing_below_seven_points(book: Callable[[str], Book], study: str) -> None:
    for name, one in book(study).shown.items():
        width, height = one.figure.get_size_inches()
        want = WIDE_IN if name.startswith(("comparisons", "starts")) else WIDTH_IN
        assert width == want and height <= 9.0, f"{study}/{name}: {width} x {height} inches"
        assert min(text.get_fontsize() for _, text, _ in texts(one.figure)) >= 7, f"{study}/{name}"


@pytest.mark.parametrize("study", STUDIES)
def test_a_caption_says_protocol_seeds_items_and_what_is_missing(book: Callable[[str], Book], study: str) -> None:
    drawn = book(study)
    for name, one in drawn.shown.items():
        assert "Nothing is missing." in one.caption or re.search(r"Of \d+ runs?: \d|\d of \d+ learning-rate search", one.caption), name
        assert "  " not in one.caption and "nan" not in one.caption, one.caption
        if not name.startswith(("cost", "ratio_map", "learning_rates")):
            assert "learning rate" in one.caption, name
        if name.startswith(("forest", "win_counts", "comparisons", "learning_rates")):
            assert "40 items in each of" in one.caption, name
        if name.startswith(("forest", "loss_curves", "speed_up", "equivalent_steps", "comparisons")):
            assert " seed" in one.caption, name


def test_every_kind_of_figure_is_drawn_or_left_out_with_a_reason(book: Callable[[str], Book]) -> None:
    kinds = ("loss_curves", "forest", "win_counts", "speed_up", "equivalent_steps", "learning_rates", "ratio_map", "ratio_profile",
             "comparisons", "starts", "anatomy", "cost")  # fmt: skip
    for study in STUDIES:
        drawn = book(study)
        for kind in kinds:
            there = any(name.startswith(kind) for name in drawn.shown)
            assert there != (kind in drawn.left_out), f"{study}: {kind}"
    assert all(any(name.startswith(kind) for study in STUDIES for name in book(study).shown) for kind in kinds)


def test_no_figure_of_comparisons_without_a_finished_pair(book: Callable[[str], Book]) -> None:
    found = book("controls").found
    verdicts = found.tables["verdicts"]
    empty = {**found.tables, "verdicts": verdicts.assign(difference=float("nan"), loss_difference=float("nan"))}
    reasons = {one.name: one.reason for one in study_figures(found.frames, empty) if isinstance(one, LeftOut)}
    assert reasons["comparisons"] == "no declared comparison has a pair of finished runs"


def test_no_empty_panel(book: Callable[[str], Book]) -> None:
    for study in STUDIES:
        for name, one in book(study).shown.items():
            for axes in one.figure.axes:
                marks = [line for line in axes.lines if line.get_gid() not in (None, "shared_lr")]
                drawn = any(np.isfinite(np.asarray(line.get_ydata(), dtype=float)).any() for line in marks)
                assert not axes.axison or drawn or axes.patches, f"{study}/{name}: {axes.get_title(loc='left')}"


def test_arms_have_one_look_each_and_a_colour_each_while_there_are_enough() -> None:
    shipped = ["lora", "olora", "olora_plus", "pissa", "lora_plus", "olora_permuted", "olora_pivoted", "olora_random", "olora_added"]
    styles = arm_styles([*shipped, *(f"mine_{number}" for number in range(20))])
    assert len({(style.colour, style.marker) for style in styles.values()}) == len(styles)
    for few in (
        ["lora", "olora", "olora_plus", "olora_random"],
        ["lora", "olora", "olora_permuted", "olora_pivoted", "olora_random", "mine"],
    ):
        assert len({style.colour for style in arm_styles(few).values()}) == len(few)


def test_the_papers_arms_look_the_same_in_every_study() -> None:
    alone = {arm: arm_styles([arm])[arm] for arm in ("lora", "olora", "olora_plus", "pissa")}
    assert {arm: style for arm, style in arm_styles([*alone, "olora_random", "mine"]).items() if arm in alone} == alone


def test_no_marker_points_anywhere() -> None:
    """Triangles and arrows say that a value lies beyond; an arm's mark says nothing of that kind."""
    looks = arm_styles([*_KNOWN, *(f"mine_{number}" for number in range(60))]).values()
    assert {style.marker for style in looks} <= set(MARKERS) and not set(MARKERS) & set("^v<>1234")


def test_a_caption_names_only_what_its_own_figure_lacks(book: Callable[[str], Book]) -> None:
    """A tuning run diverged: the figure of learning rates says so, those of the tuned pairs do not."""
    shown = book("searched").shown
    assert "1 diverged" in shown["learning_rates"].caption
    assert all("diverged" not in shown[name].caption for name in ("loss_curves_tuned", "speed_up_olora_vs_lora_tuned"))
