"""The one loader: a study's records, read once, as frames."""

from __future__ import annotations

import gc
import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from olora_bench.analysis.answers import AnswersRead
from olora_bench.analysis.examples import ExamplesRead
from olora_bench.analysis.frames import StudyFrames
from olora_bench.analysis.run_rows import RunRow, contradictions, numbers, run_frame
from olora_bench.analysis.sources import SourcesRead
from olora_bench.errors import RecordError
from olora_bench.formats import SharedColumns
from olora_bench.store import OVER, Beside, EvalRecord, RunRecord, Store
from olora_bench.store.manifest import Manifest, PlannedRun, Search
from olora_bench.store.record import Json

SCORE_COLUMNS = {
    "train_id": "object", "base": "object", "eval_id": "object", "benchmark": "object", "metric": "object", "primary": "bool",
    "value": "float64", "stderr": "float64", "items": "int64", "chance": "float64", "gold_logprob": "float64", "truncated": "int64",
    "flips": "float64", "flip_items": "int64", "warnings": "object",
}  # fmt: skip


def load_study(store: Store, manifest: Manifest) -> StudyFrames:
    """Read all records of a study once.

    Args:
        store: where the records are.
        manifest: as `study.manifest.read_manifest` returns it.

    Returns:
        Frames; a record that is absent or cannot be read is a row that says so, and never an error.
    """
    pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own pools keep what thousands of small tables gave back
    reader = _Reader(store)
    overrides = manifest.overrides or ()
    with _uncollected():
        runs = run_frame([reader.run(run) for run in reader.once(manifest.runs)])
    bases = dict.fromkeys((run.model, run.base_eval_id) for run in manifest.runs if run.base_eval_id is not None)
    generated = [reader.base(model, eval_id) for model, eval_id in bases]
    return StudyFrames(
        study=manifest.study,
        title=manifest.title,
        protocol=manifest.protocol,
        contrasts=manifest.contrasts,
        tuning=manifest.tuning,
        runs=runs,
        scores=pd.DataFrame(reader.scores, columns=list(SCORE_COLUMNS)).astype(SCORE_COLUMNS),
        curves=reader.curves.stacked(),
        searches=searches_frame(manifest.searches or ()),
        problems=[*_overridden(overrides), *reader.problems, *contradictions(runs)],
        answers=reader.answers.of,
        base_generation=_generations(generated),
        margin=manifest.margin,
        overrides=overrides,
        damaged=reader.damaged,
        examples=reader.examples.of,
        settled=manifest.settled,
        sources=SourcesRead(store).of,
        looks=manifest.looks or (),
        first_seed=manifest.first_seed or 0,
        provenance=reader.provenance,
    )


def _overridden(overrides: Sequence[str]) -> list[str]:
    return [f"run with overrides ({' '.join(overrides)}): these are not the runs that the study file declares"] if overrides else []


