"""Two sides of runs judged as a study judges its arms: the same pairing, the same tests, one value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from olora_bench.analysis.cells import MIN_SEEDS_FOR_VERDICT, seed_differences
from olora_bench.analysis.compared import Compared, PairedItems, compared
from olora_bench.analysis.estimate import Estimate, of_blocks
from olora_bench.analysis.given import LeftOut, Matched, MeasureDiffers
from olora_bench.analysis.given_frames import plain_row, study_frames, two_arms
from olora_bench.analysis.margins import p_inside
from olora_bench.analysis.outcome import Effect, Outcome, Verdict, effect_columns, judgement, outcomes
from olora_bench.analysis.paired import MIN_BLOCKS
from olora_bench.analysis.pairs import pairs
from olora_bench.analysis.power import found, planned
from olora_bench.analysis.reasons import Reason, RunsDiffer
from olora_bench.analysis.scopes import About
from olora_bench.analysis.verdicts import confirmatory

MOST_SEEDS = 1000
"""A plan for more seeds is none."""
MOST_TIMES_ITEMS = 64


@dataclass(frozen=True)
class Said:
    """What the runs say in one scope; its verdict is uncorrected.

    Attributes:
        about: what the interval is about.
        verdict: None where the scope describes and decides nothing.
        effect: difference, interval, p and what could have been found, percentage points.
        block_se, item_se: standard errors of blocks (seeds, and answers that change with them) and of items; NaN where not drawn anew.
    """

    about: About
    verdict: Verdict | None
    reasons: tuple[Reason, ...]
    effect: Effect
    block_se: float
    item_se: float


@dataclass(frozen=True)
class Needs:
    """What would decide it.

    Attributes:
        difference: percentage points that are to be found four times in five: the margin, or the difference seen.
        by_margin: which of the two it is.
        seeds: so many of each side; None where no number up to `MOST_SEEDS` does.
        items: times as many items as now, beside those seeds.
    """

    difference: float
    by_margin: bool
    seeds: int | None
    items: int


@dataclass(frozen=True)
class Benchmark:
    """A benchmark's means over seeds, percent, and their difference, percentage points."""

    name: str
    metric: str
    items: int
    arm: float
    reference: float
    difference: float


@dataclass(frozen=True)
class Judged:
    """Two sides, judged. `str(judge(...))` is its text.

    Attributes:
        outcome: the verdict as a study's table `verdicts` has it: about new seeds and new items, from `MIN_BLOCKS` seeds on.
        said: what can be said, the widest scope first.
        benchmarks: each benchmark; the verdict is about their mean.
        seeds: those that both sides have.
        with_items: whether answers to single items are there.
        left_out: what does not enter.
        accepted: what runs differ in and somebody answers for.
        needs: what would decide it; None where it is decided, or where too few seeds say how much they differ.
    """

    outcome: Outcome
    said: tuple[Said, ...]
    benchmarks: tuple[Benchmark, ...]
    seeds: tuple[int, ...]
    with_items: bool
    left_out: tuple[LeftOut, ...]
    accepted: tuple[MeasureDiffers, ...]
    needs: Needs | None

    @property
    def verdict(self) -> Verdict:
        """Of the arm against the reference, about new seeds and new items."""
        return self.outcome.verdict


def judged(shared: Matched, names: Sequence[str], margin: float | None = None) -> Judged:
    """Judge the first of two sides against the second.

    Args:
        shared: their runs, with a benchmark at least.
        names: of the two sides, as `matched` has them.
        margin: the difference that matters, percentage points; None declares none, and then nothing is equivalent.
    """
    frames = study_frames(shared, {run: plain_row(run) for run in shared.runs}, two_arms(names, margin))
    pair = pairs(frames)
    differences = seed_differences(frames, pair)
    (one,) = compared(frames, pair, differences)
    (outcome,) = outcomes(confirmatory(frames, [one]))
    outcome = replace(outcome, reasons=(*outcome.reasons, *_beside(shared)))
    said, seeds = tuple(_scopes(one, outcome, margin)), tuple(sorted({run.seed for run in shared.runs}))
    benchmarks = tuple(_benchmark(name, rows) for name, rows in differences.groupby("benchmark", sort=False))
    needs = None if outcome.verdict.decided or outcome.verdict is Verdict.EQUIVALENT else _needs(_widest(one), len(seeds), outcome, margin)
    return Judged(outcome, said, benchmarks, seeds, shared.with_items, shared.left_out, shared.accepted, needs)


