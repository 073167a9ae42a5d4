"""From a study file to its runs: what it asks for is enumerated, then each combination becomes a job."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

from olora_bench.config import Experiment, machine, sweeps_dir
from olora_bench.errors import BadInput
from olora_bench.formats import is_file
from olora_bench.identity import family_key
from olora_bench.run.finalists import kept
from olora_bench.study.checks import check_arms, check_contrast, check_finalists, check_overrides
from olora_bench.study.estimate import work
from olora_bench.study.jobs import Composer, Job, Wanted
from olora_bench.study.names import Home
from olora_bench.study.schema import Grid, Scalar, Study, Tuning, check_searchpath, parse_study
from olora_bench.study.search import Search, finalists, search

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

    `merged` counts combinations that are the same run as an earlier one. `searches` are those of a tuned study. `waiting` is true where
    runs of a look have to finish before the study knows whether it needs those of the next.
    """

    study: Study
    path: Path
    jobs: tuple[Job, ...]
    merged: int
    searches: tuple[CellSearch, ...] = ()
    waiting: bool = False

    @property
    def settled(self) -> bool:
        """Whether these are all the runs that the study will ever need: no search is going on, each block has kept a finalist, and no
        look is waited for."""
        return not self.waiting and self.chosen

    @property
    def chosen(self) -> bool:
        """Whether no search is going on, and each block has kept a finalist."""
        kept = {job.block.overrides for job in self.jobs if job.block is not None and "tuned" in job.roles}
        blocks = all(job.block.overrides in kept for job in self.jobs if job.block is not None)
        return blocks and all(one.chosen is not None or one.edge is not None for cell in self.searches for one in cell.arms)


Over = Callable[[int, Grids], Collection[tuple[str, str]] | None]
"""(a look's number of seeds, the study so far) -> the contrasts (arm, reference) that need no further seeds; None while one of its runs is
not finished."""


def nothing_over(seeds: int, grids: Grids) -> None:
    """No look of which all runs are finished."""


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
    if name.endswith(".yaml"):
        raise BadInput(f"{name}: there is no such file. Give the path of a study file, or the name of a study of sweeps/ without .yaml")
    have = sorted({p.stem for folder in (Path("sweeps"), sweeps_dir()) for p in folder.glob("*.yaml")})
    raise BadInput(f"no study {name!r}. Allowed: {', '.join(have)}, or the path of a study file ending in .yaml")


