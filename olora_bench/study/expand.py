"""From a study file to its runs: each option of a config group is composed once, values are set on copies."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from olora_bench.assets import Asset, resolve
from olora_bench.config import Experiment, compose, load, machine, options, plain, sweeps_dir
from olora_bench.config.lines import line
from olora_bench.errors import BadInput
from olora_bench.formats import is_file
from olora_bench.identity import Identified, cell_identity, cell_key, differences, identify
from olora_bench.process.hardware import resolve_precision
from olora_bench.study.schema import Grid, Scalar, Study, Tuning, check_trust, parse_study
from olora_bench.study.search import Search, search

UNSCORED: dict[str, Any] = {"name": "none", "benchmarks": [], "generation": None}
"""The suite of a run that is trained and not scored, `conf/suite/none.yaml`."""

GROUPS = ("model", "init", "data", "recipe", "suite", "tracker")


Role = Literal["shared", "tuning", "tuned"]


@dataclass(frozen=True)
class Job:
    """One run of a study: the overrides that compose it, the experiment, its ids and its assets.

    `roles` says what the run is for: `shared` and `tuned` runs are reported, `tuning` ones only choose a learning rate. `stage` is the
    step of the study that first asked for it.
    """

    overrides: tuple[str, ...]
    experiment: Experiment
    what: Identified
    assets: dict[str, Asset]
    stage: str = "grid"
    roles: tuple[Role, ...] = ("shared",)

    @cached_property
    def cell(self) -> str:
        """The id of what a run must share with another to be compared with it: all but arm, lr and seed."""
        return cell_key(self.what.train)


@dataclass(frozen=True)
class CellSearch:
    """The searches of one cell's arms. `cell` is its id, `job` one of its runs, for names."""

    cell: str
    job: Job
    arms: tuple[Search, ...]


@dataclass(frozen=True)
class Grids:
    """A study file read and expanded, as far as its records allow: a tuned study's later stages hang on the losses of the earlier ones.

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


Point = tuple[int, dict[str, Scalar]]
"""A combination, with the number of its grid."""

LossOf = Callable[[str], float | None]
"""train_id -> the tuning criterion's loss; infinite where the run diverged, None while it is not known."""


def nothing_known(train_id: str) -> None:
    """A study of which nothing has run yet."""


