"""Files of rows as tables: Parquet, JSON Lines, a JSON list, CSV and TSV; and which row of which file a row of a table is.

A row's number counts the rows of its file from 1.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from olora_bench import formats
from olora_bench.assets.text_files import read_text_file
from olora_bench.errors import BadInput
from olora_bench.formats import Unreadable

_ORIGIN = b"olora_bench.origin"


def read_rows(files: Sequence[Path], wanted: Sequence[str] | None = None) -> pa.Table:
    """The rows of all `files`, in order; a column that a row lacks is null there. Each row's file and number are kept for `place`.

    Cells of CSV and TSV are text, as they stand.

    Args:
        wanted: the columns that matter; another one whose values no table can hold is left out. Null: all matter.

    Raises:
        BadInput: a file cannot be read as what its name says, or a column holds two kinds of values; names file and row, or line.
    """
    tables = [read_parquet(file) if file.suffix == ".parquet" else read_text_file(file, wanted) for file in files]
    try:
        table = pa.concat_tables([t.replace_schema_metadata(None) for t in tables], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise BadInput(f"{', '.join(map(str, files))} cannot be read as one table: {error}") from error
    if not table.num_rows:
        raise BadInput(f"{', '.join(map(str, files))}: there are no rows")
    origin = [[str(file), t.num_rows] for file, t in zip(files, tables, strict=True)]
    return table.replace_schema_metadata({_ORIGIN: json.dumps(origin).encode()})


def read_parquet(file: Path) -> pa.Table:
    """A Parquet file's rows, categories as the values they stand for.

    Raises:
        BadInput: it is no Parquet file.
    """
    try:
        table = formats.read_parquet(file)
    except Unreadable as error:
        raise BadInput(f"{file} cannot be read as rows: {error.reason}") from error
    if table is None:
        raise BadInput(f"{file} cannot be read as rows: it is gone")
    for i, one in enumerate(table.schema):
        if pa.types.is_dictionary(one.type):
            table = table.set_column(i, one.name, table.column(i).cast(one.type.value_type))
    return table


def place(table: pa.Table, file: Path, row: int) -> str:
    """Where row `row` (from 0) of `table` is from, in words: the file that `read_rows` took it from, or else `file`; and its number."""
    for name, count in _origin(table, file):
        if row < count:
            return f"{name}, row {row + 1}"
        row -= count
    return f"{file}, row {row + 1}"


def source(table: pa.Table, file: Path) -> str:
    """The files that `read_rows` took `table` from, or else `file`."""
    return ", ".join(name for name, _ in _origin(table, file))


def _origin(table: pa.Table, file: Path) -> list[tuple[str, int]]:
    kept = (table.schema.metadata or {}).get(_ORIGIN)
    return [(str(file), table.num_rows)] if kept is None else json.loads(kept)
