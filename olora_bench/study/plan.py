"""What a study would run, what is done already. Runs nothing, imports no torch, needs no network."""

from __future__ import annotations

from collections.abc import Sequence

from olora_bench.config import compose
from olora_bench.store import Store
from olora_bench.study.grid import Grids, find_study
from olora_bench.study.states import counts, standings
from olora_bench.study.sweep import load_grids


def study_grids(name: str, overrides: Sequence[str]) -> Grids:
    """Find and expand a study by name or path.

    Raises:
        BadInput: there is no such study, or it cannot be carried out as written.
    """
    path = find_study(name)
    return load_grids(path, overrides, compose(overrides, config_name=path.stem, config_dir=path.parent))


def plan_text(name: str, overrides: Sequence[str]) -> str:
    """The plan of a study as text: comparisons, runs, evaluations, and where they stand."""
    grids = study_grids(name, overrides)
    store = Store(grids.jobs[0].experiment.machine.results_dir)
    found = standings(store, grids.jobs)
    bases = {job.what.base_eval_id for job in grids.jobs} - {None}
    evaluations = sum(job.what.eval_id is not None for job in grids.jobs)
    merged = f" ({grids.merged} more combinations name a run twice and were merged)" if grids.merged else ""
    lines = [
        f"study {grids.study.name}: {grids.study.title}",
        f"protocol      {grids.study.protocol}; contrasts: "
        + ", ".join(f"{c.arm} vs {c.reference} ({c.kind})" for c in grids.study.contrasts),
        f"comparisons   {comparisons(grids)} (model x rank x benchmark, for each contrast)",
        f"runs          {len(grids.jobs)}{merged}",
        f"evaluations   {evaluations} of trained runs, {len(bases)} of untouched bases",
        f"precision     {grids.jobs[0].experiment.precision}",
        f"state         {counts(found)}",
    ]
    lines += [f"  {s.job.what.train_id} {s.state}: {s.reason}" for s in found if s.state in ("failed", "diverged", "unreadable")]
    return "\n".join(lines)


def comparisons(grids: Grids) -> int:
    """How many cells the contrasts compare: one per contrast, model, rank and benchmark that both arms run."""
    total = 0
    for contrast in grids.study.contrasts:
        cells = [
            {
                (job.experiment.model.name, job.experiment.rank, benchmark)
                for job in grids.jobs
                if job.experiment.arm == arm
                for benchmark in job.experiment.suite.benchmarks
            }
            for arm in (contrast.arm, contrast.reference)
        ]
        total += len(cells[0] & cells[1])
    return total
