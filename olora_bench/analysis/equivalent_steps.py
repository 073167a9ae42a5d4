"""Schedules of several lengths, each trained to its own end: with how many steps the reference ends at the loss at which an arm ends."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd

from olora_bench.analysis.cells import MIN_SEEDS_FOR_VERDICT
from olora_bench.analysis.choices import at_edges
from olora_bench.analysis.columns import CELL_COLUMNS, COMPARISON_COLUMNS, REASONS, RUNS
from olora_bench.analysis.comparison import Comparison
from olora_bench.analysis.crossed import crossed
from olora_bench.analysis.described import Column, Table, View
from olora_bench.analysis.estimate import Estimate, Floats, of_blocks
from olora_bench.analysis.frames import Row, StudyFrames, groups_of, rows_of
from olora_bench.analysis.held_out import example_parts
from olora_bench.analysis.looked import Looked
from olora_bench.analysis.paired import LEVEL
from olora_bench.analysis.pairs import unkept
from olora_bench.analysis.reasons import BestAtEdge, PairsDiverged, PairsMissing, Reason, TooFewSeeds
from olora_bench.analysis.runs import REPORTED, has_role, with_role

POINTS = 401
"""Lengths at which the reference's loss is read between its shortest and its longest schedule, equally spaced in their logarithm."""
FASTER, SLOWER, UNRESOLVED = "faster", "slower", "unresolved"

EQUIVALENT_STEPS = Table(
    "equivalent_steps",
    "a (comparison, family, length of the arm's schedule), where both arms were trained to the end of schedules of two lengths or more",
    (
        *COMPARISON_COLUMNS,
        Column("family", "the id of cells that differ in the length of training alone"),
        *CELL_COLUMNS[2:5],
        Column("steps", "optimiser steps of the arm's schedule", "steps", "steps", "whole"),
        Column("judged", "whether this is the length that decides the claim: the one nearest the geometric middle of the planned ones",
               heading="judged"),
        Column("loss", "the arm's final held-out loss, mean over the seeds", "nats", "loss", "3 digits"),
        Column("loss_reference", "the reference's after as many steps; empty where it has no such schedule", "nats", "reference's",
               "3 digits"),
        Column("equivalent", "the reference's steps that end at the arm's loss; 0 or infinite beyond its schedules", "steps",
               "equivalent", "number"),
        Column("ratio", "equivalent over steps: above 1 the arm is faster", "", "ratio", "2 digits"),
        Column("low", "lower end of the ratio's 95% interval: 0 where it is open", "", "low", "2 digits"),
        Column("high", "upper end: infinite where it is open", "", "high", "2 digits"),
        Column("p", "of equal losses of the two arms after as many steps", heading="p", form="probability"),
        Column("verdict", "`faster`, `slower` or `unresolved`: on which side of 1 the interval lies, uncorrected", heading="verdict"),
        Column("seeds", "ended in the arm and at each length of the reference that is read: one of which 3 seeds and most have ended",
               heading="seeds"),
        Column("seeds_planned", "seeds that have runs of these schedules"),
        REASONS,
        RUNS,
    ),
)  # fmt: skip
EQUIVALENT_STEPS_VIEW = View(
    "equivalent_steps",
    "Equivalent steps",
    "Schedules of several lengths, each trained to its own end: with how many of its own steps the reference ends at the final held-out "
    "loss (nats) at which the arm ends. The reference's loss is linear in the logarithm of its steps between two lengths. The ratio's 95% "
    "interval holds every length at which the two losses are not told apart, over new seeds and, where records keep the loss of each, new "
    "examples; it is open beyond the reference's schedules, and on a side where a best rate lies at an edge of its finalists. One length "
    "is judged; the others are described and not corrected for.",
    EQUIVALENT_STEPS,
)


@dataclass(frozen=True)
class Worth:
    """How many of the reference's steps so many of the arm's are worth.

    Attributes:
        steps: the arm's.
        ratio: the reference's steps over the arm's; 0 or infinite beyond the reference's schedules, NaN where it is not known.
        low, high: its 95% interval; 0 and infinite where it is open.
        p: of equal losses after as many steps; NaN where the reference has no such schedule, or nothing shows a spread.
        seeds: paired.
    """

    steps: float
    ratio: float
    low: float
    high: float
    p: float
    seeds: int

    @classmethod
    def of_row(cls, row: Row) -> Worth:
        """A row of the table `EQUIVALENT_STEPS`."""
        return cls(**{one.name: row[one.name] for one in fields(cls)})

    @property
    def verdict(self) -> str:
        """On which side of 1 the whole interval lies; unresolved where the reference has no schedule so long: its loss there is read off a
        chord, which no test is of."""
        if not self.p <= LEVEL:
            return UNRESOLVED
        return FASTER if self.low >= 1 else SLOWER if self.high <= 1 else UNRESOLVED


