"""A study's records as tidy frames: the one loader of everything that tables, figures and claims are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from olora_bench.errors import RecordError
from olora_bench.identity import family_key
from olora_bench.store import EvalRecord, RunRecord, Store
from olora_bench.store.record import RESTORE

ANSWER_COLUMNS = ("benchmark", "item_id", "gold", "prediction", "prediction_norm", "correct", "correct_norm")
PER_RUN = frozenset({"init", "lr", "seed", "arm", "machine", "tracker", "model", "rank", "benchmarks", "suite", "assets"})
"""What does not make a setting: it differs between a cell's runs, has a column of its own, or changes no number."""
TOKEN_BUDGETS = ("train_token_budget", "eval_token_budget")
PROVENANCE = ("device", "processor", "torch", "transformers", "peft", "lm-eval", "harness", "threads", *TOKEN_BUDGETS, "scored_on")


@dataclass(frozen=True)
class Answered:
    """How a benchmark's items were answered.

    Attributes:
        item_id: `(items,)` text.
        gold, prediction, prediction_norm: choice -> how many items have it; `_norm` by length.
        correct, correct_norm: `(items,)` bits, packed.
    """

    item_id: pa.Array[Any]
    gold: Mapping[int, int]
    prediction: Mapping[int, int]
    prediction_norm: Mapping[int, int]
    correct: np.ndarray[Any, Any]
    correct_norm: np.ndarray[Any, Any]

    def right(self, metric: str) -> np.ndarray[Any, Any]:
        """Which items are right by `acc` or `acc_norm`: `(items,)` bool."""
        packed = self.correct_norm if metric == "acc_norm" else self.correct
        return np.unpackbits(packed, count=len(self.item_id)).astype(bool)


Answers = Callable[[str | None, str | None, str], dict[str, Answered] | None]
ANSWERS_KEPT = 4096
"""Evaluations whose answers stay in memory, some 6 kB each for the six benchmarks: a cell is asked once a benchmark and comparison."""

_RECORD = {
    "attempts": "Int64",
    "tokens_per_s": "float64",
    "examples_per_s": "float64",
    "base_bytes": "float64",
    "peak_bytes": "float64",
    "peak_above_base_bytes": "float64",
    "parameters_total": "float64",
    "parameters_trainable": "float64",
    "adapter_bytes": "float64",
    "steps": "float64",
    "clipped_step_share": "float64",
}
_TEXT = ("train_id", "eval_id", "base_eval_id", "cell", "family", "model", "arm", "init", "setting", "stage", "roles", "state", "reason",
         "eval_state", "eval_reason", "started_at", *PROVENANCE)  # fmt: skip
_METRICS = ("report_loss_start", "report_loss", "report_gold_logprob_start", "report_gold_logprob", "tune_loss_start", "tune_loss",
            "tune_gold_logprob_start", "tune_gold_logprob")  # fmt: skip
_COSTS = ("supervised_tokens_per_s", "flops_utilisation")
_TIMES = ("init", "train", "optimise", "load", "import", "data", "part_losses", "save")

SCORE_COLUMNS = {
    "train_id": "object",
    "base": "object",
    "eval_id": "object",
    "benchmark": "object",
    "metric": "object",
    "primary": "bool",
    "value": "float64",
    "stderr": "float64",
    "items": "int64",
    "chance": "float64",
    "gold_logprob": "float64",
    "truncated": "int64",
    "flips": "float64",
    "flip_items": "int64",
    "warnings": "object",
}


