"""The tables of runs and evaluations, with checked columns: one row a step, an example, a benchmark item or a written answer."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from olora_bench.errors import RecordError
from olora_bench.formats import SharedColumns, Unreadable, parse_parquet
from olora_bench.store.record import RESTORE, check_version

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Kind = Literal["curve", "examples", "items", "generations"]
_VERSION_KEY = b"olora_bench.schema"
_VERSION = 1
_MAY_LACK = ("source",)  # columns that older tables do not have


@cache
def schema(kind: Kind) -> Any:
    """The pyarrow schema of a table.

    `curve`: losses in nats per supervised token, null where none was read; `tokens` cumulative, those really processed;
    `wall_s` seconds since training began. `examples`: of the parts `tune` and `report` after training, an example's loss summed over its
    supervised tokens (nats), and their number; `group` is its benchmark or data set. `items`: one log-likelihood
    (nats) and one length (characters) for each choice; `prediction_norm` and `correct_norm` judge by log-likelihood over length; `source`
    is the same for items that share a passage or a source, empty for one that shares none, null where that was not recorded.
    `generations`: a greedy answer and its reference; `finished` says that it ended before the cap, `truncated` that its prompt lost its
    beginning.
    """
    import pyarrow as pa  # pandas and pyarrow take a second to import: not for --help

    count, real, text, flag = pa.int64(), pa.float64(), pa.string(), pa.bool_()
    required = {
        "curve": {"step": count, "tokens": count, "wall_s": real},
        "examples": {**dict.fromkeys(("part", "group", "example_id"), text), "loss_sum": pa.float32(), "tokens": count},
        "items": {
            "benchmark": text,
            "item_id": text,
            **dict.fromkeys(("gold", "prediction", "prediction_norm"), count),
            **dict.fromkeys(("correct", "correct_norm"), flag),
            "loglikelihoods": pa.list_(real),
            "lengths": pa.list_(count),
        },
        "generations": {
            **dict.fromkeys(("item_id", "prompt", "reference", "output"), text),
            "tokens": count,
            **dict.fromkeys(("finished", "truncated"), flag),
        },
    }
    fields = [pa.field(name, type_, nullable=False) for name, type_ in required[kind].items()]
    if kind == "curve":
        fields += [pa.field(name, real) for name in ("train_loss", "tune_loss", "report_loss", "lr", "grad_norm")]
    if kind == "items":
        fields.append(pa.field("source", text))
    return pa.schema(fields, metadata={_VERSION_KEY: str(_VERSION).encode()})


def to_parquet(frame: pd.DataFrame, kind: Kind, path: Path) -> bytes:
    """A checked frame as Parquet (zstd).

    Args:
        frame: exactly the columns of `schema(kind)`, in any order; `source` may be left out.
        kind: of table.
        path: where it will be written, for the message.

    Raises:
        RecordError: a column is missing, unknown, of another type, or holds a null where none is allowed.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    want = schema(kind)
    _check_names(list(frame.columns), want.names, path)
    want = pa.schema([field for field in want if field.name in frame], metadata=want.metadata)
    arrays = []
    for field in want:
        try:
            array = pa.Array.from_pandas(frame[field.name], type=field.type)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise RecordError(f"{path}: column {field.name} must be {field.type}: {error}") from error
        arrays.append(array)
    table = pa.Table.from_arrays(arrays, schema=want)
    _check_values(table, kind, path)
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def arrow_table(
    content: bytes, path: Path, kind: Kind, columns: Sequence[str] | None = None, shared: SharedColumns | None = None
) -> pa.Table:
    """Check a table's bytes, read from `path`. With `columns` only those are decoded, and only their nulls checked; what is in `shared`
    is not decoded again.

    Raises:
        RecordError: truncated, foreign, from another schema, or a column is wrong; names file and column.
    """
    try:
        asked = columns
        if columns is not None and set(columns) & set(_MAY_LACK):
            there = parse_parquet(content, path, ())[0].names
            asked = [name for name in columns if name in there or name not in _MAY_LACK]
        have, table = parse_parquet(content, path, asked, shared)
    except Unreadable as error:
        raise RecordError(f"{error}. {RESTORE}") from error
    want = schema(kind)
    _check_version(have.metadata or {}, path)
    _check_names(have.names, want.names, path)
    for field in want:
        if field.name not in have.names:
            table = table.append_column(field, _nulls(table, field))
        elif have.field(field.name).type != field.type:
            raise RecordError(f"{path}: column {field.name} must be {field.type}, it is {have.field(field.name).type}")
    names = want.names if columns is None else list(columns)
    _check_nulls(table, kind, path)
    if kind == "items" and columns is None:
        _check_items(table, path)
    return table.select(names)


def _nulls(table: pa.Table, field: pa.Field[Any]) -> pa.Array[Any]:
    import pyarrow as pa

    return pa.nulls(table.num_rows, field.type)


def _check_version(metadata: dict[bytes, bytes], path: Path) -> None:
    text = metadata.get(_VERSION_KEY, b"").decode(errors="replace")
    if not text.isdigit():
        raise RecordError(
            f"{path}: not a table of olora_bench (no schema version in its metadata). Move it away; nothing of olora_bench is lost by that"
        )
    check_version(int(text), str(path), _VERSION)


def _check_names(have: list[str], want: list[str], path: Path) -> None:
    absent, unknown = [n for n in want if n not in have and n not in _MAY_LACK], [n for n in have if n not in want]
    if absent:
        raise RecordError(f"{path}: missing column {', '.join(absent)}")
    if unknown:
        raise RecordError(f"{path}: unknown column {', '.join(map(str, unknown))}. Allowed: {', '.join(want)}")


def _check_values(table: Any, kind: Kind, path: Path) -> None:
    _check_nulls(table, kind, path)
    if kind == "items":
        _check_items(table, path)


def _check_nulls(table: Any, kind: Kind, path: Path) -> None:
    for field in [schema(kind).field(name) for name in table.schema.names]:
        nulls = table[field.name].null_count
        if nulls and not field.nullable:
            raise RecordError(f"{path}: column {field.name} has {nulls} null of {table.num_rows}: give every value")


def _check_items(table: Any, path: Path) -> None:
    import pyarrow.compute as pc

    choices, lengths = pc.list_value_length(table["loglikelihoods"]), pc.list_value_length(table["lengths"])
    if pc.any(pc.not_equal(choices, lengths)).as_py():
        raise RecordError(f"{path}: column lengths: an item has not as many lengths as loglikelihoods: give one of each for every choice")
    distinct = table.group_by(["benchmark", "item_id"]).aggregate([]).num_rows
    if distinct != table.num_rows:
        raise RecordError(
            f"{path}: column item_id: {table.num_rows - distinct} items appear twice in their benchmark: give each item one row"
        )
