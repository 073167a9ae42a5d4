"""What a study would run, what it can find and what it takes, what is done already. Runs nothing, imports no torch, needs no network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from olora_bench.config import Experiment
from olora_bench.config.memory import adapter_parameters, training_memory
from olora_bench.errors import RecordError
from olora_bench.identity import lr_text
from olora_bench.process.hardware import resolve_device
from olora_bench.process.progress import size
from olora_bench.store import OVER, Store
from olora_bench.study import estimate
from olora_bench.study.calibrate import with_measured
from olora_bench.study.expand import Grids
from olora_bench.study.jobs import Job
from olora_bench.study.labelled import Labelled
from olora_bench.study.open import OpenStudy, open_to_read
from olora_bench.study.pace import GPU_NAME, Paces, paces
from olora_bench.study.power_text import hours_text
from olora_bench.study.stages import Stage, stages
from olora_bench.study.states import Standing, counts, standings
from olora_bench.study.sweep import merged_text


def plan_text(name: str, overrides: Sequence[str], *, calibrate: bool = False, known: Paces | None = None) -> str:
    """The plan of a study as text: comparisons, runs, power, where they stand, and what it takes to finish them.

    Args:
        calibrate: measure how fast models go here that no record tells of.
        known: how fast they go, in place of what records and measuring tell of this machine.
    """
    study = open_to_read(name, overrides)
    grids = study.grids()
    found = standings(study.store, grids.jobs)
    coming = stages(study.file, grids)
    known, unmeasured = (known, None) if known is not None else _known(study, coming[-1].jobs, found, calibrate=calibrate)
    open_bases, damaged = _open_bases(study.store, coming[-1].jobs)
    contrasts = ", ".join(f"{c.arm} vs {c.reference} ({c.kind})" for c in grids.study.contrasts)
    told = [
        Labelled("protocol", (f"{grids.study.protocol}; contrasts: {contrasts}",)),
        Labelled("comparisons", (f"{comparisons(grids, coming[-1].jobs)} (model x rank x benchmark, for each contrast)",)),
        Labelled("runs", (f"{_runs_text(grids, coming)}{merged_text(grids)}",)),
        *stages_text(grids),
        *judged_text(study, grids, coming, known),
        *_scored_text(coming[-1].jobs),
        Labelled("state", (counts(found),)),
        *_resources(grids, found, coming, open_bases, known),
        *([] if unmeasured is None else [Labelled("", (unmeasured,))]),
    ]
    lines = [f"study {grids.study.name}: {grids.study.title}", *(line for one in told for line in one.lines())]
    lines += [f"  {s.job.what.train_id} {s.state}: {s.reason}" for s in found if s.state in ("failed", "diverged", "unreadable")] + damaged
    return "\n".join(lines)


def _known(study: OpenStudy, jobs: Sequence[Job], found: Sequence[Standing], *, calibrate: bool) -> tuple[Paces, str | None]:
    """How fast each model goes here that has runs left: from records, else measured; or why that could not be."""
    known = paces(study.store, jobs[0].experiment.machine)
    left = [job.experiment for job in _left(jobs, found)]
    return with_measured(known, left) if calibrate else (known, None)


def _runs_text(grids: Grids, coming: Sequence[Stage]) -> str:
    """How many at each look, and by what they are for."""
    jobs = coming[-1].jobs
    if len(coming) == 1:
        return f"{len(jobs)}"
    looks = ", ".join(f"{len(stage.jobs)} by look {stage.seeds}" for stage in coming)
    return f"at most {len(jobs)} without extensions ({looks})" if grids.study.tuning is not None else f"at most {len(jobs)} ({looks})"


def judged_text(study: OpenStudy, grids: Grids, coming: Sequence[Stage], known: Paces) -> list[Labelled]:
    """What a study can decide that has a primary contrast."""
    if all(c.kind != "primary" for c in grids.study.contrasts):
        return []
    from olora_bench.study.power import power  # brings scipy
    from olora_bench.study.power_text import power_text

    found = power(study, grids, coming, known)
    return [*_few_text(grids), *([] if found is None else power_text(found))]


def _scored_text(jobs: Sequence[Job]) -> list[Labelled]:
    scored = sum(job.what.eval_id is not None for job in jobs)
    return [
        Labelled("evaluations", (f"{scored} of trained runs, {len(estimate.bases(jobs))} of untouched bases",)),
        Labelled("precision", (jobs[0].experiment.precision,)),
    ]


def stages_text(grids: Grids) -> list[Labelled]:
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
    far = [f"{len(searches)} (arm x cell): {len(over)} over, {len(edges)} at an edge, {left} going on"]
    if left:
        first = "" if grids.study.seeds is None else " in the first look"
        most = "at most " if rule.refinement == "parabola" else ""
        runs = "fresh seeds" if rule.finalists == 1 else "runs of finalists"
        far.append(
            f"still to come: {most}{refine} refinement runs and {fresh} {runs}{first} a search, which are counted; and "
            f"at most {rule.max_extensions} extensions a side of {len(rule.seeds)} runs for every arm, which are not"
        )
    return [
        Labelled("search", (f"{rule.criterion} over {', '.join(map(lr_text, rule.lrs))}{shared}, {len(rule.seeds)} seeds each",)),
        Labelled("searches", tuple(far)),
        Labelled("budgets", (budgets_text(grids),)),
    ]


def budgets_text(grids: Grids) -> str:
    """How many runs each arm's search has come to, so far: for each cell where cells differ."""
    tuning = [(job.cell, job.experiment.arm) for job in grids.jobs if "tuning" in job.roles]
    counts = Counter(tuning)
    cells = [
        ", ".join(f"{arm} {counts[cell, arm]}" for arm in dict.fromkeys(arm for at, arm in tuning if at == cell))
        for cell in dict.fromkeys(cell for cell, _ in tuning)
    ]
    return f"runs of the search: {'; '.join(dict.fromkeys(cells))}"


