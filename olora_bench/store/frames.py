"""Records as tidy frames: one row a run, or one row a score. What could not be read is in `frame.attrs["unreadable"]`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from olora_bench.errors import RecordError
from olora_bench.store.record import AnyRecord, EvalRecord, RunRecord
from olora_bench.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

_TIME = "time"
_WHO = {
    "train_id": "string",
    "arm": "string",
    "model": "string",
    "init": "string",
    "rank": "Int64",
    "alpha": "Float64",
    "lr": "Float64",
    "seed": "Int64",
    "data": "string",
    "recipe": "string",
    "precision": "string",
    "status": "string",
}
_RUN = _WHO | {
    "error": "string",
    "attempts": "Int64",
    "started_at": _TIME,
    "finished_at": _TIME,
    "tokens_per_s": "Float64",
    "examples_per_s": "Float64",
    "base_bytes": "Int64",
    "peak_bytes": "Int64",
    "peak_above_base_bytes": "Int64",
    "parameters_total": "Int64",
    "parameters_trainable": "Int64",
    "adapter_bytes": "Int64",
    "steps": "Int64",
    "clipped_step_share": "Float64",
}
_SCORE = _WHO | {
    "base": "string",
    "eval_id": "string",
    "suite": "string",
    "limit": "Int64",
    "num_fewshot": "Int64",
    "benchmark": "string",
    "metric": "string",
    "primary": "boolean",
    "value": "Float64",
    "stderr": "Float64",
    "items": "Int64",
    "chance": "Float64",
    "gold_logprob": "Float64",
    "truncated": "Int64",
}


def runs_frame(store: Store, train_ids: Collection[str] | None = None) -> pd.DataFrame:
    """One row a run, whatever its status.

    Args:
        store: where the records are.
        train_ids: only these runs; None for all.

    Returns:
        The record's fields, what identifies the run (`model`, `init`, `rank`, `lr`, ... from its config), and a column `metrics.<name>` or
        `timings_s.<name>` for all that any of the runs measured. Unknown values are NA.
        `attrs["unreadable"]` lists the messages of records that could not be read.
    """
    runs, unreadable = _split(_runs(store, train_ids))
    rows, extra = [], {}
    for run in runs:
        row = _who(run) | {name: getattr(run, name) for name in _RUN if name not in _WHO}
        measured = {f"metrics.{k}": v for k, v in run.metrics.items()} | {f"timings_s.{k}": v for k, v in run.timings_s.items()}
        extra.update(dict.fromkeys(measured, "Float64"))
        rows.append(row | measured)
    return _frame(rows, _RUN | dict(sorted(extra.items())), unreadable)


def scores_frame(store: Store, train_ids: Collection[str] | None = None) -> pd.DataFrame:
    """One row a (run or untouched base, benchmark, metric), of finished evaluations.

    Args:
        store: where the records are.
        train_ids: only these runs and the untouched bases of their models; None for all.

    Returns:
        Columns that identify the run (NA but for `model` in the rows of a base, where `base` is the model's name), the evaluation
        (`eval_id`, `suite`, `limit`) and the score; `value` in [0, 1].
        `attrs["unreadable"]` lists the messages of records that could not be read.
    """
    runs, unreadable = _split(_runs(store, train_ids))
    evals, unreadable_evals = _split(store.iter_evals())
    who = {run.train_id: _who(run) for run in runs}
    models = {row["model"] for row in who.values()}
    rows: list[dict[str, Any]] = []
    for record in evals:
        if record.base is not None and (train_ids is None or record.base in models):
            rows += _score_rows(record, {"model": record.base})
        elif record.train_id in who:
            rows += _score_rows(record, who[record.train_id])
    return _frame(rows, _SCORE, unreadable + unreadable_evals)


def _runs(store: Store, train_ids: Collection[str] | None) -> Iterable[RunRecord | RecordError]:
    if train_ids is None:
        yield from store.iter_runs()
        return
    for train_id in train_ids:
        try:
            record = store.read_run(train_id)
        except RecordError as error:
            yield error
            continue
        if record is not None:
            yield record


def _split(found: Iterable[AnyRecord | RecordError]) -> tuple[list[AnyRecord], list[str]]:
    records: list[AnyRecord] = []
    unreadable: list[str] = []
    for one in found:
        if isinstance(one, RecordError):
            unreadable.append(str(one))
        else:
            records.append(one)
    return records, unreadable


def _who(run: RunRecord) -> dict[str, Any]:
    named = {key: _name(run.config.get(key)) for key in ("model", "init", "data", "recipe")}
    plain = {key: run.config.get(key) for key in ("rank", "alpha", "lr", "seed", "precision")}
    return {"train_id": run.train_id, "arm": run.arm, "status": run.status} | named | plain


def _name(choice: Any) -> Any:
    return choice.get("name") if isinstance(choice, dict) else choice


def _score_rows(record: EvalRecord, who: dict[str, Any]) -> list[dict[str, Any]]:
    suite = record.config  # an evaluation's config is its suite
    of = {
        "base": record.base,
        "eval_id": record.eval_id,
        "suite": suite.get("name"),
        "limit": suite.get("limit"),
        "num_fewshot": suite.get("num_fewshot"),
    }
    return [
        who
        | of
        | {"benchmark": benchmark, "metric": metric, "primary": metric == score.primary, "value": value, "stderr": score.stderr[metric]}
        | {name: getattr(score, name) for name in ("items", "chance", "gold_logprob", "truncated")}
        for benchmark, score in record.scores.items()
        for metric, value in score.metrics.items()
    ]


def _frame(rows: list[dict[str, Any]], types: dict[str, str], unreadable: list[str]) -> pd.DataFrame:
    import pandas as pd

    columns: dict[str, pd.Series[Any]] = {}
    for name, dtype in types.items():
        values = pd.Series([row.get(name) for row in rows], dtype="object")
        columns[name] = (
            pd.to_datetime(values, utc=True, format="ISO8601") if dtype == _TIME else values.astype(pd.api.types.pandas_dtype(dtype))
        )
    frame = pd.DataFrame(columns)
    frame.attrs["unreadable"] = unreadable
    return frame
