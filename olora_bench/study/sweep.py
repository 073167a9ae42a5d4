"""One pass over a study: what is missing is handed to a Hydra launcher, what failed is named and stops nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from omegaconf import DictConfig, OmegaConf

from olora_bench import assets
from olora_bench.errors import BadInput
from olora_bench.process import device
from olora_bench.process.machine_faults import check_machine
from olora_bench.process.progress import say
from olora_bench.store import lease
from olora_bench.store.manifest import Lock
from olora_bench.study.expand import Grids
from olora_bench.study.jobs import Job
from olora_bench.study.locked import since_locked, to_lock
from olora_bench.study.manifest import write_lock, write_manifest
from olora_bench.study.names import declaration_of
from olora_bench.study.open import OpenStudy, open_study
from olora_bench.study.states import Standing, Worklist, counts


class Launcher(Protocol):
    """What this module needs of a Hydra launcher."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Any: ...


def study_file(config: DictConfig) -> Path:
    """The file that a composed config came from.

    Raises:
        BadInput: the config names no study file, so there are no grids to expand.
    """
    hydra: Any = OmegaConf.to_container(config.hydra, resolve=False)  # `${` in a path is no reference
    name = str(hydra["job"]["config_name"]).removesuffix(".yaml") + ".yaml"
    for source in hydra["runtime"]["config_sources"]:
        path = Path(source["path"]) / name
        if source["schema"] == "file" and name != "config.yaml" and path.is_file():
            return path
    raise BadInput("the study sweeper needs a study file: python -m olora_bench --config-dir sweeps --config-name demo")


def sweep(config: DictConfig, launcher: Launcher, overrides: Sequence[str], *, retry: bool = False) -> list[Standing]:
    """Run what is missing of a study, stage after stage; a study that is not tuned has one stage.

    Args:
        config: the composed study file.
        launcher: any Hydra launcher; it composes each run again from its overrides.
        overrides: the command line's own overrides, which hold for every run.
        retry: try failed runs again.

    Raises:
        BadInput: the study cannot be carried out as written, or assets are missing; nothing was run.
    """
    return sweep_study(open_study(study_file(config), overrides), launcher, overrides, retry=retry)


def sweep_study(study: OpenStudy, launcher: Launcher, overrides: Sequence[str], *, retry: bool = False) -> list[Standing]:
    """`sweep` of an open study."""
    worklist = Worklist(study.store, retry=retry)
    serial = one_by_one(launcher)
    seen: Sequence[Job] | None = None
    said, declared = "", declaration_of(study.file.path)
    while True:
        check_unchanged(study.file.path, declared)
        grids = study.grids()
        found, todo = worklist.look(grids.jobs)
        todo = in_order(grids, todo)
        # One piece of work at a time where a launcher has no use for more: it may make a learning rate known, or another worker may have.
        batch = [job for job in todo if job.launch == todo[0].launch] if serial else todo
        stage = f"study {study.name}{_stage(batch)}: {len(grids.jobs)} runs{merged_text(grids)}"
        if seen is None or (batch and stage != said):
            say(f"{stage}: {counts(found)}")
            said = stage
        if todo and seen != grids.jobs:
            check_precision(study, launcher)
            prepare(study, todo, here=serial)
        with lease(study.home.folder, wait=True) as held:
            if todo:
                lock = Lock.model_validate({"precision": todo[0].experiment.precision, "settled": to_lock(study.file)})
                write_lock(study.home, lock, held)
            write_manifest(study.home, grids, study.loss, held)
        if todo and seen is None:
            say_changes(study)
        if batch:
            worklist.launching(batch)
            with _told(study, launcher):
                launch(launcher, [(*overrides, *lines) for lines in dict.fromkeys(job.launch.overrides for job in batch)])
        elif not worklist.wait(found) and study.grids().jobs == grids.jobs:
            return found  # read once more: since the runs were looked up, another worker's may have opened the next stage
        seen = grids.jobs


def _told(study: OpenStudy, launcher: Launcher) -> AbstractContextManager[None]:
    """Where workers share this terminal it has one line for each."""
    if not _is(launcher, "JoblibLauncher"):
        return nullcontext()
    from olora_bench.study.live import workers_told  # brings pandas, which plans do without

    return workers_told(study)


