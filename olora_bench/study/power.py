"""What a study can find and when it will end, as lines of its plan: by simulating the test that it will use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from olora_bench.config import Experiment
from olora_bench.store.manifest import Margin
from olora_bench.study.estimate import items
from olora_bench.study.expand import Grids
from olora_bench.study.manifest import manifest_of
from olora_bench.study.open import OpenStudy

if TYPE_CHECKING:
    from olora_bench.analysis.design import Change, Design, Foretold
    from olora_bench.analysis.foreseen import Foreseen

STUDIES = 4000
"""Simulated for a plan: a power is known to 0.8 points."""


def power_text(study: OpenStudy, grids: Grids) -> list[str]:
    """Power at the margin, what is found, when looks end the study, and what would find more; nothing without a margin or looks.

    Variances are those of the study's finished records where there are enough, else stated ones.
    """
    primary = [c for c in grids.study.contrasts if c.kind == "primary"]
    seeds = grids.study.reported_seeds
    if not primary or seeds is None or (grids.study.seeds is None and grids.study.margin is None):
        return []
    from olora_bench.analysis.design import Design, foretold, information, what_pays  # brings scipy
    from olora_bench.analysis.paired import MIN_BLOCKS

    asked = max(study.file.experiments(), key=items)  # the runs of a search are asked no benchmark
    models, foreseen = len({job.experiment.model.name for job in grids.jobs}), _foreseen(study, grids, asked)
    plan = (len(seeds),) if grids.study.seeds is None else grids.study.seeds.looks
    if models * plan[0] < max(MIN_BLOCKS, models + (models == 1)):
        return []
    suite, margin = asked.suite, grids.study.margin or Margin()
    unit, matters = ("pp", margin.score) if suite.benchmarks else ("nats", margin.loss)
    design = Design(plan, len(primary), models, matters)
    said = foretold(design, foreseen.errors, studies=STUDIES)
    lines = [_found_text(design, said, foreseen, unit), *_ends_text(grids, design, said, unit)]
    if suite.benchmarks:
        share = information(design, foreseen.errors)[0]
        changes = what_pays(design, foreseen.errors, items=(1.0, 4.0), seeds=(2.0,), studies=STUDIES // 4)
        lines.append(_pays_text(share, changes[1:], suite.limit, unit))
    return lines


def _foreseen(study: OpenStudy, grids: Grids, asked: Experiment) -> Foreseen:
    """Of the primary contrast whose seeds vary most, as far as records say."""
    from olora_bench.analysis.foreseen import assumed, seen
    from olora_bench.analysis.load import load_study

    sizes = {name: asked.benchmarks[name].items for name in asked.suite.benchmarks}
    counts = {name: min(asked.suite.limit or size, size) for name, size in sizes.items()}
    done = any("tuned" in job.roles or "shared" in job.roles for job in grids.jobs if study.store.read_run(job.what.train_id) is not None)
    known = seen(load_study(study.store, manifest_of(study.store.root, grids, study.loss, study.file.overrides))) if done else {}
    return max(known.values(), key=lambda one: one.errors.seed, default=assumed(counts))


def _found_text(design: Design, said: Foretold, foreseen: Foreseen, unit: str) -> str:
    where = f"those of {foreseen.seeds} finished seeds a model" if foreseen.seeds else "assumed, those of results/smollm2"
    at_margin = "" if design.margin is None else f"{100 * said.power:.0f}% at the margin of {design.margin:g} {unit}; "
    extent = f" ({said.found_low:.3g} to {said.found_high:.3g})" if foreseen.seeds else ""
    least = f"80% from {said.found:.3g} {unit} on{extent}"
    return f"power         {at_margin}{least}; Holm over {design.contrasts}, variances {where}"


def _ends_text(grids: Grids, design: Design, said: Foretold, unit: str) -> list[str]:
    if len(design.plan) == 1:
        return []
    runs = _runs_a_seed(grids)
    ends = [f"{one.difference:.3g} {unit}: {one.seeds:.1f} seeds, about {runs * one.seeds:.0f} runs" for one in said.expected]
    return [f"ends          on average, after the search, at a difference of {'; '.join(ends)}; at most {design.plan[-1]} seeds"]


def _runs_a_seed(grids: Grids) -> int:
    """Of all arms of primary contrasts and all cells: the finalists of each."""
    arms = {arm for c in grids.study.contrasts if c.kind == "primary" for arm in (c.arm, c.reference)}
    cells = {(job.cell, job.experiment.arm) for job in grids.jobs if job.experiment.arm in arms}
    return len(cells) * (1 if grids.study.tuning is None else grids.study.tuning.finalists)


def _pays_text(share: float, changes: Sequence[Change], limit: int | None, unit: str) -> str:
    items, seeds = changes
    more = [f"twice the seeds find from {seeds.found:.3g} {unit} on"]
    if limit is not None:
        more.insert(0, f"suite.limit={4 * limit} finds from {items.found:.3g} {unit} on, and trains nothing")
    return f"what pays     the first look has {100 * share:.0f}% of the last one's information; {'; '.join(more)}"
