"""What a reader must know before believing a study's tables: one small value a caveat, worded by `words.caveats` and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

from olora_bench.analysis.reasons import ArmsAbsent, EvaluationsWarn, RunsDiffer, SourcesUnread


@dataclass(frozen=True)
class Problem:
    """What reading the study came upon: a contradiction, damage, a departure from what was declared."""

    sentence: str


@dataclass(frozen=True)
class NoRecords:
    """No run of the study has a record yet."""


@dataclass(frozen=True)
class NeverWarm:
    """Finished runs that ended before they reached their learning rate: at these least and greatest shares of it."""

    runs: int
    of: int
    least: float
    greatest: float


@dataclass(frozen=True)
class CellsOfOneArm:
    """Cells in which only one of the two arms runs."""

    cells: int
    of: int


@dataclass(frozen=True)
class SearchesGoOn:
    """No pair under tuned rates yet, since the searches of these arms go on."""

    arms: tuple[str, ...]


@dataclass(frozen=True)
class PairsOfOneArm:
    """Pairs (cell, seed) of which only one side is there."""

    role: str
    pairs: int
    of: int


@dataclass(frozen=True)
class ClippedUnequally:
    """Shares of steps whose gradient was clipped, of either side."""

    role: str
    arm: float
    reference: float


@dataclass(frozen=True)
class BudgetsDiffer:
    """The arms' learning rates were searched with unequal numbers of runs; `cell` as `frames.where` says it."""

    cell: str
    runs: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class ChosenByOther:
    """Learning rates were chosen by a criterion, and scores are another measure."""

    criterion: str


@dataclass(frozen=True)
class ScoresWarn:
    """Warnings of the evaluations of a benchmark, as one of the arms has them."""

    benchmark: str
    arm: str
    warnings: tuple[EvaluationsWarn, ...]


@dataclass(frozen=True)
class LowPrecision:
    """The greatest share of items (percent) whose choice in the scoring precision differs from fp32's, and where."""

    percent: float
    arm: str
    benchmark: str
    items: int


@dataclass(frozen=True)
class BelowOneAnswer:
    """No arm's mean (percent) reaches what the same answer to every item scores."""

    benchmark: str
    model: str
    best: float
    constant: float


@dataclass(frozen=True)
class ArmGain:
    """An arm's gain beyond the untouched base and a constant answer, mean over benchmarks, and half its 95% interval over items, in pp."""

    arm: str
    gain: float
    half: float


@dataclass(frozen=True)
class NoSensitivity:
    """Arms of a model, both arms of some contrast among them, that are not shown to gain anything in the mean over benchmarks."""

    role: str
    model: str
    arms: tuple[ArmGain, ...]


@dataclass(frozen=True)
class NoGain:
    """Benchmarks on which no arm of a model is shown to gain beyond the untouched base and a constant answer."""

    role: str
    model: str
    benchmarks: tuple[str, ...]


@dataclass(frozen=True)
class NotComparedWithFp32:
    """Scorings of trained arms in low precision whose choices were not compared with fp32's, though the untouched base's were."""

    evaluations: int
    of: int


Caveat = (
    Problem | NoRecords | NeverWarm | ArmsAbsent | CellsOfOneArm | SearchesGoOn | PairsOfOneArm | ClippedUnequally | RunsDiffer
    | BudgetsDiffer | ChosenByOther | ScoresWarn | LowPrecision | BelowOneAnswer
    | NoSensitivity | NoGain | NotComparedWithFp32 | SourcesUnread
)  # fmt: skip
"""Every caveat there is; `words.caveats.worded` must know each, and mypy checks that it does."""
