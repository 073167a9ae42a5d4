"""A side of a comparison, read from lm-eval's outputs into one frame."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from olora_bench.errors import BadInput
from olora_bench.foreign.lm_eval import Items, NoAnswers, Results, Task, items_of, results_below
from olora_bench.foreign.pattern import seed_in


@dataclass(frozen=True)
class Found:
    """A side: its frame (columns of `foreign.columns.COLUMNS`), and in words what was not read."""

    frame: pd.DataFrame
    not_read: tuple[str, ...]


@dataclass(frozen=True)
class Evaluation:
    """A task of a run, and the results file that it stands in."""

    results: Results
    task: Task


@dataclass(frozen=True)
class Wanted:
    """What is read of a side.

    Attributes:
        pattern: where the seed stands in a path; None is `foreign.pattern.SEED`.
        seeds: only these.
        benchmarks: only these.
    """

    pattern: str | None = None
    seeds: Sequence[int] | None = None
    benchmarks: Sequence[str] | None = None


def results_of(side: str, metrics: Mapping[str, str] | None = None) -> list[Results]:
    """The results files of a side.

    Args:
        side: a folder, a results file, or a glob of either.
        metrics: task -> metric, where it is not to be the usual one.

    Raises:
        BadInput: there are none, or one is damaged.
    """
    results = [found for root in _roots(side) for found in results_below(root, metrics)]
    if not results:
        raise BadInput(f"{side}: no results of lm-eval there. They are files results_<date>.json; name a folder that holds them")
    return results


def of_results(side: str, results: Sequence[Results], wanted: Wanted) -> Found:
    """The runs of a side, with their items where every task has its samples.

    Raises:
        BadInput: a run has no seed or two sets of results, or a file is damaged.
    """
    runs, notes = _by_seed(results, wanted)
    if not runs:
        there = sorted({seed for one in results if (seed := seed_in(str(one.path), wanted.pattern)) is not None})
        raise BadInput(f"{side}: no run of seed {', '.join(map(str, wanted.seeds or ()))}. There: {', '.join(map(str, there))}")
    found = frame_of(runs)
    chosen = [(task, why) for one in results for task, why in one.unusable.items() if _among(task, wanted.benchmarks)]
    return Found(found.frame, (*notes, *found.not_read, *dict.fromkeys(f"{task}: {why}" for task, why in chosen)))


def _among(task: str, benchmarks: Sequence[str] | None) -> bool:
    return benchmarks is None or task in benchmarks


def _roots(side: str) -> list[Path]:
    if Path(side).exists():
        return [Path(side)]
    found = [Path(name) for name in sorted(glob.glob(side, recursive=True))]  # noqa: PTH207 (a pattern may begin anywhere)
    if not found:
        raise BadInput(f"{side}: nothing lies there. Name a folder of lm-eval's outputs, a results file, or a glob of them")
    return found


def _by_seed(results: Sequence[Results], wanted: Wanted) -> tuple[dict[int, list[Evaluation]], list[str]]:
    named = [(seed_in(str(one.path), wanted.pattern), one) for one in results]
    without = [one for seed, one in named if seed is None]
    if without and len({one.path.parent for one in results}) > 1:
        raise BadInput(
            f"{without[0].path}: no seed in its path, and there are other runs. Name folders seed0, seed1, ..., "
            "or say where the seed stands: --pattern 'run-{seed}'"
        )
    runs: dict[int, list[Results]] = {}
    for seed, one in named:
        if wanted.seeds is None or (seed or 0) in wanted.seeds:
            runs.setdefault(seed or 0, []).append(one)
    notes: list[str] = []
    return {seed: newest(seed, found, notes, wanted.benchmarks) for seed, found in runs.items()}, notes


def newest(seed: int, results: Sequence[Results], notes: list[str], benchmarks: Sequence[str] | None = None) -> list[Evaluation]:
    """Each task once, or of these benchmarks: of several evaluations in one folder the newest, which lm-eval's own pages count too."""
    tasks: dict[str, Evaluation] = {}
    for one in sorted(results, key=lambda one: (one.written, str(one.path))):
        for name, task in one.tasks.items():
            if not _among(name, benchmarks):
                continue
            before = tasks.get(name)
            if before is not None and before.results.path == one.path:  # two patterns that name one folder
                continue
            if before is not None and before.results.path.parent != one.path.parent:
                raise BadInput(
                    f"seed {seed} has two evaluations of {name}: {before.results.path} and {one.path}. "
                    "Name the folder of one, or leave the other out of the glob"
                )
            if before is not None:
                notes.append(f"{name}, seed {seed}: an older evaluation, {before.results.path.name}; the newest counts")
            tasks[name] = Evaluation(one, task)
    return list(tasks.values())