def _beside(shared: Matched) -> tuple[RunsDiffer, ...]:
    values = {what: tuple(sorted(set(of.values()))) for what, of in shared.beside.items()}
    return tuple(RunsDiffer(what, several) for what, several in values.items() if len(several) > 1)


def _benchmark(name: object, rows: Any) -> Benchmark:
    first = rows.iloc[0]
    more = 100 * int(rows["more"].sum()) / int(rows["items"].sum())
    return Benchmark(str(name), first["metric"], int(first["items"]), float(rows["score_arm"].mean()),
                     float(rows["score_reference"].mean()), more)  # fmt: skip


def _widest(one: Compared) -> Estimate | None:
    """The estimate that new seeds have a part in; None below `MIN_SEEDS_FOR_VERDICT` seeds."""
    if len(one.blocks) < MIN_SEEDS_FOR_VERDICT:
        return None
    return one.score() or of_blocks(np.array([float(value) for value in one.blocks.values()]))


def _scopes(one: Compared, outcome: Outcome, margin: float | None) -> list[Said]:
    said, widest = [], _widest(one)
    if widest is not None:
        about = About.SEEDS_AND_ITEMS if isinstance(one.items, PairedItems) else About.SEEDS
        verdict = outcome.verdict if about is About.SEEDS_AND_ITEMS and len(one.blocks) >= MIN_BLOCKS else None
        said.append(_said(about, outcome, widest, verdict, outcome.reasons))
    if isinstance(one.items, PairedItems):
        alone = replace(one.items.new_items(), block_df=np.asarray(1.0))  # seeds have no part in it
        inside = float("nan") if margin is None else p_inside(alone, margin)
        verdict, reasons = judgement(outcome.score.difference, float(alone.p()), inside, ())
        said.append(_said(About.ITEMS, outcome, alone, verdict, reasons))
    return said


def _said(about: About, outcome: Outcome, estimate: Estimate, verdict: Verdict | None, reasons: tuple[Reason, ...]) -> Said:
    row = effect_columns(outcome.score.difference, estimate)
    block, item = row.pop("block_se"), row.pop("item_se")
    effect = Effect(**row, blocks=outcome.score.blocks, new_items=about is not About.SEEDS)
    return Said(about, verdict, reasons, effect, np.nan if about is About.ITEMS else block, np.nan if about is About.SEEDS else item)


def _needs(estimate: Estimate | None, seeds: int, outcome: Outcome, margin: float | None) -> Needs | None:
    """The fewest seeds, with the fewest items beside them, that find the margin, or else the difference seen."""
    difference = margin if margin is not None else abs(outcome.score.difference)
    if estimate is None or not difference > 0 or not float(estimate.se) > 0:
        return None
    items, least = 1, MIN_BLOCKS

    def finds(count: int, times: int) -> bool:
        return found(planned(estimate, blocks=count / seeds, items=times)).difference <= difference

    while not finds(MOST_SEEDS, items):
        items *= 2
        if items > MOST_TIMES_ITEMS:
            return Needs(difference, margin is not None, None, 1)
    most = MOST_SEEDS
    while least < most:
        middle = (least + most) // 2
        least, most = (least, middle) if finds(middle, items) else (middle + 1, most)
    return Needs(difference, margin is not None, least, items)
