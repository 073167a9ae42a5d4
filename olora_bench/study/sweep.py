"""One pass over a study: what is missing is handed to a Hydra launcher, what failed is named and stops nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from omegaconf import DictConfig

from olora_bench import assets
from olora_bench.errors import BadInput
from olora_bench.progress import say
from olora_bench.store import Store
from olora_bench.study.files import read_lock, write_lock, write_manifest
from olora_bench.study.grid import Grids, expand
from olora_bench.study.schema import parse_study
from olora_bench.study.states import Standing, counts, standings


class Launcher(Protocol):
    """What this module needs of a Hydra launcher."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Any: ...


def study_file(config: DictConfig) -> Path:
    """The file that a composed config came from.

    Raises:
        BadInput: the config names no study file, so there are no grids to expand.
    """
    name = config.hydra.job.config_name
    for source in config.hydra.runtime.config_sources:
        path = Path(source.path) / f"{name}.yaml"
        if source.schema == "file" and name != "config" and path.is_file():
            return path
    raise BadInput("the study sweeper needs a study file: python -m olora_bench --config-dir sweeps --config-name demo")


def settled_precision(results_dir: Path, name: str) -> str | None:
    """What the study's lock says `precision=auto` means; null before the first sweep."""
    lock = read_lock(results_dir, name)
    return None if lock is None else str(lock["precision"])


def load_grids(path: Path, overrides: Sequence[str], config: DictConfig) -> Grids:
    """Expand a study under the precision that its lock settled."""
    name = parse_study(_plain(config.study), str(path)).name
    return expand(path, overrides, settled_precision(Path(config.machine.results_dir).expanduser(), name))


def _plain(node: Any) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(node) if node is not None else None


def sweep(config: DictConfig, launcher: Launcher, overrides: Sequence[str], *, retry: bool = False) -> list[Standing]:
    """Run what is missing of a study.

    Args:
        config: the composed study file.
        launcher: any Hydra launcher; it composes each run again from its overrides.
        overrides: the command line's own overrides, which hold for every run.
        retry: try failed runs again.

    Raises:
        BadInput: the study cannot be carried out as written, or assets are missing; nothing was run.
    """
    grids = load_grids(study_file(config), overrides, config)
    results_dir = grids.jobs[0].experiment.machine.results_dir
    store = Store(results_dir)
    before = standings(store, grids.jobs, retry=retry)
    todo = [s.job for s in before if s.state == "missing"]
    merged = f" ({grids.merged} combinations name a run twice and were merged)" if grids.merged else ""
    say(f"study {grids.study.name}: {len(grids.jobs)} runs{merged}: {counts(before)}")
    if todo:
        store.check_writable()
        assets.check_all([(job.experiment, job.assets) for job in todo])
        write_lock(results_dir, grids.study.name, grids.jobs[0].experiment.precision)
    write_manifest(results_dir, grids)
    if todo:
        # Runs that share a base follow one another, so that a worker loads it once.
        todo.sort(key=lambda job: job.experiment.model.name)
        launcher.launch([(*overrides, *job.overrides) for job in todo], initial_job_idx=0)
    return standings(store, grids.jobs)

