"""What a study will have run by each of its looks, its searches going as they most likely go: counted before anything is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from olora_bench.study.expand import CellSearch, Grids, StudyFile, merged, planned
from olora_bench.study.jobs import Job, Wanted
from olora_bench.study.schema import Study, Tuning
from olora_bench.study.search import Search, neighbours


@dataclass(frozen=True)
class Stage:
    """All runs of a study that gives each arm so many seeds."""

    seeds: int
    jobs: tuple[Job, ...]


def stages(file: StudyFile, grids: Grids) -> list[Stage]:
    """A study at each of its looks, every arm of a primary contrast having got their seeds; as one stage where it has no looks.

    Searches that are going on are taken to end without extension, at the middle of their grid or at the best that they know; a block keeps
    its chosen rate. Which one a search or a block takes changes no count.
    """
    if grids.study.tuning is None:
        return _shared(file, grids)
    cells = [replace(cell, arms=tuple(_ended(one, grids.study.tuning) for one in cell.arms)) for cell in grids.searches]
    return [Stage(seeds, merged(file.composer.job(one) for one in _wanted(grids, cells, seeds))) for seeds in _looks(grids)]


def _looks(grids: Grids) -> Sequence[int]:
    if grids.study.seeds is not None:
        return grids.study.seeds.looks
    if grids.study.reported_seeds is not None:
        return (len(grids.study.reported_seeds),)
    return (len({job.experiment.seed for job in grids.jobs}),)


def _shared(file: StudyFile, grids: Grids) -> list[Stage]:
    seeds = grids.study.seeds
    if seeds is None:
        return [Stage(_looks(grids)[0], grids.jobs)]
    whole = file.grids(over=lambda _, __: ()).jobs
    return [Stage(look, tuple(job for job in whole if job.experiment.seed in seeds.all[:look])) for look in seeds.looks]


def _wanted(grids: Grids, cells: Sequence[CellSearch], seeds: int) -> Iterator[Wanted]:
    judged, first = primary_arms(grids.study), _looks(grids)[0]
    given = {one.arm: seeds if one.arm in judged else first for cell in cells for one in cell.arms}
    return planned(grids.study, cells, given, _middle)


def primary_arms(study: Study) -> Counter[str]:
    """The arms whose looks go on, each with the number of its contrasts: primary ones, or all where none is declared."""
    judged = [c for c in study.contrasts if c.kind == "primary"] or study.contrasts
    return Counter(arm for c in judged for arm in (c.arm, c.reference))


def _middle(runs: Mapping[float, Wanted]) -> float:
    return sorted(runs)[len(runs) // 2]


def _ended(one: Search, rule: Tuning) -> Search:
    """A search as it is where it is over, else with a refinement about what it takes for its best."""
    if one.chosen is not None or one.edge is not None:
        return one
    best = one.best if one.best is not None else rule.lrs[len(rule.lrs) // 2]
    near = neighbours(best) if rule.refinement == "neighbours" else neighbours(best)[1:]
    return replace(one, tried=one.tried | {lr: "refinement" for lr in near if lr not in one.tried}, best=best, chosen=best)