class StudyFile:
    """A study file with its grids. Each option of a group is composed once, each run is checked and identified once.

    Args:
        path: the study file.
        overrides: further Hydra overrides for every run, e.g. `machine.results_dir=/data/results`.

    Raises:
        BadInput: the file, here or in any method, or one of its combinations cannot be carried out as written.
    """

    def __init__(self, path: Path, overrides: Sequence[str] = ()) -> None:
        self.path, self.overrides = path, tuple(overrides)
        self.precision: str | None = None
        """What the study's lock settled `precision=auto` to; null settles it for this machine."""
        self._composed: dict[tuple[str, ...], dict[str, Any]] = {}
        self._jobs: dict[tuple[object, ...], Job] = {}
        top = self._compose(())
        self.study = parse_study(top.get("study"), str(path))
        self.results_dir = machine(top).results_dir
        self._check_overrides()

    def grids(self, loss_of: LossOf = nothing_known) -> Grids:
        """The runs that the study needs, as far as `loss_of` allows to say."""
        points = [(number, values) for number, grid in enumerate(self.study.grids) for values in combinations(grid)]
        if self.study.tuning is not None:
            return self._tuned(self.study.tuning, points, loss_of)
        wanted = [self._job(number, values) for number, values in points]
        self._check_arms(wanted)
        jobs = _merged(wanted)
        return Grids(self.study, self.path, jobs, len(wanted) - len(jobs))

    def _tuned(self, rule: Tuning, points: Sequence[Point], loss_of: LossOf) -> Grids:
        """Searches of every cell, then the fresh seeds of the learning rates that they chose."""
        cells: dict[tuple[str, str | None], dict[str, Point]] = {}
        firsts = [self._job(number, {**values, "lr": rule.lrs[0], "seed": rule.seeds[0]}) for number, values in points]
        self._check_arms(firsts)
        for job, point in zip(firsts, points, strict=True):
            cells.setdefault((job.cell, job.what.base_eval_id), {}).setdefault(job.experiment.arm, point)

        def jobs(point: Point, lr: float, seeds: Sequence[int], stage: str, role: Role) -> list[Job]:
            # What only chooses a learning rate is read on the tune part: no benchmark is scored for it.
            found = [self._job(point[0], {**point[1], "lr": lr, "seed": seed}, scored=role != "tuning") for seed in seeds]
            return [replace(job, stage=stage, roles=(role,)) for job in found]

        tuning: list[Job] = []
        fresh: list[Job] = []
        searches = []
        for (cell, _), arms in cells.items():

            def loss(arm: str, lr: float, arms: Mapping[str, Point] = arms) -> float | None:
                values = [loss_of(job.what.train_id) for job in jobs(arms[arm], lr, rule.seeds, "", "tuning")]
                known = [value for value in values if value is not None]
                return sum(known) / len(known) if len(known) == len(values) else None

            found = search(list(arms), rule, loss)
            for one in found:
                for lr, stage in one.tried.items():
                    tuning += jobs(arms[one.arm], lr, rule.seeds, stage, "tuning")
                if one.chosen is not None:
                    fresh += jobs(arms[one.arm], one.chosen, rule.fresh_seeds, "fresh seeds", "tuned")
                if rule.shared_lr is not None:
                    fresh += jobs(arms[one.arm], rule.shared_lr, rule.fresh_seeds, "fresh seeds", "shared")
            searches.append(CellSearch(cell, tuning[-1], tuple(found)))
        return Grids(self.study, self.path, _merged(tuning + fresh), len(points) - sum(map(len, cells.values())), tuple(searches))

    def _job(self, number: int, values: dict[str, Scalar], *, scored: bool = True) -> Job:
        key = (scored, *values.items())
        if key not in self._jobs:
            raw = self._raw(number, values)
            if not scored:
                raw["suite"] |= UNSCORED
            experiment = load(raw, (self.path.parent,))
            check_trust(experiment.model, self.path, self.overrides)
            found = resolve(experiment)
            what = identify(experiment, {key: asset.identity for key, asset in found.items()})
            # A job is composed again where it runs, perhaps on other hardware: the settled precision travels with it.
            lines = (*(line(key, value) for key, value in values.items()), f"precision={experiment.precision}")
            if not scored:
                lines += ("suite=none", "suite.benchmarks=[]", "suite.generation=null")
            self._jobs[key] = Job(lines, experiment, what, found)
        return self._jobs[key]

    def _raw(self, number: int, values: dict[str, Scalar]) -> dict[str, Any]:
        """The composed config of a combination, as plain values; `number` is its grid's, for messages."""
        _check_groups(values, self.path, number)
        raw = copy.deepcopy(self._compose(()))
        # A group's node hangs on no other group's choice, so each option is composed once and not each combination: it takes 0.1 s.
        for group in (key for key in values if key in GROUPS):
            raw[group] = copy.deepcopy(self._compose((line(group, values[group]),))[group])
        for key, value in values.items():
            if key not in GROUPS:
                _set(raw, key, value, self.path, number)
        if raw["precision"] == "auto":
            raw["precision"] = self.precision or resolve_precision("auto", raw["machine"]["device"])
        return raw

    def _compose(self, groups: tuple[str, ...]) -> dict[str, Any]:
        if groups not in self._composed:
            cfg = compose([*self.overrides, *groups], config_name=self.path.name, config_dir=self.path.parent)
            self._composed[groups] = plain(cfg)
        return self._composed[groups]

    def _check_overrides(self) -> None:
        fixed = {key for grid in self.study.grids for key in grid} | ({"lr", "seed"} if self.study.tuning else set())
        for override in self.overrides:
            key = override.split("=")[0].lstrip("+~")
            if key in fixed:
                where = "study.tuning" if key in ("lr", "seed") and self.study.tuning else "study.grids"
                raise BadInput(f"{override}: {where} of {self.path} sets {key} for each run. Change it there, or in a copy of the file")

    def _check_arms(self, jobs: Sequence[Job]) -> None:
        inits: dict[tuple[str, str], dict[str, Any]] = {}
        for job in jobs:
            init = job.what.train["init"]
            known = inits.setdefault((job.cell, job.experiment.arm), init)
            if known != init:
                differs = "; ".join(f"init.{difference}" for difference in differences(known, init))
                raise BadInput(
                    f"{self.path}: two different inits are both called {job.experiment.arm} ({differs}): give each a name of its own"
                )
        arms = sorted({arm for _, arm in inits})
        for contrast in self.study.contrasts:
            for side, arm in (("arm", contrast.arm), ("reference", contrast.reference)):
                if arm not in arms:
                    raise BadInput(f"{self.path}: a contrast's {side} is {arm!r}, which no grid runs. Arms of the grids: {', '.join(arms)}")
            # What a pair shares: all but arm, lr and seed, and what is asked of it.
            one, other = (
                {(job.cell, job.what.base_eval_id): job for job in jobs if job.experiment.arm == arm}
                for arm in (contrast.arm, contrast.reference)
            )
            if not one.keys() & other.keys():
                firsts = (next(iter(found.values())) for found in (one, other))
                left, right = (cell_identity(job.what.train) | {"suite": job.experiment.suite.model_dump(mode="json")} for job in firsts)
                differs = "; ".join(str(difference) for difference in differences(left, right))
                raise BadInput(
                    f"{self.path}: no run of {contrast.arm} can be compared with one of {contrast.reference}, which is a contrast: "
                    f"the first ones differ in {differs}. Put the two into one grid"
                )


