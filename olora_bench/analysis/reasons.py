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
class AtLook:
    """Where a contrast of a study with looks stands: at its look number `look` of `looks`, 0 before the first, of so many seeds a model;
    `next` are those that the look needs which may decide it, None where it is decided or has had its last."""

    look: int
    looks: int
    seeds: int
    decided: bool
    next: int | None


@dataclass(frozen=True)
class ItemsUnread:
    """Pairs of runs whose answers to single items are not there: nothing can be said of new items."""

    pairs: int
    of: int


@dataclass(frozen=True)
class ItemsDiffer:
    """A benchmark of which not all pairs answered the same items: nothing can be said of new items."""

    benchmark: str


@dataclass(frozen=True)
class TooFewItems:
    """A benchmark with fewer items than their spread needs."""

    benchmark: str
    items: int
    needed: int


@dataclass(frozen=True)
class SourcesUnread:
    """Records do not say which items share a passage or a source (they are older): each item counts as one of its own."""


@dataclass(frozen=True)
class ExamplesUnread:
    """Runs whose losses of single examples are not there (their records are older): nothing can be said of new examples."""

    runs: int
    of: int


@dataclass(frozen=True)
class ExamplesDiffer:
    """Runs that do not share the examples of their held-out loss, or have one only: nothing can be said of new examples."""


@dataclass(frozen=True)
class JudgedByLoss:
    """The runs are asked no benchmark, so their held-out loss is judged."""


@dataclass(frozen=True)
class ArmsAbsent:
    """The study has no run of these arms."""

    arms: tuple[str, ...]


@dataclass(frozen=True)
class TooFewSeeds:
    """Fewer paired seeds than the test needs."""

    seeds: int
    needed: int


@dataclass(frozen=True)
class CoarseReadings:
    """Fewer readings of the held-out loss than the time of a crossing needs: it is interpolated between two of them."""

    readings: int
    needed: int


@dataclass(frozen=True)
class ReadingsDiffer:
    """The two arms' losses were not read at the same steps."""


@dataclass(frozen=True)
class NeverReached:
    """Runs of either side that never reach the target, of all runs: a mean over seeds is only a bound."""

    runs: int
    of: int


@dataclass(frozen=True)
class AtEdge:
    """The best learning rate is the last one tried on a side, `low` or `high`: the optimum may lie beyond it."""

    side: str


@dataclass(frozen=True)
class DivergedAt:
    """Learning rates at which a run diverged."""

    rates: tuple[float, ...]


@dataclass(frozen=True)
class TooFewRates:
    """Fewer learning rates with a loss than a curve through them needs."""

    rates: int
    needed: int


@dataclass(frozen=True)
class SeedLacks:
    """What keeps a seed from being a scored pair: (arm, state) of each side's run, or of its scores, that is not done."""

    seed: int
    lacking: tuple[tuple[str, str], ...]
    scores: bool


@dataclass(frozen=True)
class EvaluationsWarn:
    """A warning of the evaluation, and how many of so many evaluations gave it."""

    text: str
    evaluations: int
    of: int


@dataclass(frozen=True)
class ScoresWarned:
    """Scores behind a number that carry a warning of the evaluation; which one stands in the table `scoring`."""

    scores: int
    of: int


@dataclass(frozen=True)
class ShorterSchedule:
    """A cell whose family trains longer elsewhere: it enters no verdict on a comparison."""


@dataclass(frozen=True)
class NoRateChosen:
    """A side has no learning rate of its own: its search is open or ended at an edge."""


@dataclass(frozen=True)
class EqualDifferences:
    """Neither seeds nor items show a spread, so that no error can be told."""


@dataclass(frozen=True)
class NothingFound:
    """So few items or blocks differ that no difference, however large, would be found four times in five."""


@dataclass(frozen=True)
class Exploratory:
    """Seeds enough for an interval, and too few to lean on it: a t with so few stands on the normal shape of what is not seen."""

    seeds: int
    enough: int


@dataclass(frozen=True)
class Uncorrected:
    """Outside the declared family: the p-value is not corrected for the number of such cells."""


@dataclass(frozen=True)
class GivenSearch:
    """Each block chose among finalists around a rate that one search for all blocks found: (arm, runs of its search)."""

    runs: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class NoFiniteFinalist:
    """Blocks of an arm in which every finalist diverged, so that there was none to keep."""

    blocks: int


@dataclass(frozen=True)
class RestsOnRate:
    """A fixed choice among the finalists would say other than what was kept, in held-out loss.

    Attributes:
        arm: whose loss is compared with the reference's.
        finalists: how many a block has.
        sides: each place, 0 being the middle rate, at which it says other, with what it says: -1 where the arm has the lower loss at
            5%, 1 where the higher, 0 for neither.
        scored: whether scores were taken, which are of kept runs alone.
    """

    arm: str
    finalists: int
    sides: tuple[tuple[int, int], ...]
    scored: bool


@dataclass(frozen=True)
class BestAtEdge:
    """Arms whose lowest mean tuning criterion over the blocks lies at an edge of their finalists: the loss may be lower beyond.

    Attributes:
        arms: which.
        by_loss: whether the loss carries the verdict.
        more: whether a new study could have more finalists, and the verdict is open.
    """

    arms: tuple[str, ...]
    by_loss: bool
    more: bool = False


@dataclass(frozen=True)
class BestUnknown:
    """Arms of whose finalists each diverged in some block: which rate is best is not known, and the loss may be lower beyond either end.

    Attributes:
        arms: which.
        by_loss: whether the loss carries the verdict.
    """

    arms: tuple[str, ...]
    by_loss: bool


@dataclass(frozen=True)
class ErrorOverItems:
    """The error over new items for these trainings came out above that over new seeds and new items, of which it is a part.

    Attributes:
        both, alone: the standard errors, percentage points, or nats of a loss.
        verdict: what the looks come to with the greater.
        same: whether that is the verdict that there is.
    """

    both: float
    alone: float
    by_loss: bool
    verdict: str
    same: bool


Reason = (
    PairsMissing | PairsDiverged | RunsDiffer | SearchesOpen | TooFewBlocks | ItemsUnread | ItemsDiffer
    | TooFewItems | SourcesUnread | ExamplesUnread | ExamplesDiffer | JudgedByLoss | ArmsAbsent
    | TooFewSeeds | CoarseReadings | ReadingsDiffer | NeverReached | AtEdge | DivergedAt | TooFewRates | SeedLacks | EvaluationsWarn
    | ScoresWarned | ShorterSchedule | NoRateChosen | EqualDifferences | NothingFound | Exploratory | Uncorrected | AtLook
    | GivenSearch | NoFiniteFinalist | RestsOnRate | BestAtEdge | BestUnknown | ErrorOverItems
)  # fmt: skip
"""Every reason there is; `words.reasons.worded` must know each, and mypy checks that it does."""
