"""Files of rows as tables: Parquet, JSON Lines, a JSON list, CSV and TSV.

A row's number counts the rows of its file from 1; a CSV file's header and empty lines are not counted.
"""

from __future__ import annotations

import bisect
import csv
import io
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from olora_bench import formats
from olora_bench.config import Data
from olora_bench.config.lines import plain_line
from olora_bench.config.templates import fields
from olora_bench.errors import BadInput
from olora_bench.formats import Unreadable

PROMPTS = ("prompt", "question", "instruction", "query", "problem", "input", "context", "text")
ANSWERS = ("response", "answer", "output", "completion", "target", "solution", "reply", "label")
"""What columns of prompts and answers are commonly called, the likelier first."""
INSTRUCTION_COLUMNS = ("instruction", "input", "output")
_ORIGIN = b"olora_bench.origin"
_LARGEST_CELL = 2**31 - 1
_KINDS = {str: "text", int: "a whole number", float: "a decimal number", bool: "true or false", list: "a list", dict: "an object"}
_SEPARATORS = {",": "a comma", "\t": "a tab", ";": "a semicolon", "|": "a bar"}
_NO_ARRAY = (pa.ArrowException, ValueError, TypeError, OverflowError)


def read_rows(files: Sequence[Path], wanted: Sequence[str] | None = None) -> pa.Table:
    """The rows of all `files`, in order; a column that a row lacks is null there. Each row's file and number are kept for `place`.

    Cells of CSV and TSV are text, as they stand.

    Args:
        wanted: the columns that matter; another one whose values no table can hold is left out. Null: all matter.

    Raises:
        BadInput: a file cannot be read as what its name says, or a column holds two kinds of values; names file and row, or line.
    """
    tables = [_read(file, wanted) for file in files]
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


def instructions(table: pa.Table, file: Path) -> pa.Table:
    """Checked instruction rows: instruction, input and output as text.

    An `input` that is absent, null or blank is empty, as in Alpaca. An `output` may be empty, as 28 of Alpaca's are.

    Raises:
        BadInput: a column is missing, or an instruction or output is null, blank or no text; names file, row, column and value.
    """
    absent = [c for c in INSTRUCTION_COLUMNS if c not in table.column_names]
    rename = renaming(absent, table.column_names)
    lacking = absent if "input" in absent and renaming(["input"], table.column_names) else [c for c in absent if c != "input"]
    if lacking:
        raise BadInput(
            f"{source(table, file)} has no column {', '.join(lacking)}. Needed: instruction, output; input may be absent. "
            f"Found: {', '.join(map(visible, table.column_names))}{rename or _columns_to_name(table.column_names)}"
        )
    empty = pa.array([""] * table.num_rows)
    columns = {c: table[c] if c in table.column_names else empty for c in INSTRUCTION_COLUMNS}
    for name, column in columns.items():
        if not _is_text(column.type) and column.null_count < len(column):
            refuse(table, file, name, pc.is_valid(column), f"is no text (the column is of type {column.type})")
    given = columns["input"].cast(pa.string()).fill_null("")
    columns["input"] = pc.if_else(pc.utf8_is_space(given), "", given)
    for name in ("instruction", "output"):
        refuse(table, file, name, pc.is_null(columns[name]), "is missing")
        columns[name] = columns[name].cast(pa.string())
        refuse(table, file, name, pc.utf8_is_space(columns[name]), "is blank")
    refuse(table, file, "instruction", pc.equal(columns["instruction"], ""), "is empty")
    return pa.table(columns).replace_schema_metadata(table.schema.metadata)


def wanted_columns(data: Data) -> list[str]:
    """The columns of instruction data that matter."""
    parts = [] if data.split_column is None else [data.split_column]
    if data.template == "chat":
        return [data.messages or "messages", *parts]
    return [*mapped_columns(data), *parts]


def mapped_columns(data: Data) -> list[str]:
    """The columns that prompt and response are made of."""
    if data.prompt_template is None:
        prompts = [data.prompt] if data.prompt is not None else ["instruction", "input"]
    else:
        prompts = fields(data.prompt_template)
    return [*prompts, data.response or "output"]


def mapped(table: pa.Table, file: Path, data: Data) -> pa.Table:
    """Rows under the names of instruction data: the columns that `data` names, or its prompt template filled with them.

    Raises:
        BadInput: a column is missing, or a cell of one is null, blank or no text; names file, row, column and value.
    """
    if data.prompt_template is None and data.prompt is None and data.response is None:
        return table
    named = [name for name in mapped_columns(data) if name != "input" or name in table.column_names]
    if lacking := [name for name in named if name not in table.column_names]:
        found, keys = table.column_names, {name: _key_of(name, data) for name in lacking}
        unset = [key for key in dict.fromkeys(keys.values()) if getattr(data, key) is None]
        named = [f"{visible(name)}, {'the default of' if key in unset else 'named by'} data.{key}" for name, key in keys.items()]
        step = renaming(lacking, found) or (f". Name it: {' '.join(f'data.{key}=COLUMN' for key in unset)}" if unset else "")
        raise BadInput(f"{source(table, file)} has no column {'; '.join(named)}. Found: {', '.join(map(visible, found))}{step}")
    for name in named:
        column = table[name]
        if not _is_text(column.type) and column.null_count < len(column):
            refuse(table, file, name, pc.is_valid(column), f"is no text (the column is of type {column.type})")
        if name != "input":
            refuse(table, file, name, pc.is_null(column), "is missing")
            refuse(table, file, name, pc.utf8_is_space(column.cast(pa.string())), "is blank")
    return pa.table(_instructions_of(table, data)).replace_schema_metadata(table.schema.metadata)


