"""The search of a learning rate: what it wants to know next, given what is known. Pure, so that a search resumes from its records alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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


def _exact(lr: float) -> float:
    """A learning rate before it was rounded, where it is on the fine grid: no rounding of a rounded number."""
    exact = 10 ** (round(4 * math.log10(lr)) / 4)
    return exact if _rounded(exact) == lr else lr


def neighbours(lr: float) -> tuple[float, float]:
    """A factor 10^(1/4) below and above.

    >>> neighbours(1e-3)
    (0.000562, 0.00178)
    """
    exact = _exact(lr)
    return _rounded(exact / 10**0.25), _rounded(exact * 10**0.25)


def finalists(chosen: float, count: int) -> tuple[float, ...]:
    """A learning rate between as many of the fine grid on either side, smallest first.

    >>> finalists(1e-3, 3)
    (0.000562, 0.001, 0.00178)
    """
    exact = _exact(chosen)
    return tuple(chosen if step == 0 else _rounded(exact * 10 ** (step / 4)) for step in range(-(count // 2), count // 2 + 1))


def vertex(below: float, best: float, above: float) -> int:
    """Where the parabola through three losses has its lowest point, in steps of the fine grid from the middle one: -1, 0 or 1.

    The three lie two steps apart, `best` is the lowest. A loss that is infinite stands for one that is very large.

    >>> vertex(1.1, 1.0, 2.0), vertex(2.0, 1.0, 2.0), vertex(math.inf, 1.0, 1.2)
    (-1, 0, 1)
    """
    low, high = (min(loss, 1e12) for loss in (below, above))
    bend = low - 2 * best + high
    place = (low - high) / bend if bend > 0 else 0.0
    return 0 if abs(place) <= 0.5 else 1 if place > 0 else -1


def search(arms: Sequence[str], rule: Tuning, loss: Loss) -> list[Search]:
    """Replay the search of one cell, as far as its losses are known.

    The start grid is common to all arms. While an arm's best is the lowest or highest learning rate, that side is extended for every
    arm, at most `rule.max_extensions` times a side. Then each arm at no edge is refined about its best, as `rule.refinement` says.

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
            ladder = [rung(number) for number in range(low, high + 1, 2)]
            found = {arm: best for arm, best in bests.items() if best is not None}
            near = {arm: neighbours(best) if rule.refinement == "neighbours" else _vertex(arm, ladder, loss) for arm, best in found.items()}
            return [_refined(Search(arm, common, bests[arm], edges[arm]), near[arm], loss) for arm in arms]
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


def _vertex(arm: str, ladder: Sequence[float], loss: Loss) -> tuple[float, ...]:
    """The learning rate of the vertex about the ladder's best; none where that is an end of the ladder, or the vertex itself."""
    losses = [math.inf if (value := loss(arm, lr)) is None else value for lr in ladder]
    at = losses.index(min(losses))
    if at in (0, len(ladder) - 1):
        return ()
    step = vertex(*losses[at - 1 : at + 2])
    return (_rounded(_exact(ladder[at]) * 10 ** (step / 4)),) if step else ()


def _refined(one: Search, near: Sequence[float], loss: Loss) -> Search:
    """A search whose grid is complete, with the learning rates `near` its best."""
    if one.edge is not None:
        return replace(one, tried=dict(one.tried))
    tried = {**one.tried, **{lr: "refinement" for lr in near if lr not in one.tried}}
    chosen = _best(one.arm, tried, loss)
    return Search(one.arm, tried, chosen or one.best, None, chosen)
