"""Arm against reference, cell by cell, paired by seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

MIN_SEEDS_FOR_VERDICT = 3
"""Fewer seeds than this cannot say how much a score moves when only the seed changes."""

PAIR = ["cell", "lr", "seed"]

Items = Callable[[str], pd.DataFrame]


def item_standard_error(arm: np.ndarray, reference: np.ndarray) -> float:
    """Standard error of the mean difference of two arms on the same items, from resampling items only.

    Args:
        arm, reference: `(seeds, items)`, 1 where the item was answered correctly, the same items in the same order.

    Returns:
        In the unit of the scores. The spread between seeds is not in it.

    >>> round(item_standard_error(np.array([[1, 1, 0, 0]]), np.array([[0, 1, 0, 0]])), 3)
    0.25
    """
    difference = arm.mean(axis=0, dtype=float) - reference.mean(axis=0, dtype=float)
    return float(difference.std(ddof=1) / np.sqrt(difference.size))


def detectable_difference(standard_error: float, *, level: float = 0.05, power: float = 0.8) -> float:
    """The smallest true difference that a two-sided test at `level` finds with probability `power`, given a standard error.

    >>> round(detectable_difference(1.0), 2)
    2.8
    """
    return float((norm.ppf(1 - level / 2) + norm.ppf(power)) * standard_error)


def compare_cells(runs: pd.DataFrame, scores: pd.DataFrame, items: Items, *, arm: str, reference: str) -> pd.DataFrame:
    """One contrast, a row a (model, rank, lr, benchmark).

    Args:
        runs: one row a run of the study: train_id, eval_id, base_eval_id, cell, model, arm, rank, lr, seed, state.
        scores: one row a (eval_id, benchmark) of finished evaluations: metric (the primary one), value in [0, 1], items, chance.
        items: eval_id -> frame of its items (benchmark, item_id, correct, correct_norm).
        arm, reference: the two arms of the contrast.

    Returns:
        model, rank, lr, benchmark, metric, items, chance, base, reference, arm (percent), difference (percentage points; null where an arm
        has no score), seeds (pairs), seeds_missing, detectable (percentage points, item part only) and runs (the train_ids behind the row).
    """
    by_eval = {(row["eval_id"], row["benchmark"]): row for row in scores.to_dict("records")}
    rows: list[dict[str, Any]] = []
    mine = runs[runs["arm"].isin([arm, reference])]
    group: pd.DataFrame
    for (model, rank, lr), group in mine.groupby(["model", "rank", "lr"], sort=False):
        pairs = group.pivot_table(index=PAIR, columns="arm", values="eval_id", aggfunc="first").reindex(columns=[arm, reference])
        base_eval = group["base_eval_id"].iloc[0]
        for benchmark in dict.fromkeys(b for e, b in by_eval if e in set(group["eval_id"]) or e == base_eval):
            found = [
                (by_eval[a, benchmark], by_eval[r, benchmark])
                for a, r in pairs.itertuples(index=False)
                if (a, benchmark) in by_eval and (r, benchmark) in by_eval
            ]
            base = by_eval.get((base_eval, benchmark))
            known = [score for pair in found for score in pair] + ([base] if base is not None else [])
            column = "correct_norm" if known[0]["metric"] == "acc_norm" else "correct"
            rows.append(
                {
                    "model": model,
                    "rank": rank,
                    "lr": lr,
                    "benchmark": benchmark,
                    "metric": known[0]["metric"],
                    "items": known[0]["items"],
                    "chance": 100 * known[0]["chance"],
                    "base": None if base is None else 100 * base["value"],
                    "reference": 100 * float(np.mean([r["value"] for _, r in found])) if found else None,
                    "arm": 100 * float(np.mean([a["value"] for a, _ in found])) if found else None,
                    "difference": 100 * float(np.mean([a["value"] - r["value"] for a, r in found])) if found else None,
                    "seeds": len(found),
                    "seeds_missing": len(pairs) - len(found),
                    "detectable": _detectable(found, benchmark, column, items) if found else None,
                    "runs": " ".join(sorted(group["train_id"])),
                }
            )
    return pd.DataFrame(rows)


def _detectable(found: list[tuple[Any, Any]], benchmark: str, column: str, items: Items) -> float | None:
    """In percentage points; null where no item was answered differently, so that their spread cannot be told."""

    def correct(eval_id: str) -> pd.Series[Any]:
        frame = items(eval_id)
        return frame[frame["benchmark"] == benchmark].set_index("item_id")[column]

    arm = pd.concat([correct(a["eval_id"]) for a, _ in found], axis=1)
    reference = pd.concat([correct(r["eval_id"]) for _, r in found], axis=1).loc[arm.index]
    error = item_standard_error(arm.to_numpy().T, reference.to_numpy().T)
    return 100 * detectable_difference(error) if error > 0 else None
