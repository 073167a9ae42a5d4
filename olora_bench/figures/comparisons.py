"""Every declared comparison in one forest: its score and its held-out loss side by side, better at the right in both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from olora_bench.analysis.outcome import Outcome, outcomes
from olora_bench.figures._rows import Group, Row, directions, draw_rows, height_of, shade
from olora_bench.figures._style import QUIET, TITLE_PT, WIDE_IN, ArmStyle, few_ticks, headed, light_grid, styled
from olora_bench.figures.cells import comparison
from olora_bench.store.manifest import Margin
from olora_bench.words import keys
from olora_bench.words.comparisons import Measure, at_edge, by_looks, ends_of, grouped, measures, told, verdict_word
from olora_bench.words.numbers import signed

VERDICT_PT = 34
"""How far right of the axes the verdict begins, in points: beyond the difference in figures."""
FOUND_PT = 9


@styled
def comparisons(verdicts: pd.DataFrame, styles: Mapping[str, ArmStyle], margin: Margin, *, title: str) -> Figure:
    """A panel a measure (score, held-out loss), a row a comparison, those that carry a verdict first; the verdict in words at the right.

    Args:
        verdicts: rows of `analysis.verdicts.confirmatory`, at least one with a difference.
        styles: of every arm.
        margin: the study's, in either measure: it is shaded behind rows that carry a verdict.
    """
    groups = grouped(outcomes(verdicts))
    rows = [row for _, part in groups for row in part]
    shown = measures(rows)
    reaches = [measure.reach(rows, measure.margin(rows, margin)) for measure in shown]
    drawn = [
        [Group(name, [_row(row, measure, styles[row.comparison.arm], reach) for row in part]) for name, part in groups]
        for measure, reach in zip(shown, reaches, strict=True)
    ]
    key = _key(rows, shown, margin)
    figure = headed(height_of(drawn[0], below_in=0.75), title, key=key, between_in=(0.08, 0.03), width_in=WIDE_IN)
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for number, (axes, measure, lines, reach) in enumerate(zip(panels, shown, drawn, reaches, strict=True)):
        axes.axvline(0, color=QUIET, linewidth=0.7, zorder=1)
        draw_rows(axes, lines, labels=number == 0)
        axes.set_xlim(-measure.sign * reach, measure.sign * reach)
        few_ticks(axes, "x", 4)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(value)))
        light_grid(axes, "x")
        axes.set_title(measure.heading, pad=14, fontsize=TITLE_PT)
        axes.set_xlabel(f"difference, {measure.unit} ({measure.better})")
        directions(axes, *ends_of(rows))
        _found(axes, measure, groups)
        _margin(axes, measure, groups, margin)
    _verdicts(panels[-1], groups)
    return figure


def _row(row: Outcome, measure: Measure, style: ArmStyle, reach: float) -> Row:
    found = measure.of(row)
    text = "" if math.isnan(found.value) else measure.text(found.value)
    look = (style.colour, style.marker, found.resolved, text)
    return Row(comparison(row.comparison), found.value, found.low, found.high, *look, reach=reach)


def _key(rows: Sequence[Outcome], shown: Sequence[Measure], margin: Margin) -> str:
    """What the marks of this figure mean."""
    marks = [found for measure in shown for row in rows if not math.isnan((found := measure.of(row)).value)]
    return keys.comparisons(
        told=told(rows),
        filled=any(found.resolved for found in marks),
        open_=any(not found.resolved for found in marks),
        edge=at_edge(rows),
        line=keys.line(looks=by_looks(rows)) if any(not math.isnan(found.low) for found in marks) else "",
        margin=any(math.isfinite(measure.margin(rows, margin)) for measure in shown),
        ticks=any(_called_from(row, measure) < measure.reach(rows, measure.margin(rows, margin)) for measure in shown for row in rows),
    )


def _called_from(row: Outcome, measure: Measure) -> float:
    """From where on what an open verdict is about would be found; NaN where the verdict is not open or is about another measure."""
    return row.judged.found if row.by_loss == measure.by_loss and not row.verdict.decided else math.nan


def _found(axes: Axes, measure: Measure, groups: Sequence[tuple[str, Sequence[Outcome]]]) -> None:
    """On either side of 0, from where on what an open verdict is about would be found; nothing where that lies beyond the axis."""
    reach = max(map(abs, axes.get_xlim()))
    for y, row in zip(axes.get_yticks(), [row for _, part in groups for row in part], strict=True):
        least = _called_from(row, measure)
        if least < reach:
            axes.plot([-least, least], [y, y], linestyle="none", marker="|", markersize=FOUND_PT, color=QUIET, zorder=1.5, gid="found")


def _margin(axes: Axes, measure: Measure, groups: Sequence[tuple[str, Sequence[Outcome]]], margin: Margin) -> None:
    """Behind a row that carries a verdict, the differences that do not matter to the study."""
    for y, row in zip(axes.get_yticks(), [row for _, part in groups for row in part], strict=True):
        shade(axes, y, measure.margin([row], margin))


def _verdicts(axes: Axes, groups: Sequence[tuple[str, Sequence[Outcome]]]) -> None:
    """The verdict of each row, right of its difference; rows stand where `draw_rows` puts them."""
    words = [verdict_word(row) for _, part in groups for row in part]
    for y, word in zip(axes.get_yticks(), words, strict=True):
        axes.annotate(word, (1, y), xycoords=axes.get_yaxis_transform(), xytext=(VERDICT_PT, 0), textcoords="offset points",
                      va="center_baseline", gid="verdict")  # fmt: skip
