"""The paper-style count of cells won, with its null band: shown beside a verdict, never instead of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest

from olora_bench.analysis.columns import COMPARISON_COLUMNS, RUNS
from olora_bench.analysis.compared import Compared
from olora_bench.analysis.described import Column, Table, View
from olora_bench.analysis.paired import LEVEL, Floats
from olora_bench.analysis.pairs import run_ids

COUNT_FLIPS_EXACT = 14
COUNT_FLIPS = 9_999
_AT_ONCE = 1024

WIN_COUNTS = Table(
    "win_counts",
    "a comparison with a score",
    (
        *COMPARISON_COLUMNS,
        Column("cells", "(model, rank, setting, benchmark) with a score", heading="cells"),
        Column("wins", "cells in which the arm's mean is higher", heading="wins"),
        Column("losses", "cells in which the reference's mean is higher", heading="losses"),
        Column("ties", "cells in which the means are the same", heading="ties"),
        Column("tied", "the names of tied cells"),
        Column("blocks", "blocks (model, seed)"),
        Column("null_low", "lower end of the central 95% of wins when whole blocks change sign", heading="null from"),
        Column("null_high", "upper end of that band", heading="null to"),
        Column("p", "two-sided, of wins minus losses in that null", heading="p", form="probability"),
        Column("p_coins", "what a sign test over cells would claim, were they independent", heading="p coins", form="probability"),
        RUNS,
    ),
)
WIN_COUNTS_VIEW = View(
    "win_counts",
    "Paper-style counts",
    "Paper-style count: higher mean wins a cell. Null band: the central 95% of wins when whole blocks (model, seed) change sign. "
    "p coins: a sign test that took cells for independent, shown for contrast only.",
    WIN_COUNTS,
)


def win_counts(compared: list[Compared], rng: np.random.Generator) -> pd.DataFrame:
    """The paper-style count (higher mean wins a cell), and what the same runs would count were the arms the same.

    Args:
        compared: the study's comparisons.
        rng: draws the flips where there are too many blocks to list them.

    Returns:
        The table `WIN_COUNTS`.
    """
    return WIN_COUNTS.frame(
        one.comparison.columns | _count(one.differences, rng) | {"runs": run_ids(one.pairs)} for one in compared if len(one.differences)
    )


def _count(differences: pd.DataFrame, rng: np.random.Generator) -> dict[str, int | float | str]:
    seeds = differences.pivot_table(index=["model", "rank", "setting", "cell", "benchmark"], columns="seed", values="more", sort=True)
    models = seeds.index.get_level_values("model")
    more = seeds.to_numpy(dtype=float)
    blocks = [np.where(models == m, column, np.nan) for m in dict.fromkeys(models) for column in more.T]
    table = np.nan_to_num(np.stack([block for block in blocks if not np.isnan(block).all()], axis=1))
    wins, losses, null = count_with_null(table, rng)
    low, high = np.quantile(null[:, 0], [LEVEL / 2, 1 - LEVEL / 2], method="inverted_cdf")
    tied = [f"{m} r{r} {b}" for (m, r, _, _, b), row in zip(seeds.index, table, strict=True) if row.sum() == 0]
    margin = np.abs(null[:, 0] - null[:, 1]) >= abs(wins - losses)
    return {
        "cells": len(seeds), "wins": wins, "losses": losses, "ties": len(tied), "tied": "; ".join(tied), "blocks": table.shape[1],
        "null_low": int(low), "null_high": int(high), "p": float(margin.mean()),
        "p_coins": float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0,
    }  # fmt: skip


def count_with_null(table: Floats, rng: np.random.Generator, *, flips: int = COUNT_FLIPS) -> tuple[int, int, Any]:
    """Wins and losses of cells, and the same after flipping blocks.

    Args:
        table: `(cells, blocks)`, by how many items the arm leads in each block, whole numbers, 0 where the block has none: its row sum
            decides the cell, and is exact.
        rng: draws `flips` flips where there are too many blocks (more than `COUNT_FLIPS_EXACT`) to list all.

    Returns:
        wins, losses, and `(flips, 2)` wins and losses under each flip, the unflipped one first.

    >>> count_with_null(np.array([[1.0], [2.0]]), np.random.default_rng(0))[2].tolist()
    [[2, 0], [0, 2]]
    """
    blocks = table.shape[1]
    unflipped = np.zeros((1, blocks), dtype=bool)
    sets = np.vstack([unflipped, flip_sets(blocks, rng, exact_up_to=COUNT_FLIPS_EXACT, draws=flips)])
    counts = []
    for part in np.array_split(sets, -(-len(sets) // _AT_ONCE)):
        sums = np.where(part, -1.0, 1.0) @ table.T
        counts.append(np.stack([(sums > 0).sum(axis=1), (sums < 0).sum(axis=1)], axis=1))
    null = np.concatenate(counts)
    return int(null[0, 0]), int(null[0, 1]), null


def flip_sets(blocks: int, rng: np.random.Generator, *, exact_up_to: int, draws: int) -> NDArray[np.bool_]:
    """Which blocks change sign: `(sets, blocks)`, every non-empty set, or `draws` random ones of more than `exact_up_to` blocks."""
    if blocks <= exact_up_to:
        return np.arange(1, 2**blocks)[:, None] >> np.arange(blocks) & 1 == 1
    chosen = rng.integers(0, 2, (draws, blocks), dtype=np.int8).view(bool)
    chosen[~chosen.any(axis=1)] = True  # one set in 2^14 at most: it stands for the empty one, which is counted apart
    return chosen
