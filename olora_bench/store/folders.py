"""A folder with a record: how it is read and written, with the parts that its record names."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from olora_bench.errors import RecordError
from olora_bench.formats import SharedColumns
from olora_bench.store.atomic import atomic_write
from olora_bench.store.lease import Lease
from olora_bench.store.parquet import Kind, arrow_table, to_parquet
from olora_bench.store.record import RESTORE, AnyRecord, EvalRecord, Part, RunRecord, parse, to_json
from olora_bench.store.record_parts import (
    ALWAYS_KEPT,
    Stamp,
    cannot_read,
    damaged,
    entries,
    read_part,
    read_stamped,
    stamp_of,
    write_part,
)

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def with_evaluations(folder: Path) -> list[tuple[Path, type[RunRecord] | type[EvalRecord]]]:
    """A folder with a record and those of its evaluations, each with its kind of record."""
    own: type[RunRecord] | type[EvalRecord] = EvalRecord if folder.parent.name == "evals" else RunRecord
    return [(folder, own), *((one, EvalRecord) for one in subfolders(folder / "evals"))]


def damaged_below(folder: Path) -> list[Path]:
    """Records that cannot be read, and parts that are not what their records say, in a folder and its evaluations."""
    wrong: list[Path] = []
    for place, kind in with_evaluations(folder):
        path = place / "record.json"
        try:
            record = read_record(path, kind)
            wrong += [] if record is None else damaged(place, record.parts)  # type: ignore[arg-type]
        except RecordError:
            wrong.append(path)
    return wrong


def write_record(record: AnyRecord, path: Path, held: Lease | None) -> None:
    """Write a record, behind the fence of the lease where there is one.

    Raises:
        LeaseLost: the lease was taken over; nothing was written.
        StoreError: the system refuses.
        RecordError: the record does not fit its schema.
    """
    content = to_json(record)
    parse(content, type(record), path)  # model_copy does not check, and what lies there must be readable
    (atomic_write if held is None else held.publish)(path, content)


def read_record(path: Path, kind: type[AnyRecord]) -> AnyRecord | None:
    """A record, or None where there is none.

    Raises:
        RecordError: the file is damaged, truncated, foreign or of another schema.
    """
    read = read_stamped(path)
    if read is None:
        return None
    record = parse(read[1], kind, path)
    _NAMED[str(path)] = (read[0], record.parts)
    return record


_NAMED: dict[str, tuple[Stamp, Mapping[Any, Part]]] = {}
"""What parts the records name that this process has read; good while the record's file is untouched."""


def parts_named(folder: Path, kind: type[RunRecord] | type[EvalRecord]) -> Mapping[Any, Part]:
    """The parts that a folder's record names; the record is read again only where it was touched since.

    Raises:
        RecordError: the record cannot be read.
    """
    path = folder / "record.json"
    known = _NAMED.get(str(path))
    with contextlib.suppress(OSError):
        if known is not None and known[0] == stamp_of(path):
            return known[1]
    record = read_record(path, kind)
    return {} if record is None else record.parts


def read_table(
    folder: Path, record: type[RunRecord] | type[EvalRecord], kind: Kind, columns: Sequence[str] | None = None
) -> pd.DataFrame | None:
    """A table that a folder's record names, checked; None where it names none.

    Raises:
        RecordError: the table or the record is damaged, foreign or of another schema, or the table is gone.
    """
    table = read_arrow(folder, parts_named(folder, record), kind, columns)
    return None if table is None else table.to_pandas(use_threads=False)


def read_arrow(
    folder: Path, parts: Mapping[Any, Part], kind: Kind, columns: Sequence[str] | None = None, shared: SharedColumns | None = None
) -> pa.Table | None:
    """`read_table` of a record with these parts, without a frame made of it.

    Raises:
        RecordError: as for `read_table`.
    """
    if (part := parts.get(kind)) is None:
        return None
    content = read_part(folder, part)
    if content is None and kind in ALWAYS_KEPT:
        raise RecordError(f"{folder / part.file}: gone, though the record beside it names it. {RESTORE}")
    return None if content is None else arrow_table(content, folder / part.file, kind, columns, shared)


def write_table(folder: Path, kind: Kind, frame: pd.DataFrame, held: Lease | None) -> Part:
    """Check and write a table as a part.

    Raises:
        LeaseLost: the lease was taken over.
        StoreError: the system refuses.
        RecordError: a column is missing, unknown or of another type.
    """
    return write_part(folder, kind, to_parquet(frame, kind, folder / f"{kind}.parquet"), held)


def moved(path: Path, field: str, value: str | None) -> RecordError:
    """The error for a record that names another run or evaluation than the folder it lies in."""
    return RecordError(f"{path}: {field}={value} does not fit the folder it lies in: it was moved or copied. Put it back where it was")


def folder_name(name: str) -> str:
    """An id or a model's name as a folder's. It comes from files and command lines, and must not lead out of the results folder.

    Raises:
        RecordError: it could.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", name):
        raise RecordError(f"{name!r} is no folder name of the store: letters, digits and _ . + - are allowed, a letter or digit first")
    return name


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, in order, but for hidden ones.

    Raises:
        RecordError: the system refuses.
    """
    try:
        return [path for path in entries(folder) if path.is_dir() and not path.name.startswith(".")]
    except OSError as error:
        raise cannot_read(folder, error) from error