def _key_of(column: str, data: Data) -> str:
    """The key of `data` that names a column, or whose default it is."""
    if column == (data.response or "output"):
        return "response"
    return "prompt" if data.prompt_template is None else "prompt_template"


def _columns_to_name(found: Sequence[str]) -> str:
    """What to type for columns of other names: those that are commonly prompt and answer, else any."""
    if talk := next((name for name in found if name.lower() in ("messages", "conversations", "conversation")), None):
        return f". A column of turns: data=chat{'' if talk == 'messages' else ' ' + _option('messages', talk)}"
    prompt = next((name for word in PROMPTS for name in found if name.strip().lower() == word), None)
    answer = next((name for word in ANSWERS for name in found if name.strip().lower() == word and name != prompt), None)
    if prompt is None or answer is None:
        return ". Say which are prompt and answer: data.prompt=COLUMN data.response=COLUMN"
    return f". Say which are prompt and answer: {_option('prompt', prompt)} {_option('response', answer)}"


def _option(key: str, column: str) -> str:
    return shlex.quote(plain_line(f"data.{key}", column))


def _instructions_of(table: pa.Table, data: Data) -> dict[str, pa.Array[Any] | pa.ChunkedArray[Any]]:
    found: dict[str, pa.Array[Any] | pa.ChunkedArray[Any]] = {"output": table[data.response or "output"]}
    if data.prompt_template is not None:
        rows = table.select(fields(data.prompt_template)).to_pylist()
        texts = [data.prompt_template.format_map({name: cell or "" for name, cell in row.items()}) for row in rows]  # `input` may be null
        return found | {"instruction": pa.array(texts, pa.string())}
    if data.prompt is not None:
        return found | {"instruction": table[data.prompt]}
    return found | {name: table[name] for name in ("instruction", "input") if name in table.column_names}


def whole_numbers(table: pa.Table, columns: Iterable[str]) -> pa.Table:
    """The table with the text of these columns read as whole numbers, an empty cell as null: what CSV cannot say by itself.

    Raises:
        BadInput: a cell is neither; names file, row, column and value.
    """
    for name in columns:
        if name in table.column_names and _is_text(table.schema.field(name).type):
            text = table[name]
            bad = pc.invert(pc.match_substring_regex(text, r"^(-?[0-9]{1,18})?$"))
            refuse(table, Path(), name, bad, "is no whole number", "whole numbers")
            numbers = pc.if_else(pc.equal(text, ""), None, text).cast(pa.int64())
            table = table.set_column(table.column_names.index(name), name, numbers)
    return table


def renaming(lacking: Iterable[str], found: Sequence[str]) -> str:
    """The step that turns columns whose names differ only in case or spaces into those that are lacking; empty where there is none."""
    steps = [f"{one!r} to {name!r}" for name in lacking for one in found if one.strip().lower() == name.lower()]
    return f". Rename {', '.join(steps)}" if steps else ""


def visible(name: str) -> str:
    """A column's name in a message, in quotes where spaces would hide."""
    return name if name == name.strip() and name else repr(name)