def to_name(path: Path) -> str:
    """What `find_study` finds a file by from here: its name where it is one of `sweeps/`, else its path."""
    by_name = {folder.resolve() for folder in (Path("sweeps"), sweeps_dir())}
    if path.parent in by_name:
        return path.stem
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


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
        if top.get("finalists") is not None:
            raise BadInput(f"{path}: finalists={top['finalists']} is one run's: in a study study.tuning.finalists says how many there are")

    @property
    def home(self) -> Home:
        """Where the study keeps its own files."""
        return Home(self.results_dir, self.study.name, self.overrides)

    def grids(self, loss_of: LossOf = nothing_known, over: Over = nothing_over) -> Grids:
        """The runs that the study needs, as far as what is known allows to say: look after look, while contrasts are open."""
        points = self._points()
        jobs = [self.composer.job(self._first(one)) for one in points]
        check_arms(jobs, self.path)
        check_finalists(self.study, jobs, self.path)
        for contrast in self.study.contrasts:
            check_contrast(contrast, jobs, self.path)
        rule = self.study.tuning
        arms = [job.experiment.arm for job in jobs]
        cells = () if rule is None else tuple(self._searched(rule, *cell, loss_of) for cell in _by_cell(points, jobs))

        def handed_out(given: Mapping[str, int]) -> Grids:
            if rule is None:
                wanted = [run for point, arm in zip(points, arms, strict=True) for run in self._at_seeds(point, given[arm])]
                found = merged(self.composer.job(one) for one in wanted)
                return Grids(self.study, self.path, found, len(wanted) - len(found))
            kept = partial(self._kept, loss_of)
            found = merged(self.composer.job(one) for one in planned(self.study, cells, given, kept))
            return Grids(self.study, self.path, found, len(points) - sum(len(cell.points) for cell in cells), cells)

        return look_after_look(self.study, arms, handed_out, over)

    def _first(self, point: Wanted) -> Wanted:
        """A combination as one run, for what hangs on neither learning rate nor seed."""
        rule, seeds = self.study.tuning, self.study.seeds
        if rule is not None:
            return point.at(point.stage, point.role, {"lr": rule.lrs[0], "seed": rule.seeds[0]})
        return point if seeds is None else point.at(point.stage, point.role, {"seed": seeds.first})

    def _at_seeds(self, point: Wanted, count: int) -> list[Wanted]:
        if self.study.reported_seeds is None:
            return [point]
        return [point.at(stage, point.role, {"seed": seed}) for seed, stage in staged(self.study, count)]

    def _kept(self, loss_of: LossOf, runs: Mapping[float, Wanted]) -> float | None:
        """The learning rate that a block keeps of its finalists; None while one of them is not finished."""
        losses = {lr: loss for lr, one in runs.items() if (loss := loss_of(self.composer.job(one).what.train_id)) is not None}
        return kept(losses) if len(losses) == len(runs) else None

    def _points(self) -> list[Wanted]:
        return [Wanted(number, values) for number, grid in enumerate(self.study.grids) for values in combinations(grid)]

    def experiments(self) -> Iterator[Experiment]:
        """One experiment of each combination, whatever its learning rate and seed.

        Raises:
            BadInput: a combination cannot be carried out as written.
        """
        firsts = {json.dumps({k: v for k, v in one.values.items() if k not in ("lr", "seed")}): one for one in reversed(self._points())}
        for one in firsts.values():
            yield self.composer.experiment(self._first(one))

    def _searched(self, rule: Tuning, job: Job, points: Mapping[str, Wanted], loss_of: LossOf) -> CellSearch:
        def loss(arm: str, lr: float) -> float | None:
            """The mean over the tuning seeds; None while one is not known."""
            jobs = [self.composer.job(_tuning(points[arm], rule, lr, seed, "")) for seed in rule.seeds]
            known = [value for job in jobs if (value := loss_of(job.what.train_id)) is not None]
            return sum(known) / len(known) if len(known) == len(jobs) else None

        return CellSearch(job.cell, job, points, tuple(search(list(points), rule, loss)))


KeptOf = Callable[[Mapping[float, Wanted]], float | None]
"""The finalists of a block by their learning rates -> the one that is kept; None while that is not known."""


def planned(study: Study, cells: Sequence[CellSearch], given: Mapping[str, int], kept_of: KeptOf) -> Iterator[Wanted]:
    """Every run of a tuned study: what the searches try, then the reported seeds of what they chose. A run may be wanted for two ends.

    Args:
        given: how many reported seeds each arm gets.
    """
    rule = study.tuning
    assert rule is not None
    arms = [(cell.points[one.arm], one) for cell in cells for one in cell.arms]
    for point, one in arms:
        for lr, stage in one.tried.items():
            for seed in rule.seeds:
                yield _tuning(point, rule, lr, seed, stage)
    for point, one in arms:
        seeds = staged(study, given[one.arm])
        if one.chosen is not None:
            for seed, stage in seeds:
                yield from _block(point, rule, finalists(one.chosen, rule.finalists), seed, stage, kept_of)
        if rule.shared_lr is not None:
            for seed, stage in seeds:
                yield point.at(stage, "shared", {"lr": rule.shared_lr, "seed": seed})


def _tuning(point: Wanted, rule: Tuning, lr: float, seed: int, stage: str) -> Wanted:
    # What a search asks for is the tune part's loss. With one finalist a run of the search may be a reported one too, read as such.
    less: dict[str, Scalar] = {"recipe.read": "tune"} if rule.finalists > 1 else {}
    return point.at(stage, "tuning", {"lr": lr, "seed": seed, **less})


