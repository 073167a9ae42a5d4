"""How often tests over seeds or blocks, with the items held fixed, err when both arms are the same: every spread, items and seeds.

    OMP_NUM_THREADS=1 python tests/analysis/null_simulation.py      # three minutes on one core; rewrites null_simulation.csv beside it

A simulated study is the paper's: 5 models x 2 ranks x 6 benchmarks = 60 cells. An arm's run shifts its accuracy on every benchmark by
one draw of N(0, sd) (half its variance shared by the ranks of a model and seed, as data order is), and answers each item by chance at
that item's difficulty. Both arms draw from the same distribution, so every call is an error. The verdicts' own test, over new items too, is
simulated in `simulations/`:
- cell_t: share of cells with p <= 5% by the paired t over seeds, unadjusted;
- holm: share of studies with any cell called after Holm over the 60;
- sign_flip: share of studies that the sign flip over blocks calls a win or a loss;
- count_null: share of studies whose paper-style count lies outside its null by flipping blocks;
- naive_signs: share of studies that a sign test over the 60 cells calls, as if they shared no runs.
Each with its Monte-Carlo standard error. holds: none of the first four lies above 5% by more than `Z` standard errors.
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binom, norm

from olora_bench.analysis.paired import LEVEL, Floats, holm, paired_t
from olora_bench.analysis.win_counts import count_with_null, flip_sets

SPREADS = (0.0, 0.25, 0.5, 1.0, 2.0)
ITEMS = (500, 1267, 10042)
SEEDS = (3, 6, 10)
MODELS, RANKS, BENCHMARKS = 5, 2, 6
DIFFICULTIES = np.array([0.2, 0.45, 0.65, 0.8, 0.95])
Z = float(norm.ppf(1 - 0.05 / (len(SPREADS) * len(ITEMS) * len(SEEDS))))
"""All 45 combinations together are within it with 95% probability."""
HERE = Path(__file__).with_suffix(".csv")
METHODS = ("cell_t", "holm", "sign_flip", "count_null", "naive_signs")


def differences(studies: int, spread: float, items: int, seeds: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Arm minus reference of studies in which both are the same: `(studies, models, ranks, benchmarks, seeds)`, whole numbers of items."""
    shape = (2, studies, MODELS, RANKS, 1, seeds)
    shared = rng.normal(0, 1, (2, studies, MODELS, 1, 1, seeds))
    shift = spread / 100 * (shared + rng.normal(0, 1, shape)) / np.sqrt(2)
    classes = np.full(len(DIFFICULTIES), items // len(DIFFICULTIES))
    classes[: items % len(DIFFICULTIES)] += 1
    right = np.zeros((2, studies, MODELS, RANKS, BENCHMARKS, seeds))
    for size, difficulty in zip(classes, DIFFICULTIES, strict=True):
        chance = np.broadcast_to(np.clip(difficulty + shift, 0, 1), right.shape)
        right += rng.binomial(size, chance)
    return right[0] - right[1]


def errors(d: np.ndarray[Any, Any], rng: np.random.Generator, counted: int) -> dict[str, np.ndarray[Any, Any]]:
    """Per study, the rate of wrong verdicts of each method; `counted` studies for the count's null."""
    studies, seeds = d.shape[0], d.shape[-1]
    p = paired_t(d).p.reshape(studies, -1)
    blocks = d.sum(axis=(2, 3)).reshape(studies, -1)
    sets = flip_sets(blocks.shape[1], rng, exact_up_to=15, draws=4_999)
    flipped = _sign_flip(blocks, sets)
    sums = d.sum(axis=-1).reshape(studies, -1)
    wins, losses = (sums > 0).sum(axis=1), (sums < 0).sum(axis=1)
    naive = np.minimum(1.0, 2 * binom.cdf(np.minimum(wins, losses), wins + losses, 0.5))
    outside = [_count_is_called(study, seeds, rng) for study in d[:counted]]
    return {
        "cell_t": (p <= LEVEL).mean(axis=1),
        "holm": (holm(p) <= LEVEL).any(axis=1).astype(float),
        "sign_flip": (flipped <= LEVEL).astype(float),
        "count_null": np.array(outside, dtype=float),
        "naive_signs": (naive <= LEVEL).astype(float),
    }


def _sign_flip(blocks: Floats, sets: np.ndarray[Any, Any]) -> Floats:
    """p of the sign flip over blocks of each study: flipping a set gives a sum at least as far off where the set's sum is not above 0."""
    sums = blocks @ sets.astype(float).T  # of whole numbers, so exact
    below, above = 1 + (sums <= 0).sum(axis=-1), 1 + (sums >= 0).sum(axis=-1)
    return np.minimum(1.0, 2 * np.minimum(below, above) / (len(sets) + 1))


def _count_is_called(study: np.ndarray[Any, Any], seeds: int, rng: np.random.Generator) -> bool:
    table = np.zeros((MODELS, RANKS * BENCHMARKS, MODELS, seeds))
    for model in range(MODELS):
        table[model, :, model] = study[model].reshape(-1, seeds)
    wins, losses, null = count_with_null(table.reshape(MODELS * RANKS * BENCHMARKS, -1), rng, flips=499)
    return bool((np.abs(null[:, 0] - null[:, 1]) >= abs(wins - losses)).mean() <= LEVEL)


def simulate(spread: float, items: int, seeds: int, *, studies: int, counted: int, seed: int, chunk: int = 100) -> dict[str, Any]:
    """One row of the result."""
    rng = np.random.default_rng([seed, int(100 * spread), items, seeds])
    found: dict[str, list[Any]] = {name: [] for name in METHODS}
    for start in range(0, studies, chunk):
        size = min(chunk, studies - start)
        some = errors(differences(size, spread, items, seeds, rng), rng, max(0, min(size, counted - start)))
        for name, values in some.items():
            found[name].append(values)
    row: dict[str, Any] = {"spread_pp": spread, "items": items, "seeds": seeds, "studies": studies, "counted": counted}
    for name in METHODS:
        values = np.concatenate(found[name])
        row |= {name: values.mean(), f"{name}_se": values.std(ddof=1) / np.sqrt(len(values))}
    row["holds"] = all(row[name] - Z * row[f"{name}_se"] <= LEVEL for name in METHODS[:-1])
    return row


def main(studies: int) -> None:
    """Simulate all combinations and write the CSV."""
    rows = []
    for spread, items, seeds in product(SPREADS, ITEMS, SEEDS):
        rows.append(simulate(spread, items, seeds, studies=studies, counted=min(1000, studies), seed=1))
        print({k: v for k, v in rows[-1].items() if not k.endswith("_se")}, file=sys.stderr, flush=True)
    pd.DataFrame(rows).to_csv(HERE, index=False, float_format="%.4f", lineterminator="\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2500)