@dataclass(frozen=True)
class _Schedules:
    """The schedules of one arm of a family, a column a length in steps, a row a seed.

    Attributes:
        settings: in words, what tells the cell of each length from others of its model and rank.
        losses: final and held-out, nats; infinite where a run diverged, NaN where it is not done.
        runs: their train_ids.
        states: theirs, of runs that are planned too.
        at_edge: the lengths at which the arm's best rate lies at an edge of its finalists.
    """

    arm: str
    settings: Mapping[float, str]
    losses: pd.DataFrame
    runs: pd.DataFrame
    states: pd.DataFrame
    at_edge: frozenset[float]


def equivalent_steps(frames: StudyFrames, comparisons: Sequence[Comparison], seen: Sequence[Looked] = ()) -> pd.DataFrame:
    """How many of its reference's steps an arm's steps are worth: `EQUIVALENT_STEPS`.

    Args:
        seen: what the looks of a study came to: a comparison has the seeds that its verdict stands on.
    """
    ends = {one.comparison: frames.first_seed + one.seeds for one in seen}
    rows: list[Row] = []
    for comparison in comparisons:
        runs = frames.runs
        stood = frames if comparison not in ends else replace(frames, runs=runs[~_reported(runs) | (runs["seed"] < ends[comparison])])
        for place, planned, arm, reference in _families(stood, comparison):
            rows += [comparison.columns | place | row for row in _rows(stood, planned, arm, reference)]
    return EQUIVALENT_STEPS.frame(rows)


def _reported(runs: pd.DataFrame) -> pd.Series[bool]:
    """Which runs a block chooses among or reports; those of a search have seeds of their own, before all looks."""
    return has_role(runs, "finalist", *REPORTED)


def _families(frames: StudyFrames, comparison: Comparison) -> Iterator[tuple[Row, Sequence[float], _Schedules, _Schedules]]:
    """A family at a time where both arms have several lengths: what names it, the lengths that are asked for, run or not, the schedules of
    the arm and of the reference."""
    runs = pd.concat([frames.runs, unkept(frames.runs)], ignore_index=True) if comparison.role == "tuned" else frames.runs
    known = runs["family"].notna() & runs["length"].notna() & runs["arm"].isin([comparison.arm, comparison.reference])
    ours = with_role(runs[known if comparison.lr is None else known & (runs["lr"] == comparison.lr)], comparison.role)
    losses = ours["metrics.report_loss"].astype(float).where(ours["state"] == "done").mask(ours["state"] == "diverged", np.inf)
    ours = ours.assign(loss=losses).drop_duplicates(["family", "model", "rank", "arm", "length", "seed"])
    of_both = frames.runs[frames.runs["arm"].isin([comparison.arm, comparison.reference])]
    asked = of_both.dropna(subset=["family", "length"]).groupby("family")["length"].unique()  # of searches that go on too
    for place, family in groups_of(ours, ["family", "model", "rank"]):
        sides = [family[family["arm"] == side] for side in (comparison.arm, comparison.reference)]
        if all(side["length"].nunique() > 1 for side in sides):
            edges = at_edges(frames)
            arm, reference = (_schedules(side, edges) for side in sides)
            yield place, sorted(map(_steps, asked[place["family"]])), arm, reference


def _schedules(runs: pd.DataFrame, edges: Container[tuple[str, str]]) -> _Schedules:
    losses, ids, states = (runs.pivot(index="seed", columns="length", values=name) for name in ("loss", "train_id", "state"))
    at_edge = frozenset(row["length"] for row in rows_of(runs[["arm", "cell", "length"]]) if (row["arm"], row["cell"]) in edges)
    settings = dict(zip(runs["length"], runs["setting"].fillna(""), strict=True))
    return _Schedules(str(runs["arm"].iloc[0]), settings, losses, ids, states, at_edge)