def _merged(wanted: Iterable[Job]) -> tuple[Job, ...]:
    """Each run once, with all that it is for."""
    jobs: dict[tuple[str, str | None], Job] = {}
    for job in wanted:
        known = jobs.setdefault((job.what.train_id, job.what.eval_id), job)
        if job.roles != known.roles:
            jobs[job.what.train_id, job.what.eval_id] = replace(known, roles=tuple(dict.fromkeys((*known.roles, *job.roles))))
    return tuple(jobs.values())


def expand(path: Path, overrides: Sequence[str] = ()) -> Grids:
    """Read a study file and identify every run of it that can be named before anything ran; arguments as for `StudyFile`.

    Raises:
        BadInput: the file or one of its combinations cannot be carried out as written.
    """
    return StudyFile(path, overrides).grids()


def _check_groups(values: dict[str, Scalar], path: Path, number: int) -> None:
    for group in (group for group in GROUPS if group in values):
        allowed = options(group, (path.parent,))
        if values[group] not in allowed:
            raise BadInput(f"{path}: study.grids.{number}.{group}={values[group]!r} is unknown. Allowed: {', '.join(allowed)}")


def _set(raw: dict[str, Any], key: str, value: Scalar, path: Path, number: int) -> None:
    *parents, last = key.split(".")
    node = raw
    for part in parents:
        node = node[part] if isinstance(node, dict) and isinstance(node.get(part), dict) else {}
    if last not in node:
        groups = ", ".join(GROUPS)
        raise BadInput(
            f"{path}: study.grids.{number}.{key}: there is no such key. Use a config group ({groups}) or a key that `--cfg job` prints"
        )
    if not parents and isinstance(node[last], dict):
        inner = ", ".join(map(str, node[last]))
        raise BadInput(f"{path}: study.grids.{number}.{key} has keys of its own: give {key}.KEY. Allowed: {inner}")
    node[last] = value
