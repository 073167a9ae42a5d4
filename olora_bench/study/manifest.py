"""What a study keeps in `results/<study>/`: the lock of what was settled once, and the manifest of the runs it needs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import JsonValue

from olora_bench.formats import Unreadable, read_bytes
from olora_bench.identity import family_key
from olora_bench.store import Lease, atomic_write, sealed
from olora_bench.store.manifest import MANIFEST_VERSION, Lock, Manifest, Point, Search, read_kept
from olora_bench.study.estimate import work
from olora_bench.study.expand import Grids, LossOf, nothing_known
from olora_bench.study.jobs import Job
from olora_bench.study.names import Home, changing, declaration_of, place_of


def _write(path: Path, value: Mapping[str, JsonValue], held: Lease | None) -> None:
    content = sealed(json.loads(json.dumps(value, sort_keys=True)))
    try:
        same = read_bytes(path) == content
    except Unreadable:
        same = False
    if not same:
        (atomic_write if held is None else held.publish)(path, content)


def read_lock(home: Home) -> Lock | None:
    """What the study settled when it first ran; null before that."""
    return read_kept(home.folder / "lock.json", Lock)


def write_lock(home: Home, lock: Lock, held: Lease | None = None) -> None:
    """Settle a study for every later start on any machine; `held` is the lease of its folder."""
    value = {"schema_version": MANIFEST_VERSION, **lock.model_dump(mode="json", exclude_none=True)}
    _write(home.folder / "lock.json", value, held)


def read_manifest(home: Home) -> Manifest | None:
    """The manifest: everything a report needs to find and order the study's records."""
    return manifest_in(home.folder)


def manifest_in(folder: Path) -> Manifest | None:
    """The manifest in one of a study's folders, or None where there is none.

    Raises:
        RecordError: it is damaged, foreign or of another schema.
    """
    return read_kept(folder / "manifest.json", Manifest)


def write_manifest(home: Home, grids: Grids, loss_of: LossOf = nothing_known, held: Lease | None = None) -> None:
    """List the study's runs by id, with the coordinates that tables are made of; for a tuned study also what its searches came to.

    Args:
        held: the lease of the study's folder.
    """
    _write(home.folder / "manifest.json", _listed(home, grids, loss_of), held)


def manifest_of(home: Home, grids: Grids, loss_of: LossOf) -> Manifest:
    """What `write_manifest` would write."""
    return Manifest.model_validate_json(json.dumps(_listed(home, grids, loss_of)))


def _listed(home: Home, grids: Grids, loss_of: LossOf) -> dict[str, JsonValue]:
    study, tuning = grids.study, grids.study.tuning
    value: dict[str, JsonValue] = {
        "schema_version": MANIFEST_VERSION,
        "study": study.name,
        "title": study.title,
        "protocol": study.protocol,
        "contrasts": [c.model_dump() for c in study.contrasts],
        "overrides": [*changing(home.overrides)],
        "file": place_of(grids.path, home.results_dir),
        "declaration": declaration_of(grids.path),
        "tuning": None if tuning is None else as_declared("study.tuning", tuning.model_dump(mode="json")),
        "searches": [search.model_dump(mode="json") for search in _searches(grids, loss_of)],
        "runs": [_planned(job) for job in grids.jobs],
    }
    value |= {} if study.margin is None else {"margin": study.margin.model_dump()}
    value |= {} if study.seeds is None else {"first_seed": study.seeds.first, "looks": list(study.seeds.looks)}
    return value | ({} if grids.settled else {"settled": False})


LATER: Mapping[str, JsonValue] = {
    "study.tuning.refinement": "neighbours",
    "study.tuning.finalists": 1,
    "study.tuning.fresh_seeds": None,
}
"""Keys of a study that joined the schema after the first locks, by dotted name, each with the value that all studies before had."""


def as_declared(node: str, values: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The values of a study's node, without keys that came later and are at their first value."""
    return {key: value for key, value in values.items() if (name := f"{node}.{key}") not in LATER or LATER[name] != value}


def _planned(job: Job) -> JsonValue:
    """A run as `PlannedRun` reads it."""
    return {
        **{name: getattr(job.what, name) for name in ("train_id", "eval_id", "base_eval_id")},
        "cell": job.cell,
        "family": family_key(job.what.train),
        "steps": work(job.experiment, {}).steps,
        "model": job.experiment.model.name,
        **{name: getattr(job.experiment, name) for name in ("arm", "rank", "lr", "seed")},
        "stage": job.stage,
        "roles": list(job.roles),
    }


def _searches(grids: Grids, loss_of: LossOf) -> Iterator[Search]:
    """Each arm's search in each cell."""
    ids: dict[tuple[str, str, float], list[str]] = {}
    for job in grids.jobs:
        if "tuning" in job.roles:
            ids.setdefault((job.cell, job.experiment.arm, job.experiment.lr), []).append(job.what.train_id)
    for cell in grids.searches:
        for one in cell.arms:
            yield Search(
                cell=cell.cell,
                model=cell.job.experiment.model.name,
                rank=cell.job.experiment.rank,
                arm=one.arm,
                points=tuple(_point(lr, stage, ids[cell.cell, one.arm, lr], loss_of) for lr, stage in sorted(one.tried.items())),
                best=one.best,
                edge=one.edge,
                chosen=one.chosen,
            )


def _point(lr: float, stage: str, runs: list[str], loss_of: LossOf) -> Point:
    losses = [loss for train_id in runs if (loss := loss_of(train_id)) is not None]
    mean = sum(losses) / len(losses) if len(losses) == len(runs) else math.inf
    loss, diverged = mean if math.isfinite(mean) else None, sum(map(math.isinf, losses))
    return Point(lr=lr, stage=stage, runs=tuple(runs), loss=loss, diverged=diverged)