def _block(point: Wanted, rule: Tuning, lrs: Sequence[float], seed: int, stage: str, kept_of: KeptOf) -> Iterator[Wanted]:
    """The runs of one arm at one reported seed: the finalists, then the one of them that is kept, once that is known."""
    if rule.finalists == 1:
        yield point.at(stage, "tuned", {"lr": lrs[0], "seed": seed})
        return
    values: dict[str, Scalar] = {"recipe.read": "final", **point.values, "seed": seed, "data.block": seed}
    block = replace(point, finalists=tuple(lrs), criterion=rule.criterion)
    runs = {lr: block.at(stage, "finalist", {**values, "lr": lr}) for lr in lrs}
    yield from runs.values()
    if (best := kept_of(runs)) is not None:
        yield replace(runs[best], role="tuned")


def _by_cell(points: Sequence[Wanted], jobs: Sequence[Job]) -> Iterable[tuple[Job, dict[str, Wanted]]]:
    """Of each cell a run, and each arm's first combination; `jobs` has one of each combination."""
    cells: dict[tuple[str, str | None], tuple[Job, dict[str, Wanted]]] = {}
    for point, job in zip(points, jobs, strict=True):
        cells.setdefault((job.cell, job.what.base_eval_id), (job, {}))[1].setdefault(job.experiment.arm, point)
    return cells.values()


def merged(wanted: Iterable[Job]) -> tuple[Job, ...]:
    """Each run once, with all that it is for: asked for scores if one end asks for them."""
    jobs: dict[tuple[str, str | None], Job] = {}
    for job in wanted:
        known = jobs.setdefault((job.what.train_id, job.what.base_eval_id), job)
        if known is not job:
            whole = job if known.what.eval_id is None else known
            roles = tuple(dict.fromkeys((*known.roles, *job.roles)))
            jobs[job.what.train_id, job.what.base_eval_id] = replace(whole, stage=known.stage, roles=roles)
    return tuple(jobs.values())


def staged(study: Study, count: int) -> list[tuple[int, str]]:
    """The first reported seeds of a study, each with the stage that asks for it."""
    looks, seeds = (study.seeds.looks if study.seeds is not None else ()), study.reported_seeds or ()
    stages = [f"look {number}" for number, (start, end) in enumerate(pairwise((0, *looks)), 1) for _ in range(end - start)]
    return list(zip(seeds[:count], stages or ["fresh seeds"] * count, strict=False))


def _longest(searches: Sequence[CellSearch]) -> list[CellSearch]:
    """The cells that no other of their family outlasts: they alone are judged."""
    families = [(family_key(cell.job.what.train), work(cell.job.experiment, {}).steps) for cell in searches]
    most = {family: max(steps for other, steps in families if other == family) for family, _ in families}
    return [cell for cell, (family, steps) in zip(searches, families, strict=True) if steps == most[family]]


def look_after_look(study: Study, arms: Sequence[str], handed_out: Callable[[Mapping[str, int]], Grids], over: Over) -> Grids:
    """Give arms the seeds of the next look while a contrast of theirs is open after the one before, all of whose runs are finished.

    Primary contrasts ask for looks; where none is declared, all do. One is open until it is over (`over`), and one whose arm has no chosen
    learning rate never is. What other arms are run for is shown at the first look.

    Args:
        handed_out: how many seeds each arm gets -> the runs.
    """
    looks = () if study.seeds is None else study.seeds.looks
    given = dict.fromkeys(arms, looks[0] if looks else len(study.reported_seeds or ()))
    grids = handed_out(given)
    lost = {one.arm for cell in _longest(grids.searches) for one in cell.arms if one.edge is not None}
    primary = [c for c in study.contrasts if c.kind == "primary"] or study.contrasts
    going = [c for c in primary if lost.isdisjoint((c.arm, c.reference))]
    for look, further in pairwise(looks):
        known = over(look, grids) if going and grids.chosen else None
        if known is None:
            return replace(grids, waiting=bool(going))
        going = [c for c in going if (c.arm, c.reference) not in known]
        if not going:
            return grids
        given |= {arm: further for c in going for arm in (c.arm, c.reference)}
        grids = handed_out(given)
    return grids
