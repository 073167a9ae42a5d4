"""How a run was scored: by lm-eval, by a table of scores, or by both, each with benchmarks of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd

from olora_bench.errors import BadInput
from olora_bench.foreign.columns import checked_rows
from olora_bench.foreign.files import told
from olora_bench.foreign.lm_eval import results_below
from olora_bench.foreign.lm_eval_frames import Evaluation, frame_of, newest
from olora_bench.foreign.record import ImportedScore, SourceFile
from olora_bench.foreign.schema import ForeignStudy


class Key(NamedTuple):
    """What names a run: its arm, its seed, and its learning rate, rank and base where pattern or table say them."""

    arm: str
    lr: float | None
    seed: int
    rank: int | None = None
    base: str | None = None


def named(key: Key) -> str:
    """E.g. `olora, lr 0.0003, seed 1`."""
    rate, rank = ("" if key.lr is None else f", lr {key.lr:g}"), ("" if key.rank is None else f", rank {key.rank}")
    return f"{key.arm}{rate}{rank}, seed {key.seed}"


@dataclass
class Traces:
    """Where a run's traces are: folders, and rows of the table of scores, with the file that they stand in."""

    folders: list[Path] = field(default_factory=list)
    rows: pd.DataFrame | None = None
    table: SourceFile | None = None


@dataclass
class Evaluated:
    """A run's scores: their state, and the table of single items where it is there."""

    state: Literal["done", "missing", "unreadable"] = "missing"
    error: str | None = None
    scores: dict[str, ImportedScore] = field(default_factory=dict)
    items: pd.DataFrame | None = None
    sources: list[SourceFile] = field(default_factory=list)
    base: str | None = None


def evaluated(study: ForeignStudy, key: Key, traces: Traces, root: Path, notes: list[str]) -> Evaluated:
    """What is there of a run's scores; damage stands in what is returned.

    Args:
        root: the study file's folder, from where paths are told.
        notes: takes what was not read, in words.
    """
    digests: dict[Path, str] = {}
    try:
        results = [one for folder in traces.folders for one in results_below(folder, study.metrics)]
        evaluations = newest(key.seed, results, notes, study.benchmarks)
        logged = [frame_of({key.seed: evaluations}, digests)] if evaluations else []
        rows = [_once(one, key, notes) for one in (*(one.frame for one in logged), *_of_table(study, key, traces))]
        _no_two(rows, key)
    except BadInput as error:
        return Evaluated("unreadable", short(error, root))
    unusable = [(task, why) for one in results for task, why in one.unusable.items()]
    own = [note for one in logged for note in one.not_read]
    own += [f"{task}: {why}" for task, why in unusable if study.benchmarks is None or task in study.benchmarks]
    notes += (f"{named(key)}: {note}" for note in own)
    rows = [frame for frame in rows if len(frame)]
    single = [_items(frame) for frame in rows if "correct" in frame]
    return Evaluated(
        state="done" if rows else "missing",
        scores={name: score for frame in rows for name, score in _scores(frame)},
        items=pd.concat(single, ignore_index=True) if single else None,
        sources=_sources(evaluations, digests, root),
        base=next((one.base for one in results if one.base), None),
    )


def _of_table(study: ForeignStudy, key: Key, traces: Traces) -> list[pd.DataFrame]:
    if traces.rows is None:
        return []
    rows = traces.rows if study.benchmarks is None else traces.rows[traces.rows["benchmark"].isin(study.benchmarks)]
    return [checked_rows(rows, named(key))] if len(rows) else []


def _once(frame: pd.DataFrame, key: Key, notes: list[str]) -> pd.DataFrame:
    """Each item or score once; takes into `notes` how many rows say the same again.

    Raises:
        BadInput: two rows of one item, or two scores of a benchmark, differ.
    """
    within, value = (["benchmark", "item"], "correct") if "correct" in frame else (["benchmark"], "score")
    again = frame.duplicated(within)
    if not again.any():
        return frame
    several = frame[frame.duplicated(within, keep=False)]
    answers = several.groupby(within, observed=True, sort=False)[value].nunique(dropna=False)
    if (answers > 1).any():
        first = answers.index[answers > 1][0]
        what = f"two scores of {first} that differ"
        if value == "correct":
            what = f"item {first[1]!r} of {first[0]} stands there twice, right and wrong"
        raise BadInput(f"{named(key)}: {what}: keep one")
    notes += (f"{named(key)}: {count} rows of {name} say the same again: counted once"
              for name, count in frame.loc[again, "benchmark"].astype(str).value_counts().items())  # fmt: skip
    return frame[~again]


def _no_two(rows: Sequence[pd.DataFrame], key: Key) -> None:
    both = set(rows[0]["benchmark"]) & set(rows[1]["benchmark"]) if len(rows) == 2 else set()
    if both:
        raise BadInput(f"{named(key)}: both lm-eval's results and the table of scores have {', '.join(sorted(map(str, both)))}: keep one")


def _sources(evaluations: Sequence[Evaluation], digests: Mapping[Path, str], root: Path) -> list[SourceFile]:
    files = {one.results.path: one.results.sha256 for one in evaluations} | dict(digests)
    return [SourceFile(path=told(path, root), sha256=digest) for path, digest in sorted(files.items())]


def _scores(frame: pd.DataFrame) -> Iterator[tuple[str, ImportedScore]]:
    for name, own in frame.groupby("benchmark", sort=False, observed=True):
        first = {what: _known(own[what]) if what in own else None for what in ("metric", "version", "fewshot", "harness", "base")}
        value, single = own["correct" if "correct" in own else "score"], "correct" in own
        counted = len(own) if single else _known(own["items"]) if "items" in own else None
        score = float(value.mean()) if value.notna().any() else None
        yield str(name), ImportedScore(**first, score=score, items=None if counted is None else int(counted), single_items=single)


def _known(column: pd.Series[Any]) -> Any:
    values = column.dropna()
    return None if values.empty else values.tolist()[0]


def _items(frame: pd.DataFrame) -> pd.DataFrame:
    benchmark = frame["benchmark"].astype(str)
    told = {name: frame[name].astype(object) if name in frame else None for name in ("prompt", "source")}
    place = frame["doc_id"] if "doc_id" in frame else frame.groupby("benchmark", observed=True).cumcount()
    columns = {"benchmark": benchmark, "item_id": frame["item"].astype(str), "doc_id": place.astype("int64")}
    return pd.DataFrame({**columns, "correct": frame["correct"].astype("float64"), **told}, index=frame.index)


def short(error: BadInput, root: Path) -> str:
    """An error without the machine's own folders."""
    return str(error).replace(f"{root}/", "").encode("utf-8", "backslashreplace").decode()
