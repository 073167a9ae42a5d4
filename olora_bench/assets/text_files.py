"""Files of rows as text, read as tables: JSON Lines, a JSON list, CSV and TSV.

A row's number counts the rows of its file from 1; a CSV file's header and empty lines are not counted.
"""

from __future__ import annotations

import bisect
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from olora_bench import formats
from olora_bench.assets.cells import KINDS, shown
from olora_bench.errors import BadInput

_LARGEST_CELL = 2**31 - 1
_SEPARATORS = {",": "a comma", "\t": "a tab", ";": "a semicolon", "|": "a bar"}
_NO_ARRAY = (pa.ArrowException, ValueError, TypeError, OverflowError)


def read_text_file(file: Path, wanted: Sequence[str] | None) -> pa.Table:
    """The rows of a file that is no Parquet; its name says which kind it is. `wanted` and what is raised are those of `rows.read_rows`."""
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
        raise BadInput(f"{file}, row {row + 1}: {name} is {shown(values[row])}, where most rows have {KINDS[most]}. Correct the row")
    try:
        return pa.array(values)
    except _NO_ARRAY as error:  # lists or objects that differ inside, a number or a letter that no table can hold
        row = bisect.bisect_left(range(len(values)), True, key=lambda i: _misfits(values[: i + 1]))
        found = differing(values[: row + 1])
        why = f"its {found[0]} is {shown(found[1])}. Allowed: {KINDS[found[2]]}, as before. Correct the row" if found else error
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
