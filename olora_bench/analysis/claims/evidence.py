"""What a verdict on a claim rests on: one small value a measurement, worded by `words.claims` and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from olora_bench.analysis.equivalent_steps import Worth


@dataclass(frozen=True)
class Estimated:
    """A mean over pairs and its interval; `low` and `high` are NaN where there is none."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class NotCompared:
    """The study compares no such arms."""

    arm: str
    reference: str


@dataclass(frozen=True)
class Lacking:
    """What a measurement needs and the study does not have."""

    what: Literal["losses on the way", "scores", "costs", "adapters", "travel by ratio", "losses by ratio", "complete pairs", "no longest"]


@dataclass(frozen=True)
class Unmeasured:
    """Measures of the paired runs that no run has."""

    measures: tuple[str, ...]


@dataclass(frozen=True)
class BenchmarksLacking:
    """Not all of these benchmarks are scored, or no other is."""

    benchmarks: tuple[str, ...]


@dataclass(frozen=True)
class TooFewModels:
    """Fewer than two models have scores."""

    models: int


@dataclass(frozen=True)
class Setting:
    """The length of the arm's schedule by which a setting is judged, and its other lengths, which are described."""

    headline: Worth
    others: tuple[Worth, ...]


@dataclass(frozen=True)
class StepsWorth:
    """From separately completed schedules. `factor` is the one that the paper names, None where it names none; `new_examples`: whether
    intervals are over new examples of the held-out loss too; `looks`: whether the study stops by looks, of which these intervals know
    nothing."""

    reference: str
    settings: tuple[Setting, ...]
    factor: float | None
    new_examples: bool
    looks: bool = False


@dataclass(frozen=True)
class Speed:
    """Steps of the reference over the arm's to one loss; `low` and `high` are NaN where `bound` is not `exact`."""

    ratio: float
    low: float
    high: float
    bound: str


@dataclass(frozen=True)
class SpeedInside:
    """Speeds read inside a schedule, cell by cell.

    Attributes:
        share: of the reference's drop in loss that is reached.
        faster, slower, unresolved: cells.
        factor: the one that the paper names.
    """

    share: float
    cells: tuple[Speed, ...]
    faster: int
    slower: int
    unresolved: int
    factor: float | None


@dataclass(frozen=True)
class WinCount:
    """Cells that the arm wins, and the 95% band of that count when whole blocks are flipped."""

    wins: int
    cells: int
    null_low: int
    null_high: int
    blocks: int


@dataclass(frozen=True)
class WinCounts:
    """The count of every comparison that the claim is about."""

    counts: tuple[WinCount, ...]


@dataclass(frozen=True)
class ModelGain:
    """A model's mean difference in percentage points, over seeds."""

    model: str
    difference: float
    seeds: int


@dataclass(frozen=True)
class ModelGains:
    """The difference of each model on its own."""

    models: tuple[ModelGain, ...]


@dataclass(frozen=True)
class GainBySide:
    """The mean difference on the named benchmarks and on the others, in percentage points; `p` of their gap, by flipping blocks."""

    named: float
    others: float
    blocks: int
    p: float


@dataclass(frozen=True)
class SizeAndMemory:
    """Whether trainable parameters are equal in every cell; peak memory over the reference's where that is most, of so many cells.

    `allowed`: up to which ratio memory counts as the same.
    """

    same_size: bool
    memory: Estimated
    allowed: float
    cells: int


@dataclass(frozen=True)
class InitCost:
    """The init's own extra time, of the cell where its share of training is greatest; below 0 where it takes less.

    Attributes:
        seconds: arm minus reference.
        share: of the arm's training.
        allowed: up to which share it counts as negligible.
        cells: that were compared.
    """

    seconds: Estimated
    share: Estimated
    allowed: float
    cells: int


