"""What a study's name stands for in a results folder: one declaration, run as it is and under overrides, each with its own manifest."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from olora_bench.config import compose, machine
from olora_bench.config.lines import plain_line, typed
from olora_bench.config.sources import NAME, NOT_STUDIES
from olora_bench.errors import BadInput, RecordError
from olora_bench.formats import read_text, read_yaml
from olora_bench.store import inside

FOREIGN = "imported.json"
"""In a study's folder: that its runs were imported, from which file, and which they are."""
OVERRIDDEN = "overridden"
"""The folder, in a study's own, of its runs under overrides."""


def changing(overrides: Sequence[str]) -> list[str]:
    """Those of a command line's overrides that make other runs of a study than its file declares."""
    return [line for line in overrides if not line.lstrip("+~").startswith(("machine.", "machine=", "tracker", "hydra", "assets="))]


@dataclass(frozen=True)
class Home:
    """Where a study keeps its own files: below a results folder, by its name; under overrides that change its runs, in a folder of their
    own below that. Runs belong to no study.

    Attributes:
        results_dir: the results folder.
        name: the study's.
        overrides: the command line's, those that change no run among them.
    """

    results_dir: Path
    name: str
    overrides: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """That of the manifest and of the lock.

        Raises:
            RecordError: a link on the way to it, or in it, leads out of the results folder.
        """
        home, changes = self.results_dir / self.name, sorted(set(changing(self.overrides)))
        if changes:
            home = home / OVERRIDDEN / hashlib.sha256(json.dumps(changes).encode()).hexdigest()[:16]
        return inside(self.results_dir, home)

    @property
    def report(self) -> Path:
        """Where its report is written; raises as `report_dir` does."""
        return report_dir(self.folder, self.results_dir)


def report_dir(home: Path, results_dir: Path) -> Path:
    """Where a study's report is written.

    Raises:
        RecordError: a link in it leads out of the results folder.
    """
    for part in ("tables", "figures", "runs"):
        inside(results_dir, home / "report" / part)
    return home / "report"


def homes(results_dir: Path, name: str) -> list[Path]:
    """The folders of a study that hold a manifest: as its file declares it first, then under overrides.

    Raises:
        RecordError: a link leads out of the results folder.
    """
    home = inside(results_dir, results_dir / name)
    below = inside(results_dir, home / OVERRIDDEN)
    variants = sorted(p for p in below.iterdir() if p.is_dir()) if below.is_dir() else []
    return [inside(results_dir, one) for one in (home, *variants) if (one / "manifest.json").exists()]


def typed_here(command: str, name: str, results_dir: Path, *overrides: str) -> str:
    """A command of studies to type, which finds this results folder."""
    usual = machine(compose()).results_dir
    elsewhere = [] if results_dir.absolute() == usual.absolute() else [plain_line("machine.results_dir", str(results_dir))]
    return typed("olora_bench.study", command, name, *overrides, *elsewhere)


def studies(results_dir: Path) -> list[str]:
    """The names of the studies that ran here."""
    folders = sorted(p.name for p in results_dir.iterdir() if p.is_dir()) if results_dir.is_dir() else []
    return [name for name in folders if name not in NOT_STUDIES and not name.startswith(".")]


def imported_home(results_dir: Path, name: str) -> Path | None:
    """The folder of the imported study that a name, or the path of its file, stands for; None of any other study.

    Raises:
        BadInput: the file declares runs to import, and none were imported there.
        RecordError: a link leads out of the results folder.
    """
    declared = _to_import(Path(name)) if name.endswith(".yaml") else None
    if re.fullmatch(NAME, declared or name) is None:
        return None
    home = inside(results_dir, results_dir / (declared or name))
    if (home / FOREIGN).exists():
        return home
    if declared is not None:
        raise BadInput(f"{name} declares runs that others made, and {home} holds none: {typed_here('import', name, results_dir)}")
    return None


def _to_import(path: Path) -> str | None:
    """The name of the study that a file for `import` declares; None of any other file."""
    try:
        raw = read_yaml(path)
    except BadInput:  # who reads it for what it is says what is wrong
        return None
    name = raw.get("name") if isinstance(raw, dict) and "study" not in raw and ("runs" in raw or "scores" in raw) else None
    return name if isinstance(name, str) else None


def declaration_of(path: Path) -> str:
    """A digest of what a study file declares: everything in it but title and comments."""
    from olora_bench.study.declared import declaration

    raw = declaration(read_text(path) or "")
    return hashlib.sha256(json.dumps(raw, sort_keys=True, default=str).encode()).hexdigest()[:16]


def place_of(path: Path, results_dir: Path) -> str:
    """A study file as a manifest names it: from the results folder where it lies beside it, else by its folder's name and its own, which
    says nothing of the machine."""
    near = os.path.relpath(os.path.realpath(path), os.path.realpath(results_dir))
    return near if not near.startswith("../..") else "/".join(path.parts[-2:])


def check_name(results_dir: Path, name: str, path: Path) -> None:
    """Refuse a study file under whose name another one, which declares something else, ran here. A file may change: then it declares anew.

    Raises:
        BadInput: names both files.
    """
    from olora_bench.study.manifest import manifest_in

    if (inside(results_dir, results_dir / name) / FOREIGN).exists():
        raise BadInput(f"{path}: study.name={name} is taken in {results_dir}: runs that others made were imported under it. Choose another")
    own, place = declaration_of(path), place_of(path, results_dir)
    for home in homes(results_dir, name):
        try:
            manifest = manifest_in(home)
        except RecordError:  # what it was of is not known; where it is needed, it is refused
            continue
        if manifest is not None and manifest.declaration not in (None, own) and manifest.file != place:
            raise BadInput(
                f"{path}: study.name={name} is taken in {results_dir}: {manifest.file} ran there under it and declares "
                "something else. Give one of the two another study.name; or, if this file is to replace that one, move "
                f"{home}/manifest.json away"
            )
