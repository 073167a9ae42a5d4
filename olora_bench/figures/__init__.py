"""Figures: one function a figure, data frame in, matplotlib Figure out. Reads no file, takes no statistics, imports no torch."""

from olora_bench.figures.adapters import anatomy, cost
from olora_bench.figures.book import Captioned, LeftOut, study_figures
from olora_bench.figures.cells import forest, win_counts
from olora_bench.figures.comparisons import comparisons
from olora_bench.figures.curves import loss_curves
from olora_bench.figures.files import FORMATS, captions, file_bytes
from olora_bench.figures.rates import learning_rates
from olora_bench.figures.ratios import ratio_map, ratio_profile
from olora_bench.figures.speed import equivalent_steps, speed_up
from olora_bench.report.arm_styles import ArmStyle, arm_styles

__all__ = [
    "FORMATS",
    "ArmStyle",
    "Captioned",
    "LeftOut",
    "anatomy",
    "arm_styles",
    "captions",
    "comparisons",
    "cost",
    "equivalent_steps",
    "file_bytes",
    "forest",
    "learning_rates",
    "loss_curves",
    "ratio_map",
    "ratio_profile",
    "speed_up",
    "study_figures",
    "win_counts",
]
