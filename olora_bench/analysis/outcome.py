"""What a study says on one comparison, as a value: a verdict, its reasons, and the numbers that it stands on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd

from olora_bench.analysis.comparison import Comparison
from olora_bench.analysis.frames import rows_of
from olora_bench.analysis.paired import holm
from olora_bench.analysis.reasons import Reason


class Verdict(StrEnum):
    """Of an arm against its reference; its text is what tables show."""

    BETTER = "better"
    WORSE = "worse"
    UNRESOLVED = "unresolved"
    TOO_FEW_RUNS = "not enough runs"
    NONE = "no verdict"

    @property
    def decided(self) -> bool:
        """Whether it says which of the two is better."""
        return self in (Verdict.BETTER, Verdict.WORSE)


Judgement = tuple[Verdict, tuple[Reason, ...]]


@dataclass(frozen=True)
class Effect:
    """A mean difference over blocks (model, seed), arm minus reference; NaN where it is not known.

    Attributes:
        difference: percentage points of score, or nats of held-out loss per token.
        low, high: its 95% interval; NaN below six blocks.
        detectable: the smallest difference that so many blocks find with 80% power.
        p: of the exact sign-flip test over blocks, as it is.
        blocks: how many there are.
    """

    difference: float
    low: float
    high: float
    detectable: float
    p: float
    blocks: int

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
        blocks_for: blocks in which the arm is better, by what it is judged by.
        pairs_planned, pairs_missing, diverged: pairs of runs.
        runs: the train_ids behind it, separated by spaces.
    """

    comparison: Comparison
    verdict: Verdict
    reasons: tuple[Reason, ...]
    by_loss: bool
    score: Effect
    loss: Effect
    p: float
    blocks_for: int
    pairs_planned: int
    pairs_missing: int
    diverged: int
    runs: str

    @property
    def judged(self) -> Effect:
        """The effect that the verdict is about."""
        return self.loss if self.by_loss else self.score

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Outcome:
        """The outcome that a row of the table `verdicts` holds."""
        comparison, by_loss = Comparison.of_row(row), row["judged_by"] == "report_loss"
        p = float(row["p_holm"] if comparison.confirmatory else row["p"])
        counts = {name: int(row[name]) for name in ("blocks_for", "pairs_planned", "pairs_missing", "diverged")}
        score, loss = _effect(row, ""), _effect(row, "loss_")
        return cls(comparison, Verdict(row["verdict"]), row["reasons"], by_loss, score, loss, p, **counts, runs=row["runs"])


def _effect(row: Mapping[str, Any], prefix: str) -> Effect:
    numbers = {name: float(row[f"{prefix}{name}"]) for name in ("difference", "low", "high", "detectable", "p")}
    return Effect(**numbers, blocks=int(row[f"{prefix}blocks"]))


def outcomes(verdicts: pd.DataFrame) -> list[Outcome]:
    """The rows of the table `verdicts`, in order."""
    return [Outcome.of_row(row) for row in rows_of(verdicts)]


def corrected(rows: Sequence[dict[str, Any]], member: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """The rows with `p_holm`: Holm's correction of `p` over the rows of a family, NaN outside of it."""
    family = [member(row) for row in rows]
    adjusted = np.full(len(rows), np.nan)
    adjusted[family] = holm(np.array([row["p"] for row, own in zip(rows, family, strict=True) if own], dtype=float))
    return [row | {"p_holm": float(p)} for row, p in zip(rows, adjusted, strict=True)]