def shown(value: Any) -> str:
    """A cell's value in a message, shortened; `null` for what is not there."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def kinds_said(value: Any) -> str:
    """What kind of value a cell holds, in words."""
    return _KINDS.get(type(value), type(value).__name__)


def refuse(table: pa.Table, file: Path, column: str, bad: Any, what: str, allowed: str = "text") -> None:
    """Raise for the first row of which `bad` is true."""
    row = pc.index(bad, True).as_py()
    if row >= 0:
        value = table[column][row].as_py() if column in table.column_names else None
        raise BadInput(
            f"{place(table, file, row)}: {column} is {shown(value)}, which {what}. Allowed: {allowed}. Correct the row, or take it out"
        )


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _read(file: Path, wanted: Sequence[str] | None) -> pa.Table:
    if file.suffix == ".parquet":
        return read_parquet(file)
    try:
        text = (formats.read_bytes(file) or b"").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise BadInput(f"{file}, line {line}: byte {error.object[error.start]:#04x} is no UTF-8. Save the file as UTF-8") from error
    if file.suffix in (".csv", ".tsv"):
        return _csv(text, file)
    listed = file.suffix == ".json" and text.lstrip()[:1] == "["  # files of this ending that hold JSON Lines are common too
    return _table(_json_list(text, file) if listed else _json_lines(text, file), file, wanted)


def _json_lines(text: str, file: Path) -> list[Any]:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines, which ends a line at U+2028, U+2029 and U+0085 too
        if line and not line.isspace():
            rows.append(_parsed(line, f"{file}, line {number}"))
    return rows


def _json_list(text: str, file: Path) -> Any:
    try:
        return _parsed(text, str(file))
    except _KeyTwice as error:
        raise BadInput(f"{file}, row {_row_with_key_twice(text)}: {error.problem}") from error


def _row_with_key_twice(text: str) -> int:
    """Which object of the list has a key twice: those before it are read one by one."""
    row, at, space = 1, text.index("[") + 1, re.compile(r"[\s,]*")
    try:
        while True:
            at = _DECODER.raw_decode(text, space.match(text, at).end())[1]  # type: ignore[union-attr]
            row += 1
    except _KeyTwice:
        return row


class _KeyTwice(BadInput):
    def __init__(self, problem: str, where: str = "") -> None:
        super().__init__(f"{where}: {problem}")
        self.problem = problem


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) < len(pairs):
        key, count = Counter(key for key, _ in pairs).most_common(1)[0]
        raise _KeyTwice(f"the key {key!r} is there {count} times in one object. Keep one of them")
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _parsed(text: str, where: str) -> Any:
    try:
        return _DECODER.decode(text)
    except _KeyTwice as error:
        raise _KeyTwice(error.problem, where) from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{where} cannot be read as JSON: {error}") from error


def _csv(text: str, file: Path) -> pa.Table:
    csv.field_size_limit(_LARGEST_CELL)
    delimiter = "\t" if file.suffix == ".tsv" else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header, *rows = [cells for cells in reader if cells] or [[]]
    except csv.Error as error:
        raise BadInput(f"{file}, line {reader.line_num} cannot be read as CSV: {error}") from error
    if len(header) == 1 and (other := next((mark for mark in _SEPARATORS if mark in header[0]), None)):
        raise BadInput(
            f"{file}: the header is one cell, {shown(header[0])}, with {other!r} between its words. "
            f"Cells of {file.suffix} are separated by {_SEPARATORS[delimiter]}: save it with {_SEPARATORS[delimiter]} as the separator"
        )
    if len(set(header)) < len(header) or not all(header):
        raise BadInput(f"{file}: the header names {', '.join(map(repr, header))}. Give each column one name of its own")
    for number, cells in enumerate(rows, 1):
        if len(cells) != len(header):
            raise BadInput(
                f"{file}, row {number} has {len(cells)} cells, and the header names {len(header)} columns: {', '.join(header)}. "
                "Put a cell that holds a comma or an end of line in double quotes"
            )
    columns = list(zip(*rows, strict=True)) or [()] * len(header)
    return pa.table({name: pa.array(cells, pa.string()) for name, cells in zip(header, columns, strict=True)})


def _table(rows: Sequence[Any], file: Path, wanted: Sequence[str] | None) -> pa.Table:
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise BadInput(f"{file}, row {number} is {shown(row)}. A row is an object that names its columns: {{...}}")
    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        try:
            columns[name] = _column([row.get(name) for row in rows], name, file)
        except BadInput:
            if wanted is None or name in wanted:
                raise
    return pa.table(columns)


def _column(values: list[Any], name: str, file: Path) -> pa.Array:
    kinds = Counter(type(v) for v in values if v is not None)
    if len(kinds) > 1:
        most = kinds.most_common(1)[0][0]
        row = next(i for i, v in enumerate(values) if v is not None and type(v) is not most)
        raise BadInput(f"{file}, row {row + 1}: {name} is {shown(values[row])}, where most rows have {_KINDS[most]}. Correct the row")
    try:
        return pa.array(values)
    except _NO_ARRAY as error:  # lists or objects that differ inside, a number or a letter that no table can hold
        row = bisect.bisect_left(range(len(values)), True, key=lambda i: _misfits(values[: i + 1]))
        found = differing(values[: row + 1])
        why = f"its {found[0]} is {shown(found[1])}. Allowed: {_KINDS[found[2]]}, as before. Correct the row" if found else error
        raise BadInput(f"{file}, row {row + 1}: {name} is {shown(values[row])}, which does not fit the rows before it: {why}") from error


def _misfits(values: list[Any]) -> bool:
    try:
        pa.array(values)
    except _NO_ARRAY:
        return True
    return False


def differing(values: Sequence[Any]) -> tuple[str, Any, type] | None:
    """The first thing inside of another kind than before: its name, its value, and the type of what stood there first.

    >>> differing([[{"content": "a"}], [{"content": ["b"]}]])
    ('content', ['b'], <class 'str'>)
    """
    before: dict[str, type] = {}
    for name, value in (found for one in values for found in _inside(one, "entry")):
        kind = before.setdefault(name, type(value))
        if type(value) is not kind and {kind, type(value)} != {int, float}:
            return name, value, kind
    return None


def _inside(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    entries = value.items() if isinstance(value, dict) else [(name, one) for one in value] if isinstance(value, list) else []
    for key, one in entries:
        if one is not None:
            yield key, one
            yield from _inside(one, f"{key}'s entry" if isinstance(one, list) else key)