@dataclass(frozen=True)
class StudyFrames:
    """A study as its manifest lists it and its records fill it.

    Attributes:
        study, title, protocol: of the study file; `protocol` is `shared_lr` or `tuned`.
        contrasts: as declared: dicts of arm, reference, kind (`primary` or `secondary`).
        tuning: the search's rule, or None.
        runs: one row a run of the manifest, in its order, whether or not it has a record. `cell` (what compared runs share, suite
            included), `family` (the same but for the length of training, suite left out), `length` (its optimiser steps, done or planned),
            `longest` (no cell of the family trains longer), model, arm, init, rank, alpha, lr, lr_ratio, seed, `setting`
            (in words, what tells cells of one model and rank apart; empty where nothing does), stage, `roles` (space-separated: shared,
            tuned, tuning), `state` (done, running, failed, diverged, missing, unreadable) with `reason`, `eval_state` (done, failed,
            missing, unreadable, none: no suite) with `eval_reason`; from the record its fields (bytes, counts, shares; `steps` done),
            `metrics.<name>` (losses in nats per supervised token, log-probabilities in nats), `timings_s.<phase>` (seconds),
            `init.<fact>` (nested ones with dots: `init.anatomy.end.a_condition.mean`) and `generation.<metric>` (bleu in [0, 100], rouge in
            [0, 1]) where numeric, and the provenance columns that a comparison should not mix. Unknown numbers are NaN.
        scores: one row a (evaluation, benchmark, metric): train_id (None for an untouched base), base (the model's name, else None),
            eval_id, benchmark, metric, primary, value and stderr in [0, 1], items, chance in [0, 1], gold_logprob (nats), truncated, flips
            (share of `flip_items` items whose choice differs from fp32's; NaN where not measured), warnings (separated by " | ").
        curves: one row a (run, step): train_id, then the columns of `curve.parquet` (losses in nats, NaN where not read; wall_s is
            seconds of training, tokens cumulative).
        searches: one row a (cell, arm, lr) of a tuned study's searches: cell, model, rank, arm, lr, stage, loss (the criterion as a loss,
            mean over tuning seeds; NaN where diverged or not done), diverged, runs (ids), best, edge, chosen.
        problems: sentences on what could not be read, contradicts itself, or is not as declared.
        overrides: the command line's, which made other runs than the study file declares.
        answers: (train_id, base, eval_id) -> benchmark -> `Answered`; None where the items are not there or cannot be read.
        damaged: what lies there and is not what was written, curves, items, adapters and bases, each named; items are read when
            `answers` is asked for them.
        base_generation: one row an untouched base with answers: base, eval_id, and the generation metrics.
    """

    study: str
    title: str
    protocol: str
    contrasts: list[dict[str, str]]
    tuning: dict[str, Any] | None
    runs: pd.DataFrame
    scores: pd.DataFrame
    curves: pd.DataFrame
    searches: pd.DataFrame
    problems: list[str]
    answers: Answers
    base_generation: pd.DataFrame = field(default_factory=pd.DataFrame)
    overrides: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


UNSCORED = "unscored"


def training_cell(cell: str) -> str:
    """The id of what a cell's runs share in training, as searches name it: a `cell` of the frames without what is asked of its runs."""
    return cell.split("-")[0]


