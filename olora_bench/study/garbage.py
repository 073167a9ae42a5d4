"""What lies in a results folder and no study needs. Listed always, removed only when asked."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from olora_bench.errors import RecordError
from olora_bench.progress import size
from olora_bench.store import Store, read_lease
from olora_bench.study.files import read_manifest
from olora_bench.study.schema import RESERVED_NAMES


@dataclass(frozen=True)
class Unneeded:
    """A folder below `results/`, what it is, and its bytes."""

    folder: Path
    what: str
    size_bytes: int


def unneeded(results_dir: Path) -> list[Unneeded]:
    """Runs that no study's manifest lists, and evaluations that none needs; what a live process works on is left out.

    Raises:
        RecordError: a manifest cannot be read: what its study needs is not known, so nothing may be called unneeded.
    """
    store = Store(results_dir)
    studies = [p for p in _folders(results_dir) if p.name not in RESERVED_NAMES and (p / "manifest.json").exists()]
    runs = [run for study in studies for run in (read_manifest(results_dir, study.name) or {})["runs"]]
    needed = {run["train_id"] for run in runs}
    evals = {run["eval_id"] for run in runs} | {run["base_eval_id"] for run in runs}
    found = []
    for folder in _folders(results_dir / "runs"):
        if folder.name not in needed:
            found.append(Unneeded(folder, _describe(store, folder.name), _bytes(folder)))
        else:
            found += [
                Unneeded(e, f"an evaluation of run {folder.name}", _bytes(e)) for e in _folders(folder / "evals") if e.name not in evals
            ]
    for model in _folders(results_dir / "base"):
        found += [
            Unneeded(e, f"an evaluation of untouched {model.name}", _bytes(e)) for e in _folders(model / "evals") if e.name not in evals
        ]
    return [one for one in found if not _at_work(one.folder)]


def gc_text(results_dir: Path, *, remove: bool) -> str:
    """The list as text; with `remove`, what was on it is gone afterwards."""
    found = unneeded(results_dir)
    if not found:
        return f"{results_dir}: every run and evaluation is needed by a study that ran there"
    lines = [f"{one.folder}: {one.what}, {size(one.size_bytes)}" for one in found]
    total = size(sum(one.size_bytes for one in found))
    if not remove:
        return "\n".join([*lines, f"{len(found)} folders, {total}, are needed by no study that ran here. To remove them: add --remove"])
    for one in found:
        shutil.rmtree(one.folder)
    return "\n".join([*lines, f"removed {len(found)} folders, {total}"])


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")) if folder.is_dir() else []


def _bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def _at_work(folder: Path) -> bool:
    holder = read_lease(folder)
    return holder is not None and holder.alive()


def _describe(store: Store, train_id: str) -> str:
    try:
        record = store.read_run(train_id)
    except RecordError as error:
        return f"a run whose record cannot be read ({error})"
    if record is None:
        return "a run without a record"
    model = record.config.get("model")
    name = model.get("name") if isinstance(model, dict) else "?"
    return f"{name} {record.arm} r{record.config.get('rank')} lr{record.config.get('lr')} seed {record.config.get('seed')}, {record.status}"
