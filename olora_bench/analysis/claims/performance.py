"""Claims about scores."""

from __future__ import annotations

import pandas as pd

from olora_bench.analysis.claims import evidence
from olora_bench.analysis.claims.values import NOT_SUPPORTED, NOT_TESTED, SUPPORTED, UNRESOLVED, Asked, Finding, Verdict, runs_of
from olora_bench.analysis.compared import block_differences, mean_of
from olora_bench.analysis.exact import flip_p
from olora_bench.analysis.frames import rows_of
from olora_bench.analysis.paired import LEVEL, MIN_BLOCKS


def win_count(asked: Asked) -> Finding:
    """The paper-style count against its null band by flipping whole blocks."""
    counts = asked.tables["win_counts"]
    if counts.empty:
        return Finding(NOT_TESTED, evidence.Lacking("scores"))
    rows = rows_of(counts)
    verdicts = {_beyond_chance(row["p"], row["blocks"], row["wins"] > row["losses"]) for row in rows}
    found = evidence.WinCounts(
        tuple(evidence.WinCount(*(int(row[k]) for k in ("wins", "cells", "null_low", "null_high", "blocks"))) for row in rows)
    )
    return Finding(verdicts.pop() if len(verdicts) == 1 else UNRESOLVED, found, runs_of(counts))


def _beyond_chance(p: float, blocks: int, positive: bool) -> Verdict:
    if p > LEVEL or blocks < MIN_BLOCKS:
        return UNRESOLVED
    return SUPPORTED if positive else NOT_SUPPORTED


def every_model(asked: Asked) -> Finding:
    """The macro-average of each model on its own; at least six seeds each, at least two models."""
    primary = _primary(asked)
    models = list(dict.fromkeys(primary["model"]))
    if len(models) < 2:
        return Finding(NOT_TESTED, evidence.TooFewModels(len(models)))
    blocks = block_differences(primary)
    good = bad = 0
    gains = []
    for model in models:
        own = {block: value for block, value in blocks.items() if block.model == model}
        p, mean = flip_p(list(own.values()), asked.rng), mean_of(own)
        # That all models gain needs no correction, since each must be shown; that some model loses does.
        good += p <= LEVEL and mean > 0
        bad += p <= LEVEL / len(models) and mean < 0
        gains.append(evidence.ModelGain(model, mean, len(own)))
    verdict = SUPPORTED if good == len(models) else NOT_SUPPORTED if bad else UNRESOLVED
    return Finding(verdict, evidence.ModelGains(tuple(gains)), runs_of(asked.tables["cells"]))


def most_gain_on(asked: Asked) -> Finding:
    """The mean gain on the claim's benchmarks minus that on the others, flipped by whole blocks."""
    named, primary = set(asked.claim.benchmarks), _primary(asked)
    scored = set(primary["benchmark"])
    if not named <= scored or scored == named:
        return Finding(NOT_TESTED, evidence.BenchmarksLacking(tuple(sorted(named))))
    here, elsewhere = (block_differences(primary[primary["benchmark"].isin(named) == inside]) for inside in (True, False))
    gap = {block: here[block] - elsewhere[block] for block in here if block in elsewhere}
    p = flip_p(list(gap.values()), asked.rng)
    found = evidence.GainBySide(mean_of(here), mean_of(elsewhere), len(gap), p)
    return Finding(_beyond_chance(p, len(gap), mean_of(gap) > 0), found, runs_of(asked.tables["cells"]))


def _primary(asked: Asked) -> pd.DataFrame:
    differences = asked.tables["differences"]
    return differences[differences["primary"].astype(bool)]