def load_study(store: Store, manifest: Mapping[str, Any]) -> StudyFrames:
    """Read all records of a study once.

    Args:
        store: where the records are.
        manifest: as `study.manifest.read_manifest` returns it.

    Returns:
        Frames; a record that is absent or cannot be read is a row that says so, and never an error.
    """
    overrides = list(manifest.get("overrides") or [])
    problems = [f"run with overrides ({' '.join(overrides)}): these are not the runs that the study file declares"] if overrides else []
    rows: list[dict[str, Any]] = []
    scores: list[dict[str, Any]] = []
    curves = _Curves()
    damaged: list[str] = []
    seen: set[tuple[str, str | None]] = set()
    for entry in manifest["runs"]:
        if (entry["train_id"], entry["eval_id"]) in seen:
            problems.append(f"run {entry['train_id']} is listed twice in the manifest: counted once")
            continue
        seen.add((entry["train_id"], entry["eval_id"]))
        row, found, curve = _run(store, entry, damaged)
        rows.append(row)
        scores += found
        if curve is not None:
            curves.add(entry["train_id"], curve)
    bases = dict.fromkeys((e["model"], e["base_eval_id"]) for e in manifest["runs"] if e["base_eval_id"] is not None)
    generated: list[dict[str, Any]] = []
    for model, eval_id in bases:
        record, state, reason = _evaluation(store, None, model, eval_id)
        if state == "unreadable":
            damaged.append(f"the untouched base {model} has no readable scores: {reason}")
        elif state == "failed":
            problems.append(f"the untouched base {model} has no scores: {reason}")
        if record is not None:
            scores += _score_rows(record)
            generated.append({"base": model, "eval_id": eval_id} | _numbers(record.generation))
    runs = _typed_runs(rows)
    problems += _contradictions(runs)
    return StudyFrames(
        study=manifest["study"],
        title=manifest["title"],
        protocol=manifest["protocol"],
        contrasts=[dict(c) for c in manifest["contrasts"]],
        tuning=manifest.get("tuning"),
        runs=runs,
        scores=pd.DataFrame(scores, columns=list(SCORE_COLUMNS)).astype(SCORE_COLUMNS),
        curves=curves.stacked(),
        searches=_searches(manifest.get("searches") or []),
        problems=problems,
        answers=_answers_of(store, damaged),
        base_generation=pd.DataFrame(generated, columns=list(dict.fromkeys(["base", "eval_id", *(k for row in generated for k in row)]))),
        overrides=overrides,
        damaged=damaged,
    )


class _Curves:
    """Curves put one below another. Batches, taken apart by column in the end, keep thousands of them from being there twice."""

    BATCH = 64

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.lengths: list[int] = []
        self._batch: list[pa.Table] = []
        self._frames: list[pd.DataFrame] = []

    def add(self, train_id: str, curve: pa.Table) -> None:
        self.ids.append(train_id)
        self.lengths.append(curve.num_rows)
        self._batch.append(curve)
        if len(self._batch) == self.BATCH:
            self._convert()

    def _convert(self) -> None:
        self._frames.append(pa.concat_tables(self._batch).to_pandas(use_threads=False, split_blocks=True))
        self._batch.clear()

    def stacked(self) -> pd.DataFrame:
        if self._batch:
            self._convert()
        ids = np.repeat(np.array(self.ids, dtype=object), self.lengths)
        columns: dict[str, Any] = {"train_id": pd.Series(ids, dtype=object)}
        for name in map(str, list(self._frames[0]) if self._frames else ()):
            columns[name] = np.concatenate([frame.pop(name).to_numpy() for frame in self._frames])
            pa.default_memory_pool().release_unused()
        return pd.DataFrame(columns, copy=False)


def _run(store: Store, entry: Mapping[str, Any], damaged: list[str]) -> tuple[dict[str, Any], list[dict[str, Any]], pa.Table | None]:
    train_id = entry["train_id"]
    row: dict[str, Any] = {**entry, "state": "missing", "reason": None, "eval_state": "missing", "eval_reason": None}
    row["length"] = row.pop("steps", None)
    row["roles"] = " ".join(entry.get("roles", ["shared"]))
    row["cell"] = f"{entry['cell']}-{entry['base_eval_id'] or UNSCORED}"
    try:
        record = store.read_run(train_id)
    except RecordError as error:
        row |= {"state": "unreadable", "reason": str(error)}
        record = None
    if record is not None:
        row |= _record_columns(record)
    curve = None
    if record is not None and record.status in ("done", "diverged"):
        try:
            curve = store.curve_table(train_id)
        except RecordError as error:
            row |= {"state": "unreadable", "reason": str(error)}
            damaged.append(f"run {train_id} has no readable curve: {error}")
        else:
            wrong = store.damage(record, thorough=True)
            damaged += [] if wrong is None else [f"run {train_id} has no readable adapter: {wrong}"]
    if entry["eval_id"] is None:
        row["eval_state"] = "none"
        return row, [], curve
    scored, row["eval_state"], row["eval_reason"] = _evaluation(store, train_id, None, entry["eval_id"])
    if scored is not None and record is not None and not scored.is_of(record):
        scored, row["eval_state"], row["eval_reason"] = None, "missing", "those that lie there are of an earlier adapter of this run"
    if scored is None:
        return row, [], curve
    row["scored_on"] = _scored_on(scored.provenance)
    return row | {f"generation.{name}": value for name, value in _numbers(scored.generation).items()}, _score_rows(scored), curve


