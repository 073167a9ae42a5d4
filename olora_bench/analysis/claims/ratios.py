"""Claims about LoRA+'s ratio of B's learning rate to A's."""

from __future__ import annotations

import numpy as np
import pandas as pd

from olora_bench.analysis.claims import evidence
from olora_bench.analysis.claims.values import NOT_SUPPORTED, NOT_TESTED, SUPPORTED, UNRESOLVED, Asked, Finding, Verdict, runs_of
from olora_bench.analysis.exact import flip_p
from olora_bench.analysis.paired import LEVEL, MIN_BLOCKS
from olora_bench.analysis.runs import REPORTED, with_role

SLACK = 0.05
"""A ratio works where it learns at least 95% of what ratio 1 learns."""
TRAVELLED = (("product",), ("a", "b"))
"""How far an adapter has come: its product BA where that was measured, else A and B each."""


def trade_off(asked: Asked) -> Finding:
    """Ratios below 1 against ratios above, at rates of their own and at shared ones: a trade-off is shown where those below travel less and
    end with more loss, both over blocks, and no other choice of rates says otherwise.

    Contradicted where those below travel farther, or where the less travelled side ends with less loss too: then it simply wins. Without
    runs at shared rates it stays unresolved: a distance at a rate that was chosen tells of the choice.
    """
    runs = asked.frames.runs
    own = runs[runs["arm"].isin(asked.arms) & runs["longest"] & (runs["state"] == "done")]
    read = [rates for role in REPORTED if (rates := _at_rates(with_role(own, role), role)) is not None]
    if not read:
        return Finding(NOT_TESTED, evidence.Lacking("travel by ratio"))
    verdicts = {_trade(gap, asked.rng) for _, gap, _ in read}
    equal = any(at.role == "shared" for at, _, _ in read)
    verdict = verdicts.pop() if equal and len(verdicts) == 1 else UNRESOLVED
    trade = evidence.TradeOff(tuple(sorted((at for at, _, _ in read), key=lambda at: at.role != asked.role)))
    return Finding(verdict, trade, tuple(sorted({run for _, _, used in read for run in used})))


def _at_rates(runs: pd.DataFrame, role: str) -> tuple[evidence.TradeAt, pd.DataFrame, tuple[str, ...]] | None:
    """What the runs of one role say, a row a block behind it (logs of distances and losses, below 1 minus above), and the runs."""
    sides = [runs[runs["lr_ratio"] < 1], runs[runs["lr_ratio"] > 1]]
    travelled = next((known for known in TRAVELLED if all(_known(side, known) for side in sides)), None)
    if travelled is None:
        return None
    logs = [side.assign(**{name: np.log(side[_column(name)]) for name in travelled}, loss=side["metrics.report_loss"]) for side in sides]
    means = [side.groupby(["cell", "model", "seed"])[[*travelled, "loss"]].mean() for side in logs]
    gap = (means[0] - means[1]).dropna().groupby(level=["model", "seed"]).mean()
    distances = tuple((name, float(np.exp(gap[name].mean()))) for name in travelled)
    used = tuple(sorted(set(pd.concat(sides)["train_id"])))
    return evidence.TradeAt(role, distances, float(gap["loss"].mean()), len(gap)), gap, used


def _column(name: str) -> str:
    return f"init.anatomy.travelled.{name}.mean"


def _known(side: pd.DataFrame, names: tuple[str, ...]) -> bool:
    return len(side) > 0 and all(_column(name) in side and bool(side[_column(name)].notna().all()) for name in names)


def _trade(gap: pd.DataFrame, rng: np.random.Generator) -> Verdict:
    """`gap` holds a row a block: log distances and `loss` of ratios below 1 minus those above.

    Where A and B stand for the adapter, both must go one way: their lengths depend on how the product BA is split between them, so that
    no sum of the two says which adapter has come farther.
    """
    if len(gap) < MIN_BLOCKS:
        return UNRESOLVED
    signs = {str(name): float(np.sign(gap[name].mean())) * (flip_p(gap[name].tolist(), rng) <= LEVEL) for name in gap}
    loss = signs.pop("loss")
    distances = set(signs.values())
    if distances == {1.0} or (distances == {-1.0} and loss < 0):
        return NOT_SUPPORTED
    return SUPPORTED if distances == {-1.0} and loss > 0 else UNRESOLVED


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
