"""What a study would run, what is done already. Runs nothing, imports no torch, needs no network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from olora_bench.config import Experiment
from olora_bench.config.memory import adapter_parameters, training_memory
from olora_bench.identity import lr_text
from olora_bench.process.hardware import resolve_device
from olora_bench.process.progress import size
from olora_bench.store import Store
from olora_bench.study import estimate
from olora_bench.study.expand import Grids
from olora_bench.study.jobs import Job
from olora_bench.study.open import open_to_read
from olora_bench.study.power import power_text
from olora_bench.study.states import counts, standings
from olora_bench.study.sweep import merged_text


def plan_text(name: str, overrides: Sequence[str]) -> str:
    """The plan of a study as text: comparisons, runs, evaluations, where they stand, and what it takes to finish them."""
    study = open_to_read(name, overrides)
    grids = study.grids()
    found = standings(study.store, grids.jobs)
    first = grids.jobs[0].experiment
    evaluations = sum(job.what.eval_id is not None for job in grids.jobs)
    lines = [
        f"study {grids.study.name}: {grids.study.title}",
        f"protocol      {grids.study.protocol}; contrasts: "
        + ", ".join(f"{c.arm} vs {c.reference} ({c.kind})" for c in grids.study.contrasts),
        f"comparisons   {comparisons(grids)} (model x rank x benchmark, for each contrast)",
        f"runs          {len(grids.jobs)}{merged_text(grids)}",
        *stages_text(grids),
        *_power_text(grids),
        *power_text(study, grids),
        f"evaluations   {evaluations} of trained runs, {len(_bases(grids.jobs))} of untouched bases",
        f"precision     {first.precision}",
        f"state         {counts(found)}",
        *_resources(study.store, grids, [s.job for s in found if s.state not in ("done", "diverged")]),
    ]
    lines += [f"  {s.job.what.train_id} {s.state}: {s.reason}" for s in found if s.state in ("failed", "diverged", "unreadable")]
    return "\n".join(lines)


def stages_text(grids: Grids) -> list[str]:
    """A tuned study's rule, and how far each search is; nothing for another study."""
    rule = grids.study.tuning
    if rule is None:
        return []
    searches = [one for cell in grids.searches for one in cell.arms]
    refine = (2 if rule.refinement == "neighbours" else 1) * len(rule.seeds)
    fresh = rule.finalists * (len(grids.study.reported_seeds or ()) if grids.study.seeds is None else grids.study.seeds.looks[0])
    over = [one for one in searches if one.chosen is not None]
    edges = [one for one in searches if one.edge is not None]
    left = len(searches) - len(over) - len(edges)
    shared = f" and the shared {lr_text(rule.shared_lr)}" if rule.shared_lr is not None else ""
    lines = [
        f"search        {rule.criterion} over {', '.join(map(lr_text, rule.lrs))}{shared}, {len(rule.seeds)} seeds each",
        f"searches      {len(searches)} (arm x cell): {len(over)} over, {len(edges)} at an edge, {left} going on",
    ]
    if left:
        first = "" if grids.study.seeds is None else " in the first look"
        most = "at most " if rule.refinement == "parabola" else ""
        runs = "fresh seeds" if rule.finalists == 1 else "runs of finalists"
        lines.append(
            f"              still to come: {most}{refine} refinement runs and {fresh} {runs}{first} a search, and at most "
            f"{rule.max_extensions} extensions a side of {len(rule.seeds)} runs for every arm; the counts below are without them"
        )
    return [*lines, f"budgets       {budgets_text(grids)}"]


def budgets_text(grids: Grids) -> str:
    """How many runs each arm's search has come to, so far: for each cell where cells differ."""
    tuning = [(job.cell, job.experiment.arm) for job in grids.jobs if "tuning" in job.roles]
    counts = Counter(tuning)
    cells = [
        ", ".join(f"{arm} {counts[cell, arm]}" for arm in dict.fromkeys(arm for at, arm in tuning if at == cell))
        for cell in dict.fromkeys(cell for cell, _ in tuning)
    ]
    return f"runs of the search: {'; '.join(dict.fromkeys(cells))}"


def _power_text(grids: Grids) -> list[str]:
    """A line where the study could not decide what it asks, whatever its runs gave."""
    from olora_bench.analysis.paired import MIN_BLOCKS  # brings scipy

    seeds, primary = grids.study.reported_seeds, any(c.kind == "primary" for c in grids.study.contrasts)
    models = {job.experiment.model.name for job in grids.jobs}
    run = {(job.experiment.model.name, job.experiment.seed) for job in grids.jobs}
    blocks = len(run) if seeds is None else len(models) * len(seeds)
    first = blocks if grids.study.seeds is None else len(models) * grids.study.seeds.looks[0]
    if not primary or first >= MIN_BLOCKS:
        return []
    what = f"{blocks} blocks (model, seed)" if blocks < MIN_BLOCKS else f"{first} blocks (model, seed) at the first look"
    return [f"too few       {what}: a verdict takes {MIN_BLOCKS}"]


def _bases(jobs: Sequence[Job]) -> dict[str, Job]:
    return {job.what.base_eval_id: job for job in jobs if job.what.base_eval_id is not None}


def _resources(store: Store, grids: Grids, left: Sequence[Job]) -> list[str]:
    device = grids.jobs[0].experiment.machine.device
    known = estimate.speeds(store, device)
    bases = _bases(grids.jobs)
    open_bases = [
        job for key, job in bases.items() if (e := store.read_eval(None, job.experiment.model.name, key)) is None or e.status != "done"
    ]
    hours = estimate.seconds(left, open_bases, known, device)
    largest = max((job.experiment for job in grids.jobs), key=estimate.memory_bytes)
    peak = known.peak_bytes.get(largest.model.name)
    memory = f"{size(peak)} (measured)" if peak else _memory(largest, device)
    disk = sum(estimate.disk_bytes(job.experiment) for job in grids.jobs)
    adapters = sum(4 * adapter_parameters(job.experiment) for job in grids.jobs)
    weights = sum({job.experiment.model.name: estimate.download_bytes(job.experiment) for job in grids.jobs}.values())
    what = "left" if len(left) < len(grids.jobs) else "in all"
    return [
        f"time {what:<8} {_hours(hours.seconds)} here, one run after another ({hours.source})",
        f"GPU time      {_hours(estimate.gpu_seconds(left, open_bases))} on one GPU (from FLOPs, assuming an {estimate.GPU_NAME})",
        f"memory        {memory}, {largest.model.name} r{largest.rank}",
        f"disk          {size(disk)} of results ({size(adapters)} of it adapters), {size(weights)} of models in the cache",
    ]


def _memory(experiment: Experiment, device: str) -> str:
    need = training_memory(experiment, on_gpu=resolve_device(device).startswith("cuda"))
    parts = {"weights": need.weights, "adapter": need.adapter, "activations": need.activations, "logits": need.logits}
    return f"{size(need.total)} (from shapes: {', '.join(f'{name} {size(value)}' for name, value in parts.items())})"


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:,.0f} hours" if hours >= 100 else f"{hours:.1f} hours" if hours >= 1 else f"{seconds / 60:.1f} minutes"


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
