"""Claims about LoRA+'s ratio of B's learning rate to A's."""

from __future__ import annotations

import numpy as np
import pandas as pd

from olora_bench.analysis.claims import evidence
from olora_bench.analysis.claims.thresholds import estimated, ratio_of_means
from olora_bench.analysis.claims.values import NOT_SUPPORTED, NOT_TESTED, SUPPORTED, UNRESOLVED, Asked, Finding, Verdict
from olora_bench.analysis.exact import flip_p
from olora_bench.analysis.paired import LEVEL, MIN_BLOCKS, Floats
from olora_bench.analysis.runs import REPORTED, with_role
from olora_bench.store import OVER

KEPT = 0.95
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
    """In every cell some ratio below and some above 1 keep 95% of the drop in held-out loss that the reference's ratio of 1 has.

    A side keeps it where the interval of its best ratio does (Bonferroni over the side's ratios), and fails where those of all its ratios
    end below (Bonferroni over the two sides). Cells that say different things leave it unresolved, as one that cannot tell does.
    """
    runs = asked.frames.runs
    own = with_role(runs[runs["longest"].astype(bool) & runs["state"].isin(OVER)], asked.role)
    sides = {cell: found for cell, group in own.groupby("cell", sort=False) if (found := _sides(group, asked)) is not None}
    if not sides:
        return Finding(NOT_TESTED, evidence.Lacking("losses by ratio"))
    verdicts = {_works(below, above) for _, below, above, _ in sides.values()}
    losses = tuple(evidence.RatioLosses(at_one, _best(below), _best(above)) for at_one, below, above, _ in sides.values())
    used = tuple(sorted({run for *_, runs in sides.values() for run in runs}))
    return Finding(verdicts.pop() if len(verdicts) == 1 else UNRESOLVED, evidence.LossByRatio(losses, KEPT), used)


_Ratios = list[tuple[float, Floats]]
"""Of each ratio on one side of 1: its mean held-out loss, and what share it keeps of ratio 1's drop, a value a seed (`ratio_of_means`)."""


def _sides(cell: pd.DataFrame, asked: Asked) -> tuple[float, _Ratios, _Ratios, tuple[str, ...]] | None:
    """Ratio 1's mean loss, the ratios below and above it, and the runs; None where there is no loss on one of the sides, or
    none from before training, from which ratio 1 drops."""
    losses = cell.assign(loss=cell["metrics.report_loss"].where(cell["state"] == "done", np.inf))
    reference, own = losses[losses["arm"] == asked.claim.reference], losses[losses["arm"].isin(asked.arms) & (losses["lr_ratio"] != 1)]
    sides = [own[own["lr_ratio"] < 1], own[own["lr_ratio"] > 1]]
    if reference["metrics.report_loss_start"].isna().all() or any(side.empty for side in sides):
        return None
    keys = ["arm", "lr_ratio", *(["lr"] if asked.role == "shared" else [])]
    one = min((group for _, group in reference.groupby(keys)), key=lambda group: float(group["loss"].mean()))
    below, above = ([_kept(group, one) for _, group in side.groupby(keys)] for side in sides)
    return float(one["loss"].mean()), below, above, tuple(sorted({*reference["train_id"], *own["train_id"]}))


def _kept(ratio: pd.DataFrame, one: pd.DataFrame) -> tuple[float, Floats]:
    at, loss = one.set_index("seed"), ratio.set_index("seed")["loss"]
    both = loss.index.intersection(at.index)
    start = at.loc[both, "metrics.report_loss_start"]
    drops = ((start - end.loc[both]).to_numpy(dtype=float) for end in (loss, at["loss"]))
    return float(loss.mean()), ratio_of_means(*drops)


def _best(side: _Ratios) -> evidence.RatioSide:
    loss, kept = min(side, key=lambda ratio: ratio[0])
    return evidence.RatioSide(loss, estimated(kept, level=LEVEL / len(side)))


def _works(*sides: _Ratios) -> Verdict:
    if all(_best(side).kept.low >= KEPT for side in sides):
        return SUPPORTED
    fails = any(all(estimated(kept, level=LEVEL / len(sides)).high < KEPT for _, kept in side) for side in sides)
    return NOT_SUPPORTED if fails else UNRESOLVED
