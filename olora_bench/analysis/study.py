"""Everything that a report says of a study, as frames."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from olora_bench.analysis import convergence, gaps, losses, rates, runs, schedules, verdicts
from olora_bench.analysis.anatomy import ANATOMY, ANATOMY_VIEW, anatomy
from olora_bench.analysis.cells import compare_cells, seed_differences
from olora_bench.analysis.described import Table, View
from olora_bench.analysis.frames import StudyFrames
from olora_bench.analysis.pairs import pairs
from olora_bench.analysis.scoring import SCORING, SCORING_VIEW, scoring

Tables = Mapping[str, pd.DataFrame]
"""Every frame that a report is made of, by name. Differences are arm minus reference; `runs` are the train_ids behind a row.

COMPARISON is contrast ("arm vs reference"), kind (primary | secondary), role (tuned | shared), arm, reference, confirmatory,
lr_reference, lr_arm (both null under `tuned`, where they differ from cell to cell). CELL is cell, family, model, rank, setting, longest
(no cell of its family trains longer; only such cells are in a headline). Text unless said otherwise; NaN or null is "not known".

- verdicts, one row a comparison: COMPARISON; blocks, models, pairs_planned, pairs_missing, diverged (int); judged_by (score |
  report_loss, where nothing is scored | nothing); difference, low, high, detectable (pp, scores), p, p_holm, blocks_for, blocks_against;
  loss_blocks, loss_difference, loss_low, loss_high, loss_detectable (nats), loss_p; open_searches; mixed (what its runs do not share);
  verdict (win | loss | unresolved | not enough runs | no verdict), note, runs.
- win_counts, one row a comparison with a score: COMPARISON; cells, wins, losses, ties, tied, blocks, null_low, null_high, p, p_coins,
  runs.
- left_out, one row a (comparison, benchmark) where several are scored: COMPARISON; benchmark (left out of the macro-average), blocks,
  blocks_for, blocks_against, difference, low, high (pp), p, runs.
- cells, one row a (comparison, cell, benchmark, metric): COMPARISON, CELL; cell_lr_reference, cell_lr_arm, benchmark, metric, primary,
  items, chance, constant (what the same answer to every item scores at best), base, score_reference, score_arm, gave_reference,
  gave_arm (how often each side gave that answer; all percent), difference, low, high (pp), p, p_holm, seeds, seeds_planned, diverged,
  detectable (items), detectable_seeds (pp), flips_reference, flips_arm (percent of items that fp32 would answer otherwise), flip_items,
  exploratory, mixed, verdict (win | loss | unresolved | no verdict), note, runs.
- differences, one row a (pair, benchmark, metric); pairs, one row a pair: as `cells.seed_differences` and `pairs.pairs` say.
- the others as `TABLES` describes them.

`study.report.analysed` adds, where there is anything to add: claims (claim, paper, sentence, verdict, figure, protocol, runs), published
(source, model, rank, arm, benchmark, metric, lr, setting, published, ours, difference, seeds, note, runs) and declared (one row: file,
commit, committed_at, changed_since, runs, runs_before, runs_after (counts), reason, before: the ids of those that started before it).
"""


TABLES: tuple[Table, ...] = (
    convergence.CROSSINGS, convergence.SPEEDUPS, schedules.SCHEDULES, losses.RUN_MEASURES, losses.COMPARED, losses.COST_TABLE,
    losses.RATIOS, rates.RATES, rates.SENSITIVITY, ANATOMY, SCORING, gaps.COVERAGE, gaps.NOT_DONE, gaps.WARNINGS, runs.RUN_TABLE,
)  # fmt: skip
"""The described tables."""
VIEWS: tuple[View, ...] = (
    convergence.SPEEDUP_VIEW, schedules.SCHEDULE_VIEW, rates.RATE_VIEW, rates.SENSITIVITY_VIEW, losses.RATIO_VIEW, losses.LOSS_VIEW,
    losses.COST_VIEW, ANATOMY_VIEW, SCORING_VIEW, gaps.COVERAGE_VIEW, gaps.NOT_DONE_VIEW, gaps.WARNING_VIEW,
)  # fmt: skip
"""Those that a report prints whole, in its order."""


def analyse(frames: StudyFrames, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """All frames of a study, as `Tables` lists them; the same records and the same generator state give the same frames."""
    pair = pairs(frames)
    difference = seed_differences(frames, pair)
    crossed = convergence.crossings(frames, pair)
    measured = losses.run_measures(frames)
    rate = rates.learning_rates(frames, measured)
    tables = {
        "verdicts": verdicts.confirmatory(frames, pair, difference, rng),
        "win_counts": verdicts.win_counts(pair, difference, rng),
        "cells": compare_cells(frames, pair, difference),
        "coverage": gaps.coverage(pair),
        "differences": difference,
        "pairs": pair,
        "measures": losses.compare_measures(pair, measured),
        "run_measures": measured,
        "costs": losses.costs(measured),
        "crossings": crossed,
        "speedups": convergence.speedups(crossed),
        "schedules": schedules.schedules(frames),
        "rates": rate,
        "sensitivity": rates.sensitivity(rate, frames),
        "ratios": losses.ratios(frames, measured),
        "anatomy": anatomy(frames),
        "scoring": scoring(frames),
        "not_done": gaps.not_done(frames),
        "left_out": verdicts.left_out(pair, difference, rng),
    }
    return tables | {"warnings": gaps.warnings(frames, tables)}
