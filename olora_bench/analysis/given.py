"""Answers that others scored, as frames, put side by side: the same seeds, benchmarks and items in every run, or left out and said so.

`foreign.columns.COLUMNS` describes the frames; `matched` makes of them what the analysis of a study starts from.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from olora_bench.errors import BadInput
from olora_bench.foreign.choice import Choice
from olora_bench.foreign.columns import checked_rows
from olora_bench.foreign.files import shown

MEASURE = ("metric", "version", "fewshot")
"""Runs that differ in one of these were asked other questions: that benchmark is left out."""
BESIDE = ("base", "harness")
"""Runs may differ in these, which is said beside the verdict."""
MILLIONTHS = 1_000_000
"""A share of unknown many items is read to a millionth."""


class Run(NamedTuple):
    """One side's run of a seed."""

    arm: str
    seed: int


@dataclass(frozen=True)
class SeedOfOneSide:
    """A seed of which one side alone has a run."""

    seed: int
    arm: str


@dataclass(frozen=True)
class BenchmarkLacking:
    """A benchmark that some of the paired runs have no score of."""

    benchmark: str
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class MeasureDiffers:
    """A benchmark that was not asked alike everywhere; `what` is a column, `values` those found, `items` how many single ones differ."""

    benchmark: str
    what: str
    values: tuple[str, ...] = ()
    items: int = 0


@dataclass(frozen=True)
class ItemsOfSome:
    """Items of a benchmark that not all paired runs answered."""

    benchmark: str
    items: int
    kept: int


@dataclass(frozen=True)
class ItemsUnknown:
    """Items of a benchmark that some run has no answer of (empty, NaN)."""

    benchmark: str
    items: int


@dataclass(frozen=True)
class RowsTwice:
    """Rows that say the same again: counted once."""

    benchmark: str
    rows: int


@dataclass(frozen=True)
class NotRead:
    """What reading the logs left out, in words of the reader: a file, a task, an older evaluation."""

    what: str


@dataclass(frozen=True)
class RunLacks:
    """A run without a score of benchmarks that were asked for: its seed is left out."""

    run: Run
    benchmarks: tuple[str, ...]


@dataclass(frozen=True)
class Accepted:
    """What a benchmark's runs differ in, and somebody answers for: it is compared all the same."""

    differs: MeasureDiffers


LeftOut = SeedOfOneSide | RunLacks | BenchmarkLacking | MeasureDiffers | ItemsOfSome | ItemsUnknown | RowsTwice | NotRead
"""Every kind of thing that does not enter a verdict; `words.judged.left_out` knows each."""


@dataclass(frozen=True)
class Together:
    """One benchmark as every run answered it.

    Attributes:
        metric: what it is scored by; empty where that is not known.
        count: items.
        right: how many are right, by run.
        ids: `(items,)` text, and `answers` `(items,)` bool by run; None and empty where only scores are there.
        sources: item -> what it shares with others, itself where nothing; None where that is not known.
    """

    metric: str
    count: int
    right: Mapping[Run, int]
    ids: pa.Array[Any] | None
    answers: Mapping[Run, NDArray[np.bool_]]
    sources: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Matched:
    """What the runs of both sides share.

    Attributes:
        runs: by side, and rising seeds.
        benchmarks: by name, in the order of the frames; none where nothing is left to compare.
        left_out: what does not enter.
        beside: column -> value by run, of what runs may differ in.
        accepted: what would leave a benchmark out, had nobody answered for it.
    """

    runs: tuple[Run, ...]
    benchmarks: Mapping[str, Together]
    left_out: tuple[LeftOut, ...]
    beside: Mapping[str, Mapping[Run, str]]
    accepted: tuple[MeasureDiffers, ...] = ()

    @property
    def with_items(self) -> bool:
        """Whether answers to single items are there."""
        return all(one.ids is not None for one in self.benchmarks.values())


