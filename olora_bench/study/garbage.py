"""What lies in a results folder and no study that ran there needs: listed always, removed only when asked, what was computed only when
asked for in so many words.

Needed is what a manifest lists, of any study, as declared or under overrides. What is left over is a folder without a record, of a worker
that died before it had anything to keep: `--remove`. All else was run by hand, or by a study file that has changed since: `--by-hand` too.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from olora_bench.errors import RecordError, StoreError
from olora_bench.identity import run_title
from olora_bench.process.progress import size
from olora_bench.store import LeaseHeld, Store, inside, lease, read_lease
from olora_bench.study.manifest import manifest_in
from olora_bench.study.names import homes, studies


@dataclass(frozen=True)
class Unneeded:
    """A folder below `results/`, what it is, its bytes, and whether there is anything in it that somebody asked for."""

    folder: Path
    what: str
    size_bytes: int
    by_hand: bool

    @property
    def leased(self) -> Path:
        """The folder whose lease a worker here would hold."""
        owner = self.folder.parent.parent
        return owner if self.folder.parent.name == "evals" and owner.parent.name == "runs" else self.folder


def unneeded(results_dir: Path) -> list[Unneeded]:
    """Runs that no study's manifest lists, and evaluations that none needs; links, and what a live process works on, are left out.

    Raises:
        RecordError: a manifest cannot be read: what its study needs is not known, so nothing may be called unneeded.
    """
    store, places = Store(results_dir), [home for name in studies(results_dir) for home in homes(results_dir, name)]
    runs = [run for home in places if (manifest := manifest_in(home)) is not None for run in manifest.runs]
    needed = {run.train_id for run in runs}
    evals = {run.eval_id for run in runs} | {run.base_eval_id for run in runs}
    found = []
    for folder in _folders(results_dir, "runs"):
        if folder.name not in needed:
            found.append(_run(store, folder))
        else:
            found += [
                _evaluation(e, f"run {folder.name}") for e in _folders(results_dir, f"runs/{folder.name}/evals") if e.name not in evals
            ]
    for model in _folders(results_dir, "base"):
        below = _folders(results_dir, f"base/{model.name}/evals")
        found += [_evaluation(e, f"untouched {model.name}") for e in below if e.name not in evals]
    return [one for one in found if not _at_work(one.leased)]


def gc_lines(results_dir: Path, *, remove: bool, by_hand: bool = False) -> Iterator[str]:
    """The list, as lines; with `remove`, what is left over on it goes after it was said, and with `by_hand` the rest of it too."""
    found = unneeded(results_dir)
    if not found:
        yield f"{results_dir}: every run and evaluation is needed by a study that ran there"
        return
    for title, some in (
        ("left over, without a record (removed by --remove)", [one for one in found if not one.by_hand]),
        ("run by hand, or for a study file that has changed since (removed by --remove --by-hand)", [one for one in found if one.by_hand]),
    ):
        if some:
            yield f"{title}: {len(some)} folders, {size(sum(one.size_bytes for one in some))}"
            yield from (f"  {one.folder}: {one.what}, {size(one.size_bytes)}" for one in some)
    going = [one for one in found if by_hand or not one.by_hand]
    if not remove:
        yield "nothing was removed: a study that ran here needs none of these"
        return
    yield f"removing {len(going)} folders, {size(sum(one.size_bytes for one in going))}"
    left = [text for one in going if (text := _remove(results_dir, one)) is not None]
    yield from (f"left alone: {text}" for text in left)
    yield f"removed {len(going) - len(left)} folders; {len(found) - len(going)} run by hand are kept"


def _remove(results_dir: Path, one: Unneeded) -> str | None:
    """Remove a folder while holding its lease, so that no worker begins in it; why it was left, or None."""
    try:
        inside(results_dir, one.folder)
        with lease(one.leased):
            shutil.rmtree(one.folder)
    except (LeaseHeld, RecordError, StoreError) as error:
        return str(error)
    except OSError as error:
        return f"{one.folder}: {error.strerror or error}"
    return None


def _folders(results_dir: Path, place: str) -> list[Path]:
    """The folders in a place of a results folder that may be removed: no links, and none where one leads out."""
    try:
        where = inside(results_dir, results_dir / place)
    except RecordError:
        return [p for p in _listed(results_dir / place) if not (results_dir / place).is_symlink()]
    return _listed(where)


def _listed(where: Path) -> list[Path]:
    return sorted(p for p in where.iterdir() if p.is_dir() and not p.is_symlink() and not p.name.startswith(".")) if where.is_dir() else []


def _bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size
        except OSError:  # gone, or not to be read
            continue
    return total


def _at_work(folder: Path) -> bool:
    holder = read_lease(folder)
    return holder is not None and holder.alive()


def _run(store: Store, folder: Path) -> Unneeded:
    try:
        record = store.read_run(folder.name)
    except RecordError as error:
        return Unneeded(folder, f"a run whose record cannot be read ({error})", _bytes(folder), True)
    if record is None:
        scored = any((folder / "evals").glob("*/record.json"))
        return Unneeded(folder, "a run without a record", _bytes(folder), scored)
    model = record.config.get("model")
    name = model.get("name") if isinstance(model, dict) else "?"
    named = run_title({"model": name, "arm": record.arm} | {key: record.config.get(key) for key in ("rank", "lr", "seed")})
    return Unneeded(folder, f"{named}, {record.status}", _bytes(folder), True)


def _evaluation(folder: Path, of: str) -> Unneeded:
    kept = (folder / "record.json").exists()
    return Unneeded(folder, f"an evaluation of {of}" + ("" if kept else " without a record"), _bytes(folder), kept)
