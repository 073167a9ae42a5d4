"""The record of a run that others made: what its traces say, the digest of each file, and of all else why it is not known.

<home>/imported/<run_id>/{record.json, items.parquet, curve.parquet}
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from olora_bench.errors import RecordError
from olora_bench.formats import Unreadable, parse_json, parse_parquet, read_bytes
from olora_bench.store import Part, atomic_write, inside, sealed
from olora_bench.store.record import Amount, Count, Id, problems
from olora_bench.store.sealed import is_whole, sha256

VERSION: Final = 1
PartName = Literal["items", "curve"]


class _Checked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class SourceFile(_Checked):
    """A file that was read, by its path from the study file's folder."""

    path: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ImportedScore(_Checked):
    """A benchmark's score in [0, 1], and what it is of; `single_items`: whether the answers to its items are there."""

    metric: str | None
    score: Annotated[float, Field(ge=0, le=1)] | None
    items: Annotated[int, Field(ge=1)] | None
    version: str | None
    fewshot: str | None
    harness: str | None
    base: str | None
    single_items: bool


class ImportedRecord(_Checked):
    """A run that others made. Losses in nats, times in seconds, sizes in bytes.

    `lr_from` says who gave the learning rate, which nobody here chose. `state` is of the training: `diverged` where its log ends in a loss
    that is no finite number, `unreadable` where its traces are damaged; `scores_state` of its scores: done, missing, unreadable. A value
    that is not known is null, and `missing` says why.
    """

    schema_version: Literal[1] = VERSION
    kind: Literal["imported"] = "imported"
    run_id: Id
    study: str
    arm: str
    seed: int
    lr: Amount | None
    lr_from: str | None
    rank: Count | None
    base: str | None
    state: Literal["done", "diverged", "unreadable"]
    error: str | None = None
    scores_state: Literal["done", "missing", "unreadable"]
    scores_error: str | None = None
    steps: Count | None
    train_s: Amount | None
    losses: dict[str, float]
    adapter: dict[str, JsonValue]
    adapter_bytes: Count | None
    scores: dict[str, ImportedScore]
    sources: tuple[SourceFile, ...]
    parts: dict[PartName, Part] = Field(default_factory=dict)
    missing: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _says_what_is_missing(self) -> ImportedRecord:
        if silent := [name for name in MAY_LACK if getattr(self, name) is None and name not in self.missing]:
            raise ValueError(f"{', '.join(silent)}: null without a reason. Say under missing why")
        return self


MAY_LACK = ("lr", "rank", "base", "steps", "train_s", "adapter_bytes")


def identity(*parts: object) -> str:
    """An id for what has none of ours: 16 hex digits.

    >>> identity("A", 0) == identity("A", 0), len(identity("A", 1))
    (True, 16)
    """
    return sha256("\0".join(map(str, parts)).encode())[:16]


def folder_of(home: Path, run_id: str) -> Path:
    """Where a run's record lies in its study's folder."""
    return inside(home, home / "imported" / run_id)


def write(home: Path, record: ImportedRecord, tables: dict[PartName, pd.DataFrame]) -> ImportedRecord:
    """Write a record behind its tables, and return it with their digests."""
    folder, parts = folder_of(home, record.run_id), dict[PartName, Part]()
    for name, table in tables.items():
        sink = io.BytesIO()
        table.to_parquet(sink, compression="zstd", index=False)
        parts[name] = Part(file=f"{name}.parquet", sha256=sha256(sink.getvalue()))
        atomic_write(folder / parts[name].file, sink.getvalue())
    record = record.model_copy(update={"parts": parts})
    atomic_write(folder / "record.json", sealed(json.loads(record.model_dump_json())))
    return record


AGAIN = "import the study again"
Sealed = TypeVar("Sealed", bound=BaseModel)


def read(home: Path, run_id: str) -> ImportedRecord:
    """A run's record.

    Raises:
        RecordError: it is not there, damaged, or of another schema.
    """
    return read_sealed(folder_of(home, run_id) / "record.json", ImportedRecord, "record of an imported run")


def read_sealed(path: Path, of: type[Sealed], what: str) -> Sealed:
    """What an import wrote to a file, of a model with `schema_version` and `kind`.

    Raises:
        RecordError: it is not there, damaged, or of another schema.
    """
    try:
        content = read_bytes(path)
        raw: Any = None if content is None else parse_json(content, path)
    except Unreadable as error:
        raise RecordError(f"{error}: {AGAIN}") from error
    if content is None:
        raise RecordError(f"{path}: not there: {AGAIN}")
    kind = {name: of.model_fields[name].default for name in ("kind", "schema_version")}
    if not isinstance(raw, dict) or any(raw.get(name) != value for name, value in kind.items()):
        raise RecordError(f"{path}: no {what}, schema {kind['schema_version']}: {AGAIN}")
    if not is_whole(raw):
        raise RecordError(f"{path}: damaged: it is not what was written there: {AGAIN}")
    del raw["digest"]
    try:
        return of.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        raise RecordError(f"{path}: {problems(error)[:500]}: {AGAIN}") from error


def table(home: Path, record: ImportedRecord, name: PartName) -> pd.DataFrame | None:
    """One of a record's tables, or None where it names none.

    Raises:
        RecordError: it is gone, or not what the record names.
    """
    if name not in record.parts:
        return None
    path = folder_of(home, record.run_id) / record.parts[name].file
    try:
        content = read_bytes(path)
        if content is None or sha256(content) != record.parts[name].sha256:
            raise RecordError(f"{path}: {'not there' if content is None else 'damaged'}: {AGAIN}")
        frame: pd.DataFrame = parse_parquet(content, path)[1].to_pandas()
    except Unreadable as error:
        raise RecordError(f"{error}: {AGAIN}") from error
    return frame