def matched(
    sides: Mapping[str, pd.DataFrame], seeds: Sequence[int] | None = None, choice: Choice | None = None, *, paired: bool = True
) -> Matched:
    """Put the runs of several sides together.

    Args:
        sides: arm -> its rows, columns as in `COLUMNS`.
        seeds: only these; None is every seed.
        choice: which benchmarks, and what of them is accepted.
        paired: whether a seed must be in every side; else each side keeps its own.

    Raises:
        BadInput: a column or value is not as described, answers contradict each other, or no seed is in every side.
    """
    choice, checked = choice or Choice(), {arm: checked_rows(frame, arm) for arm, frame in sides.items()}
    if not all("correct" in frame for frame in checked.values()):
        checked = {arm: _scores_of(frame) for arm, frame in checked.items()}
    elif len({pd.api.types.is_numeric_dtype(frame["item"]) for frame in checked.values()}) > 1:  # 7 and "7" are one item
        checked = {arm: frame.assign(item=frame["item"].map(str)) for arm, frame in checked.items()}
    rows = pd.concat([frame.assign(arm=arm) for arm, frame in checked.items()], ignore_index=True)
    of = {arm: sorted(frame["seed"].unique().tolist()) for arm, frame in checked.items()}
    left_out: list[LeftOut | Accepted] = []
    if paired:
        kept, lone = _paired_seeds(of, seeds)
        rows = rows[rows["seed"].isin(kept)]
        rows, kept, lacking = _with_benchmarks(rows, [Run(arm, seed) for arm in sides for seed in kept], choice.benchmarks)
        left_out, of = [*lone, *lacking], dict.fromkeys(of, kept)
    runs = [Run(arm, seed) for arm in sides for seed in of[arm]]
    benchmarks: dict[str, Together] = {}
    for name, own in rows.groupby("benchmark", sort=False, observed=True):
        one, without = _together(str(name), own, runs, choice.accept.get(str(name), ()))
        left_out += without
        benchmarks |= {str(name): one} if one is not None else {}
    accepted = tuple(one.differs for one in left_out if isinstance(one, Accepted) and one.differs.benchmark in benchmarks)
    out = tuple(one for one in left_out if not isinstance(one, Accepted))
    return Matched(tuple(runs), benchmarks, out, dict(_beside(rows)), accepted)


def _with_benchmarks(
    rows: pd.DataFrame, runs: Sequence[Run], asked: Sequence[str] | None
) -> tuple[pd.DataFrame, list[int], list[RunLacks]]:
    """The rows of the benchmarks that are asked for, the seeds whose runs have them all, and the runs that do not."""
    seeds = list(dict.fromkeys(run.seed for run in runs))
    if asked is None:
        return rows, seeds, []
    rows = rows[rows["benchmark"].isin(asked)]
    known = rows if "correct" in rows else rows[rows["score"].notna()]
    there = set(known[["arm", "seed", "benchmark"]].drop_duplicates().itertuples(index=False, name=None))
    lacks = [RunLacks(run, tuple(name for name in dict.fromkeys(asked) if (*run, name) not in there)) for run in runs]
    lacks = [one for one in lacks if one.benchmarks]
    kept = [seed for seed in seeds if all(one.run.seed != seed for one in lacks)]
    if not kept:
        (arm, seed), name = lacks[0].run, lacks[0].benchmarks[0]
        raise BadInput(f"no seed has all of {', '.join(dict.fromkeys(asked))}: {arm}, seed {seed} has no score of {name}")
    return rows[rows["seed"].isin(kept)], kept, lacks


