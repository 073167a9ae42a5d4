"""What a study would run, what is done already. Runs nothing, imports no torch, needs no network."""

from __future__ import annotations

from collections.abc import Sequence

from olora_bench.study.grid import Grids
from olora_bench.study.stages import find_and_open
from olora_bench.study.states import counts, standings
from olora_bench.study.sweep import merged_text


def plan_text(name: str, overrides: Sequence[str]) -> str:
    """The plan of a study as text: comparisons, runs, evaluations, and where they stand."""
    study = find_and_open(name, overrides)
    grids = study.grids()
    found = standings(study.store, grids.jobs)
    bases = {job.what.base_eval_id for job in grids.jobs} - {None}
    evaluations = sum(job.what.eval_id is not None for job in grids.jobs)
    lines = [
        f"study {grids.study.name}: {grids.study.title}",
        f"protocol      {grids.study.protocol}; contrasts: "
        + ", ".join(f"{c.arm} vs {c.reference} ({c.kind})" for c in grids.study.contrasts),
        f"comparisons   {comparisons(grids)} (model x rank x benchmark, for each contrast)",
        f"runs          {len(grids.jobs)}{merged_text(grids)}",
        f"evaluations   {evaluations} of trained runs, {len(bases)} of untouched bases",
        f"precision     {grids.jobs[0].experiment.precision}",
        f"state         {counts(found)}",
    ]
    lines += [f"  {s.job.what.train_id} {s.state}: {s.reason}" for s in found if s.state in ("failed", "diverged", "unreadable")]
    return "\n".join(lines)


def comparisons(grids: Grids) -> int:
    """How many comparisons the contrasts make: one per contrast, cell and benchmark that both arms run; without a suite, one a cell."""
    total = 0
    for contrast in grids.study.contrasts:
        cells = [
            {
                (job.cell, job.what.base_eval_id, benchmark)
                for job in grids.jobs
                if job.experiment.arm == arm
                for benchmark in job.experiment.suite.benchmarks or ("loss",)
            }
            for arm in (contrast.arm, contrast.reference)
        ]
        total += len(cells[0] & cells[1])
    return total
