"""Everything that a report says of a study, as frames."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from olora_bench.analysis import convergence, losses, rates, verdicts
from olora_bench.analysis.cells import compare_cells, seed_differences
from olora_bench.analysis.frames import StudyFrames, mixed_provenance
from olora_bench.analysis.pairs import pairs

Tables = Mapping[str, pd.DataFrame]


def analyse(frames: StudyFrames, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """All frames of a study; the same records and the same generator state give the same frames.

    Returns:
        name -> frame. The columns and units are in the docstring of the function that makes it:
        verdicts (`verdicts.confirmatory`), win_counts (`verdicts.win_counts`), cells (`cells.compare_cells`), differences
        (`cells.seed_differences`), pairs (`pairs.pairs`), measures (`losses.compare_measures`), run_measures (`losses.run_measures`),
        costs (`losses.costs`), crossings (`convergence.crossings`), speedups (`convergence.speedups`), schedules
        (`convergence.schedules`), rates (`rates.learning_rates`), sensitivity (`rates.sensitivity`), ratios (`losses.ratios`),
        not_done (`losses.not_done`).
    """
    pair = pairs(frames)
    difference = seed_differences(frames, pair)
    crossed = convergence.crossings(frames, pair)
    measured = losses.run_measures(frames)
    rate = rates.learning_rates(frames)
    return {
        "verdicts": verdicts.confirmatory(frames, pair, difference, rng),
        "win_counts": verdicts.win_counts(pair, difference, rng),
        "cells": compare_cells(frames, pair, difference),
        "differences": difference,
        "pairs": pair,
        "measures": losses.compare_measures(pair, measured),
        "run_measures": measured,
        "costs": losses.costs(measured),
        "crossings": crossed,
        "speedups": convergence.speedups(crossed),
        "schedules": convergence.schedules(frames, pair),
        "rates": rate,
        "sensitivity": rates.sensitivity(rate, frames),
        "ratios": losses.ratios(frames, measured),
        "not_done": losses.not_done(frames),
    }


def warnings(frames: StudyFrames, tables: Tables) -> list[str]:
    """What a reader must know before believing a table, one sentence each: gaps, contradictions, mixed machines, unequal seeds."""
    found = list(frames.problems)
    if (frames.runs["state"] == "missing").all():
        found.append("no run of this study has a record yet")
    arms = set(frames.runs["arm"])
    for contrast in frames.contrasts:
        absent = [arm for arm in (contrast["arm"], contrast["reference"]) if arm not in arms]
        found += [f"{contrast['arm']} vs {contrast['reference']}: the study has no run of {arm}" for arm in absent]
        mine = frames.runs[frames.runs["roles"].str.contains("shared")]
        cells = [set(mine[mine["arm"] == contrast[side]]["cell"]) for side in ("arm", "reference")]
        alone_in = len(cells[0] ^ cells[1])
        if not absent and alone_in:
            found.append(
                f"{contrast['arm']} vs {contrast['reference']}: {alone_in} of {len(cells[0] | cells[1])} cells run one arm only: left out"
            )
    seeds = tables["pairs"].groupby(["contrast", "role"], sort=False) if len(tables["pairs"]) else ()
    for (name, role), group in seeds:
        alone = group["arm_id"].isna() | group["reference_id"].isna()
        if alone.any():
            found.append(f"{name} ({role}): {alone.sum()} of {len(group)} pairs (cell, seed) are planned for one arm only and drop out")
    found += [f"the runs do not share one {difference}" for difference in mixed_provenance(frames.runs)]
    return found