def _scores_of(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of scores, made of single items where these are there."""
    if "score" in frame:
        return frame
    rest = [name for name in frame if name not in ("item", "correct", "prompt", "seed", "benchmark")]
    groups = frame.drop_duplicates(["seed", "benchmark", "item"]).groupby(["seed", "benchmark"], sort=False, observed=True)
    first = groups[rest].first() if rest else pd.DataFrame(index=groups.size().index)
    return first.assign(score=groups["correct"].mean(), items=groups["correct"].count()).reset_index()


def _paired_seeds(of: Mapping[str, Sequence[int]], asked: Sequence[int] | None) -> tuple[list[int], list[LeftOut]]:
    there = sorted(set().union(*of.values()))
    if asked is not None and not len(asked):
        raise BadInput(f"seeds: none is named. Seeds that are there: {', '.join(map(str, there))}")
    if asked is not None and (absent := sorted(set(asked) - set(there))):
        raise BadInput(f"seed {', '.join(map(str, absent))}: no run has it. Seeds that are there: {', '.join(map(str, there))}")
    wanted = [seed for seed in there if asked is None or seed in asked]
    kept = [seed for seed in wanted if all(seed in seeds for seeds in of.values())]
    lone: list[LeftOut] = [SeedOfOneSide(seed, arm) for arm, seeds in of.items() for seed in wanted if seed in seeds and seed not in kept]
    if not kept:
        listed = "; ".join(f"{arm}: {', '.join(map(str, sorted(seeds)))}" for arm, seeds in of.items())
        raise BadInput(f"no seed is in every side ({listed}): runs are compared seed by seed. Give the runs of a pair the same seed")
    return kept, lone


Without = list[LeftOut | Accepted]


def _together(name: str, rows: pd.DataFrame, runs: Sequence[Run], accept: Collection[str]) -> tuple[Together | None, Without]:
    """A benchmark's rows put together, or None; and what of it is left out, or accepted."""
    column = _run_codes(rows, {run: place for place, run in enumerate(runs)})
    there = np.bincount(column, minlength=len(runs))
    lacking = tuple(run for run, count in zip(runs, there, strict=True) if not count)
    if lacking:
        return None, [BenchmarkLacking(name, lacking)]
    accepted: Without = []
    for what in MEASURE:
        values = rows[what].dropna().astype(str).unique().tolist() if what in rows else []
        if len(values) > 1:
            differs = MeasureDiffers(name, what, tuple(sorted(values)))
            if what not in accept:
                return None, [differs]
            accepted.append(Accepted(differs))
    metric = str(rows["metric"].dropna().iloc[0]) if "metric" in rows and rows["metric"].notna().any() else ""
    one, left = _of_items(name, rows, column, runs, metric, accept) if "correct" in rows else _of_scores(name, rows, column, runs, metric)
    return one, [*accepted, *left]


def _run_codes(rows: pd.DataFrame, codes: Mapping[Run, int]) -> NDArray[np.intp]:
    arms, names = pd.factorize(rows["arm"])
    seeds, numbers = pd.factorize(rows["seed"])
    places = np.array([[codes.get(Run(str(arm), int(seed)), -1) for seed in numbers] for arm in names], dtype=np.intp)
    return np.asarray(places[arms, seeds], dtype=np.intp)


def _of_scores(
    name: str, rows: pd.DataFrame, column: NDArray[np.intp], runs: Sequence[Run], metric: str
) -> tuple[Together | None, list[LeftOut]]:
    left: list[LeftOut] = []
    first = pd.DataFrame({"run": column, "score": rows["score"].to_numpy()}).drop_duplicates()
    if (twice := len(rows) - len(first)) > 0:
        left.append(RowsTwice(name, twice))
    if first["run"].duplicated().any():
        run = runs[int(first["run"][first["run"].duplicated()].iloc[0])]
        raise BadInput(f"{run.arm}, seed {run.seed}: two scores of {name} that differ: keep one")
    if first["score"].isna().any():
        empty = tuple(runs[int(place)] for place in first["run"][first["score"].isna()])
        return None, [*left, BenchmarkLacking(name, empty)]
    counts: list[float] = rows["items"].dropna().unique().tolist() if "items" in rows else []
    if len(counts) > 1:
        return None, [*left, MeasureDiffers(name, "items", tuple(f"{int(count)}" for count in sorted(counts)))]
    count = int(counts[0]) if len(counts) else MILLIONTHS
    right = {runs[int(place)]: round(float(score) * count) for place, score in zip(first["run"], first["score"], strict=True)}
    return Together(metric, count, right, None, {}), left


def _of_items(
    name: str, rows: pd.DataFrame, column: NDArray[np.intp], runs: Sequence[Run], metric: str, accept: Collection[str]
) -> tuple[Together | None, Without]:
    items, ids = pd.factorize(rows["item"])
    table, left = _table(name, rows, column, items, (len(ids), len(runs)), runs)
    there, known = (table > _ABSENT).all(axis=1), (table >= 0).all(axis=1)
    kept = np.asarray(there & known)
    left += [ItemsOfSome(name, int((~there).sum()), int(kept.sum()))] if not there.all() else []
    left += [ItemsUnknown(name, int((there & ~known).sum()))] if (there & ~known).any() else []
    if "prompt" in rows and (other := _prompts_differ(rows["prompt"], items, kept)):
        differs = MeasureDiffers(name, "prompt", items=other)
        if "prompt" not in accept:
            return None, [*left, differs]
        left.append(Accepted(differs))
    if not kept.any():
        return None, left
    answers = {run: table[kept, place] > 0 for place, run in enumerate(runs)}
    names = pa.array([str(one) for one in np.asarray(ids, dtype=object)[kept]])
    sources = _sources(rows, items, kept, names.to_pylist())
    return Together(metric, int(kept.sum()), {run: int(own.sum()) for run, own in answers.items()}, names, answers, sources), left


def _sources(rows: pd.DataFrame, items: NDArray[np.intp], kept: NDArray[np.bool_], names: Sequence[str]) -> dict[str, str] | None:
    """Each item's source, as its first row tells it."""
    if "source" not in rows:
        return None
    _, first = np.unique(items, return_index=True)
    told = rows["source"].to_numpy()[first][kept]
    return None if pd.isna(told).any() else {name: str(source) or name for name, source in zip(names, told, strict=True)}


_ABSENT, _UNKNOWN = -2, -1


def _table(
    name: str, rows: pd.DataFrame, column: NDArray[np.intp], items: NDArray[np.intp], shape: tuple[int, int], runs: Sequence[Run]
) -> tuple[NDArray[np.int8], Without]:  # fmt: skip
    """`(items, runs)`: right 1, wrong 0, not known -1, not there -2; and the rows that said the same again."""
    values = rows["correct"].fillna(_UNKNOWN).to_numpy().astype(np.int8)
    table = np.full(shape, _ABSENT, np.int8)
    table[items, column] = values
    twice = len(rows) - int((table > _ABSENT).sum())
    if twice:
        other = np.flatnonzero(table[items, column] != values)
        if len(other):
            run, item = runs[int(column[other[0]])], rows["item"].iloc[int(other[0])]
            raise BadInput(f"{run.arm}, seed {run.seed}: item {item!r} of {name} stands there twice, right and wrong: keep one answer")
    return table, [RowsTwice(name, twice)] if twice else []


def _prompts_differ(prompts: pd.Series[Any], items: NDArray[np.intp], kept: NDArray[np.bool_]) -> int:
    """How many of the kept items were not asked with one prompt."""
    digests = pd.factorize(prompts)[0]
    known = (digests >= 0) & kept[items]
    low, high = np.full(len(kept), np.iinfo(np.int64).max), np.full(len(kept), -1)
    np.minimum.at(low, items[known], digests[known])
    np.maximum.at(high, items[known], digests[known])
    return int((high > low).sum())


def _beside(rows: pd.DataFrame) -> Iterator[tuple[str, dict[Run, str]]]:
    for what in BESIDE:
        if what in rows:
            known = rows[rows[what].notna()].drop_duplicates(["arm", "seed"])
            yield (
                what,
                {Run(arm, int(seed)): shown(value) for arm, seed, value in zip(known["arm"], known["seed"], known[what], strict=True)},
            )