def _scored_on(facts: Mapping[str, Any]) -> str | None:
    """What an evaluation ran on, which need not be what its run was trained on; null where its record does not say."""
    packages = facts.get("packages") or {}
    versions = [f"{name} {packages[name]}" for name in ("torch", "transformers", "lm-eval") if packages.get(name)]
    named = [facts.get("device"), _processor(facts), *versions]
    return " ".join(str(part) for part in named if part) or None


def _numbers(facts: Mapping[str, Any]) -> dict[str, float]:
    return {k: v for k, v in facts.items() if isinstance(v, int | float) and not isinstance(v, bool)}


def _processor(facts: Mapping[str, Any]) -> str | None:
    """What did the arithmetic: the GPUs of a run on a GPU, else the processor."""
    hardware = facts.get("hardware") or {}
    gpus = hardware.get("gpus") or []
    if str(facts.get("device")).startswith("cuda") and gpus:
        return " + ".join(dict.fromkeys(map(str, gpus)))
    name = hardware.get("processor")
    return None if name is None else str(name)


def _record_columns(record: RunRecord) -> dict[str, Any]:
    config = record.config
    init: Any = config.get("init") or {}
    facts = record.provenance
    packages: Any = facts.get("packages") or {}
    harness: Any = facts.get("harness") or {}
    budget: Any = facts.get("token_budget") or {}
    commit = str(harness.get("commit") or "")[:12]
    found = {
        "state": record.status,
        "reason": (record.error or "").split("\n")[0] or None,
        "init": init.get("name"),
        "lr_ratio": init.get("lr_ratio"),
        "alpha": config.get("alpha"),
        "family": family_key(record.identity),
        "started_at": record.started_at,
        "settings": _flat({k: v for k, v in config.items() if k not in PER_RUN}),
        "device": facts.get("device"),
        "processor": _processor(facts),
        "harness": f"{commit}{' with local changes' if harness.get('dirty') else ''}" if commit else None,
        "threads": facts.get("threads"),
        "train_token_budget": budget.get("train"),
        "eval_token_budget": budget.get("eval"),
        **{name: packages.get(name) for name in ("torch", "transformers", "peft", "lm-eval")},
        **{name: getattr(record, name) for name in _RECORD},
    }
    found |= {f"metrics.{name}": value for name, value in record.metrics.items()}
    found |= {f"timings_s.{name}": value for name, value in record.timings_s.items()}
    found |= {f"cost.{name}": record.cost.get(name) for name in _COSTS}
    return found | {f"init.{name}": value for name, value in _numbers(_flat(record.init)).items()}


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= _flat(inner, f"{prefix}{key}.") if isinstance(inner, dict) else {prefix + key: inner}
    return found


def _evaluation(store: Store, train_id: str | None, base: str | None, eval_id: str) -> tuple[EvalRecord | None, str, str | None]:
    try:
        record = store.read_eval(train_id, base, eval_id)
    except RecordError as error:
        return None, "unreadable", str(error)
    if record is None:
        return None, "missing", None
    if record.status != "done":
        return None, "failed", (record.error or "").split("\n")[0]
    try:
        wrong = store.damage(record) or (f"its items are gone, though its record names them. {RESTORE}" if store.lacks(record) else None)
    except RecordError as error:
        wrong = str(error)
    return (record, "done", None) if wrong is None else (None, "unreadable", wrong)


