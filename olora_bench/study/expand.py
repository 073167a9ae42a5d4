"""From a study file to its runs: what it asks for is enumerated, then each combination becomes a job."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from olora_bench.config import Experiment, machine, sweeps_dir
from olora_bench.errors import BadInput
from olora_bench.formats import is_file
from olora_bench.store.manifest import Role
from olora_bench.study.checks import check_arms, check_contrast, check_overrides
from olora_bench.study.jobs import Composer, Job, Wanted
from olora_bench.study.schema import Grid, Scalar, Study, Tuning, check_searchpath, parse_study
from olora_bench.study.search import Search, search

LossOf = Callable[[str], float | None]
"""train_id -> the tuning criterion's loss; infinite where the run diverged, None while it is not known."""


def nothing_known(train_id: str) -> None:
    """A study of which nothing has run yet."""


@dataclass(frozen=True)
class CellSearch:
    """One cell of a tuned study: runs that differ in arm, learning rate and seed alone.

    `cell` is its id, `job` one of its runs, for names, `points` an arm's combination, `arms` the arms' searches.
    """

    cell: str
    job: Job
    points: Mapping[str, Wanted]
    arms: tuple[Search, ...]


@dataclass(frozen=True)
class Grids:
    """A study file read and expanded, as far as its records allow: a tuned study's later stages depend on the losses of the earlier ones.

    `merged` counts combinations that are the same run as an earlier one. `searches` are those of a tuned study.
    """

    study: Study
    path: Path
    jobs: tuple[Job, ...]
    merged: int
    searches: tuple[CellSearch, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether these are all the runs that the study will ever need: no search is going on."""
        return all(one.chosen is not None or one.edge is not None for cell in self.searches for one in cell.arms)


def find_study(name: str) -> Path:
    """The file of a study: a path to a YAML file, else `sweeps/<name>.yaml` here, else the one that came with the package.

    Raises:
        BadInput: there is no such study; names those there are.
    """
    candidates = [Path(name)] if name.endswith(".yaml") else [Path("sweeps") / f"{name}.yaml", sweeps_dir() / f"{name}.yaml"]
    for path in candidates:
        if is_file(path):
            _check_name(path)
            check_searchpath(path)
            return path.resolve()
    have = sorted({p.stem for folder in (Path("sweeps"), sweeps_dir()) for p in folder.glob("*.yaml")})
    raise BadInput(f"no study {name!r}. Allowed: {', '.join(have)}, or the path of a study file ending in .yaml")


def _check_name(path: Path) -> None:
    # The file's name is the one path that Hydra keeps in a config of its own.
    if "${" in path.name or path.name == "config.yaml":
        why = "which Hydra reads as a reference" if "${" in path.name else "as the config that it begins with is"
        raise BadInput(f"{path}: a study file cannot be called {path.name}, {why}. Give it another name")


def combinations(grid: Grid) -> Iterator[dict[str, Scalar]]:
    """Every combination of a grid's values, the last key varying fastest.

    >>> list(combinations({"init": ["lora", "olora"], "seed": 0}))
    [{'init': 'lora', 'seed': 0}, {'init': 'olora', 'seed': 0}]
    """
    lists = [value if isinstance(value, list) else [value] for value in grid.values()]
    for values in itertools.product(*lists):
        yield dict(zip(grid, values, strict=True))


class StudyFile:
    """A study file with its grids.

    Args:
        path: the study file.
        overrides: further Hydra overrides for every run, e.g. `machine.results_dir=/data/results`.

    Raises:
        BadInput: the file, here or in any method, or one of its combinations cannot be carried out as written.
    """

    def __init__(self, path: Path, overrides: Sequence[str] = ()) -> None:
        self.path, self.overrides = path, tuple(overrides)
        self.composer = Composer(path, overrides)
        top = self.composer.composed()
        self.study = parse_study(top.get("study"), str(path))
        self.results_dir = machine(top).results_dir
        check_overrides(self.study, self.overrides, path)

    def grids(self, loss_of: LossOf = nothing_known) -> Grids:
        """The runs that the study needs, as far as `loss_of` allows to say."""
        points, rule = self._points(), self.study.tuning
        firsts = points if rule is None else [one.at(rule.lrs[0], rule.seeds[0], one.stage, one.role) for one in points]
        first_jobs = [self.composer.job(one) for one in firsts]
        check_arms(first_jobs, self.path)
        for contrast in self.study.contrasts:
            check_contrast(contrast, first_jobs, self.path)
        if rule is None:
            jobs = merged(first_jobs)
            return Grids(self.study, self.path, jobs, len(points) - len(jobs))
        cells = tuple(self._searched(rule, job, arms, loss_of) for job, arms in _by_cell(points, first_jobs))
        jobs = merged(self.composer.job(one) for one in planned(rule, cells))
        return Grids(self.study, self.path, jobs, len(points) - sum(len(cell.points) for cell in cells), cells)

    def _points(self) -> list[Wanted]:
        return [Wanted(number, values) for number, grid in enumerate(self.study.grids) for values in combinations(grid)]

    def experiments(self) -> Iterator[Experiment]:
        """One experiment of each combination, whatever its learning rate and seed.

        Raises:
            BadInput: a combination cannot be carried out as written.
        """
        rule = self.study.tuning
        firsts = {json.dumps({k: v for k, v in one.values.items() if k not in ("lr", "seed")}): one for one in reversed(self._points())}
        for one in firsts.values():
            yield self.composer.experiment(one if rule is None else one.at(rule.lrs[0], rule.seeds[0], one.stage, one.role))

    def _searched(self, rule: Tuning, job: Job, points: Mapping[str, Wanted], loss_of: LossOf) -> CellSearch:
        def loss(arm: str, lr: float) -> float | None:
            """The mean over the tuning seeds; None while one is not known."""
            jobs = [self.composer.job(points[arm].at(lr, seed, "", "tuning")) for seed in rule.seeds]
            known = [value for job in jobs if (value := loss_of(job.what.train_id)) is not None]
            return sum(known) / len(known) if len(known) == len(jobs) else None

        return CellSearch(job.cell, job, points, tuple(search(list(points), rule, loss)))


def planned(rule: Tuning, cells: Sequence[CellSearch]) -> Iterator[Wanted]:
    """Every run of a tuned study: what the searches try, then the fresh seeds of what they chose. A run may be wanted for two ends."""
    arms = [(cell.points[one.arm], one) for cell in cells for one in cell.arms]
    for point, one in arms:
        for lr, stage in one.tried.items():
            for seed in rule.seeds:
                yield point.at(lr, seed, stage, "tuning")
    for point, one in arms:
        ends: tuple[tuple[float | None, Role], ...] = ((one.chosen, "tuned"), (rule.shared_lr, "shared"))
        for end, role in ends:
            if end is not None:
                for seed in rule.fresh_seeds:
                    yield point.at(end, seed, "fresh seeds", role)


def _by_cell(points: Sequence[Wanted], jobs: Sequence[Job]) -> Iterable[tuple[Job, dict[str, Wanted]]]:
    """Of each cell a run, and each arm's first combination; `jobs` has one of each combination."""
    cells: dict[tuple[str, str | None], tuple[Job, dict[str, Wanted]]] = {}
    for point, job in zip(points, jobs, strict=True):
        cells.setdefault((job.cell, job.what.base_eval_id), (job, {}))[1].setdefault(job.experiment.arm, point)
    return cells.values()


def merged(wanted: Iterable[Job]) -> tuple[Job, ...]:
    """Each run once, with all that it is for."""
    jobs: dict[tuple[str, str | None], Job] = {}
    for job in wanted:
        known = jobs.setdefault((job.what.train_id, job.what.eval_id), job)
        if job.roles != known.roles:
            jobs[job.what.train_id, job.what.eval_id] = replace(known, roles=tuple(dict.fromkeys((*known.roles, *job.roles))))
    return tuple(jobs.values())
