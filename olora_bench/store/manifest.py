"""What a study keeps beside its records: the lock of what was settled once, and the manifest of the runs it needs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from olora_bench.errors import RecordError
from olora_bench.formats import Unreadable, parse_json, read_bytes
from olora_bench.store.record import FolderName, Id, problems
from olora_bench.store.sealed import is_whole

MANIFEST_VERSION: Final = 2
Role = Literal["shared", "tuning", "finalist", "tuned"]
"""What a run is for: `shared` and `tuned` runs are reported, `tuning` ones only choose a learning rate; of a seed's `finalist` runs one is
kept, which is `tuned` too."""


class _Read(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False, protected_namespaces=())


class Covers(StrEnum):
    """What was locked before the first run of a study: all that it settles; its file alone, where the lock is of an earlier olora_bench or
    is gone; nothing yet."""

    COMPOSED = "the composed study"
    FILE = "the study file"
    NOTHING = "nothing"


class Lock(_Read):
    """What a study settled when it first ran: the precision, and by dotted name all else that `study.locked.settled` names; null in a lock
    of an earlier olora_bench."""

    precision: Literal["fp32", "bf16", "fp16"]
    settled: dict[str, JsonValue] | None = None


class Contrast(_Read):
    """An arm against a reference arm, as the study declares them."""

    arm: str
    reference: str
    kind: Literal["primary", "secondary"]


class PlannedRun(_Read):
    """A run that the study needs: its ids, and the coordinates that tables are made of.

    `cell` is the id of what compared runs share in training, `family` of that without the length, `steps` the planned optimiser steps,
    `stage` the one of the search that asked for the run.
    """

    train_id: Id
    eval_id: Id | None
    base_eval_id: Id | None
    cell: str
    family: str | None = None
    steps: float | None = None
    model: FolderName
    arm: str
    rank: Annotated[int, Field(lt=2**63)]
    lr: float
    seed: Annotated[int, Field(lt=2**63)]
    stage: str
    roles: tuple[Role, ...] = ("shared",)


class Point(_Read):
    """A learning rate of a search. `loss` is the criterion as a loss, null where a run diverged or is not done; `diverged` counts those."""

    lr: float
    stage: str
    runs: tuple[Id, ...]
    loss: float | None
    diverged: int


class Search(_Read):
    """An arm's search of the learning rate in a cell. `edge` says at which side the best lies outermost, `chosen` is null where it does."""

    cell: str
    model: str
    rank: int
    arm: str
    points: tuple[Point, ...]
    best: float | None
    edge: str | None
    chosen: float | None


class TuningRule(_Read):
    """What the analysis needs of the study's tuning: the criterion, the learning rate that arms share beside their own, and how many
    finalists each seed trains."""

    criterion: Literal["tune_loss", "tune_gold_logprob"] = "tune_loss"
    shared_lr: float | None = None
    finalists: int = 1


class Margin(_Read):
    """The difference that matters, as the study declares it: percentage points of score, nats of held-out loss; null where it does not."""

    score: Annotated[float, Field(gt=0)] | None = None
    loss: Annotated[float, Field(gt=0)] | None = None


class Manifest(_Read):
    """Everything a report needs to find and order the study's records.

    `looks` are the numbers of seeds, from `first_seed` on, after which contrasts may be decided; null where all seeds are run at once.
    `settled` is false while records yet to come decide which further runs the study needs.
    """

    study: FolderName
    title: str
    protocol: Literal["shared_lr", "tuned"]
    contrasts: tuple[Contrast, ...]
    overrides: tuple[str, ...] | None = None
    file: str | None = None
    declaration: str | None = None
    margin: Margin = Margin()
    tuning: TuningRule | None = None
    searches: tuple[Search, ...] | None = None
    first_seed: int | None = None
    looks: tuple[int, ...] | None = None
    settled: bool = True
    runs: Annotated[tuple[PlannedRun, ...], Field(min_length=1)]


_Kept = TypeVar("_Kept", Lock, Manifest)


def read_kept(path: Path, kind: type[_Kept]) -> _Kept | None:
    """A study's lock or manifest, or None where there is none.

    Raises:
        RecordError: it is damaged, foreign or of another schema; names the file and what to do.
    """
    again = "remove it, and the next sweep writes it again"
    try:
        content = read_bytes(path)
        value = None if content is None else parse_json(content, path)
    except Unreadable as error:
        raise RecordError(f"{error}: {again}") from error
    if content is None:
        return None
    if not isinstance(value, dict) or value.get("schema_version") != MANIFEST_VERSION:
        version = value.get("schema_version") if isinstance(value, dict) else None
        raise RecordError(f"{path}: schema_version is {version!r}, this olora_bench reads {MANIFEST_VERSION}: {again}")
    if not is_whole(value):
        raise RecordError(f"{path}: damaged: it is not what was written there: {again}")
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise RecordError(f"{path}: {problems(error)[:500]}: {again}") from error