def _rows(frames: StudyFrames, planned: Sequence[float], arm: _Schedules, reference: _Schedules) -> list[Row]:
    middle = np.sqrt(planned[0] * planned[-1])
    judged = min(planned, key=lambda length: (round(abs(np.log(length / middle)), 3), length))
    lengths = sorted({*map(_steps, arm.losses), judged})
    return [
        {"setting": arm.settings.get(length, ""), "steps": length, "judged": length == judged} | _row(frames, arm, reference, length)
        for length in lengths
    ]


def _steps(name: object) -> float:
    """The number of steps that a column is named after."""
    return float(str(name))


def _row(frames: StudyFrames, arm: _Schedules, reference: _Schedules, steps: float) -> Row:
    if steps not in arm.losses:
        return _nothing()
    mine = arm.losses[steps]
    ended, begun = (table.reindex(mine.index[mine.notna()]).notna().sum() for table in (reference.losses, reference.states))
    # A length that few seeds have run yet would leave out the other lengths' seeds.
    far = ended.index[(ended >= MIN_SEEDS_FOR_VERDICT) & (ended > begun / 2)]
    read = far if len(far) > 1 else ended.index[ended > 0]
    both = reference.losses[read].assign(arm=mine).dropna()
    planned = int(reference.states[read].assign(arm=arm.states[steps]).notna().all(axis=1).sum())
    runs = [arm.runs.loc[both.index, steps], *(reference.runs.loc[both.index, length] for length in read)]
    worth, limits = _worth(frames, both, runs, (steps in arm.at_edge, [length in reference.at_edge for length in read]))
    missing, diverged = planned - len(both), int(np.isinf(both).any(axis=1).sum())
    reasons: list[Reason] = [PairsDiverged(diverged, planned)] if diverged else []
    reasons += [PairsMissing(missing, planned)] if missing else []
    edges = [name for name, at in ((reference.arm, reference.at_edge.intersection(read)), (arm.arm, steps in arm.at_edge)) if at]
    reasons += [BestAtEdge(tuple(edges), by_loss=True)] if edges else []
    finite = both.replace(np.inf, np.nan).mean()
    return {
        "loss": finite["arm"], "loss_reference": finite.get(steps, np.nan), "equivalent": worth.ratio * steps, "ratio": worth.ratio,
        "low": worth.low, "high": worth.high, "p": worth.p, "verdict": worth.verdict, "seeds": worth.seeds, "seeds_planned": planned,
        "reasons": (*reasons, *limits), "runs": " ".join(sorted({one for column in runs for one in column})),
    }  # fmt: skip


def _nothing() -> Row:
    """A length of which the arm has no run yet."""
    unknown = dict.fromkeys(("loss", "loss_reference", "equivalent", "ratio", "p"), np.nan)
    nothing = {"low": 0.0, "high": np.inf, "verdict": UNRESOLVED, "seeds": 0, "seeds_planned": 0, "runs": ""}
    return unknown | nothing | {"reasons": (TooFewSeeds(0, MIN_SEEDS_FOR_VERDICT),)}


def _worth(
    frames: StudyFrames, both: pd.DataFrame, runs: list[pd.Series[str]], at_edge: tuple[bool, list[bool]]
) -> tuple[Worth, tuple[Reason, ...]]:
    """What steps are worth, and what limits that. `both`: as `_row` joins them; `runs` in order of the arm and its columns."""
    *lengths, _ = both
    steps, seeds = float(runs[0].name), len(both) if len(lengths) > 1 else 0  # type: ignore[arg-type]
    unknown = Worth(steps, np.nan, 0.0, np.inf, np.nan, seeds)
    if seeds < MIN_SEEDS_FOR_VERDICT:
        return unknown, (TooFewSeeds(seeds, MIN_SEEDS_FOR_VERDICT),)
    if np.isinf(both).any(axis=None):
        return unknown, ()
    parts = example_parts(frames.examples, [str(one) for column in runs for one in column])
    if isinstance(parts, dict):
        arm, *reference = (np.stack([parts[one] for one in column], axis=-1) for column in runs)
    else:
        arm, *reference = (both[name].to_numpy(dtype=float)[None, :] for name in ("arm", *lengths))
    worth = steps_worth(steps, arm, list(map(_steps, lengths)), reference, at_edge=at_edge[0], reference_at_edge=at_edge[1])
    return worth, () if isinstance(parts, dict) else (parts,)


