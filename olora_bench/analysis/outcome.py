"""What a study says on one comparison, as a value: a verdict, its reasons, and the numbers that it stands on.

The bridge from numbers to sentences: `verdicts` makes the table, each row is read here as an `Outcome`, and `words.verdicts` says it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from olora_bench.analysis.comparison import Comparison
from olora_bench.analysis.crossed import Scope
from olora_bench.analysis.estimate import Estimate
from olora_bench.analysis.frames import rows_of
from olora_bench.analysis.margins import Verdict, kind
from olora_bench.analysis.paired import LEVEL, holm
from olora_bench.analysis.power import found
from olora_bench.analysis.reasons import BestAtEdge, BestUnknown, EqualDifferences, ErrorOverItems, NothingFound, Reason, RestsOnRate

Judgement = tuple[Verdict, tuple[Reason, ...]]


def judgement(gain: float, p: float, p_inside: float, reasons: tuple[Reason, ...]) -> Judgement:
    """A verdict from p's that are corrected where they are to be; a p of NaN is of differences without a spread."""
    return kind(gain, p, p_inside), reasons if p == p else (*reasons, EqualDifferences())


@dataclass(frozen=True)
class Effect:
    """A mean difference over blocks (model, seed), arm minus reference; NaN where it is not known.

    Attributes:
        difference: percentage points of score, or nats of held-out loss per token.
        low, high: its 95% interval; NaN below six blocks.
        p: of no difference, as it is, by the test that the interval belongs to.
        found: the smallest difference that this test finds with 80% power, Holm's strictest step included; NaN also where no difference
            is (`never_found`).
        found_low, found_high: what `found` may be, as well as the variances are known; an upper end of NaN is none.
        blocks: how many there are.
        new_items: whether it is about new items; else about these items, or examples, only.
    """

    difference: float
    low: float
    high: float
    p: float
    found: float
    found_low: float
    found_high: float
    blocks: int
    new_items: bool

    @property
    def known(self) -> bool:
        """Whether there is a difference at all."""
        return self.difference == self.difference

    @property
    def has_interval(self) -> bool:
        """Whether there are blocks enough for an interval."""
        return self.low == self.low


@dataclass(frozen=True)
class Outcome:
    """One comparison's row of the table `verdicts`.

    Attributes:
        comparison: what is compared.
        verdict: what the comparison came to.
        reasons: why there is no verdict, or what to know beside it.
        by_loss: whether it is judged by held-out loss, since no benchmark is asked.
        score, loss: the difference in the mean score over benchmarks (pp), and in held-out loss (nats per token).
        p: of what it is judged by, Holm-corrected where the comparison carries a verdict.
        holm_over: how many contrasts that correction is over; 0 where there is none.
        margin: the difference that matters to the study, in the unit of what it is judged by; NaN where none is declared.
        scope: which models it is about.
        blocks_for: blocks in which the arm is better, by what it is judged by.
        pairs_planned, pairs_missing, diverged: pairs of runs.
        runs: the train_ids behind it, separated by spaces.
        look: the look that it stands on, 0 before the first; NaN in a study without looks.
        median_unbiased: the estimate after stopping, in the unit of what it is judged by; NaN without one.
        p_inside: of a difference of the margin or more, corrected as p is; NaN without a margin.
    """

    comparison: Comparison
    verdict: Verdict
    reasons: tuple[Reason, ...]
    by_loss: bool
    score: Effect
    loss: Effect
    p: float
    holm_over: int
    margin: float
    scope: Scope
    blocks_for: int
    pairs_planned: int
    pairs_missing: int
    diverged: int
    runs: str
    look: float = float("nan")
    median_unbiased: float = float("nan")
    p_inside: float = float("nan")

    @property
    def by_looks(self) -> bool:
        """Whether p is sequential and the interval the repeated one."""
        return self.look == self.look

    @property
    def own_reasons(self) -> tuple[Reason, ...]:
        """The reasons but those that are of a number beside the verdict: a held-out loss, an error over items alone."""
        return tuple(one for one in self.reasons if one not in self.loss_reasons and one != self.over_items)

    @property
    def over_items(self) -> ErrorOverItems | None:
        """At looks, that the error over items alone is the greater."""
        return next((one for one in self.reasons if isinstance(one, ErrorOverItems)), None)

    @property
    def loss_reasons(self) -> tuple[Reason, ...]:
        """What to know beside the held-out loss where that carries no verdict."""
        return () if self.by_loss else tuple(one for one in self.reasons if isinstance(one, RestsOnRate | BestAtEdge | BestUnknown))

    @property
    def may_be_lower(self) -> frozenset[str]:
        """The arms whose held-out loss may be lower beyond their finalists."""
        return frozenset(arm for one in self.reasons if isinstance(one, BestAtEdge | BestUnknown) for arm in one.arms)

    @property
    def judged(self) -> Effect:
        """The effect that the verdict is about."""
        return self.loss if self.by_loss else self.score

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Outcome:
        """The outcome that a row of the table `verdicts` holds."""
        comparison, by_loss = Comparison.of_row(row), row["judged_by"] == "report_loss"
        p = float(row["p_holm"] if comparison.confirmatory else row["p"])
        counts = (int(row[name]) for name in ("holm_over", "blocks_for", "pairs_planned", "pairs_missing", "diverged"))
        over, blocks_for, planned, missing, diverged = counts
        score, loss, margin, scope = _effect(row, ""), _effect(row, "loss_"), float(row["margin"]), Scope(row["scope"])
        inside = "p_inside_holm" if comparison.confirmatory else "p_inside"
        look, unbiased, p_inside = (float(row.get(name, "nan")) for name in ("look", "median_unbiased", inside))
        return cls(comparison, Verdict(row["verdict"]), row["reasons"], by_loss, score, loss, p, over, margin, scope, blocks_for,
                   planned, missing, diverged, row["runs"], look, unbiased, p_inside)  # fmt: skip


