"""A study with its records: which runs it needs by now. Search, finalists and looks are replayed from the records on disk."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from olora_bench.errors import RecordError
from olora_bench.run.finalists import as_loss
from olora_bench.store import OVER, Store
from olora_bench.store.manifest import Manifest
from olora_bench.study.expand import Grids, StudyFile, find_study
from olora_bench.study.manifest import manifest_of, read_lock, read_manifest
from olora_bench.study.names import Home, check_name
from olora_bench.study.states import standing


def decided_by_records(store: Store, manifest: Manifest) -> Collection[tuple[str, str]]:
    """The contrasts that need no more seeds than a manifest lists, by its records."""
    from olora_bench.analysis.decided import decided  # brings pandas, which plans do without
    from olora_bench.analysis.load import load_study

    return decided(load_study(store, manifest))


@dataclass
class OpenStudy:
    """A study file and the store that its overrides point to. `judge` says which contrasts need no more seeds than a manifest lists."""

    file: StudyFile
    store: Store
    judge: Callable[[Store, Manifest], Collection[tuple[str, str]]] = decided_by_records
    _losses: dict[str, float] = field(default_factory=dict)
    _over: dict[tuple[int, tuple[str, ...]], Collection[tuple[str, str]]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The study's name, which is its folder below `results/`."""
        return self.file.study.name

    @property
    def home(self) -> Home:
        """Where its own files are."""
        return self.file.home

    def grids(self) -> Grids:
        """The runs that the study needs, as far as the records say by now."""
        return self.file.grids(self.loss, self.over)

    def loss(self, train_id: str) -> float | None:
        """The tuning criterion of a run as a loss: infinite where it diverged, None while the run is not finished."""
        if train_id not in self._losses:
            assert self.file.study.tuning is not None
            try:
                loss = as_loss(self.store.read_run(train_id), self.file.study.tuning.criterion)
            except RecordError:
                return None
            if loss is None:
                return None
            self._losses[train_id] = loss
        return self._losses[train_id]

    def over(self, seeds: int, grids: Grids) -> Collection[tuple[str, str]] | None:
        """The contrasts that the looks up to this one decide; None while a run of them is not finished. As `expand.Over`."""
        key = seeds, tuple(job.what.train_id for job in grids.jobs)
        if key not in self._over:
            if any(standing(self.store, job).state not in OVER for job in grids.jobs):
                return None
            self._over[key] = self.judge(self.store, manifest_of(self.home, grids, self.loss))
        return self._over[key]


def open_study(path: Path, overrides: Sequence[str] = ()) -> OpenStudy:
    """Read a study file under the precision that its lock settled.

    Raises:
        BadInput: the file cannot be carried out as written, or another one ran here under its name.
        RecordError: the study's lock cannot be read.
    """
    file = StudyFile(path, overrides)
    check_name(file.results_dir, file.study.name, path)
    lock = read_lock(file.home)
    if lock is not None:
        file.composer.precision = str(lock.precision)
    return OpenStudy(file, Store(file.results_dir))


def open_to_read(name: str, overrides: Sequence[str] = ()) -> OpenStudy:
    """`find_and_open` for commands that only read: the Hub is asked nothing. An unpinned repository's commit is the one that the study's
    records name, or its head when this machine last asked."""
    opened = find_and_open(name, overrides)

    @cache
    def named() -> dict[str, str]:
        found: dict[str, str] = {}
        manifest = read_manifest(opened.home)
        for run in () if manifest is None else manifest.runs:
            with suppress(RecordError):
                record = opened.store.read_run(run.train_id)
                used: Any = [] if record is None else record.provenance.get("assets") or []
                found = {str(one["key"]): str(one["identity"]) for one in used if one.get("source") == "hub"} | found
        return found

    opened.file.composer.settled = named
    return opened


def find_and_open(name: str, overrides: Sequence[str] = ()) -> OpenStudy:
    """`open_study` by name or path.

    Raises:
        BadInput: there is no such study, or it cannot be carried out as written.
        RecordError: the study's lock cannot be read.
    """
    return open_study(find_study(name), overrides)