@contextmanager
def _uncollected() -> Iterator[None]:
    """Records hold no circles: what looks for them would look through all that was read, again and again."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


class _Reader:
    """What reading a study's records comes to: scores and curves, and sentences on what is wrong."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.scores: list[Mapping[str, object]] = []
        self.curves = _Curves()
        self._along = SharedColumns(("step", "tokens", "lr"))
        self.answers = AnswersRead()
        self.examples = ExamplesRead()
        self.problems: list[str] = []
        self.damaged: list[str] = []
        self.provenance: dict[str, Json] = {}
        self._provenances: dict[str, Json] = {}

    def once(self, runs: Iterable[PlannedRun]) -> Iterator[PlannedRun]:
        """Those runs, each once."""
        seen: set[tuple[str, str | None]] = set()
        for run in runs:
            if (run.train_id, run.eval_id) in seen:
                self.problems.append(f"run {run.train_id} is listed twice in the manifest: counted once")
            else:
                seen.add((run.train_id, run.eval_id))
                yield run

    def run(self, run: PlannedRun) -> RunRow:
        """A run with its record, its curve and its scores."""
        row, record = RunRow(run), None
        try:
            record, beside = self.store.run_beside(run.train_id)
        except RecordError as error:
            row.state, row.reason = "unreadable", str(error)
        if record is not None:
            row.state, row.reason = record.status, _first_line(record.error)
            row.keep(record)
            self.provenance[run.train_id] = self._same(record.provenance)
            self._curve(row, record, beside)
        if run.eval_id is None:
            row.eval_state = "none"
            return row
        scored, row.eval_state, row.eval_reason = self._evaluation((run.train_id, None, run.eval_id))
        if scored is not None and record is not None and not scored.is_of(record):
            scored, row.eval_state, row.eval_reason = None, "missing", "those that lie there are of an earlier adapter of this run"
        if scored is not None:
            row.keep_scores(scored)
            self.scores += _score_rows(scored)
        return row

    def _same(self, provenance: Json) -> Json:
        """Provenance that runs share, once."""
        return self._provenances.setdefault(json.dumps(provenance), provenance)

    def _curve(self, row: RunRow, record: RunRecord, beside: Beside) -> None:
        if record.status not in OVER:
            return
        try:
            curve = beside.table("curve", shared=self._along)
        except RecordError as error:
            row.state, row.reason = "unreadable", str(error)
            self.damaged.append(f"run {record.train_id} has no readable curve: {error}")
            return
        if curve is not None:
            self.curves.add(record.train_id, curve)
        try:
            self.examples.read(record.train_id, beside)
        except RecordError as error:
            self.damaged.append(f"run {record.train_id} has no readable losses by example: {error}")
            return
        if (wrong := beside.damage(thorough=True)) is not None:
            self.damaged.append(f"run {record.train_id} has no readable adapter: {wrong}")

    def base(self, model: str, eval_id: str) -> EvalRecord | None:
        """The scores of an untouched base."""
        record, state, reason = self._evaluation((None, model, eval_id))
        if state == "unreadable":
            self.damaged.append(f"the untouched base {model} has no readable scores: {reason}")
        elif state == "failed":
            self.problems.append(f"the untouched base {model} has no scores: {reason}")
        if record is not None:
            self.scores += _score_rows(record)
        return record

    def _evaluation(self, who: tuple[str | None, str | None, str]) -> tuple[EvalRecord | None, str, str | None]:
        """A readable evaluation that is done, its state, and the reason of that."""
        try:
            record, beside = self.store.eval_beside(*who)
        except RecordError as error:
            return None, "unreadable", str(error)
        if record is None:
            return None, "missing", None
        if record.status != "done":
            return None, "failed", _first_line(record.error)
        try:
            self.answers.read(record, beside)
            wrong = beside.damage()
        except RecordError as error:
            wrong = str(error)
        return (record, "done", None) if wrong is None else (None, "unreadable", wrong)


def _first_line(error: str | None) -> str | None:
    return (error or "").split("\n")[0] or None


def _score_rows(record: EvalRecord) -> Iterator[Mapping[str, object]]:
    for name, score in record.scores.items():
        row = {"train_id": record.train_id, "base": record.base, "eval_id": record.eval_id, "benchmark": name}
        row |= score.model_dump(include={"items", "chance", "gold_logprob", "truncated", "flip_items"})
        row |= {"warnings": " | ".join(score.warnings)}
        for metric, value in score.metrics.items():
            primary, stderr, flips = metric == score.primary, score.stderr[metric], score.flips.get(metric)
            yield {**row, "metric": metric, "primary": primary, "value": value, "stderr": stderr, "flips": flips}


def _generations(records: Iterable[EvalRecord | None]) -> pd.DataFrame:
    rows = [{"base": one.base, "eval_id": one.eval_id, **dict(numbers(one.generation))} for one in records if one is not None]
    return pd.DataFrame(rows, columns=list(dict.fromkeys(["base", "eval_id", *(key for row in rows for key in row)])))


def searches_frame(searches: Iterable[Search]) -> pd.DataFrame:
    """The frame `StudyFrames.searches`."""
    rows = [
        one.model_dump(exclude={"points"}) | point.model_dump() | {"runs": " ".join(point.runs)} for one in searches for point in one.points
    ]
    names = ["cell", "model", "rank", "arm", "lr", "stage", "loss", "diverged", "runs", "best", "edge", "chosen"]
    return pd.DataFrame(rows, columns=names).astype(dict.fromkeys(("lr", "loss", "best", "chosen"), "float64"))


class _Curves:
    """Curves put one below another, a growing buffer a column: thousands of them are never there twice."""

    def __init__(self) -> None:
        self._steps: dict[str, int] = {}
        self._columns: dict[str, array[Any]] = {}

    def add(self, train_id: str, curve: pa.Table) -> None:
        if train_id in self._steps:  # scored in two ways
            return
        self._steps[train_id] = curve.num_rows
        for name in curve.column_names:
            values = curve[name].to_numpy()
            self._columns.setdefault(name, array(values.dtype.char)).frombytes(values.tobytes())

    def stacked(self) -> pd.DataFrame:
        ids = np.repeat(np.array([*self._steps], dtype=object), [*self._steps.values()])
        columns = {name: np.frombuffer(values, values.typecode) for name, values in self._columns.items()}
        return pd.DataFrame({"train_id": pd.Series(ids, dtype=object), **columns}, copy=False)
