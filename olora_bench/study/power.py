"""What a study can find, when it will end and what that costs: by simulating the very test that it will use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from olora_bench.analysis.design import Design, Expected, Foretold, changed, foretold, information
from olora_bench.analysis.paired import MIN_BLOCKS
from olora_bench.analysis.variances import AT_EDGE
from olora_bench.config import Experiment
from olora_bench.study.checks import ONE_FINALIST
from olora_bench.study.estimate import bases, items, job_seconds, score_seconds, seconds
from olora_bench.study.expand import Grids
from olora_bench.study.jobs import Job
from olora_bench.study.open import OpenStudy
from olora_bench.study.pace import Paces
from olora_bench.study.stages import Stage, primary_arms
from olora_bench.study.variances import Variances, variances

STUDIES = 6000
"""Simulated for a plan of one contrast: a power is then known to 0.6 points."""
FEWEST_STUDIES = 600
MORE_SEEDS = 2.0
LIMITS = (1000, None)
"""Limits of a suite that a plan tries in place of a smaller one."""


@dataclass(frozen=True)
class End:
    """How a study ends at a true difference, with the runs and the seconds that it has then taken."""

    at: Expected
    runs: float
    seconds: float


@dataclass(frozen=True)
class Option:
    """The study with another limit or other looks: what it finds four times in five, and its end where there is no difference.

    Attributes:
        limit: of the suite; None is all items.
        plan: seeds a model at every look.
        found: the smallest difference found four times in five.
        at_none: its end at no difference.
    """

    limit: int | None
    plan: tuple[int, ...]
    found: float
    at_none: End


@dataclass(frozen=True)
class Power:
    """What a plan says of a study's power. `share`: of the last look's information, what the look of this number has."""

    design: Design
    unit: str
    limit: int | None
    said: Foretold
    variances: Variances
    ends: tuple[End, ...]
    look: int
    share: float
    options: tuple[Option, ...]


def power(study: OpenStudy, grids: Grids, stages: Sequence[Stage], known: Paces) -> Power | None:
    """What the study can find; None where it declares no primary contrast, or has too few blocks to be judged."""
    primary = [c for c in grids.study.contrasts if c.kind == "primary"]
    models = len({job.experiment.model.name for job in grids.jobs})
    plan = tuple(stage.seeds for stage in stages)
    if not primary or models * plan[0] < MIN_BLOCKS:
        return None
    asked = max(study.file.experiments(), key=items)  # the runs of a search are asked no benchmark
    margin = None if grids.study.margin is None else grids.study.margin.score if asked.suite.benchmarks else grids.study.margin.loss
    design, varies = _with_edges(Design(plan, len(primary), models, margin), variances(study, grids, asked), grids, asked)
    said = foretold(design, varies.errors, studies=_studies(design))
    cost = _Cost(grids, stages, known)
    ends = tuple(cost.end(one) for one in said.expected)
    told = information(design, varies.errors)
    look = 1 if len(plan) > 2 else 0
    options = tuple(_options(design, varies, said, asked, cost)) if asked.suite.benchmarks or len(plan) > 1 else ()
    return Power(design, "pp" if asked.suite.benchmarks else "nats", asked.suite.limit, said, varies, ends, look, told[look], options)


def _with_edges(design: Design, varies: Variances, grids: Grids, asked: Experiment) -> tuple[Design, Variances]:
    """With the chances that in one of the models a best rate lies at an edge of the finalists, where the loss is judged."""
    if grids.study.tuning is None or asked.suite.benchmarks:
        return design, varies
    finalists = grids.study.tuning.finalists
    if (chances := AT_EDGE.get(finalists)) is None:
        luck = f"the luck of the search is not in the error: identical arms were called in {ONE_FINALIST}% of simulated studies with looks"
        return design, replace(varies, source=f"{varies.source}; with one finalist {luck}")
    source = f"{varies.source}; a best rate at an edge of {finalists} finalists in {100 * chances[1]:.0f}% of arms"
    always, share = (1 - (1 - chance) ** design.models for chance in chances)
    return replace(design, at_edge=(always, share)), replace(varies, source=source)


def _studies(design: Design) -> int:
    return max(STUDIES // (design.contrasts**2 * design.models), FEWEST_STUDIES)


@dataclass(frozen=True)
class _Cost:
    """Runs and seconds of a study by the seeds that its arms get: those of the first look, and so much for each further one of an arm."""

    grids: Grids
    stages: Sequence[Stage]
    known: Paces

    def end(self, at: Expected) -> End:
        """At an end: a shared reference goes on as long as the last of its contrasts."""
        first, judged = self.stages[0], primary_arms(self.grids.study)
        runs, taken = float(len(first.jobs)), seconds(first.jobs, bases(first.jobs), self.known)
        for arm, contrasts in judged.items():
            each = self._a_seed(arm)
            beyond = (at.most_seeds if contrasts > 1 else at.seeds) - first.seeds
            runs += beyond * len(each) / first.seeds
            taken += beyond * sum(job_seconds(job, self.known) for job in each) / first.seeds
        return End(at, runs, taken)

    def _a_seed(self, arm: str) -> list[Job]:
        """The reported runs of an arm at the first look."""
        return [job for job in self.stages[0].jobs if job.experiment.arm == arm and set(job.roles) - {"tuning"}]

    def scorings(self, at: Expected) -> float:
        """How many trained runs are scored by an end."""
        first, judged = self.stages[0], primary_arms(self.grids.study)
        scored = [job for job in first.jobs if job.what.eval_id is not None]
        total = float(len(scored))
        for arm, contrasts in judged.items():
            own = sum(job.experiment.arm == arm for job in scored)
            total += own * ((at.most_seeds if contrasts > 1 else at.seeds) / first.seeds - 1)
        return total


def _options(design: Design, varies: Variances, said: Foretold, asked: Experiment, cost: _Cost) -> Iterator[Option]:
    now = items(asked)
    studies = max(_studies(design) // 4, FEWEST_STUDIES)
    yield Option(asked.suite.limit, design.plan, said.found, cost.end(said.expected[0]))
    for limit in LIMITS if asked.suite.limit is not None else ():
        suite = asked.suite.model_copy(update={"limit": limit})
        more = asked.model_copy(update={"suite": suite})
        if not now or items(more) <= now:
            continue
        change = changed(design, varies.errors, items=items(more) / now, studies=studies)
        end, pace = cost.end(change.at_none), cost.known.of(asked)
        dearer = cost.scorings(change.at_none) * (score_seconds(more, pace) - score_seconds(asked, pace))
        yield Option(limit, design.plan, change.found, replace(end, seconds=end.seconds + dearer))
    change = changed(design, varies.errors, seeds=MORE_SEEDS, studies=studies)
    yield Option(asked.suite.limit, change.plan, change.found, cost.end(change.at_none))