def check_unchanged(path: Path, declared: str) -> None:
    """Refuse to go on with a study whose file was edited meanwhile: each run is composed from the file as it lies there.

    Args:
        declared: the digest of what the file declared when the sweep began.

    Raises:
        BadInput: it declares something else now; names both.
    """
    if (now := declaration_of(path)) != declared:
        raise BadInput(
            f"{path}: edited while its sweep runs: it declared {declared} when that began and declares {now} now (digests of all but title "
            "and comments). No further run is begun. To run what it declares now, give the same command again; else undo the edit first"
        )


def say_changes(study: OpenStudy) -> None:
    """Say what of the study has changed since its first run."""
    from olora_bench.words.declared import CHANGED, since_text  # brings pandas, which plans do without

    since = since_locked(study.home, study.file.path)
    if since.changes:
        say(f"study {study.name}: {CHANGED[0].lower()}{CHANGED[1:]}: {since_text(since.changes)}")


def in_order(grids: Grids, todo: Sequence[Job]) -> list[Job]:
    """Runs in the order in which they are launched, such that a study stopped at any time has whole pairs and verdicts to show.

    Runs of a model follow one another, so that a worker loads it once; then cell by cell. Within a cell come the reported runs of primary
    contrasts at a shared learning rate, then those that choose learning rates, then the chosen ones, then the reported runs of the other
    arms; each seed by seed.
    """
    arms = {arm for one in grids.study.contrasts if one.kind == "primary" for arm in (one.arm, one.reference)}
    cells = {cell: number for number, cell in enumerate(dict.fromkeys(job.cell for job in grids.jobs))}

    def key(job: Job) -> tuple[object, ...]:
        chooses = job.roles == ("tuning",)
        part = 1 if chooses else 3 if job.experiment.arm not in arms else 0 if "shared" in job.roles else 2
        return job.experiment.model.name, cells[job.cell], part, 0 if chooses else job.experiment.seed

    return sorted(todo, key=key)


def one_by_one(launcher: Launcher) -> bool:
    """Whether this is Hydra's own launcher, which runs one job after another in this process."""
    return _is(launcher, "BasicLauncher")


def _is(launcher: Launcher, *names: str) -> bool:
    # By name: Hydra executes the modules of its plugins anew when it looks for them, so there may be two classes of that name.
    return any(kind.__name__ in names for kind in type(launcher).__mro__)


def check_precision(study: OpenStudy, launcher: Launcher) -> None:
    """A study's precision, on which its ids hang, is not settled by a machine without a GPU for runs on others that may have one.

    Raises:
        BadInput: `precision=auto` with a launcher of other machines, and nothing here says what they have.
    """
    if study.file.composer.guessed and not _is(launcher, "BasicLauncher", "JoblibLauncher"):
        raise BadInput(
            f"precision=auto would be settled by this machine, which has no GPU, and {type(launcher).__name__} runs the study on others. "
            "Allowed: precision=bf16, fp16 or fp32; or machine.device=cuda or cpu, which settles it. Add one to the command"
        )


def prepare(study: OpenStudy, todo: Sequence[Job], *, here: bool) -> None:
    """What has to hold before anything is computed: a results folder to write to, assets at hand, the precision settled; where the runs are
    made `here`, in this process, a device that torch can use."""
    check_machine(todo[0].experiment)
    study.store.check_writable()
    assets.check_all([(job.experiment, job.assets) for job in todo])
    if here:
        device.check(todo[0].experiment.machine.device)
    study.file.composer.precision = todo[0].experiment.precision


def launch(launcher: Launcher, jobs: Sequence[Sequence[str]]) -> None:
    """Hand runs to the launcher. That it gives up, e.g. because a worker was killed, is said, and hides no other run's result."""
    try:
        launcher.launch(jobs, initial_job_idx=0)
    except Exception as error:
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        say(f"the launcher gave up: {type(error).__name__}: {reason}")


def merged_text(grids: Grids) -> str:
    """How many combinations are no runs of their own, in words."""
    return f" ({grids.merged} more combinations name a run twice and were merged)" if grids.merged else ""


def _stage(todo: Sequence[Job]) -> str:
    stages = list(dict.fromkeys(job.stage for job in todo))
    return f", {' and '.join(stages)}" if stages and stages != ["grid"] else ""
