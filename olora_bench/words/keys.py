"""What marks mean, in one line a figure: it stands in the figure itself, which is then readable without its caption."""

from __future__ import annotations

FOREST = "Filled: a verdict, in the winner's colour. Open: none. Line: 95% interval. Diamond: mean over benchmarks."
WIN_COUNTS = "Mark: cells that the arm named first wins. Grey: 95% of what chance would give."
LOSS_CURVES = "Line: mean over seeds. Band: their range. Lower is better."
LOSS_CURVES_END = "Inset: the end, enlarged."
LOSS_CURVES_DIVERGED = "Cross: a run diverged."
SPEED_UP = "Filled: resolved. Open: not. Line: 95% interval. Arrow: the value is a bound."
SCHEDULES = "Line: 95% interval. Open circle: {reference} after as few steps. Ring: shortest that matches."
LEARNING_RATES = "Ring: best of an arm. Cross: a run diverged. Triangle: far above."
RATIO_MAP = "Tile: loss (nats), dark is high. Frame: best of a ratio. Cross: diverged."
RATIO_PROFILE = "Mark: mean over seeds. Line at 1: one rate for A and B."
ANATOMY = "Open: before training. Filled: after. Line: all layers."
COST = "Bar: mean over finished runs."


def shared_rate(rate: str) -> str:
    """What the dotted line of a figure of learning rates stands for."""
    return f"Dotted: shared rate {rate}."
