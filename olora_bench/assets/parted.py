"""Rows of a user's own in the forms that need more than columns of text: conversations, and parts that a column tells apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from olora_bench.assets.cells import shown, visible
from olora_bench.assets.columns import renaming
from olora_bench.assets.rows import place, source
from olora_bench.config import Data
from olora_bench.errors import BadInput

ROLES = ("system", "user", "assistant")
PARTS = {
    "train": ("train", "training"),
    "tune": ("tune", "validation", "valid", "val", "dev"),
    "report": ("report", "test", "testing", "eval", "evaluation"),
}
"""The words of a column that tells parts apart, in any case."""
_LIKE = '[{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]'


def part_said(value: Any) -> str | None:
    """The part that a cell says, or None.

    >>> part_said(" Dev "), part_said("other"), part_said(None)
    ('tune', None, None)
    """
    word = str(value).strip().lower()
    return next((part for part, words in PARTS.items() if word in words), None)


def by_column(checked: pa.Table, table: pa.Table, file: Path, column: str) -> dict[str, pa.Table]:
    """The rows of each part, as a column of theirs says.

    Args:
        checked: what is made of the rows of `table`, row for row.

    Raises:
        BadInput: there is no such column, a value is none of the words, or a part has no row; names file, row and value.
    """
    if column not in table.column_names:
        _lacks(table, file, column, "data.split_column")
    said = [part_said(value) for value in table[column].to_pylist()]
    if None in said:
        row = said.index(None)
        allowed = "; ".join(f"{part}: {', '.join(words)}" for part, words in PARTS.items())
        raise BadInput(
            f"{place(table, file, row)}: {column} is {shown(table[column][row].as_py())}, which names no part. Allowed: {allowed}. "
            "Correct the row, or take it out"
        )
    if absent := [part for part in PARTS if part not in said]:
        raise BadInput(
            f"{source(table, file)}: {column} says {' and '.join(absent)} of no row. Say it of some, or leave data.split_column out"
        )
    return {part: checked.filter(pa.array([one == part for one in said])).replace_schema_metadata(None) for part in PARTS}


def conversations(table: pa.Table, file: Path, data: Data) -> pa.Table:
    """Checked conversations: the column `messages`, of turns with role and content.

    Raises:
        BadInput: the column is missing, or a row is no list of turns that an assistant has a part in; names file, row and what is wrong.
    """
    column = data.messages or "messages"
    if column not in table.column_names:
        if data.messages is None:
            talk = next((name for name in table.column_names if name.lower() in ("conversations", "conversation")), "COLUMN")
            found = ", ".join(map(visible, table.column_names))
            raise BadInput(
                f"{source(table, file)} has no column messages, the default of data.messages. Found: {found}. Name it: data.messages={talk}"
            )
        _lacks(table, file, column, "data.messages")
    rows = table[column].to_pylist()
    for number, value in enumerate(rows):
        if (wrong := next(_wrong(value), None)) is not None:
            raise BadInput(f"{place(table, file, number)}: {column}: {wrong}. Correct the row, or take it out")
    kept = [[{"role": turn["role"], "content": turn["content"]} for turn in value] for value in rows]
    kind = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    return pa.table({"messages": pa.array(kept, kind)}).replace_schema_metadata(table.schema.metadata)


def _wrong(value: Any) -> Iterator[str]:
    """What is wrong with a row's conversation."""
    if not isinstance(value, list) or not value or not all(isinstance(turn, dict) and {"role", "content"} <= turn.keys() for turn in value):
        yield f"{shown(value)} is no list of turns. Allowed: a list like {_LIKE}"
        return
    for number, turn in enumerate(value, 1):
        role, content = turn["role"], turn["content"]
        if role not in ROLES:
            yield f"turn {number} has role {shown(role)}. Allowed: {', '.join(ROLES)}"
        if not isinstance(content, str) or not content.strip():
            yield f"turn {number} has content {shown(content)}. Allowed: text"
        if more := sorted(key for key, one in turn.items() if key not in ("role", "content") and one is not None):
            yield f"turn {number} has {', '.join(more)} beside role and content, which would be left out. Allowed: role and content"
    if not any(turn["role"] == "assistant" for turn in value):
        yield "no turn is the assistant's, so there is nothing to learn. Allowed: one turn of the assistant or more"


def _lacks(table: pa.Table, file: Path, column: str, key: str) -> None:
    found = ", ".join(map(visible, table.column_names))
    raise BadInput(
        f"{source(table, file)} has no column {visible(column)}, which {key} names. Found: {found}{renaming([column], table.column_names)}"
    )
