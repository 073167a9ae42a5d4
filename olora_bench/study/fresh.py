"""Whether a study's report still says what its records say: told by what it was made from and what was written, not by times."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import olora_bench
from olora_bench.config import claims_dir, options
from olora_bench.errors import BadInput, RecordError
from olora_bench.formats import Unreadable, parse_json, read_regular
from olora_bench.store import Store, atomic_write, inside, is_whole, sealed
from olora_bench.store.manifest import PlannedRun
from olora_bench.store.record_parts import SUFFIX
from olora_bench.store.sealed import sha256
from olora_bench.study.declared import declaring_commit
from olora_bench.study.locked import Since, since_locked
from olora_bench.study.manifest import read_manifest
from olora_bench.study.names import Home, changing

MADE_FROM = "made_from.json"
"""Beside a report: a digest of its inputs, one of every file written, whether the study was complete."""
_PART = re.compile(rf"({'|'.join(SUFFIX)})\..*")
_LIBRARIES = ("numpy", "pandas", "pyarrow", "scipy", "PyYAML")


def standing_report(home: Home, file: Path) -> tuple[str, bool] | None:
    """The report as it lies there, and whether the study was complete; None where it has to be made again: one of its inputs, or one of
    the files that were written, is not what it was.

    Args:
        file: the study's file.

    Raises:
        RecordError: the manifest cannot be read, or a link leads out of the results folder.
    """
    folder = home.report
    try:
        made = parse_json(read_regular(folder / MADE_FROM), folder / MADE_FROM)
        if not is_whole(made) or not _as_written(folder, made["outputs"]):
            return None
        text, complete = read_regular(folder / "report.md").decode().removesuffix("\n"), made["complete"] is True
    except (Unreadable, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return (text, complete) if made.get("inputs") == inputs_digest(home, file) else None


def _as_written(folder: Path, outputs: Mapping[str, str]) -> bool:
    if not {"report.md", "index.html"} <= outputs.keys() or any(name.startswith("/") or ".." in name for name in outputs):
        return False
    return all(sha256(read_regular(folder / name)) == digest for name, digest in outputs.items())


def keep_made_from(folder: Path, inputs: str, outputs: Mapping[str, str], *, complete: bool) -> None:
    """Write down what a report was made from.

    Args:
        inputs: as `inputs_digest` gave it before anything was read.
        outputs: file, from the report's folder -> SHA-256.

    Raises:
        StoreError: the system refuses.
    """
    atomic_write(folder / MADE_FROM, sealed({"inputs": inputs, "outputs": dict(outputs), "complete": complete}))


def inputs_digest(home: Home, file: Path, since: Since | None = None) -> str:
    """SHA-256 of all that a report is made from: the study's own files and its commit, the bytes of every record, size and times of the
    parts beside it, claims, published numbers, this package, and the words of the command that the report repeats.

    Args:
        since: what has changed since the study was locked, where that is known: composing the study takes a second.

    Raises:
        RecordError: the manifest cannot be read.
    """
    results_dir, found, manifest = home.results_dir, hashlib.sha256(), read_manifest(home)
    facts: list[Any] = [str(results_dir), str(file), changing(home.overrides), options("model"), _declared(file), _package()]
    facts.append(repr(since or since_locked(home, file)))
    facts += [_content(path) for path in (home.folder / "manifest.json", home.folder / "lock.json", file)]
    for folder in (results_dir / "published", results_dir / "published" / "claims"):
        facts.append(_all_in(results_dir, folder))
    facts += [[path.name, _content(path)] for path in sorted(claims_dir().glob("*.yaml"))]
    for fact in (*facts, *_records(Store(results_dir), () if manifest is None else manifest.runs)):
        found.update(json.dumps(fact).encode() + b"\n")
    return found.hexdigest()


def _content(path: Path) -> str:
    """The SHA-256 of a file, or why it cannot be read."""
    try:
        return sha256(read_regular(path))
    except OSError as error:
        return str(error.errno or error)


def _all_in(root: Path, folder: Path) -> list[Any]:
    try:
        return [[path.name, _content(path)] for path in sorted(inside(root, folder).glob("*.*"))]
    except (OSError, RecordError) as error:
        return [str(error)]


def _declared(file: Path) -> list[Any]:
    try:
        return [str(declaring_commit(file))]
    except (BadInput, OSError, ValueError) as error:
        return [str(error)]


@cache
def _package() -> list[Any]:
    """This package's files, and the libraries on which a report's numbers and bytes depend."""
    root = Path(olora_bench.__file__).parent
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.suffix != ".pyc")
    own = hashlib.sha256(json.dumps([[str(path.relative_to(root)), _content(path)] for path in files]).encode()).hexdigest()
    return [own, platform.python_version(), *(version(name) for name in _LIBRARIES)]


def _records(store: Store, runs: Sequence[PlannedRun]) -> Iterator[Any]:
    evaluations: dict[tuple[Any, ...], None] = {}
    for run in runs:
        yield [run.train_id, *_folder(lambda run=run: store.run_dir(run.train_id))]
        if run.eval_id is not None:
            evaluations |= dict.fromkeys([(run.train_id, None, run.eval_id), (None, run.model, run.base_eval_id)])
    for one in evaluations:
        yield [*one, *_folder(lambda one=one: store.eval_dir(*one))]


def _folder(place: Any) -> list[Any]:
    """A record's bytes, and of its parts what tells cheaply whether they were touched."""
    try:
        folder = place()
        stats = [(path.name, path.stat()) for path in sorted(folder.iterdir()) if _PART.fullmatch(path.name)]
    except (OSError, RecordError) as error:
        return [str(error)]
    return [_content(folder / "record.json"), *([name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for name, stat in stats)]