def _score_rows(record: EvalRecord) -> list[dict[str, Any]]:
    who = {"train_id": record.train_id, "base": record.base, "eval_id": record.eval_id}
    return [
        who
        | {"benchmark": name, "metric": metric, "primary": metric == score.primary, "value": value, "stderr": score.stderr[metric]}
        | {field: getattr(score, field) for field in ("items", "chance", "gold_logprob", "truncated", "flip_items")}
        | {"flips": score.flips.get(metric), "warnings": " | ".join(score.warnings)}
        for name, score in record.scores.items()
        for metric, value in score.metrics.items()
    ]


def _typed_runs(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Every column typed, those absent everywhere included, and what a record says of its cell told to the cell's other runs."""
    _name_settings(rows)
    measured = dict.fromkeys([f"metrics.{m}" for m in _METRICS] + [f"timings_s.{t}" for t in _TIMES] + [f"cost.{name}" for name in _COSTS])
    measured |= dict.fromkeys(sorted({k for row in rows for k in row if k.startswith(("metrics.", "timings_s.", "init.", "generation."))}))
    for key, known in (("alpha", "cell"), ("family", "cell"), ("lr_ratio", "arm"), ("init", "arm")):
        told = {row[known]: row[key] for row in rows if row.get(key) is not None}
        for row in rows:
            row[key] = told.get(row[known])
    frame = pd.DataFrame(rows)
    types = dict.fromkeys(_TEXT, "object") | {"rank": "int64", "seed": "int64", "lr": "float64", "alpha": "float64", "lr_ratio": "float64"}
    types |= _RECORD | {"length": "float64"} | dict.fromkeys(measured, "float64")
    columns = {}
    for name, dtype in types.items():
        column = frame[name] if name in frame else pd.Series([None] * len(frame), index=frame.index, dtype="object")
        if dtype == "object":
            columns[name] = column.astype(object).where(column.notna(), None)
        else:
            columns[name] = pd.to_numeric(column).astype(pd.api.types.pandas_dtype(dtype))
    return _with_lengths(pd.DataFrame(columns, index=frame.index))


def _with_lengths(runs: pd.DataFrame) -> pd.DataFrame:
    """`length` of each cell, done or planned, and `longest`; where nothing is known, no cell is called shorter."""
    done = runs["steps"].where(runs["state"] == "done").groupby(runs["cell"]).transform("max")
    runs["length"] = done.fillna(runs["length"].groupby(runs["cell"]).transform("max"))
    most = runs["length"].groupby(runs["family"]).transform("max")
    runs["longest"] = ~(runs["length"] < most)
    # Of a cell without records nothing is known but its length: enough to tell it from its shorter twin.
    for _, group in runs.groupby(["model", "rank", "setting"], sort=False):
        if group["cell"].nunique() > 1 and group["length"].nunique() > 1:
            lengths = group["length"].map(lambda steps: f"{steps:g} steps")
            runs.loc[group.index, "setting"] = [", ".join(filter(None, pair)) for pair in zip(group["setting"], lengths, strict=True)]
    return runs


def _name_settings(rows: list[dict[str, Any]]) -> None:
    cells: dict[tuple[Any, Any], dict[str, dict[str, Any]]] = {}
    for row in rows:
        known = cells.setdefault((row["model"], row["rank"]), {})
        known.setdefault(row["cell"], {})
        known[row["cell"]] = known[row["cell"]] or row.get("settings") or {}
    words: dict[tuple[Any, Any, str], str] = {}
    for (model, rank), known in cells.items():
        keys = sorted({key for settings in known.values() for key in settings})
        vary = [key for key in keys if len({repr(s.get(key)) for s in known.values() if s}) > 1]
        for cell, settings in known.items():
            words[model, rank, cell] = ", ".join(f"{key.removeprefix('recipe.')} {settings.get(key)}" for key in vary) if settings else ""
    for row in rows:
        row["setting"] = words[row["model"], row["rank"], row["cell"]]


def _searches(searches: list[Mapping[str, Any]]) -> pd.DataFrame:
    rows = [
        {**{key: one[key] for key in ("cell", "model", "rank", "arm", "best", "edge", "chosen")}, **point, "runs": " ".join(point["runs"])}
        for one in searches
        for point in one["points"]
    ]
    names = ["cell", "model", "rank", "arm", "lr", "stage", "loss", "diverged", "runs", "best", "edge", "chosen"]
    frame = pd.DataFrame(rows, columns=names)
    numbers = dict.fromkeys(("lr", "loss", "best", "chosen"), "float64")
    return frame.astype(numbers)


def _contradictions(runs: pd.DataFrame) -> list[str]:
    """Two runs that claim to be the same comparison's same half."""
    key = ["cell", "arm", "lr", "seed"]
    twice = runs[runs.duplicated(key, keep=False)]
    return [
        f"{len(group)} runs are {name[1]}, lr {name[2]:g}, seed {name[3]} of one cell ({', '.join(group['train_id'])}): the first counts"
        for name, group in twice.groupby(key, sort=False)
    ]


def _answers_of(store: Store, damaged: list[str]) -> Answers:
    """Reads answers and keeps them; ids and gold choices that evaluations share are kept once."""
    shared: dict[str, list[tuple[pa.Array[Any], Mapping[int, int]]]] = {}

    @lru_cache(maxsize=ANSWERS_KEPT)
    def read(train_id: str | None, base: str | None, eval_id: str) -> dict[str, Answered] | None:
        try:
            table = store.items_table(train_id, base, eval_id, ANSWER_COLUMNS)
        except RecordError as error:
            sentence = f"the items of {train_id or base} cannot be read: {error}"
            damaged.extend([] if sentence in damaged else [sentence])
            return None
        return None if table is None else {name: _answered(part, shared.setdefault(name, [])) for name, part in _by_benchmark(table)}

    return read


def _by_benchmark(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    runs = pc.run_end_encode(table["benchmark"].combine_chunks())
    names, ends = runs.values.to_pylist(), runs.run_ends.to_pylist()
    if len(set(names)) < len(names):  # a benchmark's rows need not lie together
        yield from ((name, table.filter(pc.equal(table["benchmark"], name))) for name in dict.fromkeys(names))
        return
    for name, start, end in zip(names, [0, *ends[:-1]], ends, strict=True):
        yield name, table.slice(start, end - start)


def _answered(part: pa.Table, known: list[tuple[pa.Array[Any], Mapping[int, int]]]) -> Answered:
    ids, gold = part["item_id"].combine_chunks(), _counts(part["gold"])
    same = next((one for one in known if one[0].equals(ids) and one[1] == gold), None)
    if same is None:
        same = pa.array(ids.to_pylist(), ids.type), gold  # a copy: a slice would keep its whole file's column
        known.append(same)
    right = [np.packbits(part[name].to_numpy()) for name in ("correct", "correct_norm")]
    return Answered(*same, _counts(part["prediction"]), _counts(part["prediction_norm"]), *right)


def _counts(choices: pa.ChunkedArray[Any]) -> dict[int, int]:
    values = choices.to_numpy()
    if len(values) and values.min() >= 0 and values.max() < 1000:
        return {choice: count for choice, count in enumerate(np.bincount(values).tolist()) if count}
    return dict(Counter(values.tolist()))


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as dicts."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def mixed_provenance(runs: pd.DataFrame) -> list[str]:
    """What the finished runs of a comparison do not share although it can move numbers, in words."""
    done = runs[runs["state"].isin(["done", "diverged"])]
    found = {name: sorted(done[name].dropna().map(str).unique()) for name in PROVENANCE}
    return [f"{name.replace('_', ' ')}: {', '.join(values)}" for name, values in found.items() if len(values) > 1]


def where(row: Mapping[str, Any] | pd.Series[Any]) -> str:
    """A cell in words: model, rank, and what else tells it from others.

    >>> where({"model": "syn_a", "rank": 8, "setting": "alpha 4"})
    'syn_a, rank 8, alpha 4'
    """
    return ", ".join(part for part in (str(row["model"]), f"rank {row['rank']}", str(row["setting"] or "")) if part)
