"""Everything that a report says of a study, as frames."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from olora_bench.analysis import gaps, losses, rates, runs, scopes, speed, verdicts, win_counts
from olora_bench.analysis.anatomy import ANATOMY, ANATOMY_VIEW, anatomy
from olora_bench.analysis.cells import APPENDIX_VIEW, CELLS, DIFFERENCES, GRID_VIEW, compare_cells, seed_differences
from olora_bench.analysis.compared import compared
from olora_bench.analysis.comparison import comparisons
from olora_bench.analysis.described import Table, View
from olora_bench.analysis.equivalent_steps import EQUIVALENT_STEPS, EQUIVALENT_STEPS_VIEW, equivalent_steps
from olora_bench.analysis.finalists import FINALISTS, FINALISTS_VIEW, finalists, with_finalists
from olora_bench.analysis.frames import StudyFrames
from olora_bench.analysis.looked import at_looks, stood
from olora_bench.analysis.pairs import PAIRS, pairs
from olora_bench.analysis.scoring import SCORING, SCORING_VIEW, scoring
from olora_bench.analysis.starts import STARTS, STARTS_VIEW, starts

Tables = Mapping[str, pd.DataFrame]
"""Every frame that a report is made of, by name, as `TABLES` describes them. `study.report.analysed` adds claims, published and declared,
described where they are made. Differences are arm minus reference; NaN or null is "not known"."""

TABLES: tuple[Table, ...] = (
    PAIRS, DIFFERENCES, verdicts.VERDICTS, FINALISTS, scopes.SCOPES, win_counts.WIN_COUNTS, scopes.LEFT_OUT,
    CELLS, speed.CROSSINGS, speed.SPEEDUPS,
    EQUIVALENT_STEPS, losses.RUN_MEASURES, losses.COMPARED, losses.COST_TABLE, losses.RATIOS, rates.RATES, rates.SENSITIVITY, STARTS,
    ANATOMY, SCORING, gaps.COVERAGE, gaps.NOT_DONE, gaps.WARNINGS, runs.RUN_TABLE,
)  # fmt: skip
"""The tables of a study."""
VIEWS: tuple[View, ...] = (
    verdicts.VERDICTS_VIEW, FINALISTS_VIEW, scopes.SCOPES_VIEW, win_counts.WIN_COUNTS_VIEW, scopes.LEFT_OUT_VIEW,
    GRID_VIEW, APPENDIX_VIEW, speed.SPEEDUP_VIEW,
    EQUIVALENT_STEPS_VIEW, rates.RATE_VIEW, rates.SENSITIVITY_VIEW, losses.RATIO_VIEW, losses.LOSS_VIEW, losses.COST_VIEW,
    verdicts.CONTROLS_VIEW, STARTS_VIEW, ANATOMY_VIEW, SCORING_VIEW, gaps.COVERAGE_VIEW, gaps.NOT_DONE_VIEW, gaps.WARNING_VIEW,
)  # fmt: skip
"""How reports print them, in order."""


def analyse(frames: StudyFrames, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """All frames of a study, as `Tables` lists them; the same records and the same generator state give the same frames."""
    pair = pairs(frames)
    difference = seed_differences(frames, pair)
    seen = at_looks(frames, pair, difference)
    if seen:
        pair, difference = stood(frames, seen, pair), stood(frames, seen, difference)
    mine = compared(frames, pair, difference)
    crossed = speed.crossings(frames, pair)
    measured = losses.run_measures(frames)
    measures, made_of = losses.compare_measures(frames, pair, measured), anatomy(frames)
    rate = rates.learning_rates(frames, measured)
    fixed = finalists(frames, mine)
    tables = {
        "verdicts": with_finalists(frames, verdicts.confirmatory(frames, mine, seen), mine, fixed),
        **({} if fixed.empty else {"finalists": fixed}),
        "scopes": scopes.scopes(mine, seen),
        "win_counts": win_counts.win_counts(mine, rng),
        "cells": compare_cells(frames, pair, difference, seen),
        "coverage": gaps.coverage(pair),
        "differences": difference,
        "pairs": pair,
        "measures": measures,
        "run_measures": measured,
        "costs": losses.costs(measured),
        "crossings": crossed,
        "speedups": speed.speedups(crossed),
        "equivalent_steps": equivalent_steps(frames, comparisons(pair), seen),
        "rates": rate,
        "sensitivity": rates.sensitivity(rate, frames),
        "ratios": losses.ratios(frames, measured),
        "starts": starts(frames, measures, made_of),
        "anatomy": made_of,
        "scoring": scoring(frames),
        "not_done": gaps.not_done(frames),
        "left_out": scopes.left_out(mine),
    }
    return tables | {"warnings": gaps.warnings(frames, tables)}