EFFECT = ("difference", "low", "high", "p", "found", "found_low", "found_high")


def effect_columns(value: float, estimate: Estimate | None, *, level: float = LEVEL, power: bool = True) -> dict[str, float]:
    """An effect and its error as columns of a table: those of `Effect`, and the standard errors `block_se` and `item_se`.

    Args:
        value: the difference.
        estimate: None where there is none; then all but `difference` is NaN.
        level: of the test at Holm's strictest step, for what could have been found.
        power: whether that is asked.
    """
    row = dict.fromkeys((*EFFECT, "block_se", "item_se"), float("nan")) | {"difference": value}
    if estimate is None:
        return row
    low, high = estimate.interval()
    row |= {"low": float(low), "high": float(high), "p": float(estimate.p())}
    row |= {"block_se": float(estimate.block_se), "item_se": float(estimate.item_se)}
    if power and not (estimate.may_be_lower or estimate.may_be_higher):  # what is found on an open side nobody knows
        least = found(estimate, level=level)
        ends = {"found": least.difference, "found_low": least.low, "found_high": least.high}
        row |= {name: value for name, value in ends.items() if np.isfinite(value)}
    return row


def never_found(row: Mapping[str, float], prefix: str = "") -> tuple[Reason, ...]:
    """Why no difference, however large, would be found four times in five, though there is an error; of columns of `effect_columns`."""
    if np.isinf([row[f"{prefix}low"], row[f"{prefix}high"]]).any():
        return ()
    error = np.nansum([row[f"{prefix}block_se"], row[f"{prefix}item_se"]])
    return (NothingFound(),) if error > 0 and row[f"{prefix}found"] != row[f"{prefix}found"] else ()


def _effect(row: Mapping[str, float], prefix: str) -> Effect:
    numbers = {name: float(row[f"{prefix}{name}"]) for name in EFFECT}
    new_items = not prefix or bool(row[f"{prefix}new_items"])
    return Effect(**numbers, blocks=int(row[f"{prefix}blocks"]), new_items=new_items)


def outcomes(verdicts: pd.DataFrame) -> list[Outcome]:
    """The rows of the table `verdicts`, in order."""
    return [Outcome.of_row(row) for row in rows_of(verdicts)]


def corrected(rows: Sequence[dict[str, Any]], member: Callable[[dict[str, Any]], bool], p: str = "p") -> list[dict[str, Any]]:
    """The rows with `<p>_holm`: Holm's correction of the column `p` over the rows of a family, NaN outside of it."""
    family = [member(row) for row in rows]
    adjusted = np.full(len(rows), np.nan)
    adjusted[family] = holm(np.array([row[p] for row, own in zip(rows, family, strict=True) if own], dtype=float))
    return [row | {f"{p}_holm": float(value)} for row, value in zip(rows, adjusted, strict=True)]
