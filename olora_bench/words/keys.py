"""What marks mean, in one line a figure: it stands in the figure itself, which is then readable without its caption."""

from __future__ import annotations

FOREST = "Filled: a verdict, in the winner's colour. Open: none. Line: 95% interval. Diamond: mean over benchmarks."
WIN_COUNTS = "Mark: cells that the arm named first wins. Grey: 95% of what chance would give."
LOSS_CURVES = "Line: mean over seeds. Lower is better."
LOSS_BANDS = "Band: range of the seeds."
LOSS_CURVES_END = "Right: the end alone, mean and range of the seeds."
LOSS_CURVES_DIVERGED = "Cross: a run diverged."
SPEED_UP = "Filled: resolved. Open: not. Line: 95% interval. Arrow: the value is a bound."
SCHEDULES = (
    "Bar: 95% interval of the difference from {reference} at T (long line). Open: {reference} after as few steps. "
    "Ring: shortest that matches."
)
LEARNING_RATES = "Ring: best of an arm."
LEARNING_RATES_DIVERGED = "Cross: a run diverged."
LEARNING_RATES_FAR = "Triangle: far above."
LEARNING_RATES_FEW = "Open: {few}, filled: {most} runs."
LEARNING_RATES_SCORES = "Scores at one rate stand side by side."
RATIO_MAP = "Tile: loss (nats), dark is high. Frame: best of a ratio. Cross: diverged."
RATIO_PROFILE = "Mark: mean over seeds. Line at 1: one rate for A and B."
ANATOMY = "Open: before training (none: B or A is 0). Filled: after. Thin line: range over layers."
COST = "Dot: a pair of runs of one seed; they lie apart by the machine's load. Bar: their mean. Left of the line: the arm takes less."


def shared_rate(rate: str) -> str:
    """What the dotted line of a figure of learning rates stands for."""
    return f"Dotted: shared rate {rate}."