def _few_text(grids: Grids) -> list[Labelled]:
    """A line where the study could not decide what it asks, whatever its runs gave."""
    from olora_bench.analysis.paired import MIN_BLOCKS  # brings scipy

    seeds = grids.study.reported_seeds
    models = {job.experiment.model.name for job in grids.jobs}
    run = {(job.experiment.model.name, job.experiment.seed) for job in grids.jobs}
    blocks = len(run) if seeds is None else len(models) * len(seeds)
    first = blocks if grids.study.seeds is None else len(models) * grids.study.seeds.looks[0]
    if first >= MIN_BLOCKS:
        return []
    what = f"{blocks} blocks (model, seed)" if blocks < MIN_BLOCKS else f"{first} blocks (model, seed) at the first look"
    return [Labelled("too few", (f"{what}: a verdict takes {MIN_BLOCKS}",))]


def _resources(grids: Grids, found: Sequence[Standing], coming: Sequence[Stage], open_bases: Sequence[Job], known: Paces) -> list[Labelled]:
    """Of all that the study takes at most, and what is left of it."""
    jobs = coming[-1].jobs
    left, device = _left(jobs, found), jobs[0].experiment.machine.device
    largest = max((job.experiment for job in jobs), key=estimate.memory_bytes)
    peak = known.peak_bytes.get(largest.model.name)
    memory = f"{size(peak)} (measured)" if peak else _memory(largest, device)
    disk = sum(estimate.disk_bytes(job.experiment) for job in jobs)
    adapters = sum(4 * adapter_parameters(job.experiment) for job in jobs)
    weights = sum({job.experiment.model.name: estimate.download_bytes(job.experiment) for job in jobs}.values())
    ended = grids.settled and all(one.state in OVER for one in found)  # it may have ended before its last look
    what = "left" if ended or len(left) < len(jobs) else "at most" if len(coming) > 1 else "in all"
    seconds, on_gpu = estimate.seconds(left, open_bases, known), estimate.gpu_seconds(left, open_bases)
    source = estimate.source([job.experiment for job in jobs], known)
    gpu = Labelled("GPU time", (f"{hours_text(on_gpu)} on one GPU (from FLOPs, assuming an {GPU_NAME})",))
    time = "none: every run that it needs is over" if ended else f"{hours_text(seconds)} here, one run after another ({source})"
    return [
        Labelled(f"time {what}", (time,)),
        *([gpu] if on_gpu < seconds / 2 and not ended else []),  # of a tiny model it is what any run takes, and no reason to look for a GPU
        Labelled("memory", (f"{memory}, {largest.model.name} r{largest.rank}",)),
        Labelled("disk", (f"{size(disk)} of results ({size(adapters)} of it adapters), {size(weights)} of models in the cache",)),
    ]


def _left(jobs: Sequence[Job], found: Sequence[Standing]) -> list[Job]:
    """The runs that are not over; one that is not listed yet is not."""
    over = {s.job.what.train_id for s in found if s.state in OVER}
    return [job for job in jobs if job.what.train_id not in over]


def _open_bases(store: Store, jobs: Sequence[Job]) -> tuple[list[Job], list[str]]:
    """A job of each untouched base that has no scores yet, and a line for each whose scores cannot be read."""
    found, damaged = list[Job](), list[str]()
    for job in estimate.bases(jobs):
        assert job.what.base_eval_id is not None
        name, record = job.experiment.model.name, None
        try:
            record = store.read_eval(None, name, job.what.base_eval_id)
        except RecordError as error:
            damaged.append(f"  the untouched base {name} unreadable: {error}")
        if record is None or record.status != "done":
            found.append(job)
    return found, damaged


def _memory(experiment: Experiment, device: str) -> str:
    need = training_memory(experiment, on_gpu=resolve_device(device).startswith("cuda"))
    parts = {"weights": need.weights, "adapter": need.adapter, "activations": need.activations, "logits": need.logits}
    return f"{size(need.total)} (from shapes: {', '.join(f'{name} {size(value)}' for name, value in parts.items())})"


def comparisons(grids: Grids, jobs: Sequence[Job]) -> int:
    """How many comparisons the contrasts make.

    One per contrast, cell, shared rate and benchmark that both arms are scored on; without a suite, one a cell. A search is
    compared with nothing. A block's finalists are one side of a comparison, whichever of them is kept and scored.
    """
    return sum(len(_compared(jobs, contrast.arm) & _compared(jobs, contrast.reference)) for contrast in grids.study.contrasts)


def _compared(jobs: Sequence[Job], arm: str) -> set[tuple[str, float | None, str]]:
    """The (cell, shared rate or None at rates of its own, benchmark) at which an arm is judged."""
    scored: dict[tuple[str, float | None], set[str]] = {}
    for job in jobs:
        rates = {job.experiment.lr if role == "shared" else None for role in job.roles if role != "tuning"}
        for rate in rates if job.experiment.arm == arm else ():
            scored.setdefault((job.cell, rate), set()).update(job.experiment.suite.benchmarks)
    return {(cell, rate, name) for (cell, rate), names in scored.items() for name in names or ("loss",)}
