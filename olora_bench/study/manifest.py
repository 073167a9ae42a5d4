"""What a study keeps in `results/<study>/`: the lock of what was settled once, and the manifest of the runs it needs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from olora_bench.errors import RecordError
from olora_bench.formats import Unreadable, parse_json, read_bytes
from olora_bench.identity import family_key
from olora_bench.store import Lease, atomic_write, is_whole, sealed
from olora_bench.store.record import FolderName, Id, problems
from olora_bench.study.estimate import work
from olora_bench.study.expand import Grids, LossOf, nothing_known
from olora_bench.study.jobs import Role
from olora_bench.study.names import changing, declaration_of, place_of, study_dir

SCHEMA_VERSION = 2


class _Read(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False, protected_namespaces=())


class _Lock(_Read):
    precision: Literal["fp32", "bf16", "fp16"]


class _Run(_Read):
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


class _Point(_Read):
    lr: float
    stage: str
    runs: list[Id]
    loss: float | None
    diverged: int


class _Search(_Read):
    cell: str
    model: str
    rank: int
    arm: str
    points: list[_Point]
    best: float | None
    edge: str | None
    chosen: float | None


class _Contrast(_Read):
    arm: str
    reference: str
    kind: Literal["primary", "secondary"]


class _Manifest(_Read):
    study: FolderName
    title: str
    protocol: Literal["shared_lr", "tuned"]
    contrasts: list[_Contrast]
    overrides: list[str] | None = None
    file: str | None = None
    declaration: str | None = None
    tuning: dict[str, Any] | None = None
    searches: list[_Search] | None = None
    runs: Annotated[list[_Run], Field(min_length=1)]


def _read(path: Path, kind: type[_Read]) -> dict[str, Any] | None:
    again = "remove it, and the next sweep writes it again"
    try:
        content = read_bytes(path)
        value = None if content is None else parse_json(content, path)
    except Unreadable as error:
        raise RecordError(f"{error}: {again}") from error
    if content is None:
        return None
    if not isinstance(value, dict) or value.get("schema_version") != SCHEMA_VERSION:
        found = value.get("schema_version") if isinstance(value, dict) else None
        raise RecordError(f"{path}: schema_version is {found!r}, this olora_bench reads {SCHEMA_VERSION}: {again}")
    if not is_whole(value):
        raise RecordError(f"{path}: damaged: it is not what was written there: {again}")
    try:
        kind.model_validate_json(content)
    except ValidationError as error:
        raise RecordError(f"{path}: {problems(error)[:500]}: {again}") from error
    return value


def _write(path: Path, value: dict[str, Any], held: Lease | None) -> None:
    content = sealed(json.loads(json.dumps(value, sort_keys=True)))
    try:
        same = read_bytes(path) == content
    except Unreadable:
        same = False
    if not same:
        (atomic_write if held is None else held.publish)(path, content)


def read_lock(results_dir: Path, name: str, overrides: Sequence[str] = ()) -> dict[str, Any] | None:
    """What the study settled when it first ran, e.g. `{"precision": "bf16"}`; null before that."""
    return _read(study_dir(results_dir, name, overrides) / "lock.json", _Lock)


def write_lock(results_dir: Path, name: str, precision: str, overrides: Sequence[str] = (), held: Lease | None = None) -> None:
    """Settle what depends on the machine, for every later start of the study on any machine; `held` is the lease of the study's folder."""
    _write(study_dir(results_dir, name, overrides) / "lock.json", {"schema_version": SCHEMA_VERSION, "precision": precision}, held)


def read_manifest(results_dir: Path, name: str, overrides: Sequence[str] = ()) -> dict[str, Any] | None:
    """The manifest: everything a report needs to find and order the study's records."""
    return manifest_in(study_dir(results_dir, name, overrides))


def manifest_in(home: Path) -> dict[str, Any] | None:
    """The manifest in one of a study's folders, or None where there is none.

    Raises:
        RecordError: it is damaged, foreign or of another schema.
    """
    return _read(home / "manifest.json", _Manifest)


def write_manifest(
    results_dir: Path, grids: Grids, loss_of: LossOf = nothing_known, overrides: Sequence[str] = (), held: Lease | None = None
) -> None:
    """List the study's runs by id, with the coordinates that tables are made of; for a tuned study also what its searches came to.

    Args:
        overrides: the command line's, which hold for every run.
        held: the lease of the study's folder.
    """
    runs = [
        {
            "train_id": job.what.train_id,
            "eval_id": job.what.eval_id,
            "base_eval_id": job.what.base_eval_id,
            "cell": job.cell,
            "family": family_key(job.what.train),
            "steps": work(job.experiment, {}).steps,
            "model": job.experiment.model.name,
            "arm": job.experiment.arm,
            "rank": job.experiment.rank,
            "lr": job.experiment.lr,
            "seed": job.experiment.seed,
            "stage": job.stage,
            "roles": list(job.roles),
        }
        for job in grids.jobs
    ]
    study = grids.study
    value = {
        "schema_version": SCHEMA_VERSION,
        "study": study.name,
        "title": study.title,
        "protocol": study.protocol,
        "contrasts": [c.model_dump() for c in study.contrasts],
        "overrides": changing(overrides),
        "file": place_of(grids.path, results_dir),
        "declaration": declaration_of(grids.path),
        "tuning": None if study.tuning is None else study.tuning.model_dump(mode="json"),
        "searches": list(_searches(grids, loss_of)),
        "runs": runs,
    }
    _write(study_dir(results_dir, study.name, overrides) / "manifest.json", value, held)


def _searches(grids: Grids, loss_of: LossOf) -> Iterator[dict[str, Any]]:
    """Each arm's search in each cell, a row a learning rate.

    `loss` is null where a run diverged or is not done yet; `diverged` counts the former.
    """
    ids: dict[tuple[str, str, float], list[str]] = {}
    for job in grids.jobs:
        if "tuning" in job.roles:
            ids.setdefault((job.cell, job.experiment.arm, job.experiment.lr), []).append(job.what.train_id)
    for cell in grids.searches:
        for one in cell.arms:
            rows = [_point(lr, stage, ids[cell.cell, one.arm, lr], loss_of) for lr, stage in sorted(one.tried.items())]
            named = {"cell": cell.cell, "model": cell.job.experiment.model.name, "rank": cell.job.experiment.rank, "arm": one.arm}
            yield named | {"points": rows, "best": one.best, "edge": one.edge, "chosen": one.chosen}


def _point(lr: float, stage: str, runs: list[str], loss_of: LossOf) -> dict[str, Any]:
    losses = [loss for train_id in runs if (loss := loss_of(train_id)) is not None]
    mean = sum(losses) / len(losses) if len(losses) == len(runs) else math.inf
    return {"lr": lr, "stage": stage, "runs": runs, "loss": mean if math.isfinite(mean) else None, "diverged": sum(map(math.isinf, losses))}