@dataclass(frozen=True)
class InitAlone:
    """What compared runs differ in beside the init.

    `own_rates`: each arm has its own learning rate. `base_changed`: the init changes base weights, which a saved adapter does not hold.
    """

    pairs: int
    own_rates: bool
    same_size: bool
    base_changed: bool


@dataclass(frozen=True)
class Divergences:
    """Diverged runs of an arm, and at which learning rates."""

    arm: str
    diverged: int
    runs: int
    rates: tuple[float, ...]


@dataclass(frozen=True)
class Stability:
    """Divergences of both arms over the learning rates that both tried; spikes a run of the pairs that decide.

    Attributes:
        arms: the reference first.
        rates: that both tried.
        spikes: a run of the paired runs, in the order of `arms`, means over cells; None where they were not counted.
        more: spikes of the arm minus the reference's.
        cells: that spikes are corrected over.
    """

    arms: tuple[Divergences, Divergences]
    rates: int
    spikes: tuple[float, float] | None
    more: Estimated
    cells: int

    @property
    def at_the_edge(self) -> bool:
        """Whether a run diverged at a rate that both tried."""
        return any(one.diverged for one in self.arms)


@dataclass(frozen=True)
class MeanDifference:
    """A measure's difference, mean over cells, with an interval where there is one cell; None where it was not measured."""

    measure: str
    difference: Estimated | None
    unit: str


@dataclass(frozen=True)
class ArmMeasures:
    """The measures of one arm."""

    arm: str
    measures: tuple[MeanDifference, ...]


@dataclass(frozen=True)
class Measured:
    """The measures that a claim names, arm by arm; `family`: over how many arms and cells each measure is corrected."""

    arms: tuple[ArmMeasures, ...]
    family: int


@dataclass(frozen=True)
class Conditions:
    """Condition numbers of a factor after training, geometric means over cells."""

    arm: float
    reference: float


@dataclass(frozen=True)
class Conditioning:
    """How B and A are conditioned.

    Attributes:
        reference: the other arm.
        b: after training.
        b_times: the arm's over the reference's.
        b_start: the arm's before training; None where B starts at 0.
        moved: by what share of its length the arm's B moved; None where it was not measured.
        a: after training; None where it was not measured.
        cells: that the verdict is corrected over.
    """

    reference: str
    b: Conditions
    b_times: Estimated
    b_start: float | None
    moved: float | None
    a: Conditions | None
    cells: int


@dataclass(frozen=True)
class TradeAt:
    """Ratios below 1 against ratios above, at rates of their own (`tuned`) or at shared ones.

    Attributes:
        role: `tuned` or `shared`.
        distances: of `product`, or of `a` and `b`: as a factor.
        loss: the held-out loss, a difference in nats.
        blocks: that have both.
    """

    role: str
    distances: tuple[tuple[str, float], ...]
    loss: float
    blocks: int


@dataclass(frozen=True)
class TradeOff:
    """At the rates that the study has, its own protocol's first."""

    readings: tuple[TradeAt, ...]


@dataclass(frozen=True)
class RatioSide:
    """The best ratio on one side of 1: its held-out loss in nats, and what share it keeps of the drop in loss that ratio 1 has."""

    loss: float
    kept: Estimated


@dataclass(frozen=True)
class RatioLosses:
    """A cell's held-out loss in nats at ratio 1, and the best ratios below and above it."""

    at_one: float
    below: RatioSide
    above: RatioSide


@dataclass(frozen=True)
class LossByRatio:
    """Cell by cell; `needed`: what share of ratio 1's drop a ratio must keep."""

    cells: tuple[RatioLosses, ...]
    needed: float


Evidence = (
    NotCompared | Lacking | Unmeasured | BenchmarksLacking | TooFewModels | StepsWorth | SpeedInside | WinCounts | ModelGains
    | GainBySide | SizeAndMemory | InitCost | InitAlone | Stability | Measured | Conditioning | TradeOff | LossByRatio
)  # fmt: skip
"""Everything that a finding can rest on; `words.claims.figure` must know each, and mypy checks that it does."""
