"""What marks mean, in one line a figure: it stands in the figure itself, which is then readable without its caption. A mark that a figure
has none of is not explained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from olora_bench.analysis.paired import LEVEL
from olora_bench.identity import lr_text

WIN_COUNTS = (
    "Mark: cells (one benchmark of one model and rank) that the arm named first wins. Grey: 95% of what chance gives for these runs, ends "
    "included."
)
LOSS_CURVES = "Line: mean over seeds. Lower is better."
LOSS_BANDS = "Band: range of the seeds."
LOSS_CURVES_END = "Right: the end alone, mean and range of the seeds."
LOSS_CURVES_DIVERGED = "Cross: a run diverged."
LEARNING_RATES = "Loss: lower is better."
LEARNING_RATES_SCORES = "Score: higher is better."
LEARNING_RATES_RING = "Ring: an arm's best rate by loss."
LEARNING_RATES_RING_SCORES = "Ring: an arm's best rate by loss, in the score panel too."
LEARNING_RATES_DIVERGED = "Cross at the top: a run diverged."
LEARNING_RATES_FAR = "Triangle at the top: a loss far above."
LEARNING_RATES_INSIDE = "Several arms' marks there lie inside one another."
LEARNING_RATES_FEW = "Open: {few}, filled: {most} runs."
RATIO_MAP = "Tile: loss (nats), dark is high. Frame: best of a ratio."
RATIO_MAP_DIVERGED = "Cross: diverged."
RATIO_PROFILE = "Mark: mean over seeds. Line at 1: one rate for A and B."
STARTS = "Line: 95% interval of one look. Open: the arm that all are compared with. Right: what each starts from, mean over layers."
COST = "Dot: a pair of runs of one seed. Bar: their mean. Left of the line: the arm takes less."
TOLD = "Filled: told from 0 (the verdict; all else uncorrected)."
TOLD_WITH_MARGIN = "Filled: told from 0, or equivalent (the verdict; all else uncorrected)."
AT_LOOKS = ", of a verdict at looks the repeated one"
COST_NOISE = "Noisy (other work ran beside): dots on both sides of the line show no difference."


def said(**marks: tuple[object, str]) -> str:
    """The explanations of those marks that are drawn, in the order given.

    >>> said(filled=(True, "Filled: shown."), open=(0, "Open: not."), line=(True, "Line: 95% interval."))
    'Filled: shown. Line: 95% interval.'
    """
    return " ".join(text for drawn, text in marks.values() if drawn)


def line(*, looks: bool) -> str:
    """What the line of a difference is.

    >>> line(looks=True)
    'Line: 95% interval, of a verdict at looks the repeated one.'
    """
    return f"Line: 95% interval{AT_LOOKS if looks else ''}."


def forest(over: int, noun: str, *, filled: bool, open_: bool, interval: bool, margin: bool = False, looks: bool = False) -> str:
    """What the marks of a forest of cells mean; `over`: how many of `noun` Holm goes over, one or none where p is not corrected.

    >>> forest(6, "benchmark", filled=True, open_=True, interval=False)
    "Filled: shown, Holm over 6 benchmarks, in the winner's colour. Open: not. Diamond: mean over benchmarks, by its own verdict."
    >>> forest(0, "benchmark", filled=False, open_=True, interval=False)
    'Open: p > 0.05, uncorrected. Diamond: mean over benchmarks, by its own verdict.'
    """
    corrected = f"Holm over {over} {noun}s"
    means, not_ = (
        (f"shown, {corrected}", f"not shown, {corrected}") if over > 1 else (f"p ≤ {LEVEL:g}, uncorrected", f"p > {LEVEL:g}, uncorrected")
    )
    return said(
        filled=(filled, f"Filled: {means}, in the winner's colour."),
        open=(open_, "Open: not." if filled else f"Open: {not_}."),
        line=(interval, line(looks=looks)),
        diamond=(True, "Diamond: mean over benchmarks, by its own verdict."),
        margin=(margin, "Shaded: within the margin."),
    )


def opened(*, filled: bool, edge: bool) -> str:
    """What an open mark of a comparison means. `edge`: whether some is open for a best rate at an edge of its finalists alone.

    >>> opened(filled=True, edge=True), opened(filled=False, edge=False)
    ('Open: not, or against an arm whose best rate lies at an edge.', 'Open: not told from 0.')
    """
    return f"Open: not{'' if filled else ' told from 0'}{', or against an arm whose best rate lies at an edge' if edge else ''}."


def comparisons(*, told: str, filled: bool, open_: bool, line: str, ticks: bool, margin: bool, edge: bool = False) -> str:
    """What the marks of the forest of all comparisons mean.

    Args:
        told: what a filled mark means, `TOLD` or `TOLD_WITH_MARGIN`.
        filled, open_, ticks, margin: whether there are such marks; `edge` as for `opened`.
        line: what a line is, empty where there is none.
    """
    return said(
        filled=(filled, told),
        open=(open_, opened(filled=filled, edge=edge)),
        line=(line, line),
        ticks=(ticks, "Grey tick: a true difference is found four times in five from here on."),
        margin=(margin, "Shaded: within the margin."),
    )


def speed_up(reference: str, *, filled: bool, open_: bool, interval: bool, bound: bool) -> str:
    """What the rows and marks of a figure of speed-ups mean."""
    return said(
        rows=(True, f"Rows: a share of {reference}'s loss drop. Inside one schedule: a hint."),
        filled=(filled, f"Filled: p ≤ {LEVEL:g}, uncorrected."),
        open=(open_, "Open: not." if filled else f"Open: p > {LEVEL:g}, uncorrected."),
        line=(interval, "Line: 95% interval."),
        arrow=(bound, "Arrow: the value is a bound."),
    )


def equivalent_steps(arm: str, *, filled: bool, open_: bool, arrow: bool) -> str:
    """What the marks of a figure of equivalent steps mean."""
    return said(
        better=(True, f"Above: lower is better. Below, over 1: {arm} is faster."),
        bar=(True, "Bar: 95% interval."),
        arrow=(arrow, "Arrow: open."),
        filled=(filled, "Filled: it leaves 1 out, uncorrected."),
        open=(open_, "Open: not." if filled else "Open: it holds 1."),
        ring=(True, "Ring: the length that decides."),
    )


def anatomy(rates: Mapping[str, Iterable[float]], *, before: bool, none: bool) -> str:
    """What the marks of a figure of adapters mean, and the learning rates that its arms were trained at."""
    shown = {arm: " / ".join(map(lr_text, each)) for arm, each in rates.items()}
    alike = len(set(shown.values())) == 1
    listed = next(iter(shown.values())) if alike else ", ".join(f"{arm}\u00a0{rate}" for arm, rate in shown.items())
    return said(
        open=(before, f"Open: before training{' (none: B or A is 0)' if none else ''}."),
        filled=(True, "Filled: after training."),
        line=(True, "Thin line: range over layers."),
        rates=(True, f"Learning rate{' of all' if alike and len(shown) > 1 else ''}: {listed}."),
    )


def shared_rate(rate: str) -> str:
    """What the dotted line of a figure of learning rates stands for."""
    return f"Dotted: shared rate {rate}."