def steps_worth(
    steps: float, arm: Floats, lengths: Sequence[float], reference: Sequence[Floats], *, at_edge: bool = False,
    reference_at_edge: Sequence[bool] | None = None,
) -> Worth:  # fmt: skip
    """With how many of its own steps the reference ends at the loss at which the arm ends.

    Between two lengths the reference's loss is linear in the logarithm of its steps, seed by seed. The interval goes from the first to the
    last length at which the test of two losses does not tell them apart (an inverted test, as Fieller's); at the arm's own length it is the
    test of two schedules of that length. No error of the interpolation is in it. The test is `crossed.crossed`, over new seeds and new
    examples; with one row of losses a paired t over seeds.

    Args:
        steps: the arm's.
        arm: `(examples, seeds)`, its final losses by example (`crossed.linearised_ratio`), or `(1, seeds)`; nats.
        lengths: the reference's, increasing, two or more.
        reference: as `arm`, for each length.
        at_edge, reference_at_edge: whether a loss, of the arm or of each of the reference's lengths, may be lower at a learning rate that
            was not tried: then nothing is shown against it.

    Returns:
        Ratios of the reference's steps to the arm's. An end beyond the reference's lengths is 0 or infinite.
    """
    inside = [steps] if lengths[0] <= steps <= lengths[-1] else []
    at = np.union1d(np.geomspace(lengths[0], lengths[-1], POINTS), [*lengths, *inside])
    weights = np.stack([np.interp(np.log(at), np.log(lengths), one) for one in np.eye(len(lengths))], axis=-1)
    of_reference = np.tensordot(weights, np.stack(reference), axes=1)
    differences = arm[None] - of_reference
    test = crossed([differences]) if arm.shape[0] > 1 else of_blocks(differences[:, 0])
    lower = (weights > 0) @ np.array(reference_at_edge or [False] * len(lengths))
    test = replace(test, may_be_lower=np.full(len(at), at_edge), may_be_higher=lower > 0)
    low, high = _interval(at, test)
    p = float(_one(test, int(np.flatnonzero(at == steps)[0])).p()) if steps in lengths else np.nan
    return Worth(steps, _crossing(at, test.value) / steps, low / steps, high / steps, p, arm.shape[-1])


def _one(test: Estimate, place: int) -> Estimate:
    """One of many estimates."""
    return Estimate(**{one.name: np.asarray(getattr(test, one.name))[place] for one in fields(Estimate)})


def _interval(at: Floats, test: Estimate) -> tuple[float, float]:
    """The reference's lengths at which the losses are not told apart; where all are, the side on which the arm's loss lies."""
    low, high = test.interval(LEVEL)
    kept = np.flatnonzero(~((low > 0) | (high < 0)))  # no spread leaves NaN, and tells nothing apart
    # Where none is kept the arm's loss lies beyond the reference's lengths, or is passed between two of those that are read.
    first = int(kept[0]) if len(kept) else next(map(int, np.flatnonzero(low > 0)), len(at))
    last = int(kept[-1]) if len(kept) else first - 1
    begins = 0.0 if first == 0 else at[-1] if first == len(at) else _root(at, high if high[first - 1] < 0 else low, first)
    ends = np.inf if last == len(at) - 1 else at[0] if last < 0 else _root(at, low if low[last + 1] > 0 else high, last + 1)
    return float(begins), float(ends)


def _crossing(at: Floats, mean: Floats) -> float:
    """Where the reference's mean loss falls to the arm's: 0 or infinite beyond its lengths. `mean`: arm minus reference."""
    behind = np.flatnonzero(mean >= 0)
    if not len(behind):
        return np.inf
    if behind[0] == 0:
        return float(at[0]) if mean[0] == 0 else 0.0
    return _root(at, mean, behind[0])


def _root(at: Floats, values: Floats, after: int) -> float:
    """Where values pass through 0 between the length before `after` and that one, linear in the logarithm of the length."""
    before, behind = values[after - 1], values[after]
    if not np.isfinite(before) or not np.isfinite(behind):  # open at one of them
        return float(at[after])
    share = before / (before - behind)
    return float(at[after - 1] * (at[after] / at[after - 1]) ** share)
