"""Claims about LoRA+'s ratio of B's learning rate to A's."""

from __future__ import annotations

import numpy as np
import pandas as pd

from olora_bench.analysis.claims import evidence
from olora_bench.analysis.claims.values import NOT_SUPPORTED, NOT_TESTED, SUPPORTED, UNRESOLVED, Asked, Finding, Verdict, runs_of
from olora_bench.analysis.paired import LEVEL, MIN_BLOCKS, sign_flip
from olora_bench.analysis.runs import with_role

SLACK = 0.05
"""A ratio works where it learns at least 95% of what ratio 1 learns."""


def trade_off(asked: Asked) -> Finding:
    """Ratios below 1 against ratios above: a trade-off is shown where those below travel less and end with more loss, both over blocks.

    Contradicted where those below travel no less, or where the less travelled side ends with less loss too: then it simply wins.
    """
    runs = with_role(asked.whole["run_measures"], asked.role)
    own = runs[runs["arm"].isin(asked.arms) & runs["longest"] & (runs["state"] == "done")]
    own = own.assign(travel=np.log(own["travelled"]))
    sides = [own[own["lr_ratio"] < 1], own[own["lr_ratio"] > 1]]
    if any(side["travel"].dropna().empty for side in sides):
        return Finding(NOT_TESTED, evidence.Lacking("travel by ratio"))
    means = [side.groupby(["cell", "model", "seed"])[["travel", "report_loss"]].mean() for side in sides]
    gap = (means[0] - means[1]).dropna().groupby(level=["model", "seed"])[["travel", "report_loss"]].mean()
    found = evidence.TradeOff(float(np.exp(gap["travel"].mean())), float(gap["report_loss"].mean()), len(gap))
    return Finding(_trade(gap, asked.rng), found, tuple(sorted(set(pd.concat(sides)["train_id"]))))


def _trade(gap: pd.DataFrame, rng: np.random.Generator) -> Verdict:
    """`gap` holds a row a block: log distance and loss of ratios below 1 minus those above."""
    tests = {name: sign_flip(gap[name].to_numpy(dtype=float), rng) for name in gap} if len(gap) else {}
    if len(gap) < MIN_BLOCKS:
        return UNRESOLVED
    less = {name: float(test.mean) < 0 for name, test in tests.items()}
    sure = {name: float(test.p) <= LEVEL for name, test in tests.items()}
    if sure["travel"] and (not less["travel"] or (sure["report_loss"] and less["report_loss"])):
        return NOT_SUPPORTED
    return SUPPORTED if sure["travel"] and sure["report_loss"] else UNRESOLVED


def ratios_both_sides(asked: Asked) -> Finding:
    """In every cell a ratio below and one above 1 end no worse than the reference's ratio of 1, by mean held-out loss."""
    ratios = asked.whole["ratios"]
    own = with_role(ratios[ratios["longest"].astype(bool)], asked.role)
    cells = {cell: losses for cell, group in own.groupby("cell", sort=False) if (losses := _losses(group, asked)) is not None}
    if not cells:
        return Finding(NOT_TESTED, evidence.Lacking("losses by ratio"))
    works = {_works(losses, _untrained(asked, str(cell))) for cell, losses in cells.items()}
    sides = (own["arm"] == asked.claim.reference) | (own["arm"].isin(asked.arms) & ((own["lr_ratio"] < 1) | (own["lr_ratio"] > 1)))
    verdict = UNRESOLVED if len(works) > 1 else SUPPORTED if works.pop() else NOT_SUPPORTED
    return Finding(verdict, evidence.LossByRatio(tuple(cells.values())), runs_of(own[own["cell"].isin(cells) & sides]))


def _losses(cell: pd.DataFrame, asked: Asked) -> evidence.RatioLosses | None:
    """None where there is no loss on one of the sides."""
    own = cell[cell["arm"].isin(asked.arms)]
    sides = (cell[cell["arm"] == asked.claim.reference], own[own["lr_ratio"] < 1], own[own["lr_ratio"] > 1])
    least = [float(side["report_loss"].min()) for side in sides]
    return None if np.isnan(least).any() else evidence.RatioLosses(*least)


def _untrained(asked: Asked, cell: str) -> float:
    runs = asked.frames.runs
    return float(runs[runs["cell"] == cell]["metrics.report_loss_start"].mean())


def _works(losses: evidence.RatioLosses, untrained: float) -> bool:
    most = losses.at_one + SLACK * (untrained - losses.at_one)
    return max(losses.below, losses.above) <= most
