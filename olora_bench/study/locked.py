"""What a study settles before its runs: kept in its lock when it first runs, and compared with what its file composes to now."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from olora_bench.errors import BadInput, RecordError
from olora_bench.identity import ANALYSIS_VERSION, RESULTS_VERSION, settings
from olora_bench.store.manifest import Covers
from olora_bench.study.expand import StudyFile, find_study
from olora_bench.study.manifest import as_declared, read_lock, read_manifest
from olora_bench.study.names import Home


@dataclass(frozen=True)
class Since:
    """What was locked before a study's runs, and what of it has changed: (dotted name, what it was, what it is), null where it is not set.
    `unknown` says why lock or file cannot be read."""

    covers: Covers
    changes: tuple[tuple[str, JsonValue, JsonValue], ...] = ()
    unknown: str | None = None


def settled(file: StudyFile) -> dict[str, JsonValue]:
    """All that a study settles before its runs, by dotted name: its own node but for name and title (contrasts, grids, seeds, tuning,
    margin), what its combinations compose to whatever their rate and seed (model, init, data, recipe, suite with each benchmark's metrics,
    the primary one first), and the versions of what makes numbers and of what judges them.

    Lists hold each value that a setting takes in a combination. Comments, assets, folders and trackers are not in it.

    Raises:
        BadInput: a combination cannot be carried out as written.
    """
    study = file.study.model_dump(mode="json", exclude={"name", "title"})
    if file.study.tuning is not None:
        study["tuning"] = as_declared("study.tuning", study["tuning"])
    found: dict[str, JsonValue] = {"analysis_version": ANALYSIS_VERSION, "results_version": RESULTS_VERSION, **dict(_flat("study", study))}
    taken: dict[str, dict[str, JsonValue]] = {}
    for experiment in file.experiments():
        for name, value in _flat("", settings(experiment)):
            taken.setdefault(name, {})[json.dumps(value, sort_keys=True)] = value
    return found | {name: [values[text] for text in sorted(values)] for name, values in taken.items()}


def _flat(name: str, value: JsonValue) -> Iterator[tuple[str, JsonValue]]:
    """Leaves by dotted name; what is null is as what is not there."""
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, dict) for one in value)):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _flat(f"{name}.{key}" if name else str(key), one)
    elif value is not None:
        yield name, value


def to_lock(file: StudyFile) -> Mapping[str, JsonValue] | None:
    """What a study's lock says is settled: what it composes to now, until a run of it has a record; from then on what the lock says.

    Raises:
        RecordError: lock or manifest cannot be read.
        BadInput: a combination cannot be carried out as written.
    """
    manifest = read_manifest(file.home)
    if manifest is not None and any((file.results_dir / "runs" / run.train_id / "record.json").exists() for run in manifest.runs):
        lock = read_lock(file.home)
        return None if lock is None else lock.settled
    return settled(file)


def since_locked(home: Home, path: Path | None = None) -> Since:
    """What was locked before the runs of a study, and what has changed since.

    Args:
        path: the study's file; null looks for it by the study's name.
    """
    try:
        lock = read_lock(home)
    except RecordError as error:
        return Since(Covers.COMPOSED, unknown=str(error))
    if lock is None or lock.settled is None:
        ran = (home.folder / "manifest.json").exists()
        return Since(Covers.FILE if ran else Covers.NOTHING)
    try:
        file = StudyFile(path or find_study(home.name), home.overrides)
        file.composer.precision = lock.precision
        now, was = settled(file), lock.settled
    except BadInput as error:
        return Since(Covers.COMPOSED, unknown=str(error))
    names = sorted(name for name in was.keys() | now.keys() if was.get(name) != now.get(name))
    return Since(Covers.COMPOSED, tuple((name, was.get(name), now.get(name)) for name in names))
