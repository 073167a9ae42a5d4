"""Everything that a report says of a study, as frames."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from olora_bench.analysis import convergence, gaps, losses, rates, verdicts
from olora_bench.analysis.anatomy import anatomy
from olora_bench.analysis.cells import compare_cells, seed_differences
from olora_bench.analysis.frames import StudyFrames, rows_of
from olora_bench.analysis.gaps import scoring
from olora_bench.analysis.pairs import pairs

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
- coverage, one row a (comparison, cell): COMPARISON, CELL; planned, complete, diverged, failed, missing, unscored (seeds, int), gaps (the
  seeds that are not complete, in words), runs.
- differences, one row a (pair, benchmark, metric); pairs, one row a pair: as `cells.seed_differences` and `pairs.pairs` say.
- measures, one row a (comparison, cell, measure): COMPARISON, CELL; measure (report_loss, generalisation_gap, spikes, clipped_step_share,
  train_seconds, init_seconds, peak_above_base_bytes, parameters_trainable, bleu, rouge1, rouge2, rougeL, log10_a_condition,
  log10_b_condition, travelled), unit, value_reference, value_arm, difference, low, high, detectable, ratio, p, seeds, exploratory,
  verdict (lower | higher | equal | unresolved | no verdict), runs.
- run_measures, one row a run with a record: train_id, cell, model, rank, setting, longest, arm, lr, lr_ratio, seed, roles, state, every
  measure above, and report_loss_start, train_loss_end, steps, tokens_per_s, init_share, peak_bytes, adapter_bytes, travelled_a,
  travelled_b.
- costs, one row a (model, rank, setting, arm): means over finished runs; longest, n_runs, train_seconds, tokens_per_s,
  supervised_tokens_per_s, flops_utilisation, init_seconds, init_share, peak_bytes, peak_above_base_bytes, parameters_trainable,
  adapter_bytes, clipped_step_share, runs.
- crossings, one row a (pair, q); speedups, one row a (comparison, cell, q, unit): as `convergence` says.
- schedules, one row a (comparison, family, share): contrast, kind, role, arm, reference, family, model, rank; steps_reference (T), share
  (4, 2, 1: T/share), steps_arm, lr_reference, lr_arm, loss_reference (at T), loss_reference_short (the reference's own at T/share),
  loss_arm, difference, low, high, detectable (nats), seconds_reference, seconds_arm (of training), seeds, seeds_planned, diverged,
  matches, sure, smallest, note, runs.
- rates, one row a (cell, arm, lr): cell, model, rank, setting, longest, arm, lr, stage, criterion, tune, report_loss, score, spikes,
  n_runs, diverged, failed, best, edge, searched, runs.
- sensitivity, one row a (cell, arm) with two learning rates or more: cell, model, rank, setting, longest, arm, criterion, tuning_runs,
  points, best_lr, best_loss, edge, off_low, off_high, good_low, good_high, good_width, good_open, note, runs.
- ratios, one row a (cell, arm, lr) where a ratio is varied: cell, model, rank, setting, longest, arm, init, lr, lr_ratio, roles, n_runs,
  diverged, report_loss, report_loss_sd, score, travelled, bleu, rouge1, rouge2, rougeL, and <metric>_base of the untouched base; runs.
- anatomy, one row a (model, rank, setting, arm, lr, stage, fact): as `anatomy.anatomy` says.
- scoring, one row a (model, arm, benchmark, metric), the untouched base an arm of its own ("base"): model, arm, benchmark, metric,
  n_evals, items, truncated, flips (percent, the mean), flips_max, flip_items, warnings (each once, with how many evaluations gave it),
  runs.
- not_done, one row a run or scoring that is not there: train_id, model, rank, setting, arm, lr, seed, roles, what, reason.
- warnings, one row a sentence that a reader must know first: about (the study, or a contrast), sentence.

`study.report.analysed` adds, where there is anything to add: claims (claim, paper, sentence, verdict, figure, protocol, runs), published
(source, model, rank, arm, benchmark, metric, lr, setting, published, ours, difference, seeds, note, runs) and declared (one row: file,
commit, committed_at, changed_since, runs, runs_before, runs_after (counts), reason, before: the ids of those that started before it).
"""


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
        "schedules": convergence.schedules(frames),
        "rates": rate,
        "sensitivity": rates.sensitivity(rate, frames),
        "ratios": losses.ratios(frames, measured),
        "anatomy": anatomy(frames),
        "scoring": scoring(frames),
        "not_done": gaps.not_done(frames),
        "left_out": verdicts.left_out(pair, difference, rng),
    }
    return tables | {"warnings": gaps.warnings(frames, tables)}


def warnings(frames: StudyFrames, tables: Tables) -> list[str]:
    """The table of warnings as sentences, a contrast's with its name."""
    return [
        row["sentence"] if row["about"] == frames.study else f"{row['about']}: {row['sentence']}" for row in rows_of(tables["warnings"])
    ]
