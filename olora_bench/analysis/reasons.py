"""Why a number stands under a caveat, or why there is none: one small value a reason, worded by `words.reasons` and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PairsMissing:
    """Pairs of runs that were planned and are not there, or have no score."""

    missing: int
    planned: int


@dataclass(frozen=True)
class PairsDiverged:
    """Pairs of which a run diverged: their difference is unknown, not small."""

    diverged: int
    planned: int


@dataclass(frozen=True)
class RunsDiffer:
    """What the runs behind a number do not share although it can move numbers: `what` names it, `values` are those found."""

    what: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class SearchesOpen:
    """Learning-rate searches that chose nothing: still open, or best at an edge of what was tried."""

    searches: int


@dataclass(frozen=True)
class TooFewBlocks:
    """Fewer (model, seed) blocks than the test needs."""

    blocks: int
    needed: int


@dataclass(frozen=True)
class Undecidable:
    """No outcome of so many blocks could be significant after Holm over so many primary comparisons."""

    blocks: int
    comparisons: int
    needed: int


@dataclass(frozen=True)
class JudgedByLoss:
    """The runs are asked no benchmark, so their held-out loss is judged."""


@dataclass(frozen=True)
class ArmsAbsent:
    """The study has no run of these arms."""

    arms: tuple[str, ...]


Reason = PairsMissing | PairsDiverged | RunsDiffer | SearchesOpen | TooFewBlocks | Undecidable | JudgedByLoss | ArmsAbsent
"""Every reason there is; `words.reasons.worded` must know each, and mypy checks that it does."""
