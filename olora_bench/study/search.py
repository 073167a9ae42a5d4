"""The search of a learning rate: what it wants to know next, given what is known. Pure, so that a search resumes from its records alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from olora_bench.study.schema import Tuning

Side = Literal["low", "high"]
Loss = Callable[[str, float], float | None]
"""(arm, lr) -> the criterion's loss, the mean over the tuning seeds: infinite where one diverged, None while one is not known."""


@dataclass(frozen=True)
class Search:
    """One arm's search in one cell.

    `tried` maps each learning rate wanted so far to its stage (`start`, `extension 1`, ..., `refinement`). `best` has the lowest loss
    once a stage is complete. `chosen` is null until the search is over, and stays null for an arm whose best is still at an `edge`.
    """

    arm: str
    tried: dict[float, str]
    best: float | None = None
    edge: Side | None = None
    chosen: float | None = None


def rung(number: int) -> float:
    """The learning rate 10^(number/4), to three digits: even numbers are the start grid's ladder, odd ones lie between.

    >>> rung(-16), rung(-14), rung(-15)
    (0.0001, 0.000316, 0.000178)
    """
    return _rounded(10 ** (number / 4))


def _rounded(lr: float) -> float:
    return float(f"{lr:.2e}")


def neighbours(lr: float) -> tuple[float, float]:
    """A factor 10^(1/4) below and above.

    >>> neighbours(1e-3)
    (0.000562, 0.00178)
    """
    exact = 10 ** (round(4 * math.log10(lr)) / 4)
    exact = exact if _rounded(exact) == lr else lr  # no rounding of a rounded number on the ladder
    return _rounded(exact / 10**0.25), _rounded(exact * 10**0.25)


def search(arms: Sequence[str], rule: Tuning, loss: Loss) -> list[Search]:
    """Replay the search of one cell, as far as its losses are known.

    The start grid is common to all arms. While an arm's best is the lowest or highest learning rate, that side is extended for every
    arm, at most `rule.max_extensions` times a side. Then each arm at no edge gets a point a factor 10^(1/4) either side of its best.

    Args:
        arms: the cell's arms.
        rule: the study's `tuning`.
        loss: what is known.

    Returns:
        One search an arm. All that `tried` names and `loss` does not know is what has to run next.
    """
    low, high = (round(4 * math.log10(lr)) for lr in (rule.lrs[0], rule.lrs[-1]))
    common = {rung(number): "start" for number in range(low, high + 1, 2)}
    if rule.shared_lr is not None:
        common.setdefault(rule.shared_lr, "start")
    left: dict[Side, int] = {"low": rule.max_extensions, "high": rule.max_extensions}
    stage = 0
    while True:
        bests = {arm: _best(arm, common, loss) for arm in arms}
        if any(best is None for best in bests.values()):
            return [Search(arm, dict(common), bests[arm]) for arm in arms]
        # Judged by the ladder: a shared lr just beyond it would bracket nothing.
        edges = {arm: _edge(best, rung(low), rung(high)) for arm, best in bests.items()}
        sides = [side for side in left if side in edges.values() and left[side] > 0]
        if not sides:
            return [_refined(arm, common, bests[arm], edges[arm], loss) for arm in arms]
        stage += 1
        for side in sides:
            left[side] -= 1
            low, high = (low - 2, high) if side == "low" else (low, high + 2)
            common.setdefault(rung(low if side == "low" else high), f"extension {stage}")


def _best(arm: str, tried: dict[float, str], loss: Loss) -> float | None:
    """The learning rate with the lowest loss, the smallest of equals; None while a loss is not known."""
    known = {lr: value for lr in tried if (value := loss(arm, lr)) is not None}
    return min(known, key=lambda lr: (known[lr], lr)) if len(known) == len(tried) else None


def _edge(best: float | None, low: float, high: float) -> Side | None:
    return None if best is None else "low" if best <= low else "high" if best >= high else None


def _refined(arm: str, common: dict[float, str], best: float | None, edge: Side | None, loss: Loss) -> Search:
    assert best is not None
    if edge is not None:
        return Search(arm, dict(common), best, edge)
    tried = {**common, **{lr: "refinement" for lr in neighbours(best) if lr not in common}}
    chosen = _best(arm, tried, loss)
    return Search(arm, tried, chosen or best, None, chosen)
