"""Which columns of a table of rows hold the prompt and the response, and whether their cells can be used."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from olora_bench.assets.cells import shown, visible
from olora_bench.assets.rows import place, source
from olora_bench.config import Data
from olora_bench.config.lines import plain_line
from olora_bench.config.templates import fields
from olora_bench.errors import BadInput

PROMPTS = ("prompt", "question", "instruction", "query", "problem", "input", "context", "text")
ANSWERS = ("response", "answer", "output", "completion", "target", "solution", "reply", "label")
"""What columns of prompts and answers are commonly called, the likelier first."""
INSTRUCTION_COLUMNS = ("instruction", "input", "output")


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
