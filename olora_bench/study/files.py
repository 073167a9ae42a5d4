"""What a study keeps in `results/<study>/`: the lock of what was settled once, and the manifest of the runs it needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from olora_bench.errors import RecordError
from olora_bench.identity import cell_key
from olora_bench.store import atomic_write
from olora_bench.study.grid import Grids

SCHEMA_VERSION = 1


def study_dir(results_dir: Path, name: str) -> Path:
    """The folder of a study's own files. Runs belong to no study and lie in `results/runs/`."""
    return results_dir / name


def _read(path: Path) -> dict[str, Any] | None:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise RecordError(f"{path}: not readable as JSON ({error}): remove it, and the next sweep writes it again") from error
    if not isinstance(value, dict) or value.get("schema_version") != SCHEMA_VERSION:
        found = value.get("schema_version") if isinstance(value, dict) else None
        raise RecordError(
            f"{path}: schema_version is {found!r}, this olora_bench reads {SCHEMA_VERSION}: remove it, and the next sweep writes it again"
        )
    return value


def _write(path: Path, value: dict[str, Any]) -> None:
    data = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != data:
        atomic_write(path, data.encode())


def read_lock(results_dir: Path, name: str) -> dict[str, Any] | None:
    """What the study settled when it first ran, e.g. `{"precision": "bf16"}`; null before that."""
    return _read(study_dir(results_dir, name) / "lock.json")


def write_lock(results_dir: Path, name: str, precision: str) -> None:
    """Settle what depends on the machine, for every later start of the study on any machine."""
    _write(study_dir(results_dir, name) / "lock.json", {"schema_version": SCHEMA_VERSION, "precision": precision})


def read_manifest(results_dir: Path, name: str) -> dict[str, Any] | None:
    """The manifest: everything a report needs to find and order the study's records."""
    return _read(study_dir(results_dir, name) / "manifest.json")


def write_manifest(results_dir: Path, grids: Grids) -> None:
    """List the study's runs by id, with the coordinates that tables are made of."""
    runs = [
        {
            "train_id": job.what.train_id,
            "eval_id": job.what.eval_id,
            "base_eval_id": job.what.base_eval_id,
            "cell": cell_key(job.what.train),
            "model": job.experiment.model.name,
            "arm": job.experiment.arm,
            "rank": job.experiment.rank,
            "lr": job.experiment.lr,
            "seed": job.experiment.seed,
        }
        for job in grids.jobs
    ]
    value = {
        "schema_version": SCHEMA_VERSION,
        "study": grids.study.name,
        "title": grids.study.title,
        "protocol": grids.study.protocol,
        "contrasts": [c.model_dump() for c in grids.study.contrasts],
        "runs": runs,
    }
    _write(study_dir(results_dir, grids.study.name) / "manifest.json", value)