def frame_of(runs: Mapping[int, Sequence[Evaluation]], digests: dict[Path, str] | None = None) -> Found:
    """A side: of items where every task of every run has its samples, else of scores.

    Args:
        runs: by seed.
        digests: takes the SHA-256 of each file of samples that is read.
    """
    every = [(seed, one) for seed, found in runs.items() for one in found]
    lacking = list(dict.fromkeys(one.task.name for _, one in every if one.task.samples is None))
    notes = [f"single items of {', '.join(lacking)}: no samples beside the results (--log_samples)"] if lacking else []
    if lacking:
        return Found(pd.concat([_scores(seed, one) for seed, one in every], ignore_index=True), tuple(notes))
    parts, unusable = _items(every, {} if digests is None else digests)
    return Found(pd.concat(parts, ignore_index=True) if parts else _EMPTY, tuple(unusable))


_EMPTY = pd.DataFrame({"seed": [], "benchmark": [], "item": [], "correct": []})


def _items(every: Sequence[tuple[int, Evaluation]], digests: dict[Path, str]) -> tuple[list[pd.DataFrame], list[str]]:
    parts, unusable, known = [], dict[str, str](), dict[str, str]()
    for seed, one in every:
        if one.task.name in unusable:
            continue
        try:
            items = items_of(one.results, one.task, known)
        except NoAnswers as error:
            unusable[one.task.name] = str(error)
            continue
        assert one.task.samples is not None
        digests[one.task.samples] = items.sha256
        parts.append(items_frame(seed, one, items))
    return parts, list(unusable.values())


def items_frame(seed: int, one: Evaluation, items: Items) -> pd.DataFrame:
    """One row an item of a task of a run."""
    columns = {"seed": seed, "benchmark": one.task.name, "item": pd.Series(items.item, dtype=object), "correct": items.correct}
    columns |= {"doc_id": items.doc_id}
    frame = pd.DataFrame(columns | {name: pd.Series(getattr(items, name), dtype=object) for name in ("prompt", "source")})
    return frame.assign(**_facts(one)).astype(dict.fromkeys(("benchmark", *_FACTS), "category"))


_FACTS = ("metric", "version", "fewshot", "base", "harness")


def _facts(one: Evaluation) -> dict[str, str | None]:
    task, results = one.task, one.results
    metric = task.metric if task.filter == "none" else f"{task.metric},{task.filter}"
    shots = None if task.fewshot is None else str(task.fewshot)
    return {"metric": metric, "version": task.version, "fewshot": shots, "base": results.base, "harness": results.harness}


def _scores(seed: int, one: Evaluation) -> pd.DataFrame:
    return pd.DataFrame([{"seed": seed, "benchmark": one.task.name, "score": one.task.score, "items": one.task.items, **_facts(one)}])


def side_names(a: str, b: str) -> tuple[str, str]:
    """What to call two sides: the first parts of their paths, from the end, that differ.

    >>> side_names("runs/olora/", "runs/lora/"), side_names("x/olora/out", "x/lora/out"), side_names("a/seed*", "b/seed*")
    (('olora', 'lora'), ('olora', 'lora'), ('a', 'b'))
    """
    for one, other in zip(reversed(Path(a).parts), reversed(Path(b).parts), strict=False):
        if one != other:
            return one, other
    return (a, b) if a != b else ("A", "B")
